"""The five crontab columns of Celery's dialect, said as one Debian crontab expression, or refused.

The two differ where it hurts: Celery wants day of month *and* weekday to match, where cron takes either of them;
its ranges may wrap (`22-5`, `fri-mon`); its weekdays end at 6.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.legacy.rows import Problem

_PART: Final = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\w*))?", re.ASCII)
_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_WEEKS: Final = tuple(frozenset(range(first, min(first + 7, 32))) for first in range(1, 32, 7))


@dataclass(frozen=True, slots=True)
class CeleryCron:
    """The five fields as they stood in the row, blank ones as `*`."""

    minute: str
    hour: str
    day_of_week: str
    day_of_month: str
    month_of_year: str


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five: its column, its range, and the names Celery knows in it."""

    key: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        return f"task_crontab_{self.key}"


MINUTE: Final = _Field("minute", 0, 59)
HOUR: Final = _Field("hour", 0, 23)
DAY: Final = _Field("day_of_month", 1, 31)
MONTH: Final = _Field("month_of_year", 1, 12, _MONTHS)
WEEKDAY: Final = _Field("day_of_week", 0, 6, _WEEKDAYS)
FIELDS: Final = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True, slots=True)
class _Read:
    """What a field names, and how to write it for cron."""

    values: frozenset[int]
    text: str

    @property
    def is_open(self) -> bool:
        return self.text == "*"


def read_columns(row: Mapping[str, Any]) -> CeleryCron:
    """Take the five columns of a row; NULL and blank mean every value."""
    texts = {field.key: row.get(field.column) for field in FIELDS}
    return CeleryCron(**{key: str("" if text is None else text).strip() or "*" for key, text in texts.items()})


def expression_of(old: CeleryCron, notes: list[str]) -> str:
    """Say the same in one expression that cron reads exactly so; what an operator should know goes to `notes`.

    Raises Problem for what Celery itself could not read, and for what no expression says.
    """
    minute, hour, day, month, weekday = (_read(field, getattr(old, field.key)) for field in FIELDS)
    if not any(limit >= min(day.values) for limit in map(_longest, month.values)):
        raise Problem(
            DAY.column,
            f"is {old.day_of_month!r}, which never comes in month {old.month_of_year!r}",
            "mend one of them",
        )
    day_text, weekday_text = day.text, weekday.text
    if not (day.is_open or weekday.is_open or day.text.startswith("*") or weekday.text.startswith("*")):
        day_text, weekday_text = _both(old, day.values, weekday.values)
        notes.append(
            f"day of month {old.day_of_month!r} and weekday {old.day_of_week!r} must both match, as in Celery; "
            f"for cron that is {day_text!r} with {weekday_text!r}"
        )
    return f"{minute.text} {hour.text} {day_text} {month.text} {weekday_text}"


def blank_is_every(expression: str) -> str | None:
    """Warn of an open field below a set one: 'hour 2' alone fires sixty times, and that is imported as it is."""
    minute, hour, *days = expression.split()
    any_day = days == ["*", "*", "*"]
    if minute == hour == "*" and any_day:
        return "every field is blank or '*': it fires every minute"
    once = ("0" if minute == "*" else minute, "0" if hour == "*" and not any_day else hour)
    if once == (minute, hour):
        return None
    times = len(_read(MINUTE, minute).values) * len(_read(HOUR, hour).values)
    column = MINUTE.column if minute == "*" else HOUR.column
    meant = " ".join([*once, *days])
    return f"{column} is blank or '*': it fires {times} times on each of its days; if {meant!r} was meant, write that"


def _read(field: _Field, text: str) -> _Read:
    values: set[int] = set()
    plain = True
    for part in text.split(","):
        named, is_plain = _read_part(field, text, part.strip())
        values.update(named)
        plain = plain and is_plain
    if len(values) == field.most - field.least + 1:
        return _Read(frozenset(values), "*")
    written = re.sub(r"\s", "", text) if plain else listed(values)
    return _Read(frozenset(values), written)


def _read_part(field: _Field, text: str, part: str) -> tuple[list[int], bool]:
    """Name the values of one part in Celery's order, and say whether cron reads the same text the same way."""
    found = _PART.fullmatch(part)
    if found is None:
        raise Problem(field.column, f"is {text!r}, which neither cron nor Celery can read", "mend the old row")
    star, first, last, step = found.groups()
    every = _step(field, text, step)
    if star:
        return list(range(field.least, field.most + 1, every)), True
    low = _number(field, text, first)
    if last is None:
        if step is not None:
            mend = f"write {low}-{field.most}/{step}"
            raise Problem(field.column, f"is {text!r}, a step without a range, which Celery refused", mend)
        return [low], first.isdigit()
    high = _number(field, text, last)
    if low <= high:
        # cronsim reads `5-5/2` as `5/2`.
        return list(range(low, high + 1, every)), first.isdigit() and last.isdigit() and low < high
    return [*range(low, field.most + 1), *range(field.least, high + 1)][::every], False


def _step(field: _Field, text: str, step: str | None) -> int:
    if step is None:
        return 1
    if not step.isdigit() or int(step) == 0:
        raise Problem(field.column, f"is {text!r}, with a step that is no number above 0", "correct it in the old row")
    return int(step)


def _number(field: _Field, text: str, word: str) -> int:
    if word.isdigit():
        number = int(word)
    else:
        known = [
            i for i, name in enumerate(field.names, field.least) if len(word) > 2 and name.startswith(word.lower())
        ]
        number = known[0] if known else -1
    if field.least <= number <= field.most:
        return number
    mend = "Sunday is 0" if field is WEEKDAY and number == 7 else f"use {field.least} to {field.most}"
    raise Problem(field.column, f"is {text!r}: {word!r} is out of range, and Celery refused it", mend)


def listed(values: set[int] | frozenset[int]) -> str:
    """Write numbers as a cron list, with runs of three and more as ranges."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _both(old: CeleryCron, days: frozenset[int], weekdays: frozenset[int]) -> tuple[str, str]:
    """Write "on these days of the month if they are these weekdays".

    Whole weeks of the month are cron's `1#2`. Else a field that begins with `*` makes cron want both, and two
    values can be written so: day 1 as `*/31`, Sunday as `*/7`.
    """
    weeks = [number for number, week in enumerate(_WEEKS, 1) if week <= days]
    if days == frozenset().union(*(_WEEKS[number - 1] for number in weeks)):
        return "*", ",".join(f"{weekday}#{number}" for weekday in sorted(weekdays) for number in weeks)
    if 1 in days:
        return ",".join(filter(None, ["*/31", listed(days - {1})])), listed(weekdays)
    if 0 in weekdays:
        return listed(days), ",".join(filter(None, ["*/7", listed(weekdays - {0})]))
    raise Problem(
        f"{DAY.column} and {WEEKDAY.column}",
        f"are {old.day_of_month!r} and {old.day_of_week!r}: both must match, where cron takes either of them",
        "no crontab says this: keep one of the two, or write a run_at row for each date",
    )


def _longest(month: int) -> int:
    return 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31
