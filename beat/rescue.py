"""Rescue: runs whose worker is gone, or that ran past their deadline, get another attempt or an honest end."""

import logging
from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import attempts
from store import leases
from store.database import autocommit, is_contention, read_clock

logger = logging.getLogger("rescue")

BATCH = 1000
OVERDUE_BY = timedelta(seconds=15)  # the worker itself ends a call at its deadline; this is for one that cannot


def rescue(engine: Engine, *, judge_leases: bool) -> int:
    """Make one pass; return how many runs were moved on.

    `judge_leases`: only a beat that itself reached the database for one whole lease may call a worker dead or a
    run overdue, else an outage of the database would fail every healthy run: its answer may wait to be written.
    A dead worker's lease row is removed first: from then on that worker cannot renew, finds out, and cancels
    what it still does.
    """
    with autocommit(engine) as connection:
        now = read_clock(connection)
        if judge_leases:
            for worker in leases.remove_expired(connection, now):
                logger.error("worker %s stopped renewing its lease: its runs are rescued", worker)
        moved = 0
        for run in leases.orphaned_runs(connection, now, OVERDUE_BY if judge_leases else None, BATCH):
            error = attempts.lost(run, f"worker {run.worker} was lost") if run.worker_lost else attempts.overdue(run)
            try:
                moved += attempts.fail(connection, run, error) is not None
            except DBAPIError as conflict:
                if not is_contention(conflict):
                    raise
                logger.warning("run %s is locked by another session: it is rescued later", run.id)
        attempts.show_owed(connection)
        return moved
