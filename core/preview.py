"""The coming fires of a row or a draft, and what is left out between them and why.

The work is bounded by the number of fires asked for and by EFFORT, whatever the rule: what was found by then is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any
from zoneinfo import ZoneInfo

from core.arming import Surroundings, cadence_of, policy_of, upstream_of, what_is_wrong
from core.cadence import MICROSECOND, Bounded, Cadence, CadenceError, Cron, Jittered
from core.calendars import load, past_the_data
from core.clock_change import changes
from core.effort import QUESTION, at_most, spend
from core.hints import hints_of
from core.on_calendar import OnCalendar

MAX_FIRES = 1000
EFFORT = 400_000  # steps of all searches together: at most about 1.2 s
LOOKED_AT = 60  # moments of the rule between two fires; further ones are told with the last of these

DISABLED = "enabled is 0: none of this runs before it is 1"
TOO_LONG = "looked no further: its moments are hard to find; ask for fewer, or write the schedule more simply"
FORWARD = "the clocks are set forward from {:%H:%M} to {:%H:%M}"


@dataclass(frozen=True, slots=True)
class Fire:
    """One moment at which the row runs."""

    moment: datetime
    """With its jitter, UTC: what `scheduled_for` will hold."""
    nominal: datetime
    """Without the jitter, on the day it was rolled to; UTC."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Times of the rule that do not run as they stand; wall-clock times of the row's zone."""

    first: datetime
    last: datetime
    count: int | None
    """None where there are too many to count."""
    reason: str


@dataclass(slots=True)
class Preview:
    """The answer for one row."""

    zone: str
    problems: list[str] = field(default_factory=list)
    """Why it cannot run: the sentences of `config_error`."""
    entries: list[Fire | LeftOut] = field(default_factory=list)
    """In the order of the rule."""
    warnings: list[str] = field(default_factory=list)
    ended: str | None = None
    """Why no more fires follow; None where more do."""

    @property
    def fires(self) -> list[Fire]:
        """The fires alone."""
        return [entry for entry in self.entries if isinstance(entry, Fire)]


def preview(row: Any, around: Surroundings, since: datetime, count: int = 10) -> Preview:
    """Name at most `count` fires after `since`: calendar, roll, bounds, max_runs and jitter applied.

    A `next_run_at` that lies ahead and is no moment of the rule was set by hand, and comes first.
    """
    shown = Preview(row.timezone or around.zone, what_is_wrong(row, around))
    if shown.problems:
        return shown
    if (after := upstream_of(row)) is not None:
        shown.ended = f"{after}; it has no moments of its own"
        shown.warnings += [] if row.enabled else [DISABLED]
        return shown
    cadence, policy = cadence_of(row, around.zone, around.overrides), policy_of(row)
    left = policy.runs_left
    wanted = min(count, MAX_FIRES) if left is None else min(count, MAX_FIRES, left)
    with at_most(EFFORT) as bound:
        try:
            _walk(shown, row, cadence, since, wanted)
            if shown.fires:
                shown.warnings += hints_of(row, cadence, policy, shown.fires[0].moment)
        except CadenceError as error:  # a search over its budget: this one's, or one that beat has too
            (shown.warnings if bound.left < 0 else shown.problems).append(TOO_LONG if bound.left < 0 else str(error))
    if left is not None and len(shown.fires) == left:
        shown.ended = f"max_runs={row.max_runs} is reached"
    if not row.enabled:
        shown.warnings.append(DISABLED)
    if row.calendar is not None and shown.fires:
        ends = past_the_data(load(str(row.calendar), around.overrides), shown.fires[-1].moment.date())
        shown.warnings += [ends] if ends else []
    return shown


def as_json(found: Preview) -> dict[str, Any]:
    """Say it as JSON values; what is left out is in wall-clock times, since the clocks may never show them."""
    zone = ZoneInfo(found.zone) if found.fires else UTC
    return {
        "zone": found.zone,
        "problems": found.problems,
        "fires": [
            {
                "scheduled_for": fire.moment.isoformat(),
                "local": fire.moment.astimezone(zone).isoformat(),
                "without_jitter": fire.nominal.isoformat(),
                "jitter_seconds": (fire.moment - fire.nominal).total_seconds(),
                "note": fire.note,
            }
            for fire in found.fires
        ],
        "left_out": [
            {"first": one.first.isoformat(), "last": one.last.isoformat(), "count": one.count, "reason": one.reason}
            for one in found.entries
            if isinstance(one, LeftOut)
        ],
        "ended": found.ended,
        "notes": found.warnings,
    }


def _walk(shown: Preview, row: Any, cadence: Cadence, since: datetime, wanted: int) -> None:
    nominal = cadence.inner if isinstance(cadence, Jittered) else cadence
    rule = nominal.inner if isinstance(nominal, Bounded) else nominal
    zone, at, before = ZoneInfo(shown.zone), since, since
    by_hand = row.next_run_at if isinstance(row.next_run_at, datetime) and row.next_run_at > since else None
    if wanted and by_hand is not None and by_hand != cadence.latest(by_hand):
        shown.entries.append(Fire(by_hand, by_hand, "next_run_at, set by hand"))
        at = before = by_hand
    while len(shown.fires) < wanted:
        spend(QUESTION)
        moment = cadence.after(at)
        if moment is None:
            shown.ended = "no further moment within its bounds"
            return
        # A delay never reaches the following moment, so the last one before it is the one that was put off.
        planned = moment if nominal is cadence else nominal.latest(moment) or moment
        shown.entries += _left_out(rule, before, planned, zone)
        shown.entries.append(Fire(moment, planned, _clock_note(planned, zone)))
        at, before = moment, planned


def _left_out(rule: Cadence, after: datetime, until: datetime, zone: ZoneInfo) -> list[LeftOut]:
    """Name what a calendar and the clocks leave out between two fires, in order."""
    calendar = rule if isinstance(rule, OnCalendar) else None
    inner = calendar.inner if calendar is not None else rule
    found = list(_in_gaps(inner, after, until, zone, is_all=calendar is None)) if isinstance(inner, Cron) else []
    if calendar is not None:
        found += _by_calendar(calendar, after, until, zone)
    return sorted(found, key=lambda entry: entry.first)


def _by_calendar(calendar: OnCalendar, after: datetime, until: datetime, zone: ZoneInfo) -> list[LeftOut]:
    seen = [(moment, calendar.why_not(moment)) for moment in islice(_between(calendar.inner, after, until), LOOKED_AT)]
    found = []
    for reason, group in groupby(seen, key=lambda pair: pair[1]):
        moments = [_wall(moment, zone) for moment, _ in group]
        if reason is not None:
            found.append(LeftOut(moments[0], moments[-1], len(moments), reason))
    last = calendar.inner.latest(until - MICROSECOND) if len(seen) == LOOKED_AT else None
    if found and last is not None and last > seen[-1][0]:
        found[-1] = replace(found[-1], last=_wall(last, zone), count=None)
    return found


def _in_gaps(cron: Cron, after: datetime, until: datetime, zone: ZoneInfo, *, is_all: bool) -> Iterator[LeftOut]:
    """Name the times of a crontab that the clocks never show, and where it is all of the rule, when they run."""
    walls = Cron(cron.expression, "UTC")
    for change in (change for year in range(after.year, until.year + 1) for change in changes(zone, year)):
        if not (after < change.moment <= until and change.new > change.old):
            continue
        start, end = change.moment + change.old, change.moment + change.new
        missing = list(islice(_between(walls, start - MICROSECOND, end - MICROSECOND), LOOKED_AT + 1))
        if missing:
            first, last = (wall.replace(tzinfo=None) for wall in (missing[0], walls.latest(end - MICROSECOND) or end))
            runs = cron.clock.moments_at(first) if is_all else ()
            instead = f"; runs at {_wall(runs[0], zone):%H:%M} instead" if runs else ""
            count = len(missing) if len(missing) <= LOOKED_AT else None
            yield LeftOut(first, last, count, FORWARD.format(start, end) + instead)


def _clock_note(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    again = local.replace(fold=1 - local.fold).astimezone(UTC)
    if again == moment:
        return ""
    return f"the clocks show this time twice: the {'second' if local.fold else 'first'} time"


def _between(cadence: Cadence, after: datetime, until: datetime) -> Iterator[datetime]:
    moment = cadence.after(after)
    while moment is not None and moment <= until:
        yield moment
        moment = cadence.after(moment)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
