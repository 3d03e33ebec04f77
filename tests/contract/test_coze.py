"""What only Coze does: chats that are found again, codes inside a 200, outputs wrapped in strings."""

import asyncio
import json
from typing import Any

import pytest

from core.outcome import AgentError, ErrorKind, RemoteHandle, Usage, resumable_handle
from providers.content import json_text
from tests.contract import dialects_coze as said
from tests.contract.app_scenes import answered, cancelled, case_of, error_of, outcome_of, result_of, resumed
from tests.contract.cases import RUN_ID, answer_to, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, INPUT_TOKENS, OUTPUT_TOKENS, Answer
from tests.contract.test_agent_platform import answer_with, failure_with

ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too
CHAT, POLLING = map(case_of, ("coze-streaming", "coze-polling"))
WORKFLOW, STREAMED, ASYNC = map(case_of, ("coze-workflow", "coze-workflow-streaming", "coze-workflow-async"))
CHAT_HANDLE = RemoteHandle(
    "coze", {"chat_id": said.CHAT_ID, "conversation_id": said.CONVERSATION, "run_id": RUN_ID}, resumable=True
)
RUN_HANDLE = RemoteHandle("coze", {"workflow_id": "daily-report", "execute_id": said.EXECUTION}, resumable=True)
CHAT_QUERY = f"conversation_id={said.CONVERSATION}&chat_id={said.CHAT_ID}"


def envelope(data: object, **fields: object) -> Answer:
    return answered(json_text(said.opened(data, **fields)))


def places(fake: FakeAgent) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in fake.requests]


def test_a_chat_is_streamed_with_one_question() -> None:
    options = {"custom_variables": {"city": "上海"}, "parameters": {"a": 1}, "meta_data": {"k": "v"}}
    result, fake = answer_to(CHAT, options=options)

    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/v3/chat")
    assert request.json == {
        "bot_id": "daily-report",
        "user_id": "ops",
        "stream": True,
        "auto_save_history": True,
        "additional_messages": [{"role": "user", "type": "question", "content": "写日报 ✅", "content_type": "text"}],
        **options,
    }
    assert result.conversation_id == said.CONVERSATION


def test_a_named_conversation_goes_on_and_is_kept_by_a_failure() -> None:
    _, fake = answer_to(CHAT, conversation_id="7/8")
    assert fake.requests[0].path == "/v3/chat?conversation_id=7%2F8"

    assert failure_of(CHAT, "status:500", conversation_id="7/8").conversation_id == "7/8"
    assert failure_of(CHAT, "clean_cut").conversation_id == said.CONVERSATION


def test_a_chat_without_a_stream_is_asked_for_and_then_its_messages() -> None:
    handles: list[RemoteHandle] = []
    waiting = [said.chat("created"), said.chat("in_progress")]

    def script(received: Received) -> Answer | None:
        asks = received.path.startswith("/v3/chat/retrieve") and waiting
        return envelope(waiting.pop(0)) if asks else None

    outcome, fake = outcome_of(POLLING, script, handles=handles)

    retrieve = ("GET", f"/v3/chat/retrieve?{CHAT_QUERY}")
    assert places(fake) == [
        ("POST", "/v3/chat"), retrieve, retrieve, retrieve, ("GET", f"/v3/chat/message/list?{CHAT_QUERY}"),
    ]  # fmt: skip
    result = result_of(outcome)
    assert (result.text, result.conversation_id) == (ANSWER, said.CONVERSATION)
    assert result.usage == Usage(INPUT_TOKENS, OUTPUT_TOKENS)
    assert handles == [CHAT_HANDLE]


def test_the_handle_is_given_with_the_first_event_and_finds_the_chat_again() -> None:
    handles: list[RemoteHandle] = []
    error = failure_of(CHAT, "clean_cut", handles=handles)

    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, False)
    assert handles == [CHAT_HANDLE]
    assert resumable_handle(CHAT_HANDLE.as_text()) == CHAT_HANDLE

    handles.clear()
    failure_of(CHAT, "clean_cut", handles=handles, options={"auto_save_history": False})
    assert [handle.resumable for handle in handles] == [False]  # nothing is kept there to be found


def test_a_resumed_chat_is_asked_for_and_no_question_is_sent() -> None:
    outcome, fake = resumed(CHAT, CHAT_HANDLE)

    assert places(fake) == [
        ("GET", f"/v3/chat/retrieve?{CHAT_QUERY}"), ("GET", f"/v3/chat/message/list?{CHAT_QUERY}"),
    ]  # fmt: skip
    result = result_of(outcome)
    assert (result.text, result.conversation_id, result.http_status) == (ANSWER, said.CONVERSATION, 200)


@pytest.mark.parametrize(
    ("chat", "kind", "over"),
    [
        (said.chat("failed", last_error={"code": 5000, "msg": "模型崩溃"}), ErrorKind.UNAVAILABLE, True),
        (said.chat("failed", last_error={"code": 4013, "msg": "慢一点"}), ErrorKind.THROTTLED, True),
        (said.chat("failed", last_error={"code": 4028, "msg": "额度用完"}), ErrorKind.QUOTA, True),
        (said.chat("failed"), ErrorKind.REMOTE_FAILED, True),
        (said.chat("canceled"), ErrorKind.CANCELLED, False),
        (said.chat("exploded"), ErrorKind.PROTOCOL, False),
        ([1, 2], ErrorKind.PROTOCOL, False),
    ],
)
def test_a_resumed_chat_ends_as_it_says(chat: object, kind: ErrorKind, over: bool) -> None:
    error = error_of(resumed(CHAT, CHAT_HANDLE, lambda _: envelope(chat))[0])

    assert (error.kind, error.over) == (kind, over)
    assert error.conversation_id == said.CONVERSATION


def test_a_failed_chat_of_a_stream_is_over_and_a_broken_stream_is_not() -> None:
    failed = failure_with(CHAT, said.stream(said.on_chat("created"), said.on_chat("failed", last_error=said.CRASH)))
    broken = failure_with(CHAT, said.stream(said.on_chat("created"), said.event("error", said.CRASH)))

    assert (failed.kind, failed.over) == (ErrorKind.UNAVAILABLE, True)
    assert (broken.kind, broken.over) == (ErrorKind.UNAVAILABLE, False)


@pytest.mark.parametrize("handle", [CHAT_HANDLE, RUN_HANDLE], ids=["chat", "run"])
def test_a_run_that_coze_forgot_is_unknown_and_not_asked_for_again(handle: RemoteHandle) -> None:
    outcome, fake = resumed(CHAT, handle, lambda _: answered("{}", 404))

    error = error_of(outcome)
    assert (error.kind, error.over, error.http_status) == (ErrorKind.OUTCOME_UNKNOWN, True, 404)
    assert len(fake.requests) == 1


def test_a_chat_past_its_deadline_is_cancelled() -> None:
    async def scene() -> None:
        begun = said.stream(said.on_chat("created"))
        async with FakeAgent("hang_after", script=lambda r: begun if r.path == "/v3/chat" else None) as fake:
            error = await raised(attempt(CHAT, fake.url, timeout=ENOUGH))
            assert error.kind is ErrorKind.TIMEOUT
            assert "was told to stop" in error.message
            stop = fake.requests[-1]
            assert (stop.path, stop.json) == (
                "/v3/chat/cancel", {"conversation_id": said.CONVERSATION, "chat_id": said.CHAT_ID},
            )  # fmt: skip

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "status", "stopped"),
    [
        ('{"code": 0, "msg": ""}', 200, True),
        ('{"code": 4104, "msg": "cannot be cancelled in its current state"}', 200, True),
        ('{"code": 4100, "msg": "no"}', 200, False),
        ('{"code": 0}', 500, False),
        ("<html>", 200, False),
        ("[]", 200, False),
    ],
)
def test_a_chat_that_ended_meanwhile_counts_as_cancelled(text: str, status: int, stopped: bool) -> None:
    assert cancelled(CHAT, CHAT_HANDLE, answered(text, status))[0] is stopped


def test_a_workflow_run_cannot_be_cancelled_and_nothing_is_sent() -> None:
    stopped, fake = cancelled(ASYNC, RUN_HANDLE)

    assert (stopped, fake.requests) == (False, [])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (4000, ErrorKind.INVALID),
        (4100, ErrorKind.AUTH),
        (4101, ErrorKind.AUTH),
        (4200, ErrorKind.NOT_FOUND),
        (4015, ErrorKind.NOT_FOUND),
        (4016, ErrorKind.BUSY),
        (4013, ErrorKind.THROTTLED),
        (429, ErrorKind.THROTTLED),
        (4011, ErrorKind.QUOTA),
        (4028, ErrorKind.QUOTA),
        (5000, ErrorKind.UNAVAILABLE),
        (702, ErrorKind.UNAVAILABLE),
        (700012006, ErrorKind.AUTH),
        (99999, ErrorKind.REMOTE_FAILED),
    ],
)
@pytest.mark.parametrize("case", [CHAT, POLLING, WORKFLOW, STREAMED], ids=lambda case: case.name)
def test_a_code_inside_a_200_is_a_failure_of_its_own_kind(case: Any, code: int, kind: ErrorKind) -> None:
    error = failure_with(case, answered(json_text({"code": code, "msg": "说明", "detail": {"logid": "x"}})))

    assert (error.kind, error.http_status) == (kind, 200)
    assert "说明" in error.message


def test_a_code_tells_more_than_a_status() -> None:
    refused, _ = outcome_of(CHAT, lambda _: answered('{"code": 4016, "msg": "one chat is running"}', 400))

    assert (error_of(refused).kind, error_of(refused).http_status) == (ErrorKind.BUSY, 400)


def test_several_answers_are_all_kept_and_what_is_none_is_left_out() -> None:
    messages = [said.message("一"), said.message("{}", "tool_response"), said.message(""), said.message("二")]
    frames = [said.event("conversation.message.completed", message) for message in messages]

    assert answer_with(CHAT, said.stream(*frames, said.on_chat("completed"), said.DONE)).text == "一\n二"


@pytest.mark.parametrize("content", ["not json", '{"a": 1}'])
def test_parts_that_are_none_are_taken_as_they_stand(content: str) -> None:
    message = {**said.message(content), "content_type": "object_string"}
    frames = [said.event("conversation.message.completed", message), said.on_chat("completed")]

    assert answer_with(CHAT, said.stream(*frames)).text == content


def test_a_count_of_zero_is_no_count() -> None:
    usage = {"token_count": 0, "input_count": 0, "output_count": 0}
    frames = [said.event("conversation.message.completed", said.message("好")), said.on_chat("completed", usage=usage)]

    assert answer_with(CHAT, said.stream(*frames)).usage == Usage()


def test_a_workflow_runs_with_its_inputs_for_its_bot() -> None:
    result, fake = answer_to(WORKFLOW, options={"bot_id": "b-1", "ext": {"a": "b"}})

    (request,) = fake.requests
    assert request.path == "/coze/v1/workflow/run"
    assert request.json == {
        "workflow_id": "daily-report", "parameters": {"day": "今天"}, "bot_id": "b-1", "ext": {"a": "b"},
    }  # fmt: skip
    assert (result.text, result.data) == (ANSWER, {"output": ANSWER})


@pytest.mark.parametrize(
    ("data", "text", "outputs"),
    [
        ('{"output": "甲"}', "甲", {"output": "甲"}),
        ('{"output": "甲", "n": 2}', '{"output": "甲", "n": 2}', {"output": "甲", "n": 2}),
        ('{"content_type": 1, "data": "甲", "original_result": null}', "甲", None),
        ("just text", "just text", None),
        ('["a", "b"]', '["a", "b"]', ["a", "b"]),
    ],
)
def test_outputs_are_decoded_twice_and_plain_text_is_left_alone(data: str, text: str, outputs: object) -> None:
    result = answer_with(WORKFLOW, envelope(data))

    assert (result.text, result.data) == (text, outputs)


@pytest.mark.parametrize("data", ["", "null", "{}", '{"output": ""}', None])
def test_outputs_that_are_empty_are_no_answer(data: object) -> None:
    assert failure_with(WORKFLOW, envelope(data)).kind is ErrorKind.EMPTY


def test_an_asynchronous_run_is_begun_once_named_and_asked_for() -> None:
    handles: list[RemoteHandle] = []
    running = [answered(json_text(said.history("Running", output=""))) for _ in range(2)]
    outcome, fake = outcome_of(
        ASYNC, lambda r: running.pop() if r.method == "GET" and running else None, handles=handles
    )

    asked = ("GET", f"/coze/v1/workflows/daily-report/run_histories/{said.EXECUTION}")
    assert places(fake) == [("POST", "/coze/v1/workflow/run"), asked, asked, asked]
    assert fake.requests[0].json["is_async"] is True
    result = result_of(outcome)
    assert (result.text, result.data, result.usage) == (
        ANSWER, {"output": ANSWER}, Usage(INPUT_TOKENS, OUTPUT_TOKENS),
    )  # fmt: skip
    assert handles == [RUN_HANDLE]


def test_a_resumed_run_is_asked_for_and_nothing_is_begun() -> None:
    outcome, fake = resumed(ASYNC, RUN_HANDLE)

    assert [request.method for request in fake.requests] == ["GET"]
    assert result_of(outcome).text == ANSWER


@pytest.mark.parametrize(
    ("run", "kind", "over"),
    [
        (said.history("Fail", error_code="5000", error_message="节点超时"), ErrorKind.UNAVAILABLE, True),
        (said.history("Fail", error_code="", error_message="节点超时"), ErrorKind.REMOTE_FAILED, True),
        (said.history("Success", output=""), ErrorKind.EMPTY, False),
        (said.history("Exploded"), ErrorKind.PROTOCOL, False),
        (said.opened([]), ErrorKind.PROTOCOL, False),
    ],
)
def test_an_asynchronous_run_ends_as_it_says(run: object, kind: ErrorKind, over: bool) -> None:
    error = error_of(resumed(ASYNC, RUN_HANDLE, lambda _: answered(json_text(run)))[0])

    assert (error.kind, error.over) == (kind, over)
    assert ("节点超时" in error.message) == over


def test_a_run_begun_without_a_name_is_no_answer_of_coze() -> None:
    assert failure_with(ASYNC, envelope(None)).kind is ErrorKind.PROTOCOL
    assert failure_with(POLLING, envelope({"status": "created"})).kind is ErrorKind.PROTOCOL


def test_a_streamed_workflow_answers_by_its_end_or_else_by_all_its_nodes() -> None:
    nodes = [said.node("甲", "A", is_last=False), said.node("乙", "A"), said.node("丙", "B")]

    assert answer_with(STREAMED, said.stream(*nodes, said.WORKFLOW_DONE)).text == "甲乙\n丙"
    ended = answer_with(STREAMED, said.stream(*nodes, said.node('{"n": "丁"}', "结束"), said.WORKFLOW_DONE))
    assert (ended.text, ended.data) == ("丁", {"n": "丁"})


@pytest.mark.parametrize("case", [WORKFLOW, STREAMED], ids=lambda case: case.name)
def test_a_conversation_is_refused_where_none_is_kept(case: Any) -> None:
    assert failure_of(case, "ok", conversation_id="c-1").kind is ErrorKind.CONFIG


@pytest.mark.parametrize(
    ("case", "options", "words"),
    [
        (CHAT, {"streem": True}, "did you mean 'stream'?"),
        (CHAT, {"stream": False, "auto_save_history": False}, "needs 'auto_save_history'"),
        (WORKFLOW, {"bot_id": "b", "app_id": "a"}, "'bot_id' and 'app_id' exclude each other"),
        (WORKFLOW, {"stream": True, "is_async": True}, "'stream' and 'is_async' exclude each other"),
        (WORKFLOW, {"custom_variables": {}}, "has no option 'custom_variables'"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend(case: Any, options: dict[str, object], words: str) -> None:
    error = failure_of(case, "ok", options=options)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_a_chat_whose_end_is_not_told_is_found_by_the_next_attempt() -> None:
    """The way of a run whose stream broke: its handle is kept, and the next attempt has the answer."""
    handles: list[RemoteHandle] = []
    broken, first = outcome_of(CHAT, fault="clean_cut", handles=handles)
    assert isinstance(broken, AgentError)
    stored = resumable_handle(handles[0].as_text())
    assert stored is not None

    outcome, second = resumed(CHAT, stored)

    assert result_of(outcome).text == ANSWER
    posts = [request.method for fake in (first, second) for request in fake.requests].count("POST")
    assert posts == 1


def test_ids_are_text_and_keep_all_their_digits() -> None:
    handle = json.loads(CHAT_HANDLE.as_text())

    assert handle["ids"]["chat_id"] == said.CHAT_ID
