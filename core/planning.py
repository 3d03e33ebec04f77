"""What a due row owes now: catch-up and overlap as one pure decision.

    plan(due_at, now, cadence, policy, active, held) -> Plan

The work is bounded by LIMIT and by the skipped moments listed, never by the length of an outage.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.cadence import MICROSECOND, Cadence
from core.counting import count

LIMIT = 100  # moments of one row fired in one pass; what is left over is still due in the next
LISTED_SKIPS = 100  # up to here a ledger row for each skipped moment, beyond it one row for all
MAX_HELD = 100
ON_TIME = timedelta(seconds=10)

MAX_RUNS_REACHED = "max_runs is reached"
NO_FURTHER = "no further moment within its bounds"
SKIP_MISSED = "--skip-missed: due before beat started"


class CatchUp(StrEnum):
    """What an outage owes."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """What happens to a moment while a run of the same row is active."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_OTHER = "cancel_other"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Policy:
    """The columns of a row that decide about its owed moments."""

    catch_up: CatchUp = CatchUp.LATEST
    window: timedelta = timedelta(hours=1)
    overlap: Overlap = Overlap.SKIP
    runs_left: int | None = None
    """What `max_runs` leaves; None: no bound."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Moments that do not run, and why. `count` is None where only a long walk through them could tell."""

    first: datetime
    last: datetime
    count: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome for one row: what starts, what waits, what is left out, and when it is due again."""

    fire: tuple[datetime, ...] = ()
    hold: tuple[datetime, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    cancel_active: bool = False
    next_at: datetime | None = None
    finished: str = ""


def plan(due_at: datetime, now: datetime, cadence: Cadence, policy: Policy, *, active: int = 0, held: int = 0) -> Plan:
    """Decide what the moments from `due_at` to `now`, both inclusive, come to.

    `due_at` is owed even where the cadence does not name it: an operator may have set it by hand.
    """
    if policy.runs_left is not None and policy.runs_left <= 0:
        return Plan(finished=MAX_RUNS_REACHED)
    if due_at > now:  # nothing is owed yet: the clock was set back
        return Plan(next_at=due_at)
    owed: tuple[datetime, ...]
    skipped: tuple[Skipped, ...]
    following = cadence.after(due_at)
    is_alone = following is None or following > now
    if is_alone and now - due_at <= ON_TIME:
        owed, skipped = (due_at,), ()  # the everyday case, without a search backwards
    else:
        owed, skipped = _catch_up(due_at, now, cadence, policy)
    fire, hold, overlapped, cancel = _overlap(owed, policy.overlap, active, held)
    if policy.runs_left is not None and policy.runs_left <= len(fire) + len(hold):
        return _used_up(policy.runs_left, fire, hold, skipped, overlapped, cancel_active=cancel)
    # Moments beyond the bounds of this pass stay owed: the row is due again at the next of them.
    next_at = following if is_alone else cadence.after(owed[-1] if len(owed) == LIMIT else now)
    finished = "" if next_at is not None else NO_FURTHER
    return Plan(fire, hold, (*skipped, *overlapped), cancel, next_at, finished)


def plan_arrivals(moments: tuple[datetime, ...], policy: Policy, *, active: int = 0, held: int = 0) -> Plan:
    """Decide what moments come to that no rule names, such as the ends of another row's runs.

    Each is owed however late it is looked at; only `overlap` and `max_runs` leave one out.
    """
    if policy.runs_left is not None and policy.runs_left <= 0:
        return Plan(finished=MAX_RUNS_REACHED)
    fire, hold, overlapped, cancel = _overlap(moments, policy.overlap, active, held)
    if policy.runs_left is not None and policy.runs_left <= len(fire) + len(hold):
        return _used_up(policy.runs_left, fire, hold, (), overlapped, cancel_active=cancel)
    return Plan(fire, hold, overlapped, cancel)


def _used_up(
    left: int,
    fire: tuple[datetime, ...],
    hold: tuple[datetime, ...],
    skipped: tuple[Skipped, ...],
    overlapped: tuple[Skipped, ...],
    *,
    cancel_active: bool,
) -> Plan:
    """Plan the last `left` runs of a row; nothing is owed after them."""
    fire, hold = fire[:left], hold[: max(left - len(fire), 0)]
    overlapped = tuple(skip for skip in overlapped if skip.last < (*fire, *hold)[-1])
    return Plan(fire, hold, (*skipped, *overlapped), cancel_active, finished=MAX_RUNS_REACHED)


def skip_missed(due_at: datetime, until: datetime, cadence: Cadence, reason: str = SKIP_MISSED) -> Plan:
    """Leave out every moment up to `until`: what `--skip-missed` makes of a row that was due before the start."""
    if due_at > until:
        return Plan(next_at=due_at)
    next_at = cadence.after(until)
    return Plan(
        skipped=_skips(due_at, until + MICROSECOND, cadence, reason),
        next_at=next_at,
        finished="" if next_at is not None else NO_FURTHER,
    )


def _catch_up(
    due_at: datetime, now: datetime, cadence: Cadence, policy: Policy
) -> tuple[tuple[datetime, ...], tuple[Skipped, ...]]:
    """Split the owed moments into those to run and those an outage has cost."""
    newest = cadence.latest(now)
    newest = due_at if newest is None or newest < due_at else newest
    window = max(policy.window, ON_TIME)
    if policy.catch_up is CatchUp.ALL:
        first_kept = _first_from(now - window, due_at, cadence)
        kept = tuple(_between(first_kept, now, cadence, LIMIT)) if first_kept is not None and first_kept <= now else ()
        reason = f"catch_up=all: older than catch_up_window_seconds={window.total_seconds():.0f}"
        return kept, _skips(due_at, kept[0] if kept else now + MICROSECOND, cadence, reason)
    limit = ON_TIME if policy.catch_up is CatchUp.NONE else window
    kept = (newest,) if now - newest <= limit else ()
    reason = f"catch_up={policy.catch_up}: " + (
        "a later moment runs instead" if kept else f"more than {limit.total_seconds():.0f} s late"
    )
    return kept, _skips(due_at, kept[0] if kept else now + MICROSECOND, cadence, reason)


def _first_from(moment: datetime, due_at: datetime, cadence: Cadence) -> datetime | None:
    return due_at if moment <= due_at else cadence.after(moment - MICROSECOND)


def _between(first: datetime, until: datetime, cadence: Cadence, limit: int) -> Iterator[datetime]:
    """Name at most `limit` moments from `first` to `until`, both inclusive."""
    moment: datetime | None = first
    while moment is not None and moment <= until and limit > 0:
        yield moment
        limit -= 1
        moment = cadence.after(moment)


def _skips(first: datetime, before: datetime, cadence: Cadence, reason: str) -> tuple[Skipped, ...]:
    """Name the moments from `first`, one whatever the cadence says, to `before` (exclusive).

    One by one while few, else as one range.
    """
    if first >= before:
        return ()
    last = before - MICROSECOND
    further = count(cadence, first + MICROSECOND, last)
    if further is not None and further < LISTED_SKIPS:
        return tuple(Skipped(moment, moment, 1, reason) for moment in _between(first, last, cadence, LISTED_SKIPS))
    newest = cadence.latest(last)
    return (Skipped(first, newest or last, None if further is None else further + 1, reason),)


def _overlap(
    owed: tuple[datetime, ...], overlap: Overlap, active: int, held: int
) -> tuple[tuple[datetime, ...], tuple[datetime, ...], tuple[Skipped, ...], bool]:
    """Apply the overlap policy to each owed moment in order: (fire, hold, skipped, cancel the active ones)."""
    if overlap is Overlap.ALLOW or not owed:
        return owed, (), (), False
    if overlap is Overlap.CANCEL_OTHER:
        replaced = tuple(Skipped(m, m, 1, "overlap=cancel_other: a later moment replaces it") for m in owed[:-1])
        return owed[-1:], (), replaced, active + held > 0
    room = {Overlap.SKIP: 0, Overlap.BUFFER_ONE: 1, Overlap.BUFFER_ALL: MAX_HELD}[overlap] - held
    fire = owed[:1] if active + held == 0 else ()
    rest = owed[len(fire) :]
    hold = rest[: max(room, 0)]
    reason = f"overlap={overlap}: " + (
        "the previous run is still active" if overlap is Overlap.SKIP else f"{held + len(hold)} already wait"
    )
    return fire, hold, tuple(Skipped(m, m, 1, reason) for m in rest[len(hold) :]), False
