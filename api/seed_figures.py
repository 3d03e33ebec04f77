"""Figures that the seeds' APIs tell, summed up from the ledger and remembered for some seconds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy import Engine

from api.remembered import Remembered
from core.lifecycle import State
from store import seed_figures
from store.database import autocommit, read_clock
from store.seed_figures import TaskFigures

REMEMBERED_SECONDS: Final = 15.0
SUMMED_SECONDS: Final = 1.5  # for a day, and for the rest of its week
#: The seed's words for the tasks of its modules.
WORDS: Final = {
    "data_tasks": "data_sync", "analysis_tasks": "analysis", "maintenance_tasks": "maintenance",
    "report_tasks": "reports",
}  # fmt: skip


class Tally(BaseModel):
    """What the runs of a time came to; the rate in percent of those that succeeded or failed."""

    total_tasks: int
    successful_tasks: int
    failed_tasks: int
    success_rate: float | None


class Kind(BaseModel):
    """The runs of one kind in this week."""

    count: int
    success_rate: float | None


class Metrics(BaseModel):
    """Figures of the ledger. A day begins at midnight in TIMEZONE, a week on Monday; kinds are those of this week."""

    today: Tally
    this_week: Tally
    task_types: dict[str, Kind]
    avg_execution_time: dict[str, float]
    """Seconds."""


def remembered_metrics(engine: Engine, zone: str) -> Remembered[Metrics]:
    """Make what answers `/metrics`."""

    def sum_up() -> Metrics:
        with autocommit(engine) as connection:
            local = read_clock(connection).astimezone(ZoneInfo(zone))
            midnight = datetime.combine(local.date(), time.min, ZoneInfo(zone))
            monday = midnight - timedelta(days=midnight.weekday())
            today, earlier = (
                seed_figures.between(connection, since, until, tuple(WORDS), seconds=SUMMED_SECONDS)
                for since, until in (
                    (midnight.astimezone(UTC), None),
                    (monday.astimezone(UTC), midnight.astimezone(UTC)),
                )
            )
        week = today + earlier
        kinds = _by_kind(week)
        return Metrics(
            today=_tally(today),
            this_week=_tally(week),
            task_types={
                kind: Kind(count=sum(each.runs for each in some), success_rate=_tally(some).success_rate)
                for kind, some in kinds.items()
            },
            avg_execution_time={kind: mean for kind, some in kinds.items() if (mean := mean_seconds(some)) is not None},
        )

    return Remembered(sum_up, REMEMBERED_SECONDS)


def _by_kind(figures: Sequence[TaskFigures]) -> Mapping[str, Sequence[TaskFigures]]:
    """Group by the seed's words where a task belongs to one of its modules, else by queue."""
    kinds: dict[str, list[TaskFigures]] = {}
    for each in figures:
        kinds.setdefault(WORDS[each.module] if each.module else each.queue, []).append(each)
    return kinds


def _tally(figures: Sequence[TaskFigures]) -> Tally:
    succeeded, failed = sum(each.succeeded for each in figures), sum(each.failed for each in figures)
    rate = round(100 * succeeded / (succeeded + failed), 1) if succeeded + failed else None
    total = sum(each.runs for each in figures)
    return Tally(total_tasks=total, successful_tasks=succeeded, failed_tasks=failed, success_rate=rate)


def mean_seconds(figures: Sequence[TaskFigures]) -> float | None:
    """Average over the runs that ended; None: there are none."""
    ended = [(each.seconds, each.ended) for each in figures if each.seconds is not None]
    return round(sum(s * n for s, n in ended) / sum(n for _, n in ended), 3) if ended else None


def remembered_counts(engine: Engine) -> Remembered[dict[State, int]]:
    """Make what counts the ledger's runs by state."""

    def count() -> dict[State, int]:
        with autocommit(engine) as connection:
            return seed_figures.count_by_state(connection)

    return Remembered(count, REMEMBERED_SECONDS)
