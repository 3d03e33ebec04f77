"""Engines and sessions: what every connection to the ledger is set to, and the database's clock."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions, convert_datetime, escape_string
from pymysql.cursors import Cursor
from sqlalchemy import Connection, Engine, Insert, Row, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from column_types import UtcTime

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

LOCK_WAIT_SECONDS = 3
BUSY_SECONDS = 10  # SQLite has one writer: wait for it rather than fail

TABLE_WAIT_SECONDS = 10  # for a table that a DDL statement or LOCK TABLES holds; the server's default is a day
STATEMENT_MARGIN = 1024  # bytes of max_allowed_packet left for the rest of a packet

DEADLOCK, LOCK_WAIT_TIMEOUT, DUPLICATE_KEY = 1213, 1205, 1062
# OperationalError to PyMySQL: row too large for the log, packet too large, wrong datetime, CHECK (MySQL, MariaDB).
REFUSALS = (1118, 1153, 1292, 3819, 4025)
READ_ONLY = frozenset({1290, 1792, 1836})
ACCESS_DENIED = frozenset({1044, 1045, 1142, 1227})
SAVEPOINT_GONE = 1305  # what a deadlock inside a savepoint looks like from outside: it took the savepoint with it
MEANINGS = {
    **dict.fromkeys((1040, 1203, 1226), "the database takes no more connections"),
    **dict.fromkeys(READ_ONLY, "the database is read-only"),
    **dict.fromkeys((1021, 1030, 1114), "the database cannot write, its disk may be full"),
    **dict.fromkeys(ACCESS_DENIED, "the database refuses this account"),
    **dict.fromkeys((DEADLOCK, LOCK_WAIT_TIMEOUT, SAVEPOINT_GONE), "other sessions hold locks"),
    **dict.fromkeys((2003, 2005), "the database cannot be reached"),
    **dict.fromkeys((1053, 1927, 2006, 2013, 4031), "the connection to the database was lost"),
}


def _read_datetime(text: str) -> datetime | str:
    """Read as PyMySQL does, which takes each time apart by a pattern: a third of what reading a page of runs costs."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return convert_datetime(text)


CONVERSIONS: Final = {**conversions, FIELD_TYPE.DATETIME: _read_datetime}


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
    silence: float = 60,
) -> Engine:
    """Make an engine for MySQL/MariaDB or SQLite; connections are opened when first used.

    MySQL sessions run READ COMMITTED (at REPEATABLE READ an operator's open transaction hides due rows)
    in UTC. `wait_timeout`, in seconds, makes the server drop a session that went silent in the middle of
    a transaction, with its row locks. A connection on which a statement waits `silence` seconds for the server is
    given up: a half-open one says nothing for ever.
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
        session += [f"wait_timeout={wait_timeout}", f"lock_wait_timeout={TABLE_WAIT_SECONDS}"]
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
            "conv": CONVERSIONS,
            "connect_timeout": 5,
            "read_timeout": silence,
            "write_timeout": silence,
        },
    )

    @event.listens_for(engine, "connect")
    def _read_committed(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute("SELECT @@max_allowed_packet")
            limit = int(cursor.fetchone()[0]) - STATEMENT_MARGIN
        record.info["largest_statement"] = limit
        if limit < Cursor.max_stmt_length:  # where the driver begins the next statement of a long INSERT
            connection.cursorclass = type("SmallCursor", (Cursor,), {"max_stmt_length": limit})

    @event.listens_for(engine, "handle_error")
    def _leave_a_demoted_server(context: Any) -> None:
        """After a failover an old connection stays on what is a replica now; only a new one finds the primary."""
        if _code(context.original_exception) in READ_ONLY:
            context.is_disconnect = True

    return engine


def _connect_sqlite(database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{database}", isolation_level="AUTOCOMMIT", connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.text_factory = _readable  # bytes that are no UTF-8 would fail the reading of every row beside them
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _readable(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


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
    with engine.connect() as connection, transaction_on(connection):
        yield connection


@contextmanager
def transaction_on(connection: Connection) -> Iterator[None]:
    """Do the same on a connection of `autocommit`."""
    # IMMEDIATE: a transaction that reads first and writes later would fail at once with "database is locked".
    begin = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "START TRANSACTION"
    connection.exec_driver_sql(begin)
    try:
        yield
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


_CLOCK = select(utc_now())


def read_clock(connection: Connection) -> datetime:
    """Ask the database for its time."""
    now = connection.execute(_CLOCK).scalar_one()
    assert isinstance(now, datetime)  # noqa: S101 - narrows the type only
    return now


def error_code(error: DBAPIError) -> int | None:
    """Name MySQL's error number, None for SQLite's errors, which have none."""
    return _code(error.orig)


def _code(error: BaseException | None) -> int | None:
    args = getattr(error, "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def is_contention(error: DBAPIError) -> bool:
    """True for a deadlock or a lock wait: the same statement may succeed at once."""
    return error_code(error) in (DEADLOCK, LOCK_WAIT_TIMEOUT, SAVEPOINT_GONE) or "database is locked" in str(error.orig)


def is_duplicate(error: DBAPIError) -> bool:
    """True where a unique key refused the row."""
    return error_code(error) == DUPLICATE_KEY or "UNIQUE constraint failed" in str(error.orig)


def insert_once(connection: Connection, row: Insert) -> bool:
    """Insert a row that may be there already, on a connection in AUTOCOMMIT.

    False: a unique key refused it. Raises IntegrityError for every other refusal.
    """
    try:
        connection.execute(row)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True


def is_refused(error: SQLAlchemyError) -> bool:
    """True where the database refuses what the statement says: the same one fails however often it is tried."""
    if isinstance(error, PoolTimeout):
        return False
    if isinstance(error, (OperationalError, InterfaceError, InternalError)):
        return error_code(error) in REFUSALS
    return True


def largest_statement(connection: Connection) -> int | None:
    """Tell how many bytes a statement may have (max_allowed_packet); None: any number."""
    return connection.info.get("largest_statement")


def size_in_statement(texts: Iterable[str]) -> int:
    """Count the bytes these texts take as literals, with room for the rest of the statement."""
    return sum(len(escape_string(text).encode("utf-8", "replace")) for text in texts) + STATEMENT_MARGIN


def in_words(error: Exception) -> str:
    """Say what an error of the database means, without the text of the statement."""
    cause = getattr(error, "orig", None) or error
    meaning = MEANINGS.get(_code(cause) or 0)
    return f"{meaning}: {cause}" if meaning else str(cause)
