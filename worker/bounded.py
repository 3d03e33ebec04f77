"""Work that an operator wrote, done in a child process under limits: templates, and the checks of `expect`.

A template or a schema may ask for more than the world has. The operating system ends a child that takes too much time
or memory; no thread can be ended so, and a list of what is forbidden is never complete. The child is started when first
asked, serves one request after the other, and ends with its parent: its input ends then.
"""

import atexit
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Any, Final
from zoneinfo import reset_tzpath

from core.expectations import Answer, failed, read_expect
from core.templates import TemplateFault, render

CPU_SECONDS: Final = 3.0
"""Of computing, and not of waiting: a loaded machine must not fail a run."""
WALL_SECONDS: Final = 60.0
TURN_SECONDS: Final = 10.0
"""How long work waits for that of other runs, so that one row cannot hold up every thread of a worker."""
MEMORY: Final = 1024**3  # bytes of addresses; an answer of 8 MiB takes a tenth. macOS does not enforce it
HEADER: Final = struct.Struct(">Q")

ROOT: Final = Path(__file__).resolve().parents[1]


class TooMuch(Exception):
    """The work took more time or memory than it may; the message says which."""


class Helper:
    """The child of this process. Thread-safe: requests wait for each other, `turn_seconds` at most."""

    def __init__(
        self,
        cpu_seconds: float = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._cpu, self._wall, self._turn = cpu_seconds, wall_seconds, turn_seconds
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def render(self, texts: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
        """Render the templates of one run. Raises TemplateFault, or TooMuch."""
        done: list[str] = self._ask("render", texts=texts, variables=variables)
        return done

    def failed(self, expect: Mapping[str, Any], answer: Answer) -> str | None:
        """Say which checks of `expect`, as it stands in the row, an answer fails. Raises TooMuch."""
        said: str | None = self._ask("expect", expect=expect, text=answer.text, data=answer.data, last=answer.last)
        return said

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._drop()

    def _ask(self, work: str, **about: Any) -> Any:
        request = json.dumps({"work": work, "cpu": self._cpu, **about}, default=str).encode()
        if not self._lock.acquire(timeout=self._turn):
            raise TooMuch(
                f"it waited {self._turn:g} s for its turn: templates or checks of other runs on this worker take long"
            )
        try:
            child = self._running()
            assert child.stdin is not None and child.stdout is not None  # noqa: S101,PT018 - narrows the types only
            timer = Timer(self._wall, child.kill)
            timer.daemon = True
            timer.start()
            try:
                child.stdin.write(HEADER.pack(len(request)) + request)
                child.stdin.flush()
                answer = _read(child.stdout)
            except (OSError, EOFError):
                raise TooMuch(self._why_ended()) from None
            finally:
                timer.cancel()
            if "too_much" in answer:
                self._drop()
        finally:
            self._lock.release()
        if "too_much" in answer:
            raise TooMuch(answer["too_much"])
        if "fault" in answer:
            raise TemplateFault(answer["fault"])
        return answer["done"]

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._owner != os.getpid():  # a fork must not talk to its parent's child
            self._child, self._owner = None, os.getpid()
        if self._child is None or self._child.poll() is not None:
            self._drop()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "worker.bounded"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # and none of our secrets
            )
        return self._child

    def _why_ended(self) -> str:
        code = self._drop()
        if code == -signal.SIGPROF:
            return f"it takes more than {self._cpu:g} s of computing"
        if code == -signal.SIGKILL:
            return f"it was not done after {self._wall:g} s, or took too much memory"
        return f"its process ended with code {code}"

    def _drop(self) -> int | None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return None
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            return child.wait(1)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


_helper = Helper()
atexit.register(_helper.close)


def helper() -> Helper:
    """Return the one of this process; nothing is started yet."""
    return _helper


def _read(stream: IO[bytes]) -> dict[str, Any]:
    """Read one message. Raises EOFError where the other side has ended."""
    head = stream.read(HEADER.size)
    body = stream.read(HEADER.unpack(head)[0]) if len(head) == HEADER.size else b""
    if not body:
        raise EOFError
    found: dict[str, Any] = json.loads(body)
    return found


# -- the child ----------------------------------------------------------------------------------------


def _serve(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Answer requests until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which may drain
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process in the middle of whatever it does
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reset_tzpath(to=())  # the zones of the tzdata package, as everywhere
    with suppress(EOFError):
        while True:
            answer = json.dumps(_answer(_read(incoming))).encode()
            signal.setitimer(signal.ITIMER_PROF, 0)
            outgoing.write(HEADER.pack(len(answer)) + answer)
            outgoing.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, request["cpu"])
    try:
        if request["work"] == "render":
            return {"done": render(request["texts"], request["variables"])}
        answer = Answer(request["text"], request["data"], request["last"])
        return {"done": failed(read_expect(request["expect"]), answer)}
    except TemplateFault as fault:
        return {"fault": str(fault)}
    except MemoryError:
        return {"too_much": f"it takes more than {MEMORY // 1024**2} MiB of memory"}
    except Exception as error:  # the edge of the child: what went wrong belongs to one request
        return {"too_much": f"it cannot be done: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
