"""Files that appear at once and whole: a kill leaves the one before, or none, and a part that is removed later."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

PART: Final = ".part-"
LEFT_OVER_SECONDS: Final = 86400.0  # a part this old belongs to a process that died


@contextmanager
def whole_file(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Give a file to write; at the end it takes the place of `path`, after an exception it is gone. Raises OSError."""
    with part_beside(path) as part:
        yield part
        part.flush()
        os.fsync(part.fileno())
        os.chmod(part.name, mode)
        os.rename(part.name, path)


@contextmanager
def part_beside(path: Path) -> Iterator[Any]:
    """Give a file in the folder of `path` that only its owner reads; it is gone at the end unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=PART, delete=False) as part:
        try:
            yield part
        finally:
            with suppress(OSError):
                os.unlink(part.name)


def remove_left_overs(folder: Path) -> None:
    """Remove the parts of processes that died."""
    for part in folder.glob(f"{PART}*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFT_OVER_SECONDS:
                part.unlink()
