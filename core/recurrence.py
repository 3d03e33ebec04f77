"""RRULE: RFC 5545 recurrence by python-dateutil, with every search bounded.

A legal rule can take seconds a question: a DAILY that never matches is walked to the year 9999 (5.6 s), a MINUTELY
from ten years ago from its first minute (2.6 s), a YEARLY with every second from its first of January (2 s). So
DTSTART is moved forward by whole periods, and the steps of dateutil's walk are counted: beyond BUDGET the question
fails instead of stalling whoever asked.

Rules are walked in the row's wall-clock time; `core/clock_change.py` makes moments of it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from math import prod
from typing import Any
from zoneinfo import ZoneInfo

from dateutil import rrule as library

from core.cadence import CadenceError
from core.clock_change import DAY, SECOND, DstPolicy, WallClock, moment_at
from core.effort import at_most, spend

BUDGET = 20_000  # steps of dateutil's walk, at most about 60 ms
TIMES_A_STEP = 32  # that a walk passes over within one step; they cost about 0.1 µs each
TIMES_A_STEP_TO_BUILD = 3  # of the times of day that dateutil works out before it walks
MAX_COUNT = 10_000
EFFORT = 11 * BUDGET  # for one question that takes several walks, and for the one long walk of a COUNT
LOOK_BACK_DAYS = (2, 40, 400, 3_700, 15_000)  # how far back a moment's predecessor is looked for, step by step

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
LINE = re.compile(r"^(?P<name>[A-Z]+)(?P<parameters>(?:;[A-Z-]+=[^:;]+)*):(?P<value>.*)$", re.IGNORECASE)


class _BudgetExceeded(Exception):
    """The search took more steps than any useful rule needs."""


class _MeteredInfo(library._iterinfo):  # type: ignore[misc]
    """dateutil's walk asks for one set of days a step: the only place where its steps can be counted."""

    def _count(self) -> None:
        if getattr(self.rrule, "steps_left", None) is not None:
            _count(self.rrule)

    def ydayset(self, year: int, month: int, day: int) -> Any:
        """Count a yearly step."""
        self._count()
        return super().ydayset(year, month, day)

    def mdayset(self, year: int, month: int, day: int) -> Any:
        """Count a monthly step."""
        self._count()
        return super().mdayset(year, month, day)

    def wdayset(self, year: int, month: int, day: int) -> Any:
        """Count a weekly step."""
        self._count()
        return super().wdayset(year, month, day)

    def ddayset(self, year: int, month: int, day: int) -> Any:
        """Count a daily, hourly or minutely step."""
        self._count()
        return super().ddayset(year, month, day)


library._iterinfo = _MeteredInfo


def _count(rule: Any, steps: int = 1) -> None:
    """Count steps of a rule's walk, for itself and for whatever question it is part of."""
    if rule.steps_left < steps:
        raise _BudgetExceeded
    rule.steps_left -= steps
    spend(steps)


class _MeteredTimes(tuple[Any, ...]):
    """The times of a day of a rule that is DAILY or rarer: dateutil passes over all of them for each day of a step."""

    rule: Any

    def __iter__(self) -> Iterator[Any]:
        _count(self.rule, len(self) // TIMES_A_STEP)
        return super().__iter__()


def _walk(rule: Any) -> Iterator[datetime]:
    """Walk a rule whose steps are counted; many times within one step count too."""
    if rule._timeset is not None:
        rule._timeset = _MeteredTimes(rule._timeset)
        rule._timeset.rule = rule
        yield from rule
        return
    for number, wall in enumerate(rule, 1):
        if number % TIMES_A_STEP == 0:
            _count(rule)
        yield wall


@dataclass(frozen=True)
class Recurrence:
    """An RRULE with its EXDATEs and RDATEs in a time zone."""

    text: str
    zone: str
    dst_policy: DstPolicy
    start: datetime
    """DTSTART, wall-clock time."""
    begin: datetime
    """DTSTART, the moment."""
    options: dict[str, Any] = field(compare=False)
    at_most: int | None = field(compare=False)
    """COUNT."""
    until: datetime | None = field(compare=False)
    """An UNTIL that names a moment; one that names a wall-clock time is in `options`."""
    extra: tuple[datetime, ...] = field(compare=False)
    """RDATEs as moments, in order."""
    excluded: frozenset[datetime] = field(compare=False)
    """EXDATEs: wall-clock times (naive), whatever moments they stand for, and moments (aware)."""

    @cached_property
    def clock(self) -> WallClock:
        """How its times become moments: a rule is fixed where it names both hour and minute, or DTSTART does."""
        fixed = "byhour" in self.options and "byminute" in self.options
        return WallClock(ZoneInfo(self.zone), self.dst_policy, fixed)

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment strictly later. Raises CadenceError where the search is too long."""
        return _after(self, moment)

    def latest(self, moment: datetime) -> datetime | None:
        """Return the last moment at or before. Raises CadenceError where the search is too long.

        A dense rule cannot be walked back, nor forward from far away, so the last moment is closed in on by halves.
        """
        with at_most(EFFORT):
            return self._latest(moment)

    def _latest(self, moment: datetime) -> datetime | None:
        found, start = None, min((self.begin, *self.extra[:1]))
        for days in LOOK_BACK_DAYS:
            begin = max(moment - timedelta(days=days), start)
            found = self.after(begin - SECOND)
            if (found is not None and found <= moment) or begin == start:
                break
        if found is None or found > moment:
            return None
        end = moment
        while end - found >= SECOND:
            middle = found + (end - found) / 2
            later = self.after(middle)
            if later is not None and later <= moment:
                found = later
            else:
                end = middle
        return found

    def count(self, first: datetime, last: datetime, most: int) -> int | None:
        """Count the moments from `first` to `last`, both inclusive, in one walk; None where there are more than `most`.

        Raises CadenceError where the walk is too long.
        """
        found = {moment for moment in self.extra if first <= moment <= last}
        if self.at_most is not None:
            found.update(moment for moment in _first_moments(self) if first <= moment <= last)
            return len(found)
        end = last.astimezone(self.clock.zone).replace(tzinfo=None) + DAY
        for wall in self.walls_after(first.astimezone(self.clock.zone).replace(tzinfo=None) - DAY):
            if wall > end or len(found) > most:
                break
            moments = self.clock.moments_at(wall)
            found.update(moment for moment in moments if first <= moment <= last and self._runs(moment))
        return len(found) if len(found) <= most else None

    def after_by_rule(self, moment: datetime) -> datetime | None:
        """The first moment strictly later, RDATEs left out."""
        if self.at_most is not None:
            return _following(_first_moments(self), moment)
        found: datetime | None = moment
        while found is not None:
            found = self.clock.first_after(self.walls_after, found)
            if found is None or (self.until is not None and found > self.until):
                return None
            if self._runs(found):
                return found
        return None

    def _runs(self, moment: datetime) -> bool:
        return moment >= self.begin and moment not in self.excluded and (self.until is None or moment <= self.until)

    def walls_after(self, local: datetime) -> Iterator[datetime]:
        """Name the rule's wall-clock times later than `local`, in order, but for those an EXDATE excludes."""
        begin = local.replace(microsecond=0)
        spend(self._times_of_day // TIMES_A_STEP_TO_BUILD)
        rule: Any = library.rrule(**self.options | {"dtstart": self._moved_start(begin)})
        rule.steps_left = BUDGET
        with self._said_in_words():
            yield from (wall for wall in _walk(rule) if wall > begin and wall not in self.excluded)

    def first_moments(self, count: int) -> Iterator[datetime]:
        """Name the first `count` moments of the rule, in order; what an EXDATE excludes counts too."""
        rule: Any = library.rrule(**self.options, dtstart=self.start)
        rule.steps_left = 10 * BUDGET
        found: set[datetime] = set()
        excluded: set[datetime] = set()
        end = None  # around a clock change a later time of the wall clock may come earlier
        with self._said_in_words():
            for wall in _walk(rule):
                if end is not None and wall > end:
                    break
                moments = [moment for moment in self.clock.moments_at(wall) if moment >= self.begin]
                if wall in self.excluded:
                    excluded.update(moment for moment in moments if moment not in found)
                else:
                    excluded.difference_update(moments)
                found.update(moments)
                end = wall + DAY if end is None and len(found) >= count else end
        yield from (moment for moment in sorted(found)[:count] if moment not in excluded and self._runs(moment))

    @contextmanager
    def _said_in_words(self) -> Iterator[None]:
        try:
            yield
        except _BudgetExceeded:
            raise CadenceError(
                f"rrule {self.text!r}: no moment within {BUDGET} steps of the search; make the rule denser, or where "
                "it is dense name a smaller FREQ, such as DAILY"
            ) from None
        except ValueError as error:  # dateutil finds some contradictions only while it walks
            raise CadenceError(f"rrule {self.text!r}: {error}") from error

    @cached_property
    def _times_of_day(self) -> int:
        if self.options["freq"] >= library.HOURLY:
            return 0
        return prod(len(self.options.get(part, "1")) for part in ("byhour", "byminute", "bysecond"))

    def _period(self) -> timedelta:
        days = {library.YEARLY: 366, library.MONTHLY: 31, library.WEEKLY: 7, library.DAILY: 1}
        frequency = self.options["freq"]
        interval: int = self.options["interval"]
        if frequency in days:
            return interval * timedelta(days=days[frequency])
        return interval * timedelta(
            hours=1 if frequency == library.HOURLY else 0, minutes=frequency == library.MINUTELY
        )

    def _moved_start(self, begin: datetime) -> datetime:
        """Move DTSTART forward by whole periods to just before `begin`; the phase of INTERVAL stays."""
        start, interval = self.start, self.options["interval"]
        if begin <= start:
            return start
        if self.options["freq"] == library.YEARLY:
            years = (begin.year - start.year) // interval * interval
            return datetime(start.year + years, 1, 1) if years > 0 else start  # noqa: DTZ001 - wall-clock
        if self.options["freq"] == library.MONTHLY:
            months = (begin.year - start.year) * 12 + begin.month - start.month
            months = months // interval * interval
            total = start.year * 12 + start.month - 1 + months
            return datetime(total // 12, total % 12 + 1, 1) if months > 0 else start  # noqa: DTZ001 - wall-clock
        period = self._period()
        # One period of margin: a WEEKLY period begins at WKST, not at DTSTART's weekday.
        steps = (begin - start) // period - 1
        return start + steps * period if steps > 0 else start


@lru_cache(maxsize=8192)
def _after(recurrence: Recurrence, moment: datetime) -> datetime | None:
    found = None
    with suppress(OverflowError), at_most(EFFORT):  # the search left the years 1 to 9999
        found = recurrence.after_by_rule(moment)
    return min(filter(None, (found, _following(recurrence.extra, moment))), default=None)


@lru_cache(maxsize=256)
def _first_moments(recurrence: Recurrence) -> tuple[datetime, ...]:
    """COUNT counts from DTSTART, so such a rule cannot be moved: it is walked once and kept."""
    return tuple(recurrence.first_moments(recurrence.at_most or 0))


def _following(moments: tuple[datetime, ...], moment: datetime) -> datetime | None:
    return next(iter(moments[bisect_right(moments, moment) :][:1]), None)


@lru_cache(maxsize=4096)
def parse_rrule(text: str, zone: str, anchor: datetime, dst_policy: DstPolicy = DstPolicy.CRON) -> Recurrence:
    """Read the `rrule` column; `anchor` (UTC) is DTSTART where the text has none. Raises CadenceError."""
    try:
        return _parsed(text, zone, anchor, dst_policy)
    except OverflowError:
        raise CadenceError(f"rrule {text!r} names a time outside the years 1 to 9999") from None


def _parsed(text: str, zone: str, anchor: datetime, dst_policy: DstPolicy) -> Recurrence:
    parts = _lines(text)
    (begin,) = (
        _times(parts["DTSTART"], "DTSTART", zone, text) if "DTSTART" in parts else (anchor.replace(microsecond=0),)
    )
    start = _wall(begin, zone)
    options, at_most, until = _options(parts["RRULE"][0][1].upper(), start, zone, text)
    excluded = frozenset(_times(parts.get("EXDATE", []), "EXDATE", zone, text))
    clock = WallClock(ZoneInfo(zone), dst_policy, fixed=True)
    extra: set[datetime] = set()
    for time in _times(parts.get("RDATE", []), "RDATE", zone, text):
        if time not in excluded and _wall(time, zone) not in excluded:
            extra.update(clock.moments_at(time) if time.tzinfo is None else (time,))
    found = Recurrence(
        text,
        zone,
        dst_policy,
        start,
        begin if begin.tzinfo is not None else moment_at(begin, ZoneInfo(zone)),
        options,
        at_most,
        until,
        tuple(sorted(extra - excluded)),
        excluded,
    )
    if found.after(found.begin - SECOND) is None:
        raise CadenceError(f"rrule {text!r} names no moment at all")
    return found


def _wall(time: datetime, zone: str) -> datetime:
    """What the clocks show; a wall-clock time as it is."""
    return time if time.tzinfo is None else time.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _lines(text: str) -> dict[str, list[tuple[str, str]]]:
    """Split into (parameters, value) by property name; a bare FREQ=… is an RRULE."""
    parts: dict[str, list[tuple[str, str]]] = {}
    for line in text.replace("\r", "\n").replace("\\n", "\n").split("\n"):
        line = line.strip()
        if not line:
            continue
        if line.upper().startswith("FREQ="):
            line = f"RRULE:{line}"
        found = LINE.match(line)
        name = found["name"].upper() if found else ""
        if not found or name not in {"RRULE", "DTSTART", "EXDATE", "RDATE"}:
            raise CadenceError(f"rrule: the line {line!r} is none of DTSTART, RRULE, EXDATE and RDATE")
        parts.setdefault(name, []).append((found["parameters"], found["value"].strip()))
    for name in ("RRULE", "DTSTART"):
        if len(parts.get(name, [])) > 1:
            raise CadenceError(f"rrule has {len(parts[name])} {name} lines; keep one")
    if "RRULE" not in parts:
        raise CadenceError(f"rrule {text!r} has no RRULE; write for example 'FREQ=WEEKLY;BYDAY=MO,WE'")
    return parts


def _options(rule: str, start: datetime, zone: str, text: str) -> tuple[dict[str, Any], int | None, datetime | None]:
    """Read an RRULE into dateutil's arguments, with what DTSTART implies written out, so that it can be moved.

    Beside them: COUNT, and an UNTIL that is a moment; both are applied to moments, not to wall-clock times.
    """
    given = dict(part.split("=", 1) for part in rule.split(";") if "=" in part)
    frequency = given.get("FREQ", "")
    if frequency not in FREQUENCIES:
        known = ", ".join(FREQUENCIES)
        raise CadenceError(f"rrule {text!r}: FREQ is {frequency or 'missing'}; use one of {known}")
    if "BYEASTER" in given:
        raise CadenceError(f"rrule {text!r}: BYEASTER is no part of RFC 5545")
    until = given.pop("UNTIL", None)
    try:
        parsed: Any = library.rrulestr(";".join(f"{k}={v}" for k, v in given.items()), dtstart=start)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CadenceError(f"rrule {text!r} cannot be read: {error}") from error
    if parsed._interval < 1:
        raise CadenceError(f"rrule {text!r}: INTERVAL must be 1 or more")
    if parsed._count is not None and not 1 <= parsed._count <= MAX_COUNT:
        raise CadenceError(f"rrule {text!r}: COUNT must be 1 to {MAX_COUNT}; use UNTIL or max_runs for more")
    options: dict[str, Any] = {"freq": parsed._freq, "interval": parsed._interval, "wkst": parsed._wkst}
    last = None
    if until is not None:
        (last,) = _times([("", until if "T" in until else f"{until}T235959")], "UNTIL", zone, text)
        with suppress(OverflowError):  # the year 9999, which is no end
            options["until"] = last if last.tzinfo is None else _wall(last, zone) + DAY
    options |= {name: value for name, value in _filters(parsed).items() if value}
    return options, parsed._count, last if last is not None and last.tzinfo is not None else None


def _filters(parsed: Any) -> dict[str, Any]:
    """Write out the BY… parts dateutil worked out, implied ones included."""
    weekdays = [library.weekday(day) for day in parsed._byweekday or ()]
    weekdays += [library.weekday(day, nth) for day, nth in parsed._bynweekday or ()]
    return {
        "bymonth": parsed._bymonth,
        "bymonthday": (*(parsed._bymonthday or ()), *(parsed._bynmonthday or ())),
        "byyearday": parsed._byyearday,
        "byweekno": parsed._byweekno,
        "byweekday": weekdays,
        "byhour": _set(parsed._byhour),
        "byminute": _set(parsed._byminute),
        "bysecond": _set(parsed._bysecond),
        "bysetpos": parsed._bysetpos,
    }


def _set(values: Any) -> tuple[int, ...] | None:
    # (0,) is falsy nowhere, but an empty or missing set means "every"
    return tuple(sorted(values)) if values is not None else None


def _times(lines: list[tuple[str, str]], name: str, zone: str, text: str) -> list[datetime]:
    """Read DATE-TIME values: naive ones are times of the row's zone, those with a `Z` or another TZID are moments."""
    found = []
    for parameters, values in lines:
        source = next((p.split("=", 1)[1] for p in parameters.split(";") if p.upper().startswith("TZID=")), zone)
        for value in values.split(","):
            found.append(_time(value.strip(), source, zone, name, text))
    return found


def _time(value: str, source: str, zone: str, name: str, text: str) -> datetime:
    for pattern in ("%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S", "%Y%m%d"):
        try:
            wall = datetime.strptime(value, pattern)  # noqa: DTZ007 - a wall-clock time, its zone follows
        except ValueError:
            continue
        try:
            there = UTC if pattern.endswith("Z") else ZoneInfo(source)
        except (ValueError, KeyError, OSError) as error:
            raise CadenceError(f"rrule {text!r}: TZID {source!r} is no IANA time zone") from error
        return wall if there == ZoneInfo(zone) else wall.replace(tzinfo=there).astimezone(UTC)
    raise CadenceError(f"rrule {text!r}: {name} {value!r} is no time; write 20261231T090000")
