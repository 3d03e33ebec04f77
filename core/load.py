"""How many rows fire in each minute of a stretch of time, and a spread that takes the top off one of them. Pure.

The work is bounded by the moments walked, not by the rows: those of one rule are walked once, the largest groups first.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import Surroundings, cadence_of
from core.cadence import MICROSECOND, Cadence, CadenceError, Jittered
from core.calendars import load

MINUTE: Final = timedelta(minutes=1)
MOST_MOMENTS: Final = 10_000
MOST_OF_ONE: Final = 700  # every 15 minutes for a week; what comes oftener goes on evenly
SPREADS: Final = (300, 600, 900, 1200, 1800, 2700, 3600)
ROOM: Final = 3  # a row that comes again within so many times the spread stays as it is
LOOKED_AT: Final = 4  # moments of a rule, to learn how near they lie together


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one rule: the columns of one of them, how many there are, and when they fire next."""

    row: Any
    rows: int
    next_run_at: datetime


@dataclass(slots=True)
class Load:
    """Rows by the minute, counted from `first`; with jitter, what is to be expected of each minute."""

    first: datetime
    last: datetime
    minutes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    walked: int = 0
    """Rows whose every moment is in it."""
    thinned: int = 0
    """Rows that come so often that the later part of the stretch has their mean."""
    once: int = 0
    """Rows of which only the next moment is in it: too many rules, or too many rows."""

    def add(self, moment: datetime, rows: float, jitter: int = 0) -> None:
        """Count rows at a moment, put off evenly by up to `jitter` seconds."""
        place = int((moment - self.first) // MINUTE)
        parts = max(-(-jitter // 60), 1)
        for part in range(parts):
            self.minutes[place + part] += rows / parts

    def by_hour(self) -> list[float]:
        """Sum the minutes of each hour of the stretch."""
        hours = [0.0] * (-(-int((self.last - self.first) // MINUTE) // 60))
        for place, rows in self.minutes.items():
            if 0 <= place // 60 < len(hours):
                hours[place // 60] += rows
        return hours

    def peaks(self, count: int) -> list[tuple[datetime, float]]:
        """Name the fullest minutes, the fullest first."""
        end = int((self.last - self.first) // MINUTE)
        inside = ((place, rows) for place, rows in self.minutes.items() if 0 <= place < end)
        fullest = sorted(inside, key=lambda each: (-each[1], each[0]))[:count]
        return [(self.first + place * MINUTE, rows) for place, rows in fullest]


def load_of(
    groups: Iterable[Group], around: Surroundings, first: datetime, last: datetime, most: int = MOST_MOMENTS
) -> Load:
    """Walk the rules from `first` to `last` (exclusive), the largest groups first, at most `most` moments in all."""
    found = Load(first, last)
    left = most
    for group in sorted(groups, key=lambda group: -group.rows):
        if left <= 0:
            _count_next(found, group)
            continue
        try:
            left -= _walk(found, group, cadence_of(group.row, around.zone, around.overrides), min(left, MOST_OF_ONE))
        except CadenceError:  # what it was armed for is another thing by now
            _count_next(found, group)
    return found


def _count_next(found: Load, group: Group) -> None:
    if found.first <= group.next_run_at < found.last:
        found.add(group.next_run_at, group.rows)
    found.once += group.rows


def _walk(found: Load, group: Group, cadence: Cadence, most: int) -> int:
    rule = cadence.inner if isinstance(cadence, Jittered) else cadence
    begin = moment = rule.after(found.first - MICROSECOND)
    walked = 0
    while moment is not None and moment < found.last and walked < most:
        found.add(moment, group.rows, group.row.jitter_seconds)
        moment, walked = rule.after(moment), walked + 1
    if moment is None or moment >= found.last:
        found.walked += group.rows
        return walked
    a_minute = walked / ((moment - (begin or found.first)) / MINUTE)
    done, total = int((moment - found.first) // MINUTE), int((found.last - found.first) // MINUTE)
    for place in range(done, total):
        found.minutes[place] += group.rows * a_minute
    found.thinned += group.rows
    return walked


@dataclass(frozen=True, slots=True)
class Spread:
    """What to do about one minute: a `jitter_seconds` for these rows, and what the fullest minute becomes."""

    minute: datetime
    jitter_seconds: int
    """0: no spread reaches the aim."""
    ids: tuple[int, ...]
    left: tuple[int, ...]
    """Rows that have no room (see `spread`), or keep a wider spread of their own."""
    before: int
    after: int
    """Rows in the fullest minute from this one to the end of the spread, others that fire there included."""


def spread(
    rows: Sequence[Any], minute: datetime, around: Surroundings, others: Mapping[datetime, float], fold: float = 5
) -> Spread:
    """Find the smallest spread that makes the fullest minute at least `fold` times emptier; else the best.

    A row stays where it is if its minute means something: on an exchange's calendar, for the last time, soon before
    it comes again, or so late that a delay would end on another day of the row's zone.
    `others`: what else fires in the minutes from here on. Exact: jitter is derived from a row's id and its moment.
    """
    cadences = _readable(rows, around)
    firing = [row for row in rows if row.id in cadences and _fires_in(cadences[row.id], minute)]
    before = len(firing) + round(others.get(minute, 0))
    best = Spread(minute, 0, (), tuple(row.id for row in firing), before, before)
    rooms = _rooms(firing, cadences, minute, around)
    for seconds in SPREADS:
        movable = [row for row in firing if row.jitter_seconds < seconds <= rooms[row.id]]
        after = _fullest(firing, movable, cadences, minute, seconds, others)
        if after < best.after:
            moved = {row.id for row in movable}
            left = tuple(row.id for row in firing if row.id not in moved)
            best = Spread(minute, seconds, tuple(sorted(moved)), left, before, after)
        if best.after * fold <= before:
            break
    return best


def _readable(rows: Sequence[Any], around: Surroundings) -> dict[int, Cadence]:
    """Read the rules, but of rows that were armed for another thing than they say by now."""
    found: dict[int, Cadence] = {}
    for row in rows:
        with suppress(CadenceError):
            found[row.id] = cadence_of(row, around.zone, around.overrides)
    return found


def _nominal(cadence: Cadence) -> Cadence:
    return cadence.inner if isinstance(cadence, Jittered) else cadence


def _fires_in(cadence: Cadence, minute: datetime) -> bool:
    found = cadence.after(minute - MICROSECOND)
    return found is not None and found < minute + MINUTE


def _rooms(
    rows: Sequence[Any], cadences: Mapping[int, Cadence], minute: datetime, around: Surroundings
) -> dict[int, float]:
    """Tell how many seconds each row may be put off; rows of one rule are asked once."""
    rules: dict[tuple[Cadence, Any, Any], float] = {}
    found: dict[int, float] = {}
    for row in rows:
        rule = (_nominal(cadences[row.id]), row.timezone, row.calendar)
        if rule not in rules:
            is_traded = row.calendar is not None and load(row.calendar, around.overrides).zone is not None
            rules[rule] = 0.0 if is_traded else _room(rule[0], minute, ZoneInfo(row.timezone or around.zone))
        found[row.id] = rules[rule]
    return found


def _room(rule: Cadence, minute: datetime, zone: ZoneInfo) -> float:
    """Tell how many seconds the next moments may be put off: far from the following one, and the same day."""
    room, moment = timedelta.max, rule.after(minute - MICROSECOND)
    for _ in range(LOOKED_AT):
        following = None if moment is None else rule.after(moment)
        if moment is None or following is None:
            return 0.0
        wall = moment.astimezone(zone).replace(tzinfo=None)
        midnight = datetime.combine(wall.date(), time()) + timedelta(days=1)
        room, moment = min(room, (following - moment) / ROOM, midnight - wall), following
    return room.total_seconds()


def _fullest(
    firing: Sequence[Any],
    movable: Sequence[Any],
    cadences: Mapping[int, Cadence],
    minute: datetime,
    seconds: int,
    others: Mapping[datetime, float],
) -> int:
    moved = {row.id for row in movable}
    minutes: Counter[int] = Counter()
    for row in firing:
        cadence = cadences[row.id]
        if row.id in moved:
            cadence = Jittered(_nominal(cadence), timedelta(seconds=seconds), str(row.id))
        moment = cadence.after(minute - MICROSECOND)
        if moment is not None:
            minutes[int((moment - minute) // MINUTE)] += 1
    last = -(-seconds // 60)
    return max(round(minutes[place] + others.get(minute + place * MINUTE, 0)) for place in range(last + 1))
