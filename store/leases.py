"""Queries on worker leases and beat heartbeats, and on the runs of workers that are gone."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, delete, false, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from core.lifecycle import State
from models import BeatHeartbeat, SchedulerState, TaskRun, WorkerLease
from store.database import AnyRow, is_duplicate, read_clock, utc_now

LEASE: Table = WorkerLease.__table__  # type: ignore[assignment]
BEAT: Table = BeatHeartbeat.__table__  # type: ignore[assignment]
STATE: Table = SchedulerState.__table__  # type: ignore[assignment]
RUN: Table = TaskRun.__table__  # type: ignore[assignment]


def register_worker(tx: Connection, worker: str, *, pid: int, queues: str, concurrency: int, lease: timedelta) -> None:
    """Enter a worker under an id that was never used before."""
    now = read_clock(tx)
    tx.execute(
        insert(LEASE).values(
            id=worker, pid=pid, queues=queues, concurrency=concurrency, started_at=now, expires_at=now + lease
        )
    )


def renew_worker(tx: Connection, worker: str, lease: timedelta) -> bool:
    """Extend a lease. False: the worker was judged dead, and must take a new id. Primary key."""
    now = read_clock(tx)
    statement = update(LEASE).where(LEASE.c.id == worker).values(expires_at=now + lease)
    return tx.execute(statement).rowcount == 1


def remove_worker(tx: Connection, worker: str) -> None:
    """A worker that stopped in order leaves no lease behind. Primary key."""
    tx.execute(delete(LEASE).where(LEASE.c.id == worker))


def living_workers(connection: Connection) -> Sequence[AnyRow]:
    """Name the workers whose lease runs. Index ix_worker_lease_expires."""
    return connection.execute(select(LEASE).where(LEASE.c.expires_at > utc_now()).order_by(LEASE.c.id)).all()


def started_counts(connection: Connection) -> Counter[str]:
    """Count each worker's STARTED runs. Index ix_task_run_ready (state)."""
    query = select(RUN.c.worker, func.count().label("started")).where(RUN.c.state == State.STARTED)
    return Counter({row.worker: row.started for row in connection.execute(query.group_by(RUN.c.worker))})


def remove_expired(connection: Connection, now: datetime) -> list[str]:
    """Judge workers dead: remove leases that ran out, and name them. Index ix_worker_lease_expires.

    A worker whose row is still there may renew even a lease that ran out: nobody has judged it yet.
    """
    expired = connection.execute(select(LEASE.c.id).where(LEASE.c.expires_at <= now)).scalars().all()
    statement = delete(LEASE).where(LEASE.c.expires_at <= now)
    return [worker for worker in expired if connection.execute(statement.where(LEASE.c.id == worker)).rowcount == 1]


def orphaned_runs(connection: Connection, now: datetime, overdue_by: timedelta | None, limit: int) -> Sequence[AnyRow]:
    """Name STARTED runs whose worker has no lease row, or whose deadline passed `overdue_by` ago (None: not those).

    Index ix_task_run_ready (state), joined to the lease by primary key.
    """
    lost = LEASE.c.id.is_(None)
    overdue = false() if overdue_by is None else RUN.c.deadline_at <= now - overdue_by
    return connection.execute(
        select(
            RUN.c.id, RUN.c.periodic_task_id, RUN.c.task_name, RUN.c.worker, RUN.c.attempt, RUN.c.config,
            RUN.c.remote_handle, lost.label("worker_lost"),
        )
        .select_from(RUN.outerjoin(LEASE, LEASE.c.id == RUN.c.worker))
        .where(RUN.c.state == State.STARTED, or_(lost, overdue))
        .limit(limit)
    ).all()  # fmt: skip


def beat_alive(tx: Connection, beat: str) -> None:
    """Note that a beat ticks; the first call enters it. Primary key."""
    now = read_clock(tx)
    if tx.execute(update(BEAT).where(BEAT.c.id == beat).values(last_tick_at=now)).rowcount == 0:
        # Found first and deleted by key: a DELETE that scans locks every row, and two new beats deadlock.
        gone = tx.execute(select(BEAT.c.id).where(BEAT.c.last_tick_at < now - timedelta(days=1))).scalars().all()
        for other in gone:
            tx.execute(delete(BEAT).where(BEAT.c.id == other))
        tx.execute(insert(BEAT).values(id=beat, started_at=now, last_tick_at=now))


def newest_tick(connection: Connection) -> datetime | None:
    """Tell when any beat last ticked."""
    newest: datetime | None = connection.execute(select(func.max(BEAT.c.last_tick_at))).scalar_one()
    return newest


def read_state(connection: Connection, name: str) -> str | None:
    """Read a value that beats share. Primary key."""
    return connection.execute(select(STATE.c.value).where(STATE.c.name == name)).scalar_one_or_none()


def write_state(tx: Connection, name: str, value: str) -> None:
    """Write a value that beats share; where another beat enters it at the same moment, that one stands. Primary key."""
    now = read_clock(tx)
    statement = update(STATE).where(STATE.c.name == name).values(value=value, update_time=now)
    if tx.execute(statement).rowcount == 0:
        _enter_state(tx, name, value, now)


def take_turn(tx: Connection, name: str, every: timedelta) -> bool:
    """True for one beat only, once in `every`: who does the housekeeping now. Primary key."""
    now = read_clock(tx)
    row = tx.execute(select(STATE.c.update_time).where(STATE.c.name == name).with_for_update()).one_or_none()
    if row is None:
        return _enter_state(tx, name, "", now)
    if row.update_time > now - every:
        return False
    write_state(tx, name, "")
    return True


def hold_turn(tx: Connection, name: str) -> bool:
    """True for one beat at a time, until its transaction ends. Primary key."""
    if read_state(tx, name) is None:
        write_state(tx, name, "")
    turn = select(STATE.c.name).where(STATE.c.name == name).with_for_update(skip_locked=True)
    return tx.execute(turn).first() is not None


def _enter_state(tx: Connection, name: str, value: str, now: datetime) -> bool:
    """Insert a value that is not there yet. False: another beat was faster."""
    try:
        with tx.begin_nested():
            tx.execute(insert(STATE).values(name=name, value=value, update_time=now))
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True
