"""What a schedule in words means: the rules for which both languages have words, and their columns.

A Meaning is what `reading.py` finds in a phrase and what `saying.py` puts into words; the two agree on every one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import chain, pairwise
from typing import Any, Final

DAY_MINUTES: Final = 24 * 60
MOST_POSITIONS: Final = 300  # of a BYSETPOS: RFC 5545 allows 366, and no one reads more
WORKWEEK: Final = (0, 1, 2, 3, 4)
RRULE_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}


class Unit(StrEnum):
    """What a rule counts in."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    ONCE = "once"


class Unsayable(Exception):
    """No row can hold what was said; `reason` is a key of the catalogue in `saying.py`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One schedule. Times of day are minutes since midnight; weekdays count from Monday, 0."""

    unit: Unit
    step: int = 1
    times: tuple[int, ...] = ()
    """Of days, weeks, months, years, and of a single date."""
    minute: int = 0
    """Of each hour, for rules of hours."""
    window: tuple[int, int] | None = None
    """For rules of minutes and hours: the first and the last moment may lie on it; the end may be the next day's."""
    open_end: bool = False
    """The window's end itself is left out."""
    weekdays: tuple[int, ...] = ()
    nths: tuple[int, ...] = ()
    """Which of the month's such weekdays: 1 to 5, or -1 for the last."""
    month_days: tuple[int, ...] = ()
    """1 to 31, or -1 for the last."""
    months: tuple[int, ...] = ()
    open_day: int = 0
    """1: the month's first day that is open in `calendar` (without one: Monday to Friday), -1: its last."""
    calendar: str | None = None
    day: date | None = None
    moment: datetime | None = None
    """Of a single run after a while: wall-clock time, to the second."""
    zone: str | None = None
    start: date | None = None
    end: date | None = None
    max_runs: int | None = None


def columns_of(meaning: Meaning) -> dict[str, Any]:
    """Write a meaning as the columns of a row that differ from the defaults. Raises Unsayable.

    Times are wall-clock times of the row's zone.
    """
    columns = _rule(meaning)
    if meaning.calendar is not None:
        columns["calendar"] = meaning.calendar
        if meaning.open_day:
            columns["calendar_roll"] = "next" if meaning.open_day > 0 else "previous"
    if meaning.zone is not None:
        columns["timezone"] = meaning.zone
    if meaning.start is not None:
        columns["start_time"] = datetime.combine(meaning.start, time.min)
    if meaning.end is not None:
        columns["end_time"] = datetime.combine(meaning.end, time(23, 59, 59))
    if meaning.max_runs is not None:
        columns["max_runs"] = meaning.max_runs
    return columns


def _rule(meaning: Meaning) -> dict[str, Any]:
    if meaning.unit is Unit.ONCE:
        return {"run_at": meaning.moment or _at(meaning)}
    if meaning.unit in SECONDS:
        return _through_the_day(meaning)
    if meaning.step > 1 or _needs_rrule(meaning):
        return {"rrule": _rrule(meaning)}
    hours, minutes = _grid(meaning.times)
    return {"crontab": f"{minutes} {hours} {_cron_days(meaning)}"}


def _at(meaning: Meaning) -> datetime:
    if meaning.day is None or not meaning.times:
        raise Unsayable("time_missing")
    return datetime.combine(meaning.day, time.min) + timedelta(minutes=meaning.times[0])


def _through_the_day(meaning: Meaning) -> dict[str, Any]:
    """Rules of seconds, minutes and hours: even ones on the clock's marks, others as an interval."""
    size = SECONDS[meaning.unit]
    constrained = bool(meaning.window or meaning.weekdays or meaning.month_days or meaning.months)
    on_clock = meaning.unit is not Unit.SECOND and _divides(meaning)
    if meaning.window is not None:
        return _within_window(meaning)
    if on_clock:
        days = _cron_days(meaning)
        if meaning.unit is Unit.MINUTE:
            return {"crontab": f"{_every(meaning.step)} * {days}"}
        return {"crontab": f"{meaning.minute} {_every(meaning.step)} {days}"}
    if constrained or meaning.minute:
        raise Unsayable("uneven")
    return {"interval_seconds": meaning.step * size}


def _divides(meaning: Meaning) -> bool:
    of = 60 if meaning.unit is Unit.MINUTE else 24
    return meaning.step < of and of % meaning.step == 0


def _every(step: int) -> str:
    return "*" if step == 1 else f"*/{step}"


def moments_in(meaning: Meaning) -> tuple[int, ...]:
    """Name the times of day of a rule within its window, from its start on. Raises Unsayable."""
    if meaning.window is None or meaning.unit not in (Unit.MINUTE, Unit.HOUR):
        raise Unsayable("combination")
    first, last = meaning.window
    last += DAY_MINUTES if last <= first else 0
    step = meaning.step * SECONDS[meaning.unit] // 60
    first += meaning.minute
    found = range(first, last if meaning.open_end else last + 1, step)
    if last - first > DAY_MINUTES or not found:
        raise Unsayable("combination")
    return tuple(found)


def _within_window(meaning: Meaning) -> dict[str, Any]:
    moments = moments_in(meaning)
    if moments[-1] >= DAY_MINUTES:
        if meaning.weekdays or meaning.month_days or meaning.months or meaning.calendar:
            raise Unsayable("over_midnight")  # the hours after midnight belong to another day
        moments = tuple(sorted({moment % DAY_MINUTES for moment in moments}))
    try:
        hours, minutes = _grid(moments, goes_on=True)
    except Unsayable:
        return {"rrule": _rrule(meaning, moments)}
    return {"crontab": f"{minutes} {hours} {_cron_days(meaning)}"}


def _grid(moments: tuple[int, ...], *, goes_on: bool = False) -> tuple[str, str]:
    """Write times of day as the fields of a crontab. Raises Unsayable where they are no full grid of both.

    A minute field that begins with `*` follows the clocks where they change: for rules that go on through the day.
    """
    hours = sorted({moment // 60 for moment in moments})
    minutes = sorted({moment % 60 for moment in moments})
    if not moments:
        raise Unsayable("time_missing")
    if len(hours) * len(minutes) != len(set(moments)):
        raise Unsayable("uneven_times")
    gap = minutes[1] - minutes[0] if len(minutes) > 1 else 60
    is_whole = goes_on and len(minutes) > 1 and minutes == list(range(0, 60, gap)) and 60 % gap == 0
    return _hours(hours) if goes_on else _field(hours), _every(gap) if is_whole else _field(minutes)


def _hours(hours: list[int]) -> str:
    gaps = {later - earlier for earlier, later in pairwise(hours)}
    if len(hours) > 2 and len(gaps) == 1 and gaps != {1}:
        return f"{hours[0]}-{hours[-1]}/{gaps.pop()}"
    return _field(hours)


def _field(values: Sequence[int]) -> str:
    """Write a list, with three and more in a row as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = [[f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(value) for value in run] for run in runs]
    return ",".join(chain.from_iterable(parts))


def _cron_days(meaning: Meaning) -> str:
    """The last three fields: day of month, month, weekday."""
    month = _field(meaning.months) if meaning.months else "*"
    if meaning.open_day:
        if meaning.calendar is None:
            return f"LW {month} *"
        return f"{1 if meaning.open_day > 0 else 'L'} {month} *"
    if meaning.month_days:
        return f"{'L' if meaning.month_days == (-1,) else _field(meaning.month_days)} {month} *"
    cron = sorted((day + 1) % 7 for day in meaning.weekdays)
    if meaning.nths:
        return f"* {month} " + ",".join(f"{cron[0]}L" if nth < 0 else f"{cron[0]}#{nth}" for nth in meaning.nths)
    return f"* {month} {_field(cron) if cron else '*'}"


def _needs_rrule(meaning: Meaning) -> bool:
    """What a crontab cannot say: the last day beside others, the first workday, an nth of several weekdays."""
    mixed = -1 in meaning.month_days and len(meaning.month_days) > 1
    first_workday = meaning.open_day > 0 and meaning.calendar is None
    return mixed or first_workday or (bool(meaning.nths) and len(meaning.weekdays) > 1)


def _rrule(meaning: Meaning, within: tuple[int, ...] = ()) -> str:
    """Write a rule with everything named, so that DTSTART gives its phase alone. Raises Unsayable."""
    unit = Unit.DAY if within else meaning.unit
    frequency = {Unit.DAY: "DAILY", Unit.WEEK: "WEEKLY", Unit.MONTH: "MONTHLY", Unit.YEAR: "YEARLY"}[unit]
    parts = [f"FREQ={frequency}"]
    if not within and meaning.step > 1:
        parts.append(f"INTERVAL={meaning.step}")
    if meaning.months:
        parts.append(f"BYMONTH={','.join(map(str, meaning.months))}")
    if meaning.month_days:
        parts.append(f"BYMONTHDAY={','.join(map(str, meaning.month_days))}")
    days = WORKWEEK if meaning.open_day else meaning.weekdays
    if days:
        nths = meaning.nths or ("",)
        parts.append("BYDAY=" + ",".join(f"{nth}{RRULE_DAYS[day]}" for nth in nths for day in days))
    if within:
        return ";".join([*parts, *_positions(within)])
    hours = sorted({moment // 60 for moment in meaning.times})
    minutes = sorted({moment % 60 for moment in meaning.times})
    _grid(meaning.times)
    parts += [f"BYHOUR={','.join(map(str, hours))}", f"BYMINUTE={','.join(map(str, minutes))}", "BYSECOND=0"]
    if meaning.open_day:
        if meaning.calendar is not None or len(meaning.times) > 1:
            raise Unsayable("combination")
        parts.append(f"BYSETPOS={meaning.open_day}")
    return ";".join(parts)


def _positions(moments: tuple[int, ...]) -> list[str]:
    """Pick single times of day out of the grid of their hours and minutes. Raises Unsayable where they are too many."""
    hours = sorted({moment // 60 for moment in moments})
    minutes = sorted({moment % 60 for moment in moments})
    grid = [60 * hour + minute for hour in hours for minute in minutes]
    places = [str(place) for place, moment in enumerate(grid, 1) if moment in moments]
    if len(grid) > MOST_POSITIONS:
        raise Unsayable("uneven_window")
    return [
        f"BYHOUR={','.join(map(str, hours))}",
        f"BYMINUTE={','.join(map(str, minutes))}",
        "BYSECOND=0",
        f"BYSETPOS={','.join(places)}",
    ]
