"""The adapter of LangGraph against LangGraph Server: its threads, states and failures as they really are."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from core.outcome import ErrorKind, RemoteHandle
from tests.providers.calls import attempt, failure
from tests.providers.real_servers import LangGraphServer


def new_id() -> str:
    return str(uuid.uuid4())


def run_of(server: LangGraphServer, handle: RemoteHandle) -> str:
    """The status of a run, as the server says when asked past the adapter."""
    found = server.ask("GET", f"/threads/{handle.ids['thread_id']}/runs/{handle.ids['run_id']}")
    return str(found["status"])


def runs_on(server: LangGraphServer, thread_id: str | None) -> list[Any]:
    return list(server.ask("GET", f"/threads/{thread_id}/runs"))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_an_answer_comes_with_its_tokens_and_its_thread(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        result = await attempt("langgraph", langgraph.url, "写日报 ✅", run_id=new_id())

        assert (result.status, result.text) == ("succeeded", "echo: 写日报 ✅")
        assert (result.usage.input_tokens, result.usage.output_tokens) == (11, 7)
        assert len(runs_on(langgraph, result.conversation_id)) == 1

    run(scene)


def test_a_workflow_fills_its_state(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        fields: dict[str, Any] = {"kind": "workflow", "target": "report", "inputs": {"day": "今天"}}
        result = await attempt("langgraph", langgraph.url, run_id=new_id(), **fields)
        assert result.data == {"day": "今天", "report": {"text": "report of 今天", "pages": 3}}

        options = {"result_path": "report.text"}
        result = await attempt("langgraph", langgraph.url, run_id=new_id(), options=options, **fields)
        assert result.text == "report of 今天"

    run(scene)


def test_a_conversation_remembers_and_only_the_new_answer_counts(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        first = await attempt("langgraph", langgraph.url, "one", run_id=new_id())
        thread_id = first.conversation_id
        second = await attempt("langgraph", langgraph.url, "two", run_id=new_id(), conversation_id=thread_id)

        assert (second.text, second.usage.input_tokens) == ("echo: two", 11)
        assert len(langgraph.ask("GET", f"/threads/{thread_id}/state")["values"]["messages"]) == 4

    run(scene)


def test_a_graph_that_fails_is_a_failure_in_its_own_words(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        error = await failure("langgraph", langgraph.url, "fail 数据库没有回答", run_id=new_id())
        assert error.kind is ErrorKind.REMOTE_FAILED
        assert "ValueError: 数据库没有回答" in error.message

        error = await failure("langgraph", langgraph.url, "loop", run_id=new_id(), options={"recursion_limit": 3})
        assert error.kind is ErrorKind.REMOTE_FAILED
        assert "GraphRecursionError" in error.message

        error = await failure("langgraph", langgraph.url, "nothing", run_id=new_id())
        assert error.kind is ErrorKind.EMPTY

    run(scene)


def test_an_interrupt_asks_a_human(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        result = await attempt("langgraph", langgraph.url, "ask 批准吗？", run_id=new_id())

        assert result.status == "requires_action"
        assert [asked["value"] for asked in result.data] == [{"question": "批准吗？"}]

    run(scene)


def test_what_does_not_exist_is_refused(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        error = await failure("langgraph", langgraph.url, "hello", run_id=new_id(), target="nobody")
        assert (error.kind, error.http_status) == (ErrorKind.INVALID, 422)

        error = await failure("langgraph", langgraph.url, "hello", run_id=new_id(), conversation_id="财务")
        assert error.kind is ErrorKind.INVALID
        assert "UUID" in error.message

        gone = RemoteHandle("langgraph", {"thread_id": new_id(), "run_id": new_id()}, resumable=True)
        error = await failure("langgraph", langgraph.url, run_id=new_id(), begun=gone)
        assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, True)

    run(scene)


def test_the_deadline_stops_the_run_there(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        handles: list[RemoteHandle] = []
        error = await failure("langgraph", langgraph.url, "sleep 600", run_id=new_id(), timeout=5, handles=handles)

        assert error.kind is ErrorKind.TIMEOUT
        assert "was told to stop" in error.message
        assert run_of(langgraph, handles[0]) == "interrupted"

    run(scene)


async def _abandoned(server: LangGraphServer, message: str, run_id: str, **fields: Any) -> RemoteHandle:
    """The handle of a run whose worker dies while it goes on: nobody cancels it."""
    handles: list[RemoteHandle] = []
    try:
        async with asyncio.timeout(60):
            task = asyncio.create_task(
                attempt("langgraph", server.url, message, run_id=run_id, handles=handles, stop_when_cut=False, **fields)
            )
            await until(lambda: handles)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return handles[0]


def test_a_run_outlives_its_caller_and_is_gone_on_with(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        run_id = new_id()
        handle = await _abandoned(langgraph, "sleep 7", run_id)
        assert run_of(langgraph, handle) in {"pending", "running"}

        result = await attempt("langgraph", langgraph.url, "sleep 7", run_id=run_id, begun=handle)

        assert result.text == "echo: sleep 7"  # after a heartbeat of the server's
        assert len(runs_on(langgraph, handle.ids["thread_id"])) == 1

    run(scene)


def test_a_run_whose_handle_was_lost_is_found_and_not_begun_twice(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        run_id = new_id()
        handle = await _abandoned(langgraph, "sleep 3", run_id)

        result = await attempt("langgraph", langgraph.url, "sleep 3", run_id=run_id)
        again = await attempt("langgraph", langgraph.url, "sleep 3", run_id=run_id)

        assert result.text == again.text == "echo: sleep 3"
        assert len(runs_on(langgraph, handle.ids["thread_id"])) == 1

    run(scene)


def test_a_retry_after_a_known_failure_starts_on_a_clean_thread(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        run_id = new_id()
        failed = await failure("langgraph", langgraph.url, "fail 1", run_id=run_id)
        result = await attempt("langgraph", langgraph.url, "hello", run_id=run_id)

        assert result.text == "echo: hello"
        assert result.conversation_id != failed.conversation_id
        state = langgraph.ask("GET", f"/threads/{result.conversation_id}/state")
        assert len(state["values"]["messages"]) == 2

    run(scene)


def test_a_thread_where_another_run_is_active_is_busy(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        conversation = new_id()
        handle = await _abandoned(langgraph, "sleep 5", new_id(), conversation_id=conversation)

        error = await failure("langgraph", langgraph.url, "hello", run_id=new_id(), conversation_id=conversation)

        assert (error.kind, error.http_status) == (ErrorKind.BUSY, 409)
        await until(lambda: run_of(langgraph, handle) == "success")

    run(scene)


def test_an_answer_stays_the_answer_of_its_run_when_the_thread_goes_on(langgraph: LangGraphServer) -> None:
    async def scene() -> None:
        conversation, handles = new_id(), list[RemoteHandle]()
        await attempt("langgraph", langgraph.url, "one", run_id="run-1", conversation_id=conversation, handles=handles)
        await attempt("langgraph", langgraph.url, "two", run_id="run-2", conversation_id=conversation)

        late = await attempt("langgraph", langgraph.url, "one", run_id="run-1", begun=handles[0])

        assert late.text == "echo: one"

    run(scene)
