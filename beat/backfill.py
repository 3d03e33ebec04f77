"""Backfill: past moments of a row become runs, `at_a_time` of them at once, in a lane of their own.

Where it stands is a row of `backfill`, so any beat goes on with it after a crash. One step is one transaction that
inserts runs and moves the row on. Its runs have the lowest priority and never count as active for `overlap`.
"""

import logging
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection

from beat.firing import Fired, runs_of
from core.arming import Surroundings, cadence_of, what_is_wrong
from core.cadence import MICROSECOND, Cadence
from core.lifecycle import Origin
from core.planning import Plan
from core.task_config import parse_task_config
from store import backfills, runs, schedules
from store.backfills import BackfillState
from store.database import AnyRow, read_clock
from store.runs import Refused

logger = logging.getLogger("backfill")

PRIORITY: Final = 0  # within a queue every scheduled run goes first
LOOKED_AT: Final = 500  # moments in one step: a year of minutes that all succeeded takes 18 minutes
SEARCH_SECONDS: Final = 0.1  # on SQLite a step holds the one write lock, and firing waits for it


def go_on(tx: Connection, backfill_id: int, around: Surroundings) -> Fired:
    """Take one backfill a step on. Does nothing while somebody else holds it, or `at_a_time` of its runs are active."""
    one = backfills.take(tx, backfill_id)
    if one is None:
        return Fired()
    if one.state == BackfillState.CANCELLED:  # by SQL
        logger.info("backfill %s is cancelled, %d waiting runs with it", one.id, backfills.cancel(tx, one))
        return Fired()
    active = set(backfills.unfinished_runs(tx, one))
    if one.next_moment is None:
        if not active:
            backfills.finish(tx, one, BackfillState.DONE, "every moment is done")
            logger.info("backfill %s is done: %d runs, %d left out", one.id, one.created, one.left_out)
        return Fired()
    if one.state == BackfillState.PAUSED or len(active) >= one.at_a_time:
        return Fired()
    row = schedules.read(tx, one.periodic_task_id)
    if row is None:
        backfills.finish(tx, one, BackfillState.CANCELLED, "its row was deleted")
        logger.warning("backfill %s of %r ends: its row was deleted", one.id, one.task_name)
        return Fired()
    try:
        problems = what_is_wrong(row, around)
        cadence = None if problems else cadence_of(row, around.zone, around.overrides)
        moments, following = ([], None) if cadence is None else looked_at(cadence, one.next_moment, own_until(one, row))
    except Exception as error:  # an edge: one row that cannot be read must not hold the other backfills
        problems = [str(error)]
    if problems:  # it goes on by itself once the row is mended
        backfills.move(tx, one, reason=f"waits, the row is broken: {'; '.join(problems)}")
        return Fired()
    return _make_runs(tx, one, row, active, moments, following)


def _make_runs(
    tx: Connection, one: AnyRow, row: AnyRow, active: set[str], moments: list[datetime], following: datetime | None
) -> Fired:
    """Make runs of the first moments that need one, as many as there is room for."""
    occupied = backfills.occupied(tx, row.id, moments[0], moments[-1]) if moments else set()
    chosen: list[datetime] = []
    seen = 0
    for moment in moments:
        if len(chosen) == one.at_a_time - len(active):
            following = moment
            break
        seen += 1
        if moment not in occupied:
            chosen.append(moment)
    config = parse_task_config(row.task_extra_config)
    new = runs_of(row, (config.queue, PRIORITY), Plan(fire=tuple(chosen)), read_clock(tx), Origin.BACKFILL)
    refused: Refused = []
    inserted = runs.insert_runs(tx, new, refused)
    for run, reason in refused:
        logger.error("backfill %s: the run for %s cannot be stored: %s", one.id, run.scheduled_for, reason)
    backfills.move(
        tx,
        one,
        next_moment=following if following is not None and following <= one.until_moment else None,
        created=one.created + len(inserted),
        left_out=one.left_out + seen - len(inserted),
        active_runs=backfills.active_text(active | {run.id for run in inserted}),
        reason=f"the last run left out could not be stored: {refused[-1][1]}" if refused else None,
    )
    return Fired(1, inserted)


def own_until(one: Any, row: Any) -> datetime:
    """The last moment that is the backfill's business: what the schedule itself still owes is not."""
    until: datetime = one.until_moment
    owed = row.next_run_at if row.enabled and isinstance(row.next_run_at, datetime) else None
    return until if owed is None else min(until, owed - MICROSECOND)


def looked_at(cadence: Cadence, first: datetime, until: datetime) -> tuple[list[datetime], datetime | None]:
    """Name the next moments from `first` to `until`, and the one that follows them; bounded by number and time.

    Raises CadenceError where the rule cannot be searched.
    """
    moments: list[datetime] = []
    begin = monotonic()
    moment = cadence.after(first - MICROSECOND)
    while moment is not None and moment <= until and len(moments) < LOOKED_AT:
        if moments and monotonic() - begin > SEARCH_SECONDS:
            break
        moments.append(moment.astimezone(UTC))
        moment = cadence.after(moment)
    return moments, moment
