"""What somebody should look at: failing, overdue, broken and paused rows, runs that ask for a person, used up budgets.

Every query reads a bounded number of rows, whatever has piled up, and locks none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from core.lifecycle import State
from store.budgets import TABLE as BUDGETS
from store.budgets import B
from store.database import AnyRow
from store.overview import ERROR_CHARACTERS
from store.runs import TABLE as RUNS
from store.runs import R
from store.schedules import DUE_INDEX, T
from store.schedules import TABLE as TASKS

BY_STATE: Final = "FORCE INDEX (ix_task_run_ready)"
FAILURES_READ: Final = 2000  # the newest; a row whose last failure is older than all of these is not found
IDLE_READ: Final = 10_000  # rows without a next moment, among which the paused ones are looked for
COUNTED: Final = 100


@dataclass(frozen=True, slots=True)
class Some:
    """The first few of what was found, and how many there are, counted up to COUNTED."""

    rows: Sequence[AnyRow]
    found: int

    @property
    def is_more(self) -> bool:
        """True where there may be more than were counted."""
        return self.found >= COUNTED


def failing(connection: Connection, limit: int) -> Some:
    """Find rows whose last runs failed, the one that failed last in front, with the error of its last failure.

    Index ix_task_run_ready backwards, then primary keys.
    """
    newest = (
        select(R.periodic_task_id, R.id)
        .with_hint(RUNS, BY_STATE, "mysql")
        .where(R.state == State.FAILURE, R.ready_at.is_not(None))
        .order_by(R.ready_at.desc())
        .limit(FAILURES_READ)
        .subquery()
    )
    last_of = (
        select(newest.c.periodic_task_id.label("task_id"), func.max(newest.c.id).label("run_id"))
        .where(newest.c.periodic_task_id.is_not(None))
        .group_by(newest.c.periodic_task_id)
        .subquery()
    )
    query = (
        select(
            T.id, T.name, T.owner, T.consecutive_failures, R.id.label("run_id"), R.finished_at, R.error_kind,
            func.substr(R.error, 1, ERROR_CHARACTERS).label("error"),
        )
        .select_from(last_of)
        .join(TASKS, T.id == last_of.c.task_id)
        .join(RUNS, R.id == last_of.c.run_id)
        .where(T.consecutive_failures > 0)
        .order_by(last_of.c.run_id.desc())
        .limit(COUNTED)
    )  # fmt: skip
    found = connection.execute(query).all()
    return Some(found[:limit], len(found))


def asking(connection: Connection, since: datetime, limit: int) -> Some:
    """Find runs since then that ended in a question to a person, newest first. Index ix_task_run_ready."""
    query = (
        select(R.id, R.periodic_task_id, R.task_name, R.finished_at)
        .with_hint(RUNS, BY_STATE, "mysql")
        .where(R.state == State.REQUIRES_ACTION, R.ready_at >= since)
        .order_by(R.ready_at.desc())
        .limit(COUNTED)
    )
    found = connection.execute(query).all()
    return Some(found[:limit], len(found))


def broken(connection: Connection, limit: int) -> Some:
    """Find rows that cannot run as they stand. Index ix_periodic_task_rearm."""
    query = select(T.id, T.name, T.owner, T.config_error, T.update_time).where(T.rearm_at.is_not(None))
    found = connection.execute(query.order_by(T.rearm_at).limit(COUNTED)).all()
    return Some(found[:limit], len(found))


def paused(connection: Connection, limit: int) -> Some:
    """Find rows that are switched off, among the first IDLE_READ without a next moment. Index ix_periodic_task_due."""
    idle = (
        select(T.id, T.enabled, T.update_time)
        .with_hint(TASKS, DUE_INDEX, "mysql")
        .where(T.needs_arming == 0, T.next_run_at.is_(None))
        .limit(IDLE_READ)
        .subquery()
    )
    columns = (T.id, T.name, T.owner, T.pause_reason, T.update_by, T.update_time)
    newest = select(idle.c.id).where(idle.c.enabled == 0).order_by(idle.c.update_time.desc()).limit(COUNTED).subquery()
    query = select(*columns).select_from(newest).join(TASKS, T.id == newest.c.id).order_by(T.update_time.desc())
    found = connection.execute(query).all()
    return Some(found[:limit], len(found))


def used_up(connection: Connection, now: datetime) -> Sequence[AnyRow]:
    """Name the budgets that were found used up within their window. Reads all budgets."""
    query = (
        select(
            B.id, B.endpoint, B.periodic_task_id, T.name, B.amount, B.unit, B.at_limit, B.window_seconds, B.reached_at
        )
        .select_from(BUDGETS)
        .outerjoin(TASKS, T.id == B.periodic_task_id)
        .where(B.reached_at.is_not(None))
        .order_by(B.reached_at.desc())
    )
    rows = connection.execute(query).all()
    return [row for row in rows if row.reached_at > now - timedelta(seconds=row.window_seconds)]
