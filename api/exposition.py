"""The text of `/metrics`: figures read at scrape time, so every process tells the same. No label per task."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.bounded import SingleFlight
from api.broker_look import BrokerLook
from api.readiness import tick_limit
from config import Settings
from logger import redact
from store import overview
from store.database import autocommit, in_words
from store.missed_fires import Noted
from store.notices import Notices
from store.overview import COUNT_LIMIT, Figures

SCRAPE_SECONDS: Final = 4.0
AT_MOST: Final = f"counted up to {COUNT_LIMIT}"

logger = logging.getLogger("api")


class Exposition:
    """Reads the figures of the broker and of the ledger, and writes them as Prometheus expects."""

    def __init__(self, settings: Settings, engine: Engine, broker: SingleFlight[BrokerLook]) -> None:
        self._broker = broker
        self._ledger = SingleFlight(self._read_ledger, SCRAPE_SECONDS)
        self._engine = engine
        self._limit = tick_limit(settings)

    async def text(self) -> bytes:
        """Write every figure that can be had now; what is away shows as `..._up 0` and leaves its figures out."""
        broker = await self._broker.ask()
        if broker is not None and broker.problem is not None:
            broker = None
        figures = await self._ledger.ask(broker.heads if broker else ())
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(families(figures, broker)))
        return generate_latest(registry)

    def close(self) -> None:
        """Ask no more."""
        self._ledger.close()

    def _read_ledger(self, heads: list[str]) -> Figures | None:
        try:
            with autocommit(self._engine) as connection:
                return overview.figures(connection, heads=heads, beat_age=self._limit)
        except SQLAlchemyError as error:
            logger.warning("no figures from the database: %s", redact(in_words(error)))
            return None


class _Once(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def families(figures: Figures | None, broker: BrokerLook | None) -> list[Metric]:
    """Name every metric. None: that side is away."""
    found = [
        _gauge("scheduler_database_up", "Whether the database answered this scrape.", figures is not None),
        _gauge("scheduler_broker_up", "Whether the broker answered this scrape.", broker is not None),
    ]
    if broker is not None:
        depths = "Messages waiting on the broker."
        found.append(_labelled("scheduler_queue_messages", depths, "queue", broker.depths))
    return found + (list(_of_ledger(figures)) if figures is not None else [])


def _of_ledger(figures: Figures) -> Iterator[Metric]:
    signs = figures.signs
    yield _labelled("scheduler_runs", f"Runs that are not final, {AT_MOST}.", "state", figures.runs)
    yield _labelled(
        "scheduler_runs_oldest_age_seconds",
        "Time since the oldest run in this state became ready.",
        "state",
        _ages(figures.oldest_ready, signs.now),
    )
    yield _labelled(
        "scheduler_queue_oldest_age_seconds",
        "Time since the oldest of the runs that the queue serves next became ready.",
        "queue",
        _ages(figures.queue_ready, signs.now),
    )
    yield _gauge("scheduler_tasks_due", f"Tasks that are due and not fired yet, {AT_MOST}.", figures.due)
    overdue = timedelta() if figures.oldest_due is None else signs.now - figures.oldest_due
    yield _gauge("scheduler_tasks_due_oldest_age_seconds", "How long the oldest of them is due; 0: none.", _s(overdue))
    yield from _of_notices(figures.notices)
    yield _gauge("scheduler_tasks_unarmed", f"Tasks whose edit no beat has read yet, {AT_MOST}.", figures.unarmed)
    yield _gauge("scheduler_tasks_broken", f"Tasks with a config_error, {AT_MOST}.", figures.broken)
    yield _labelled(
        "scheduler_calendar_data_days_left",
        "Days until the data of a calendar that rows name ends; below 0: it has ended.",
        "calendar",
        figures.calendar_days_left,
    )
    if figures.missed is not None:
        yield from _of_missed(figures.missed)
    reached = "Budgets that a run found used up within their window, by what is done then."
    yield _labelled("scheduler_budgets_used_up", reached, "at_limit", figures.used_up)
    yield _gauge("scheduler_beats", "Beats that ticked lately.", figures.beats)
    if signs.newest_tick is not None:
        age = signs.now - signs.newest_tick
        yield _gauge("scheduler_beat_last_tick_age_seconds", "Time since any beat last ticked.", _s(age))
    yield _gauge("scheduler_workers", "Worker processes with a lease.", signs.workers)
    yield _gauge("scheduler_worker_slots", "Runs they can carry at the same time.", figures.worker_slots)


def _of_notices(seen: Notices) -> Iterator[Metric]:
    held = seen.held
    rows = "Due tasks that cannot fire because another database session holds locks."
    yield _gauge("scheduler_tasks_held", rows, held.rows if held else 0)
    sessions = GaugeMetricFamily(
        "scheduler_holding_session_age_seconds",
        "How long the transaction is open that holds them.",
        labels=["session", "user", "host"],
    )
    for each in held.sessions if held else ():
        sessions.add_metric([str(each.id), each.user or "", each.host or ""], each.age_seconds)
    yield sessions
    yield _labelled(
        "scheduler_queue_stalled_seconds",
        "How long nothing was taken from a queue while a worker had a free slot, or none served it.",
        "queue",
        {each.queue: each.seconds for each in seen.stalled},
    )


def _of_missed(missed: Noted) -> Iterator[Metric]:
    """Tell what the watchdog saw; only the worst rows have a label of their own."""
    yield _gauge("scheduler_missed_fires", "Rows overdue by more than 30 s when the watchdog last looked.", missed.rows)
    yield _gauge("scheduler_missed_fires_look_age_seconds", "Time since the watchdog last looked.", missed.age)
    worst = GaugeMetricFamily(
        "scheduler_missed_fire_seconds", "For how long each of the worst ten was overdue.", labels=["task_id", "task"]
    )
    for each in missed.worst:
        worst.add_metric([str(each.id), each.name], each.seconds)
    yield worst


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value)


def _labelled(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, told, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric


def _ages(since: Mapping[str, datetime], now: datetime) -> dict[str, float]:
    return {key: _s(now - moment) for key, moment in since.items()}


def _s(age: timedelta) -> float:
    return max(age.total_seconds(), 0.0)
