"""The end of an attempt: what its outcome makes of the run. Used by workers and by rescue alike."""

import json
import logging
from collections import deque
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind
from core.retries import backoff, may_retry
from core.task_config import readable_config
from logger import run_prefix
from store import runs, schedules
from store.database import is_contention, read_clock
from store.runs import Ending

logger = logging.getLogger("attempts")


# (schedule row, state) still to be shown; a process that dies forgets them, and the next run's end shows anyway.
_owed: deque[tuple[int, State]] = deque(maxlen=10_000)


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
    def task_name(self) -> str: ...  # noqa: D102
    @property
    def periodic_task_id(self) -> int | None: ...  # noqa: D102


def succeed(connection: Connection, run: Attempt, answer: AgentResult) -> State | None:
    """Record an answer. None: the run is no longer ours, and the late result is refused."""
    state = State.SUCCESS if answer.status == "succeeded" else State.REQUIRES_ACTION
    usage = answer.usage
    ending = Ending(
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
    return _finish(connection, run, ending)


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
    config = readable_config(run.config)  # what nobody can read is not retried
    if config is None or not may_retry(error.kind, run.attempt, config.max_retries, error.retry_after):
        return _finish(connection, run, ending)
    wait = backoff(
        run.id, run.attempt, config.retry_backoff, config.retry_backoff_max, error.retry_after, kind=error.kind
    )
    ready_at = read_clock(connection) + wait
    if not runs.retry_later(connection, run.id, run.worker, run.attempt, ending, ready_at):
        _refused(run)
        return None
    logger.warning(
        "%s attempt %d of %d failed (%s): %s; the next follows in %.1f s",
        run_prefix(run.id, run.task_name), run.attempt, config.max_retries + 1, error.kind, error.message,
        wait.total_seconds(),
    )  # fmt: skip
    return State.RETRY


def _finish(connection: Connection, run: Attempt, ending: Ending) -> State | None:
    if not runs.finish(connection, run.id, run.worker, run.attempt, ending):
        _refused(run)
        return None
    show_outcome(connection, run.periodic_task_id, ending.state)
    prefix = run_prefix(run.id, run.task_name)
    if ending.state is State.FAILURE:
        logger.error("%s FAILURE after attempt %d (%s): %s", prefix, run.attempt, ending.error_kind, ending.error)
    else:
        logger.info("%s %s after attempt %d", prefix, ending.state, run.attempt)
    return ending.state


def show_outcome(connection: Connection, task_id: int | None, state: State) -> None:
    """Show a run's end on its schedule row, or later: the end is written already, and must not wait for a lock."""
    if task_id is None:
        return
    try:
        schedules.record_outcome(connection, task_id, state)
    except DBAPIError as error:
        if not is_contention(error):
            raise
        logger.warning("last_run_state of row %s waits: somebody holds the row", task_id)
        _owed.append((task_id, state))


def show_owed(connection: Connection) -> None:
    """Try again what `show_outcome` could not write; every process that ends runs calls this every few seconds."""
    for _ in range(len(_owed)):
        show_outcome(connection, *_owed.popleft())


def _refused(run: Attempt) -> None:
    logger.warning(
        "%s the end of attempt %d is refused: the run is not ours any more",
        run_prefix(run.id, run.task_name), run.attempt,
    )  # fmt: skip


def lost(run: Attempt, why: str) -> AgentError:
    """Make the error of an attempt whose worker is gone or gave it back."""
    return AgentError(ErrorKind.WORKER_LOST, f"attempt {run.attempt}: {why}")


def overdue(run: Any) -> AgentError:
    """Make the error of an attempt that ran past its deadline without being ended."""
    return AgentError(ErrorKind.TIMEOUT, f"attempt {run.attempt} ran past its deadline and its worker did not end it")
