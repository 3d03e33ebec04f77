"""Crontab rules made at random, each with what its fields mean, and Debian cron's own way of running them.

Nothing here reads a rule's text or knows of folds: the meaning comes from how the rule was made, and the
walk keeps cron's virtual clock, minute by minute.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
ZONES = (
    "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "Pacific/Chatham",
    "Antarctica/Troll", "Asia/Shanghai", "America/Havana", "Africa/Casablanca", "Asia/Gaza", "UTC",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One field: its text and the values it stands for."""

    text: str
    values: frozenset[int] = field(repr=False)


@dataclass(frozen=True)
class Rule:
    """A crontab of five or six fields."""

    second: Field | None
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def __str__(self) -> str:
        fields = (self.second, self.minute, self.hour, self.day, self.month, self.weekday)
        return " ".join(field.text for field in fields if field is not None)

    @property
    def step(self) -> timedelta:
        return MINUTE if self.second is None else SECOND

    @property
    def is_fixed(self) -> bool:
        return not self.minute.text.startswith("*") and not self.hour.text.startswith("*")

    def is_on(self, day: date) -> bool:
        by_day = day.day in self.day.values
        by_weekday = day.isoweekday() % 7 in {value % 7 for value in self.weekday.values}
        either = not (self.day.text.startswith("*") or self.weekday.text.startswith("*"))
        return day.month in self.month.values and ((by_day or by_weekday) if either else (by_day and by_weekday))

    def matches(self, local: datetime) -> bool:
        return (
            local.minute in self.minute.values
            and local.hour in self.hour.values
            and local.second in (self.second.values if self.second else {0})
            and self.is_on(local)
        )


def any_field(dice: Random, least: int, most: int, names: list[str] | None = None, name_from: int = 0) -> Field:
    """A field of one to three terms; a single `*` often, as people write them."""
    if dice.randint(0, 3) == 0:
        return Field("*", frozenset(range(least, most + 1)))
    terms = [_term(dice, least, most, names or [], name_from) for _ in range(dice.randint(1, 3))]
    return Field(",".join(text for text, _ in terms), frozenset[int]().union(*(values for _, values in terms)))


def _term(dice: Random, least: int, most: int, names: list[str], name_from: int) -> tuple[str, set[int]]:
    def word(value: int) -> str:
        position = value - name_from
        if names and 0 <= position < len(names) and dice.randint(0, 1):
            return dice.choice([names[position], names[position].lower()])
        return str(value)

    first = dice.randint(least, most)
    last = dice.randint(first, most)
    step = dice.randint(1, most)
    match dice.choice(["one", "range", "stepped range", "from on", "every"]):
        case "one":
            return word(first), {first}
        case "range":
            return f"{word(first)}-{word(last)}", set(range(first, last + 1))
        case "stepped range" if first < last:
            return f"{word(first)}-{word(last)}/{step}", set(range(first, last + 1, step))
        case "every":
            return f"*/{step}", set(range(least, most + 1, step))
        case _:
            return f"{word(first)}/{step}", set(range(first, most + 1, step))


EVERY_DAY = Field("*", frozenset(range(1, 32)))
EVERY_MONTH = Field("*", frozenset(range(1, 13)))
EVERY_WEEKDAY = Field("*", frozenset(range(8)))


def any_rule(dice: Random, *, with_seconds: bool = False) -> Rule:
    """Any rule. The day fields are often left open, else few rules ever meet a clock change."""
    return Rule(
        second=any_field(dice, 0, 59) if with_seconds else None,
        minute=any_field(dice, 0, 59),
        hour=any_field(dice, 0, 23),
        day=EVERY_DAY if dice.randint(0, 1) else any_field(dice, 1, 31),
        month=EVERY_MONTH if dice.randint(0, 1) else any_field(dice, 1, 12, MONTHS, 1),
        weekday=EVERY_WEEKDAY if dice.randint(0, 1) else any_field(dice, 0, 7, WEEKDAYS),
    )


def rules(*, with_seconds: bool = False) -> st.SearchStrategy[Rule]:
    """Rules for hypothesis, which holds the dice and shrinks what they show."""
    dice = st.randoms(use_true_random=False, note_method_calls=False)
    return dice.map(lambda dice: any_rule(dice, with_seconds=with_seconds))


def is_known_to_croniter(rule: Rule) -> bool:
    """False for its own readings: `5-5` as `*`, a list of all values as a `*` (AND, not OR), `1/2` without 7."""
    from_on = any(re.fullmatch(r"\w+/\d+", term) for term in rule.weekday.text.split(",")) and 7 in rule.weekday.values
    text = str(rule).upper()
    for number, name in (*enumerate(MONTHS, 1), *enumerate(WEEKDAYS)):
        text = text.replace(name, str(number))
    same = any(re.fullmatch(r"(\w+)-\1(/\d+)?", term) for term in text.replace(",", " ").split())
    all_days = set(range(1, 32)) <= rule.day.values and not rule.day.text.startswith("*")
    all_weekdays = len({day % 7 for day in rule.weekday.values}) == 7 and not rule.weekday.text.startswith("*")
    return not (same or all_days or all_weekdays or from_on)


@dataclass(frozen=True)
class Change:
    """The instant a zone's clocks change."""

    zone: str
    moment: datetime

    @property
    def size(self) -> timedelta:
        zone = ZoneInfo(self.zone)
        before, after = ((self.moment + step).astimezone(zone).utcoffset() for step in (-SECOND, timedelta()))
        return abs((after or timedelta()) - (before or timedelta()))


@cache
def changes(first_year: int = 2024, last_year: int = 2030) -> tuple[Change, ...]:
    """Every change of ZONES in these years, found by looking at the clock each day."""
    found = []
    for name in ZONES:
        zone = ZoneInfo(name)
        day = datetime(first_year, 1, 1, tzinfo=UTC)
        while day.year <= last_year:
            low, high = day, day + timedelta(days=1)
            if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
                while high - low > SECOND:
                    middle = low + (high - low) // SECOND // 2 * SECOND
                    same = middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset()
                    low, high = (middle, high) if same else (low, middle)
                found.append(Change(name, high))
            day += timedelta(days=1)
    return tuple(found)


def debian_walk(rule: Rule, zone_name: str, start: datetime, end: datetime, change: datetime) -> Iterator[datetime]:
    """Run the rule as cron does, from `start` to `end`, both inclusive; both lie on its steps.

    A wildcard runs when the clock on the wall shows its time. A fixed time runs by a virtual clock: it never
    goes back, and where the wall clock jumps ahead it runs through what was left out, at once and once.
    """
    zone = ZoneInfo(zone_name)

    def wall(instant: datetime) -> datetime:
        return instant.astimezone(zone).replace(tzinfo=None, fold=0)

    earlier = [start - n * MINUTE for n in range(1, 240)] + [start - rule.step]
    earlier += [change - rule.step] if change < start else []
    virtual = max(wall(instant) for instant in earlier)
    instant = start
    while instant <= end:
        local = wall(instant)
        if not rule.is_fixed:
            if rule.matches(local):
                yield instant
        elif local > virtual:
            due = False
            while virtual < local:
                virtual += rule.step
                due = due or rule.matches(virtual)
            if due:
                yield instant
        instant += rule.step
