"""What a container engine would run, without one: the files of the image, a host name and an environment of its own.

A process is an ordinary user's, in a UTS namespace of its own, in a folder that holds what the Dockerfile copies, owned
by root. What exists only inside a container (`/run/secrets`, `mysql`, port 8003) is replaced by what the test has.
"""

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from config import BASE_DIR
from tests.acceptance.workplace import make_venv
from tests.services import find_program, find_valkey

STOP_SECONDS: Final = 90.0
NEW_HOST: Final = ("--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


def can_name_hosts() -> bool:
    """Tell whether this machine lets us start processes with a host name of their own."""
    if shutil.which("unshare") is None:
        return False
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return (
        subprocess.run(["unshare", *rights, *NEW_HOST, "probe", "true"], check=False, capture_output=True).returncode
        == 0
    )


def lines_of_dockerignore() -> list[str]:
    text = (BASE_DIR / ".dockerignore").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def copy_image_files(folder: Path) -> None:
    """Copy what `COPY . .` copies; of .dockerignore only the forms that stand in it are understood."""
    everything, *rest = lines_of_dockerignore()
    assert everything == "*"
    assert {line[:1] for line in rest if line != "**/__pycache__"} == {"!"}
    folder.mkdir(parents=True)
    for line in (line[1:] for line in rest if line[0] == "!"):
        for path in BASE_DIR.glob(line):
            if path.is_dir():
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, folder)
    for name in ("logs", "data"):
        (folder / name).mkdir()


@dataclass
class Engine:
    """Runs commands as containers would, and ends them."""

    image: Path
    work: Path
    replaced: Mapping[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work.mkdir()
        make_venv(self.work / "venv")
        python = str(self.work / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "compileall", "-q", str(self.image)], check=True)
        self._make_programs(self.work / "bin")
        if os.geteuid() == 0:
            for folder in (self.image / "logs", self.image / "data"):
                subprocess.run(["chown", "-R", "nobody", str(folder)], check=True)

    def _make_programs(self, folder: Path) -> None:
        """Give images' names to this machine's programs."""
        folder.mkdir()
        install = "scripts/install-packages.sh"
        for name, program in {
            "python": str(self.work / "venv" / "bin" / "python"),
            "celery": str(self.work / "venv" / "bin" / "celery"),
            "redis-server": shlex.quote(find_valkey()),
            "redis-cli": shlex.quote(find_program("redis-cli", "valkey-cli", install=install)),
        }.items():
            (folder / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (folder / name).chmod(0o755)

    def here(self, text: str) -> str:
        """Put what this machine has into the place of a container's names."""
        names = "|".join(map(re.escape, self.replaced))
        return re.sub(names, lambda found: self.replaced[found.group()], text)

    def _line(self, command: Sequence[str], host: str) -> list[str]:
        inside = [self.here(part) for part in command]
        if os.geteuid() != 0:
            return ["unshare", "--map-root-user", *NEW_HOST, host, "setpriv", "--pdeathsig", "KILL", *inside]
        nobody = pwd.getpwnam("nobody")
        as_nobody = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        return ["unshare", *NEW_HOST, host, *as_nobody, "--pdeathsig", "KILL", *inside]

    def _environment(self, declared: Mapping[str, str]) -> dict[str, str]:
        usual = {"PATH": f"{self.work / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        return usual | {name: self.here(value) for name, value in declared.items()}

    def start(self, host: str, command: Sequence[str], declared: Mapping[str, str]) -> None:
        """Start one; its output goes to <host>.out."""
        with (self.work / f"{host}.out").open("ab") as out:
            self.processes[host] = subprocess.Popen(
                self._line(command, host), cwd=self.image, env=self._environment(declared),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def run(self, host: str, command: Sequence[str], declared: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run one to its end, such as a health check inside the container `host`."""
        return subprocess.run(
            self._line(command, host), cwd=self.image, env=self._environment(declared),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def stop(self, *hosts: str) -> set[int]:
        """Ask them to end, all at the same time as the engine does, and return their exit codes."""
        ending = [self.processes.pop(host) for host in hosts]
        for process in ending:
            process.send_signal(signal.SIGTERM)
        return {process.wait(STOP_SECONDS) for process in ending}

    def kill(self, host: str) -> None:
        """End one as a crash would, with its children."""
        process = self.processes.pop(host)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for host in list(self.processes):
            self.kill(host)

    def tails(self) -> str:
        return "\n".join(f"--- {file.name}\n{file.read_text()[-1500:]}" for file in sorted(self.work.glob("*.out")))
