"""Queries on runs that are not to start yet, or never: put off, skipped, woken."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, case, select, update

from core.lifecycle import State, leading_to
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


def wake(connection: Connection, ids: Sequence[str]) -> Sequence[AnyRow]:
    """Let runs go now that were put off; name those of `ids` that may start. Primary key."""
    waiting = (R.id.in_(ids), R.state.in_((State.PENDING, State.RETRY)), R.ready_at > utc_now())
    connection.execute(update(TABLE).where(*waiting).values(ready_at=utc_now()))
    may_start = (R.id.in_(ids), R.state.in_(TO_STARTED), R.ready_at <= utc_now())
    return connection.execute(select(R.id, R.queue, R.priority, R.attempt, R.config, R.state).where(*may_start)).all()


def started(connection: Connection) -> Sequence[AnyRow]:
    """Name the runs that go on anywhere, with their age in the database's time. Index ix_task_run_ready (state)."""
    query = select(R.id, R.config, R.started_at, utc_now().label("now")).where(R.state == State.STARTED)
    return connection.execute(query).all()
