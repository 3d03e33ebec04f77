"""Rows that are inserted, or brought up to date where they are there: whole or not at all, and again with no effect."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import DBAPIError

from packs.tables import PackBase
from store.database import is_contention, transaction

T = TypeVar("T")

BATCH: Final = 1000  # rows a statement: far below max_allowed_packet
TRIES: Final = 10  # an operator's open transaction is waited for
PAUSE: Final = 0.2  # seconds


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do work in one transaction; after a deadlock or a lock wait all of it again, up to ten times."""
    attempt = 0
    while True:
        attempt += 1
        try:
            with transaction(engine) as tx:
                return work(tx)
        except DBAPIError as error:
            if not is_contention(error) or attempt == TRIES:
                raise
        time.sleep(PAUSE * attempt)


def upsert(engine: Engine, model: type[PackBase], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys, as `in_transaction` does. Columns that they do not name stay as they are."""
    in_transaction(engine, lambda tx: upsert_in(tx, model, rows))


def upsert_in(tx: Connection, model: type[PackBase], rows: Sequence[dict[str, Any]]) -> None:
    """Write them inside the caller's transaction."""
    table = cast(Table, model.__table__)
    for first in range(0, len(rows), BATCH):
        tx.execute(_statement(tx, table, rows[first : first + BATCH]))


def _statement(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> Any:
    keys = [column.name for column in table.primary_key]
    changing = [name for name in rows[0] if name not in keys]
    if tx.dialect.name == "sqlite":
        insert = sqlite.insert(table).values(list(rows))
        if not changing:
            return insert.on_conflict_do_nothing(index_elements=keys)
        return insert.on_conflict_do_update(
            index_elements=keys, set_={name: insert.excluded[name] for name in changing}
        )
    into = mysql.insert(table).values(list(rows))
    return into.on_duplicate_key_update({name: into.inserted[name] for name in changing or keys[:1]})
