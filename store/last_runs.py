"""Queries on what a row's earlier runs came to: what a template, a check of `expect` or a conversation needs."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select, union_all, update

from core.lifecycle import Origin, State
from models import PeriodicTask
from store.runs import TABLE, Claim, R

LOOKED_AT = 50  # runs of each origin
#: What says something about the task: not SKIPPED, not REVOKED.
TELLING = (State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION)


@dataclass(frozen=True, slots=True)
class Last:
    """How the last run ended, and the answer of the last SUCCESS; None where there is none."""

    state: str | None = None
    finished_at: datetime | None = None
    result: str | None = None


def last_runs(connection: Connection, run: Claim) -> Last:
    """Look at the runs of the same row for earlier moments, the newest 50 of each origin.

    By moment, not by time of ending: so every attempt of a run sees the same. Index uq_task_run_moment, backwards.
    """
    if run.periodic_task_id is None:
        return Last()
    before = or_(R.scheduled_for < run.scheduled_for, and_(R.scheduled_for == run.scheduled_for, R.id < run.id))
    recent = [
        select(R.id, R.state, R.finished_at, R.scheduled_for)
        .where(R.periodic_task_id == run.periodic_task_id, R.origin == origin)
        .where(R.scheduled_for <= run.scheduled_for, before)
        .order_by(R.scheduled_for.desc())
        .limit(LOOKED_AT)
        .subquery()
        for origin in Origin
    ]
    found = union_all(*(select(query) for query in recent)).subquery()
    newest = found.c.scheduled_for.desc(), found.c.id.desc()
    ended = connection.execute(select(found).where(found.c.state.in_(TELLING)).order_by(*newest)).all()
    if not ended:
        return Last()
    good = next((row.id for row in ended if row.state == State.SUCCESS), None)
    result = connection.execute(select(R.result).where(R.id == good)).scalar_one_or_none() if good else None
    return Last(ended[0].state, ended[0].finished_at, result)


def last_conversation(connection: Connection, task_id: int) -> str | None:
    """Find the conversation that the task's newest run with one used, among the last 50 of each origin.

    Index uq_task_run_moment, backwards.
    """
    recent = [
        select(R.conversation_id, R.scheduled_for)
        .where(R.periodic_task_id == task_id, R.origin == origin)
        .order_by(R.scheduled_for.desc())
        .limit(LOOKED_AT)
        .subquery()
        for origin in Origin
    ]
    found = union_all(*(select(query) for query in recent)).subquery()
    return connection.execute(
        select(found.c.conversation_id)
        .where(found.c.conversation_id.is_not(None))
        .order_by(found.c.scheduled_for.desc())
        .limit(1)
    ).scalar_one_or_none()


def zone_of(connection: Connection, task_id: int | None) -> str | None:
    """Name the time zone of a row; None where it names none, or is gone. Primary key."""
    table = PeriodicTask.__table__
    return connection.execute(select(table.c.timezone).where(table.c.id == task_id)).scalar_one_or_none()


def save_rendered(connection: Connection, run: Claim, text: str) -> bool:
    """Keep what a template became, where the run is still ours. Primary key."""
    ours = and_(R.id == run.id, R.worker == run.worker, R.attempt == run.attempt, R.state == State.STARTED)
    return connection.execute(update(TABLE).where(ours).values(rendered=text)).rowcount == 1
