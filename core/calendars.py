"""Open days and sessions of exchanges and countries: what a row's `calendar` column names.

    XSHG         trading days of an exchange          CN, US, DE-BY   working days of a country or a part of it
    XSHG:open    the sessions' own minutes, 09:30-11:30 and 13:00-15:00, both ends included
    XNYS:full    half-days count as closed            XNYS:full:open  both

A row of the table `calendar_day` overrides any day: closed, or open with the regular hours. Past the end of its
data (`known_until`) a calendar goes on by its working week; it never raises about a day.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from core.calendar_data import CalendarError, Published, published
from core.clock_change import moment_at

MAX_NAME = 64
OPEN, FULL = "OPEN", "FULL"
SUFFIXES = {OPEN: "the sessions' own minutes", FULL: "no half-days"}
MAX_CLOSED_DAYS = 400  # in a row; a calendar closed for longer is never open again
ONE_DAY = timedelta(days=1)
ALARM_AHEAD = timedelta(days=45)  # before a calendar's data ends: time to install newer data

Sessions = tuple[tuple[datetime, datetime], ...]


class Calendar(Protocol):
    """Which days are open, and on an exchange when. Answers never change while the object lives."""

    @property
    def name(self) -> str:
        """As `calendar_day` names it: in capitals, without suffix."""
        ...

    @property
    def zone(self) -> str | None:
        """The exchange's time zone; None for a country."""
        ...

    @property
    def known_until(self) -> date:
        """The last day of the data (`data_end`); later ones are answered by weekday."""
        ...

    def is_open(self, day: date) -> bool:
        """Any day, far past and future ones too."""
        ...

    def sessions(self, day: date) -> Sessions:
        """(open, close) in UTC, lunch break out; empty on closed days and for countries."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Overrides:
    """The table `calendar_day` as it was at one time: calendar -> day -> open. Compared by identity, for caches."""

    days: Mapping[str, Mapping[date, bool]] = field(default_factory=dict)

    def of(self, name: str) -> Mapping[date, bool]:
        """What the table says about one calendar."""
        return self.days.get(name, {})


NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class Named:
    """The parts of a `calendar` value."""

    base: str
    session_only: bool
    full_only: bool


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Published days under an operator's overrides."""

    data: Published
    overrides: Mapping[date, bool]
    full_only: bool
    known_until: date

    @property
    def name(self) -> str:
        """As `calendar_day` names it."""
        return self.data.name

    @property
    def zone(self) -> str | None:
        """The exchange's time zone."""
        return self.data.zone

    def is_open(self, day: date) -> bool:
        """An override has the last word, also about half-days."""
        overridden = self.overrides.get(day)
        if overridden is not None:
            return overridden
        return self.data.is_open(day) and not (self.full_only and self.data.is_half(day))

    def sessions(self, day: date) -> Sessions:
        """A day that is open by override has the regular hours."""
        if self.data.zone is None or not self.is_open(day):
            return ()
        return _sessions(self.data, day, regular=day in self.overrides)


@lru_cache(maxsize=8192)
def _sessions(data: Published, day: date, *, regular: bool) -> Sessions:
    hours = data.regular_hours(day) if regular else data.hours(day)
    midnight, zone = datetime.combine(day, time.min), ZoneInfo(data.zone or "UTC")
    return tuple((moment_at(midnight + start, zone), moment_at(midnight + end, zone)) for start, end in hours)


@lru_cache(maxsize=1024)
def parse_name(text: str) -> Named:
    """Take a `calendar` value apart, whatever its capitals. Raises CalendarError naming the near miss."""
    if len(text) > MAX_NAME:
        raise CalendarError(f"calendar is {len(text)} characters long; use at most {MAX_NAME}")
    base, *suffixes = (part.strip() for part in unicodedata.normalize("NFKC", text).upper().split(":"))
    for suffix in suffixes:
        if suffix not in SUFFIXES:
            near = get_close_matches(suffix, SUFFIXES, 1, 0.5)
            hint = f"did you mean ':{near[0].lower()}'? " if near else ""
            known = " or ".join(f":{name.lower()} ({what})" for name, what in SUFFIXES.items())
            raise CalendarError(f"calendar {text!r}: {':' + suffix.lower()!r} is unknown; {hint}Use {known}")
    if suffixes and published(base).zone is None:
        raise CalendarError(
            f"calendar {text!r}: {base} is a country and has no sessions; "
            f"use {base!r} or an exchange such as 'XSHG:open'"
        )
    published(base)
    return Named(base, session_only=OPEN in suffixes, full_only=FULL in suffixes)


@lru_cache(maxsize=256)
def load(name: str, overrides: Overrides = NO_OVERRIDES) -> Calendar:
    """Find a calendar by its name; `:full` is applied here, `:open` is the business of OnCalendar.

    Cached: the same name and overrides give the same object.
    """
    named = parse_name(name)
    return Loaded(published(named.base), overrides.of(named.base), named.full_only, data_end(name, overrides))


def data_version(name: str) -> str:
    """Identify the published data behind a calendar: rows armed under another version are armed again."""
    data = published(parse_name(name).base)
    return f"{data.version} to {data.known_until}"


def data_end(name: str, overrides: Overrides = NO_OVERRIDES) -> date:
    """The last day a calendar knows: where its published data ends, or the end of the years `calendar_day` adds.

    A following year counts as filled in where the table has a row for its 31 December, open or closed: a single
    typhoon day says nothing about the rest of a year, and whoever writes that row says so for the whole.
    """
    base = parse_name(name).base
    end, filled = published(base).known_until, overrides.of(base)
    while end < (following := _end_of_following_year(end)) and following in filled:
        end = following
    return end


def ends_soon(end: date, today: date) -> bool:
    """Tell whether a calendar's data ends within ALARM_AHEAD, or has ended."""
    return end - today <= ALARM_AHEAD


def _end_of_following_year(day: date) -> date:
    december = day.replace(month=12, day=31)
    return december if day < december else december.replace(year=min(day.year + 1, date.max.year))


def past_the_data(calendar: Calendar, day: date) -> str | None:
    """Say that answers about days up to `day` are by weekday alone, from where the data ends on."""
    if day <= calendar.known_until:
        return None
    return (
        f"calendar {calendar.name}: {data_ends_on(calendar.known_until)}, so later days go by weekday; install newer "
        f"data or fill in calendar_day up to and with {_end_of_following_year(calendar.known_until)}"
    )


def data_ends_on(end: date) -> str:
    """The words by which a hint about the end of a calendar's data is known."""
    return f"its data ends on {end}"


def next_open(calendar: Calendar, day: date) -> date | None:
    """The first open day, `day` itself or later."""
    return _first_open(calendar, day, ONE_DAY)


def previous_open(calendar: Calendar, day: date) -> date | None:
    """The last open day, `day` itself or earlier."""
    return _first_open(calendar, day, -ONE_DAY)


def _first_open(calendar: Calendar, day: date, step: timedelta) -> date | None:
    for _ in range(MAX_CLOSED_DAYS):
        if calendar.is_open(day):
            return day
        day += step
    return None


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day; where midnight is left out, the moment right after the gap."""
    return moment_at(datetime.combine(day, time.min), zone)


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """The date the clocks of a zone show."""
    return moment.astimezone(zone).date()
