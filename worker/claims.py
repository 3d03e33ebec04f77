"""Taking a run: exactly one of any number of workers gets it, if it is ready and nothing is against it."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, TypeAlias

from celery import Celery
from celery.exceptions import Reject
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

import attempts
from core.lifecycle import State
from core.task_config import AnyConfig, readable_config
from store import run_batches, runs
from store.database import AnyRow, autocommit, is_contention, is_refused
from store.runs import Claim
from worker.crowd import ALONE, Carried
from worker.runtime import LEDGER_PAUSE, WorkerRuntime

logger = logging.getLogger("agent_tasks")

CLAIM_PATIENCE: Final = 10.0  # seconds; then the message is dropped, and beat sends the run again
UNREADABLE_TIMEOUT: Final = 60.0  # seconds for a run that ends before it calls anything

#: What a claim has written whose answer was lost with the connection: the worker, and the attempt.
Written: TypeAlias = tuple[str, int] | None


def claim(worker: WorkerRuntime, app: Celery, run_id: str) -> Claim | None:
    """Take the run if it is ready, may start and nobody has it. None: drop the message; if it waits it is sent again.

    While the ledger is away this waits ten seconds; longer only where the run may be ours already. Raises Reject where
    this process is to end: nothing is claimed that is given back at once.
    """
    return worker.claiming.do(run_id, partial(_claim_together, worker), partial(_claim_alone, worker, app, run_id))


def _claim_alone(worker: WorkerRuntime, app: Celery, run_id: str, written: Written) -> Claim | None:
    give_up_at = monotonic() + CLAIM_PATIENCE
    pause = 0.0  # the first failure may be a stale connection only
    while True:
        trying: Written = None
        try:
            with autocommit(worker.engine) as connection:
                row = runs.read(connection, run_id)
                if row is None:
                    return None
                if written is not None and _is(row, written):
                    return _claimed(worker, row, *written)
                if not _may_be_taken(worker, connection, row):
                    return None
                trying = (worker.worker, row.attempt + 1)
                if becomes_ours(worker, app, connection, row, trying[0]):
                    return _claimed(worker, row, *trying)
                if written is None or not _is(runs.read(connection, run_id), written):
                    return None
                return _claimed(worker, row, *written)  # the commit of an earlier try came first
        except SQLAlchemyError as error:
            # A try that wrote nothing says nothing of one before: its commit may be what holds the row now.
            written = written if _wrote_nothing(error) else trying or written
            logger.warning("run %s cannot be claimed now: %s", run_id, getattr(error, "orig", error))
            if (written is None and monotonic() > give_up_at) or not worker.wait_for_ledger(pause):
                return None
            pause = LEDGER_PAUSE


def _may_be_taken(worker: WorkerRuntime, connection: Connection, row: AnyRow) -> bool:
    if row.state == State.REVOKED:
        note_cancel(connection, row)
    if not _is_ready(row):
        return False
    if worker.draining.is_set():
        raise Reject("this worker is stopping", requeue=True)
    return worker.owns_lease()


def _is_ready(row: AnyRow) -> bool:
    return row.state in runs.TO_STARTED and row.ready_at is not None and row.ready_at <= row.now


def _is(row: AnyRow | None, written: tuple[str, int]) -> bool:
    return row is not None and row.state == State.STARTED and (row.worker, row.attempt) == written


def _wrote_nothing(error: SQLAlchemyError) -> bool:
    """True where the database answered: what it refused or rolled back was not written."""
    return is_refused(error) or (isinstance(error, DBAPIError) and is_contention(error))


def becomes_ours(worker: WorkerRuntime, app: Celery, connection: Connection, row: AnyRow, owner: str) -> bool:
    """Claim a run that was read, unless a hold, a limit or a budget is against it."""
    config = readable_config(row.config)
    deadline = row.now + _allowed(config)
    if worker.holds.turns_away(connection, row, config):
        worker.admission.step_aside(connection, app, row, config)
        return False
    terms = worker.admission.terms_of(connection, config, row.periodic_task_id)
    if terms is None:
        return runs.claim(connection, row.id, row.attempt, owner, deadline)
    return worker.admission.claim(connection, app, row, terms, owner, deadline)


def _allowed(config: AnyConfig | None) -> timedelta:
    return timedelta(seconds=config.timeout if config else UNREADABLE_TIMEOUT)


def _claim_together(worker: WorkerRuntime, run_ids: Sequence[str]) -> Sequence[Carried]:
    """Claim what is ready, nobody holds and nothing is against; whatever takes more than that goes alone."""
    written: dict[str, Written] = {}
    try:
        with run_batches.batch(worker.engine) as tx:
            free = [row for row in run_batches.lock_ready(tx, run_ids) if _is_plain(worker, tx, row)]
            if not free or worker.draining.is_set() or not worker.owns_lease():
                return [ALONE] * len(run_ids)
            owner = worker.worker  # after the question: a lease that was lost and taken again has another id
            for (attempt, deadline), ids in _by_attempt(free).items():
                written |= dict.fromkeys(ids, (owner, attempt + 1))
                if not run_batches.claim_locked(tx, ids, attempt, owner, deadline):
                    raise NotAllTaken
    except NotAllTaken:
        return [ALONE] * len(run_ids)
    except SQLAlchemyError as error:
        logger.warning("%d runs cannot be claimed together now: %s", len(run_ids), getattr(error, "orig", error))
        return [Carried(is_done=False, value=written.get(run_id)) for run_id in run_ids]
    claims = {row.id: _claimed(worker, row, owner, row.attempt + 1) for row in free}
    return [Carried(is_done=True, value=claims[each]) if each in claims else ALONE for each in run_ids]


class NotAllTaken(Exception):
    """A run that was locked did not become ours: nothing is committed."""


def _is_plain(worker: WorkerRuntime, connection: Connection, row: AnyRow) -> bool:
    if not _is_ready(row):
        return False
    config = readable_config(row.config)
    return (
        config is not None
        and not worker.holds.are_any(connection)
        and worker.admission.terms_of(connection, config, row.periodic_task_id) is None
    )


def _by_attempt(rows: Sequence[AnyRow]) -> dict[tuple[int, Any], list[str]]:
    """Group runs by what their claims write: the attempt before, and the deadline."""
    groups: dict[tuple[int, Any], list[str]] = {}
    for row in rows:
        groups.setdefault((row.attempt, row.now + _allowed(readable_config(row.config))), []).append(row.id)
    return groups


def _claimed(worker: WorkerRuntime, row: Any, owner: str, attempt: int) -> Claim:
    run = Claim(
        row.id, attempt, owner, row.periodic_task_id, row.task_name, row.config, row.scheduled_for, row.remote_handle
    )
    worker.claimed(run)
    return run


def note_cancel(connection: Any, run: Any) -> None:
    """Complete a row that somebody cancelled by SQL, which sets nothing but the state."""
    if runs.complete_cancelled(connection, run.id):
        attempts.show_outcome(connection, run.id, run.periodic_task_id, State.REVOKED)
