"""The base of Celery tasks whose runs live in the ledger: `@celery_app.task(base=LedgerTask, queue="…")`.

`apply_async` and `delay` write the run first and send only its id, so that a lost broker loses nothing. A countdown is
the row's `ready_at`. The answer is read from the ledger: `AsyncResult(id).status`, `.get(timeout=…)`.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from celery import Celery, Task
from celery.result import AsyncResult

from broker import Sender
from config import get_settings
from core.task_config import DEFAULT_PRIORITY, DEFAULT_QUEUE
from store.database import connect
from submission import NotAccepted, Order, Submitter

POOL_SIZE: Final = 2
#: Options of `apply_async` that change nothing here; any other one that says something is refused.
WITHOUT_EFFECT: Final = frozenset({"ignore_result", "retry", "retry_policy", "serializer", "compression", "shadow"})

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[Any, Any]
else:
    AnyTask = Task

_submitters: dict[int, Submitter] = {}
_building = Lock()


class LedgerTask(AnyTask):
    """What Celery's decorator says of such a task becomes its `task_extra_config`.

    `queue`, `priority`, `time_limit` or `soft_time_limit` (the run's `timeout`), `max_retries`, and `retry_backoff`
    and `retry_backoff_max` where they are numbers. A retry is the ledger's, never `self.retry`.
    """

    abstract = True
    max_retries = 0
    queue: str | None = None

    def apply_async(  # type: ignore[override]
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Write a run that is ready in `countdown` seconds, or at `eta`, send its id, and return its AsyncResult.

        Raises NotAccepted for what the ledger cannot keep: an option such as `link` or `expires`, an unknown queue,
        arguments that are no plain JSON. Raises SQLAlchemyError where the ledger is away; nothing was sent then.
        """
        refused = sorted(name for name, value in options.items() if value is not None and name not in WITHOUT_EFFECT)
        if refused:
            raise NotAccepted(f"{', '.join(refused)}: a run in the ledger has no such option; leave it out")
        order = order_of(
            self, args, kwargs, queue=queue, priority=priority, countdown=countdown, eta=eta, run_id=task_id
        )
        return self.AsyncResult(_submitter(self.app).submit(order))


def order_of(
    task: "AnyTask",
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    priority: int | None = None,
    countdown: float | None = None,
    eta: datetime | str | None = None,
    run_id: str | None = None,
) -> Order:
    """Turn a call of any registered task into an order; None: as the task was declared. Raises NotAccepted."""
    declared = getattr(task, "priority", None)
    lane = queue or getattr(task, "queue", None) or DEFAULT_QUEUE
    return Order(
        task=task.name,
        args=args or (),
        kwargs=kwargs or {},
        queue=lane,
        priority=_first(priority, declared, DEFAULT_PRIORITY),
        options=_policy(task),
        countdown=_seconds(countdown),
        ready_at=_moment(eta),
        run_id=_run_id(run_id),
    )


def _policy(task: "AnyTask") -> dict[str, Any]:
    wanted = {"timeout": _first(task.time_limit, task.soft_time_limit)}
    if isinstance(task, LedgerTask):  # Celery's own default of 3 speaks of self.retry, and is no permission to repeat
        wanted["max_retries"] = task.max_retries
        for name in ("retry_backoff", "retry_backoff_max"):
            value = getattr(task, name, None)
            wanted[name] = None if isinstance(value, bool) else value
    return {name: value for name, value in wanted.items() if value is not None}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _seconds(countdown: float | None) -> float:
    if countdown is None:
        return 0.0
    if isinstance(countdown, bool) or not isinstance(countdown, int | float) or not 0 <= countdown <= 366 * 86400:
        raise NotAccepted(f"countdown is {countdown!r}; use seconds from 0 to a year")
    return float(countdown)


def _moment(eta: datetime | str | None) -> datetime | None:
    """Take a time without a zone as one in TIMEZONE, as Celery does."""
    if eta is None:
        return None
    try:
        moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(get_settings().timezone))
        return moment.astimezone(UTC)
    except (AttributeError, ValueError, OverflowError):
        raise NotAccepted(f"eta is {eta!r}; use a time such as 2026-01-31T09:00:00+08:00") from None


def _run_id(task_id: str | None) -> str | None:
    if task_id is None:
        return None
    try:
        return str(UUID(task_id))
    except (AttributeError, ValueError):
        raise NotAccepted(f"task_id is {task_id!r}; use a UUID, or leave it out") from None


def _submitter(app: Celery) -> Submitter:
    """Return this process's way to the ledger, built when first used."""
    with _building:
        if os.getpid() not in _submitters:
            _submitters.clear()  # a fork's: the connections are the parent's
            settings = get_settings()
            engine = connect(settings.database_url, pool_size=POOL_SIZE)
            _submitters[os.getpid()] = Submitter(engine, Sender(app), settings.queues)
        return _submitters[os.getpid()]
