"""A cadence that keeps to a calendar: closed days left out, or their moments rolled to an open one.

Days are those of the row's zone. A rolled moment keeps its wall-clock time; those that meet there are one. So on
the open day after a holiday week a `0 9 * * *` runs once. Sessions are moments in UTC, whatever the row's zone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from core.cadence import MICROSECOND, Cadence
from core.calendar_data import CalendarError
from core.calendars import (
    NO_OVERRIDES,
    ONE_DAY,
    Calendar,
    Overrides,
    load,
    local_day,
    next_open,
    parse_name,
    previous_open,
    start_of,
)
from core.effort import QUESTION, at_most, spend
from core.rolling import HORIZON, MAX_STEPS, Rolled

EFFORT = 200_000  # steps of one search, all of its questions to the inner rule together: at most about 0.6 s
CHECKED_FROM = datetime(2016, 1, 1, tzinfo=UTC)  # ten years for which every calendar has data


class Roll(StrEnum):
    """What happens to a moment on a closed day."""

    SKIP = "skip"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class OnCalendar:
    """Another cadence under a calendar.

    With `session_only` moments outside the sessions are left out too, opening and closing minute included in them.
    """

    inner: Cadence
    calendar: Calendar
    roll: Roll
    zone: str
    session_only: bool = False

    @cached_property
    def rule(self) -> Cadence:
        """The work behind it."""
        zone = ZoneInfo(self.zone)
        sessions = _SessionTimes(self.calendar)
        if self.roll is Roll.SKIP:
            return _Within(self.inner, sessions if self.session_only else _OpenDays(self.calendar, zone))
        rolled = Rolled(self.inner, self.calendar, zone, forward=self.roll is Roll.NEXT)
        return _Within(rolled, sessions) if self.session_only else rolled

    def after(self, moment: datetime) -> datetime | None:
        """None where the next ten years have no such moment."""
        return _after(self, moment)

    def latest(self, moment: datetime) -> datetime | None:
        """None where the last ten years have no such moment."""
        return _latest(self, moment)

    def windows(self, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]] | None:
        """Name the stretches from `first` to `last` whose inner moments run as they stand; None where some are rolled.

        Both ends are included; open days on end are one stretch.
        """
        return (
            _stretches(self.rule.windows, first, last)
            if isinstance(self.rule, _Within) and self.roll is Roll.SKIP
            else None
        )

    def why_not(self, moment: datetime) -> str | None:
        """Say why a moment of the inner rule does not run at its own time; None where it does."""
        day = local_day(moment, ZoneInfo(self.zone))
        if self.session_only and (self.roll is Roll.SKIP or self.calendar.is_open(day)):
            window = _SessionTimes(self.calendar).since(moment)
            inside = window is not None and window[0] <= moment
            return None if inside else f"outside the sessions of {self.calendar.name}"
        if self.calendar.is_open(day):
            return None
        closed = f"{day} is closed in {self.calendar.name}"
        if self.roll is Roll.SKIP:
            return closed
        find = next_open if self.roll is Roll.NEXT else previous_open
        return f"{closed}, rolled to {find(self.calendar, day)}"


# Rows that share rule and calendar fall due together: one search for all of them.
@lru_cache(maxsize=8192)
def _after(schedule: OnCalendar, moment: datetime) -> datetime | None:
    try:
        with at_most(EFFORT):
            return schedule.rule.after(moment)
    except OverflowError:  # the search left the years 1 to 9999
        return None


@lru_cache(maxsize=8192)
def _latest(schedule: OnCalendar, moment: datetime) -> datetime | None:
    try:
        with at_most(EFFORT):
            return schedule.rule.latest(moment)
    except OverflowError:
        return None


@lru_cache(maxsize=8192)
def on_calendar(inner: Cadence, name: str, roll: Roll, zone: str, overrides: Overrides = NO_OVERRIDES) -> OnCalendar:
    """Put a row's rule under its `calendar`. Raises CalendarError, also where no moment would ever be left."""
    calendar, session_only = load(name, overrides), parse_name(name).session_only
    if session_only and roll is not Roll.SKIP and zone != calendar.zone:
        # A session may lie on two days of another zone: what is closed there could be open here.
        raise CalendarError(
            f"calendar {name!r} with calendar_roll {roll!s} needs timezone {calendar.zone!r}; "
            "set that, or calendar_roll to 'skip'"
        )
    rule = OnCalendar(inner, calendar, roll, zone, session_only)
    if rule.after(CHECKED_FROM) is None and inner.after(CHECKED_FROM) is not None:
        where = f"in a session of {calendar.name}" if session_only else f"on an open day of {calendar.name}"
        raise CalendarError(f"calendar {name!r}: the schedule never falls {where}; change one of them")
    return rule


class _Windows(Protocol):
    """Stretches of time, both ends included, in order and apart."""

    def since(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The first that ends at `moment` or later."""
        ...

    def until(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The last that begins at `moment` or earlier."""
        ...


@dataclass(frozen=True, slots=True)
class _OpenDays:
    calendar: Calendar
    zone: ZoneInfo

    def since(self, moment: datetime) -> tuple[datetime, datetime] | None:
        return self._of(next_open(self.calendar, local_day(moment, self.zone)))

    def until(self, moment: datetime) -> tuple[datetime, datetime] | None:
        return self._of(previous_open(self.calendar, local_day(moment, self.zone)))

    def _of(self, day: date | None) -> tuple[datetime, datetime] | None:
        if day is None:
            return None
        return start_of(day, self.zone), start_of(day + ONE_DAY, self.zone) - MICROSECOND


@dataclass(frozen=True, slots=True)
class _SessionTimes:
    # A session may begin on the day before the one it is named after, and end on the day after.
    calendar: Calendar

    def since(self, moment: datetime) -> tuple[datetime, datetime] | None:
        day = next_open(self.calendar, self._day(moment) - ONE_DAY)
        while day is not None:
            for start, end in self.calendar.sessions(day):
                if end >= moment:
                    return start, end
            day = next_open(self.calendar, day + ONE_DAY)
        return None

    def until(self, moment: datetime) -> tuple[datetime, datetime] | None:
        day = previous_open(self.calendar, self._day(moment) + ONE_DAY)
        while day is not None:
            for start, end in reversed(self.calendar.sessions(day)):
                if start <= moment:
                    return start, end
            day = previous_open(self.calendar, day - ONE_DAY)
        return None

    def _day(self, moment: datetime) -> date:
        return local_day(moment, ZoneInfo(self.calendar.zone or "UTC"))


def _stretches(windows: _Windows, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    start, end = None, first - MICROSECOND
    window = windows.since(first)
    while window is not None and window[0] <= last:
        if start is None or window[0] > end + MICROSECOND:
            if start is not None:
                yield start, end
            start = max(window[0], first)
        end = min(window[1], last)
        window = windows.since(window[1] + MICROSECOND)
    if start is not None:
        yield start, end


@dataclass(frozen=True, slots=True)
class _Within:
    """What of a cadence falls into windows. It jumps from window to window, so a closed week costs one step."""

    inner: Cadence
    windows: _Windows

    def after(self, moment: datetime) -> datetime | None:
        found = self.inner.after(moment)
        first = found
        for _ in range(MAX_STEPS):
            spend(QUESTION)
            if found is None or first is None or found - first > HORIZON:
                return None
            window = self.windows.since(found)
            if window is None:
                return None
            if window[0] <= found:
                return found
            found = self.inner.after(window[0] - MICROSECOND)
        return None

    def latest(self, moment: datetime) -> datetime | None:
        found = self.inner.latest(moment)
        last = found
        for _ in range(MAX_STEPS):
            spend(QUESTION)
            if found is None or last is None or last - found > HORIZON:
                return None
            window = self.windows.until(found)
            if window is None:
                return None
            if window[1] >= found:
                return found
            found = self.inner.latest(window[1])
        return None
