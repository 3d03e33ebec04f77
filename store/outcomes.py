"""How runs went lately: counts over time, how late they were, each row's last ones, and what fires next."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, literal, select, union_all

from core.lifecycle import Origin
from store.database import AnyRow
from store.housekeeping import first_id_at
from store.runs import TABLE as RUNS
from store.runs import R
from store.schedules import DUE_INDEX, T, runnable
from store.schedules import TABLE as TASKS

COUNTED: Final = 50_000
BY_TASK: Final = "FORCE INDEX (uq_task_run_moment)"
BY_ID: Final = "FORCE INDEX (PRIMARY)"


def by_state(connection: Connection, since: datetime, until: datetime) -> dict[str, int]:
    """Count the runs made in a stretch of time by their state, the newest COUNTED of them. Primary key backwards."""
    some = (
        select(R.state)
        .with_hint(RUNS, BY_ID, "mysql")
        .where(R.id >= first_id_at(since), R.id < first_id_at(until))
        .order_by(R.id.desc())
        .limit(COUNTED)
        .subquery()
    )
    rows = connection.execute(select(some.c.state, func.count().label("runs")).group_by(some.c.state))
    return {row.state: row.runs for row in rows}


def newest(connection: Connection, limit: int) -> Sequence[AnyRow]:
    """Read when the newest runs were due, ready and started. Primary key backwards."""
    columns = (R.id, R.origin, R.state, R.attempt, R.scheduled_for, R.ready_at, R.queued_at, R.started_at)
    return connection.execute(select(*columns).order_by(R.id.desc()).limit(limit)).all()


def last_of(connection: Connection, task_ids: Sequence[int], each: int) -> Mapping[int, Sequence[AnyRow]]:
    """Read the last scheduled runs of each row, oldest first, `each` at most. Index uq_task_run_moment, backwards."""
    if not task_ids:
        return {}
    columns = (R.id, R.state, R.scheduled_for, R.started_at, R.finished_at)
    parts = [
        select(
            select(literal(task_id).label("task_id"), *columns)
            .with_hint(RUNS, BY_TASK, "mysql")
            .where(R.periodic_task_id == task_id, R.origin == Origin.SCHEDULE)
            .order_by(R.scheduled_for.desc())
            .limit(each)
            .subquery()
        )
        for task_id in task_ids
    ]
    found: dict[int, list[AnyRow]] = defaultdict(list)
    for row in connection.execute(union_all(*parts)):
        found[row.task_id].append(row)
    return {task_id: sorted(rows, key=lambda row: row.scheduled_for) for task_id, rows in found.items()}


def next_fires(connection: Connection, limit: int) -> Sequence[AnyRow]:
    """Name the rows that fire next. Index ix_periodic_task_due."""
    query = select(T.id, T.name, T.owner, T.next_run_at).with_hint(TASKS, DUE_INDEX, "mysql").where(runnable(None))
    return connection.execute(query.order_by(T.next_run_at).limit(limit)).all()
