"""The workflow executor's fields (repeat_type, repeat_interval, repeat_days, …) said in schedule columns.

    repeat_type     becomes
    none            run_at
    minute, hour    interval_seconds, counted from start_time
    day, week       rrule, at start_time's time of day; on repeat_days, else on its weekday
    month, year     rrule, on repeat_day_of_month, or repeat_month and repeat_day_of_year; else on start_time's date

Day 31 is the last day of a shorter month, 29 February the 28th of a common year, and neither stays there.
What the old executor really did with such a row is in `core.legacy.repeats`.
"""

from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import MAX_INTERVAL, cadence_of, known_zone
from core.cadence import CadenceError
from core.clock_change import moment_at
from core.legacy.rows import Problem, as_row, read_json, read_time, read_whole, shown

STEPS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
KINDS: Final = ("none", *STEPS, "month", "year")
STATUS: Final = {1: "enabled", 2: "disabled", 3: "paused", 4: "deleted"}
_CENTURY: Final = timedelta(days=36_525)
MOST: Final = {**{kind: _CENTURY // step for kind, step in STEPS.items()}, "month": 1200, "year": 100}

_FREQUENCY: Final = {
    "minute": "MINUTELY", "hour": "HOURLY", "day": "DAILY", "week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY",
}  # fmt: skip
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_USED_BY: Final = {
    "repeat_days": ("week",),
    "repeat_day_of_month": ("month",),
    "repeat_month": ("year",),
    "repeat_day_of_year": ("year",),
}
_BEGINNING: Final = datetime(1, 1, 2, tzinfo=UTC)


class RepeatError(ValueError):
    """Fields that name no schedule; `problems` has one entry a field: `field`, `wrong` with the value, `mend`."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RepeatFields:
    """How often a task repeats, as its row says it."""

    kind: str
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    """1 is Monday, 7 Sunday."""
    month: int | None = None
    day: int | None = None


def columns_of(fields: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Say the old fields in columns of `periodic_task`: every kind of WHEN, the bounds, `timezone` and `enabled`.

    Numbers may come as text, `status` also by its word, `repeat_days` as a list or as its JSON text; a field that is
    missing, None or "" is not given. start_time is required and gives the time of day and where an interval counts
    from; a start_time on a day that the rule does not name is no run. Times are wall-clock times of `zone`, aware ones
    are converted to it. end_time is inclusive, max_executions 0 means no limit.

    Raises RepeatError with everything that is wrong at once.
    """
    given = {name: value for name, value in fields.items() if value is not None and value != ""}
    problems: list[Problem] = []

    def read(read_field: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read_field(*arguments)
        except Problem as problem:
            problems.append(problem)
            return None

    zone = read(_zone, zone) or "UTC"  # the others are read all the same
    status = read(read_status, given.get("status", 1))
    if status == 4:
        problems.append(Problem("status", "is 4, deleted", "delete the task instead"))
    most = read(read_whole, "max_executions", given.get("max_executions", 0), 0, 2**31 - 1)
    start = read(_start, given, zone)
    end = read(_end, given, start, zone)
    repeat = read(_strict, given)
    when = read(_when, repeat, start, zone) if repeat and start else None
    columns = {
        "crontab": None, "interval_seconds": None, "rrule": None, "run_at": None, "start_time": start,
        **(when or {}),
        "timezone": zone, "end_time": end, "max_runs": most or None,
        "enabled": int(status == 1), "pause_reason": "paused" if status == 3 else None,
    }  # fmt: skip
    if when and not problems:
        read(_fires, columns)
    if problems:
        raise RepeatError(problems)
    return columns


def read_status(value: object) -> int:
    """Read a status: its number, also as text, or its word. Raises Problem."""
    word = value.strip().lower() if isinstance(value, str) else value
    for number, name in STATUS.items():
        if word in (number, str(number), name) and not isinstance(word, bool):
            return number
    raise Problem("status", f"is {shown(value)}", "use 1 enabled, 2 disabled, 3 paused or 4 deleted")


def read_repeat(row: Mapping[str, Any]) -> RepeatFields:
    """Read the repeat_* fields that the row's repeat_type uses. Raises Problem."""
    kind = row.get("repeat_type") or "none"
    if kind not in KINDS:
        raise Problem("repeat_type", f"is {shown(kind)}", "use none, minute, hour, day, week, month or year")
    if kind == "none" or row.get("task_type") == "one_time":
        return RepeatFields("none")
    given = row.get("repeat_interval")
    interval = read_whole("repeat_interval", 1 if given is None else given, 1, MOST[kind])
    weekdays = _weekdays(row) if kind == "week" else ()
    month, day = _month_and_day(row) if kind == "year" else (None, None)
    if kind == "month" and row.get("repeat_day_of_month") is not None:
        day = read_whole("repeat_day_of_month", row["repeat_day_of_month"], 1, 31)
    return RepeatFields(kind, interval, weekdays, month, day)


def rrule_of(repeat: RepeatFields, start: datetime) -> str:
    """Write a repeating rule as an RRULE; `start` says what the fields leave open."""
    parts = [f"FREQ={_FREQUENCY[repeat.kind]}"]
    if repeat.interval > 1:
        parts.append(f"INTERVAL={repeat.interval}")
    if repeat.kind == "week":
        parts.append("BYDAY=" + ",".join(_DAYS[day - 1] for day in repeat.weekdays or (start.isoweekday(),)))
    month = (repeat.month or start.month) if repeat.kind == "year" else None
    if month:
        parts.append(f"BYMONTH={month}")
    if repeat.kind in ("month", "year"):
        parts.append(_on_day(repeat.day or start.day, month))
    return ";".join(parts)


def _on_day(day: int, month: int | None) -> str:
    """Name a day of the month, or the last one of a month that has no such day."""
    if day <= 28 or month not in (None, 2):
        return f"BYMONTHDAY={day}"
    if day == 31 or month == 2:
        return "BYMONTHDAY=-1"
    return f"BYMONTHDAY={','.join(map(str, range(28, day + 1)))};BYSETPOS=-1"


def with_start(rule: str, start: datetime, zone: str) -> str:
    """Write DTSTART into a rule where start_time alone would not do: the clock never shows it.

    start_time then means the end of the gap, and the whole rule would move to that time of day.
    """
    there = ZoneInfo(zone)
    if moment_at(start, there).astimezone(there).replace(tzinfo=None) == start:
        return rule
    return f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{rule}"


def _zone(zone: str) -> str:
    try:
        return known_zone(zone)
    except CadenceError as error:
        raise Problem("timezone", f"is {shown(zone)}", str(error)) from error


def _start(given: Mapping[str, Any], zone: str) -> datetime:
    start = read_time("start_time", given.get("start_time"), zone)
    if start is None:
        raise Problem("start_time", "is empty", "write one such as 2026-12-31 09:00:00")
    return start.replace(microsecond=0)  # rules name whole seconds: a fraction would put the first run before the start


def _end(given: Mapping[str, Any], start: datetime | None, zone: str) -> datetime | None:
    end = read_time("end_time", given.get("end_time"), zone)
    if end is not None and start is not None and end < start:
        raise Problem("end_time", f"is {end}, before start_time {start}", "correct one of them")
    return end


def _strict(given: Mapping[str, Any]) -> RepeatFields:
    """Read the repeat, and refuse what it would pass over in silence. Raises Problem."""
    repeat, task_type = read_repeat(given), given.get("task_type")
    kind = given.get("repeat_type", "none")
    if task_type not in (None, "one_time", "recurring"):
        raise Problem("task_type", f"is {shown(task_type)}", "use one_time or recurring")
    if task_type is not None and (task_type == "one_time") != (kind == "none"):
        wrong = f"is {task_type!r}, and repeat_type is {kind!r}"
        raise Problem("task_type", wrong, "use one_time with none, recurring with the others")
    for field, kinds in _USED_BY.items():
        if kind not in kinds and given.get(field) not in (None, [], (), "[]"):
            wrong = f"is {shown(given[field])}, which repeat_type {kind!r} does not use"
            raise Problem(field, wrong, f"clear it, or set repeat_type to {kinds[0]!r}")
    if kind == "year" and (repeat.month is None) != (repeat.day is None):
        missing = "repeat_month" if repeat.month is None else "repeat_day_of_year"
        mend = "give repeat_month and repeat_day_of_year, the day of that month, or neither for the date of start_time"
        raise Problem(missing, "is empty", mend)
    return repeat


def _when(repeat: RepeatFields, start: datetime, zone: str) -> dict[str, Any]:
    if repeat.kind == "none":
        return {"run_at": start, "start_time": None}
    if repeat.kind not in ("minute", "hour"):
        return {"rrule": with_start(rrule_of(repeat, start), start, zone)}
    seconds = repeat.interval * int(STEPS[repeat.kind].total_seconds())
    if seconds > MAX_INTERVAL:
        raise Problem("repeat_interval", f"is {repeat.interval} {repeat.kind}s, over ten years", "use a smaller one")
    return {"interval_seconds": seconds}


def _fires(columns: Mapping[str, Any]) -> None:
    """Raise Problem where the columns name no run at all."""
    try:
        first = cadence_of(as_row(columns, _BEGINNING), columns["timezone"]).after(_BEGINNING)
    except CadenceError as error:
        raise Problem("repeat_type", f"names no run ({error})", "change it or repeat_interval") from error
    if first is None:
        wrong = f"is {columns['end_time']}, before the first run"
        raise Problem("end_time", wrong, "write a later one, or an earlier start_time")


def _weekdays(row: Mapping[str, Any]) -> tuple[int, ...]:
    days = read_json("repeat_days", row.get("repeat_days"), list)
    try:
        return tuple(sorted({read_whole("repeat_days", day, 1, 7) for day in days}))
    except Problem as problem:
        wrong = problem.wrong.replace("is", "names the day", 1)
        raise Problem("repeat_days", wrong, "write numbers from 1, Monday, to 7, Sunday: [1, 3, 5]") from problem


def _month_and_day(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Read the yearly date. The column repeat_day_of_year held a day of the month."""
    month, day = row.get("repeat_month"), row.get("repeat_day_of_year")
    month = month if month is None else read_whole("repeat_month", month, 1, 12)
    day = day if day is None else read_whole("repeat_day_of_year", day, 1, 366)
    if month is not None and day is not None and day > monthrange(2024, month)[1]:
        wrong = f"is {day}, no day of month {month}: the old executor then kept to the date of start_time"
        raise Problem(
            "repeat_day_of_year", wrong, "write the day of the month, or clear it to keep the date of start_time"
        )
    return month, day
