"""Many runs at once: claims and ends of rows that nobody else holds. Everything else is `store.runs`', one by one.

Each begins by locking its rows with SKIP LOCKED, in the transaction that changes them: what somebody holds is left
out, so that one row never keeps the others waiting, and what was read is still so when it is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, exists, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from core.lifecycle import State
from models import PeriodicTask, TaskAfter
from store.bulk import json_table, many, send_rows, update_by_id
from store.database import AnyRow, autocommit, transaction_on, utc_now
from store.runs import READ_COLUMNS, STARTING, TABLE, TO_STARTED, Ending, R, storable

TASKS: Any = PeriodicTask.__table__

ABANDONED_SECONDS: Final = 30  # the server ends a transaction whose host has vanished, by default after eight hours

_READY = select(*READ_COLUMNS).where(R.id.in_(many("ids"))).with_for_update(skip_locked=True)
_IS_FOLLOWED = exists(select(TaskAfter.upstream_id).where(TaskAfter.upstream_id == R.periodic_task_id))
_STARTED = (
    select(R.id, R.worker, R.attempt, R.origin, _IS_FOLLOWED.label("is_followed"))
    .where(R.id.in_(many("ids")), R.state == State.STARTED)
    .with_for_update(skip_locked=True, of=TABLE)
)
_CLAIM = (
    update(TABLE)
    .where(R.id.in_(many("ids")), R.state.in_(TO_STARTED), R.attempt == bindparam("before"))
    .values(**STARTING)
)
_FREE_TASKS = select(TASKS.c.id).where(TASKS.c.id.in_(many("ids"))).with_for_update(skip_locked=True)

_RUN_ID: Final = "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin"  # another than the key's is a scan of the ledger
#: What of an end is sent. Only ends that fit are: JSON_TABLE makes NULL of what is too large for its type.
_ENDED: Final[Mapping[str, str]] = {
    "state": "VARCHAR(16)",
    "result": "LONGTEXT",
    "result_data": "LONGTEXT",
    "error": "LONGTEXT",
    "http_status": "SMALLINT",
    "conversation_id": "VARCHAR(255)",
    "request_id": "VARCHAR(255)",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cost": "DECIMAL(20,8)",
    "currency": "VARCHAR(3)",
}
_SET = ", ".join(f"t.`{name}` = COALESCE(v.`{name}`, t.`{name}`)" for name in _ENDED)  # as `runs.finish`: what is known
_FINISH = text(
    f"UPDATE {json_table({'id': _RUN_ID, **_ENDED})} v "  # noqa: S608 - our own names only
    "STRAIGHT_JOIN task_run t FORCE INDEX (PRIMARY) ON t.id = v.id "
    f"SET {_SET}, t.finished_at = UTC_TIMESTAMP(6)"
)
_OUTCOME_TYPES: Final[Mapping[str, str]] = {"last_run_state": "VARCHAR(16)", "consecutive_failures": "INT"}


@contextmanager
def batch(engine: Engine) -> Iterator[Connection]:
    """Yield one transaction. Its locks are gone within seconds even where nobody is there any more to end it.

    The connection goes back with its usual patience: one that waits in the pool is not to be dropped.
    """
    with autocommit(engine) as connection:
        if connection.dialect.name == "sqlite":
            with transaction_on(connection):
                yield connection
            return
        connection.exec_driver_sql(f"SET SESSION wait_timeout = {ABANDONED_SECONDS}")
        try:
            with transaction_on(connection):
                yield connection
        finally:
            _wait_as_usual(connection)


def _wait_as_usual(connection: Connection) -> None:
    if connection.invalidated:
        return
    try:
        connection.exec_driver_sql("SET SESSION wait_timeout = DEFAULT")
    except SQLAlchemyError:  # what was committed stays so
        connection.invalidate()


def lock_ready(tx: Connection, run_ids: Sequence[str]) -> Sequence[AnyRow]:
    """Read what a worker must know before it claims runs, and lock those that nobody holds. Primary key."""
    return tx.execute(_READY, {"ids": run_ids}).all()


def claim_locked(tx: Connection, run_ids: Sequence[str], attempt: int, worker: str, deadline_at: datetime) -> bool:
    """Take locked runs whose last attempt was `attempt`. False: not all were taken, and nothing may be committed."""
    values = {"ids": run_ids, "before": attempt, "owner": worker, "deadline": deadline_at}
    return tx.execute(_CLAIM, values).rowcount == len(run_ids)


def lock_started(tx: Connection, run_ids: Sequence[str]) -> Mapping[str, AnyRow]:
    """Lock the STARTED runs among these that nobody holds; say whose they are, and whether others wait for their ends.

    Primary key, index ix_task_after_upstream.
    """
    return {row.id: row for row in tx.execute(_STARTED, {"ids": run_ids})}


def finish_locked(tx: Connection, endings: Mapping[str, Ending]) -> None:
    """Write the ends of locked runs of ours, by their ids. Primary key."""
    ended = {run_id: storable(ending) for run_id, ending in endings.items()}
    if tx.dialect.name == "sqlite":
        for run_id, values in ended.items():
            tx.execute(update(TABLE).where(R.id == run_id).values(**values, finished_at=utc_now()))
        return
    send_rows(tx, _FINISH, [[run_id, *map(values.get, _ENDED)] for run_id, values in ended.items()])


def record_successes(tx: Connection, task_ids: Sequence[int]) -> Sequence[int]:
    """Show on schedule rows that a run of theirs was a SUCCESS; name those that nobody holds, which alone are written.

    Primary keys.
    """
    free = tx.execute(_FREE_TASKS, {"ids": task_ids}).scalars().all()
    shown = {"last_run_state": State.SUCCESS.value, "consecutive_failures": 0}
    update_by_id(tx, TASKS, [{"id": task_id, **shown} for task_id in free], _OUTCOME_TYPES)
    return free
