"""What only servers that speak Anthropic's Messages do."""

import asyncio
from typing import Any

import pytest

from core.outcome import ErrorKind
from tests.contract.cases import CASES, KEY, answer_to, attempt, failure_of
from tests.contract.dialects_models import event, text_block, tool_block
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, Answer
from tests.contract.test_agent_platform import answer_with, failure_with, json_of, stream_of

STREAMING, BLOCKING = [case for case in CASES if case.provider == "anthropic"]
START = event(type="message_start", message={"content": [], "usage": {"input_tokens": 3, "output_tokens": 1}})
STOP = event(type="message_stop")


def ended(reason: str, **usage: object) -> list[bytes]:
    return [event(type="message_delta", delta={"stop_reason": reason}, usage=usage), STOP]


def test_the_request_is_a_message_with_the_key_in_its_own_header() -> None:
    _, fake = answer_to(STREAMING, options={"system": "简短", "temperature": 0, "max_tokens": 50, "beta": "b-1"})

    (request,) = fake.requests
    assert request.path == "/v1/messages"
    assert request.json == {
        "model": "daily-report",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "写日报 ✅"}],
        "metadata": {"user_id": "ops"},
        "stream": True,
        "system": "简短",
        "temperature": 0,
    }
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert request.headers["anthropic-beta"] == "b-1"
    assert "authorization" not in request.headers


def test_a_limit_is_always_sent_for_the_protocol_demands_one() -> None:
    _, fake = answer_to(STREAMING)

    assert fake.requests[0].json["max_tokens"] == 4096
    assert "anthropic-beta" not in fake.requests[0].headers


def test_without_a_key_none_is_sent() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            await attempt(STREAMING, fake.url, key="")
            assert "x-api-key" not in fake.requests[0].headers

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_token": 5}, "did you mean 'max_tokens'?"),
        ({"max_tokens": 1.5}, "must be a whole number"),
        ({"thinking": "much"}, "must be an object"),
        ({"stream": "no"}, "must be true or false"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend_and_nothing_is_sent(options: dict[str, object], words: str) -> None:
    error = failure_of(STREAMING, "ok", options=options)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_a_conversation_is_refused_where_none_is_kept() -> None:
    assert failure_of(STREAMING, "ok", conversation_id="c-1").kind is ErrorKind.CONFIG


def test_a_beta_that_no_header_can_carry_is_told_and_nothing_is_sent() -> None:
    error = failure_of(STREAMING, "ok", options={"beta": "a\nb"})

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)


def test_a_429_that_names_no_wait_is_a_spend_limit_and_nobody_repeats_it() -> None:
    error = failure_of(STREAMING, "throttled_bare")

    assert (error.kind, error.kind.retryable) == (ErrorKind.QUOTA, False)
    assert "waiting does not help" in error.message


def test_only_message_stop_makes_an_answer_of_a_stream() -> None:
    frames = [START, *text_block(0, ANSWER), ended("end_turn")[0]]

    assert failure_with(STREAMING, stream_of(*frames)).kind is ErrorKind.OUTCOME_UNKNOWN
    assert answer_with(STREAMING, stream_of(*frames, STOP, b"data: {")).text == ANSWER


@pytest.mark.parametrize(
    ("kind_of_error", "kind"),
    [
        ("overloaded_error", ErrorKind.THROTTLED),
        ("rate_limit_error", ErrorKind.THROTTLED),
        ("api_error", ErrorKind.UNAVAILABLE),
        ("timeout_error", ErrorKind.UNAVAILABLE),
        ("billing_error", ErrorKind.QUOTA),
        ("authentication_error", ErrorKind.AUTH),
        ("permission_error", ErrorKind.AUTH),
        ("not_found_error", ErrorKind.NOT_FOUND),
        ("invalid_request_error", ErrorKind.INVALID),
    ],
)
def test_an_error_in_mid_stream_is_a_failure_of_its_own_kind(kind_of_error: str, kind: ErrorKind) -> None:
    broken = event(type="error", error={"type": kind_of_error, "message": "坏了"})
    error = failure_with(STREAMING, stream_of(START, *text_block(0, "half"), broken))

    assert error.kind is kind
    assert "坏了" in error.message


def test_what_came_from_a_cache_is_input_too() -> None:
    cached = {"input_tokens": 3, "cache_read_input_tokens": 40, "cache_creation_input_tokens": None}
    frames = [START, *text_block(0, ANSWER), *ended("end_turn", output_tokens=9, **cached)]
    usage = answer_with(STREAMING, stream_of(*frames)).usage

    assert (usage.input_tokens, usage.output_tokens) == (43, 9)


def test_unknown_tokens_stay_unknown() -> None:
    body = {"content": [{"type": "text", "text": ANSWER}], "usage": {"cache_read_input_tokens": 5}}
    usage = answer_with(BLOCKING, json_of(body)).usage

    assert (usage.input_tokens, usage.output_tokens) == (None, None)


def test_thinking_is_no_part_of_the_answer() -> None:
    thinking = [
        event(type="content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        event(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}),
        event(type="content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
        event(type="content_block_stop", index=0),
    ]
    frames = [START, *thinking, *text_block(1, ANSWER), event(type="new_kind_of_event"), *ended("end_turn")]

    assert answer_with(STREAMING, stream_of(*frames)).text == ANSWER


def test_an_answer_cut_by_max_tokens_is_kept_and_marked() -> None:
    result = answer_with(STREAMING, stream_of(START, *text_block(0, "ha"), *ended("max_tokens")))
    error = failure_with(STREAMING, stream_of(START, *ended("max_tokens")))

    assert (result.status, result.text, result.data) == ("succeeded", "ha", {"stop_reason": "max_tokens"})
    assert (error.kind, "max_tokens" in error.message) == (ErrorKind.EMPTY, True)


def test_a_refusal_is_a_failure_nobody_repeats() -> None:
    error = failure_with(STREAMING, stream_of(START, *text_block(0, "我不能"), *ended("refusal")))

    assert (error.kind, error.kind.retryable) == (ErrorKind.INVALID, False)
    assert "我不能" in error.message


def test_a_paused_turn_is_no_answer_though_it_has_text() -> None:
    error = failure_with(STREAMING, stream_of(START, *text_block(0, "let me look"), *ended("pause_turn")))

    assert error.kind is ErrorKind.REMOTE_FAILED


def test_a_tool_call_in_pieces_is_whole_beside_its_text() -> None:
    frames = [START, *text_block(0, "I will"), *tool_block(1), *ended("tool_use")]
    result = answer_with(STREAMING, stream_of(*frames))

    assert (result.status, result.text) == ("requires_action", "I will")
    assert result.data == {"tool_calls": [{"name": "approve", "arguments": '{"a": 1}'}]}


@pytest.mark.parametrize("text", ["<think>hm</think>yes", "hm</think>yes"])
def test_reasoning_is_stripped_only_when_asked(text: str) -> None:
    frames = stream_of(START, *text_block(0, text), *ended("end_turn"))

    assert answer_with(STREAMING, frames).text == text
    assert answer_with(STREAMING, frames, options={"strip_reasoning": True}).text == "yes"


def test_an_emoji_in_two_deltas_is_whole_again() -> None:
    raw = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"%s"}}\n\n'
    halves = [(raw % half).encode() for half in ("\\ud83d", "\\ude00")]
    begun = text_block(0, "")[0]

    assert answer_with(STREAMING, stream_of(START, begun, *halves, *ended("end_turn"))).text == "😀"


def test_a_long_text_in_small_deltas_meets_the_limit_too() -> None:
    deltas = [event(type="content_block_delta", index=0, delta={"text": "x" * 500})] * 40
    frames = [START, text_block(0, "")[0], *deltas, *ended("end_turn")]

    assert failure_with(STREAMING, stream_of(*frames), max_bytes=16384).kind is ErrorKind.PROTOCOL


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"id": "x"}, ErrorKind.PROTOCOL),
        ({"content": "text"}, ErrorKind.PROTOCOL),
        ({"content": [1, {"type": "text"}], "usage": 3, "stop_reason": 4}, ErrorKind.EMPTY),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, ErrorKind.THROTTLED),
        ({"error": {"code": 404, "message": "no model"}}, ErrorKind.NOT_FOUND),
    ],
)
def test_what_is_no_message_is_no_answer(body: dict[str, Any], kind: ErrorKind) -> None:
    assert failure_with(BLOCKING, json_of(body)).kind is kind


@pytest.mark.parametrize(
    "strange",
    [
        {"type": "content_block_start", "index": [1], "content_block": {"type": "text"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": ["text"], "text": 3}},
        {"type": "content_block_delta", "index": 9, "delta": {"text": "stray"}},
        {"type": "message_start", "message": None},
        {"type": "message_delta", "delta": None, "usage": [1]},
    ],
)
def test_an_event_of_a_strange_shape_adds_nothing(strange: dict[str, Any]) -> None:
    frames = [START, event(**strange), *text_block(1, ANSWER), *ended("end_turn")]

    assert answer_with(STREAMING, stream_of(*frames)).text == ANSWER


def test_a_server_that_cannot_stream_may_answer_at_once() -> None:
    whole = Answer("application/json", json_of({"content": [{"type": "text", "text": ANSWER}]}).frames)

    assert answer_with(STREAMING, whole).text == ANSWER


def test_silence_ends_a_stream_only_where_the_task_says_so() -> None:
    error = failure_of(STREAMING, "stall", options={"idle_timeout": 0.2})

    assert error.kind is ErrorKind.OUTCOME_UNKNOWN
    assert "silence" in error.message
