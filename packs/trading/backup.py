"""Backups of the whole database, and their restoration.

    scheduler-20250120-020000-0199a1b2.sql.gz         the rows of every table, by the server's own dump program
    scheduler-20250120-020000-0199a1b2.sql.gz.sha256  its checksum: without it the backup is not complete

On MySQL and MariaDB a backup holds rows and no schema: the schema is what migrations make, with its triggers and views,
which an account that may only read cannot even see. The first line names the revisions. On SQLite it is the whole file.
"""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Engine, TextClause, inspect, text
from sqlalchemy.engine import URL

from packs import schema
from packs.whole_file import part_beside, remove_left_overs, whole_file
from store import audit
from store.database import autocommit

PREFIX: Final = "scheduler-"
HEADER: Final = b"-- agent-scheduler "
COMPLETE: Final = b"-- Dump completed"
PIECE: Final = 1024 * 1024
PACKS: Final = "pack_schema_"
VERSIONS: Final = ("alembic_version", PACKS)
"""How the tables begin that say which migrations have run."""
SET_UP: Final = {
    "scheduler_state": "TRUE",
    "agent_limit": "endpoint = 'celery'",
    "audit_log": "via = 'sql' AND action = 'agent_limit.create' AND subject LIKE 'celery/%'",
}
"""What migrations put into tables, and triggers say of it: such rows are there where nobody has used the database."""
DUMP: Final = (
    "--no-create-info",
    "--skip-triggers",
    "--no-tablespaces",  # asking for them takes a right that a reader does not have
    "--single-transaction",
    "--quick",
    "--hex-blob",
    "--complete-insert",
    "--skip-add-locks",
    "--skip-disable-keys",
    "--skip-no-autocommit",  # a COMMIT after each table would let go of a restoration's transaction
    "--default-character-set=utf8mb4",
)


class BackupFault(Exception):
    """A backup that cannot be made, is not whole, or cannot be restored; no message holds a password."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup. `sha256` is that of the compressed file."""

    path: Path
    bytes: int
    sha256: str

    @property
    def checksum_file(self) -> Path:
        """Where its checksum stands, as `sha256sum -c` reads it."""
        return self.path.with_name(f"{self.path.name}.sha256")


def back_up(engine: Engine, folder: Path, now: datetime, run_id: str) -> Backup:
    """Write a backup and check what was written. Raises BackupFault or OSError; nothing half-done is left then.

    `now` and `run_id` give it its name. Readers and writers go on meanwhile: it shows one moment of the database.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    remove_left_overs(folder)
    kind = "sqlite" if engine.dialect.name == "sqlite" else "sql"
    path = folder / f"{PREFIX}{now:%Y%m%d-%H%M%S}-{run_id[-8:]}.{kind}.gz"
    with whole_file(path) as part:
        with gzip.GzipFile(fileobj=part, mode="wb", compresslevel=6, filename="", mtime=0) as packed:
            if kind == "sqlite":
                _copy_sqlite(engine.url, path, packed)
            else:
                _dump(engine, packed)
        part.flush()
        written = Path(part.name)
        _check_content(written, path.name)
        backup = Backup(path, written.stat().st_size, _digest(written))
        with whole_file(backup.checksum_file) as file:  # before the backup: a kill leaves no gigabytes nobody counts
            file.write(f"{backup.sha256}  {path.name}\n".encode())
    return backup


def complete(folder: Path) -> list[Path]:
    """Name the complete backups of a folder, the oldest first."""
    found = (folder / path.name.removesuffix(".sha256") for path in folder.glob(f"{PREFIX}*.gz.sha256"))
    return sorted(path for path in found if path.is_file())


def retire(folder: Path, keep: int) -> list[str]:
    """Remove all but the newest `keep` backups, and name the removed ones."""
    old = complete(folder)[:-keep] if keep > 0 else []
    for path in old:
        path.unlink(missing_ok=True)  # first: a checksum that a kill leaves behind takes no room and is no backup
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
    return [path.name for path in old]


def verify(path: Path) -> Backup:
    """Check a backup against its checksum, and that it is whole. Raises BackupFault."""
    try:
        said = path.with_name(f"{path.name}.sha256").read_text().split()
    except OSError:
        raise BackupFault(f"{path.name} has no checksum beside it: copy the file {path.name}.sha256 too") from None
    digest = _digest(path)
    if said[:1] != [digest]:
        raise BackupFault(f"{path.name} is damaged: its checksum is another one")
    _check_content(path, path.name)
    return Backup(path, path.stat().st_size, digest)


def revisions_in(path: Path) -> dict[str, list[str]]:
    """Say which migrations the database of a backup had: for each table of versions, its revisions. Raises BackupFault.

    A SQLite backup brings its schema along: the answer is empty.
    """
    if path.name.endswith(".sqlite.gz"):
        return {}
    with gzip.open(path) as packed:
        line = packed.readline()
    if not line.startswith(HEADER):
        raise BackupFault(f"{path.name} is no backup of this program")
    found: dict[str, list[str]] = json.loads(line.removeprefix(HEADER))["revisions"]
    return found


def restore(path: Path, engine: Engine) -> None:
    """Put a backup into a database: on SQLite a new file; else one that has been migrated and used by nobody.

    All of its rows or none. What setting the database up wrote, its entries in the audit too, makes room for them.
    Raises BackupFault where the backup is damaged, the schema is another one, or the database holds further rows.
    """
    verify(path)
    if engine.dialect.name == "sqlite":
        _restore_sqlite(path, Path(str(engine.url.database)))
        return
    there = revisions_in(path)
    _refuse_used(engine)  # first: a database that somebody uses is not to get tables either
    for name in there:
        if name.startswith(PACKS):
            schema.upgrade(engine, name.removeprefix(PACKS))
    if (here := _revisions(engine)) != there:
        raise BackupFault(f"the backup is of {there}, the database is at {here}: bring it to the same revisions")
    program = _program("mariadb", "mysql")
    with _options(engine.url) as options, gzip.open(path) as packed:
        command = [program, options.argument, str(engine.url.database)]
        _feed(command, [BytesIO(_before(_tables(engine))), packed, BytesIO(AFTER)], options.fd)


def _refuse_used(engine: Engine) -> None:
    tables = _tables(engine)
    with autocommit(engine) as connection:
        used = [table for table in tables if connection.execute(_used_row(table)).first()]
    if used:
        named = ", ".join(used[:5])
        raise BackupFault(f"the database is in use already: there are rows in {named}; restore into an empty one")


def _used_row(table: str) -> TextClause:
    return text(f"SELECT 1 FROM `{table}` WHERE NOT ({SET_UP.get(table, 'FALSE')}) LIMIT 1")  # noqa: S608 - our names


AFTER: Final = f"DELETE FROM scheduler_state WHERE name LIKE '{audit.SILENT}:%';\nCOMMIT;\n".encode()  # noqa: S608


def _before(tables: Sequence[str]) -> bytes:
    """Begin the transaction, whose end is AFTER. What the backup holds was audited when it was done."""
    emptied = [f"DELETE FROM `{table}`" for table in tables if table != "scheduler_state"]  # noqa: S608
    kept = f"name NOT LIKE '{audit.SILENT}:%'"
    state = f"DELETE FROM scheduler_state WHERE {kept}"  # noqa: S608
    silence = (audit.SILENCE_SESSION, f"SET @{audit.SILENT} = 1")
    return "".join(f"{each};\n" for each in ("SET autocommit = 0", *silence, *emptied, state)).encode()


# -- MySQL and MariaDB --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Options:
    """An open option file that has no name on any disk."""

    fd: int

    @property
    def argument(self) -> str:
        return f"--defaults-extra-file=/dev/fd/{self.fd}"


@contextmanager
def _options(url: URL) -> Iterator[_Options]:
    """Hand address and password over by a pipe: a command line is shown to everybody, and a file outlives a kill."""
    wanted = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "socket": url.query.get("unix_socket"),
        **{name.replace("_", "-"): url.query.get(name) for name in ("ssl_ca", "ssl_cert", "ssl_key")},
    }
    lines = [f"{name}={_quoted(str(value))}" for name, value in wanted.items() if value is not None]
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "w") as file:
            file.write("\n".join(["[client]", *lines, ""]))
        yield _Options(reading)
    finally:
        os.close(reading)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _dump(engine: Engine, packed: gzip.GzipFile) -> None:
    tables = _tables(engine)
    program = _program("mariadb-dump", "mysqldump")
    said = json.dumps({"revisions": _revisions(engine), "tables": tables})
    packed.write(HEADER + said.encode() + b"\n")
    with _options(engine.url) as options, tempfile.TemporaryFile() as errors:
        command = [program, options.argument, *DUMP, *_of_mysql(program), str(engine.url.database), *tables]
        with subprocess.Popen(  # noqa: S603 - found on PATH; names come from the database itself
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, pass_fds=[options.fd]
        ) as child:
            try:
                assert child.stdout is not None  # noqa: S101 - narrows the type only
                shutil.copyfileobj(child.stdout, packed, PIECE)
            except BaseException:
                child.kill()
                raise
        if child.returncode != 0:
            raise BackupFault(f"{Path(program).name} failed: {_said(errors)}")


def _of_mysql(program: str) -> Sequence[str]:
    """Name the options that MySQL's own program needs and MariaDB's does not know."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return () if "MariaDB" in done.stdout else ("--set-gtid-purged=OFF", "--column-statistics=0")


def _feed(command: Sequence[str], contents: Sequence[IO[bytes] | gzip.GzipFile], fd: int) -> None:
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(  # noqa: S603 - found on PATH
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=[fd]
        ) as child:
            assert child.stdin is not None  # noqa: S101 - narrows the type only
            with suppress(BrokenPipeError):  # what it says goes first
                for content in contents:
                    shutil.copyfileobj(content, child.stdin, PIECE)
                child.stdin.close()
        if child.returncode != 0:
            raise BackupFault(f"{Path(command[0]).name} failed: {_said(errors)}")


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read(2000).decode(errors="replace").strip() or "without a word"


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BackupFault(f"{names[0]} is not installed (Debian: apt-get install mariadb-client)")
    return found


def _tables(engine: Engine) -> list[str]:
    return sorted(name for name in inspect(engine).get_table_names() if not name.startswith(VERSIONS))


def _revisions(engine: Engine) -> dict[str, list[str]]:
    names = sorted(name for name in inspect(engine).get_table_names() if name.startswith(VERSIONS))
    with autocommit(engine) as connection:
        return {
            name: sorted(connection.exec_driver_sql(f"SELECT version_num FROM {name}").scalars())  # noqa: S608
            for name in names
        }


# -- SQLite -------------------------------------------------------------------------------------------


def _copy_sqlite(url: URL, path: Path, packed: gzip.GzipFile) -> None:
    with part_beside(path) as copy:
        source, target = sqlite3.connect(str(url.database)), sqlite3.connect(copy.name)
        try:
            source.backup(target)
        except sqlite3.Error as error:
            raise BackupFault(f"the database cannot be copied: {error}") from error
        finally:
            source.close()
            target.close()
        shutil.copyfileobj(copy, packed, PIECE)


def _restore_sqlite(path: Path, target: Path) -> None:
    for ending in ("", "-wal", "-journal"):  # those of a file that was deleted would be played into the new one
        if (there := target.with_name(target.name + ending)).exists():
            raise BackupFault(f"{there} is there already; restore into a new file, and set DATABASE_URL to it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path) as packed, whole_file(target) as file:
        shutil.copyfileobj(packed, file, PIECE)


# -- files --------------------------------------------------------------------------------------------


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_content(path: Path, name: str) -> None:
    """Unpack it once. Raises BackupFault where it is cut, or the dump program did not reach its end."""
    tail = b""
    try:
        with gzip.open(path) as packed:
            while piece := packed.read(PIECE):
                tail = (tail + piece)[-200:]
    except (OSError, EOFError) as error:
        raise BackupFault(f"{name} is damaged: {error}") from error
    if name.endswith(".sql.gz") and COMPLETE not in tail:
        raise BackupFault(f"{name} is not whole: the dump stopped before its end")


def figures(backup: Backup, removed: Sequence[str], seconds: float) -> dict[str, Any]:
    """Put what was done into the words of the task's result."""
    return {
        "path": str(backup.path),
        "bytes": backup.bytes,
        "sha256": backup.sha256,
        "removed": list(removed),
        "seconds": round(seconds, 3),
    }
