"""The adapters of model servers against llmock, a server that fails on demand: no fault is ever taken for an answer."""

import asyncio
import time
import uuid
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind
from tests.providers.calls import attempt, failure
from tests.providers.real_servers import LLMock

OPTIONS: dict[str, dict[str, Any]] = {
    "openai_chat": {},
    "openai_responses": {"background": False},
    "anthropic": {},
}
MODELS = {"openai_chat": "gpt-4o", "openai_responses": "gpt-4o", "anthropic": "claude-sonnet-4-5"}
PLACES = {"openai_chat": "", "openai_responses": "", "anthropic": "/anthropic"}
every_dialect = pytest.mark.parametrize("provider", OPTIONS)


def fields(provider: str, **more: Any) -> dict[str, Any]:
    return {"run_id": str(uuid.uuid4()), "target": MODELS[provider], "options": OPTIONS[provider], **more}


def answer(provider: str, server: LLMock, **more: Any) -> AgentResult:
    return asyncio.run(attempt(provider, server.url + PLACES[provider], "写日报", **fields(provider, **more)))


def error_of(provider: str, server: LLMock, **more: Any) -> AgentError:
    return asyncio.run(failure(provider, server.url + PLACES[provider], "写日报", **fields(provider, **more)))


@every_dialect
def test_without_a_fault_there_is_an_answer(provider: str, llmock: LLMock) -> None:
    llmock.behave({"type": "reply", "text": "日报已生成 ✅"})

    result = answer(provider, llmock)

    assert (result.status, result.text) == ("succeeded", "日报已生成 ✅")
    assert result.usage.output_tokens


@every_dialect
def test_a_throttled_call_says_how_long_to_wait(provider: str, llmock: LLMock) -> None:
    llmock.behave({"type": "fail", "status": 429, "retry_after": 7, "times": None})

    error = error_of(provider, llmock)

    assert (error.kind, error.retry_after) == (ErrorKind.THROTTLED, 7)


@every_dialect
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.INVALID),
        (401, ErrorKind.AUTH),
        (403, ErrorKind.AUTH),
        (404, ErrorKind.NOT_FOUND),
        (500, ErrorKind.UNAVAILABLE),
        (503, ErrorKind.UNAVAILABLE),
    ],
)
def test_a_refusal_keeps_its_kind(provider: str, status: int, kind: ErrorKind, llmock: LLMock) -> None:
    llmock.behave({"type": "fail", "status": status, "times": None})

    says_overloaded = (provider, status) == ("anthropic", 503)
    assert error_of(provider, llmock).kind is (ErrorKind.THROTTLED if says_overloaded else kind)


@every_dialect
@pytest.mark.parametrize("fault", ["truncate", "disconnect"])
def test_a_stream_that_breaks_is_no_answer(provider: str, fault: str, llmock: LLMock) -> None:
    llmock.behave({"type": "stream_fault", "kind": fault, "after_chunks": 1, "times": None})

    assert error_of(provider, llmock).kind is ErrorKind.OUTCOME_UNKNOWN


@every_dialect
def test_a_corrupted_chunk_is_never_skipped(provider: str, llmock: LLMock) -> None:
    llmock.behave({"type": "stream_fault", "kind": "malformed", "after_chunks": 1, "times": None})

    assert error_of(provider, llmock).kind is ErrorKind.PROTOCOL


@every_dialect
def test_a_stream_that_stalls_ends_at_the_deadline_or_at_the_silence_that_the_task_bears(
    provider: str, llmock: LLMock
) -> None:
    llmock.behave({"type": "stream_fault", "kind": "stall", "stall_seconds": 60, "after_chunks": 1, "times": None})

    began = time.monotonic()
    assert error_of(provider, llmock, timeout=2.0).kind is ErrorKind.TIMEOUT
    silent = error_of(provider, llmock, options={**OPTIONS[provider], "idle_timeout": 1.0})
    assert silent.kind is ErrorKind.OUTCOME_UNKNOWN
    assert time.monotonic() - began < 30
