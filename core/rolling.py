"""Moments of closed days moved to an open one, at the same wall-clock time: the work behind `calendar_roll`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from core.cadence import MICROSECOND, Cadence
from core.calendars import MAX_CLOSED_DAYS, ONE_DAY, Calendar, local_day, next_open, previous_open, start_of
from core.clock_change import change_between, moment_at, offset_at
from core.effort import QUESTION, spend

HORIZON = timedelta(days=3653)  # ten years without an open day: never
MAX_STEPS = 600  # questions to the inner rule in one search: a weekly rule for more than ten years


@dataclass(frozen=True, slots=True)
class Rolled:
    """Every moment on a closed day at the same wall-clock time of the next (`forward`) or previous open day.

    An open day is home to its own moments and to those of the closed days that roll to it. The days of one home
    follow each other and so do the homes, so a search goes from home to home and asks the inner rule once a day.
    Where several moments meet they are one. A wall-clock time is read as `moment_at` reads it.
    """

    inner: Cadence
    calendar: Calendar
    zone: ZoneInfo
    forward: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first moment later than `moment`."""
        home, first = next_open(self.calendar, local_day(moment, self.zone)), None
        for _ in range(MAX_STEPS):
            if home is None:
                return None
            days = self._days_of(home)
            spend(len(days) * QUESTION)
            found = [time for day in days if (time := self._first_on(day, home, moment)) is not None]
            if found:
                return min(found)
            later = self.inner.after(start_of(days[-1] + ONE_DAY, self.zone) - MICROSECOND)
            first = first or later
            if later is None or first is None or later - first > HORIZON:
                return None
            home = self._home_of(local_day(later, self.zone))
        return None

    def latest(self, moment: datetime) -> datetime | None:
        """The last moment at or before `moment`."""
        home, last = previous_open(self.calendar, local_day(moment, self.zone)), None
        for _ in range(MAX_STEPS):
            if home is None:
                return None
            days = self._days_of(home)
            spend(len(days) * QUESTION)
            found = [time for day in days if (time := self._last_on(day, home, moment)) is not None]
            if found:
                return max(found)
            earlier = self.inner.latest(start_of(days[0], self.zone) - MICROSECOND)
            last = last or earlier
            if earlier is None or last is None or last - earlier > HORIZON:
                return None
            home = self._home_of(local_day(earlier, self.zone))
        return None

    def _home_of(self, day: date) -> date | None:
        return next_open(self.calendar, day) if self.forward else previous_open(self.calendar, day)

    def _days_of(self, home: date) -> list[date]:
        """Name the days that roll to `home`, itself included, in order."""
        days, step = [home], -ONE_DAY if self.forward else ONE_DAY
        while len(days) <= MAX_CLOSED_DAYS and not self.calendar.is_open(days[-1] + step):
            days.append(days[-1] + step)
        return days[::-1] if self.forward else days

    def _first_on(self, day: date, home: date, moment: datetime) -> datetime | None:
        """When the first moment of `day` runs on `home` that is later than `moment`."""
        if day == home:
            found = self.inner.after(max(moment, start_of(day, self.zone) - MICROSECOND))
            return found if found is not None and found < start_of(day + ONE_DAY, self.zone) else None
        shown = _shown(home, moment, self.zone)
        times = []
        for start, end, midnight in _pieces(day, self.zone):
            found = self.inner.after(
                start - MICROSECOND if shown is None else max(start - MICROSECOND, midnight + shown)
            )
            if found is not None and found < end:
                times.append(found - midnight)
        return self._at(home, min(times)) if times else None

    def _last_on(self, day: date, home: date, moment: datetime) -> datetime | None:
        """When the last moment of `day` runs on `home` that is not later than `moment`."""
        if day == home:
            found = self.inner.latest(min(moment, start_of(day + ONE_DAY, self.zone) - MICROSECOND))
            return found if found is not None and found >= start_of(day, self.zone) else None
        shown = _shown(home, moment, self.zone)
        if shown is None:
            return None
        times = []
        for start, end, midnight in _pieces(day, self.zone):
            found = self.inner.latest(min(end - MICROSECOND, midnight + shown))
            if found is not None and found >= start:
                times.append(found - midnight)
        return self._at(home, max(times)) if times else None

    def _at(self, home: date, since_midnight: timedelta) -> datetime:
        return moment_at(datetime.combine(home, time.min) + since_midnight, self.zone)


def _shown(day: date, moment: datetime, zone: ZoneInfo) -> timedelta | None:
    """The latest time of `day` that the clocks have shown up to `moment`; None before the day."""
    return max(
        (min(moment, end - MICROSECOND) - midnight for start, end, midnight in _pieces(day, zone) if start <= moment),
        default=None,
    )


@lru_cache(maxsize=4096)
def _pieces(day: date, zone: ZoneInfo) -> tuple[tuple[datetime, datetime, datetime], ...]:
    """Split a local day where its clocks change: (start, end, the midnight its times of day count from)."""
    start, end = start_of(day, zone), start_of(day + ONE_DAY, zone)
    old, new = offset_at(start, zone), offset_at(end - MICROSECOND, zone)
    midnight = datetime.combine(day, time.min, UTC)
    if old == new:
        return ((start, end, midnight - old),)
    change = change_between(start, end, zone)
    return (start, change, midnight - old), (change, end, midnight - new)
