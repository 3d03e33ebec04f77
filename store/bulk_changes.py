"""Queries on `bulk_change`: changes of many rows, each of which can be undone by its entries in the audit."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from models import BulkChange
from store.database import AnyRow, utc_now

TABLE: Table = BulkChange.__table__  # type: ignore[assignment]
B = TABLE.c


def add(connection: Connection, **values: Any) -> None:
    """Enter a change before its first row is changed."""
    connection.execute(insert(TABLE).values(**values, changed=0))


def count_more(tx: Connection, change_id: str, rows: int) -> None:
    """Add to what was changed, in the transaction that changes it. Primary key."""
    tx.execute(update(TABLE).where(B.id == change_id).values(changed=B.changed + rows))


def read(connection: Connection, change_id: str) -> AnyRow | None:
    """Read one. Primary key."""
    return connection.execute(select(TABLE).where(B.id == change_id)).one_or_none()


def page(connection: Connection, before: str | None, limit: int) -> Sequence[AnyRow]:
    """Page through them, newest first. Primary key, backwards: ids sort by creation."""
    query = select(TABLE) if before is None else select(TABLE).where(B.id < before)
    return connection.execute(query.order_by(B.id.desc()).limit(limit)).all()


def mark_undone(connection: Connection, change_id: str, by: str) -> None:
    """Say that every row was given back what it had. Primary key."""
    connection.execute(update(TABLE).where(B.id == change_id).values(undone_at=utc_now(), undone_by=by))
