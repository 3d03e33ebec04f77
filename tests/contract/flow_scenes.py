"""What the tests of n8n, Flowise and NexusAI share: one call against a server that answers as scripted."""

import asyncio
from collections.abc import Callable
from typing import Any

from core.outcome import AgentError, AgentResult, RemoteHandle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import KEY, MAX_BYTES, Case, attempt, endpoint_of
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import Answer

Script = Callable[[Received], Answer | None]


def as_usual(received: Received) -> Answer | None:
    return None


def outcome_of(case: Case, script: Script, **changes: Any) -> tuple[AgentResult | AgentError, FakeAgent]:
    """The outcome of a call; where the script says None, the server answers as the dialect would."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(script=script) as fake:
            try:
                return await attempt(case, fake.url, **changes), fake
            except AgentError as error:
                return error, fake

    return asyncio.run(scene())


def resumed(
    case: Case, handle: RemoteHandle, script: Script = as_usual, key: str = KEY
) -> tuple[AgentResult | AgentError, FakeAgent]:
    """The outcome of an attempt that goes on with the run of an earlier one."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(script=script) as fake:
            endpoint = endpoint_of(case, fake.url, key=key)
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, MAX_BYTES)
                try:
                    return await call(registry.get(case.provider), context, case.request(fake.url), handle), fake
                except AgentError as error:
                    return error, fake

    return asyncio.run(scene())


def cancelled(case: Case, handle: RemoteHandle, script: Script = as_usual) -> tuple[bool, FakeAgent]:
    """What the platform's cancel says of a run, and what it was asked."""

    async def scene() -> tuple[bool, FakeAgent]:
        async with FakeAgent(script=script) as fake:
            endpoint = endpoint_of(case, fake.url)
            async with client_for(endpoint) as client:
                return await registry.get(case.provider).cancel(CallContext(client, endpoint, MAX_BYTES), handle), fake

    return asyncio.run(scene())
