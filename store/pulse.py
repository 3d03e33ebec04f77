"""Whether anything has happened: a text that is another one once runs, rows or processes are others.

It need not see every single change: who asks by it looks anew every AT_LEAST_EVERY whatever happens.
"""

from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import Connection, ScalarSelect, func, select

from core.lifecycle import FINAL, State
from models import AuditLog
from store.database import read_clock
from store.leases import living_workers, newest_tick
from store.runs import TABLE as RUNS
from store.runs import R
from store.schedules import DUE_INDEX, T
from store.schedules import TABLE as TASKS

AT_LEAST_EVERY: Final = timedelta(seconds=30)
BEATING: Final = timedelta(seconds=10)
COUNTED: Final = 1000
BY_STATE: Final = "FORCE INDEX (ix_task_run_ready)"
A: Final = AuditLog.__table__.c


def pulse(connection: Connection) -> str:
    """Feel it: the ends of indexes, and the processes that live.

    Primary keys, ix_task_run_ready, ix_periodic_task_due: an entry or two of each, and COUNTED of the calls that go on.
    Edits are seen by their entries in the audit.
    """
    seen = connection.execute(
        select(
            select(func.max(R.id)).scalar_subquery(),
            select(func.max(A.id)).scalar_subquery(),
            select(T.next_run_at)
            .with_hint(TASKS, DUE_INDEX, "mysql")
            .where(T.needs_arming == 0, T.next_run_at.is_not(None))
            .order_by(T.next_run_at)
            .limit(1)
            .scalar_subquery(),
            *(_end(state, newest=True) for state in State),
            *(_end(state, newest=False) for state in State if state not in FINAL),
            _going_on(),
        )
    ).one()
    now, tick = read_clock(connection), newest_tick(connection)
    processes = [row.id for row in living_workers(connection)], tick is not None and now - tick < BEATING
    slot = int(now.timestamp() // AT_LEAST_EVERY.total_seconds())
    return blake2b(repr((tuple(seen), processes, slot)).encode(), digest_size=8).hexdigest()


def _end(state: State, *, newest: bool) -> ScalarSelect[Any]:
    query = select(R.ready_at).with_hint(RUNS, BY_STATE, "mysql").where(R.state == state, R.ready_at.is_not(None))
    return query.order_by(R.ready_at.desc() if newest else R.ready_at).limit(1).scalar_subquery()


def _going_on() -> ScalarSelect[Any]:
    some = select(R.state).with_hint(RUNS, BY_STATE, "mysql").where(R.state == State.STARTED).limit(COUNTED).subquery()
    return select(func.count()).select_from(some).scalar_subquery()
