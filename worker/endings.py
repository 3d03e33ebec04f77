"""The ends of many runs at once: answers that need nothing but to be written."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

import attempts
from core.lifecycle import Origin, State
from core.outcome import AgentError, AgentResult
from core.task_config import readable_config
from logger import run_prefix
from store import run_batches
from store.runs import Claim, Ending
from worker.crowd import ALONE, Carried

logger = logging.getLogger("attempts")

Ended: TypeAlias = tuple[Claim, AgentResult | AgentError]

MOST_CHARACTERS: Final = 16_000  # of an answer that goes with others: a hundred of them stay well below a packet
BIGINT: Final = 2**63
MOST_COST: Final = 10**12  # what DECIMAL(20, 8) holds
SMALLINT: Final = 2**15

_DONE: Final = Carried(is_done=True, value=State.SUCCESS)


def write_together(engine: Engine, ended: Sequence[Ended]) -> Sequence[Carried]:
    """Record answers as `attempts.write` does, all in one transaction; whatever takes more than that goes alone.

    Where the commit's reply is lost each is tried alone, and finds that its end stands there.
    """
    endings = {run.id: ending for run, outcome in ended if (ending := _plain(run, outcome)) is not None}
    try:
        with run_batches.batch(engine) as tx:
            ours = _finish(tx, {run.id: run for run, _ in ended if run.id in endings}, endings)
            shown = _show(tx, ours)
    except SQLAlchemyError as error:
        logger.warning("%d ends cannot be written together now: %s", len(endings), getattr(error, "orig", error))
        return [ALONE] * len(ended)
    for run in ours:
        logger.info("%s %s after attempt %d", run_prefix(run.id, run.task_name), State.SUCCESS, run.attempt)
        if run.periodic_task_id is not None and run.periodic_task_id not in shown:
            attempts.show_later(run.id, run.periodic_task_id, State.SUCCESS)
    written = {run.id for run in ours}
    return [_DONE if run.id in written else ALONE for run, _ in ended]


def _plain(run: Claim, outcome: AgentResult | AgentError) -> Ending | None:
    """Make the end of an answer that nobody is notified of and that fits what it is sent as; None for any other."""
    if not isinstance(outcome, AgentResult) or outcome.status != "succeeded":
        return None
    config = readable_config(run.config)
    if config is None or config.notify:
        return None
    ending, usage = attempts.answered(outcome), outcome.usage
    fits = (
        sum(map(len, ending.texts())) <= MOST_CHARACTERS
        and all(number is None or abs(number) < BIGINT for number in (usage.input_tokens, usage.output_tokens))
        and (usage.cost is None or (math.isfinite(usage.cost) and abs(usage.cost) < MOST_COST))
        and (outcome.http_status is None or abs(outcome.http_status) < SMALLINT)
    )
    return ending if fits else None


def _finish(tx: Connection, claims: Mapping[str, Claim], endings: Mapping[str, Ending]) -> Sequence[Claim]:
    """Write the ends of runs that are ours, that nobody holds and nobody waits for; name them."""
    started = run_batches.lock_started(tx, list(claims)) if claims else {}
    ours = [
        run
        for run in claims.values()
        if (row := started.get(run.id)) is not None
        and (row.worker, row.attempt) == (run.worker, run.attempt)
        and not row.is_followed
        and row.origin != Origin.BACKFILL  # whose ends are not shown on the schedule row
    ]
    if ours:
        run_batches.finish_locked(tx, {run.id: endings[run.id] for run in ours})
    return ours


def _show(tx: Connection, ended: Sequence[Claim]) -> Collection[int]:
    """Show the ends on their schedule rows; name those that nobody holds, which alone are written."""
    tasks = {run.periodic_task_id for run in ended if run.periodic_task_id is not None}
    return set(run_batches.record_successes(tx, sorted(tasks))) if tasks else ()
