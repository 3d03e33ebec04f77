"""Reads for operators: who lives, and what they carry."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from core.lifecycle import State
from store.database import AnyRow
from store.leases import BEAT, LEASE
from store.runs import R

RUNS_SHOWN = 1000


def workers(connection: Connection) -> Sequence[AnyRow]:
    """Read every lease; few rows."""
    return connection.execute(select(LEASE).order_by(LEASE.c.id)).all()


def beats(connection: Connection) -> Sequence[AnyRow]:
    """Read every beat, the one that ticked last in front; few rows."""
    return connection.execute(select(BEAT).order_by(BEAT.c.last_tick_at.desc())).all()


def started(connection: Connection) -> Sequence[AnyRow]:
    """Read what workers carry, the oldest RUNS_SHOWN of it. Index ix_task_run_ready (state)."""
    running = select(R.id, R.worker, R.task_name, R.started_at, R.deadline_at).where(R.state == State.STARTED)
    return connection.execute(running.order_by(R.ready_at).limit(RUNS_SHOWN)).all()
