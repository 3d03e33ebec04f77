"""Every way an adapter is called: the rows of the conformance matrix."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from tests.contract.dialects_a2a import OLD_QUESTION, QUESTION
from tests.contract.dialects_coze import ACTION as COZE_ACTION
from tests.contract.dialects_flows import FLOWISE_ACTION, NEXUS_ACTION, WAITS_AT
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import INTERRUPT

RUN_ID = "0193e5a2-7b1c-7def-8a01-23456789abcd"
KEY = "sk-live-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
MAX_BYTES = 64 * 1024
IN_TIME = 15.0  # a limit that only a hanging test meets
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
    key_header: tuple[str, str] = ("authorization", f"Bearer {KEY}")
    """The one header that shows the endpoint's key, and how."""
    refusals: Mapping[int, ErrorKind] = field(default_factory=dict)
    """Statuses that the platform's own rule judges, where the usual table would say something else."""
    asks: Any = field(default_factory=lambda: INTERRUPT)
    """What a result holds of a question for a human."""
    handle: Literal["never", "at first", "in the head", "in an answer"] = "never"
    """When the remote run gets a name: before its answer begins, with the answer's head, or in an answer of its own."""
    resumable: bool = False
    target: str = "daily-report"
    bare_429: ErrorKind = ErrorKind.THROTTLED
    """What a 429 means that asks for no wait."""

    def request(self, url: str, **changes: Any) -> AgentRequest:
        fields: dict[str, Any] = {
            "kind": self.kind,
            "target": f"{url}/echo" if self.kind == "http" else self.target,
            "run_id": RUN_ID,
            "timeout": IN_TIME,
            "message": "写日报 ✅",
            "inputs": {"day": "今天"},
            "body": {"day": "今天"},
            "user": "ops",
            "options": self.options,
        }
        return AgentRequest(**{**fields, **changes})


_TOOL_CALL = {"tool_calls": [{"name": "approve", "arguments": '{"a": 1}'}]}
_PLAIN = {"path": "/plain", "error_path": "error", "result_path": "answer"}

_FOREGROUND = {"background": False}
_ANTHROPIC: dict[str, Any] = {"key_header": ("x-api-key", KEY), "bare_429": ErrorKind.QUOTA}
_A2A: dict[str, Any] = {"counts_tokens": False, "handle": "in an answer", "resumable": True}
_LANGGRAPH: dict[str, Any] = {
    "streams": True,
    "key_header": ("x-api-key", KEY),
    "handle": "in the head",
    "resumable": True,
}
_ANY_500 = {500: ErrorKind.REMOTE_FAILED}
_N8N: dict[str, Any] = {
    "key_header": ("x-n8n-api-key", KEY),
    "counts_tokens": False,
    "refusals": _ANY_500,
    "options": {"result_path": "output"},
}
_FLOWISE: dict[str, Any] = {"asks": FLOWISE_ACTION, "handle": "at first", "refusals": _ANY_500}
_NEXUS: dict[str, Any] = {"refusals": {402: ErrorKind.REMOTE_FAILED}}

CASES = [
    Case("platform-streaming", "agent_platform", "agent", "/api", streams=True),
    Case("platform-blocking", "agent_platform", "agent", "/api", {"mode": "blocking"}),
    Case("platform-legacy", "agent_platform", "agent", "/api", {"dialect": "legacy"}, streams=True, handle="at first"),
    Case("platform-workflow", "agent_platform", "workflow", "/api"),
    Case("openai-streaming", "openai_chat", "agent", streams=True, asks=_TOOL_CALL),
    Case("openai-blocking", "openai_chat", "agent", "/v1", {"stream": False}, asks=_TOOL_CALL),
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
    Case("dify-chat", "dify", "agent", "/v1", streams=True),
    Case("dify-completion", "dify", "agent", options={"mode": "completion"}, streams=True),
    Case("dify-workflow", "dify", "workflow", "/v1", streams=True, counts_tokens=False),
    Case("coze-streaming", "coze", "agent", streams=True, asks=COZE_ACTION),
    Case("coze-polling", "coze", "agent", options={"stream": False}, asks=COZE_ACTION),
    Case("coze-workflow", "coze", "workflow", "/coze", asks={"interrupt_data": INTERRUPT}),
    Case("coze-workflow-streaming", "coze", "workflow", options={"stream": True}, streams=True, asks=INTERRUPT[0]),
    Case(
        "coze-workflow-async",
        "coze",
        "workflow",
        "/coze",
        {"is_async": True},
        asks_humans=False,
        refusals={404: ErrorKind.OUTCOME_UNKNOWN},
        handle="at first",
        resumable=True,
    ),
    Case("fastgpt-streaming", "fastgpt", "agent", "/api", streams=True),
    Case("fastgpt-blocking", "fastgpt", "agent", "/api/v1", {"stream": False}),
    Case("fastgpt-v2", "fastgpt", "agent", options={"version": "v2", "app_id": "a-1"}, streams=True, handle="at first"),
    Case("fastgpt-plugin", "fastgpt", "workflow", "/api", streams=True),
    Case("responses-background", "openai_responses", "agent", asks=_TOOL_CALL, handle="in an answer", resumable=True),
    Case("responses-streaming", "openai_responses", "agent", "/v1", _FOREGROUND, streams=True, asks=_TOOL_CALL),
    Case("responses-blocking", "openai_responses", "agent", options={**_FOREGROUND, "stream": False}, asks=_TOOL_CALL),
    Case("anthropic-streaming", "anthropic", "agent", streams=True, asks=_TOOL_CALL, **_ANTHROPIC),
    Case("anthropic-blocking", "anthropic", "agent", "/v1", {"stream": False}, asks=_TOOL_CALL, **_ANTHROPIC),
    Case("a2a-1.0", "a2a", "agent", "/a2a", asks=QUESTION, **_A2A),
    Case("a2a-0.3", "a2a", "agent", "/a2a/rpc", {"version": "0.3"}, asks=OLD_QUESTION, **_A2A),
    Case("langgraph-agent", "langgraph", "agent", "/lg", **_LANGGRAPH),
    Case("langgraph-workflow", "langgraph", "workflow", "/lg", **_LANGGRAPH),
    Case("n8n-webhook", "n8n", "agent", "/n8n", asks_humans=False, **_N8N),
    Case("n8n-streaming", "n8n", "agent", "/n8n/webhook-test", streams=True, asks_humans=False, **_N8N),
    Case("n8n-execution", "n8n", "workflow", "/n8n-poll", handle="in an answer", resumable=True, asks=WAITS_AT, **_N8N),
    Case("flowise-streaming", "flowise", "agent", streams=True, **_FLOWISE),
    Case("flowise-blocking", "flowise", "workflow", "/api/v1", {"stream": False}, **_FLOWISE),
    Case("nexusai-agent", "nexusai", "agent", counts_tokens=False, asks_humans=False, **_NEXUS),
    Case("nexusai-app", "nexusai", "workflow", "/v1", counts_tokens=False, asks_humans=False, **_NEXUS),
    Case(
        "nexusai-workflow",
        "nexusai",
        "workflow",
        options={"call": "start_workflow"},
        target="42",
        handle="in an answer",
        resumable=True,
        asks=NEXUS_ACTION,
        **_NEXUS,
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
