"""`POST /api/v2/tasks/test`: one real call with a configuration that need not be saved, to see what comes of it."""

import logging
from dataclasses import asdict
from threading import BoundedSemaphore
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

import trial
from api.access import Caller, Operator
from api.problems import Refused, documented
from api.schedules import PATH, editor_of
from api.services import Ours, Services
from api.task_models import TaskChange, Text500
from core.outcome import Usage
from core.task_config import CeleryConfig, ConfigError, parse_task_config
from endpoints import name_of
from store import audit, budgets, tasks
from store.audit import Change
from store.database import autocommit, read_clock, transaction
from trial import Draft, NotNow, Tried

AT_ONCE: Final = 4  # each holds one of the threads that answer requests
SHOWN: Final = 4000  # characters of an answer
NO_TASK: Final = "new"
"""Stands in the audit for a task that is not saved yet."""

router = APIRouter(tags=["tasks"], responses=documented(401, 422, 503))
logger = logging.getLogger("api")

_places = BoundedSemaphore(AT_ONCE)


class TrialCall(BaseModel):
    """What is to be tried, as a task would have it."""

    model_config = ConfigDict(extra="forbid")

    task_extra_config: Annotated[
        dict[str, Any] | StrictStr, Field(description="the object itself, or its JSON text; not of task_type celery")
    ]
    task_id: Annotated[
        int | None, Field(ge=1, lt=2**63, description="the task it is of: a secret sent as *** is its own then")
    ] = None
    name: Annotated[str, Field(max_length=200)] = ""
    tags: Annotated[Text500 | None, Field(description="comma-separated: one of them may be held")] = None


class TrialAnswer(BaseModel):
    """What came of it; a failure is an answer too. Null: unknown, or there is none."""

    state: Literal["SUCCESS", "REQUIRES_ACTION", "FAILURE"]
    """What a run would have ended in."""
    seconds: float
    endpoint: str | None
    answer: str | None
    is_cut: bool
    """The answer goes on."""
    error_kind: str | None
    error: str | None
    http_status: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    currency: str | None


@router.post(PATH + "/test", responses=documented(403, 404, 409))
def try_call(ours: Ours, caller: Operator, given: TrialCall) -> TrialAnswer:
    """Make one real call now, as a worker would; it may cost money. No run is made, and nothing is tried again.

    At most 30 seconds. 409: a hold or a budget is against it. What it costs counts towards its budgets, and the audit
    says who made it.
    """
    with autocommit(ours.engine) as connection:
        draft = _draft(ours, connection, given)
        try:
            concerned = trial.budgets_of(connection, draft)
        except NotNow as against:
            raise HTTPException(409, f"The call is not made: {ours.mask.prose(str(against))}.") from None
    if not _places.acquire(blocking=False):
        raise HTTPException(503, "Other test calls go on; try again in a moment.", {"Retry-After": "5"})
    try:
        if wait := ours.throttle.trial_wait(caller.name):
            told = f"Ten test calls a minute are the most; the next one may be made in {wait} seconds."
            raise HTTPException(429, told, {"Retry-After": str(wait)})
        _enter_call(ours, caller, draft)
        tried = trial.call(draft, ours.engine, ours.settings)
        _enter_outcome(ours, caller, draft, tried, [budget.id for budget in concerned])
    finally:
        _places.release()
    return _shown(ours, draft, tried)


def _draft(ours: Services, connection: Connection, given: TrialCall) -> Draft:
    """Judge what is to be tried, and put the secrets in. Raises Refused, HTTPException 404."""
    old = None if given.task_id is None else tasks.read(connection, given.task_id)
    if given.task_id is not None and old is None:
        raise HTTPException(404, f"No task has the id {given.task_id}; GET {PATH} lists them.")
    editor = editor_of(ours, connection)
    text = editor.columns(TaskChange(task_extra_config=given.task_extra_config), old)["task_extra_config"]
    try:
        config = parse_task_config(text)
    except ConfigError as error:
        raise _refused(ours, str(error)) from None
    if isinstance(config, CeleryConfig):
        raise _refused(ours, "a Celery task runs in a worker and is not called from here; save it, and run it now")
    if wrong := editor.around.check_target(config):
        raise _refused(ours, wrong)
    return Draft(config, text, given.name, given.tags, given.task_id)


def _refused(ours: Services, told: str) -> Refused:
    return Refused.of("task_extra_config", ours.mask.prose(told) or "")


def _enter_call(ours: Services, caller: Caller, draft: Draft) -> None:
    """Enter it before it goes out: where this process dies meanwhile, it is known who asked."""
    about = {"name": draft.name, "endpoint": name_of(draft.config), "task_extra_config": draft.text}
    with transaction(ours.engine) as tx:
        change = Change(action="task.test", subject=draft.task_id or NO_TASK, after=about)
        audit.record(tx, caller.actor, change)


def _enter_outcome(ours: Services, caller: Caller, draft: Draft, tried: Tried, budget_ids: list[int]) -> None:
    after = {"ok": tried.error is None, "error_kind": tried.error and tried.error.kind, **asdict(_usage(tried))}
    try:
        with transaction(ours.engine) as tx:
            audit.record(tx, caller.actor, Change(action="task.tested", subject=draft.task_id or NO_TASK, after=after))
            if tried.answer is not None:
                budgets.enter_cost(tx, budget_ids, _usage(tried), read_clock(tx))
    except SQLAlchemyError as error:  # the answer is paid for, and is shown all the same
        logger.error("a test call by %s counts towards no budget: %s", caller.name, getattr(error, "orig", error))


def _usage(tried: Tried) -> Usage:
    return tried.answer.usage if tried.answer is not None else Usage()


def _shown(ours: Services, draft: Draft, tried: Tried) -> TrialAnswer:
    answer, error = tried.answer, tried.error
    text = ours.mask.answer(answer.text) or "" if answer is not None else None
    state = "SUCCESS" if error is None else "FAILURE"
    if error is None and answer is not None and answer.status == "requires_action":
        state = "REQUIRES_ACTION"
    return TrialAnswer.model_validate(
        {
            "state": state,
            "seconds": round(tried.seconds, 3),
            "endpoint": draft.config.endpoint,
            "answer": None if text is None else text[:SHOWN],
            "is_cut": text is not None and len(text) > SHOWN,
            "error_kind": error and error.kind,
            "error": error and ours.mask.prose(error.message),
            "http_status": (answer and answer.http_status) or (error and error.http_status),
            **asdict(_usage(tried)),
        }
    )
