"""The Celery app, its signals, and housekeeping. `celery -A tasks.celery_app …` needs no further option."""

import logging
import signal
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_shutdown, worker_ready, worker_shutdown, worker_shutting_down
from kombu import Queue

import collector
import preflight
from broker import Channel, Connection
from config import FALLBACK_QUEUE, PURGE_TASK, Settings, get_settings
from core.task_config import DEFAULT_PRIORITY
from logger import setup_logging as configure_logging
from packs import pack_modules
from store.database import autocommit, read_clock
from store.housekeeping import purge_audit
from store.housekeeping import purge_runs as delete_old_runs
from worker.consumer_watch import ConsumerWatch
from worker.runtime import current_runtime, runtime

NEW_OBJECTS = 50_000  # before the collector of cycles looks again: a hundred runs or so

logger = logging.getLogger("tasks")


def make_app(settings: Settings) -> Celery:
    """Configure Celery from the settings; nothing is connected yet."""
    app = Celery("agent_scheduler", include=["agent_tasks", *pack_modules(settings.task_packs), *settings.task_modules])
    app.conf.update(
        broker_url=settings.broker_url,
        broker_transport="broker:Transport" if settings.broker_url.startswith(("redis://", "rediss://")) else None,
        broker_transport_options={
            "queue_order": settings.queues,
            "queue_order_strategy": "priority",  # the channel orders by rank; this one rotates nothing
            "priority_steps": list(range(10)),
            "socket_connect_timeout": 3,
            "socket_timeout": 5,  # above the 1 s of a BRPOP: a half-open socket is noticed, an idle one kept
            "socket_keepalive": True,
            "health_check_interval": 4,  # seconds; a BRPOP whose reply is that late is on a half-open socket
        },
        broker_connection_retry_on_startup=True,
        result_backend=settings.celery_result_backend,
        task_queues=[Queue(name) for name in settings.queues],
        task_default_queue=FALLBACK_QUEUE,
        task_default_priority=DEFAULT_PRIORITY,
        task_create_missing_queues=False,
        task_acks_late=True,  # early ack reserves a second round of messages that no urgent one can overtake
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,
        beat_scheduler="scheduler:DatabaseScheduler",
        beat_max_loop_interval=settings.poll_seconds,
        timezone=settings.timezone,
        enable_utc=True,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
    )
    app.amqp.Connection = Connection
    app.steps["consumer"].add("worker.event_batches:EventBatches")
    return app


celery_app = make_app(preflight.read_settings())  # `celery -A tasks.celery_app …` has no other edge


@setup_logging.connect
def _on_setup_logging(**_: Any) -> None:
    configure_logging("celery")
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).setLevel(logging.WARNING)  # our own lines say the same, with the run and its task


@worker_ready.connect
def _on_worker_ready(sender: Any, **_: Any) -> None:
    """Take the lease, check the order in which queues will really be served, and watch that they are."""
    collector.spare(NEW_OBJECTS)  # before the lease: who sees that may tell this worker something at once
    check_serving_order(sender.task_consumer.channel)
    consumed = tuple(sender.app.amqp.queues.consume_from)
    queues = [name for name in get_settings().queues if name in consumed]
    worker = runtime(sender.hostname, queues, sender.controller.concurrency)
    # Celery's cold shutdown waits for the threads of the pool, which may wait for an agent for an hour.
    signal.signal(signal.SIGQUIT, lambda *_: worker.stop_now())
    ConsumerWatch(sender, queues, worker).start()


def check_serving_order(channel: Any) -> None:
    """Stop the worker where its channel would not serve the queues by rank. Raises SystemExit."""
    if not isinstance(channel, Channel):
        logger.warning(
            "this broker is not one Redis server (redis:// or rediss://): strict queue order is not promised"
        )
        return
    served = channel.serving_order()
    ranked = [name for name in get_settings().queues if name in served]
    if served != ranked:
        raise SystemExit(f"queue order is wrong: the worker would serve {served}, the settings rank {ranked}")
    logger.info("queues are served in this order: %s", " > ".join(served))


@worker_shutting_down.connect
def _on_worker_shutting_down(**_: Any) -> None:
    """Drain at the first signal; any further one ends the process within two seconds."""
    if (worker := current_runtime()) is not None:
        worker.drain()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: worker.stop_now())


@worker_shutdown.connect
@worker_process_shutdown.connect
def _on_worker_shutdown(**_: Any) -> None:
    if (worker := current_runtime()) is not None:
        worker.close()


@celery_app.task(name=PURGE_TASK)
def purge_runs() -> str:
    """Delete final runs older than RUN_RETENTION_DAYS, and the audit past AUDIT_RETENTION_DAYS; 0 keeps all."""
    worker = runtime()
    settings = worker.settings
    with autocommit(worker.engine) as connection:
        now = read_clock(connection)
    told = []
    for days, what, delete in (
        (settings.run_retention_days, "runs", delete_old_runs),
        (settings.audit_retention_days, "entries of the audit", purge_audit),
    ):
        before = now - timedelta(days=days)
        told.append(f"{delete(worker.engine, before)} {what} from before {before:%Y-%m-%d}" if days else f"no {what}")
    return f"{', '.join(told)} deleted"
