"""The supervisord of `make run`: start it, ask it, end it, and end what a killed one left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from config import BASE_DIR
from scripts.embedded_profile import CONFIG, HOME, LOGS, CannotRun, socket_path

STOP_SECONDS: Final = 90.0  # workers let their calls end
ALREADY_STARTED: Final = 60
PID_FILE: Final = HOME / "supervisord.pid"  # removed by supervisord as its last act


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program as supervisord sees it."""

    name: str
    state: str
    detail: str

    @property
    def has_failed(self) -> bool:
        """It ended by itself soon after its start."""
        return self.state in {"BACKOFF", "FATAL", "EXITED", "UNKNOWN"}

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.name}.log"


def _rpc() -> Any:
    transport = SupervisorTransport(None, None, serverurl=f"unix://{socket_path()}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def is_running() -> bool:
    """True when the supervisord of this copy answers."""
    try:
        if socket_path().stat().st_uid != os.getuid():  # in /tmp, anybody may have made it
            raise CannotRun(f"{socket_path()} belongs to another user")
        return bool(_rpc().getState()["statename"] == "RUNNING")
    except (OSError, Fault):
        return False


def start(environment: dict[str, str]) -> None:
    """Start supervisord, with none of its programs. It outlives this process and its terminal. Raises CannotRun."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(CONFIG)],
        cwd=BASE_DIR,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise CannotRun(f"supervisord did not start:\n{done.stdout.strip()}")
    if not wait_until(is_running, 20):
        raise CannotRun(f"supervisord does not answer; its log: {HOME / 'supervisord.log'}")


def start_programs(names: Sequence[str]) -> None:
    """Ask for programs to be started and return at once; those that run already go on."""
    for name in names:
        try:
            _rpc().startProcess(name, False)
        except Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise CannotRun(f"{name} cannot be started: {fault.faultString}") from fault


def programs() -> list[Program]:
    """List every program with its state. Raises CannotRun when supervisord is gone."""
    try:
        found = _rpc().getAllProcessInfo()
    except OSError as error:
        raise CannotRun(f"supervisord has ended; its log: {HOME / 'supervisord.log'}") from error
    return [Program(one["name"], one["statename"], one["description"]) for one in found]


def last_words() -> str:
    """Quote the log of each failed program, once all that are about to fail have: the first tells not always why."""
    failed: dict[str, Program] = {}

    def has_settled() -> bool:
        now = programs()
        failed.update({one.name: one for one in now if one.has_failed})
        return not any(one.state == "STARTING" and one.name not in failed for one in now)

    wait_until(has_settled, 2.0)
    return "\n".join(_words_of(one) for one in failed.values())


def _words_of(program: Program) -> str:
    words = program.log.read_text(errors="replace").strip().splitlines()[-12:] if program.log.exists() else []
    return "\n".join(
        [f"{program.name} ended by itself ({program.detail}). Its last words:", *(f"  {one}" for one in words)]
    )


def stop(progress: Callable[[str], None]) -> bool:
    """End supervisord, its programs, and what an earlier one left behind. False when there was nothing."""
    found = is_running()
    if found:
        pid = int(_rpc().getPID())
        _rpc().shutdown()

        def has_ended() -> bool:
            progress("waiting for calls in flight to end")
            return not (PID_FILE.exists() and _is_alive(pid))

        wait_until(has_ended, STOP_SECONDS)
    left = list(leftovers())
    for how, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for pid in leftovers():
            _send(pid, how)
        if wait_until(lambda: not list(leftovers()), patience):
            break
    return found or bool(left)


def leftovers() -> Iterator[int]:
    """Find processes that a supervisord of this copy started (Linux), by the mark in their environment."""
    mark = b"EMBEDDED_HOME=" + os.fsencode(HOME)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0") and int(process.name) != os.getpid():
                yield int(process.name)
        except OSError:  # it ended, or it is another user's
            continue


def wait_until(is_done: Callable[[], bool], seconds: float) -> bool:
    """Look ten times a second; False when the time is over."""
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
