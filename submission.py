"""A run that somebody asks for: the ledger first, then its id to the broker.

Once `submit` has returned the run stands in the ledger, whatever becomes of the broker: beat sends what was not sent.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from broker import Sender
from core.lifecycle import Origin, State
from core.task_config import DEFAULT_PRIORITY, DEFAULT_QUEUE, ConfigError, parse_task_config
from store import runs
from store.database import autocommit, in_words, read_clock, transaction
from store.runs import NewRun, Sendable

logger = logging.getLogger("submission")

BROKER_PAUSE: Final = 5.0  # seconds; a broker that is away costs one caller its connect timeout, and not everybody


class NotAccepted(Exception):
    """What was asked cannot become a run; the message says which part, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run of a registered Celery task. `ready_at` wins over `countdown` (seconds from now)."""

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    options: Mapping[str, Any] = field(default_factory=dict)
    """timeout, max_retries, retry_backoff, retry_backoff_max of `task_extra_config`, where they are not the default."""
    countdown: float = 0.0
    ready_at: datetime | None = None
    run_id: str | None = None

    def config(self, queues: Sequence[str]) -> str:
        """Write it as `task_extra_config`. Raises NotAccepted."""
        wanted = {
            "task_type": "celery",
            "task": self.task,
            "args": list(self.args),
            "kwargs": dict(self.kwargs),
            "queue": self.queue,
            "priority": self.priority,
            **self.options,
        }
        try:
            text = json.dumps(wanted, ensure_ascii=False, allow_nan=False)
            text.encode()  # half a character is none that a database keeps
            parse_task_config(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise NotAccepted(f"args and kwargs must be plain JSON: {error}") from None
        except ConfigError as error:
            raise NotAccepted(str(error)) from error
        if self.queue not in queues:
            known = ", ".join(queues)
            raise NotAccepted(
                f"no worker serves the queue {self.queue!r}; add it to TASK_QUEUES, or use one of {known}"
            )
        return text


class Submitter:
    """Writes runs and sends them. For any number of threads."""

    def __init__(self, engine: Engine, sender: Sender, queues: Sequence[str]) -> None:
        self._engine = engine
        self._sender = sender
        self._queues = queues
        self._lock = Lock()
        self._paused_until = 0.0

    def submit(self, order: Order) -> str:
        """Make a run and return its id. Raises NotAccepted, or what the database raises."""
        with transaction(self._engine) as tx:
            run, now = self.enter(tx, order)
        if run.ready_at is not None and run.ready_at <= now:
            self.send([Sendable(run.id, run.queue, run.priority, run.attempt, "celery")])
        return run.id

    def enter(self, tx: Connection, order: Order) -> tuple[NewRun, datetime]:
        """Write the run in a transaction of the caller's, who sends it afterwards. Raises NotAccepted."""
        config = order.config(self._queues)
        now = read_clock(tx)
        run = NewRun(
            id=order.run_id or runs.new_run_id(),
            periodic_task_id=None,
            task_name=order.task[:200],
            origin=Origin.API,
            scheduled_for=now,
            ready_at=order.ready_at or now + timedelta(seconds=order.countdown),
            state=State.PENDING,
            queue=order.queue,
            priority=order.priority,
            config=config,
        )
        if not runs.insert_runs(tx, [run]):
            raise NotAccepted(f"there is a run {run.id} already; leave task_id out, and it gets an id of its own")
        return run, now

    def send(self, sendables: Sequence[Sendable]) -> bool:
        """Put committed runs on the broker and mark them QUEUED. False: not now; beat sends them within seconds."""
        with self._lock:
            if monotonic() < self._paused_until:
                return False
            try:
                self._sender.send(sendables)
            except self._sender.errors as error:
                self._paused_until = monotonic() + BROKER_PAUSE
                self._sender.close()
                logger.warning("%d runs wait in the ledger for beat to send them: %s", len(sendables), error)
                return False
        try:
            with autocommit(self._engine) as connection:
                runs.mark_queued(connection, [(each.id, each.attempt) for each in sendables])
        except SQLAlchemyError as error:  # sent twice is harmless
            logger.warning("%d runs were sent and are not marked so: %s", len(sendables), in_words(error))
        return True

    def close(self) -> None:
        """Let go of the broker."""
        with self._lock:
            self._sender.close()
