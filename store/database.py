"""Engines and sessions: what every connection to the ledger is set to, and the database's clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, Row, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from models import UtcTime

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

LOCK_WAIT_SECONDS = 3
BUSY_SECONDS = 10  # SQLite has one writer: wait for it rather than fail

DEADLOCK, LOCK_WAIT_TIMEOUT, DUPLICATE_KEY = 1213, 1205, 1062
SAVEPOINT_GONE = 1305  # what a deadlock inside a savepoint looks like from outside: it took the savepoint with it


class utc_now(FunctionElement[datetime]):
    """The database's clock: every host agrees with it, whatever its own says."""

    type = UtcTime()
    inherit_cache = True
    name = "utc_now"


@compiles(utc_now)
def _mysql_now(*_: Any, **__: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(utc_now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


def connect(
    url: str,
    *,
    pool_size: int = 5,
    wait_timeout: int | None = None,
    lock_wait: int = LOCK_WAIT_SECONDS,
    pre_ping: bool = True,
) -> Engine:
    """Make an engine for MySQL/MariaDB or SQLite; connections are opened when first used.

    MySQL sessions run READ COMMITTED (at REPEATABLE READ an operator's open transaction hides due rows)
    in UTC. `wait_timeout`, in seconds, makes the server drop a session that went silent in the middle of
    a transaction, with its row locks.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(parsed.database)
    session = [
        "time_zone='+00:00'",
        f"innodb_lock_wait_timeout={lock_wait}",
        "sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    ]
    if wait_timeout is not None:
        session.append(f"wait_timeout={wait_timeout}")
    engine = create_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=pre_ping,
        pool_recycle=3600,
        connect_args={
            "init_command": "SET " + ", ".join(f"SESSION {item}" for item in session),
            "connect_timeout": 5,
            "read_timeout": 60,
            "write_timeout": 60,
        },
    )

    @event.listens_for(engine, "connect")
    def _read_committed(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    return engine


def _connect_sqlite(database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{database}", isolation_level="AUTOCOMMIT", connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """Yield a connection on which every statement is its own transaction: no lock outlives it."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection inside one transaction: committed at the end, rolled back by an exception.

    Engines are in AUTOCOMMIT, so that single statements, which are most, cost one round trip and not four.
    """
    # IMMEDIATE: a transaction that reads first and writes later would fail at once with "database is locked".
    begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "START TRANSACTION"
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise


def _roll_back(connection: Connection) -> None:
    """Undo the transaction; where even that fails, drop the session, which does the same.

    A SystemExit inside a statement (beat's answer to SIGTERM) has dropped it already.
    """
    if connection.invalidated:
        return
    try:
        connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:
        connection.invalidate()


def read_clock(connection: Connection) -> datetime:
    """Ask the database for its time."""
    now = connection.execute(select(utc_now())).scalar_one()
    assert isinstance(now, datetime)  # noqa: S101 - narrows the type only
    return now


def error_code(error: DBAPIError) -> int | None:
    """Name MySQL's error number, None for SQLite's errors, which have none."""
    args = getattr(error.orig, "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def is_contention(error: DBAPIError) -> bool:
    """True for a deadlock or a lock wait: the same statement may succeed at once."""
    return error_code(error) in (DEADLOCK, LOCK_WAIT_TIMEOUT, SAVEPOINT_GONE) or "database is locked" in str(error.orig)


def is_duplicate(error: DBAPIError) -> bool:
    """True where a unique key refused the row."""
    return error_code(error) == DUPLICATE_KEY or "UNIQUE constraint failed" in str(error.orig)
