"""Every way an adapter is called: the rows of the conformance matrix."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.outcome import AgentError, AgentRequest, AgentResult, RemoteHandle
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from tests.contract.fake_agent import FakeAgent

RUN_ID = "0193e5a2-7b1c-7def-8a01-23456789abcd"
KEY = "sk-live-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
MAX_BYTES = 64 * 1024
IN_TIME = 5.0  # a limit that only a hanging test meets
SHORT = 0.3


@dataclass(frozen=True)
class Case:
    """One adapter in one of its modes."""

    name: str
    provider: str
    kind: Any
    base: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False
    counts_tokens: bool = True
    asks_humans: bool = True

    def request(self, url: str, **changes: Any) -> AgentRequest:
        fields: dict[str, Any] = {
            "kind": self.kind,
            "target": f"{url}/echo" if self.kind == "http" else "daily-report",
            "run_id": RUN_ID,
            "timeout": IN_TIME,
            "message": "写日报 ✅",
            "inputs": {"day": "今天"},
            "body": {"day": "今天"},
            "user": "ops",
            "options": self.options,
        }
        return AgentRequest(**{**fields, **changes})


_PLAIN = {"path": "/plain", "error_path": "error", "result_path": "answer"}

CASES = [
    Case("platform-streaming", "agent_platform", "agent", "/api", streams=True),
    Case("platform-blocking", "agent_platform", "agent", "/api", {"mode": "blocking"}),
    Case("platform-legacy", "agent_platform", "agent", "/api", {"dialect": "legacy"}, streams=True),
    Case("platform-workflow", "agent_platform", "workflow", "/api"),
    Case("openai-streaming", "openai_chat", "agent", streams=True),
    Case("openai-blocking", "openai_chat", "agent", "/v1", {"stream": False}),
    Case("json-agent", "http_json", "agent", options=_PLAIN, counts_tokens=False, asks_humans=False),
    Case("json-workflow", "http_json", "workflow", options=_PLAIN, counts_tokens=False, asks_humans=False),
    Case(
        "http",
        "http_json",
        "http",
        options={"error_path": "error", "result_path": "answer"},
        counts_tokens=False,
        asks_humans=False,
    ),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_asking = pytest.mark.parametrize("case", [case for case in CASES if case.asks_humans], ids=lambda case: case.name)
every_stream = pytest.mark.parametrize("case", [case for case in CASES if case.streams], ids=lambda case: case.name)


def endpoint_of(case: Case, url: str, *, key: str = KEY) -> Endpoint:
    return Endpoint("under-test", case.provider, url + case.base, key)


async def attempt(
    case: Case,
    url: str,
    *,
    key: str = KEY,
    max_bytes: int = MAX_BYTES,
    handles: list[RemoteHandle] | None = None,
    **changes: Any,
) -> AgentResult:
    """Call as a worker does: one client, one context, one attempt."""
    endpoint = endpoint_of(case, url, key=key)
    seen = handles if handles is not None else []

    async def keep(handle: RemoteHandle) -> None:
        seen.append(handle)

    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, max_bytes, keep, ("127.0.0.1",))
        return await call(registry.get(case.provider), context, case.request(url, **changes))


def answer_to(case: Case, fault: str = "ok", **changes: Any) -> tuple[AgentResult, FakeAgent]:
    async def scene() -> tuple[AgentResult, FakeAgent]:
        async with FakeAgent(fault) as fake:
            return await attempt(case, fake.url, **changes), fake

    return asyncio.run(scene())


def failure_of(case: Case, fault: str, **changes: Any) -> AgentError:
    """The error that this fault makes; fails the test where the call succeeds."""

    async def scene() -> AgentError:
        async with FakeAgent(fault) as fake:
            return await raised(attempt(case, fake.url, **changes))

    return asyncio.run(scene())


async def raised(attempted: Awaitable[AgentResult]) -> AgentError:
    try:
        result = await attempted
    except AgentError as error:
        return error
    pytest.fail(f"this call should have failed and gave {result!r}")
