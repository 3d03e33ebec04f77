"""What only Dify does: its three kinds of app, its codes, prices, and runs that are found again."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core.outcome import AgentError, ErrorKind, RemoteHandle, Usage, resumable_handle
from providers import dify
from providers.content import json_text
from tests.contract import dialects_dify as said
from tests.contract.app_scenes import answered, cancelled, case_of, error_of, outcome_of, result_of, resumed
from tests.contract.cases import RUN_ID, SHORT, answer_to, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, INPUT_TOKENS, INTERRUPT, OUTPUT_TOKENS, Answer, sse
from tests.contract.test_agent_platform import answer_with, failure_with

CHAT, COMPLETION, WORKFLOW = map(case_of, ("dify-chat", "dify-completion", "dify-workflow"))
ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too
HANDLE = RemoteHandle(
    "dify",
    {"app": "workflows", "task_id": said.TASK_ID, "user": "ops", "run_id": RUN_ID, "workflow_run_id": said.RUN},
    resumable=True,
)


def test_a_chat_is_streamed_in_a_conversation_of_its_own() -> None:
    options = {"inputs": {"city": "上海"}, "workflow_version": "v-7", "files": [{"type": "image"}]}
    result, fake = answer_to(CHAT, options=options)

    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/v1/chat-messages")
    assert request.json == {
        "inputs": {"city": "上海"},
        "query": "写日报 ✅",
        "user": "ops",
        "response_mode": "streaming",
        "files": [{"type": "image"}],
        "conversation_id": "",
        "auto_generate_name": False,
        "workflow_id": "v-7",
    }
    assert result.conversation_id == said.CONVERSATION


def test_a_named_conversation_goes_on() -> None:
    _, fake = answer_to(CHAT, conversation_id="c-9")

    assert fake.requests[0].json["conversation_id"] == "c-9"


def test_a_completion_gives_the_message_as_the_variable_of_that_name_too() -> None:
    _, fake = answer_to(COMPLETION)

    (request,) = fake.requests
    assert request.path == "/v1/completion-messages"
    assert request.json == {
        "inputs": {"query": "写日报 ✅"},
        "query": "写日报 ✅",
        "user": "ops",
        "response_mode": "streaming",
    }


def test_a_workflow_runs_with_its_inputs_and_its_outputs_are_data() -> None:
    result, fake = answer_to(WORKFLOW)

    (request,) = fake.requests
    assert request.path == "/v1/workflows/run"
    assert request.json == {"inputs": {"day": "今天"}, "user": "ops", "response_mode": "streaming"}
    assert (result.text, result.data) == (ANSWER, {"text": ANSWER})

    pinned, fake = outcome_of(
        WORKFLOW, lambda _: said.stream(said.finished(outputs={"a": 1})), options={"workflow_version": "v/7"}
    )
    assert fake.requests[0].path == "/v1/workflows/v%2F7/run"
    assert result_of(pinned).text == "1"


@pytest.mark.parametrize(
    ("outputs", "key", "text"),
    [
        ({"text": "甲"}, None, "甲"),
        ({"text": "甲", "n": 2}, None, '{"text": "甲", "n": 2}'),
        ({"text": "甲", "n": 2}, "text", "甲"),
        ({"text": "", "n": 2}, "n", "2"),
        ({"rows": [{"a": 1}]}, None, '[{"a": 1}]'),
    ],
)
def test_the_answer_is_the_only_output_or_the_named_one_or_all(outputs: object, key: str | None, text: str) -> None:
    stream = said.stream(said.started(), said.finished(outputs=outputs))

    assert answer_with(WORKFLOW, stream, options={"output": key} if key else {}).text == text


def test_an_output_that_is_missing_is_told_with_those_there_are() -> None:
    stream = said.stream(said.finished(outputs={"a": 1, "b": 2}))
    error = failure_with(WORKFLOW, stream, options={"output": "text"})

    assert error.kind is ErrorKind.PROTOCOL
    assert "no output 'text'; it has a, b" in error.message


def test_cost_and_currency_are_recorded_and_a_price_nobody_knows_is_none() -> None:
    def usage_with(report: object) -> Usage:
        return answer_with(CHAT, said.stream(said.message(ANSWER), said.message_end(report))).usage

    assert usage_with(said.USAGE) == Usage(INPUT_TOKENS, OUTPUT_TOKENS, said.COST, said.CURRENCY)
    prices: list[object] = ["0", "0.0000000", 0, None, "free", "NaN", "-1", [], 10**400]
    for price in prices:
        assert usage_with({**said.USAGE, "total_price": price}) == Usage(INPUT_TOKENS, OUTPUT_TOKENS), price
    assert usage_with({**said.USAGE, "currency": None}) == Usage(INPUT_TOKENS, OUTPUT_TOKENS)
    assert usage_with({"prompt_tokens": 0, "completion_tokens": 0, "total_price": "0", "currency": "USD"}) == Usage()
    assert usage_with(None) == Usage()


def test_a_replaced_message_takes_the_place_of_all_before_it() -> None:
    stream = said.stream(
        said.message("不当"), said.message("内容"), said.message("已拦截", "message_replace"), said.message_end()
    )

    assert answer_with(CHAT, stream).text == "已拦截"


def test_an_agents_closing_message_is_its_answer_and_no_second_one() -> None:
    deltas = [said.message(piece, "agent_message") for piece in ("日报", "好了")]
    thought = said.said("agent_thought", thought="…", tool="search")
    stream = said.stream(deltas[0], thought, deltas[1], said.message("日报好了"), said.message_end())

    assert answer_with(CHAT, stream).text == "日报好了"


def test_an_agent_that_does_not_repeat_itself_and_a_chatbot_that_stutters_are_kept_whole() -> None:
    agent = said.stream(said.message("ha", "agent_message"), said.message("ha", "agent_message"), said.message_end())
    chatbot = said.stream(said.message("ha"), said.message("ha"), said.message_end())

    assert answer_with(CHAT, agent).text == answer_with(CHAT, chatbot).text == "haha"


def test_an_emoji_in_two_pieces_is_whole_again() -> None:
    halves = [b'data: {"event": "message", "answer": "%s"}\n\n' % half for half in (b"\\ud83d", b"\\ude00")]

    assert answer_with(CHAT, said.stream(*halves, said.message_end())).text == "😀"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"status": 429, "code": "too_many_requests"}, ErrorKind.THROTTLED),
        ({"status": 429, "code": "rate_limit_error"}, ErrorKind.QUOTA),
        ({"status": 400, "code": "provider_quota_exceeded"}, ErrorKind.QUOTA),
        ({"status": 400, "code": "provider_not_initialize"}, ErrorKind.INVALID),
        ({"status": 401, "code": "unauthorized"}, ErrorKind.AUTH),
        ({"status": 404, "code": "not_found"}, ErrorKind.NOT_FOUND),
        ({"status": 500, "code": "internal_server_error"}, ErrorKind.UNAVAILABLE),
        ({"status": 400, "code": "completion_request_error"}, ErrorKind.INVALID),
        ({"code": "completion_request_error", "message": "Error code: 429 - Too Many Requests"}, ErrorKind.THROTTLED),
        ({"code": "completion_request_error", "message": "[openai] Rate Limit Error"}, ErrorKind.THROTTLED),
        ({"code": "completion_request_error", "message": "429: insufficient_quota"}, ErrorKind.QUOTA),
        ({"code": "completion_request_error", "message": "Request timed out."}, ErrorKind.UNAVAILABLE),
        ({"code": "completion_request_error", "message": "Server returned 503"}, ErrorKind.UNAVAILABLE),
        ({"code": "completion_request_error", "message": "maximum context is 14290 tokens"}, ErrorKind.REMOTE_FAILED),
    ],
)
def test_quota_throttling_and_the_models_own_troubles_are_told_apart(error: dict[str, Any], kind: ErrorKind) -> None:
    body = {"message": "said", **error}
    in_stream = failure_with(CHAT, said.stream(said.message("half"), sse("", {"event": "error", **body})))
    assert (in_stream.kind, in_stream.over) == (kind, True)

    if "status" in error:
        refused, _ = outcome_of(
            CHAT, lambda _: Answer("application/json", [json_text(body).encode()], status=body["status"])
        )
        assert (error_of(refused).kind, error_of(refused).http_status) == (kind, error["status"])


def test_a_refusal_that_wraps_the_models_throttling_is_throttling() -> None:
    body = '{"code": "completion_request_error", "message": "Error code: 429 - slow down", "status": 400}'
    refused, _ = outcome_of(WORKFLOW, lambda _: answered(body, 400))

    assert (error_of(refused).kind, error_of(refused).http_status) == (ErrorKind.THROTTLED, 400)


def test_an_error_as_plain_json_in_a_200_is_a_failure() -> None:
    error = failure_with(CHAT, answered('{"code": "app_unavailable", "message": "没有模型", "status": 400}'))

    assert (error.kind, error.http_status) == (ErrorKind.INVALID, 200)
    assert "没有模型" in error.message


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (said.finished("failed", error="节点超时"), ErrorKind.REMOTE_FAILED),
        (said.finished("stopped"), ErrorKind.CANCELLED),
        (said.finished("succeeded", outputs={}), ErrorKind.EMPTY),
        (said.finished("succeeded", outputs={"a": "", "b": None}), ErrorKind.EMPTY),
        (said.finished("exploded"), ErrorKind.PROTOCOL),
    ],
)
def test_a_workflow_ends_as_it_says(ending: bytes, kind: ErrorKind) -> None:
    error = failure_with(WORKFLOW, said.stream(said.started(), ending))

    assert error.kind is kind
    assert ("节点超时" in error.message) == (kind is ErrorKind.REMOTE_FAILED)


def test_a_partial_success_is_an_answer_that_says_so_unless_the_task_wants_all() -> None:
    stream = said.stream(said.started(), said.finished("partial-succeeded", outputs={"text": "一半"}, error="节点 2"))

    result = answer_with(WORKFLOW, stream)
    assert (result.text, result.data) == ("一半", {"status": "partial-succeeded", "outputs": {"text": "一半"}})
    refused = failure_with(WORKFLOW, stream, options={"accept_partial": False})
    assert refused.kind is ErrorKind.REMOTE_FAILED
    assert "节点 2" in refused.message


def test_an_error_that_ends_a_run_with_a_handle_is_not_resumed() -> None:
    crash = sse("", {**said.CRASH, "status": 429, "code": "too_many_requests"})
    error = failure_with(WORKFLOW, said.stream(said.started(), crash))

    assert (error.kind, error.over) == (ErrorKind.THROTTLED, True)


@pytest.mark.parametrize("order", [1, -1])
def test_a_chatflow_is_as_good_as_its_nodes_whichever_event_comes_first(order: int) -> None:
    def told(status: str) -> Answer:
        ending = [said.message_end(), said.finished(status, error="节点 3 失败")][::order]
        return said.stream(said.started(), said.message(ANSWER), *ending)

    assert answer_with(CHAT, told("succeeded")).text == ANSWER
    assert failure_with(CHAT, told("failed")).kind is ErrorKind.REMOTE_FAILED
    assert failure_with(CHAT, told("stopped")).kind is ErrorKind.CANCELLED


def test_a_chatflows_nodes_alone_prove_no_answer() -> None:
    stream = said.stream(said.started(), said.message("ha"), said.finished())

    assert failure_with(CHAT, stream).kind is ErrorKind.OUTCOME_UNKNOWN


def test_a_server_that_never_hangs_up_does_not_spoil_a_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dify, "AFTER_END_SECONDS", 0.2)

    async def scene(*frames: bytes) -> float:
        async with FakeAgent(
            "hang_after", scripted=said.stream(*frames, said.message(ANSWER), said.message_end())
        ) as fake:
            began = time.monotonic()
            assert (await attempt(CHAT, fake.url, timeout=30)).text == ANSWER
            return time.monotonic() - began

    assert asyncio.run(scene()) < 10
    assert 0.2 <= asyncio.run(scene(said.started())) < 10


@pytest.mark.parametrize(("case", "app"), [(CHAT, "chat-messages"), (COMPLETION, "completion-messages")])
def test_a_chat_is_stopped_as_the_user_who_began_it(case: Any, app: str) -> None:
    async def scene() -> None:
        begun = said.stream(said.PING, said.message("日"))
        async with FakeAgent("hang_after", script=lambda r: None if r.path.endswith("/stop") else begun) as fake:
            handles: list[RemoteHandle] = []
            error = await raised(attempt(case, fake.url, timeout=ENOUGH, handles=handles))
            assert error.kind is ErrorKind.TIMEOUT
            assert "was told to stop" in error.message
            stop = fake.requests[-1]
            assert (stop.path, stop.json) == (f"/v1/{app}/{said.TASK_ID}/stop", {"user": "ops"})
            assert [handle.resumable for handle in handles] == [False]

    asyncio.run(scene())


def test_a_workflows_handle_is_given_before_its_end_and_finds_it_again() -> None:
    handles: list[RemoteHandle] = []
    error = failure_of(WORKFLOW, "clean_cut", handles=handles)

    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, False)
    assert handles == [HANDLE]
    assert resumable_handle(HANDLE.as_text()) == HANDLE


def records(*statuses: str) -> Iterator[Answer]:
    for status in statuses:
        yield Answer("application/json", [json_text(said.record(status)).encode()])


def test_a_resumed_run_is_asked_for_until_it_ends_and_nothing_is_begun() -> None:
    told = records("running", "running", "succeeded")
    outcome, fake = resumed(WORKFLOW, HANDLE, lambda _: next(told))

    assert {(request.method, request.path) for request in fake.requests} == {("GET", f"/v1/workflows/run/{said.RUN}")}
    assert len(fake.requests) == 3
    result = result_of(outcome)
    assert (result.text, result.data, result.http_status) == (ANSWER, {"text": ANSWER}, 200)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (said.record("failed", error="节点超时"), ErrorKind.REMOTE_FAILED),
        (said.record("stopped"), ErrorKind.CANCELLED),
        (said.record("succeeded", outputs=None), ErrorKind.EMPTY),
        (said.record("exploded"), ErrorKind.PROTOCOL),
        ([1, 2], ErrorKind.PROTOCOL),
    ],
)
def test_a_resumed_run_ends_as_its_record_says(record: object, kind: ErrorKind) -> None:
    outcome, _ = resumed(WORKFLOW, HANDLE, lambda _: answered(json_text(record)))

    assert error_of(outcome).kind is kind


def test_a_record_may_hold_its_outputs_as_json_in_a_string() -> None:
    outcome, _ = resumed(WORKFLOW, HANDLE, lambda _: answered(json_text(said.record(outputs='{"text": "甲"}'))))

    assert (result_of(outcome).text, result_of(outcome).data) == ("甲", {"text": "甲"})


CHATFLOW_HANDLE = RemoteHandle(
    "dify",
    {**HANDLE.ids, "app": "chat-messages", "conversation_id": said.CONVERSATION},
    resumable=True,
)


def test_a_chatflow_is_found_again_by_its_run_and_a_chatbot_is_not() -> None:
    handles: list[RemoteHandle] = []
    begun = said.said("workflow_started", workflow_run_id=said.RUN, conversation_id=said.CONVERSATION, data={})
    failure_with(CHAT, said.stream(begun, said.message("日")), handles=handles)
    failure_with(CHAT, said.stream(said.message("日")), handles=handles)

    assert handles[0] == CHATFLOW_HANDLE
    assert [handle.resumable for handle in handles] == [True, False]

    told = said.record(outputs={"answer": "<think>嗯</think>好", "files": []})
    outcome, fake = resumed(CHAT, handles[0], lambda _: answered(json_text(told)), options={"strip_reasoning": True})
    result = result_of(outcome)
    assert (result.text, result.data, result.conversation_id) == ("好", None, said.CONVERSATION)
    assert [request.method for request in fake.requests] == ["GET"]


def test_an_older_version_that_tells_of_no_chatflow_leaves_its_outcome_unknown() -> None:
    refusal = answered('{"code": "not_workflow_app", "message": "no", "status": 400}', 400)
    error = error_of(resumed(CHAT, CHATFLOW_HANDLE, lambda _: refusal)[0])

    assert (error.kind, error.over, error.conversation_id) == (ErrorKind.OUTCOME_UNKNOWN, True, said.CONVERSATION)


def test_a_paused_run_asks_for_a_human_when_it_is_resumed_too() -> None:
    outcome, _ = resumed(WORKFLOW, HANDLE, lambda _: answered(json_text(said.record("paused"))))

    assert (result_of(outcome).status, result_of(outcome).data) == (
        "requires_action",
        {"status": "paused", "id": said.RUN},
    )


@pytest.mark.parametrize(
    ("text", "status"), [('{"code": "not_found", "message": "no"}', 404), ('{"id": null, "status": null}', 200)]
)
def test_a_run_that_dify_forgot_is_unknown_and_not_asked_for_again(text: str, status: int) -> None:
    outcome, fake = resumed(WORKFLOW, HANDLE, lambda _: answered(text, status))

    error = error_of(outcome)
    assert (error.kind, error.over, error.http_status) == (ErrorKind.OUTCOME_UNKNOWN, True, status)
    assert len(fake.requests) == 1


def test_a_resumed_run_that_does_not_end_is_stopped_at_the_deadline() -> None:
    outcome, fake = resumed(
        WORKFLOW,
        HANDLE,
        lambda r: answered(json_text(said.record("running"))) if r.method == "GET" else None,
        timeout=SHORT,
    )

    assert error_of(outcome).kind is ErrorKind.TIMEOUT
    assert fake.cancelled == [f"/v1/workflows/tasks/{said.TASK_ID}/stop"]


@pytest.mark.parametrize(("status", "stopped"), [(200, True), (404, True), (400, False), (500, False)])
def test_a_run_that_ended_meanwhile_counts_as_stopped(status: int, stopped: bool) -> None:
    found, fake = cancelled(WORKFLOW, HANDLE, answered('{"result": "success"}', status))

    assert found is stopped
    assert fake.requests[0].json == {"user": "ops"}


def test_a_pause_in_a_chatflow_keeps_what_was_said() -> None:
    result = answer_with(CHAT, said.stream(said.started(), said.message("请批准"), said.paused()))

    assert (result.status, result.text, result.data) == ("requires_action", "请批准", INTERRUPT)
    assert result.conversation_id == said.CONVERSATION


def test_a_failure_keeps_the_conversation() -> None:
    assert failure_with(CHAT, said.stream(said.message("ha"))).conversation_id == said.CONVERSATION


@pytest.mark.parametrize("case", [COMPLETION, WORKFLOW], ids=lambda case: case.name)
def test_a_conversation_is_refused_where_none_is_kept(case: Any) -> None:
    async def scene() -> tuple[AgentError, list[Received]]:
        async with FakeAgent() as fake:
            return await raised(attempt(case, fake.url, conversation_id="c-1")), fake.requests

    error, requests = asyncio.run(scene())
    assert (error.kind, requests) == (ErrorKind.CONFIG, [])


@pytest.mark.parametrize(
    ("case", "options", "words"),
    [
        (CHAT, {"mod": "chat"}, "did you mean 'mode'?"),
        (CHAT, {"mode": "agent"}, "must be chat or completion"),
        (CHAT, {"output": "text"}, "has no option 'output'"),
        (CHAT, {"mode": "completion", "workflow_version": "v"}, "no workflow_version"),
        (WORKFLOW, {"mode": "chat"}, "has no option 'mode'"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend(case: Any, options: dict[str, object], words: str) -> None:
    error = failure_of(case, "ok", options=options)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_reasoning_is_stripped_only_when_asked() -> None:
    stream = said.stream(said.message("<think>嗯</think>好"), said.message_end())

    assert answer_with(CHAT, stream).text == "<think>嗯</think>好"
    assert answer_with(CHAT, stream, options={"strip_reasoning": True}).text == "好"


def test_a_long_text_in_small_pieces_meets_the_limit() -> None:
    pieces = [said.message("x" * 500)] * 60
    error = failure_with(CHAT, said.stream(*pieces, said.message_end()), max_bytes=16384)

    assert error.kind is ErrorKind.PROTOCOL
