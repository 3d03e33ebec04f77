"""The days of a rule of days, weeks, months or years, from what was said about them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from core.phrases.meaning import Meaning, Unit, Unsayable
from core.phrases.pieces import Kind

QUARTER_STARTS: Final = (1, 4, 7, 10)


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, with one option of each piece."""

    values: Mapping[Kind, list[Any]]
    repeats: frozenset[Kind]
    """Kinds whose words say that it comes again and again."""

    def one(self, kind: Kind) -> Any:
        """The only value of a kind, or None."""
        return self.values[kind][0] if kind in self.values else None

    def only(self, allowed: frozenset[Kind]) -> None:
        """Raise Unsayable where something else was said."""
        if self.values.keys() - allowed:
            raise Unsayable("combination")


@dataclass(frozen=True, slots=True)
class Choice:
    """A meaning, what is taken for granted in it, and what it was chosen over."""

    meaning: Meaning
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def weekdays_of(said: Said) -> tuple[int, ...]:
    """Name the weekdays that were said. Raises Unsayable."""
    values = said.values.get(Kind.WEEKDAYS, [])
    if len({step for _, step in values}) > 1:
        raise Unsayable("two_rules")
    return tuple(sorted({day for days, _ in values for day in days if isinstance(day, int)}))


def month_days_of(said: Said) -> tuple[int, ...]:
    """Name the days of the month that were said, the last of it last. Raises Unsayable."""
    days = {day for days, _ in said.values.get(Kind.MONTH_DAYS, []) for day in days}
    if any(not (1 <= day <= 31 or day == -1) for day in days):
        raise Unsayable("no_such_date")
    return tuple(sorted(days, key=lambda day: day if day > 0 else 99))


def months_of(said: Said) -> tuple[int, ...]:
    """Name the months that were said. Raises Unsayable."""
    months = tuple(sorted({month for each in said.values.get(Kind.MONTHS, []) for month in each}))
    if any(not 1 <= month <= 12 for month in months):
        raise Unsayable("no_such_date")
    return months


def days_of(said: Said, base: Meaning) -> list[Choice]:
    """Find the days of a rule of days, weeks, months or years."""
    months = months_of(said)
    if base.unit is Unit.DAY:
        return [Choice(replace(base, months=months))]
    if base.unit is Unit.WEEK:
        return _in_weeks(said, replace(base, months=months))
    return _in_months(said, base, months)


def _in_weeks(said: Said, base: Meaning) -> list[Choice]:
    every = said.one(Kind.EVERY)
    twice = every is not None and every[0] == "twice"
    found = said.values.get(Kind.WEEKDAYS, [])
    if found and found[0][0] in ("week", "nth"):
        return _every_second(said, base)
    days = weekdays_of(said)
    if twice:
        if days and len(days) != 2:
            raise Unsayable("combination")
        return [Choice(replace(base, weekdays=days or (0, 3)))]
    if not days:
        return [Choice(replace(base, weekdays=(day,)), questions=("which_day",)) for day in range(7)]
    steps = {step for _, step in found} | ({base.step} if every is not None else set())
    steps.discard(1)
    if len(steps) > 1:
        raise Unsayable("two_rules")
    return [Choice(replace(base, weekdays=days, step=next(iter(steps), 1)))]


def _every_second(said: Said, base: Meaning) -> list[Choice]:
    if len(said.values[Kind.WEEKDAYS]) > 1 or Kind.EVERY in said.values:
        raise Unsayable("two_rules")
    how, *rest = said.one(Kind.WEEKDAYS)
    if how == "week":
        days, step = rest
        return [Choice(replace(base, weekdays=days, step=step))]
    nths, days = rest
    return [Choice(replace(base, unit=Unit.MONTH, step=1, weekdays=days, nths=nths))]


def _in_months(said: Said, base: Meaning, months: tuple[int, ...]) -> list[Choice]:
    values = said.values
    how = [kind for kind in (Kind.MONTH_DAYS, Kind.NTH, Kind.OPEN_DAY, Kind.DATE) if kind in values]
    if len(how) > 1 or (how in ([], [Kind.OPEN_DAY]) and Kind.CALENDAR in values):
        raise Unsayable("combination")
    if not how:
        return _without_day(said, base, months)
    found, own, edge = HOW[how[0]](said, base)
    if said.one(Kind.EVERY) == ("twice", "month") and len(found.month_days) != 2:
        raise Unsayable("combination")
    if own and months:
        raise Unsayable("combination")
    return _spread_over(said, found, own or months, edge)


Found = tuple[Meaning, tuple[int, ...], int]
"""A rule, the months that its words name, and 1 or -1 where it is about the first or the last."""


def _on_date(said: Said, base: Meaning) -> Found:
    _, month, day = said.one(Kind.DATE)
    return replace(base, month_days=(day,)), (month,), 0


def _on_month_days(said: Said, base: Meaning) -> Found:
    months = {each[1] for each in said.values[Kind.MONTH_DAYS]}
    if len(months) > 1:
        raise Unsayable("two_rules")
    days = month_days_of(said)
    return replace(base, month_days=days), months.pop(), days[0] if len(days) == 1 else 0


def _on_nth(said: Said, base: Meaning) -> Found:
    nths, weekdays, months = said.one(Kind.NTH)
    ordered = tuple(sorted(nths, key=lambda nth: nth if nth > 0 else 9))
    return replace(base, nths=ordered, weekdays=weekdays), months, nths[0] if len(nths) == 1 else 0


def _on_open_day(said: Said, base: Meaning) -> Found:
    which, calendar, months = said.one(Kind.OPEN_DAY)
    return replace(base, open_day=which, calendar=None if calendar == "week" else calendar), months, which


HOW: Final[dict[Kind, Callable[[Said, Meaning], Found]]] = {
    Kind.DATE: _on_date,
    Kind.MONTH_DAYS: _on_month_days,
    Kind.NTH: _on_nth,
    Kind.OPEN_DAY: _on_open_day,
}


def _spread_over(said: Said, found: Meaning, months: tuple[int, ...], edge: int) -> list[Choice]:
    """Name the months of a day that comes each month, quarter or year."""
    every = said.one(Kind.EVERY)
    unit, step = every if every is not None else ("month", 1)
    if unit == "year" and not months:
        if edge not in (1, -1) or found.nths or found.month_days == (1,):  # the 1st of which month?
            raise Unsayable("month_missing")
        months = (1,) if edge > 0 else (12,)
    if unit == "quarter" and step == 1 and not months:
        if edge in (1, -1):
            months = tuple(month + (2 if edge < 0 else 0) for month in QUARTER_STARTS)
        else:
            choices = [tuple(month + later for month in QUARTER_STARTS) for later in range(3)]
            return [Choice(replace(found, months=each), questions=("which_month",)) for each in choices]
    return [Choice(replace(found, months=months))]


def _without_day(said: Said, base: Meaning, months: tuple[int, ...]) -> list[Choice]:
    unit, step = said.one(Kind.EVERY) or ("month", 1)
    if unit == "twice":
        return [Choice(replace(base, month_days=(1, 15), months=months))]
    if unit == "year" and step == 1 and not months:
        ends = [replace(base, months=(1,), month_days=(1,)), replace(base, months=(12,), month_days=(31,))]
    elif unit == "quarter" and step == 1 and not months:
        last = tuple(month + 2 for month in QUARTER_STARTS)
        ends = [replace(base, months=QUARTER_STARTS, month_days=(1,)), replace(base, months=last, month_days=(-1,))]
    elif unit == "year" and not months:
        raise Unsayable("month_missing")
    else:
        ends = [replace(base, months=months, month_days=(1,)), replace(base, months=months, month_days=(-1,))]
    return [Choice(each, questions=("which_day",)) for each in ends]
