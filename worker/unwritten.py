"""Outcomes that the ledger does not take now, on disk: whoever runs when it is back writes them.

One file for each, in LOG_DIR/unwritten: which attempt of which run, and the answer or the error. Nothing of the run's
config is in it, which may hold credentials. A file stays locked (flock) while the process that made the call lives,
so nobody else takes what is about to be written there.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path
from time import monotonic
from typing import Any, Final

from core.outcome import AgentError, AgentResult, ErrorKind, Usage

logger = logging.getLogger("unwritten")

MAX_FILES: Final = 10_000
MAX_BYTES: Final = 1024**3
LOOK_SECONDS: Final = 3.0  # the thread that looks renews the lease too


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds: an outcome, and the attempt that it ends."""

    run_id: str
    worker: str
    attempt: int
    outcome: AgentResult | AgentError


class Adopted(Enum):
    """What became of the outcome of a dead process."""

    DONE = auto()  #: written, or refused: the run is not its any more
    LATER = auto()  #: the ledger does not take it now
    UNKNOWN = auto()  #: another ledger's, perhaps: the file stays, under another name


class Unwritten:
    """The folder of one deployment. Any number of processes share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, kept: Kept) -> "KeptFile | None":
        """Put an outcome on disk, safe against a crash of the machine when this returns. None: there is no room."""
        try:
            content = _written(kept)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sizes = [entry.stat().st_size for entry in os.scandir(self.folder)]
            if len(sizes) >= MAX_FILES or sum(sizes) + len(content) > MAX_BYTES:
                raise OSError(f"{len(sizes)} files of {sum(sizes)} bytes wait there already")
            return _create(self.folder / f"{kept.run_id}.{kept.attempt}.json", content)
        except (OSError, MemoryError) as error:
            logger.error("the outcome of run %s waits in memory only: %s: %s", kept.run_id, self.folder, error)
            return None

    def adopt(self, write: "Callable[[Kept], Adopted]") -> None:
        """Hand what dead processes left to `write`, for three seconds at most; the rest waits for the next look.

        Raises what `write` raises; what stands behind that file then waits too.
        """
        until = monotonic() + LOOK_SECONDS
        try:
            files = sorted(self.folder.glob("*.json"))
        except OSError:
            return
        for path in files:
            if monotonic() > until:
                return
            with _taken(path) as content:
                if content is None:
                    continue
                try:
                    kept = _read(content)
                except (ValueError, KeyError, TypeError) as error:
                    logger.error("%s was cut short when its process died, and is removed: %r", path, error)
                    path.unlink()
                    continue
                verdict = write(kept)
                if verdict is Adopted.DONE:
                    path.unlink()
                elif verdict is Adopted.UNKNOWN:
                    logger.error("run %s is not in this ledger: its outcome stays in %s.unknown", kept.run_id, path)
                    path.rename(f"{path}.unknown")


class KeptFile:
    """A file of this process, locked until it is dropped or the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def drop(self) -> None:
        """The outcome is written, or never will be."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _create(path: Path, content: bytes) -> KeptFile:
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_still(path, descriptor):  # somebody took it for a dead process's before it was locked
                os.close(descriptor)
                continue
            os.truncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
            _sync_folder(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return KeptFile(path, descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _taken(path: Path) -> Iterator[bytes | None]:
    """Lock a file whose process is dead and yield what it holds; None where it is somebody's, or gone."""
    try:
        file = path.open("rb")
    except OSError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file.read() if _is_still(path, file.fileno()) else None


def _is_still(path: Path, descriptor: int) -> bool:
    """True where the name leads to the file we hold: it may have been removed before we had the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _written(kept: Kept) -> bytes:
    outcome = kept.outcome
    if isinstance(outcome, AgentResult):
        told = {"answer": asdict(outcome)}
    else:
        names = ("kind", "message", "http_status", "retry_after", "request_id", "conversation_id", "over")
        told = {"error": {name: getattr(outcome, name) for name in names}}
        told["error"]["answer"] = outcome.answer and asdict(outcome.answer)
    body = {"run_id": kept.run_id, "worker": kept.worker, "attempt": kept.attempt, **told}
    return json.dumps(body, default=str).encode()


def _read(content: bytes) -> Kept:
    body: dict[str, Any] = json.loads(content)
    outcome: AgentResult | AgentError
    if "answer" in body:
        outcome = _answer(body["answer"])
    else:
        error = body["error"]
        answer = error.pop("answer", None)
        outcome = AgentError(
            ErrorKind(error.pop("kind")), error.pop("message"), answer=answer and _answer(answer), **error
        )
    return Kept(body["run_id"], body["worker"], body["attempt"], outcome)


def _answer(told: dict[str, Any]) -> AgentResult:
    return AgentResult(**{**told, "usage": Usage(**told["usage"])})
