"""The adapters of model servers against llama.cpp with a real model, SmolLM2-135M."""

import asyncio
import uuid
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind
from tests.providers.calls import attempt, failure
from tests.providers.real_servers import LlamaServer

SHORT: dict[str, dict[str, Any]] = {
    "openai_chat": {"max_tokens": 6, "temperature": 0},
    "openai_responses": {"max_output_tokens": 6, "temperature": 0, "background": False},
    "anthropic": {"max_tokens": 6, "temperature": 0},
}
every_dialect = pytest.mark.parametrize("provider", SHORT)


def ask(provider: str, server: LlamaServer, message: str, **options: Any) -> AgentResult:
    return asyncio.run(
        attempt(
            provider,
            server.url,
            message,
            run_id=str(uuid.uuid4()),
            target="smollm2",
            timeout=240.0,
            options={**SHORT[provider], **options},
        )
    )


def ask_in_vain(provider: str, server: LlamaServer, message: str, **fields: Any) -> AgentError:
    return asyncio.run(
        failure(
            provider,
            server.url,
            message,
            **{
                "run_id": str(uuid.uuid4()),
                "target": "smollm2",
                "timeout": 240.0,
                "options": SHORT[provider],
                **fields,
            },
        )
    )


@every_dialect
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_model_answers_with_words_and_counted_tokens(provider: str, stream: bool, llama: LlamaServer) -> None:
    result = ask(provider, llama, "Say hello.", stream=stream)

    assert result.status == "succeeded"
    assert result.text.strip()
    assert result.usage.input_tokens is not None
    assert result.usage.input_tokens > 5
    assert result.usage.output_tokens is not None
    assert 0 < result.usage.output_tokens <= 6


@every_dialect
def test_a_question_beyond_the_models_context_is_invalid(provider: str, llama: LlamaServer) -> None:
    error = ask_in_vain(provider, llama, "word " * 5000)

    assert error.kind is ErrorKind.INVALID
    assert not error.kind.retryable


@every_dialect
def test_the_deadline_holds_while_a_model_writes_and_stops_it(provider: str, llama: LlamaServer) -> None:
    limit = "max_output_tokens" if provider == "openai_responses" else "max_tokens"
    options = {**SHORT[provider], limit: 1500}
    error = ask_in_vain(provider, llama, "Tell a very long story of a river.", timeout=1.0, options=options)

    assert error.kind is ErrorKind.TIMEOUT
    assert ask(provider, llama, "Say hello.").text.strip()  # the slot is free again
