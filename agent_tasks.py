"""The tasks that carry a run: claim it, call what it names, write its end. Nothing here knows the scheduler.

A message delivered twice, or for a run that is not ready, changes nothing: the claim decides.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from celery import Task, shared_task
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.app.trace import task_has_custom
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config import RUN_TASKS
from core.calls import request_of
from core.lifecycle import State
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, resumable_handle
from core.task_config import (
    AgentConfig,
    CeleryConfig,
    ConfigError,
    ConversationConfig,
    HttpConfig,
    WorkflowConfig,
    parse_task_config,
)
from endpoints import resolve, without_key
from logger import run_prefix
from providers import registry
from providers.base import CallContext
from providers.call import call as call_provider
from providers.http import client_for
from store import chains, endpoints, last_runs, runs
from store.database import autocommit, is_refused
from store.runs import Claim
from worker.claims import claim, note_cancel
from worker.run_context import filled_in, judge_of
from worker.runtime import LEDGER_PAUSE, CallCancelled, WorkerRuntime, runtime
from worker.time_limits import time_limits

logger = logging.getLogger("agent_tasks")

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[Any, Any]

T = TypeVar("T")
C = TypeVar("C", AgentConfig, WorkflowConfig, HttpConfig, CeleryConfig)

HANDLE_SECONDS = 5.0  # while the ledger is away the answer is not held up longer


class RunFailed(Exception):
    """The run ended as FAILURE; the ledger holds the whole story. Tells Celery and Flower so."""


@shared_task(bind=True, name=RUN_TASKS["agent"], throws=(RunFailed,))
def execute_agent_periodic_task(self: "AnyTask", run_id: str) -> dict[str, Any]:
    """Carry one run of an agent row."""
    return _carry(self, run_id, call_agent_task)


@shared_task(bind=True, name=RUN_TASKS["workflow"], throws=(RunFailed,))
def execute_workflow_periodic_task(self: "AnyTask", run_id: str) -> dict[str, Any]:
    """Carry one run of a workflow row."""
    return _carry(self, run_id, call_workflow_task)


@shared_task(bind=True, name=RUN_TASKS["http"], throws=(RunFailed,))
def execute_http_periodic_task(self: "AnyTask", run_id: str) -> dict[str, Any]:
    """Carry one run of an http row."""
    return _carry(self, run_id, call_http_task)


@shared_task(bind=True, name=RUN_TASKS["celery"], throws=(RunFailed,))
def execute_celery_periodic_task(self: "AnyTask", run_id: str) -> dict[str, Any]:
    """Carry one run of a row that names a Celery task."""
    return _carry(self, run_id, lambda worker, run: call_celery_task(worker, self.app, run))


def _carry(task: "AnyTask", run_id: str, act: Callable[[WorkerRuntime, Claim], AgentResult]) -> dict[str, Any]:
    """Carry one run to its next state. Delivered twice, the second copy does nothing."""
    worker = runtime(task.request.hostname or "")
    if worker.draining.is_set():
        raise Reject("this worker is stopping", requeue=True)
    if not worker.enter(run_id):
        raise Ignore
    run: Claim | None = None
    outcome: AgentResult | AgentError | None = None
    try:
        run = claim(worker, task.app, run_id)
        if run is None:
            raise Ignore
        try:
            outcome = _outcome(worker, run, act)
            return _report(run, worker.write(run, outcome), outcome)
        except CallCancelled as cut:
            logger.warning("%s cut during attempt %d: %s", run_prefix(run.id, run.task_name), run.attempt, cut)
            raise Ignore from None
    finally:  # not before: nothing may stand between an answer that is paid for and its row
        worker.admission.leave(task.app, run_id, run.config if run is not None else "", outcome)
        worker.leave(run_id)


def _outcome(
    worker: WorkerRuntime, run: Claim, act: Callable[[WorkerRuntime, Claim], AgentResult]
) -> AgentResult | AgentError:
    """Do what a run is for. Every ending is an outcome, but a cut one: raises CallCancelled."""
    try:
        expect = parse_task_config(run.config).expect
        judge = None if expect is None else judge_of(expect, run, partial(_on_ledger, worker))
        answer = act(worker, run)
        return answer if judge is None else judge(answer)
    except CallCancelled:
        _on_ledger(worker, lambda c: note_cancel(c, run))
        raise
    except AgentError as error:
        return error
    except ConfigError as error:
        return AgentError(ErrorKind.CONFIG, f"this version cannot read what the run is to do: {error}")
    except Exception as error:  # the edge of a run: a defect of ours or of a task ends the run, not the worker
        logger.exception("%s failed unexpectedly", run_prefix(run.id, run.task_name))
        return AgentError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")


def _on_ledger(worker: WorkerRuntime, act: Callable[[Connection], T]) -> T:
    """Read or write the ledger for a claimed run; wait while it is away. Raises CallCancelled if this process ends."""
    pause = 0.0  # the first failure may be a stale connection only
    while True:
        try:
            with autocommit(worker.engine) as connection:
                return act(connection)
        except SQLAlchemyError as error:
            if is_refused(error):
                raise
            logger.error("a run waits for the ledger: %s", getattr(error, "orig", error))
            if not worker.wait_for_ledger(pause):
                raise CallCancelled("this worker ends, and the ledger is away") from error
            pause = LEDGER_PAUSE


def _report(run: Claim, state: State | None, outcome: AgentResult | AgentError) -> dict[str, Any]:
    """Tell Celery what the ledger says, so that Flower does not lie."""
    text = outcome.message if isinstance(outcome, AgentError) else outcome.text[:200]
    if state is None:
        raise Ignore
    if state is State.RETRY:
        raise Retry(text)
    if state is State.FAILURE:
        raise RunFailed(text)
    return {"run_id": run.id, "state": state.value, "answer": text}


def call_agent_task(worker: WorkerRuntime, run: Claim) -> AgentResult:
    """Send a run's message to its agent and return the answer. Raises AgentError or CallCancelled."""
    config = filled_in(_config_of(run, AgentConfig), run, partial(_on_ledger, worker), worker.settings.timezone)
    return _call(worker, run, config, request_of(config, run.id, conversation_id=_conversation(worker, run, config)))


def call_workflow_task(worker: WorkerRuntime, run: Claim) -> AgentResult:
    """Start a run's workflow with its inputs and return the outputs. Raises AgentError or CallCancelled."""
    config = filled_in(_config_of(run, WorkflowConfig), run, partial(_on_ledger, worker), worker.settings.timezone)
    return _call(worker, run, config, request_of(config, run.id, conversation_id=_conversation(worker, run, config)))


def call_http_task(worker: WorkerRuntime, run: Claim) -> AgentResult:
    """Make a run's HTTP request and return the answer. Raises AgentError or CallCancelled."""
    config = _config_of(run, HttpConfig)
    return _call(worker, run, config, request_of(config, run.id))


def call_celery_task(worker: WorkerRuntime, app: Any, run: Claim) -> AgentResult:
    """Run a registered Celery task in this process and return its result. Raises AgentError or CallCancelled.

    Its `self.request` has the run's id, so that `self.update_state` shows in the ledger and in AsyncResult.
    """
    config = _config_of(run, CeleryConfig)
    named = app.tasks.get(config.task)
    if named is None:
        hint = "add its module to TASK_MODULES, or its pack to TASK_PACKS, and restart the worker"
        raise AgentError(ErrorKind.CONFIG, f"Celery task {config.task!r} is not registered here; {hint}")
    if config.task in RUN_TASKS.values():
        raise AgentError(ErrorKind.CONFIG, f"{config.task} carries runs and cannot be one")
    act = named if task_has_custom(named, "__call__") else named.run
    kwargs = {**config.kwargs, **_passed_on(worker, run, config)}
    _task_stack.push(named)  # as Task.__call__ does, whose request has no id: `celery.current_task` is the named one
    named.push_request(id=run.id, args=config.args, kwargs=kwargs, retries=run.attempt - 1)
    try:
        with time_limits(config.task, named.soft_time_limit, config.timeout):
            value = act(*config.args, **kwargs)
    except SoftTimeLimitExceeded as error:
        raise AgentError(ErrorKind.TIMEOUT, f"{config.task} was stopped at its soft limit: {error}") from error
    finally:
        named.pop_request()
        _task_stack.pop()
    if isinstance(value, AgentResult):  # it asked an agent: with tokens and cost
        return value
    return AgentResult("succeeded", "" if value is None else str(value), data=value)


def _passed_on(worker: WorkerRuntime, run: Claim, config: CeleryConfig) -> dict[str, Any]:
    """Give a Celery task what the run before it came to, where its row asks for that; None where there is none."""
    if config.after is None or config.after.pass_as is None:
        return {}
    upstream = _on_ledger(worker, lambda c: chains.upstream_of(c, run.id))
    return {config.after.pass_as: None if upstream is None else dict(upstream._mapping)}


def _config_of(run: Claim, expected: type[C]) -> C:
    """Read what a run is to do. Raises AgentError where its message named the wrong task, ConfigError if unreadable."""
    config = parse_task_config(run.config)
    if not isinstance(config, expected):
        raise AgentError(ErrorKind.CONFIG, f"a run of task_type {config.task_type} came to the task of another type")
    return config


def _call(worker: WorkerRuntime, run: Claim, config: Any, request: AgentRequest) -> AgentResult:
    worker.admission.may_call(run.id)
    known = _on_ledger(worker, lambda c: endpoints.named(c, config.endpoint)) if config.endpoint is not None else {}
    endpoint = resolve(config, known, worker.settings)
    provider = registry.get(endpoint.provider)

    async def keep_handle(handle: RemoteHandle) -> None:
        """Store what finds the remote run again, off the loop; wait for it only where the next attempt needs it."""
        worker.has_handle(run, handle)
        storing = asyncio.get_running_loop().run_in_executor(None, _save_handle, worker, run, handle.as_text())
        if handle.resumable:
            await asyncio.wait([storing], timeout=HANDLE_SECONDS)

    async def attempt() -> AgentResult:
        async with client_for(endpoint, allowed_networks=worker.settings.endpoint_allowed_networks) as client:
            context = CallContext(
                client,
                endpoint,
                worker.settings.result_max_bytes,
                on_handle=keep_handle,
                stop_when_cut=lambda: worker.stops_remote(run.id),
                on_text=heard,
                allowed_hosts=worker.settings.http_allowed_hosts,
            )
            return await call_provider(provider, context, request, begun)

    begun = resumable_handle(run.remote_handle)
    verb = "calls" if begun is None else "goes on with"
    logger.info(
        "%s attempt %d %s %s at %s", run_prefix(run.id, run.task_name), run.attempt, verb, request.kind, endpoint.name
    )
    heard = worker.live.begin(run.id, run.attempt, endpoint.api_key)
    try:
        answer = without_key(worker.call(run.id, attempt(), request.timeout), endpoint.api_key)
    finally:
        worker.live.end(heard)
    return worker.admission.priced(endpoint.name, answer)


def _save_handle(worker: WorkerRuntime, run: Claim, text: str) -> None:
    try:
        _on_ledger(worker, lambda c: runs.save_handle(c, run.id, run.worker, run.attempt, text))
    except (SQLAlchemyError, CallCancelled) as error:
        logger.error("%s its remote handle is not stored: %s", run_prefix(run.id, run.task_name), error)


def _conversation(worker: WorkerRuntime, run: Claim, config: ConversationConfig) -> str | None:
    """Name the conversation to go on with; None for a new one."""
    if config.conversation == "new":
        return None
    if config.conversation != "sticky":
        return config.conversation
    if run.periodic_task_id is None:
        return None
    task_id = run.periodic_task_id
    return _on_ledger(worker, lambda c: last_runs.last_conversation(c, task_id))
