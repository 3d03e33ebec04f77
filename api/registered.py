"""The Celery tasks that may be asked for by name: those of packs and of TASK_MODULES. They appear by themselves."""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from celery import Task
from fastapi import HTTPException

from api.access import Caller
from api.services import Services
from config import PURGE_TASK, RUN_TASKS
from ledger_task import order_of
from store import audit
from store.audit import Change
from store.database import transaction
from store.runs import NewRun, Sendable
from submission import NotAccepted
from tasks import celery_app

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[Any, Any]

#: What carries runs, or keeps house, is nobody's to ask for.
OURS: Final = frozenset({*RUN_TASKS.values(), PURGE_TASK})

logger = logging.getLogger("api")


@lru_cache(maxsize=1)
def registered() -> "Mapping[str, AnyTask]":
    """Name every task that an operator or a pack has registered. Loads their modules when first asked."""
    try:
        celery_app.loader.import_default_modules()
    except Exception:  # the edge to code that is not ours: what it registered before it failed is there
        logger.exception("a module of TASK_MODULES cannot be loaded")
    celery_app.finalize(auto=True)
    names = sorted(name for name in celery_app.tasks if not name.startswith("celery.") and name not in OURS)
    return {name: celery_app.tasks[name] for name in names}


def by_name(name: str) -> "AnyTask":
    """Find a task. Raises HTTPException 404, which says which there are."""
    if (task := registered().get(name)) is None:
        known = ", ".join(list(registered())[:20]) or "none; TASK_PACKS and TASK_MODULES add them"
        raise HTTPException(404, f"No task is registered as {name!r:.200}. Registered: {known}.")
    return task


def by_ending(ending: str) -> "AnyTask":
    """Find the task that a seed knew as `<module>.<function>`, whatever package it is in now. Raises HTTPException 404.

    Of several the first by name is meant.
    """
    found = next((task for name, task in registered().items() if f".{name}".endswith(f".{ending}")), None)
    if found is None:
        raise HTTPException(
            404, f"No task is registered whose name ends in {ending}; TASK_PACKS or TASK_MODULES must bring it."
        )
    return found


def start(
    ours: Services,
    caller: Caller,
    task: "AnyTask",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    priority: int | None = None,
) -> NewRun:
    """Write a run of a task, and its entry in the audit, and send it. Raises HTTPException 422."""
    try:
        order = order_of(task, args, kwargs, priority=priority)
        with transaction(ours.engine) as tx:
            run, _ = ours.submitter.enter(tx, order)
            audit.record(tx, caller.actor, Change(action="run.create", subject=run.id, after={"task": task.name}))
    except NotAccepted as error:
        raise HTTPException(422, ours.mask.prose(str(error))) from error
    ours.submitter.send([Sendable(run.id, run.queue, run.priority, 0, "celery")])
    return run
