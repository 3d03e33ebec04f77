"""Reading a row's columns: its cadence, its policy, and everything that is wrong with it.

Arming is the step from what an operator wrote to `next_run_at`, or to a `config_error` in plain words.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from core.after import After
from core.cadence import MICROSECOND, Bounded, Cadence, CadenceError, Interval, Jittered, Once, parse_crontab
from core.calendars import NO_OVERRIDES, Calendar, Overrides, ends_soon, load, past_the_data
from core.clock_change import DstPolicy, is_in_gap, moment_at
from core.hints import channel_hint, hints_of, joined
from core.holds import Hold
from core.on_calendar import Roll, on_calendar
from core.planning import CatchUp, Overlap, Policy
from core.recurrence import parse_rrule
from core.strict_json import storable
from core.task_config import AnyConfig, ConfigError, parse_task_config, readable_config
from core.zones import zone_hint, zone_names

KINDS = ("crontab", "interval_seconds", "rrule", "run_at")
MAX_INTERVAL = 10 * 366 * 24 * 3600
MAX_SHOWN = 80
MAX_PROBLEM = 4000  # characters; `config_error` holds 64 KB
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a row's validity depends on beside the row itself."""

    zone: str
    """The TIMEZONE setting."""
    queues: frozenset[str]
    overrides: Overrides = NO_OVERRIDES
    """What operators say about single days of a calendar: the table `calendar_day`."""
    check_target: Callable[[AnyConfig], str | None] = field(default=lambda _: None)
    """Says what is wrong with the endpoint or host a row names."""
    skips: tuple[Hold, ...] = ()
    """Holds under which due moments are skipped."""
    channels: frozenset[str] | None = None
    """The channels that there are; None: nobody has looked."""
    check_upstream: Callable[[Any, After], str | None] = field(default=lambda _row, _after: None)
    """Says what is wrong with the row that a row starts after."""


@dataclass(frozen=True, slots=True)
class Armed:
    """What arming found: a next moment, or why there is none."""

    next_run_at: datetime | None = None
    config_error: str | None = None
    hint: str | None = None


def arm(row: Any, now: datetime, around: Surroundings, *, was_broken: bool, checked_only: bool) -> Armed:
    """Validate a row and find its next moment.

    A new or repaired row counts from `now`; an edited one from its old next moment if that has passed, so
    an edit never loses what is owed. An edit of `checked_only` columns does not move the next moment.
    """
    problems = what_is_wrong(row, around)
    if problems:
        return Armed(config_error="; ".join(problems))
    if not row.enabled:
        return Armed()
    if (after := upstream_of(row)) is not None:
        is_over = row.max_runs is not None and row.run_count >= row.max_runs
        return Armed(hint=f"finished: max_runs={row.max_runs} is reached" if is_over else str(after))
    next_run_at = row.next_run_at if isinstance(row.next_run_at, datetime) else None
    cadence = cadence_of(row, around.zone, around.overrides)
    if checked_only and not was_broken and next_run_at is not None:
        return Armed(next_run_at=next_run_at, hint=_hint(row, cadence, next_run_at, now, around))
    if row.max_runs is not None and row.run_count >= row.max_runs:
        return Armed(hint=f"finished: max_runs={row.max_runs} is reached")
    since = now if next_run_at is None or next_run_at > now else max(next_run_at, EPOCH) - MICROSECOND
    found = cadence.after(since)
    if found is None and row.run_at is not None and row.run_count == 0:
        found = cadence.latest(now)  # armed though past: catch-up decides what it owes
    if found is None:
        return Armed(hint="finished: no further moment within its bounds")
    return Armed(next_run_at=found, hint=_hint(row, cadence, found, now, around))


def _hint(row: Any, cadence: Cadence, moment: datetime, now: datetime, around: Surroundings) -> str | None:
    """Warn of the end of a calendar's data and of channels first: those words are looked for, whatever is cut."""
    ending = None
    if (calendar := _calendar(row, around.overrides)) is not None:
        is_near = ends_soon(calendar.known_until, now.date())
        ending = past_the_data(calendar, date.max if is_near else moment.date())
    deaf = channel_hint(parse_task_config(row.task_extra_config).notify, around.channels)
    return joined([*filter(None, (ending, deaf)), *hints_of(row, cadence, policy_of(row), moment)])


class _Wrong(Exception):
    """Its arguments are problems, one sentence each."""


class _Problems:
    """What checks find wrong with one row."""

    def __init__(self, row: Any) -> None:
        self._row = row
        self.found: dict[str, None] = {}

    def check(self, read: Callable[..., T], *args: Any) -> T | None:
        """Read something of the row; None where that cannot be done, and the reason is noted."""
        try:
            return read(self._row, *args)
        except (CadenceError, ConfigError) as error:
            self.found[storable(str(error), MAX_PROBLEM)] = None
        except _Wrong as wrong:
            self.found.update(dict.fromkeys(wrong.args))
        return None


def what_is_wrong(row: Any, around: Surroundings) -> list[str]:
    """Name every problem of a row, one sentence each; empty when it can run."""
    problems, after = _Problems(row), upstream_of(row)
    check = problems.check
    check(_whole, "enabled", 0, 1)
    check(_check_moments, around, after is None)
    if after is not None:
        check(_follows, after, around)
    check(_choice, "catch_up", CatchUp)
    check(_choice, "overlap", Overlap)
    check(_whole, "catch_up_window_seconds", 0, MAX_INTERVAL)
    check(policy_of)
    check(_runnable, around)
    return list(problems.found)


def upstream_of(row: Any) -> After | None:
    """Say which row a row starts after; None for one with moments of its own, or with a config nobody can read."""
    config = readable_config(row.task_extra_config) if isinstance(row.task_extra_config, str) else None
    return None if config is None else config.after


class When(NamedTuple):
    """The columns that name a row's moments: all that its cadence is built from."""

    crontab: Any
    interval_seconds: Any
    rrule: Any
    run_at: Any
    timezone: Any
    dst_policy: Any
    calendar: Any
    calendar_roll: Any
    start_time: Any
    end_time: Any
    jitter_seconds: Any
    id: Any
    """What jitter is derived from; None without."""
    create_time: Any
    """What rules without a start_time count from; None with one, and for crontabs."""


_when = attrgetter(*When._fields[:-2])


def _moments_of(row: Any) -> tuple[Any, ...]:
    """Read the columns that its moments follow from, but for the id."""
    counts = row.crontab is None and row.start_time is None
    return (*_when(row), None, row.create_time if counts else None)


def cadence_of(row: Any, default_zone: str, overrides: Overrides = NO_OVERRIDES) -> Cadence:
    """Build the rule a row's WHEN columns name. Raises CadenceError."""
    columns = _moments_of(row)
    if row.jitter_seconds:
        columns = (*columns[:-2], row.id, columns[-1])
    return _cadence(default_zone, overrides, *columns)


def _check_moments(row: Any, around: Surroundings, has_own: bool) -> None:
    _check_when(has_own, around.zone, around.overrides, *_moments_of(row))


# Rows of an import share their rules, and each would ask the same questions. Typed, as below.
@lru_cache(maxsize=4096, typed=True)
def _check_when(has_own: bool, default_zone: str, overrides: Overrides, *columns: Any) -> None:
    """Raise _Wrong with every problem of the WHEN columns, whatever stands in the others."""
    row = When(*columns)
    problems = _Problems(row)
    check = problems.check
    check(_one_kind)
    check(_dst_policy)
    zone = check(_zone, default_zone) or "UTC"  # the others are read all the same, so that one look tells all
    for column in ("start_time", "end_time"):
        check(_moment, column, zone)
    for kind, rule in RULES.items():
        if getattr(row, kind) is not None:
            check(rule, zone)
    check(_choice, "calendar_roll", Roll)
    check(_whole, "jitter_seconds", 0, MAX_INTERVAL)
    check(_calendar, overrides)
    if has_own:
        check(cadence_of, default_zone, overrides)
    if problems.found:
        raise _Wrong(*problems.found)


# A herd shares its rule. Typed: 1.0 and True are no whole numbers, yet equal to 1.
@lru_cache(maxsize=8192, typed=True)
def _cadence(default_zone: str, overrides: Overrides, *columns: Any) -> Cadence:
    row = When(*columns)
    zone = _zone(row, default_zone)
    start, end = _moment(row, "start_time", zone), _moment(row, "end_time", zone)
    if start is not None and end is not None and end < start:
        raise CadenceError("end_time is before start_time, so no moment lies between them; change one of them")
    for kind, rule in RULES.items():
        if getattr(row, kind) is not None:
            inner = rule(row, zone)
            if row.calendar is not None:
                inner = on_calendar(inner, str(row.calendar), _choice(row, "calendar_roll", Roll), zone, overrides)
            bounded = Bounded(inner, start, end) if start or end else inner
            spread = _whole(row, "jitter_seconds", 0, MAX_INTERVAL)
            return Jittered(bounded, timedelta(seconds=spread), str(row.id)) if spread else bounded
    raise CadenceError(
        "no schedule: set one of crontab, interval_seconds, rrule or run_at, or after in task_extra_config"
    )


def policy_of(row: Any) -> Policy:
    """Read the columns that decide about owed moments. Raises CadenceError."""
    runs_left = None
    if row.max_runs is not None:
        runs_left = _whole(row, "max_runs", 1, 2**31 - 1) - _whole(row, "run_count", 0, 2**63 - 1)
    if (row.catch_up, row.catch_up_window_seconds, row.overlap) == ("latest", 3600, "skip"):
        return Policy(runs_left=runs_left)  # the defaults, without the cost of reading them
    return Policy(
        catch_up=_choice(row, "catch_up", CatchUp),
        window=timedelta(seconds=_whole(row, "catch_up_window_seconds", 0, MAX_INTERVAL)),
        overlap=_choice(row, "overlap", Overlap),
        runs_left=runs_left,
    )


def known_zone(name: str) -> str:
    """Check an IANA zone name. Raises CadenceError with what was most likely meant."""
    if name in zone_names():
        return name
    raise CadenceError(f"timezone {_shown(name)} is no IANA time zone; {zone_hint(str(name))}")


def _crontab(row: Any, zone: str) -> Cadence:
    if not isinstance(row.crontab, str):
        raise CadenceError(f"crontab is {_shown(row.crontab)}; use text such as '0 9 * * *'")
    parse_crontab(row.crontab, zone)  # tells its own fault, also where dst_policy has one
    return parse_crontab(row.crontab, zone, _dst_policy(row))


def _interval(row: Any, zone: str) -> Cadence:
    step = timedelta(seconds=_whole(row, "interval_seconds", 1, MAX_INTERVAL))
    return Interval(_anchor(row, zone), step, anchor_fires=row.start_time is not None)


def _rrule(row: Any, zone: str) -> Cadence:
    if not isinstance(row.rrule, str):
        raise CadenceError(f"rrule is {_shown(row.rrule)}; use text such as 'FREQ=WEEKLY;BYDAY=MO'")
    parse_rrule(row.rrule, zone, EPOCH)  # tells its own fault, also where start_time or dst_policy has one
    return parse_rrule(row.rrule, zone, _anchor(row, zone), _dst_policy(row))


def _anchor(row: Any, zone: str) -> datetime:
    """What intervals count from, and a rule without a DTSTART: start_time, else create_time."""
    return _moment(row, "start_time", zone) or _moment(row, "create_time", "UTC") or EPOCH


def _calendar(row: Any, overrides: Overrides) -> Calendar | None:
    return None if row.calendar is None else load(str(row.calendar), overrides)


def _once(row: Any, zone: str) -> Cadence:
    moment = _moment(row, "run_at", zone) or EPOCH
    if _dst_policy(row) is DstPolicy.SKIP and row.run_at.tzinfo is None and is_in_gap(row.run_at, ZoneInfo(zone)):
        raise CadenceError(
            f"run_at {_shown(row.run_at)} does not come in {zone}, where the clocks are set forward over it, "
            "and dst_policy 'skip' leaves it out; change one of them"
        )
    return Once(moment)


RULES: dict[str, Callable[[Any, str], Cadence]] = {
    "crontab": _crontab,
    "interval_seconds": _interval,
    "rrule": _rrule,
    "run_at": _once,
}


def _follows(row: Any, after: After, around: Surroundings) -> None:
    """Refuse moments for a row that has none of its own, and a row to follow that cannot be followed."""
    given = [column for column in (*KINDS, "start_time", "end_time", "calendar") if getattr(row, column) is not None]
    given += ["jitter_seconds"] if row.jitter_seconds else []
    if given:
        raise CadenceError(
            f"{' and '.join(given)} and after in task_extra_config are both set; a row starts at moments or after "
            "another: keep one of the two"
        )
    if wrong := around.check_upstream(row, after):
        raise ConfigError(wrong)


def _one_kind(row: Any) -> None:
    given = [kind for kind in KINDS if getattr(row, kind) is not None]
    if len(given) > 1:
        raise CadenceError(f"{' and '.join(given)} are all set; keep exactly one and set the others to NULL")


def _dst_policy(row: Any) -> DstPolicy:
    return DstPolicy.CRON if row.dst_policy is None else _choice(row, "dst_policy", DstPolicy)


def _zone(row: Any, default: str) -> str:
    return default if row.timezone in (None, "") else known_zone(row.timezone)


def _runnable(row: Any, around: Surroundings) -> AnyConfig:
    text = row.task_extra_config
    if not isinstance(text, str):
        raise ConfigError(
            f"task_extra_config is {_shown(text)}; "
            'use text such as {"task_type": "agent", "agent_id": "…", "message": "…"}'
        )
    config = parse_task_config(text)
    if config.queue not in around.queues:
        known = sorted(around.queues)
        near = get_close_matches(config.queue, known, 1, 0.6)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"queue {config.queue!r} is unknown; {hint}Known: {', '.join(known)}; TASK_QUEUES adds others"
        )
    wrong = around.check_target(config)
    if wrong:
        raise ConfigError(wrong)
    return config


def _moment(row: Any, column: str, zone: str) -> datetime | None:
    """Read a wall-clock column in the row's zone, as a crontab's times are read where the clocks change.

    A bound has one moment under every policy: the gap's end for `skip`; for `twice` an end is the second time.
    """
    value = getattr(row, column)
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise CadenceError(f"{column} {_shown(value)} is no time; write '2026-12-31 09:00:00'")
    policy = _dst_policy(row)
    if policy is DstPolicy.TWICE and column == "end_time":
        policy = DstPolicy.LAST
    try:
        return moment_at(value, ZoneInfo(zone), policy) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # '9999-12-31' means no end, in every zone
        return EPOCH if value.year < EPOCH.year else END_OF_TIME


def _whole(row: Any, column: str, least: int, most: int) -> int:
    value = getattr(row, column)
    if isinstance(value, int) and least <= value <= most:
        return value
    raise CadenceError(f"{column} is {_shown(value)}; use a whole number from {least} to {most}")


def _choice(row: Any, column: str, choices: type[E]) -> E:
    value = getattr(row, column)
    try:
        return choices(value)
    except ValueError as error:
        near = get_close_matches(str(value)[:64].lower(), list(choices), 1, 0.6)
        hint = f"; did you mean {near[0]!s}?" if near else ""
        raise CadenceError(f"{column} is {_shown(value)}; use one of {', '.join(choices)}{hint}") from error


def _shown(value: object) -> str:
    """Write a column's value in one short line."""
    text = "NULL" if value is None else str(value) if isinstance(value, datetime) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
