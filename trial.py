"""One real call with what a task would send, made now for whoever asks: no run, no row, nothing tried again.

It goes the way of a run: the same adapter, key, guard against addresses, templates and checks of `expect`. Holds and
budgets that would stop a run stop it too, and what it costs counts towards those budgets. It is outside the limits of
its endpoint, which workers count in Redis.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine

from config import Settings
from core.budget import AtLimit, Budget, Verdict, judge, priced, prices_of
from core.calls import request_of
from core.holds import holding
from core.outcome import AgentError, AgentRequest, AgentResult
from core.task_config import AgentConfig, HttpConfig, WorkflowConfig
from endpoints import ask, name_of, resolve, without_key
from store import budgets, endpoints, holds
from store.database import autocommit, read_clock
from store.runs import Claim, new_run_id
from worker.run_context import filled_in, judge_of

MOST_SECONDS: Final = 30.0  # somebody sits before a page and waits
STICKY: Final = "sticky"

T = TypeVar("T")
Calling = AgentConfig | WorkflowConfig | HttpConfig


class NotNow(Exception):
    """A hold or a budget is against the call; the message names it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be tried."""

    config: Calling
    text: str
    """The same as a row holds it."""
    name: str
    tags: str | None
    task_id: int | None
    """Of the task that it belongs to, where there is one already."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it: an answer, or why there is none; one that fails `expect` has both. Holds no key."""

    seconds: float
    answer: AgentResult | None
    error: AgentError | None


def budgets_of(connection: Connection, draft: Draft) -> list[Budget]:
    """Read the budgets that the call counts towards. Raises NotNow where a run would not start now."""
    if hold := holding(holds.in_force(connection), draft.config.queue, draft.config, lambda: draft.tags):
        raise NotNow(hold.told)
    now, name = read_clock(connection), name_of(draft.config)
    concerned = [
        budget
        for budget in budgets.every(connection)
        if budget.endpoint == name or (draft.task_id is not None and budget.periodic_task_id == draft.task_id)
    ]
    for budget in concerned:
        verdict = judge(budget, budgets.look(connection, budget, now))
        if verdict is not Verdict.START and budget.at_limit != AtLimit.ALERT:
            is_over = verdict is Verdict.USED_UP
            raise NotNow(f"{budget} is used up" if is_over else f"{budget}: the runs that go on may use it up")
    return concerned


def call(draft: Draft, engine: Engine, settings: Settings) -> Tried:
    """Make the call. What fails is told, not raised; takes MOST_SECONDS and some. Holds no connection meanwhile."""
    began = monotonic()
    try:
        answer = _answer(draft, engine, settings)
    except AgentError as error:
        return Tried(monotonic() - began, error.answer, error)
    return Tried(monotonic() - began, answer, None)


def _answer(draft: Draft, engine: Engine, settings: Settings) -> AgentResult:
    def on_ledger(act: Callable[[Connection], T]) -> T:
        with autocommit(engine) as connection:
            return act(connection)

    run = Claim(new_run_id(), 1, "", draft.task_id, draft.name, draft.text, on_ledger(read_clock), None)
    config: Calling
    match draft.config:
        case AgentConfig() as agent:
            config = filled_in(agent, run, on_ledger, settings.timezone)
        case WorkflowConfig() as workflow:
            config = filled_in(workflow, run, on_ledger, settings.timezone)
        case HttpConfig() as config:
            pass
    check = None if config.expect is None else judge_of(config.expect, run, on_ledger)
    known = on_ledger(lambda connection: endpoints.named(connection, config.endpoint))
    endpoint = resolve(config, known, settings)
    answer = asyncio.run(ask(endpoint, _request(config, run.id), settings))
    answer = without_key(answer, endpoint.api_key)
    if config.endpoint is not None:
        answer = replace(answer, usage=priced(answer.usage, prices_of(known[config.endpoint])))
    judged = answer if check is None else check(answer)
    if isinstance(judged, AgentError):
        raise judged
    return judged


def _request(config: Calling, run_id: str) -> AgentRequest:
    """A conversation that the task's runs go on with is left alone: a trial must leave no word in it."""
    chosen = None if isinstance(config, HttpConfig) else config.conversation
    conversation = None if chosen in ("new", STICKY) else chosen
    return request_of(config, run_id, conversation_id=conversation, timeout=min(config.timeout, MOST_SECONDS))
