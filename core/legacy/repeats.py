"""The `repeat_*` rules: when the old executor would have run a row, and the same said in our schedule columns.

A rule is only said where the two agree, moment for moment; the rest is refused with what to write instead.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import MAX_INTERVAL
from core.legacy.celery_cron import listed
from core.legacy.repeat_fields import STEPS, RepeatFields, rrule_of, with_start
from core.legacy.rows import Problem, at, first_difference, new_cadence

_DAY: Final = timedelta(days=1)
_STAMP: Final = "%Y%m%dT%H%M%S"
_CLOCK_CHANGE: Final = timedelta(hours=3)  # more than any clock is put back


@dataclass(frozen=True, slots=True)
class Repeat:
    """How the old executor moved a row on, each run taken as made on time (it counted from the end of each run,
    so that its real moments crept later). Times are naive in `zone`, as that system's clock was.
    """

    kind: str
    interval: int
    first: datetime
    zone: str
    end: datetime | None = None
    weekdays: tuple[int, ...] = ()
    """1 is Monday, 7 Sunday."""
    month: int | None = None
    day: int | None = None

    def after(self, moment: datetime) -> datetime | None:
        """Return the first run later than `moment`."""
        local = self.local_after(moment)
        return None if local is None else at(local, self.zone)

    def local_after(self, moment: datetime) -> datetime | None:
        """Walk the rule from its first run, whole steps at once where they are of one length."""
        local: datetime | None = self._skipped_to(moment)
        while local is not None and (self.end is None or local <= self.end):
            if at(local, self.zone) > moment:
                return local
            local = self.following(local)
        return None

    def following(self, local: datetime) -> datetime | None:
        """Name the run after the one at `local`: the old executor's own rule."""
        if self.kind in STEPS and not self.weekdays:
            return local + self.interval * STEPS[self.kind]
        if self.kind == "week":
            ahead = (local + days * _DAY for days in range(1, 8))
            return next(day for day in ahead if day.isoweekday() in self.weekdays)
        if self.kind == "month":
            return _add_months(local, self.interval, self.day)
        if self.kind == "year" and self.month is not None and self.day is not None:
            year = local.year + self.interval
            return local.replace(year=year, month=self.month, day=_clamped(year, self.month, self.day))
        return _add_months(local, 12 * self.interval) if self.kind == "year" else None

    def _skipped_to(self, moment: datetime) -> datetime:
        if self.kind not in STEPS:
            return self.first
        step = timedelta(weeks=1) if self.weekdays else self.interval * STEPS[self.kind]
        now = moment.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        skipped = max((now - _CLOCK_CHANGE - self.first) // step, 0)
        local = self.first + skipped * step
        if skipped and self.weekdays and local.isoweekday() not in self.weekdays:
            return self.following(local) or local  # only the very first run may be on another day
        return local


def columns_for(rule: Repeat, start: datetime, now: datetime) -> dict[str, Any]:
    """Say a repeating rule in columns, with `start` as start_time where that is exact. Raises Problem."""
    if rule.weekdays and rule.interval != 1:
        wrong = f"is {rule.interval}, with repeat_days: the old executor used one of them and passed over the other"
        raise Problem("repeat_interval", wrong, "set it to 1 for these days of every week, or clear repeat_days")
    first = rule.local_after(now)
    assert first is not None  # noqa: S101 - the caller has seen that the row is not finished
    for schedule in _sayings(rule, first):
        for begin in dict.fromkeys((start, first)):
            columns = {**schedule, "start_time": begin, "end_time": rule.end, "timezone": rule.zone}
            if first_difference(rule, new_cadence(columns, now), now, rule.zone) is None:
                return columns
    raise _no_saying(rule, first)


def _sayings(rule: Repeat, first: datetime) -> Iterator[dict[str, Any]]:
    """Propose columns, the plainest first; whether they are exact is for the comparison to say."""
    if rule.kind in STEPS and not rule.weekdays:
        seconds = rule.interval * int(STEPS[rule.kind].total_seconds())
        if seconds <= MAX_INTERVAL:
            yield {"interval_seconds": seconds}
    expression = _crontab(rule, first)
    if expression:
        yield {"crontab": expression}
    text = rrule_of(RepeatFields(rule.kind, rule.interval, rule.weekdays, rule.month, rule.day), first)
    yield {"rrule": text}
    yield {"rrule": with_start(text, first, rule.zone)}
    yield {"rrule": _with_first_run(text, rule, first)}


def _with_first_run(text: str, rule: Repeat, first: datetime) -> str:
    """Add a first run that the rule itself does not name, and take out what it names in that run's own period."""
    lines = [f"DTSTART:{first:{_STAMP}}", f"RRULE:{text}"]
    begin, second = at(first, rule.zone), rule.following(first)
    named = new_cadence({"rrule": "\n".join(lines), "timezone": rule.zone}, begin).after(begin)
    lines.append(f"RDATE:{first:{_STAMP}}")
    if named is not None and second is not None and named < at(second, rule.zone):
        lines.append(f"EXDATE:{named.astimezone(ZoneInfo(rule.zone)):{_STAMP}}")
    return "\n".join(lines)


def _crontab(rule: Repeat, first: datetime) -> str | None:
    """Write a crontab where one may do; the comparison judges it."""
    if rule.kind == "week":
        return _cron(first, weekdays=listed({day % 7 for day in rule.weekdays or (first.isoweekday(),)}))
    if rule.kind == "day":
        return _cron(first)
    if rule.kind == "hour" and 24 % rule.interval == 0:
        hours = {(first.hour + step) % 24 for step in range(0, 24, rule.interval)}
        return _cron(first, hours=listed(hours))
    return _by_month(rule, first) if rule.kind in ("month", "year") else None


def _by_month(rule: Repeat, first: datetime) -> str | None:
    """Monthly and yearly rules: the months they meet, and a day that all of these have."""
    interval = rule.interval * (12 if rule.kind == "year" else 1)
    if 12 % interval:
        return None
    wanted = rule.day or first.day
    months = {((rule.month or first.month) - 1 + step) % 12 + 1 for step in range(0, 12, interval)}
    month_text = "*" if len(months) == 12 else listed(months)
    if wanted <= min(_clamped(2025, month, 31) for month in months):
        return _cron(first, days=str(wanted), months=month_text)
    if wanted >= max(_clamped(2024, month, 31) for month in months):
        return _cron(first, days="L", months=month_text)
    return None


def _cron(first: datetime, hours: str | None = None, days: str = "*", months: str = "*", weekdays: str = "*") -> str:
    fields = (first.minute, first.hour if hours is None else hours, days, months, weekdays)
    return " ".join(map(str, (first.second, *fields) if first.second else fields))


def _no_saying(rule: Repeat, first: datetime) -> Problem:
    """Explain a rule whose day slips: the only one that no row says."""
    fields = "repeat_month and repeat_day_of_year" if rule.kind == "year" else "repeat_day_of_month"
    wrong = f"is on day {first.day}, from which the old rule slips to a smaller one and stays there"
    return Problem("start_time", wrong, f"set {fields}: the day is then the last one of shorter months; or day 28")


def _add_months(local: datetime, months: int, day: int | None = None) -> datetime:
    years, month = divmod(local.month - 1 + months, 12)
    year = local.year + years
    return local.replace(year=year, month=month + 1, day=_clamped(year, month + 1, day or local.day))


def _clamped(year: int, month: int, day: int) -> int:
    return min(day, monthrange(year, month)[1])
