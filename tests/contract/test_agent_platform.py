"""What only the seed's platform does: its addresses, dialects, threads, envelopes and streams."""

import asyncio
import gzip
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind
from providers.content import json_text
from tests.contract.cases import CASES, RUN_ID, Case, answer_to, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, Answer, sse

STREAMING, BLOCKING, LEGACY, WORKFLOW = CASES[:4]
END = sse("end", {"status": "completed"})


def answer_with(case: Case, answer: Answer, **changes: Any) -> AgentResult:
    """The result of a call that is answered with exactly these frames."""

    async def scene() -> AgentResult:
        async with FakeAgent(scripted=answer) as fake:
            return await attempt(case, fake.url, **changes)

    return asyncio.run(scene())


def failure_with(case: Case, answer: Answer, **changes: Any) -> AgentError:
    async def scene() -> AgentError:
        async with FakeAgent(scripted=answer) as fake:
            return await raised(attempt(case, fake.url, **changes))

    return asyncio.run(scene())


def stream_of(*frames: bytes) -> Answer:
    return Answer("text/event-stream", list(frames))


def json_of(body: object) -> Answer:
    return Answer("application/json", [json_text(body).encode()])


def ai(content: object, **fields: object) -> dict[str, object]:
    return {"type": "ai", "content": content, **fields}


HUMAN = {"type": "human", "content": "写日报"}


def test_an_agent_is_called_as_the_newest_platform_documents_it() -> None:
    result, fake = answer_to(STREAMING, options={"model": "qwen", "recursion_limit": 50, "file_ids": ["f1"]})

    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", f"/api/v1/chat/threads/{RUN_ID}/completion")
    assert request.json == {
        "agent_id": "daily-report",
        "user_name": "ops",
        "query": "写日报 ✅",
        "chat_mode": "streaming",
        "config": {"stream_mode": ["values", "updates"], "selected_model": "qwen", "recursion_limit": 50},
        "file_ids": ["f1"],
    }
    assert result.conversation_id == RUN_ID


def test_a_blocking_run_asks_for_one_plain_stream_mode() -> None:
    _, fake = answer_to(BLOCKING)

    assert fake.requests[0].json["chat_mode"] == "blocking"
    assert fake.requests[0].json["config"] == {"stream_mode": "values"}


def test_a_legacy_run_opens_a_thread_and_streams_in_it() -> None:
    result, fake = answer_to(LEGACY, options={"dialect": "legacy", "model": "qwen"})

    opened, ran = fake.requests
    assert (opened.path, opened.json) == ("/api/chat/threads", {"metadata": {}})
    assert ran.path == "/api/chat/threads/thread-1/runs/stream"
    assert ran.json["assistant_id"] == ran.json["agent_id"] == "daily-report"
    assert ran.json["input"]["messages"][0]["content"] == "写日报 ✅"
    assert ran.json["config"] == {"configurable": {"selected_model": "qwen"}}
    assert ran.json["on_disconnect"] == "cancel"
    assert result.conversation_id == "thread-1"


def test_a_named_conversation_is_the_thread() -> None:
    result, fake = answer_to(STREAMING, conversation_id="财务/周报")

    assert fake.requests[0].path == "/api/v1/chat/threads/%E8%B4%A2%E5%8A%A1%2F%E5%91%A8%E6%8A%A5/completion"
    assert result.conversation_id == "财务/周报"


def test_a_failure_keeps_the_conversation() -> None:
    assert failure_of(STREAMING, "error_in_200").conversation_id == RUN_ID


@pytest.mark.parametrize("conversation", ["..", ".", " "])
def test_a_conversation_cannot_leave_its_place_in_the_address(conversation: str) -> None:
    error = failure_of(STREAMING, "ok", conversation_id=conversation)

    assert error.kind is ErrorKind.CONFIG


@pytest.mark.parametrize("base", ["", "/", "/api", "/api/", "/api/v1", "/api/v1/"])
def test_every_usual_spelling_of_the_base_url_finds_the_platform(base: str) -> None:
    result, fake = answer_to(replace(STREAMING, base=base))

    assert result.text == ANSWER
    assert fake.requests[0].path.startswith("/api/v1/chat/")


def test_any_other_path_is_taken_as_it_stands() -> None:
    _, fake = answer_to(replace(STREAMING, base="/gateway/agents"))

    assert fake.requests[0].path.startswith("/gateway/agents/v1/chat/")


@pytest.mark.parametrize("step", ["网关", "%E7%BD%91%E5%85%B3"])
def test_a_path_may_be_written_in_any_script(step: str) -> None:
    _, fake = answer_to(replace(STREAMING, base=f"/{step}/agents?v=1"))

    assert fake.requests[0].path.startswith("/%E7%BD%91%E5%85%B3/agents/v1/chat/")
    assert fake.requests[0].path.endswith("/completion?v=1")


def test_a_run_id_that_is_no_uuid_gives_the_same_thread_on_every_attempt() -> None:
    first, _ = answer_to(STREAMING, run_id="manual-1")
    second, _ = answer_to(STREAMING, run_id="manual-1")

    assert first.conversation_id == second.conversation_id
    assert len(first.conversation_id or "") == 36


def test_only_the_messages_of_this_run_count() -> None:
    state = {
        "messages": [
            {**HUMAN, "content": "gestern"},
            ai("old", usage_metadata={"input_tokens": 500, "output_tokens": 500}),
            HUMAN,
            ai("", tool_calls=[{"name": "search"}], usage_metadata={"input_tokens": 10, "output_tokens": 1}),
            {"type": "tool", "content": "found"},
            ai("new", usage_metadata={"input_tokens": 20, "output_tokens": 2}),
        ]
    }
    result = answer_with(STREAMING, stream_of(sse("values", state), END))

    assert (result.text, result.usage.input_tokens, result.usage.output_tokens) == ("new", 30, 3)


def test_an_old_answer_never_stands_in_for_a_missing_new_one() -> None:
    state = {"messages": [{**HUMAN, "content": "gestern"}, ai("old"), HUMAN]}

    assert failure_with(STREAMING, stream_of(sse("values", state), END)).kind is ErrorKind.EMPTY
    data = {"status": "completed", "result": state, "last_message": ai("old")}
    assert failure_with(BLOCKING, json_of({"status": "ok", "data": data})).kind is ErrorKind.EMPTY


def test_a_run_that_stops_before_its_tools_waits_for_approval_though_the_platform_says_completed() -> None:
    calls = [{"name": "drop_table", "args": {}}]
    state = {"messages": [HUMAN, ai("I will drop it", tool_calls=calls)]}
    result = answer_with(STREAMING, stream_of(sse("values", state), END))

    assert (result.status, result.data) == ("requires_action", {"tool_calls": calls})


@pytest.mark.parametrize("interrupt", [[], [{"value": "ok?"}]])
def test_an_interrupt_counts_with_and_without_an_end(interrupt: list[object]) -> None:
    frames = [sse("values", {"messages": [HUMAN]}), sse("updates", {"__interrupt__": interrupt})]

    assert answer_with(STREAMING, stream_of(*frames)).status == "requires_action"
    assert answer_with(STREAMING, stream_of(*frames, END)).data == interrupt


def test_an_error_event_wins_over_an_end_that_follows() -> None:
    frames = stream_of(sse("values", {"messages": [HUMAN, ai("half")]}), sse("error", {"error": "boom"}), END)

    assert failure_with(STREAMING, frames).kind is ErrorKind.REMOTE_FAILED


def test_an_end_with_a_failed_status_is_a_failure() -> None:
    frames = stream_of(
        sse("values", {"messages": [HUMAN, ai("half")]}), sse("end", {"status": "failed", "msg": "坏了"})
    )
    error = failure_with(STREAMING, frames)

    assert error.kind is ErrorKind.REMOTE_FAILED
    assert "坏了" in error.message


def test_crlf_and_raw_line_separators_inside_json_do_not_split_an_event() -> None:
    text = "一\u2028二\x85三"
    values = sse("values", {"messages": [HUMAN, ai(text)]}).replace(b"\n", b"\r\n")

    assert answer_with(STREAMING, stream_of(values, END.replace(b"\n", b"\r\n"))).text == text


def test_halves_of_an_emoji_never_reach_the_ledger() -> None:
    values = b'event: values\ndata: {"messages": [{"type": "ai", "content": "ok \\ud83d"}]}\n\n'

    assert answer_with(STREAMING, stream_of(values, END)).text == "ok \ufffd"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ErrorKind.INVALID),
        (401, ErrorKind.AUTH),
        (403, ErrorKind.AUTH),
        (404, ErrorKind.NOT_FOUND),
        (409, ErrorKind.BUSY),
        (429, ErrorKind.THROTTLED),
        (461, ErrorKind.AUTH),
        (500, ErrorKind.REMOTE_FAILED),
        (503, ErrorKind.UNAVAILABLE),
    ],
)
def test_an_error_envelope_means_what_its_code_says(code: int, kind: ErrorKind) -> None:
    envelope = json_of({"status": "error", "msg": "智能体不存在", "data": None, "code": code})
    error = failure_with(STREAMING, envelope)

    assert (error.kind, error.http_status) == (kind, 200)
    assert "智能体不存在" in error.message


def test_a_blocking_result_in_modes_and_payloads_is_understood() -> None:
    result = [["updates", {}], ["values", {"messages": [HUMAN, ai(ANSWER)]}]]
    envelope = json_of({"status": "ok", "data": {"status": "completed", "result": result}})

    assert answer_with(BLOCKING, envelope).text == ANSWER


def test_a_workflow_gets_its_inputs_and_gives_outputs_as_data() -> None:
    result, fake = answer_to(WORKFLOW)

    (request,) = fake.requests
    assert request.path == "/api/v1/workflows/daily-report/run"
    assert request.json == {"inputs": {"day": "今天"}, "user_name": "ops", "response_mode": "blocking"}
    assert (result.text, result.data) == (ANSWER, {"report": ANSWER})


def test_outputs_without_a_written_result_are_readable_json() -> None:
    envelope = json_of({"status": "ok", "data": {"outputs": {"报告": "完成"}}})
    result = answer_with(WORKFLOW, envelope)

    assert (result.text, result.data) == ('{"报告": "完成"}', {"报告": "完成"})


def test_a_workflow_that_failed_inside_ok_is_a_failure() -> None:
    envelope = json_of({"status": "ok", "data": {"status": "failed", "error": "节点 3 失败", "outputs": {"a": 1}}})
    error = failure_with(WORKFLOW, envelope)

    assert error.kind is ErrorKind.REMOTE_FAILED
    assert "节点 3 失败" in error.message


def test_silence_ends_a_stream_only_where_the_task_says_so() -> None:
    error = failure_of(STREAMING, "stall", options={"idle_timeout": 0.2})

    assert error.kind is ErrorKind.OUTCOME_UNKNOWN
    assert "silence" in error.message


def test_a_growing_state_may_repeat_itself_beyond_the_limit_of_one_answer() -> None:
    growing = [sse("values", {"messages": [HUMAN, ai("x" * 9000)]}) for _ in range(20)]

    assert len(answer_with(STREAMING, stream_of(*growing, END), max_bytes=16384).text) == 9000
    error = failure_with(STREAMING, stream_of(*growing * 2, END), max_bytes=16384)
    assert error.kind is ErrorKind.PROTOCOL


def test_one_event_may_not_exceed_the_limit_of_one_answer() -> None:
    event = sse("values", {"messages": [HUMAN, ai("x" * 20000)]})

    assert failure_with(STREAMING, stream_of(event, END), max_bytes=16384).kind is ErrorKind.PROTOCOL


def test_an_event_stream_is_utf_8_whatever_its_head_says() -> None:
    frames = [sse("values", {"messages": [HUMAN, ai(ANSWER)]}), END]

    assert answer_with(STREAMING, Answer("text/event-stream; charset=latin-1", frames)).text == ANSWER


def test_a_compressed_event_stream_is_refused_for_it_has_no_limit() -> None:
    frames = [gzip.compress(sse("values", {"messages": [HUMAN, ai(ANSWER)]}) + END)]
    error = failure_with(STREAMING, Answer("text/event-stream", frames, content_encoding="gzip"))

    assert error.kind is ErrorKind.PROTOCOL
    assert "compressed" in error.message
