"""Rows that start when a run of another row has ended.

    end of a run ──> after_due ──take_ended──> a run of each row that follows, in one transaction with leaving after_due

The end is entered before it is written (`attempts.py`), and what follows is named after the run and the row that it
follows: the ledger's primary key admits one, whoever dies where, and however often an end is looked at.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine

from beat.firing import Commit, Fired, cancel_others, explain, occupied, runs_of, skipping
from core.after import After, run_id_after, starts_others
from core.arming import Surroundings, policy_of, upstream_of
from core.holds import Hold
from core.lifecycle import Origin, State
from core.planning import Plan, Skipped, plan_arrivals
from core.task_config import readable_config
from store import chains, runs, schedules
from store.database import AnyRow, autocommit, read_clock, transaction
from store.runs import NewRun, Refused
from store.schedules import Moved

logger = logging.getLogger("chains")

LOOK_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 10.0
ENDED: Final = 100  # runs of one transaction
MAX_BATCHES: Final = 20  # of one look; the rest has its turn at the next
STARTED: Final = 1000  # about as many runs does one transaction make: a run has MAX_FOLLOWERS at most
NEXT_MOMENT: Final = timedelta(microseconds=1)


class Chains:
    """A job of beat: `look` starts what follows, `check_again` finds what no edit of a row tells."""

    def __init__(self, engine: Engine, commit: Commit, around: Callable[[], Surroundings]) -> None:
        self._engine = engine
        self._commit = commit
        self._around = around
        self._waiting = 0

    def look(self) -> int:
        """Make the runs that follow what has ended; return how many. One read where nothing has."""
        with autocommit(self._engine) as connection:
            if not chains.anything_due(connection):
                return 0
        made, passed = 0, 0
        for _ in range(MAX_BATCHES):
            fired = self._commit(partial(self._start_followers, passed=passed))
            made, passed = made + len(fired.new_runs), passed + self._waiting
            if fired.rows < ENDED:
                break
        return made

    def _start_followers(self, tx: Connection, passed: int) -> Fired:
        """Work in the next ends. Those of a row that somebody holds, or that waits for arming, stay for a later look.

        `passed`: ends that stay, the oldest, which must not hold up the others.
        """
        self._waiting = 0
        if not chains.take_turn(tx):  # another beat is at it
            return Fired()
        work = _work(tx, chains.take_ended(tx, ENDED, passed))
        rows = chains.lock_rows(tx, work.ends)
        chains.forget_deleted(tx, work.ends.keys() - rows.keys())
        around = self._around()
        unsound = [row.id for row in rows.values() if _is_live(row) and not _is_sound(row, around)]
        if unsound:
            schedules.mark_for_arming(tx, unsound)  # which says what is wrong
        ready = [row for row in rows.values() if _is_live(row) and _is_sound(row, around)]
        inserted = _start(tx, ready, work, around)
        undecided = [task_id for task_id in work.ends if task_id not in rows or rows[task_id].needs_arming]
        waiting = {end.run_id for task_id in (*undecided, *unsound) for end in work.ends[task_id]}
        chains.leave(tx, [end.run_id for end in work.looked_at if end.run_id not in waiting])
        self._waiting = len(waiting)
        return Fired(len(work.looked_at), inserted)

    def check_again(self) -> int:
        """Send rows back to arming whose upstream is gone or renamed, or that stand in a circle; return how many.

        A circle comes about where two beats arm two rows at the same moment, each before it can see the other's.
        """
        with autocommit(self._engine) as connection:
            found = sorted({*chains.astray(connection), *in_circles(chains.all_edges(connection))})
        for some in (found[start : start + STARTED] for start in range(0, len(found), STARTED)):
            with transaction(self._engine) as tx:
                schedules.mark_for_checking(tx, some)
            logger.warning("rows that start after others are checked again: %s", ", ".join(map(str, some[:20])))
        return len(found)


class Upstreams:
    """Whom the rows of one batch of arming follow: looked up, and written row by row, so that each sees the others."""

    def __init__(self, tx: Connection, rows: Sequence[AnyRow]) -> None:
        self._tx = tx
        self._before = chains.edges_of(tx, [row.id for row in rows])

    def check(self, row: Any, after: After) -> str | None:
        """Say why a row cannot start after another; None where it can."""
        return chains.what_is_wrong(self._tx, row, after)

    def settle(self, row: AnyRow, config_error: str | None) -> None:
        """Write whom a row follows now that it is armed: nobody where it is disabled or broken."""
        after = upstream_of(row) if row.enabled and config_error is None else None
        if after is not None or row.id in self._before:
            chains.settle(self._tx, row.id, self._before.get(row.id), after)


@dataclass(slots=True)
class _Work:
    """What one transaction finds to do: the ends that each row follows."""

    ends: dict[int, list[AnyRow]] = field(default_factory=lambda: defaultdict(list))
    looked_at: list[AnyRow] = field(default_factory=list)


def _work(tx: Connection, ended: Sequence[AnyRow]) -> _Work:
    """Match ends with the rows that follow them, as many as one transaction may start."""
    following = defaultdict(list)
    for edge in chains.followers(tx, {end.periodic_task_id for end in ended}):
        following[edge.upstream_id].append(edge)
    work, started = _Work(), 0
    for end in ended:
        if started >= STARTED:
            break
        work.looked_at.append(end)
        for edge in following[end.periodic_task_id] if end.id is not None else ():
            if starts_others(end.state, end.origin, edge.outcome):
                work.ends[edge.periodic_task_id].append(end)
                started += 1
    return work


def _is_live(row: AnyRow) -> bool:
    return bool(row.enabled and not row.needs_arming and row.config_error is None)


def _is_sound(row: AnyRow, around: Surroundings) -> bool:
    config = readable_config(row.task_extra_config or "")
    return config is not None and config.queue in around.queues


def _start(tx: Connection, rows: Sequence[AnyRow], work: _Work, around: Surroundings) -> Sequence[NewRun]:
    now = read_clock(tx)
    active, held = occupied(tx, rows)
    skipped = skipping(tx, rows, around)
    planned: list[tuple[AnyRow, Plan]] = []
    new: list[NewRun] = []
    for row in rows:
        moments = _moments(tx, row.id, work.ends[row.id])
        if not moments:
            continue
        owed = _plan(row, tuple(moments), active[row.id], held[row.id], skipped.get(row.id))
        planned.append((row, owed))
        config = readable_config(row.task_extra_config)
        assert config is not None  # noqa: S101 - narrows the type only: _is_sound has read it
        made = runs_of(row, (config.queue, config.priority), owed, now, Origin.AFTER)
        for run in made:
            end = moments[run.scheduled_for]
            new.append(replace(run, id=run_id_after(end.run_id, _ended_at(end, now), row.id), after_run=end.run_id))
    refused: Refused = []
    inserted = runs.insert_runs(tx, new, refused)
    explain(tx, refused, now)
    cancel_others(tx, planned, inserted)
    _note(tx, planned, inserted, now)
    return inserted


def _moments(tx: Connection, task_id: int, ends: Sequence[AnyRow]) -> dict[datetime, AnyRow]:
    """Give each end that has no run yet a moment of its own: when it came, or just after the one before."""
    now = read_clock(tx)
    named = {run_id_after(end.run_id, _ended_at(end, now), task_id): end for end in ends}
    there = chains.there_already(tx, named)
    found: dict[datetime, AnyRow] = {}
    before: Any = chains.newest_moment(tx, task_id)
    for run_id, end in named.items():
        if run_id not in there:
            moment = _ended_at(end, now)
            before = moment if not isinstance(before, datetime) or moment > before else before + NEXT_MOMENT
            found[before] = end
    return found


def _ended_at(end: AnyRow, now: datetime) -> datetime:
    return end.finished_at if isinstance(end.finished_at, datetime) else now


def _plan(row: AnyRow, moments: tuple[datetime, ...], active: int, held: int, hold: Hold | None) -> Plan:
    if hold is not None:
        return Plan(skipped=tuple(Skipped(moment, moment, 1, hold.told) for moment in moments))
    return plan_arrivals(moments, policy_of(row), active=active, held=held)


def _note(tx: Connection, planned: Sequence[tuple[AnyRow, Plan]], inserted: Sequence[NewRun], now: datetime) -> None:
    """Count the runs on their rows; a row whose last one this was says so."""
    started = [run.periodic_task_id for run in inserted if run.state is State.PENDING]
    schedules.advance(tx, [Moved(row.id, None, started.count(row.id)) for row, _ in planned], now)
    finished = [{"id": row.id, "hint": f"finished: {owed.finished}"} for row, owed in planned if owed.finished]
    schedules.set_hints(tx, finished)


def in_circles(upstream: dict[int, int]) -> set[int]:
    """Name the rows that follow themselves in the end; `upstream` says whom each follows."""
    seen: dict[int, int] = {}
    found: set[int] = set()
    for start in upstream:
        here: int | None = start
        while here is not None and here not in seen:
            seen[here] = start
            here = upstream.get(here)
        while here is not None and seen[here] == start and here not in found:
            found.add(here)
            here = upstream.get(here)
    return found
