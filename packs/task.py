"""How a pack declares its tasks: one function, its own name, and the names that older systems knew it by."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

from celery import Task, shared_task
from sqlalchemy.exc import SQLAlchemyError

from core.outcome import AgentError, ErrorKind
from ledger_task import LedgerTask
from store.database import in_words, is_refused

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[Any, Any]
else:
    AnyTask = Task


def pack_task(
    name: str, *, queue: str, aliases: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[..., Any]], AnyTask]:
    """Register a function as a bound Celery task whose runs live in the ledger.

    `options` are Celery's, and LedgerTask's: `max_retries`, `retry_backoff`, `retry_backoff_max`, `time_limit` (the
    run's `timeout`), `soft_time_limit`. An alias is the same task under another name. Where the database is away in
    its middle the run ends as `unavailable`, which is tried again.
    """

    # Celery warns of a task that names its queue itself, and takes it from a base in silence.
    lane = {"queue": queue, **({"priority": options.pop("priority")} if "priority" in options else {})}
    base = type("PackTask", (LedgerTask,), {"abstract": True, "__module__": __name__, **lane})

    def register(function: Callable[..., Any]) -> AnyTask:
        @wraps(function)
        def act(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except SQLAlchemyError as error:
                if is_refused(error):
                    raise
                raise AgentError(ErrorKind.UNAVAILABLE, in_words(error)) from error

        def under(registered: str) -> AnyTask:
            declare: Any = shared_task(**options, bind=True, base=base, name=registered)
            task: AnyTask = declare(act)
            return task

        for alias in aliases:
            under(alias)
        return under(name)

    return register
