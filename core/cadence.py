"""When a schedule falls due: pure arithmetic on aware UTC datetimes.

A cadence answers two questions, and every other rule about time is built on them:

    after(t)    the first moment later than t, or None when there is none
    latest(t)   the last moment at or before t, or None

Crontab follows Debian cron's rules, clock changes included (`cronsim`): a fixed time inside the
spring gap fires once right after it, one inside the autumn overlap fires once, and a minute or hour
field that begins with `*` fires every real minute or hour.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MICROSECOND = timedelta(microseconds=1)

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class CadenceError(Exception):
    """A schedule column cannot be read; the message names the column, the value and the mend."""


class Cadence(Protocol):
    """A rule that names moments. All datetimes are aware UTC; answers are deterministic."""

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

    def after(self, moment: datetime) -> datetime | None:
        """Search at most 50 years ahead (cronsim's bound)."""
        return _cron_after(self.expression, self.zone, moment)

    def latest(self, moment: datetime) -> datetime | None:
        """Search at most 50 years back."""
        return _cron_latest(self.expression, self.zone, moment)


# A herd shares its rule and its moment, so 10,000 rows due at 09:00 cost one search.
@lru_cache(maxsize=8192)
def _cron_after(expression: str, zone: str, moment: datetime) -> datetime | None:
    search = CronSim(expression, moment.astimezone(ZoneInfo(zone)))
    for local in search:
        # cronsim drops the fold of fixed times, so inside the autumn overlap it may name one that has passed.
        found = local.astimezone(UTC)
        if found > moment:
            return found
    return None


@lru_cache(maxsize=8192)
def _cron_latest(expression: str, zone: str, moment: datetime) -> datetime | None:
    # The reverse search is exclusive for whole seconds; one microsecond makes it inclusive.
    start = (moment.replace(microsecond=0) + MICROSECOND).astimezone(ZoneInfo(zone))
    for local in CronSim(expression, start, reverse=True):
        found = local.astimezone(UTC)
        if found <= moment:
            return found
    return None


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `step` from `anchor`: the n-th moment is anchor + n * step, so nothing drifts."""

    anchor: datetime
    step: timedelta
    anchor_fires: bool

    def after(self, moment: datetime) -> datetime | None:
        """Count whole steps: the cost does not grow with the distance."""
        first = 0 if self.anchor_fires else 1
        return self.anchor + max((moment - self.anchor) // self.step + 1, first) * self.step

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


def parse_crontab(text: str, zone: str) -> Cron:
    """Read the `crontab` column. Raises CadenceError, also for a date that never comes."""
    expression = MACROS.get(text.strip().lower(), text.strip())
    if expression.startswith("@"):
        raise CadenceError(f"crontab {text!r}: unknown name; use one of {', '.join(MACROS)} or five fields")
    fields = len(expression.split())
    if fields not in (5, 6):
        raise CadenceError(
            f"crontab {text!r} has {fields} fields; use 5 (minute hour day month weekday) or 6 with seconds first"
        )
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError) as error:
        reason = str(error).removeprefix("Bad ")
        raise CadenceError(
            f"crontab {text!r}: wrong value in the {reason} field, or a date that never comes"
        ) from error
    cron = Cron(expression, zone)
    if cron.after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise CadenceError(f"crontab {text!r} names a date that never comes")
    return cron
