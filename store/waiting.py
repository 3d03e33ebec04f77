"""Queries on runs that are not to start yet, or never: put off, skipped, woken."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, case, select, update

from core.lifecycle import FINAL, State, leading_to
from store.database import AnyRow, utc_now
from store.runs import TABLE, TO_STARTED, WAITS, R

TO_SKIPPED = leading_to(State.SKIPPED)


def wait(connection: Connection, run: AnyRow, ready_at: datetime, why: str) -> bool:
    """Put a run off that was read and may not start yet: no attempt, a later `ready_at`. Primary key."""
    went_back = case((R.state == State.QUEUED, State.PENDING), else_=R.state)
    never_ran = case((R.attempt == 0, f"{WAITS}{why}"), else_=R.error)
    return (
        connection.execute(
            update(TABLE)
            .where(R.id == run.id, R.state.in_(TO_STARTED), R.attempt == run.attempt, R.ready_at <= utc_now())
            .values(state=went_back, ready_at=ready_at, error=never_ran)
        ).rowcount
        == 1
    )


def skip(connection: Connection, run_id: str, why: str) -> bool:
    """End a run that never started and is not to. Primary key."""
    statement = update(TABLE).where(R.id == run_id, R.state.in_(TO_SKIPPED), R.attempt == 0)
    return connection.execute(statement.values(state=State.SKIPPED, error=why, finished_at=utc_now())).rowcount == 1


def wake(connection: Connection, woken: Sequence[tuple[str, int | None]]) -> Sequence[AnyRow]:
    """Let runs go now that were put off, before an attempt that is named; name those that have not ended. Primary key.

    One that has made that attempt meanwhile is left alone: its RETRY has a back-off of its own. One that is STARTED is
    named too: it was let in and claimed before this came, and holds its slot. `is_unsent`: it may start and is not on
    the broker.
    """
    unsent = R.state.in_((State.PENDING, State.RETRY))
    for attempt in {attempt for _, attempt in woken}:
        named = R.id.in_([run_id for run_id, of in woken if of == attempt])
        stood_for = (named,) if attempt is None else (named, R.attempt == attempt)
        connection.execute(update(TABLE).where(*stood_for, unsent, R.ready_at > utc_now()).values(ready_at=utc_now()))
    ids = [run_id for run_id, _ in woken]
    is_unsent = and_(unsent, R.ready_at <= utc_now()).label("is_unsent")
    unfinished = (R.id.in_(ids), R.state.not_in(sorted(FINAL)))
    return connection.execute(
        select(R.id, R.queue, R.priority, R.attempt, R.config, is_unsent).where(*unfinished)
    ).all()


def started(connection: Connection) -> Sequence[AnyRow]:
    """Name the runs that go on anywhere, with their age in the database's time. Index ix_task_run_ready (state)."""
    query = select(R.id, R.config, R.started_at, utc_now().label("now")).where(R.state == State.STARTED)
    return connection.execute(query).all()
