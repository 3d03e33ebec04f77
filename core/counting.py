"""How many moments a cadence has in a stretch of time, without a walk through them.

Intervals are divided. Of a crontab the days are counted, with its times of day as often as the day has them; only the
hours around a clock change are looked at time by time. Bounds and jitter move the edges; days or sessions of a calendar
are counted one by one. What is left is walked, up to MAX_WALKED: rules of RFC 5545, days rolled to others, and what
lasts longer than MAX_YEARS or MAX_CALENDAR_YEARS.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

from cronsim import CronSim

from core.cadence import MICROSECOND, Bounded, Cadence, Cron, Interval, Jittered, Once
from core.clock_change import DAY, Change, changes, offset_at
from core.on_calendar import OnCalendar
from core.recurrence import Recurrence

MAX_WALKED = 100  # what planning lists one by one; beyond, a number is not worth a walk that grows with the outage
MAX_YEARS = 12  # a stretch that is longer comes from a next_run_at set by hand, or a clock far off
MAX_CALENDAR_YEARS = 2  # whose days cost some 10 us each


def count(cadence: Cadence, first: datetime, last: datetime) -> int | None:
    """Count the moments from `first` to `last`, both inclusive; None where only a walk longer than MAX_WALKED tells."""
    if first > last:
        return 0
    match cadence:
        case Bounded():
            first = first if cadence.start is None else max(first, cadence.start)
            return count(cadence.inner, first, last if cadence.end is None else min(last, cadence.end))
        case Jittered():
            return _jittered(cadence, first, last)
        case Interval():
            return _interval(cadence, first, last)
        case Once():
            return int(first <= cadence.moment <= last)
        case Cron() | OnCalendar() | Recurrence() if first.year > 1 and last.year < min(
            first.year + _years(cadence), 9999
        ):
            return _counted(cadence, first, last)
        case _:
            return _walked(cadence, first, last)


def _years(cadence: Cadence) -> int:
    return MAX_CALENDAR_YEARS if isinstance(cadence, OnCalendar) else MAX_YEARS


# Rows that share a rule were all down for as long.
@lru_cache(maxsize=1024)
def _counted(cadence: Cron | OnCalendar | Recurrence, first: datetime, last: datetime) -> int | None:
    if isinstance(cadence, Cron):
        return _cron(cadence, first, last)
    if isinstance(cadence, Recurrence):
        return cadence.count(first, last, MAX_WALKED)
    windows, inner, total = cadence.windows(first, last), cadence.inner, 0
    if windows is None:
        return _walked(cadence, first, last)
    for start, end in windows:
        found = _cron(inner, start, end) if isinstance(inner, Cron) else count(inner, start, end)
        if found is None:
            return None
        total += found
    return total


def _walked(cadence: Cadence, first: datetime, last: datetime) -> int | None:
    found, moment = 0, cadence.after(first - MICROSECOND)
    while moment is not None and moment <= last:
        found += 1
        if found > MAX_WALKED:
            return None
        moment = cadence.after(moment)
    return found


def _interval(interval: Interval, first: datetime, last: datetime) -> int:
    following, newest = interval.after(first - MICROSECOND), interval.latest(last)
    if following is None or newest is None:
        return 0
    return max((newest - following) // interval.step + 1, 0)


def _jittered(cadence: Jittered, first: datetime, last: datetime) -> int | None:
    """No delay reaches the following moment, so only the two at the edges can be put off across them."""
    found = count(cadence.inner, first, last)
    if found is None:
        return None
    before, newest = cadence.inner.latest(first - MICROSECOND), cadence.inner.latest(last)
    if before is not None and first <= cadence.put_off(before) <= last:
        found += 1
    if newest is not None and newest >= first and cadence.put_off(newest) > last:
        found -= 1
    return found


def _cron(cron: Cron, first: datetime, last: datetime) -> int:
    """Add up the stretches between clock changes, and what comes around each change."""
    times, clock, end = _times_of(cron.expression), cron.clock, last + MICROSECOND
    total, start = 0, first
    for change in _changes(clock.zone, first, last):
        size = abs(change.new - change.old) if clock.fixed else timedelta()
        # What the clocks show twice lies on both sides of the change; times of the gap come right after it.
        is_gap = change.new > change.old
        low, high = change.moment - (timedelta() if is_gap else size), change.moment + size
        low, high = (min(max(edge, start), end) for edge in (low, high))
        total += times.shown_between(start, low, clock.zone)
        if low < high:
            shown = (change.moment + min(change.new, change.old)).replace(tzinfo=None)
            walls = times.between(shown, shown + (2 * size if is_gap else size))
            moments = {moment for wall in walls for moment in clock.moments_at(wall)}
            total += sum(1 for moment in moments if low <= moment < high)
        start = high
    return total + times.shown_between(start, end, clock.zone)


def _changes(zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[Change]:
    """Name the changes whose gap or overlap may reach into the stretch."""
    for year in range((first - DAY).year, (last + DAY).year + 1):
        yield from (change for change in changes(zone, year) if first - DAY <= change.moment <= last + DAY)


@dataclass(frozen=True)
class _Times:
    """A crontab's days and times of day, on a clock that never changes."""

    expression: str
    rule: CronSim
    hours: list[int]
    minutes: list[int]
    seconds: list[int]

    def shown_between(self, start: datetime, end: datetime, zone: ZoneInfo) -> int:
        """Count the times that the clocks show from `start` until before `end`, between which they do not change."""
        if start >= end:
            return 0
        first, last = ((moment + offset_at(start, zone)).replace(tzinfo=None) for moment in (start, end))
        days = sum(
            bisect_left(found, last.date()) - bisect_left(found, first.date())
            for found in (_days_of(self.expression, year) for year in range(first.year, last.year + 1))
        )
        whole = len(self.hours) * len(self.minutes) * len(self.seconds)
        return days * whole + self._part(last) - self._part(first)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Name the wall-clock times from `start` until before `end`."""
        for day in (start.date() + n * DAY for n in range((end.date() - start.date()).days + 1)):
            if not self.is_on(day):
                continue
            hours = [hour for hour in self.hours if start <= datetime.combine(day, time(hour, 59, 59))]
            for parts in product(hours, self.minutes, self.seconds):
                wall = datetime.combine(day, time(*parts))
                if wall >= end:
                    break
                if wall >= start:
                    yield wall

    def is_on(self, day: date) -> bool:
        """Tell whether the rule names the day."""
        return day.month in self.rule.months and self.rule.match_day(day)

    def _part(self, wall: datetime) -> int:
        """Count the times of the day that are earlier."""
        if not self.is_on(wall.date()):
            return 0
        hours, minutes = bisect_left(self.hours, wall.hour), bisect_left(self.minutes, wall.minute)
        found = hours * len(self.minutes) * len(self.seconds)
        if wall.hour in self.rule.hours:
            found += minutes * len(self.seconds)
            if wall.minute in self.rule.minutes:
                found += bisect_left(self.seconds, wall.second + (wall.microsecond > 0))
        return found


@lru_cache(maxsize=1024)
def _times_of(expression: str) -> _Times:
    rule = CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001 - it only reads the fields
    return _Times(expression, rule, sorted(rule.hours), sorted(rule.minutes), sorted(rule.seconds))


@lru_cache(maxsize=1024)
def _days_of(expression: str, year: int) -> list[date]:
    times, new_year = _times_of(expression), date(year, 1, 1)
    days = (new_year + n * DAY for n in range((date(year + 1, 1, 1) - new_year).days))
    return [day for day in days if times.is_on(day)]
