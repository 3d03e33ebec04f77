"""The adapter of A2A against an agent of the A2A SDK and against LangGraph Server, in both protocols."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.outcome import ErrorKind, RemoteHandle
from tests.providers.calls import attempt, failure
from tests.providers.real_servers import A2AAgent, LangGraphServer

Call = Callable[..., Awaitable[Any]]
Where = tuple[str, dict[str, Any]]

TASKS = ["card", "sdk 1.0", "sdk 0.3"]
# LangGraph Server overlooks that it is asked to answer at once: it names the task when that has ended.
BLOCKING = ["langgraph 1.0", "langgraph 0.3"]

every_way = pytest.mark.parametrize("where", [*TASKS, *BLOCKING], indirect=True)
every_task = pytest.mark.parametrize("where", TASKS, indirect=True)


@pytest.fixture
def where(request: pytest.FixtureRequest) -> Where:
    """The base URL of an agent, and the options that choose the protocol."""
    server, _, version = request.param.partition(" ")
    if server == "langgraph":
        langgraph: LangGraphServer = request.getfixturevalue("langgraph")
        (talk,) = langgraph.ask("POST", "/assistants/search", {"graph_id": "talk"})
        return f"{langgraph.url}/a2a/{talk['assistant_id']}", {"version": version}
    agent: A2AAgent = request.getfixturevalue("a2a_agent")
    return (f"{agent.url}/rpc", {"version": version}) if version else (agent.url, {})


def outcome(call: Call, where: Where, message: str, **fields: Any) -> Any:
    url, options = where
    return asyncio.run(call("a2a", url, message, run_id=str(uuid.uuid4()), options=options, **fields))  # type: ignore[arg-type]


@every_way
def test_an_answer_is_the_text_of_the_task(where: Where) -> None:
    handles: list[RemoteHandle] = []
    result = outcome(attempt, where, "写日报 ✅", handles=handles)

    assert (result.status, result.text) == ("succeeded", "echo: 写日报 ✅")
    assert result.usage.input_tokens is None


@every_way
def test_a_task_that_failed_is_a_failure(where: Where) -> None:
    error = outcome(failure, where, "fail 数据库没有回答")

    assert error.kind is ErrorKind.REMOTE_FAILED


@every_way
def test_a_task_that_needs_input_asks_a_human(where: Where) -> None:
    result = outcome(attempt, where, "ask 批准吗？")

    assert result.status == "requires_action"


@every_task
def test_the_deadline_cancels_the_task(where: Where) -> None:
    error = outcome(failure, where, "sleep 600", timeout=8)

    assert error.kind is ErrorKind.TIMEOUT
    assert "was told to stop" in error.message


@pytest.mark.parametrize("where", BLOCKING[:1], indirect=True)
def test_where_no_task_was_named_in_time_nobody_claims_to_have_stopped_it(where: Where) -> None:
    error = outcome(failure, where, "sleep 20", timeout=3)

    assert error.kind is ErrorKind.TIMEOUT
    assert "may still go on" in error.message


@every_task
def test_a_task_outlives_its_caller_and_is_gone_on_with(where: Where) -> None:
    async def scene() -> None:
        url, options = where
        handles: list[RemoteHandle] = []
        fields: dict[str, Any] = {"run_id": str(uuid.uuid4()), "options": options}
        begun = asyncio.create_task(attempt("a2a", url, "sleep 4", handles=handles, stop_when_cut=False, **fields))
        async with asyncio.timeout(60):
            while not handles:
                await asyncio.sleep(0.05)
        begun.cancel()
        await asyncio.wait([begun])

        result = await attempt("a2a", url, "sleep 4", begun=handles[0], **fields)

        assert result.text == "echo: sleep 4"

    asyncio.run(scene())


@every_task
def test_a_task_that_is_unknown_is_not_asked_for_again(where: Where) -> None:
    handles: list[RemoteHandle] = []
    outcome(attempt, where, "sleep 1", handles=handles)
    ids = {**handles[0].ids, "task_id": str(uuid.uuid4())}

    error = outcome(failure, where, "sleep 1", begun=RemoteHandle("a2a", ids, resumable=True))

    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, True)
