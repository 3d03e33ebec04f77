"""What only LangGraph Server does: threads, runs that outlive their connection, states, and its words for failure."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle, resumable_handle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, KEY, MAX_BYTES, RUN_ID, answer_to, attempt, endpoint_of, failure_of, raised
from tests.contract.dialects_langgraph import LOCATION, RUN, THREAD
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, INTERRUPT, Answer, json_answer, prepared, sse

AGENT, WORKFLOW = (case for case in CASES if case.provider == "langgraph")
HANDLE = RemoteHandle("langgraph", {"thread_id": THREAD, "run_id": RUN}, resumable=True)
CONVERSATION = "3f8c2b9e-2f0f-4a55-9d52-6f5d6f1a0001"

Script = Callable[[Received], Answer | None]


def served(script: Script, case: Any = AGENT, **changes: Any) -> tuple[AgentResult | AgentError, FakeAgent]:
    """The outcome of a call whose server answers as scripted, and as usual where the script says None."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(script=script) as fake:
            try:
                return await attempt(case, fake.url, **changes), fake
            except AgentError as error:
                return error, fake

    return asyncio.run(scene())


def resumed(script: Script, fault: str = "ok", **changes: Any) -> tuple[AgentResult | AgentError, FakeAgent]:
    """The outcome of an attempt that goes on with the run of an earlier one."""

    async def scene() -> tuple[AgentResult | AgentError, FakeAgent]:
        async with FakeAgent(fault, script=script) as fake:
            endpoint = endpoint_of(AGENT, fake.url)
            async with client_for(endpoint) as client:
                context, request = CallContext(client, endpoint, MAX_BYTES), AGENT.request(fake.url, **changes)
                try:
                    return await call(registry.get("langgraph"), context, request, HANDLE), fake
                except AgentError as error:
                    return error, fake

    return asyncio.run(scene())


def as_usual(received: Received) -> Answer | None:
    return None


def paths(fake: FakeAgent) -> list[tuple[str, str]]:
    return [(request.method, request.path.removeprefix("/lg/threads")) for request in fake.requests]


def left(values: object, **more: object) -> Answer:
    return json_answer([{"values": values, "next": [], "tasks": [], **more}], "ok")


def test_a_run_is_made_on_a_thread_of_its_own_and_its_end_is_confirmed() -> None:
    result, fake = answer_to(AGENT, options={"recursion_limit": 9, "context": {"locale": "zh"}, "input": {"day": 1}})

    opened, ran, *_ = (request.json for request in fake.requests)
    assert paths(fake) == [
        ("POST", ""),
        ("POST", f"/{opened['thread_id']}/runs/stream"),
        ("GET", f"/{THREAD}/runs/{RUN}"),
        ("POST", f"/{THREAD}/history"),
    ]
    assert opened["if_exists"] == "do_nothing"
    assert (ran["assistant_id"], ran["multitask_strategy"], ran["on_disconnect"]) == (
        "daily-report",
        "reject",
        "continue",
    )
    assert ran["input"] == {"day": 1, "messages": [{"type": "human", "content": "写日报 ✅"}]}
    assert (ran["config"], ran["context"]) == ({"recursion_limit": 9}, {"locale": "zh"})
    assert ran["metadata"] == {"scheduler_run_id": RUN_ID, "user": "ops"}
    assert fake.requests[-1].json == {"limit": 1, "metadata": {"run_id": RUN}}
    assert result.conversation_id == THREAD


def test_the_thread_is_named_after_the_run_so_that_every_attempt_finds_it() -> None:
    names = {answer_to(AGENT)[1].requests[0].json["thread_id"] for _ in range(2)}
    _, other = answer_to(AGENT, run_id="another")

    assert len(names) == 1
    assert other.requests[0].json["thread_id"] not in names


def test_a_workflow_gets_its_inputs_and_gives_the_state_as_data() -> None:
    values = {"report": {"text": ANSWER}, "pages": 3}
    result, fake = served(lambda r: left(values) if "history" in r.path else None, WORKFLOW)

    assert fake.requests[1].json["input"] == {"day": "今天"}
    assert isinstance(result, AgentResult)
    assert (result.data, result.text) == (values, '{"report": {"text": "日报已生成 ✅ café"}, "pages": 3}')

    result, _ = served(
        lambda r: left(values) if "history" in r.path else None, WORKFLOW, options={"result_path": "report.text"}
    )
    assert isinstance(result, AgentResult)
    assert result.text == ANSWER


def test_the_handle_is_named_by_the_head_and_by_the_first_event_where_a_proxy_dropped_it() -> None:
    def headless(received: Received) -> Answer | None:
        frames = [sse("metadata", {"run_id": RUN, "attempt": 1})]
        return Answer("text/event-stream", frames) if received.path.endswith("/stream") else None

    handles: list[RemoteHandle] = []
    answer_to(AGENT, handles=handles)
    assert handles == [HANDLE]
    assert resumable_handle(HANDLE.as_text()) == HANDLE

    handles.clear()
    result, fake = served(headless, handles=handles)
    thread_id = fake.requests[0].json["thread_id"]
    assert [dict(handle.ids) for handle in handles] == [{"thread_id": thread_id, "run_id": RUN}]
    assert isinstance(result, AgentResult)


def test_a_stream_that_names_no_run_leaves_the_outcome_unknown() -> None:
    error, _ = served(lambda r: Answer("text/event-stream", [b": hi\n\n"]) if r.path.endswith("/stream") else None)

    assert isinstance(error, AgentError)
    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, False)


def test_a_resumed_run_is_waited_for_and_nothing_is_begun() -> None:
    states = iter(["pending", "success"])
    result, fake = resumed(lambda r: prepared({"status": next(states)}) if r.path.endswith(RUN) else None)

    assert isinstance(result, AgentResult)
    assert (result.text, result.usage.input_tokens) == (ANSWER, 11)
    run = f"/{THREAD}/runs/{RUN}"
    assert paths(fake) == [("GET", run), ("GET", f"{run}/join"), ("GET", run), ("POST", f"/{THREAD}/history")]


@pytest.mark.parametrize("body", [b"", b"\n\n\n", b'{"messages": []}'])
def test_a_wait_that_is_cut_politely_leaves_the_run_to_the_next_attempt(body: bytes) -> None:
    def cut(received: Received) -> Answer | None:
        if received.path.endswith("/join"):
            return Answer("application/json", [body])
        return prepared({"status": "running"}) if received.path.endswith(RUN) else None

    error, _ = resumed(cut)

    assert isinstance(error, AgentError)
    assert (error.kind, error.over, error.conversation_id) == (ErrorKind.OUTCOME_UNKNOWN, False, THREAD)


def test_a_run_that_the_server_forgot_is_not_asked_for_again() -> None:
    gone = Answer("application/json", [b'{"detail": "Not Found"}'], status=404)
    error, _ = resumed(lambda r: replace_role(gone) if r.path.endswith(RUN) else None)

    assert isinstance(error, AgentError)
    assert (error.kind, error.over, error.http_status) == (ErrorKind.OUTCOME_UNKNOWN, True, 404)


def replace_role(answer: Answer) -> Answer:
    return Answer(answer.content_type, answer.frames, status=answer.status, role="preliminary")


def test_a_failed_run_is_told_in_the_words_of_its_graph() -> None:
    error, _ = resumed(as_usual, "error_in_200")

    assert isinstance(error, AgentError)
    assert (error.kind, error.conversation_id) == (ErrorKind.REMOTE_FAILED, THREAD)
    assert "ToolException: 工具调用失败" in error.message


@pytest.mark.parametrize("status", ["interrupted", "timeout", "error"])
def test_a_run_that_was_cut_there_has_failed_though_its_state_has_a_next_step(status: str) -> None:
    def cut(received: Received) -> Answer | None:
        if received.path.endswith("/history"):
            return left({"messages": [{"type": "human", "content": "?"}]}, next=["answer"])
        return prepared({"status": status}) if received.path.endswith(RUN) else None

    error, _ = resumed(cut)

    assert isinstance(error, AgentError)
    assert error.kind is ErrorKind.REMOTE_FAILED
    assert status in error.message


@pytest.mark.parametrize("status", ["success", "interrupted"])
def test_an_interrupt_asks_a_human_whatever_the_run_calls_it(status: str) -> None:
    def asking(received: Received) -> Answer | None:
        if received.path.endswith("/history"):
            return left({}, next=["approve"], tasks=[{"name": "approve", "interrupts": INTERRUPT}])
        return prepared({"status": status}) if received.path.endswith(RUN) else None

    result, _ = resumed(asking)

    assert isinstance(result, AgentResult)
    assert (result.status, result.data) == ("requires_action", INTERRUPT)


def test_a_breakpoint_is_a_pause_for_somebody() -> None:
    result, _ = served(lambda r: left({"messages": []}, next=["publish"]) if "history" in r.path else None)

    assert isinstance(result, AgentResult)
    assert (result.status, result.data) == ("requires_action", {"next": ["publish"]})


class Threads:
    """A server that remembers what ran on which thread."""

    def __init__(self, *, first: str, metadata_run: str = RUN_ID) -> None:
        self.first, self.metadata_run = first, metadata_run
        self.opened: list[str] = []
        self.begun: list[str] = []

    def __call__(self, received: Received) -> Answer | None:
        path = received.path.removeprefix("/lg/threads")
        if not path:
            thread_id = received.json["thread_id"]
            state = {"status": "idle", "values": None} if self.opened else {"status": "error", "values": {}}
            self.opened.append(thread_id)
            return prepared({"thread_id": thread_id, **state})
        if path.endswith("/runs?limit=1"):
            return prepared([{"run_id": RUN, "metadata": {"scheduler_run_id": self.metadata_run}}])
        if path.endswith("/stream"):
            self.begun.append(path.split("/")[1])
            thread = self.begun[-1]
            return Answer(
                "text/event-stream",
                [sse("metadata", {"run_id": "new"})],
                headers={"Content-Location": LOCATION.replace(THREAD, thread).replace(RUN, "new")},
            )
        if path.endswith(f"/runs/{RUN}"):
            return prepared({"status": self.first})
        if path.endswith("/runs/new"):
            return prepared({"status": "success"})
        return prepared({}) if path.endswith("/join") else None


@pytest.mark.parametrize("first", ["success", "pending"])
def test_a_run_whose_name_was_lost_is_found_on_its_thread_and_not_begun_twice(first: str) -> None:
    threads, handles = Threads(first=first), list[RemoteHandle]()
    outcome, _ = served(threads, handles=handles)

    assert threads.begun == []
    assert [dict(handle.ids) for handle in handles] == [{"thread_id": threads.opened[0], "run_id": RUN}]
    if first == "success":
        assert isinstance(outcome, AgentResult)
    else:
        assert isinstance(outcome, AgentError)
        assert outcome.kind is ErrorKind.OUTCOME_UNKNOWN


@pytest.mark.parametrize("first", ["interrupted", "timeout"])
def test_after_a_known_failure_the_next_attempt_takes_another_thread(first: str) -> None:
    threads = Threads(first=first)
    outcome, _ = served(threads)

    assert isinstance(outcome, AgentResult)
    assert len(set(threads.opened)) == 2
    assert threads.begun == threads.opened[1:]


def test_a_conversation_keeps_its_thread_after_a_failure_too() -> None:
    threads = Threads(first="interrupted")
    outcome, _ = served(threads, conversation_id=CONVERSATION)

    assert isinstance(outcome, AgentResult)
    assert threads.begun == [CONVERSATION]


def test_another_runs_end_on_the_thread_is_not_taken_for_ours() -> None:
    threads = Threads(first="success", metadata_run="another")
    outcome, _ = served(threads, conversation_id=CONVERSATION)

    assert isinstance(outcome, AgentResult)
    assert threads.begun == [CONVERSATION]


def test_a_busy_thread_is_busy() -> None:
    error = failure_of(AGENT, "status:409", conversation_id=CONVERSATION)

    assert (error.kind, error.conversation_id) == (ErrorKind.BUSY, CONVERSATION)


def test_silence_longer_than_any_heartbeat_is_a_broken_connection() -> None:
    error = failure_of(AGENT, "stall", options={"idle_timeout": 0.3})

    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, False)
    assert "silence" in error.message


def test_the_deadline_interrupts_the_run_and_waits_until_it_stands() -> None:
    async def scene() -> None:
        async with FakeAgent("stall") as fake:
            error = await raised(attempt(AGENT, fake.url, timeout=2))
            assert error.kind is ErrorKind.TIMEOUT
            assert fake.cancelled == [f"/lg/threads/{THREAD}/runs/{RUN}/cancel?wait=true&action=interrupt"]
            assert "was told to stop" in error.message

    asyncio.run(scene())


@pytest.mark.parametrize(("status", "stopped"), [(200, True), (404, True), (500, False), (401, False)])
def test_a_run_that_has_ended_counts_as_stopped(status: int, stopped: bool) -> None:
    async def scene() -> bool:
        answer = Answer("application/json", [b"{}"], status=status, role="preliminary")
        async with FakeAgent(script=lambda received: answer) as fake:
            endpoint = endpoint_of(AGENT, fake.url)
            async with client_for(endpoint) as client:
                return await registry.get("langgraph").cancel(CallContext(client, endpoint, MAX_BYTES), HANDLE)

    assert asyncio.run(scene()) is stopped


def test_the_key_is_shown_in_its_own_header_also_when_cancelling() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            endpoint = endpoint_of(AGENT, fake.url)
            async with client_for(endpoint) as client:
                assert await registry.get("langgraph").cancel(CallContext(client, endpoint, MAX_BYTES), HANDLE)
            assert fake.requests[0].headers["x-api-key"] == KEY
            assert "authorization" not in fake.requests[0].headers

    asyncio.run(scene())
