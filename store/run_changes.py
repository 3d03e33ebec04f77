"""What the API does to runs: cancel, repeat, move. Every change is one guarded statement.

Cancelling writes what an operator's `UPDATE task_run SET state = 'REVOKED'` writes: the worker that carries the run
sees within two seconds that its row is no longer its own, and cuts the call.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from core.lifecycle import FINAL, WAITING, Origin, State
from store.database import AnyRow, is_duplicate, utc_now
from store.runs import TABLE, TO_REVOKED, R, new_run_id

CHANGEABLE: Final = sorted(WAITING)
REPEATABLE: Final = sorted(FINAL)
TAKEN_MOMENTS: Final = 10_000  # SQLite's clock knows milliseconds, and several repetitions may share one
_REPEATED: Final = (
    "id", "periodic_task_id", "task_name", "origin", "scheduled_for", "ready_at", "state", "queue", "priority",
    "config", "retry_of", "after_run",
)  # fmt: skip
_LOCKED: Final = (R.id, R.state, R.queue, R.priority, R.attempt, R.periodic_task_id, R.task_name, R.config)


def lock(tx: Connection, run_id: str) -> AnyRow | None:
    """Read a run and keep it as it is until the transaction ends. Primary key."""
    return tx.execute(select(*_LOCKED).where(R.id == run_id).with_for_update()).one_or_none()


def cancel(tx: Connection, run_id: str, reason: str) -> bool:
    """End a run that is not final as REVOKED. False: it has ended. Primary key."""
    statement = update(TABLE).where(R.id == run_id, R.state.in_(TO_REVOKED))
    return tx.execute(statement.values(state=State.REVOKED, error=reason, finished_at=utc_now())).rowcount == 1


def cancel_waiting(tx: Connection, queue: str, run_ids: Sequence[str], reason: str) -> int:
    """End those of the runs that wait in the queue still; say how many that were. Primary key."""
    done = 0
    for run_id in run_ids:  # one by one: for a long IN list MySQL would rather scan, and a scan waits for locked rows
        done += tx.execute(
            update(TABLE)
            .where(R.id == run_id, R.state.in_(CHANGEABLE), R.queue == queue)
            .values(state=State.REVOKED, error=reason, finished_at=utc_now())
        ).rowcount
    return done


def repeat(tx: Connection, run_id: str, moment: datetime, config: str | None = None) -> str | None:
    """Make a new run of a final one, with its lane and its input, or with `config`; name it.

    None: it is not final. Primary key.

    The moment is `moment`, or the first microsecond after it at which the task has no run by the API yet.
    """
    new_id, ready = new_run_id(), literal(moment, R.ready_at.type)
    for later in range(TAKEN_MOMENTS):
        at = literal(moment + timedelta(microseconds=later), R.scheduled_for.type)
        copied = select(
            literal(new_id), R.periodic_task_id, R.task_name, literal(Origin.API.value), at, ready,
            literal(State.PENDING.value), R.queue, R.priority,
            R.config if config is None else literal(config, R.config.type), R.id,
            R.after_run,
        ).where(R.id == run_id, R.state.in_(REPEATABLE))  # fmt: skip
        try:
            with tx.begin_nested():
                return new_id if tx.execute(insert(TABLE).from_select(_REPEATED, copied)).rowcount == 1 else None
        except IntegrityError as error:
            if not is_duplicate(error):
                raise
    return None


def move(tx: Connection, run_id: str, queue: str, priority: int) -> bool:
    """Give a waiting run another lane. False: it waits no longer. Primary key."""
    statement = update(TABLE).where(R.id == run_id, R.state.in_(CHANGEABLE)).values(queue=queue, priority=priority)
    return tx.execute(statement).rowcount == 1


def waiting_in(connection: Connection, queue: str, limit: int) -> Sequence[AnyRow]:
    """Name runs of a queue that no worker has, oldest first, held ones too. Index ix_task_run_ready."""
    query = select(R.id, R.state, R.task_name, R.ready_at).where(R.state.in_(CHANGEABLE), R.queue == queue)
    return connection.execute(query.order_by(R.ready_at).limit(limit)).all()


def lanes(connection: Connection, limit: int) -> Sequence[AnyRow]:
    """Tell of each queue how many runs wait, are held and run, and since when the oldest is ready.

    Index ix_task_run_ready; at most `limit` runs of each state are looked at, the oldest.
    """
    return connection.execute(_LANES, {"looked_at": limit}).all()


def _lanes_of(state: State) -> Select[Any]:
    some = select(R.state, R.queue, R.ready_at).where(R.state == state).order_by(R.ready_at)
    rows = some.limit(bindparam("looked_at", type_=Integer)).subquery()
    is_held = and_(rows.c.state == State.PENDING, rows.c.ready_at.is_(None))
    held: Any = func.sum(case((is_held, 1), else_=0)).label("held")
    lane = select(
        rows.c.queue, rows.c.state, func.count().label("runs"), held, func.min(rows.c.ready_at).label("oldest")
    )
    return lane.group_by(rows.c.queue, rows.c.state)


_LANES: Final = union_all(*(_lanes_of(state) for state in (*CHANGEABLE, State.STARTED)))
