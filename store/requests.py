"""Queries on `api_request`: what a POST with an Idempotency-Key was answered."""

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, Table, delete, insert, select, update

from models import ApiRequest
from store.database import AnyRow, insert_once, read_clock

TABLE: Table = ApiRequest.__table__  # type: ignore[assignment]
Q = TABLE.c

KEPT: Final = timedelta(days=1)


def begin(connection: Connection, digest: str, body_digest: str) -> AnyRow | None:
    """Enter a request that is asked for the first time; else return what is known of it. Primary key."""
    connection.execute(delete(TABLE).where(Q.create_time < read_clock(connection) - KEPT))
    if insert_once(connection, insert(TABLE).values(digest=digest, body_digest=body_digest)):
        return None
    return connection.execute(select(TABLE).where(Q.digest == digest)).one_or_none()


def answered(connection: Connection, digest: str, status: int, answer: str) -> None:
    """Keep what a request was answered. Primary key."""
    connection.execute(update(TABLE).where(Q.digest == digest).values(status=status, answer=answer))


def forget(connection: Connection, digest: str) -> None:
    """Nothing was done: the same key may try again. Primary key."""
    connection.execute(delete(TABLE).where(Q.digest == digest))
