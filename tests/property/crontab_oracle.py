"""Crontab rules made at random, each with what its fields mean, and Debian cron's own way of running them.

Nothing here reads a rule's text or knows of folds: the meaning comes from how the rule was made, and the
walk keeps cron's virtual clock, minute by minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
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

    def matches(self, local: datetime) -> bool:
        by_day = local.day in self.day.values
        by_weekday = local.isoweekday() % 7 in {value % 7 for value in self.weekday.values}
        either = not (self.day.text.startswith("*") or self.weekday.text.startswith("*"))
        return (
            local.minute in self.minute.values
            and local.hour in self.hour.values
            and local.month in self.month.values
            and local.second in (self.second.values if self.second else {0})
            and ((by_day or by_weekday) if either else (by_day and by_weekday))
        )


@st.composite
def fields(draw: st.DrawFn, least: int, most: int, names: list[str] | None = None, name_from: int = 0) -> Field:
    """A field of one to three terms; a single `*` often, as people write them."""
    if draw(st.integers(0, 3)) == 0:
        return Field("*", frozenset(range(least, most + 1)))
    terms = draw(st.lists(_terms(least, most, names or [], name_from), min_size=1, max_size=3))
    return Field(",".join(text for text, _ in terms), frozenset[int]().union(*(values for _, values in terms)))


@st.composite
def _terms(draw: st.DrawFn, least: int, most: int, names: list[str], name_from: int) -> tuple[str, set[int]]:
    def word(value: int) -> str:
        position = value - name_from
        if names and 0 <= position < len(names) and draw(st.booleans()):
            return draw(st.sampled_from([names[position], names[position].lower()]))
        return str(value)

    first = draw(st.integers(least, most))
    last = draw(st.integers(first, most))
    step = draw(st.integers(1, most))
    match draw(st.sampled_from(["one", "range", "stepped range", "from on", "every"])):
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


@st.composite
def rules(draw: st.DrawFn, *, with_seconds: bool = False) -> Rule:
    """Any rule. The day fields are often left open, else few rules ever meet a clock change."""
    return Rule(
        second=draw(fields(0, 59)) if with_seconds else None,
        minute=draw(fields(0, 59)),
        hour=draw(fields(0, 23)),
        day=draw(st.just(EVERY_DAY) | fields(1, 31)),
        month=draw(st.just(EVERY_MONTH) | fields(1, 12, MONTHS, 1)),
        weekday=draw(st.just(EVERY_WEEKDAY) | fields(0, 7, WEEKDAYS)),
    )


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
