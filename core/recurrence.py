"""RRULE: RFC 5545 recurrence by python-dateutil, with every search bounded.

A legal rule can take seconds a question: a DAILY that never matches is walked to the year 9999 (5.6 s), a MINUTELY
from ten years ago from its first minute (2.6 s). So DTSTART is moved forward by whole periods, and the steps of
dateutil's walk are counted: beyond BUDGET the question fails instead of stalling whoever asked.

Rules are walked in the row's wall-clock time. A moment inside a clock change's gap means the end of the gap, one
inside its overlap the first of the two.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from dateutil import rrule as library

from core.cadence import CadenceError, moment_at

BUDGET = 20_000  # steps of dateutil's walk, at most about 60 ms
MAX_COUNT = 10_000
LOOK_BACK_DAYS = (2, 40, 400, 3_700, 15_000)  # how far back a moment's predecessor is looked for, step by step

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
LINE = re.compile(r"^(?P<name>[A-Z]+)(?P<parameters>(?:;[A-Z-]+=[^:;]+)*):(?P<value>.*)$", re.IGNORECASE)


class _BudgetExceeded(Exception):
    """The search took more steps than any useful rule needs."""


class _MeteredInfo(library._iterinfo):  # type: ignore[misc]
    """dateutil's walk asks for one set of days a step: the only place where its steps can be counted."""

    def _count(self) -> None:
        left = getattr(self.rrule, "steps_left", None)
        if left is not None:
            if left <= 0:
                raise _BudgetExceeded
            self.rrule.steps_left = left - 1

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


@dataclass(frozen=True)
class Recurrence:
    """An RRULE with its EXDATEs and RDATEs in a time zone."""

    text: str
    zone: str
    start: datetime
    """DTSTART, wall-clock time."""
    options: dict[str, Any] = field(hash=False, compare=False)
    extra: tuple[datetime, ...] = ()
    excluded: frozenset[datetime] = frozenset()

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment strictly later. Raises CadenceError where the search is too long."""
        return _after(self, moment)

    def latest(self, moment: datetime) -> datetime | None:
        """Return the last moment at or before. Raises CadenceError where the search is too long.

        A dense rule cannot be walked back, nor forward from far away, so the last moment is closed in on by halves.
        """
        found, start = None, moment_at(self.start, ZoneInfo(self.zone))
        for days in LOOK_BACK_DAYS:
            begin = max(moment - timedelta(days=days), start)
            found = self.after(begin - timedelta(seconds=1))
            if (found is not None and found <= moment) or begin == start:
                break
        if found is None or found > moment:
            return None
        end = moment
        while end - found >= timedelta(seconds=1):
            middle = found + (end - found) / 2
            later = self.after(middle)
            if later is not None and later <= moment:
                found = later
            else:
                end = middle
        return found

    def _period(self) -> timedelta:
        days = {library.YEARLY: 366, library.MONTHLY: 31, library.WEEKLY: 7, library.DAILY: 1}
        frequency = self.options["freq"]
        interval: int = self.options["interval"]
        if frequency in days:
            return interval * timedelta(days=days[frequency])
        return interval * timedelta(
            hours=1 if frequency == library.HOURLY else 0, minutes=frequency == library.MINUTELY
        )

    def walk(self, begin: datetime) -> Iterator[datetime]:
        """Name the wall-clock moments from about `begin` on, in order, each once."""
        extra = iter(self.extra[max(bisect_right(self.extra, begin) - 1, 0) :])
        before = None
        try:
            rule = self._counted(begin) if self.options.get("count") else self._from(begin)
            for wall in merge(rule, extra):
                if wall != before and wall not in self.excluded:
                    yield wall
                before = wall
        except _BudgetExceeded:
            raise CadenceError(
                f"rrule {self.text!r}: no moment within {BUDGET} steps of the search; make the rule denser"
            ) from None
        except ValueError as error:  # dateutil finds some contradictions only while it walks
            raise CadenceError(f"rrule {self.text!r}: {error}") from error

    def _from(self, begin: datetime) -> Iterator[datetime]:
        options = self.options | {"dtstart": self._moved_start(begin)}
        rule: Any = library.rrule(**options)
        rule.steps_left = BUDGET
        return iter(rule)

    def _counted(self, begin: datetime) -> Iterator[datetime]:
        """COUNT counts from DTSTART, so such a rule cannot be moved: it is walked once and kept."""
        moments = _all_of(self)
        return iter(moments[max(bisect_right(moments, begin) - 1, 0) :])

    def _moved_start(self, begin: datetime) -> datetime:
        """Move DTSTART forward by whole periods to just before `begin`; the phase of INTERVAL stays."""
        start, interval = self.start, self.options["interval"]
        if begin <= start:
            return start
        if self.options["freq"] == library.YEARLY:
            years = (begin.year - start.year) // interval * interval
            return start.replace(year=start.year + years, month=1, day=1) if years > 0 else start
        if self.options["freq"] == library.MONTHLY:
            months = (begin.year - start.year) * 12 + begin.month - start.month
            months = months // interval * interval
            total = start.year * 12 + start.month - 1 + months
            return start.replace(year=total // 12, month=total % 12 + 1, day=1) if months > 0 else start
        period = self._period()
        # One period of margin: a WEEKLY period begins at WKST, not at DTSTART's weekday.
        steps = (begin - start) // period - 1
        return start + steps * period if steps > 0 else start


@lru_cache(maxsize=8192)
def _after(recurrence: Recurrence, moment: datetime) -> datetime | None:
    zone = ZoneInfo(recurrence.zone)
    for wall in recurrence.walk(moment.astimezone(zone).replace(tzinfo=None)):
        found = moment_at(wall, zone)
        if found > moment:
            return found
    return None


@lru_cache(maxsize=256)
def _all_of(recurrence: Recurrence) -> tuple[datetime, ...]:
    rule: Any = library.rrule(**recurrence.options, dtstart=recurrence.start)
    rule.steps_left = 10 * BUDGET
    return tuple(rule)


@lru_cache(maxsize=4096)
def parse_rrule(text: str, zone: str, anchor: datetime) -> Recurrence:
    """Read the `rrule` column; `anchor` (UTC) is DTSTART where the text has none. Raises CadenceError."""
    parts = _lines(text)
    start = anchor.astimezone(ZoneInfo(zone)).replace(tzinfo=None, microsecond=0)
    if "DTSTART" in parts:
        (start,) = _times(parts["DTSTART"], "DTSTART", zone, text)
    rule = parts["RRULE"][0][1].upper()
    options = _options(rule, start, zone, text)
    found = Recurrence(
        text,
        zone,
        start,
        options,
        tuple(sorted(_times(parts.get("RDATE", []), "RDATE", zone, text))),
        frozenset(_times(parts.get("EXDATE", []), "EXDATE", zone, text)),
    )
    if next(islice(found.walk(start), 1), None) is None:
        raise CadenceError(f"rrule {text!r} names no moment at all")
    return found


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


def _options(rule: str, start: datetime, zone: str, text: str) -> dict[str, Any]:
    """Read an RRULE into dateutil's arguments, with what DTSTART implies written out, so that it can be moved."""
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
    if parsed._count is not None:
        options["count"] = parsed._count
    if until is not None:
        (options["until"],) = _times([("", until if "T" in until else f"{until}T235959")], "UNTIL", zone, text)
    return options | {name: value for name, value in _filters(parsed).items() if value}


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
    """Read DATE-TIME values as wall-clock times of the row's zone; `Z` and TZID are converted to it."""
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
        return wall.replace(tzinfo=there).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    raise CadenceError(f"rrule {text!r}: {name} {value!r} is no time; write 20261231T090000")
