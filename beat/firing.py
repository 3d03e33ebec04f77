"""Firing: due rows become runs, inside the caller's transaction. What a row owes is decided in `core/planning`."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection

from beat.cadences import Cadences
from core.arming import Surroundings, policy_of, what_is_wrong
from core.cadence import Cadence, CadenceError
from core.holds import Hold, Scope, holding
from core.lifecycle import Origin, State
from core.planning import Overlap, Plan, Skipped, plan, skip_missed
from core.task_config import DEFAULT_PRIORITY, DEFAULT_QUEUE, ConfigError, parse_task_config, readable_config
from store import holds, runs, schedules
from store.database import AnyRow, read_clock
from store.runs import NewRun, Refused
from store.schedules import Moved

logger = logging.getLogger("firing")

BATCH: Final = 1000
PLAN_SECONDS: Final = 1.0  # a transaction that plans longer would lose its session (wait_timeout), and its work


@dataclass(frozen=True, slots=True)
class Fired:
    """What one transaction did: how many rows moved on, the runs it made, and where the next search may begin."""

    rows: int = 0
    new_runs: Sequence[NewRun] = ()
    low_water: datetime | None = None


Commit: TypeAlias = Callable[[Callable[[Connection], Fired]], Fired]
"""Runs a step in one transaction, again after a deadlock, and hands its runs over once they are committed."""


class _About(NamedTuple):
    """What is known of a due row beside its columns: its rule, its runs that are not final, and who skips it."""

    cadence: Cadence | None
    active: int
    held: int
    hold: Hold | None


@dataclass(slots=True)
class _Batch:
    planned: list[tuple[AnyRow, Plan]] = field(default_factory=list)
    new_runs: list[NewRun] = field(default_factory=list)
    broken: list[dict[str, Any]] = field(default_factory=list)


def fire_due(
    tx: Connection,
    around: Surroundings,
    cadences: Cadences,
    *,
    since: datetime | None = None,
    skip_before: datetime | None = None,
) -> Fired:
    """Claim rows that are due, insert their runs, and move the rows on to their next moment.

    `skip_before`: moments up to it are left out (`--skip-missed`). Rows that somebody else holds are passed over.
    """
    now = read_clock(tx)
    rows = schedules.take_due(tx, now, since, BATCH)
    if not rows:
        return Fired(low_water=now)  # what is due is in other hands: the next search need not pass over it at once
    rules, skipped = cadences.of(tx, rows, around), skipping(tx, rows, around)
    active, held = occupied(tx, rows)
    batch, begin = _Batch(), monotonic()
    taken = 0
    while taken < len(rows) and monotonic() - begin < PLAN_SECONDS:
        row = rows[taken]
        task = row.id
        about = _About(rules.get(task), active[task], held[task], skipped.get(task))
        _plan_one(row, about, now, around, skip_before, batch)
        taken += 1
    refused: Refused = []
    inserted = runs.insert_fired(tx, batch.new_runs, refused)
    doubled = len(batch.new_runs) - len(inserted) - len(refused)
    if doubled:
        logger.warning("%d moments had a run already: not run twice", doubled)
    explain(tx, refused, now)
    cancel_others(tx, batch.planned, inserted)
    _move_on(tx, batch.planned, inserted, now)
    schedules.set_armed(tx, batch.broken)
    # What this pass leaves owed is due at once, and must not be below the next search.
    left = [owed.next_at for _, owed in batch.planned if owed.next_at is not None and owed.next_at <= now]
    if taken < len(rows):
        left.append(rows[taken].next_run_at)
    elif len(rows) == BATCH:
        left.append(rows[-1].next_run_at)
    return Fired(taken, inserted, min(left, default=now))


def fire_manual(tx: Connection, around: Surroundings) -> Fired:
    """Make one manual run for each row with run_now set, enabled or not, and set it back."""
    rows = schedules.take_run_now(tx, BATCH)
    if not rows:
        return Fired()
    now = read_clock(tx)
    refused: Refused = []
    inserted = runs.insert_runs(tx, [_manual_run(row, now, around) for row in rows], refused)  # an error may be long
    explain(tx, refused, now)
    started = [run.periodic_task_id for run in inserted if run.state is State.PENDING]
    schedules.clear_run_now(tx, [row.id for row in rows], started, now)
    return Fired(len(rows), inserted)


def explain(tx: Connection, refused: Refused, now: datetime) -> None:
    """Enter each moment whose run the table cannot take as SKIPPED: one such row must not stop its neighbours for ever.

    Raises what the database raises where it takes that neither.
    """
    for run, reason in refused:
        logger.error(
            "row %s %r: its run cannot be stored and is skipped: %s", run.periodic_task_id, run.task_name, reason
        )
        plain = replace(
            run,
            task_name=f"row {run.periodic_task_id}",
            state=State.SKIPPED,
            ready_at=None,
            queue=DEFAULT_QUEUE,
            config="{}",
            error=f"this run cannot be stored: {reason}",
            result_data=None,
            finished_at=now,
        )
        runs.insert_runs(tx, [plain])


def occupied(tx: Connection, rows: Sequence[AnyRow]) -> tuple[Counter[int], Counter[int]]:
    """Count the active and the held runs of the rows whose overlap policy asks."""
    active: Counter[int] = Counter()
    held: Counter[int] = Counter()
    asking = [row.id for row in rows if row.overlap != Overlap.ALLOW]
    for run in runs.active_runs(tx, asking) if asking else ():
        (held if runs.is_held(run) else active)[run.periodic_task_id] += 1
    return active, held


def skipping(tx: Connection, rows: Sequence[AnyRow], around: Surroundings) -> dict[int, Hold]:
    """Find the rows that a hold skips. Without one this costs nothing."""
    if not around.skips:
        return {}
    asks_for_tags = any(hold.scope is Scope.TAG for hold in around.skips)
    tags = holds.tags_of(tx, [row.id for row in rows]) if asks_for_tags else {}
    found = {}
    for row in rows:
        config = readable_config(row.task_extra_config or "")
        if config is not None:
            hold = holding(around.skips, config.queue, config, partial(tags.get, row.id))
            found.update({row.id: hold} if hold is not None else {})
    return found


def _plan_one(
    row: AnyRow, about: _About, now: datetime, around: Surroundings, skip_before: datetime | None, batch: _Batch
) -> None:
    try:
        config = parse_task_config(row.task_extra_config)
        if config.queue not in around.queues:
            raise ConfigError(f"queue {config.queue!r} is not configured")
        if (cadence := about.cadence) is None:
            raise CadenceError("its columns name no moments any more")
        policy = policy_of(row)
        if skip_before is not None and row.next_run_at <= skip_before:
            owed = skip_missed(row.next_run_at, skip_before, cadence)
        elif about.hold is not None:
            owed = skip_missed(row.next_run_at, now, cadence, about.hold.told)
        else:
            owed = plan(row.next_run_at, now, cadence, policy, active=about.active, held=about.held)
    except Exception as error:  # an edge: one row that cannot be planned must not hold its neighbours
        logger.warning("row %s %r cannot run: %s", row.id, row.name, error)
        broken = {"id": row.id, "next_run_at": None, "config_error": str(error), "hint": None, "rearm_at": None}
        batch.broken.append(broken | {"armed_for": ""})  # arming comes next and says what is wrong
        return
    batch.planned.append((row, owed))
    batch.new_runs += runs_of(row, (config.queue, config.priority), owed, now)


def cancel_others(tx: Connection, planned: Sequence[tuple[AnyRow, Plan]], inserted: Sequence[NewRun]) -> None:
    """Apply overlap=cancel_other, now that the newer runs stand: a moment that had its run already cancels nothing."""
    replacing = {run.periodic_task_id: run.id for run in inserted if run.state is State.PENDING}
    ending = [row.id for row, owed in planned if owed.cancel_active and row.id in replacing]
    if ending:
        spared = [replacing[task_id] for task_id in ending]
        runs.revoke_active(tx, ending, spared, "overlap=cancel_other: a newer run replaces it")


def _move_on(tx: Connection, planned: Sequence[tuple[AnyRow, Plan]], inserted: Sequence[NewRun], now: datetime) -> None:
    """Write next_run_at, last_run_at and run_count; only runs that were created count."""
    created = Counter(run.periodic_task_id for run in inserted if run.state is State.PENDING)
    schedules.advance(tx, [Moved(row.id, owed.next_at, created[row.id]) for row, owed in planned], now)
    finished = [(row, owed) for row, owed in planned if owed.finished]
    schedules.set_hints(tx, [{"id": row.id, "hint": f"finished: {owed.finished}"} for row, owed in finished])
    # max_runs was counted with a moment that had its run already: arming looks again.
    doubled = [row.id for row, owed in finished if created[row.id] < len(owed.fire) + len(owed.hold)]
    if doubled:
        schedules.mark_for_arming(tx, doubled)


def _manual_run(row: AnyRow, now: datetime, around: Surroundings) -> NewRun:
    try:
        problems = what_is_wrong(row, around)
        config = None if problems else parse_task_config(row.task_extra_config)
    except Exception as error:  # an edge: one row that cannot be read must not hold its neighbours
        logger.exception("row %s %r cannot be read", row.id, row.name)
        config, problems = None, [str(error)]
    if config is None:
        owed = Plan(skipped=(Skipped(now, now, 1, f"run_now on a broken row: {'; '.join(problems)}"),))
        lane = (DEFAULT_QUEUE, DEFAULT_PRIORITY)
    else:
        owed, lane = Plan(fire=(now,)), (config.queue, config.priority)
    return runs_of(row, lane, owed, now, Origin.MANUAL)[0]


def runs_of(
    row: AnyRow, lane: tuple[str, int], owed: Plan, now: datetime, origin: Origin = Origin.SCHEDULE
) -> list[NewRun]:
    """Make the ledger rows of a plan: runs to start, held ones, and skipped ones with their reason.

    `lane` is the queue and the priority.
    """
    queue, priority = lane

    def make(moment: datetime, state: State, ready_at: datetime | None, skip: Skipped | None = None) -> NewRun:
        return NewRun(
            id=runs.new_run_id(),
            periodic_task_id=row.id,
            task_name=row.name,
            origin=origin,
            scheduled_for=moment.astimezone(UTC),
            ready_at=ready_at,
            state=state,
            queue=queue,
            priority=priority,
            config=row.task_extra_config or "{}",
            error=skip.reason if skip else None,
            result_data=_range_of(skip) if skip else None,
            finished_at=now if skip else None,
        )

    return [
        *(make(moment, State.PENDING, now) for moment in owed.fire),
        *(make(moment, State.PENDING, None) for moment in owed.hold),
        *(make(skip.first, State.SKIPPED, None, skip) for skip in owed.skipped),
    ]


def _range_of(skip: Skipped) -> str | None:
    if skip.first == skip.last:
        return None
    return json.dumps({"from": skip.first.isoformat(), "to": skip.last.isoformat(), "count": skip.count})


def order_of(task: str, queue: str, timeout: timedelta, now: datetime) -> NewRun:
    """Make a ledger run of one of our own Celery tasks: housekeeping goes the way every run goes."""
    config = {"task_type": "celery", "task": task, "queue": queue, "timeout": timeout.total_seconds()}
    return NewRun(
        id=runs.new_run_id(),
        periodic_task_id=None,
        task_name=task,
        origin=Origin.API,
        scheduled_for=now,
        ready_at=now,
        state=State.PENDING,
        queue=queue,
        priority=DEFAULT_PRIORITY,
        config=json.dumps(config),
    )
