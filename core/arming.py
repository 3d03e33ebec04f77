"""Reading a row's columns: its cadence, its policy, and everything that is wrong with it.

Arming is the step from what an operator wrote to `next_run_at`, or to a `config_error` in plain words.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from core.cadence import MICROSECOND, Bounded, Cadence, CadenceError, Interval, Once, parse_crontab
from core.planning import CatchUp, Overlap, Policy
from core.task_config import AnyConfig, ConfigError, parse_task_config

KINDS = ("crontab", "interval_seconds", "rrule", "run_at")
MAX_INTERVAL = 10 * 366 * 24 * 3600
# Columns of the contract whose rules this version does not apply; a row that uses one is told so.
UNSUPPORTED = {"rrule": None, "calendar": None, "dst_policy": None, "jitter_seconds": 0}

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a row's validity depends on beside the row itself."""

    zone: str
    """The TIMEZONE setting."""
    queues: frozenset[str]
    check_target: Callable[[AnyConfig], str | None] = field(default=lambda _: None)
    """Says what is wrong with the endpoint or host a row names."""


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
    if not _truthy(row.enabled):
        return Armed()
    if checked_only and not was_broken and isinstance(row.next_run_at, datetime):
        return Armed(next_run_at=row.next_run_at)
    if row.max_runs is not None and row.run_count >= row.max_runs:
        return Armed(hint=f"finished: max_runs={row.max_runs} is reached")
    cadence = cadence_of(row, around.zone)
    overdue = isinstance(row.next_run_at, datetime) and row.next_run_at <= now
    found = cadence.after(row.next_run_at - MICROSECOND if overdue else now)
    if found is None and row.run_at is not None and row.run_count == 0:
        found = cadence.latest(now)  # armed though past: catch-up decides what it owes
    return Armed(next_run_at=found, hint=None if found else "finished: no further moment within its bounds")


def what_is_wrong(row: Any, around: Surroundings) -> list[str]:
    """Name every problem of a row, one sentence each; empty when it can run."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: _whole(row, "enabled", 0, 1),
        lambda: _one_kind(row),
        lambda: _supported(row),
        lambda: cadence_of(row, around.zone),
        lambda: policy_of(row),
        lambda: _runnable(row, around),
    )
    problems: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except (CadenceError, ConfigError) as error:
            problems[str(error)] = None
    return list(problems)


def cadence_of(row: Any, default_zone: str) -> Cadence:
    """Build the rule a row's WHEN columns name. Raises CadenceError."""
    zone = known_zone(row.timezone or default_zone)
    start, end = _moment(row, "start_time", zone), _moment(row, "end_time", zone)
    if start is not None and end is not None and end < start:
        raise CadenceError("end_time is before start_time, so no moment lies between them")
    inner: Cadence
    if row.crontab is not None:
        inner = parse_crontab(str(row.crontab), zone)
    elif row.interval_seconds is not None:
        step = timedelta(seconds=_whole(row, "interval_seconds", 1, MAX_INTERVAL))
        inner = Interval(start or row.create_time, step, anchor_fires=start is not None)
    elif row.run_at is not None:
        moment = _moment(row, "run_at", zone)
        inner = Once(moment) if moment is not None else Once(row.create_time)
    else:
        raise CadenceError("no schedule: set one of crontab, interval_seconds or run_at")
    return Bounded(inner, start, end) if start or end else inner


def policy_of(row: Any) -> Policy:
    """Read the columns that decide about owed moments. Raises CadenceError."""
    runs_left = None
    if row.max_runs is not None:
        runs_left = _whole(row, "max_runs", 1, 2**31 - 1) - int(row.run_count)
    if (row.catch_up, row.catch_up_window_seconds, row.overlap) == ("latest", 3600, "skip"):
        return Policy(runs_left=runs_left)  # the defaults, without the cost of reading them
    return Policy(
        catch_up=_choice(row, "catch_up", CatchUp),
        window=timedelta(seconds=_whole(row, "catch_up_window_seconds", 0, MAX_INTERVAL)),
        overlap=_choice(row, "overlap", Overlap),
        runs_left=runs_left,
    )


@lru_cache(maxsize=1024)
def known_zone(name: str) -> str:
    """Check an IANA zone name. Raises CadenceError with the nearest one."""
    zones = available_timezones()
    if name in zones:
        return name
    near = get_close_matches(str(name), zones, 1, 0.6)
    hint = f"did you mean {near[0]!r}?" if near else "use a name such as 'Asia/Shanghai'"
    raise CadenceError(f"timezone {name!r} is no IANA time zone; {hint}")


def _one_kind(row: Any) -> None:
    given = [kind for kind in KINDS if getattr(row, kind) is not None]
    if len(given) > 1:
        raise CadenceError(f"{' and '.join(given)} are both set; keep exactly one and set the others to NULL")


def _supported(row: Any) -> None:
    used = [name for name, default in UNSUPPORTED.items() if getattr(row, name) not in (None, default)]
    if row.calendar_roll != "skip":
        used.append("calendar_roll")
    if used:
        raise CadenceError(f"{', '.join(used)}: not supported by this version; set it back to its default")


def _runnable(row: Any, around: Surroundings) -> AnyConfig:
    if row.task_extra_config is None:
        raise ConfigError('task_extra_config is empty; use {"task_type": "agent", "agent_id": "…", "message": "…"}')
    config = parse_task_config(str(row.task_extra_config))
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
    """Read a wall-clock column in the row's zone; a time inside a clock change's gap means the moment after it."""
    value = getattr(row, column)
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise CadenceError(f"{column} {value!r} is no time; write '2026-12-31 09:00:00'")
    local = value if value.tzinfo is not None else value.replace(tzinfo=ZoneInfo(zone))
    try:
        return local.astimezone(UTC)
    except OverflowError as error:
        raise CadenceError(f"{column} {value} is out of range") from error


def _whole(row: Any, column: str, least: int, most: int) -> int:
    value = getattr(row, column)
    if isinstance(value, int) and least <= value <= most:
        return value
    raise CadenceError(f"{column} is {value!r}; use a whole number from {least} to {most}")


def _choice(row: Any, column: str, choices: type[E]) -> E:
    value = getattr(row, column)
    try:
        return choices(value)
    except ValueError as error:
        raise CadenceError(f"{column} is {value!r}; use one of {', '.join(choices)}") from error


def _truthy(value: object) -> bool:
    return value not in (0, None)
