"""Wall-clock times and moments: what a rule's times mean where the clocks of its zone change.

Set forward, the clocks leave a *gap* of times that do not come; set back, an *overlap* of times that come twice.

A *fixed* time names a time of day (`30 2 * * *`, `FREQ=DAILY`, `run_at`), and DstPolicy says what becomes of it. A rule
that goes on all day (minute or hour begins with `*`, FREQ=HOURLY or MINUTELY) is not fixed: under every policy it
comes whenever the clocks show its time, so never in the gap and both times in the overlap.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)

Walls = Callable[[datetime], Iterable[datetime]]


class DstPolicy(StrEnum):
    """What becomes of a fixed time in the gap, and in the overlap: the column `dst_policy`."""

    CRON = "cron"
    """Gap: right after it. Overlap: once, the first time. Debian's cron."""
    SKIP = "skip"
    """Gap: left out that day. Overlap: once, the first time. AWS EventBridge Scheduler."""
    SHIFT = "shift"
    """Gap: as much later as the clocks are set forward, 02:30 at 03:30. Overlap: once, the first time. RFC 5545."""
    LAST = "last"
    """Gap: right after it. Overlap: once, the second time: the end of a day stays its end."""
    TWICE = "twice"
    """Gap: right after it. Overlap: both times."""


@dataclass(frozen=True, slots=True)
class WallClock:
    """The step from a rule's wall-clock times to moments, and the search for moments through it."""

    zone: ZoneInfo
    policy: DstPolicy
    fixed: bool

    def moments_at(self, local: datetime) -> tuple[datetime, ...]:
        """Name the moments a wall-clock time stands for, in order: one on ordinary days, else none to two."""
        old, new = _readings(local, self.zone)
        if old == new:
            return (old,)
        if old < new:  # the overlap
            if not self.fixed or self.policy is DstPolicy.TWICE:
                return (old, new)
            return (new,) if self.policy is DstPolicy.LAST else (old,)
        if not self.fixed or self.policy is DstPolicy.SKIP:
            return ()
        return (old,) if self.policy is DstPolicy.SHIFT else (change_between(new, old, self.zone),)

    def first_after(self, walls: Walls, moment: datetime) -> datetime | None:
        """Find the first moment later than `moment`; `walls(t)` names the times later than t (its second), in order."""
        local, overlap = _shown(moment, self.zone, fold=0)
        # Where the clocks will show a time again, or a gap's times come late, those before this one count too.
        again = overlap or self._late_by(moment)
        starts = (local, local - again) if again else (local,)
        found = min(filter(None, (self._first(walls(start), moment) for start in starts)), default=None)
        if found is not None and (late := self._late_by(found)):
            past = self._first(walls(self._end_of_gap(found, late) - SECOND), moment)
            found = min(found, past) if past is not None else found
        return found

    def last_until(self, walls: Walls, moment: datetime) -> datetime | None:
        """Find the last moment up to `moment`; `walls(t)` names the times up to t, the latest first."""
        local, overlap = _shown(moment, self.zone, fold=1)
        starts = (local, local + overlap) if overlap else (local,)  # later times have been already
        found = max(filter(None, (self._last(walls(start), moment) for start in starts)), default=None)
        if found is not None and (late := self._late_by(found)):
            past = self._last(walls(self._end_of_gap(found, late) - SECOND), moment)
            found = max(found, past) if past is not None else found
        return found

    def _first(self, walls: Iterable[datetime], moment: datetime) -> datetime | None:
        return next((found for wall in walls for found in self.moments_at(wall) if found > moment), None)

    def _last(self, walls: Iterable[datetime], moment: datetime) -> datetime | None:
        return next((found for wall in walls for found in self.moments_at(wall)[::-1] if found <= moment), None)

    def _late_by(self, moment: datetime) -> timedelta:
        """Tell by how much a time of the gap that falls on `moment` is late: zero where none can."""
        if not self.fixed or self.policy is not DstPolicy.SHIFT:
            return timedelta()
        local = moment.astimezone(self.zone)
        size = offset_at(moment, self.zone) - offset_at(moment - DAY, self.zone)
        if size <= timedelta():
            return timedelta()
        old, new = _readings(local.replace(tzinfo=None) - size, self.zone)
        return size if old == moment and old > new else timedelta()

    def _end_of_gap(self, moment: datetime, late: timedelta) -> datetime:
        """Say what the clocks showed right after the gap whose times come `late`, one of them at `moment`."""
        return change_between(moment - late, moment, self.zone).astimezone(self.zone).replace(tzinfo=None)


def moment_at(local: datetime, zone: ZoneInfo, policy: DstPolicy = DstPolicy.CRON) -> datetime:
    """Read one wall-clock time as one moment: where the policy names none, right after the gap; of two, the first."""
    if policy is DstPolicy.SKIP:
        policy = DstPolicy.CRON
    return WallClock(zone, policy, fixed=True).moments_at(local)[0]


def is_in_gap(local: datetime, zone: ZoneInfo) -> bool:
    """Tell whether the clocks never show this time."""
    old, new = _readings(local, zone)
    return old > new


@dataclass(frozen=True, slots=True)
class Change:
    """The first moment of a new offset from UTC."""

    moment: datetime
    old: timedelta
    new: timedelta


@lru_cache(maxsize=4096)
def changes(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """Name a year's clock changes (the year in UTC), found by a look at every day: zoneinfo does not tell them."""
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    found, old = [], offset_at(day, zone)
    while day < end:
        following = day + DAY
        new = offset_at(following, zone)
        if new != old:
            found.append(Change(change_between(day, following, zone), old, new))
        day, old = following, new
    return tuple(found)


def change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Halve the distance until the clock change between the two is found, to the second."""
    before, after = before.replace(microsecond=0), after.replace(microsecond=0)
    old = offset_at(before, zone)
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if offset_at(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after


def offset_at(moment: datetime, zone: ZoneInfo) -> timedelta:
    """How far the zone's clocks are ahead of UTC."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def _readings(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Read a wall-clock time with the offset before and after a change: equal on ordinary days."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC), local.replace(tzinfo=zone, fold=1).astimezone(UTC)


def _shown(moment: datetime, zone: ZoneInfo, *, fold: int) -> tuple[datetime, timedelta]:
    """Say what the clocks show, and how far apart they show that twice where this is time number `fold`."""
    local = moment.astimezone(zone)
    old, new = _readings(local, zone)
    return local.replace(tzinfo=None), max(new - old, timedelta()) if local.fold == fold else timedelta()
