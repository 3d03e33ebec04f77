"""How the tests of Dify, Coze and FastGPT call their adapters: beginning a run, going on with one, stopping one."""

import asyncio
from collections.abc import Callable
from typing import Any

from core.outcome import AgentError, AgentResult, RemoteHandle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, MAX_BYTES, Case, attempt, endpoint_of
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import Answer

Script = Callable[[Received], Answer | None]


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def outcome_of(
    case: Case, script: Script | None = None, fault: str = "ok", **changes: Any
) -> tuple[AgentResult | AgentError, FakeAgent]:
    """What an attempt ends in, where the fake answers as the script says."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(fault, script=script) as fake:
            try:
                return await attempt(case, fake.url, **changes), fake
            except AgentError as error:
                return error, fake

    return asyncio.run(scene())


def resumed(
    case: Case, handle: RemoteHandle, script: Script | None = None, fault: str = "ok", **changes: Any
) -> tuple[AgentResult | AgentError, FakeAgent]:
    """What an attempt ends in that goes on with the run of an earlier one."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(fault, script=script) as fake:
            endpoint = endpoint_of(case, fake.url)
            async with client_for(endpoint) as client:
                context, request = CallContext(client, endpoint, MAX_BYTES), case.request(fake.url, **changes)
                try:
                    return await call(registry.get(case.provider), context, request, handle), fake
                except AgentError as error:
                    return error, fake

    return asyncio.run(scene())


def cancelled(case: Case, handle: RemoteHandle, answer: Answer | None = None) -> tuple[bool, FakeAgent]:
    """What the adapter says of a cancel that is answered so, or as usual."""

    async def scene() -> tuple[bool, FakeAgent]:
        async with FakeAgent(scripted=answer) as fake:
            endpoint = endpoint_of(case, fake.url)
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, MAX_BYTES)
                return await registry.get(case.provider).cancel(context, handle), fake

    return asyncio.run(scene())


def error_of(outcome: AgentResult | AgentError) -> AgentError:
    assert isinstance(outcome, AgentError), outcome
    return outcome


def result_of(outcome: AgentResult | AgentError) -> AgentResult:
    assert isinstance(outcome, AgentResult), outcome
    return outcome


def answered(text: str, status: int = 200) -> Answer:
    return Answer("application/json", [text.encode()], status=status)
