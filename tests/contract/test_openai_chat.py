"""What only OpenAI-compatible servers do."""

import asyncio
import time
from dataclasses import replace

import pytest

from core.outcome import ErrorKind
from providers.content import json_text
from tests.contract.cases import CASES, answer_to, attempt, failure_of
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, Answer, sse
from tests.contract.test_agent_platform import answer_with, failure_with, json_of, stream_of

STREAMING, BLOCKING = CASES[4:6]
DONE = sse("", "[DONE]")


def chunk(delta: object, reason: str | None = None) -> bytes:
    return sse("", {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def test_the_request_is_a_chat_completion_with_usage() -> None:
    _, fake = answer_to(STREAMING, options={"system": "简短", "temperature": 0, "max_tokens": 50})

    (request,) = fake.requests
    assert request.path == "/v1/chat/completions"
    assert request.json == {
        "model": "daily-report",
        "messages": [{"role": "system", "content": "简短"}, {"role": "user", "content": "写日报 ✅"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "ops",
        "temperature": 0,
        "max_tokens": 50,
    }


@pytest.mark.parametrize(
    ("base", "path"),
    [("", "/v1"), ("/", "/v1"), ("/v1", "/v1"), ("/v1/", "/v1"), ("/paas/v4", "/paas/v4"), ("/gw", "/gw/v1")],
)
def test_the_version_in_the_base_url_is_kept_or_added(base: str, path: str) -> None:
    _, fake = answer_to(replace(STREAMING, base=base))

    assert fake.requests[0].path == f"{path}/chat/completions"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, "did you mean 'temperature'?"),
        ({"temperature": "hot"}, "must be a number"),
        ({"temperature": True}, "must be a number"),
        ({"max_tokens": 1.5}, "must be a whole number"),
        ({"stream": "no"}, "must be true or false"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend_and_nothing_is_sent(options: dict[str, object], words: str) -> None:
    error = failure_of(STREAMING, "ok", options=options)

    assert error.kind is ErrorKind.CONFIG
    assert words in error.message
    assert error.http_status is None


def test_a_workflow_is_refused_before_anything_is_sent() -> None:
    error = failure_of(STREAMING, "ok", kind="workflow")

    assert error.kind is ErrorKind.CONFIG
    assert "runs no workflow tasks, only agent" in error.message


def test_a_conversation_is_refused_where_none_is_kept() -> None:
    assert failure_of(STREAMING, "ok", conversation_id="c-1").kind is ErrorKind.CONFIG


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "server_error"}, ErrorKind.UNAVAILABLE),
        ({"code": 429, "type": "rate_limit_error"}, ErrorKind.THROTTLED),
        ({"code": "429"}, ErrorKind.THROTTLED),
        ({"code": "insufficient_quota"}, ErrorKind.QUOTA),
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, ErrorKind.INVALID),
        ({"code": "model_not_found", "type": "invalid_request_error"}, ErrorKind.NOT_FOUND),
        ({}, ErrorKind.REMOTE_FAILED),
    ],
)
def test_an_error_in_mid_stream_is_a_failure_of_its_own_kind(error: dict[str, object], kind: ErrorKind) -> None:
    body = {"error": {"message": "said", **error}}
    found = failure_with(STREAMING, stream_of(chunk({"content": "half"}), sse("", body)))

    assert found.kind is kind
    assert "said" in found.message


def test_text_without_a_finish_reason_is_no_answer_even_after_done() -> None:
    assert failure_with(STREAMING, stream_of(chunk({"content": "half"}), DONE)).kind is ErrorKind.OUTCOME_UNKNOWN


def test_an_answer_is_whole_at_its_finish_reason_whatever_breaks_afterwards() -> None:
    frames = [chunk({"content": ANSWER}), chunk({}, "stop")]

    assert answer_with(STREAMING, stream_of(*frames)).text == ANSWER
    assert answer_with(STREAMING, stream_of(*frames, b"data: {")).text == ANSWER


def test_a_server_that_never_hangs_up_does_not_spoil_a_finished_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.openai_chat.AFTER_FINISH_SECONDS", 0.2)

    async def scene() -> None:
        answer = stream_of(chunk({"content": ANSWER}), chunk({}, "stop"))
        async with FakeAgent("hang_after", scripted=answer) as fake:
            began = time.monotonic()
            result = await attempt(STREAMING, fake.url)
            assert (result.text, time.monotonic() - began < 5) == (ANSWER, True)

    asyncio.run(scene())


def test_a_refusal_and_a_filtered_answer_are_failures_nobody_repeats() -> None:
    refused = failure_with(STREAMING, stream_of(chunk({"refusal": "我不能"}), chunk({}, "stop"), DONE))
    filtered = failure_with(STREAMING, stream_of(chunk({"content": "ha"}), chunk({}, "content_filter"), DONE))

    assert (refused.kind, filtered.kind) == (ErrorKind.INVALID, ErrorKind.INVALID)
    assert "我不能" in refused.message
    assert not refused.kind.retryable


def test_an_answer_cut_by_max_tokens_is_kept_and_marked() -> None:
    result = answer_with(STREAMING, stream_of(chunk({"content": "ha"}), chunk({}, "length"), DONE))

    assert (result.status, result.text, result.data) == ("succeeded", "ha", {"finish_reason": "length"})


def test_max_tokens_spent_on_reasoning_is_an_empty_answer_that_says_so() -> None:
    error = failure_with(STREAMING, stream_of(chunk({"reasoning_content": "hm"}), chunk({}, "length"), DONE))

    assert error.kind is ErrorKind.EMPTY
    assert "max_tokens" in error.message


@pytest.mark.parametrize("text", ["<think>hm\nhm</think>\n\nyes", "hm</think>yes"])
def test_reasoning_is_stripped_only_when_asked(text: str) -> None:
    frames = stream_of(chunk({"content": text}), chunk({}, "stop"), DONE)

    assert answer_with(STREAMING, frames).text == text
    assert answer_with(STREAMING, frames, options={"strip_reasoning": True}).text == "yes"


def test_an_emoji_in_two_deltas_is_whole_again() -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"\\ud83d", b"\\ude00")]

    assert answer_with(STREAMING, stream_of(*halves, chunk({}, "stop"))).text == "😀"


def test_a_server_that_cannot_stream_may_answer_at_once() -> None:
    body = {"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]}

    assert answer_with(STREAMING, json_of(body)).text == ANSWER


def test_a_long_text_in_small_deltas_meets_the_limit_too() -> None:
    deltas = [chunk({"content": "x" * 500})] * 40
    error = failure_with(STREAMING, stream_of(*deltas, chunk({}, "stop")), max_bytes=16384)

    assert error.kind is ErrorKind.PROTOCOL


def test_a_completion_without_choices_is_none() -> None:
    assert failure_with(BLOCKING, json_of({"id": "x"})).kind is ErrorKind.PROTOCOL
    assert failure_with(BLOCKING, json_of({"choices": []})).kind is ErrorKind.EMPTY
    body = Answer("application/json", [json_text({"error": "model 'x' not found"}).encode()])
    assert "model 'x' not found" in failure_with(BLOCKING, body).message
