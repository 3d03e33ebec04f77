"""A copy of the project in a folder with a space in its name, used as a person without root would."""

import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tests.scratch import scratch_folder

PROJECT: Final = Path(__file__).resolve().parents[2]
LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", ".env", "data", "*.log", "*.sock", "*.pid", "__pycache__", ".*_cache", ".hypothesis"
)
SCRIPTS: Final = {
    "pip": "pip",
    "supervisord": "supervisor.supervisord",
    "supervisorctl": "supervisor.supervisorctl",
    "celery": "celery",
}


def as_ordinary_user() -> list[str]:
    """Prefix a command so that it runs as `nobody`; nothing when this is no root already."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def ordinary_python() -> str:
    """Find this version of Python where the ordinary user may run it: ours may live in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (os.path.realpath(sys.executable), f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        probe = [*as_ordinary_user(), "bash", "-c", 'exec "$0" -c ""', python]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return python
    raise AssertionError(f"an ordinary user can run no {version}; install one in /usr, or run the tests without root")


@dataclass(frozen=True)
class Done:
    """How a command line ended and everything it said."""

    line: str
    status: int
    output: str


@dataclass
class Workplace:
    """A project folder and a shell in it, with the folder's virtual environment activated."""

    folder: Path
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": f"{self.folder}/.venv",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.settings,
        }

    def run(self, line: str, limit: float = 60, **extra: str) -> Done:
        """Run one shell line as written and wait for it."""
        done = subprocess.run(
            [*as_ordinary_user(), "bash", "-c", line],
            cwd=self.folder,
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
        return Done(line, done.returncode, done.stdout)

    def start(self, line: str) -> subprocess.Popen[str]:
        """Start one program in the foreground of its own process group; the caller ends it."""
        return subprocess.Popen(
            [*as_ordinary_user(), "bash", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8", errors="replace")


@contextmanager
def workplace(settings: Mapping[str, str], name: str = "智能体 scheduler (a copy)") -> Iterator[Workplace]:
    """Copy the project, owned by the ordinary user. The path is kept short: Unix sockets allow 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="w-", dir=scratch_folder()))
    folder = home / name
    shutil.copytree(PROJECT, folder, ignore=LEFT_OUT)
    make_venv(folder / ".venv")
    if as_ordinary_user():
        subprocess.run(["chown", "-R", "nobody:", str(home)], check=True)
    try:
        yield Workplace(folder, home, dict(settings))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def make_venv(venv: Path) -> None:
    """Make a virtual environment with what the product needs and nothing of what the tests need besides.

    The packages are ours, by link, or as a copy where only root may look; pip adds what this Python needs besides.
    """
    subprocess.run([ordinary_python(), "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    ours = Path(sysconfig.get_path("purelib"))
    readable = subprocess.run([*as_ordinary_user(), "ls", str(ours)], capture_output=True, check=False).returncode == 0
    wanted = [Requirement("pip"), *_named_in("requirements.txt"), *_named_in("requirements-embedded.txt")]
    for name in _top_level_names(wanted):
        if readable:
            (packages / name).symlink_to(ours / name)
        elif (ours / name).is_dir():
            shutil.copytree(ours / name, packages / name)
        else:
            shutil.copy(ours / name, packages / name)
    for name, module in SCRIPTS.items():
        script = venv / "bin" / name
        script.write_text(f"""#!/bin/sh\nexec "$(dirname "$0")/python" -m {module} "$@"\n""")
        script.chmod(0o755)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(PROJECT / "requirements.txt")], check=True)
    for stamp in (".installed-run", ".installed-dev"):
        (venv / stamp).touch()


def _named_in(requirements: str) -> list[Requirement]:
    lines = (PROJECT / requirements).read_text().splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if re.match(r"\w", line)]


def _top_level_names(wanted: list[Requirement]) -> set[str]:
    """Name what the wanted distributions, and those they require, have put into site-packages."""
    seen: set[str] = set()
    names: set[str] = set()
    while wanted:
        need = wanted.pop()
        key = f"{need.name}{sorted(need.extras)}"
        try:
            found = distribution(need.name)
        except PackageNotFoundError:  # optional, as the Valkey wheel is
            continue
        if key not in seen:
            seen.add(key)
            names |= {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}
            further = map(Requirement, found.requires or ())
            wanted += [one for one in further if _applies(one, need.extras)]
    return names


def _applies(need: Requirement, extras: set[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
