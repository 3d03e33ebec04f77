"""A copy of the project in a folder with a space in its name, used as a person without root would."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
VENV_BIN: Final = Path(sys.executable).parent  # not resolved: the link in .venv/bin is what makes it a venv
LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", ".env", "data", "*.log", "*.sock", "*.pid", "__pycache__", ".*_cache", ".hypothesis"
)


def as_ordinary_user() -> list[str]:
    """Prefix a command so that it runs as `nobody`; nothing when this is no root already.

    Where Python itself lives in root's home, the right to read files is kept (and none to write them).
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for command in (drop, [*drop, *reads]):
        if subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, check=False).returncode == 0:
            return command
    raise AssertionError(f"user nobody cannot run {sys.executable}, not even with CAP_DAC_READ_SEARCH")


@dataclass(frozen=True)
class Done:
    """How a command line ended and everything it said."""

    line: str
    status: int
    output: str


@dataclass
class Workplace:
    """A project folder and a shell in it. Commands run with the test's virtual environment activated."""

    folder: Path
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{VENV_BIN}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(VENV_BIN.parent),
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
    home = Path(tempfile.mkdtemp(prefix="w-", dir="/tmp"))
    folder = home / name
    shutil.copytree(PROJECT, folder, ignore=LEFT_OUT)
    if as_ordinary_user():
        subprocess.run(["chown", "-R", "nobody:", str(home)], check=True)
    try:
        yield Workplace(folder, home, dict(settings))
    finally:
        shutil.rmtree(home, ignore_errors=True)
