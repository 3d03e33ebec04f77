"""Counts of the ledger, as the seeds' APIs tell them. Each reads at most LIMIT runs; who asks remembers them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, case, func, literal, select, text

from core.lifecycle import State
from store.database import AnyRow
from store.housekeeping import first_id_at
from store.run_search import BY_ID, BY_STATE
from store.runs import TABLE, R

LIMIT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """What the runs of one queue and task came to. `seconds` is the mean of the `ended` ones; None: there are none."""

    task_name: str
    queue: str
    runs: int
    succeeded: int
    failed: int
    ended: int
    seconds: float | None


def count_by_state(connection: Connection) -> dict[State, int]:
    """Count each state, up to LIMIT. Index ix_task_run_ready, no row is read."""
    counts = [
        select(func.count())
        .select_from(
            select(literal(1).label("one"))
            .with_hint(TABLE, BY_STATE, "mysql")
            .where(R.state == state)
            .limit(LIMIT)
            .subquery()
        )
        .scalar_subquery()
        .label(state.value)
        for state in State
    ]
    row = connection.execute(select(*counts)).one()
    return {state: getattr(row, state.value) for state in State}


def since(connection: Connection, moment: datetime) -> Sequence[TaskFigures]:
    """Sum up the runs created since a moment, the newest LIMIT of them, by task and queue. Primary key."""
    some = (
        select(R.task_name, R.queue, R.state, R.started_at, R.finished_at)
        .with_hint(TABLE, BY_ID, "mysql")
        .where(R.id >= first_id_at(moment))
        .order_by(R.id.desc())
        .limit(LIMIT)
        .subquery()
    )
    took = (
        func.timestampdiff(text("MICROSECOND"), some.c.started_at, some.c.finished_at) / 1e6
        if connection.dialect.name != "sqlite"
        else (func.julianday(some.c.finished_at) - func.julianday(some.c.started_at)) * 86400
    )
    rows: Sequence[AnyRow] = connection.execute(
        select(
            some.c.task_name,
            some.c.queue,
            func.count().label("runs"),
            func.sum(case((some.c.state == State.SUCCESS, 1), else_=0)).label("succeeded"),
            func.sum(case((some.c.state == State.FAILURE, 1), else_=0)).label("failed"),
            func.count(took).label("ended"),
            func.avg(took).label("seconds"),
        ).group_by(some.c.task_name, some.c.queue)
    ).all()
    return [
        TaskFigures(
            row.task_name,
            row.queue,
            row.runs,
            int(row.succeeded),
            int(row.failed),
            row.ended,
            None if row.seconds is None else float(row.seconds),
        )
        for row in rows
    ]
