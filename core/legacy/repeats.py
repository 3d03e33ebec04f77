"""The `repeat_*` rules: when the old executor would have run a row, and the same said in our schedule columns.

A rule is only said where the two agree, moment for moment; everything else is refused with what to write instead.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import MAX_INTERVAL
from core.legacy.celery_cron import listed
from core.legacy.rows import Problem, at, first_difference, new_cadence

STEPS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_DAY: Final = timedelta(days=1)
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
        """Walk the rule from its first run, whole steps at once where they are of one length."""
        local: datetime | None = self._skipped_to(moment)
        while local is not None and (self.end is None or local <= self.end):
            found = at(local, self.zone)
            if found > moment:
                return found
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
    coming = rule.after(now)
    assert coming is not None  # noqa: S101 - the caller has seen that the row is not finished
    first = coming.astimezone(ZoneInfo(rule.zone)).replace(tzinfo=None)
    parted = None
    for schedule in _sayings(rule, first):
        for begin in dict.fromkeys((start, first)):
            columns = {**schedule, "start_time": begin, "end_time": rule.end, "timezone": rule.zone}
            parted = first_difference(rule, new_cadence(columns, now), now, rule.zone)
            if parted is None:
                return columns
    raise _no_saying(rule, schedule, parted)


def _sayings(rule: Repeat, first: datetime) -> Iterator[dict[str, Any]]:
    """Propose columns; whether they are exact is for the comparison to say. Raises Problem where none can be."""
    if rule.kind in STEPS and not rule.weekdays:
        seconds = rule.interval * int(STEPS[rule.kind].total_seconds())
        if seconds > MAX_INTERVAL:
            raise Problem("repeat_interval", f"is {rule.interval}, over ten years", "write a run_at row")
        yield {"interval_seconds": seconds}
        if rule.kind == "day" and rule.interval == 1:
            yield {"crontab": _cron(first)}
        if rule.kind == "week" and rule.interval == 1:
            yield {"crontab": _cron(first, weekdays=str(first.isoweekday() % 7))}
        if rule.kind == "hour" and 24 % rule.interval == 0:
            hours = {(first.hour + step) % 24 for step in range(0, 24, rule.interval)}
            yield {"crontab": _cron(first, hours=listed(hours))}
        return
    if rule.kind == "week":
        if rule.interval != 1:
            wrong = f"is {rule.interval}, with repeat_days: the old executor used one of them and passed over the other"
            raise Problem("repeat_interval", wrong, "set it to 1 for these days of every week, or clear repeat_days")
        yield {"crontab": _cron(first, weekdays=listed({day % 7 for day in rule.weekdays}))}
        return
    yield {"crontab": _by_month(rule, first)}


def _by_month(rule: Repeat, first: datetime) -> str:
    """Monthly and yearly rules: the months they meet, and a day that all of these have."""
    interval = rule.interval * (12 if rule.kind == "year" else 1)
    wanted = rule.day or first.day
    if 12 % interval:
        wrong = f"means every {rule.interval} {rule.kind}s, which no crontab says; write it as an rrule by hand"
        raise Problem("repeat_interval", wrong, "write a run_at row for each date")
    months = {((rule.month or first.month) - 1 + step) % 12 + 1 for step in range(0, 12, interval)}
    shortest = min(_clamped(2025, month, 31) for month in months)
    longest = max(_clamped(2024, month, 31) for month in months)
    month_text = "*" if len(months) == 12 else listed(months)
    if wanted <= shortest:
        return _cron(first, days=str(wanted), months=month_text)
    last = _cron(first, days="L", months=month_text)
    if rule.day is not None and wanted >= longest:
        return last
    field = "start_time" if rule.day is None else "repeat_day_of_month"
    wrong = f"is {wanted}, or the last day of a shorter month, which no crontab says; write it as an rrule by hand"
    if rule.day is None:
        wrong = f"is on day {wanted}, from which the old rule slips to {shortest} and stays there"
    raise Problem(field, wrong, f"write crontab {last!r} for the last day, or a day up to {shortest}")


def _cron(first: datetime, hours: str | None = None, days: str = "*", months: str = "*", weekdays: str = "*") -> str:
    fields = (first.minute, first.hour if hours is None else hours, days, months, weekdays)
    return " ".join(map(str, (first.second, *fields) if first.second else fields))


def _no_saying(rule: Repeat, schedule: dict[str, Any], parted: Any) -> Problem:
    """Explain why the last proposal is not exact."""
    said = ", ".join(f"{column} {value!r}" for column, value in schedule.items())
    if rule.kind in STEPS and not rule.weekdays:
        wrong = f"means every {rule.interval} {rule.kind}s on the wall clock of {rule.zone}, clock changes and all"
        return Problem("repeat_interval", wrong, f"write {said} if elapsed time will do, or a run_at row for each date")
    was, becomes = (f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "never" for moment in parted)
    wrong = (
        f"brings a run ({was}) that its own rule does not name (its next: {becomes}): the old first run is start_time"
    )
    return Problem("start_time", wrong, f"write {said} by hand, and a run_at row for that first run")


def _add_months(local: datetime, months: int, day: int | None = None) -> datetime:
    years, month = divmod(local.month - 1 + months, 12)
    year = local.year + years
    return local.replace(year=year, month=month + 1, day=_clamped(year, month + 1, day or local.day))


def _clamped(year: int, month: int, day: int) -> int:
    return min(day, monthrange(year, month)[1])
