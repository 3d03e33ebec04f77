"""The end of an attempt: what its outcome makes of the run. Used by workers and by rescue alike."""

import json
import logging
from collections import deque
from dataclasses import replace
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind, resumable_handle
from core.retries import backoff, may_resume, may_retry
from core.task_config import readable_config
from logger import run_prefix
from store import chains, notifications, runs, schedules
from store.database import autocommit, is_refused, largest_statement, read_clock, size_in_statement
from store.runs import Ending

logger = logging.getLogger("attempts")


# (run, schedule row, state) still to be shown; a process that dies forgets them, and the next run's end shows anyway.
_owed: deque[tuple[str, int, State]] = deque(maxlen=10_000)


class Attempt(Protocol):
    """A started run: what guards its end."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def worker(self) -> str: ...  # noqa: D102
    @property
    def attempt(self) -> int: ...  # noqa: D102
    @property
    def config(self) -> str: ...  # noqa: D102
    @property
    def remote_handle(self) -> str | None: ...  # noqa: D102
    @property
    def task_name(self) -> str: ...  # noqa: D102
    @property
    def periodic_task_id(self) -> int | None: ...  # noqa: D102


class LedgerAway(Exception):
    """The ledger does not take an outcome now, and may later: it is away, read-only, full, or the row is locked."""


def write(engine: Engine, run: Attempt, outcome: AgentResult | AgentError) -> State | None:
    """Record an outcome. None: the run is no longer ours, and the late result is refused.

    An answer that the ledger will never take, such as one larger than a packet may be, ends the run as FAILURE and
    says what to change. Raises LedgerAway where the same call may succeed later.
    """
    try:
        with autocommit(engine) as connection:
            if isinstance(outcome, AgentError):
                return fail(connection, run, outcome)
            return succeed(connection, run, outcome)
    except Exception as error:  # the edge of every outcome: what cannot be stored must still end its run
        never = _why_never(engine, error, outcome)
        if never is None:
            raise LedgerAway(str(getattr(error, "orig", error))) from error
        if isinstance(outcome, AgentError) and outcome.answer is None:
            raise
    return write(engine, run, never)


def _why_never(engine: Engine, error: Exception, outcome: AgentResult | AgentError) -> AgentError | None:
    """Say why an outcome can never be stored; None where it may be, later."""
    # A server answers a packet that is too large by closing the connection, like one that goes away.
    answer = outcome if isinstance(outcome, AgentResult) else outcome.answer
    if isinstance(error, SQLAlchemyError) and answer is not None and (why := _too_large(engine, answer)):
        return AgentError(ErrorKind.CONFIG, why, http_status=outcome.http_status)
    if isinstance(error, SQLAlchemyError) and not is_refused(error):
        return None
    reason = f"the answer cannot be stored: {getattr(error, 'orig', error)}"
    return AgentError(ErrorKind.INTERNAL, reason, http_status=outcome.http_status)


def _too_large(engine: Engine, answer: AgentResult) -> str | None:
    try:
        with autocommit(engine) as connection:
            limit = largest_statement(connection)
    except SQLAlchemyError:
        return None
    size = size_in_statement(answered(answer).texts())
    if limit is None or size <= limit:
        return None
    return (
        f"the answer takes a statement of {size:,} bytes, and the database's max_allowed_packet is {limit:,}: "
        "raise it, or lower RESULT_MAX_BYTES to a third of it"
    )


def succeed(connection: Connection, run: Attempt, answer: AgentResult) -> State | None:
    """Record an answer. None: the run is no longer ours, and the late result is refused."""
    return _finish(connection, run, answered(answer))


def answered(answer: AgentResult) -> Ending:
    """Make the end of a run of an answer."""
    state = State.SUCCESS if answer.status == "succeeded" else State.REQUIRES_ACTION
    usage = answer.usage
    return Ending(
        state=state,
        result=answer.text,
        result_data=None if answer.data is None else json.dumps(answer.data, ensure_ascii=False, default=str),
        error="the agent asks for a human; result_data holds its question" if state is State.REQUIRES_ACTION else None,
        http_status=answer.http_status,
        conversation_id=answer.conversation_id,
        request_id=answer.request_id,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=usage.cost,
        currency=usage.currency,
    )


def fail(connection: Connection, run: Attempt, error: AgentError) -> State | None:
    """Record a failed attempt: RETRY where the task's policy leaves one, else FAILURE. None: not ours any more."""
    ending = Ending(
        state=State.FAILURE,
        error_kind=error.kind,
        error=error.message,
        http_status=error.http_status,
        conversation_id=error.conversation_id,
        request_id=error.request_id,
    )
    if error.answer is not None:
        ending = replace(answered(error.answer), state=State.FAILURE, error_kind=error.kind, error=error.message)
    config = readable_config(run.config)  # what nobody can read is not retried
    begun = resumable_handle(run.remote_handle)
    resumes = begun is not None and not error.over and may_resume(error.kind, run.attempt, error.retry_after)
    if config is None or not (resumes or may_retry(error.kind, run.attempt, config.max_retries, error.retry_after)):
        return _finish(connection, run, ending)
    wait = backoff(
        run.id, run.attempt, config.retry_backoff, config.retry_backoff_max, error.retry_after, kind=error.kind
    )
    ready_at = read_clock(connection) + wait
    handle = run.remote_handle if resumes else None  # another call must not find the old run
    if not runs.retry_later(connection, run.id, run.worker, run.attempt, ending, ready_at, handle):
        refuse(run, run.attempt)
        return None
    logger.warning(
        "%s attempt %d of %d failed (%s): %s; the next follows in %.1f s",
        run_prefix(run.id, run.task_name), run.attempt, config.max_retries + 1, error.kind, error.message,
        wait.total_seconds(),
    )  # fmt: skip
    return State.RETRY


def _finish(connection: Connection, run: Attempt, ending: Ending) -> State | None:
    if (config := readable_config(run.config)) is not None and config.notify:
        notifications.enter(connection, run.id)  # first: an end that is written must not go untold
    chains.enter(connection, run.id, run.periodic_task_id)  # likewise: what follows must not be missed
    if not runs.finish(connection, run.id, run.worker, run.attempt, ending):
        # Only its own worker gives an attempt an answer: if it stands there, the reply to our first try was lost.
        is_answer = ending.state is not State.FAILURE
        if not (is_answer and runs.has_ended(connection, run.id, run.worker, run.attempt, ending.state)):
            refuse(run, run.attempt)
            return None
    show_outcome(connection, run.id, run.periodic_task_id, ending.state)
    prefix = run_prefix(run.id, run.task_name)
    if ending.state is State.FAILURE:
        logger.error("%s FAILURE after attempt %d (%s): %s", prefix, run.attempt, ending.error_kind, ending.error)
    else:
        logger.info("%s %s after attempt %d", prefix, ending.state, run.attempt)
    return ending.state


def show_outcome(connection: Connection, run_id: str, task_id: int | None, state: State) -> None:
    """Show a run's end on its schedule row, or later: the end is written already, and nothing may hold it up."""
    if task_id is None:
        return
    try:
        schedules.record_outcome(connection, run_id, task_id, state)
    except DBAPIError as error:
        logger.warning("last_run_state of row %s waits: %s", task_id, error.orig)
        show_later(run_id, task_id, state)


def show_later(run_id: str, task_id: int, state: State) -> None:
    """Leave it to `show_owed`."""
    _owed.append((run_id, task_id, state))


def show_owed(connection: Connection) -> None:
    """Try again what `show_outcome` could not write; every process that ends runs calls this every few seconds."""
    for _ in range(len(_owed)):
        if connection.invalidated:
            return
        show_outcome(connection, *_owed.popleft())


def refuse(run: Attempt, attempt: int) -> None:
    """Say that a late result was not written."""
    prefix = run_prefix(run.id, run.task_name)
    logger.warning("%s the end of attempt %d is refused: the run is not ours any more", prefix, attempt)


def lost(run: Attempt, why: str) -> AgentError:
    """Make the error of an attempt whose worker is gone or gave it back."""
    return AgentError(ErrorKind.WORKER_LOST, f"attempt {run.attempt}: {why}")


def overdue(run: Any) -> AgentError:
    """Make the error of an attempt that ran past its deadline without being ended."""
    return AgentError(ErrorKind.TIMEOUT, f"attempt {run.attempt} ran past its deadline and its worker did not end it")
