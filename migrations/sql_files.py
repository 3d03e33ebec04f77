"""Runs the statements of a file in migrations/sql/."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import op
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from store.database import is_contention

SQL = Path(__file__).resolve().parent / "sql"
# A DDL statement that waits for somebody's open transaction holds up every later statement on its table, fires too.
LOCK_WAIT_SECONDS = 1
PAUSE_SECONDS = 1.0
TRIES = 300

logger = logging.getLogger("migrations")


def run_file(name: str) -> None:
    """Run a file's statements; each ends with a semicolon before a blank line, comments stand on lines of their own."""
    connection = op.get_bind()
    with _short_waits(connection):
        for statement in _statements(name):
            _run(connection, statement)


def make_triggers_anew(name: str, old: str, new: str) -> None:
    """Make the triggers of a file once more, with one text in the place of another."""
    connection = op.get_bind()
    with _short_waits(connection):
        for statement in _statements(name):
            _run(connection, f"DROP TRIGGER IF EXISTS {statement.split()[2]}")
            _run(connection, statement.replace(old, new))


@contextmanager
def _short_waits(connection: Connection) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        yield
        return
    connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")
    try:
        yield
    finally:
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = DEFAULT")


def _statements(name: str) -> Iterator[str]:
    for statement in (SQL / name).read_text(encoding="utf-8").split(";\n\n"):
        lines = [line for line in statement.strip().rstrip(";").splitlines() if not line.startswith("--")]
        if "".join(lines).strip():
            end = "; END" if lines[-1].endswith("; END") else ""
            yield "\n".join(lines).removesuffix(end) + end


def _run(connection: Connection, statement: str) -> None:
    """Run one statement; where others hold its table, let them go on for a while and try again."""
    for attempt in range(1, TRIES + 1):
        try:
            connection.exec_driver_sql(statement)
        except OperationalError as error:
            if not is_contention(error) or attempt == TRIES:
                raise
            logger.warning("open transactions hold the table, tried %d of %d times: %s", attempt, TRIES, statement[:80])
            time.sleep(PAUSE_SECONDS)
        else:
            return
