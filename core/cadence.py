"""When a schedule falls due: pure arithmetic on aware UTC datetimes.

A cadence answers two questions, and every other rule about time is built on them:

    after(t)    the first moment later than t, or None when there is none
    latest(t)   the last moment at or before t, or None

Crontab follows Debian cron's rules; where the clocks change, `core/clock_change.py` does. A field for seconds
changes nothing in this.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from core.clock_change import DstPolicy, WallClock
from core.retries import derived_fraction

MICROSECOND = timedelta(microseconds=1)
MAX_CRONTAB = 255  # characters; a longer list takes long to read

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "weekday": "0-7 or SUN-SAT, where 0 and 7 are Sunday and MON-SUN is 1-7; or 1#2, 5L",
}

SINGLE_RANGE_STEP = re.compile(r"\b(\w+)-\1/\d+")


class CadenceError(Exception):
    """A schedule column cannot be read; the message names the column, the value and the mend."""


class Cadence(Protocol):
    """A rule that names moments. All datetimes are aware UTC; answers are deterministic, so they can be cached."""

    def __hash__(self) -> int:
        """Equal rules are one key."""
        ...

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment strictly later than `moment`."""
        ...

    def latest(self, moment: datetime) -> datetime | None:
        """Return the last moment at or before `moment`."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """A crontab expression of 5 fields, or 6 with seconds first, in a time zone."""

    expression: str
    zone: str
    dst_policy: DstPolicy = DstPolicy.CRON

    @property
    def clock(self) -> WallClock:
        """How its times become moments: a rule is fixed where neither its minute nor its hour begins with `*`."""
        minute, hour = self.expression.split()[-5:-3]
        return WallClock(ZoneInfo(self.zone), self.dst_policy, not (minute.startswith("*") or hour.startswith("*")))

    def after(self, moment: datetime) -> datetime | None:
        """Search at most 50 years ahead (cronsim's bound)."""
        with suppress(OverflowError):  # the search left the years 1 to 9999
            return _cron_after(self, moment)
        return None

    def latest(self, moment: datetime) -> datetime | None:
        """Search at most 50 years back."""
        with suppress(OverflowError):
            return _cron_latest(self, moment)
        return None


# A herd shares its rule and its moment, so 10,000 rows due at 09:00 cost one search.
@lru_cache(maxsize=8192)
def _cron_after(cron: Cron, moment: datetime) -> datetime | None:
    # cronsim matches plain wall-clock times here and knows no zone: its own clock-change handling loses
    # moments where the clock moves by half an hour or at midnight, and in the overlap when it searches back.
    return cron.clock.first_after(lambda local: CronSim(cron.expression, local), moment)


@lru_cache(maxsize=8192)
def _cron_latest(cron: Cron, moment: datetime) -> datetime | None:
    # cronsim's reverse search leaves out a whole second it starts from; one microsecond more takes it in.
    return cron.clock.last_until(
        lambda local: CronSim(cron.expression, local.replace(microsecond=0) + MICROSECOND, reverse=True), moment
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `step` from `anchor`: the n-th moment is anchor + n * step, so nothing drifts."""

    anchor: datetime
    step: timedelta
    anchor_fires: bool

    def after(self, moment: datetime) -> datetime | None:
        """Count whole steps: the cost does not grow with the distance."""
        first = 0 if self.anchor_fires else 1
        try:
            return self.anchor + max((moment - self.anchor) // self.step + 1, first) * self.step
        except OverflowError:  # beyond the year 9999
            return None

    def latest(self, moment: datetime) -> datetime | None:
        """None before the first moment."""
        first = 0 if self.anchor_fires else 1
        steps = (moment - self.anchor) // self.step
        return self.anchor + steps * self.step if steps >= first else None


@dataclass(frozen=True, slots=True)
class Once:
    """One moment."""

    moment: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The moment, while it is ahead."""
        return self.moment if self.moment > moment else None

    def latest(self, moment: datetime) -> datetime | None:
        """The moment, once it has come."""
        return self.moment if self.moment <= moment else None


@dataclass(frozen=True, slots=True)
class Bounded:
    """Another cadence between two moments, both inclusive."""

    inner: Cadence
    start: datetime | None
    end: datetime | None

    def after(self, moment: datetime) -> datetime | None:
        """Never before `start`, never after `end`."""
        if self.start is not None and moment < self.start:
            moment = self.start - MICROSECOND
        found = self.inner.after(moment)
        return None if found is None or (self.end is not None and found > self.end) else found

    def latest(self, moment: datetime) -> datetime | None:
        """Never before `start`, never after `end`."""
        found = self.inner.latest(moment if self.end is None else min(moment, self.end))
        return None if found is None or (self.start is not None and found < self.start) else found


@dataclass(frozen=True, slots=True)
class Jittered:
    """Another cadence with each moment put off by up to `spread`, never as far as the following one.

    The delay is derived from `key` and the moment, so every beat computes the same instant.
    """

    inner: Cadence
    spread: timedelta
    key: str

    def after(self, moment: datetime) -> datetime | None:
        """The moment whose turn it is may be the last one before, put off."""
        before = self.inner.latest(moment)
        if before is not None and (found := self.put_off(before)) > moment:
            return found
        following = self.inner.after(moment)
        return None if following is None else self.put_off(following)

    def latest(self, moment: datetime) -> datetime | None:
        """The last moment whose delay has passed too."""
        before = self.inner.latest(moment)
        if before is not None and self.put_off(before) > moment:
            before = self.inner.latest(before - MICROSECOND)
        return None if before is None else self.put_off(before)

    def put_off(self, moment: datetime) -> datetime:
        """When a moment of the inner cadence runs."""
        following = self.inner.after(moment)
        room = self.spread if following is None else min(self.spread, following - moment)
        return moment + room * derived_fraction(f"{self.key}:{moment.isoformat()}")


@lru_cache(maxsize=8192)
def parse_crontab(text: str, zone: str, dst_policy: DstPolicy = DstPolicy.CRON) -> Cron:
    """Read the `crontab` column. Raises CadenceError, also for a date that never comes."""
    if len(text) > MAX_CRONTAB:
        raise CadenceError(f"crontab is {len(text)} characters long; use at most {MAX_CRONTAB}")
    expression = MACROS.get(text.strip().lower(), text.strip())
    # cronsim reads 5-5/2 as 5/2, which has no end; cron means just 5.
    expression = SINGLE_RANGE_STEP.sub(r"\1", expression)
    if expression.startswith("@"):
        raise CadenceError(f"crontab {text!r}: unknown name; use one of {', '.join(MACROS)} or five fields")
    parts = _without_quartz(expression.split(), text)
    expression = " ".join(parts)
    if len(parts) not in (5, 6):
        raise CadenceError(
            f"crontab {text!r} has {len(parts)} fields; use 5 (minute hour day month weekday) or 6 with seconds first"
        )
    names = list(FIELDS)[-len(parts) :]
    bad = [
        f"{name} {part!r} (use {FIELDS[name]})"
        for name, part in zip(names, parts, strict=True)
        if not reads_field(name, part)
    ]
    if bad:
        raise CadenceError(f"crontab {text!r}: wrong value for {', '.join(bad)}")
    cron = Cron(expression, zone, dst_policy)
    try:
        comes = cron.after(datetime(2000, 1, 1, tzinfo=UTC)) is not None
    except CronSimError:  # it sees some dates that never come at once, such as 31 February
        comes = False
    if not comes:
        raise CadenceError(f"crontab {text!r} names a date that never comes; change its day, month or weekday")
    return cron


def _without_quartz(parts: list[str], text: str) -> list[str]:
    """Leave out what only Quartz writes and what means nothing here: `?` for any day, a year that is `*`."""
    if len(parts) == 7:
        if parts[-1] != "*":
            raise CadenceError(
                f"crontab {text!r} names a year in a seventh field; leave the field out and set start_time and end_time"
            )
        parts = parts[:-1]
    if len(parts) == 6 and "?" in (parts[2], parts[4]):  # AWS: minute hour day month weekday year
        raise CadenceError(
            f"crontab {text!r}: the first of six fields is for seconds; leave out the year at the end, and '?'"
        )
    days = (len(parts) - 3, len(parts) - 1)
    return ["*" if part == "?" and place in days else part for place, part in enumerate(parts)]


def reads_field(name: str, part: str) -> bool:
    """Tell whether one field (a key of FIELDS) can be read, whatever stands in the others."""
    fields = {**dict.fromkeys(FIELDS, "*"), name: part}
    try:
        CronSim(" ".join(fields.values()), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError):
        return False
    return True
