"""What only OpenAI Responses does: background runs, their ends, and the streams of servers that know no background."""

import asyncio
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, MAX_BYTES, RUN_ID, answer_to, attempt, endpoint_of, failure_of, raised
from tests.contract.dialects_models import CRASH, FUNCTION_CALL, RESPONSE_ID, message, response
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, Answer, json_answer, sse
from tests.contract.test_agent_platform import answer_with, failure_with, json_of, stream_of

BACKGROUND, STREAMING, BLOCKING = [case for case in CASES if case.provider == "openai_responses"]
HANDLE = RemoteHandle("openai_responses", {"response_id": RESPONSE_ID, "run_id": RUN_ID}, resumable=True)


def terminal(name: str, **fields: object) -> bytes:
    body = {"type": f"response.{name}", "response": response(name, **fields)}
    return sse(f"response.{name}", body)


async def on(fake: FakeAgent, handle: RemoteHandle) -> AgentResult:
    """Go on with a run that an earlier attempt began."""
    endpoint = endpoint_of(BACKGROUND, fake.url)
    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, MAX_BYTES)
        return await call(registry.get("openai_responses"), context, BACKGROUND.request(fake.url), handle)


async def cancelled(fake: FakeAgent) -> bool:
    endpoint = endpoint_of(BACKGROUND, fake.url)
    async with client_for(endpoint) as client:
        return await registry.get("openai_responses").cancel(CallContext(client, endpoint, MAX_BYTES), HANDLE)


def test_a_run_is_stored_begun_in_the_background_and_asked_for() -> None:
    result, fake = answer_to(BACKGROUND, options={"instructions": "简短", "max_output_tokens": 50})

    begun, asked = fake.requests
    assert (begun.method, begun.path) == ("POST", "/v1/responses")
    assert begun.json == {
        "model": "daily-report",
        "input": "写日报 ✅",
        "metadata": {"run_id": RUN_ID, "user": "ops"},
        "instructions": "简短",
        "max_output_tokens": 50,
        "background": True,
        "store": True,
    }
    assert (asked.method, asked.path, asked.body) == ("GET", f"/v1/responses/{RESPONSE_ID}", b"")
    assert result.conversation_id == RESPONSE_ID


def test_a_stream_is_neither_stored_nor_resumable() -> None:
    handles: list[RemoteHandle] = []
    result, fake = answer_to(STREAMING, handles=handles)

    (request,) = fake.requests
    assert (request.json["stream"], request.json["store"], "background" in request.json) == (True, False, False)
    assert (result.text, result.conversation_id, handles) == (ANSWER, None, [])


@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_the_version_in_the_base_url_is_kept_or_added(base: str) -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            await attempt(BACKGROUND, fake.url + base)
            assert [request.path for request in fake.requests] == ["/v1/responses", f"/v1/responses/{RESPONSE_ID}"]

    asyncio.run(scene())


@pytest.mark.parametrize(("conversation", "field"), [("conv_1", "conversation"), ("resp_1", "previous_response_id")])
def test_a_conversation_is_one_of_the_platform_or_the_response_before(conversation: str, field: str) -> None:
    _, fake = answer_to(BACKGROUND, conversation_id=conversation)

    assert fake.requests[0].json[field] == conversation


def test_a_conversation_of_the_platform_is_the_one_to_go_on_in() -> None:
    body = response("completed", output=[message(ANSWER)], conversation={"id": "conv_1"})

    assert answer_with(BACKGROUND, json_of(body)).conversation_id == "conv_1"


def test_what_is_not_stored_continues_no_conversation() -> None:
    assert failure_of(STREAMING, "ok", conversation_id="conv_1").kind is ErrorKind.CONFIG


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"instruction": "x"}, "did you mean 'instructions'?"),
        ({"max_output_tokens": "many"}, "must be a whole number"),
        ({"truncation": "never"}, "must be auto or disabled"),
        ({"stream": True}, "needs option 'background' to be false"),
        ({"background": True, "idle_timeout": 3}, "needs option 'background' to be false"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend_and_nothing_is_sent(options: dict[str, object], words: str) -> None:
    error = failure_of(BACKGROUND, "ok", options=options)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_a_run_that_is_long_in_the_queue_is_waited_for() -> None:
    async def scene() -> None:
        waiting = [response("queued"), response("in_progress"), response("in_progress")]

        def script(received: Received) -> Answer | None:
            return json_answer(waiting.pop(0), "ok") if received.method == "GET" and waiting else None

        async with FakeAgent(script=script) as fake:
            assert (await attempt(BACKGROUND, fake.url)).text == ANSWER
            assert [request.method for request in fake.requests] == ["POST", "GET", "GET", "GET", "GET"]

    asyncio.run(scene())


def test_a_server_that_answers_at_once_is_not_asked_again() -> None:
    handles: list[RemoteHandle] = []
    body = response("completed", output=[message(ANSWER)])

    assert answer_with(BACKGROUND, json_of(body), handles=handles).text == ANSWER
    assert handles == []


def test_a_response_without_a_name_is_refused_for_nobody_could_ask_for_it() -> None:
    assert failure_with(BACKGROUND, json_of(response("queued", id=None))).kind is ErrorKind.PROTOCOL


def test_a_response_that_the_platform_forgot_is_unknown_and_not_asked_for_again() -> None:
    async def scene() -> AgentError:
        async with FakeAgent("status:404") as fake:
            error = await raised(on(fake, HANDLE))
            assert len(fake.requests) == 1
            return error

    error = asyncio.run(scene())
    assert (error.kind, error.over, error.http_status) == (ErrorKind.OUTCOME_UNKNOWN, True, 404)
    assert "does not know the response any more" in error.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CRASH, ErrorKind.UNAVAILABLE),
        ({"code": "rate_limit_exceeded", "message": "模型崩溃"}, ErrorKind.THROTTLED),
        ({"code": "invalid_prompt", "message": "模型崩溃"}, ErrorKind.INVALID),
        ({"code": "new_code", "message": "模型崩溃"}, ErrorKind.REMOTE_FAILED),
        (None, ErrorKind.REMOTE_FAILED),
    ],
)
def test_a_failed_response_is_over_whatever_it_failed_of(error: object, kind: ErrorKind) -> None:
    found = failure_with(BACKGROUND, json_of(response("failed", error=error)))

    assert (found.kind, found.over) == (kind, True)
    assert error is None or "模型崩溃" in found.message


def test_a_response_that_somebody_cancelled_there_is_not_called_again() -> None:
    error = failure_with(BACKGROUND, json_of(response("cancelled")))

    assert (error.kind, error.kind.retryable) == (ErrorKind.CANCELLED, False)


@pytest.mark.parametrize(("answer", "done"), [(200, True), (404, True), (400, False), (500, False)])
def test_a_cancel_of_a_run_that_is_gone_counts_as_done(answer: int, done: bool) -> None:
    async def scene() -> None:
        told = Answer("application/json", [b"{}"], status=answer, role="cancel")
        async with FakeAgent(scripted=told) as fake:
            assert await cancelled(fake) is done
            assert fake.cancelled == [f"/v1/responses/{RESPONSE_ID}/cancel"]
            assert fake.requests[0].headers["idempotency-key"] == RUN_ID

    asyncio.run(scene())


def test_a_cancel_that_meets_nobody_is_not_done_and_raises_nothing() -> None:
    async def scene() -> None:
        async with FakeAgent("reset") as fake:
            fake.script = lambda received: Answer("application/json", [b"{}"])
            assert await cancelled(fake) is False

    asyncio.run(scene())


def test_an_answer_cut_by_max_output_tokens_is_kept_and_marked() -> None:
    reason = {"reason": "max_output_tokens"}
    cut = answer_with(BACKGROUND, json_of(response("incomplete", output=[message("ha")], incomplete_details=reason)))
    error = failure_with(BACKGROUND, json_of(response("incomplete", incomplete_details=reason)))

    assert (cut.status, cut.text, cut.data) == ("succeeded", "ha", {"incomplete": "max_output_tokens"})
    assert (error.kind, "max_output_tokens" in error.message) == (ErrorKind.EMPTY, True)


def test_a_refusal_and_a_filtered_answer_are_failures_nobody_repeats() -> None:
    refusing = {"type": "message", "content": [{"type": "refusal", "refusal": "我不能"}]}
    reason = {"reason": "content_filter"}
    refused = failure_with(BACKGROUND, json_of(response("completed", output=[refusing])))
    filtered = failure_with(BACKGROUND, json_of(response("incomplete", incomplete_details=reason)))

    assert (refused.kind, filtered.kind) == (ErrorKind.INVALID, ErrorKind.INVALID)
    assert "我不能" in refused.message


def test_a_tool_of_the_platform_asks_nobody_and_an_approval_does() -> None:
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    approval = {"type": "mcp_approval_request", "id": "a_1", "name": "drop_table", "arguments": "{}"}
    result = answer_with(BACKGROUND, json_of(response("completed", output=[searched, message(ANSWER)])))
    asking = answer_with(BACKGROUND, json_of(response("completed", output=[searched, approval, FUNCTION_CALL])))

    assert (result.status, result.text) == ("succeeded", ANSWER)
    assert (asking.status, asking.data["tool_calls"][0]) == ("requires_action", approval)


def test_reasoning_is_stripped_only_when_asked() -> None:
    body = json_of(response("completed", output=[message("<think>hm</think>yes")]))

    assert answer_with(BLOCKING, body).text == "<think>hm</think>yes"
    assert answer_with(BLOCKING, body, options={**BLOCKING.options, "strip_reasoning": True}).text == "yes"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "thawing"}, ErrorKind.PROTOCOL),
        ({"id": "x"}, ErrorKind.PROTOCOL),
        ({"error": {"code": "model_not_found", "message": "no"}}, ErrorKind.NOT_FOUND),
        ({"status": "completed", "output": "text"}, ErrorKind.EMPTY),
        ({"status": "completed", "output": [1, {"type": "message", "content": [2]}]}, ErrorKind.EMPTY),
        ({"status": "in_progress", "id": "r"}, ErrorKind.PROTOCOL),
    ],
)
def test_what_is_no_ended_response_is_no_answer(body: dict[str, Any], kind: ErrorKind) -> None:
    assert failure_with(BLOCKING, json_of(body)).kind is kind


def test_unknown_tokens_stay_unknown() -> None:
    usage = answer_with(BACKGROUND, json_of(response("completed", output=[message(ANSWER)]))).usage

    assert (usage.input_tokens, usage.output_tokens) == (None, None)


# -- streams ------------------------------------------------------------------------------------------


def test_only_a_terminal_event_makes_an_answer_of_a_stream() -> None:
    delta = sse("response.output_text.delta", {"type": "response.output_text.delta", "delta": ANSWER})
    done = terminal("completed", output=[message(ANSWER)])

    assert failure_with(STREAMING, stream_of(delta)).kind is ErrorKind.OUTCOME_UNKNOWN
    assert failure_with(STREAMING, stream_of(delta, sse("", "[DONE]"))).kind is ErrorKind.OUTCOME_UNKNOWN
    assert answer_with(STREAMING, stream_of(delta, done, b"data: {")).text == ANSWER


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "坏了"}, ErrorKind.THROTTLED),
        ({"type": "error", "error": {"type": "server_error", "message": "坏了"}}, ErrorKind.UNAVAILABLE),
        ({"type": "error", "code": "insufficient_quota", "message": "坏了"}, ErrorKind.QUOTA),
    ],
)
def test_an_error_event_ends_a_stream_with_its_kind(body: dict[str, Any], kind: ErrorKind) -> None:
    error = failure_with(STREAMING, stream_of(sse("error", body)))

    assert error.kind is kind
    assert "坏了" in error.message


def test_a_gateway_that_leaves_out_the_events_names_is_understood() -> None:
    done = {"type": "response.completed", "response": response("completed", output=[message(ANSWER)])}

    assert answer_with(STREAMING, stream_of(sse("", done), sse("", "[DONE]"))).text == ANSWER


def test_an_incomplete_response_ends_a_stream_too() -> None:
    done = terminal("incomplete", output=[message("ha")], incomplete_details={"reason": "max_output_tokens"})

    assert answer_with(STREAMING, stream_of(done)).data == {"incomplete": "max_output_tokens"}


def test_silence_ends_a_stream_only_where_the_task_says_so() -> None:
    error = failure_of(STREAMING, "stall", options={**STREAMING.options, "idle_timeout": 0.2})

    assert error.kind is ErrorKind.OUTCOME_UNKNOWN
    assert "silence" in error.message
