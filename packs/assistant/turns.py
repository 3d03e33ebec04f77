"""Transactions that wait for their turn, and end as a failure that is tried again where it does not come."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from core.outcome import AgentError, ErrorKind
from packs.upsert import in_transaction
from store.database import is_contention

T = TypeVar("T")


def in_turn(engine: Engine, act: Callable[[Connection], T]) -> T:
    """Do something in a transaction, again from its start where somebody holds the rows. Raises AgentError BUSY."""
    try:
        return in_transaction(engine, act)
    except DBAPIError as error:
        if not is_contention(error):
            raise
        raise AgentError(ErrorKind.BUSY, "other sessions hold the rows that are to be written") from error
