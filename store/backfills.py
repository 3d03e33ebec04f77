"""Queries on `backfill`: where each range of past moments stands, and which of its runs have not ended."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Table, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from core.lifecycle import FINAL, WAITING, Origin, State
from models import Backfill
from store.database import AnyRow, is_duplicate, utc_now
from store.runs import TABLE as RUNS
from store.runs import TO_REVOKED, R

TABLE: Table = Backfill.__table__  # type: ignore[assignment]
B = TABLE.c

UNFINISHED = sorted(set(State) - FINAL)
REASON_CHARS = 1000
MAX_AT_A_TIME = 100


class BackfillState(StrEnum):
    """Stored in `backfill.state`; an operator may write the first three into a row that has not finished."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  #: makes no further runs; those it made go on
    CANCELLED = "CANCELLED"
    DONE = "DONE"  #: every moment has its run, and all of them have ended


class AlreadyOpen(Exception):
    """The row has a backfill that has not finished."""


def create(tx: Connection, row: AnyRow, first: datetime, bounds: tuple[datetime, datetime], *, at_a_time: int) -> int:
    """Enter a backfill over `bounds`, both inclusive, whose first moment is `first`. Raises AlreadyOpen."""
    values = {
        "periodic_task_id": row.id, "task_name": row.name, "from_moment": bounds[0], "until_moment": bounds[1],
        "at_a_time": at_a_time, "next_moment": first,
    }  # fmt: skip
    try:
        with tx.begin_nested():
            key = tx.execute(insert(TABLE).values(values)).inserted_primary_key
    except IntegrityError as error:
        if is_duplicate(error):
            raise AlreadyOpen from error
        raise
    assert key is not None  # noqa: S101 - narrows the type only
    return int(key[0])


def open_ids(connection: Connection) -> Sequence[int]:
    """Name the backfills that have not finished. Index uq_backfill_open."""
    return connection.execute(select(B.id).where(B.open_task_id.is_not(None)).order_by(B.id)).scalars().all()


def open_of(connection: Connection, task_id: int) -> int | None:
    """Name the unfinished backfill of a row. Index uq_backfill_open."""
    return connection.execute(select(B.id).where(B.open_task_id == task_id)).scalar_one_or_none()


def latest(connection: Connection, limit: int, *, before: int | None = None) -> Sequence[AnyRow]:
    """Read the newest backfills, or those before one. Primary key, backwards."""
    query = select(TABLE) if before is None else select(TABLE).where(B.id < before)
    return connection.execute(query.order_by(B.id.desc()).limit(limit)).all()


def read(connection: Connection, backfill_id: int) -> AnyRow | None:
    """Read one. Primary key."""
    return connection.execute(select(TABLE).where(B.id == backfill_id)).one_or_none()


def take(tx: Connection, backfill_id: int, *, wait: bool = False) -> AnyRow | None:
    """Lock an unfinished backfill; None for a finished one and, unless told to `wait`, for a locked one. Primary key.

    Whoever holds it alone makes its runs: two beats never make a moment's run twice, nor more than `at_a_time`.
    """
    query = select(TABLE).where(B.id == backfill_id, B.finished_at.is_(None))
    return tx.execute(query.with_for_update(skip_locked=not wait)).one_or_none()


def unfinished_runs(tx: Connection, backfill: AnyRow) -> dict[str, str]:
    """Name the runs of a backfill that have not ended, each with its state. Primary key of task_run."""
    ids = json.loads(backfill.active_runs)
    if not ids:
        return {}
    rows = tx.execute(select(R.id, R.state).where(R.id.in_(ids), R.state.in_(UNFINISHED)))
    return {row.id: row.state for row in rows}


def occupied(tx: Connection, task_id: int, first: datetime, last: datetime) -> set[datetime]:
    """Name the moments between two, both inclusive, that need no run: succeeded, under way, or backfilled before.

    Index uq_task_run_moment, a range for each origin.
    """
    needs_none = or_(R.state == State.SUCCESS, R.state.in_(UNFINISHED), R.origin == Origin.BACKFILL)
    bounds = (R.periodic_task_id == task_id, R.origin.in_(list(Origin)), R.scheduled_for.between(first, last))
    return set(tx.execute(select(R.scheduled_for).where(*bounds, needs_none)).scalars())


def move(tx: Connection, backfill: AnyRow, **columns: Any) -> None:
    """Write where a locked backfill stands, if anything changed. Primary key."""
    if columns.get("reason") is not None:
        columns["reason"] = columns["reason"][:REASON_CHARS]
    changed = {name: value for name, value in columns.items() if getattr(backfill, name) != value}
    if changed:
        tx.execute(update(TABLE).where(B.id == backfill.id).values(changed))


def finish(tx: Connection, backfill: AnyRow, state: BackfillState, reason: str) -> None:
    """End a locked backfill. Primary key."""
    values = {"state": state, "reason": reason[:REASON_CHARS], "active_runs": "[]", "finished_at": utc_now()}
    tx.execute(update(TABLE).where(B.id == backfill.id).values(values))


def cancel(tx: Connection, backfill: AnyRow, *, cut: bool = False) -> int:
    """End a locked backfill and revoke its waiting runs, with `cut` the started ones too; return how many.

    Workers cut the calls of revoked runs within seconds.
    """
    ids = list(unfinished_runs(tx, backfill))
    revoked = tx.execute(
        update(RUNS)
        .where(R.id.in_(ids), R.state.in_(TO_REVOKED if cut else sorted(WAITING)))
        .values(state=State.REVOKED, error=f"backfill {backfill.id} was cancelled", finished_at=utc_now())
    ).rowcount
    finish(tx, backfill, BackfillState.CANCELLED, f"cancelled by an operator; {revoked} of its runs with it")
    return revoked


def active_text(run_ids: Iterable[str]) -> str:
    """Write the column `active_runs`."""
    return json.dumps(sorted(run_ids))
