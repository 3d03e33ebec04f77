"""Log files of past days, packed. A file is removed when its packed copy has been read back, and not before."""

import gzip
import hashlib
import re
import shutil
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from packs.whole_file import remove_left_overs, whole_file

NAME: Final = re.compile(r"celery_(\d{8})\.log(?:\.\d+)?")
FOLDER: Final = "archive"
PIECE: Final = 1024 * 1024


@dataclass(slots=True)
class Archived:
    """What was done; `removed` names packed files that were older than they are kept."""

    files: list[str] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0
    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def as_result(self) -> dict[str, Any]:
        """Write it for the task's result."""
        return {
            "archived_files": self.files,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "removed": self.removed,
            "failed": self.failed,
        }


def archive(folder: Path, today: date, keep_since: date) -> Archived:
    """Pack the log files of days before `today`, into archive/, and remove packed ones of days before `keep_since`.

    Nobody writes to the file of a past day. Safe to repeat, and to kill: at worst a file is there and packed too.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    done = Archived()
    remove_left_overs(target)
    for path in sorted(folder.iterdir()):
        if path.is_file() and (day := _day_of(path.name)) is not None and day < today:
            try:
                _pack(path, target, done)
            except OSError as error:
                done.failed.append(f"{path.name}: {error.strerror or error}")
    for path in sorted(target.glob("*.gz")):
        day = _day_of(path.name.removesuffix(".gz").partition("~")[0])
        if day is not None and day < keep_since:
            path.unlink()
            done.removed.append(path.name)
    return done


def _day_of(name: str) -> date | None:
    found = NAME.fullmatch(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _pack(path: Path, target: Path, done: Archived) -> None:
    digest = _digest(path, packed=False)
    packed = _free_name(target, path.name, digest)
    if not packed.exists():
        with whole_file(packed, 0o640) as part:
            with path.open("rb") as log, gzip.GzipFile(fileobj=part, mode="wb", filename=path.name) as squeezed:
                shutil.copyfileobj(log, squeezed, PIECE)
            part.flush()
            if _digest(Path(part.name), packed=True) != digest:
                raise OSError(None, "its packed copy is not the same")
    done.bytes_before += path.stat().st_size
    done.bytes_after += packed.stat().st_size
    path.unlink()
    done.files.append(packed.name)


def _free_name(target: Path, name: str, digest: str) -> Path:
    """Name the packed file: the one that has this very content, else one that nobody has."""
    path, number = target / f"{name}.gz", 1
    while path.exists() and _digest(path, packed=True) != digest:
        number += 1
        path = target / f"{name}~{number}.gz"
    return path


def _digest(path: Path, *, packed: bool) -> str:
    with gzip.open(path) if packed else path.open("rb") as file:
        found = hashlib.sha256()
        while piece := file.read(PIECE):
            found.update(piece)
        return found.hexdigest()
