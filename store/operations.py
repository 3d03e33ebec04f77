"""Reads for operators: who lives, and which calendars rows name."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.lifecycle import State
from store.database import AnyRow
from store.leases import BEAT, LEASE
from store.runs import R

RUNS_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Life:
    """Processes, and what the workers among them carry: at most RUNS_SHOWN runs."""

    workers: Sequence[AnyRow]
    beats: Sequence[AnyRow]
    started: Sequence[AnyRow]


def life(connection: Connection) -> Life:
    """Read every lease and every beat, few rows each, and the STARTED runs, the oldest first.

    Index ix_task_run_ready (state).
    """
    running = select(R.id, R.worker, R.task_name, R.started_at, R.deadline_at).where(R.state == State.STARTED)
    return Life(
        workers=connection.execute(select(LEASE).order_by(LEASE.c.id)).all(),
        beats=connection.execute(select(BEAT).order_by(BEAT.c.last_tick_at.desc())).all(),
        started=connection.execute(running.order_by(R.ready_at).limit(RUNS_SHOWN)).all(),
    )
