"""A private server as a process: a free loopback port, a folder of its own, started and ended by pid."""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar, Final, Self

from tests.scratch import ON_DISK, PREFIX

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0
_PORTS: Final = range(
    15_000, 32_000
)  # below the ephemeral range: no client socket can take one while its server is down


class ServiceMissing(Exception):
    """A server program is not installed; the message holds the line that installs it."""


class ServiceFailed(Exception):
    """A server did not start; the message ends with the tail of its log."""


_TAKEN: Final = open(Path(tempfile.gettempdir(), f"test-ports-{os.geteuid()}"), "ab")  # noqa: SIM115 - its locks are the process's
_taken: set[int] = set()  # a process never meets its own lock


def free_port() -> int:
    """Name a loopback port that nobody listens on, that the kernel gives no outgoing connection, and that is the
    calling process's while it lives: no other test process is told it, also while its server is down.
    """
    for port in random.SystemRandom().sample(_PORTS, 400):
        try:
            fcntl.lockf(_TAKEN, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        if port in _taken:
            continue
        _taken.add(port)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServiceFailed("no free port between 15000 and 32000")


def find_program(*names: str, install: str) -> str:
    """Find the first of `names`, /usr/sbin included. Raises ServiceMissing with the install line."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise ServiceMissing(f"{' or '.join(names)} is not installed; run: {install}")


class Server:
    """A server process on a loopback port. Start, stop and kill it as often as a test likes; close it once."""

    folder: ClassVar[Path] = ON_DISK  # a benchmark's servers sync to a disk; the test session sets its own

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=self.folder))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id, or None while the server is down."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Ask the server one question; False while it does not answer."""
        raise NotImplementedError

    def start(self) -> None:
        """Start on the same data and port, and return when the server answers."""
        if self._process:
            return
        command = [*dies_with_its_parent("TERM"), *self.command()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(int(READY_SECONDS / 0.02)):
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                if self.is_ready():
                    return
            else:
                break
        self.kill()
        raise ServiceFailed(f"{command[-1]} did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """End the server in good order; it can be started again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); it can be started again."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server's clock: connections stay open and nothing answers. `thaw` undoes it."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its data."""
        self.thaw()
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if not self._process:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def dies_with_its_parent(how: str) -> list[str]:
    """Prefix a command so that a killed pytest leaves nothing behind (Linux; elsewhere nothing). `how`: a signal.

    The parent is the thread that starts it: it must live as long.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", how, "--"] if setpriv else []
