"""What only Flowise does: its frames, its chats, its forms, and errors that are followed by an end."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import ErrorKind, RemoteHandle
from tests.contract.cases import CASES, RUN_ID, answer_to, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, Answer, json_answer
from tests.contract.flow_scenes import cancelled
from tests.contract.test_agent_platform import answer_with, failure_with, stream_of

STREAMING, BLOCKING = (case for case in CASES if case.provider == "flowise")


def frame(event: str, data: Any) -> bytes:
    return f"message:\ndata:{json.dumps({'event': event, 'data': data}, ensure_ascii=False)}\n\n".encode()


END = frame("end", "[DONE]")


def test_an_agent_asks_a_question_in_a_chat_of_its_own() -> None:
    options = {"override_config": {"vars": {"lang": "zh"}}, "history": [{"role": "userMessage", "content": "hi"}]}
    result, fake = answer_to(STREAMING, options=options)

    (request,) = fake.requests
    chat = request.json["chatId"]
    assert request.path == "/api/v1/prediction/daily-report"
    assert request.json == {
        "question": "写日报 ✅",
        "chatId": chat,
        "streaming": True,
        "overrideConfig": {"vars": {"lang": "zh"}},
        "history": options["history"],
    }
    assert result.conversation_id == chat
    assert answer_to(STREAMING)[1].requests[0].json["chatId"] == chat
    assert answer_to(STREAMING, run_id="another")[1].requests[0].json["chatId"] != chat


def test_a_workflow_fills_a_form() -> None:
    _, fake = answer_to(BLOCKING, options={})

    assert fake.requests[0].json["form"] == {"day": "今天"}
    assert "question" not in fake.requests[0].json


@pytest.mark.parametrize("base", ["", "/", "/api/v1", "/api/v1/"])
def test_every_usual_spelling_of_the_base_url_finds_the_flow(base: str) -> None:
    assert answer_to(replace(STREAMING, base=base))[1].requests[0].path == "/api/v1/prediction/daily-report"


def test_a_named_conversation_is_the_chat() -> None:
    result, fake = answer_to(STREAMING, conversation_id="财务")

    assert fake.requests[0].json["chatId"] == result.conversation_id == "财务"
    assert failure_of(STREAMING, "error_in_200", conversation_id="财务").conversation_id == "财务"


def test_a_flow_that_cannot_stream_answers_in_json() -> None:
    assert answer_with(STREAMING, json_answer({"text": ANSWER, "chatId": "c"}, "ok")).text == ANSWER


def test_an_error_counts_though_an_end_follows_and_though_text_went_before() -> None:
    for trouble in (frame("error", "模型崩溃"), frame("agentFlowEvent", "ERROR"), frame("abort", "[DONE]")):
        error = failure_with(STREAMING, stream_of(frame("token", "half"), trouble, END))
        assert error.kind is ErrorKind.REMOTE_FAILED

    error = failure_with(STREAMING, stream_of(frame("error", "模型崩溃"), frame("agentFlowEvent", "ERROR"), END))
    assert "模型崩溃" in error.message


def test_an_error_that_ends_the_stream_is_no_doubt() -> None:
    assert failure_with(STREAMING, stream_of(frame("error", "模型崩溃"))).kind is ErrorKind.REMOTE_FAILED


def test_the_tokens_of_all_models_count_once() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2}
    executed = [{"data": {"output": {"usageMetadata": usage}}}, {"data": {"output": {}}}, {"data": {}}] * 2
    frames = [frame("token", ANSWER), frame("usageMetadata", usage), frame("usageMetadata", usage)]

    both = answer_with(STREAMING, stream_of(*frames, frame("agentFlowExecutedData", executed), END))
    listed = answer_with(STREAMING, stream_of(frames[0], frame("agentFlowExecutedData", executed), END))
    neither = answer_with(STREAMING, stream_of(frames[0], END))

    assert (both.usage.input_tokens, both.usage.output_tokens) == (10, 4)
    assert listed.usage == both.usage
    assert neither.usage.input_tokens is None


def test_structured_output_is_data() -> None:
    result = answer_with(BLOCKING, json_answer({"json": {"报告": "完成"}, "chatId": "c"}, "ok"))

    assert (result.text, result.data) == ('{"报告": "完成"}', {"报告": "完成"})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"statusCode": 500, "success": False, "message": "坏了"}, ErrorKind.REMOTE_FAILED),
        ({"hello": 1}, ErrorKind.PROTOCOL),
        ({"text": ""}, ErrorKind.EMPTY),
    ],
)
def test_what_is_no_prediction_is_no_answer(body: object, kind: ErrorKind) -> None:
    assert failure_with(BLOCKING, json_answer(body, "ok")).kind is kind


def test_a_limiters_plain_words_are_throttling() -> None:
    error = failure_with(STREAMING, Answer("text/plain", [b"Too many requests"], status=429))

    assert error.kind is ErrorKind.THROTTLED
    assert "Too many requests" in error.message


def test_the_deadline_aborts_the_chat() -> None:
    async def scene() -> None:
        async with FakeAgent("silent") as fake:
            error = await raised(attempt(STREAMING, fake.url, timeout=2))
            assert error.kind is ErrorKind.TIMEOUT
            (path,) = fake.cancelled
            assert path.startswith("/api/v1/chatmessage/abort/daily-report/")
            assert [request.method for request in fake.requests] == ["POST", "PUT"]

    asyncio.run(scene())


def test_an_abort_that_is_refused_is_none() -> None:
    handle = RemoteHandle("flowise", {"flow_id": "daily-report", "chat_id": RUN_ID})
    refused = Answer("application/json", [b"{}"], status=401)

    assert cancelled(STREAMING, handle)[0] is True
    assert cancelled(STREAMING, handle, lambda received: refused)[0] is False
