"""What only A2A agents do: cards, two protocols, tasks, and JSON-RPC's errors inside a 200."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.content import json_text
from providers.http import client_for
from tests.contract.cases import CASES, KEY, MAX_BYTES, RUN_ID, answer_to, attempt, endpoint_of, failure_of, raised
from tests.contract.dialects_a2a import CARD, CONTEXT_ID, TASK_ID, answered, refused, said, task
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, Answer, json_answer, prepared
from tests.contract.test_agent_platform import answer_with, failure_with

NEW, OLD = [case for case in CASES if case.provider == "a2a"]
PINNED = {"version": "1.0"}
HANDLE = RemoteHandle(
    "a2a",
    {
        "task_id": TASK_ID,
        "context_id": CONTEXT_ID,
        "version": "1.0",
        "path": "/a2a/rpc",
        "tenant": "",
        "run_id": RUN_ID,
    },
    resumable=True,
)


def artifact(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"artifactId": "a-1", "parts": list(parts)}


def completed(**fields: Any) -> Answer:
    return answered({"task": task("completed", **fields)})


async def on(fake: FakeAgent, handle: RemoteHandle) -> AgentResult:
    """Go on with a task that an earlier attempt began."""
    endpoint = endpoint_of(NEW, fake.url)
    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, MAX_BYTES)
        return await call(registry.get("a2a"), context, NEW.request(fake.url), handle)


async def cancelled(fake: FakeAgent) -> bool:
    endpoint = endpoint_of(NEW, fake.url)
    async with client_for(endpoint) as client:
        return await registry.get("a2a").cancel(CallContext(client, endpoint, MAX_BYTES), HANDLE)


def told(card: object, *, base: str = "/a2a", target: str = "daily-report") -> tuple[AgentResult, FakeAgent]:
    """The answer of an agent with this card, and the agent."""

    def script(received: Received) -> Answer | None:
        return prepared(card) if received.method == "GET" else completed(artifacts=[artifact({"text": ANSWER})])

    async def scene() -> tuple[AgentResult, FakeAgent]:
        async with FakeAgent(script=script) as fake:
            return await attempt(replace(NEW, base=base), fake.url, target=target), fake

    return asyncio.run(scene())


def refused_card(card: object) -> AgentError:
    async def scene() -> AgentError:
        async with FakeAgent(script=lambda _: json_answer(card, "ok")) as fake:
            error = await raised(attempt(NEW, fake.url))
            assert [received.method for received in fake.requests] == ["GET"]
            return error

    return asyncio.run(scene())


# -- discovery ----------------------------------------------------------------------------------------


def test_a_message_goes_where_the_card_says_and_its_task_is_asked_for() -> None:
    result, fake = answer_to(NEW)

    card, sent, asked = fake.requests
    assert (card.method, card.path) == ("GET", "/a2a/.well-known/agent-card.json")
    assert (sent.path, sent.headers["a2a-version"], sent.json["method"]) == ("/a2a/rpc", "1.0", "SendMessage")
    assert sent.json["params"] == {
        "message": {
            "messageId": RUN_ID,
            "role": "ROLE_USER",
            "parts": [{"text": "写日报 ✅"}],
            "metadata": {"user": "ops"},
        },
        "configuration": {"returnImmediately": True, "historyLength": 10},
    }
    assert (asked.json["method"], asked.json["params"]["id"]) == ("GetTask", TASK_ID)
    assert result.conversation_id == CONTEXT_ID


def test_a_pinned_version_needs_no_card_and_speaks_its_own_words() -> None:
    _, fake = answer_to(OLD)

    sent, asked = fake.requests
    assert (sent.path, sent.json["method"]) == ("/a2a/rpc", "message/send")
    assert "a2a-version" not in sent.headers
    assert sent.json["params"]["message"]["parts"] == [{"kind": "text", "text": "写日报 ✅"}]
    assert sent.json["params"]["message"]["kind"] == "message"
    assert sent.json["params"]["configuration"]["blocking"] is False
    assert asked.json["method"] == "tasks/get"


def test_a_conversation_is_the_context_of_the_message() -> None:
    _, fake = answer_to(NEW, conversation_id="c-1")

    assert fake.requests[1].json["params"]["message"]["contextId"] == "c-1"


def test_a_card_of_protocol_0_3_is_understood() -> None:
    _, fake = told({"protocolVersion": "0.3.0", "url": "http://elsewhere.example/a2a/rpc", "name": "old"})

    assert (fake.requests[1].path, fake.requests[1].json["method"]) == ("/a2a/rpc", "message/send")


def test_another_interface_of_an_old_card_is_found() -> None:
    others = [{"transport": "GRPC", "url": "x:443"}, {"transport": "JSONRPC", "url": "/rpc?v=1"}]
    card = {"protocolVersion": "0.3.0", "url": "x", "preferredTransport": "GRPC", "additionalInterfaces": others}

    assert told(card)[1].requests[1].path == "/rpc?v=1"


def test_a_tenant_of_the_card_goes_along() -> None:
    interface = {"url": "/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "t-1"}

    assert told({"supportedInterfaces": [interface]})[1].requests[1].json["params"]["tenant"] == "t-1"


def test_requests_never_leave_the_origin_of_the_base_url_whatever_the_card_names() -> None:
    interface = {
        "url": "http://169.254.169.254/latest/meta-data",
        "protocolBinding": "JSONRPC",
        "protocolVersion": "1.0",
    }
    _, fake = told({"supportedInterfaces": [interface]})

    assert [received.path for received in fake.requests][1:] == ["/latest/meta-data"]


def test_a_step_of_the_base_url_may_stand_for_the_agent() -> None:
    _, fake = told(CARD, base="/a2a/{agent_id}", target="日报/..")

    assert fake.requests[0].path == "/a2a/%E6%97%A5%E6%8A%A5%2F../.well-known/agent-card.json"


@pytest.mark.parametrize(
    ("card", "offers"),
    [
        ({}, "none"),
        ({"supportedInterfaces": "none", "url": 3}, "none"),
        ({"protocolVersion": "2.0", "url": "/"}, "JSONRPC 2.0"),
        ({"supportedInterfaces": [{"url": "x", "protocolBinding": "GRPC", "protocolVersion": "1.0"}]}, "GRPC 1.0"),
    ],
)
def test_a_card_without_an_interface_of_ours_says_what_it_offers(card: dict[str, Any], offers: str) -> None:
    error = refused_card(card)

    assert error.kind is ErrorKind.CONFIG
    assert f"no JSON-RPC interface of protocol 0.3 or 1.0, only: {offers}" in error.message


@pytest.mark.parametrize(("card", "kind"), [([1], ErrorKind.PROTOCOL), ({"url": "http://h:port"}, ErrorKind.CONFIG)])
def test_a_card_that_is_none_is_told(card: object, kind: ErrorKind) -> None:
    assert refused_card(card).kind is kind


@pytest.mark.parametrize(
    ("fault", "words"), [("cut", "the connection broke"), ("reset", "the connection broke"), ("status:503", "HTTP 503")]
)
def test_a_card_that_cannot_be_read_says_that_no_task_was_begun(fault: str, words: str) -> None:
    async def scene() -> AgentError:
        async with FakeAgent(fault, script=lambda _: json_answer(CARD, "ok")) as fake:
            return await raised(attempt(NEW, fake.url))

    error = asyncio.run(scene())
    assert error.kind is ErrorKind.CONNECT
    assert words in error.message
    assert "no task was begun" in error.message


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("status:401", ErrorKind.AUTH), ("status:404", ErrorKind.NOT_FOUND), ("throttled_int", ErrorKind.THROTTLED)],
)
def test_a_card_that_is_refused_keeps_its_reason(fault: str, kind: ErrorKind) -> None:
    async def scene() -> AgentError:
        async with FakeAgent(fault, script=lambda _: json_answer(CARD, "ok")) as fake:
            return await raised(attempt(NEW, fake.url))

    assert asyncio.run(scene()).kind is kind


def test_a_wrong_version_is_told_with_its_mend() -> None:
    error = failure_of(NEW, "ok", options={"version": "0.2"})

    assert error.kind is ErrorKind.CONFIG
    assert "must be 0.3 or 1.0" in error.message


# -- answers ------------------------------------------------------------------------------------------


def test_a_bare_message_is_an_answer() -> None:
    new = answered({"message": {**said(ANSWER), "contextId": "c-1"}})
    old = answered(said(ANSWER, old=True))

    assert answer_with(NEW, new, options=PINNED).text == answer_with(OLD, old).text == ANSWER
    assert answer_with(NEW, new, options=PINNED).conversation_id == "c-1"


def test_a_task_that_ends_at_once_leaves_no_handle() -> None:
    handles: list[RemoteHandle] = []
    answer_with(NEW, completed(artifacts=[artifact({"text": ANSWER})]), options=PINNED, handles=handles)

    assert handles == []


def test_several_artifacts_are_paragraphs_and_data_is_kept_as_data() -> None:
    made = [artifact({"text": "一"}, {"text": "二"}), artifact({"data": {"总数": 3}}), artifact({"text": "三"})]
    result = answer_with(NEW, completed(artifacts=made), options=PINNED)

    assert (result.text, result.data) == ("一二\n\n三", {"总数": 3})


def test_data_without_text_is_readable() -> None:
    made = [artifact({"kind": "data", "data": {"总数": 3}}, {"kind": "file", "file": {"uri": "http://x/y"}})]
    result = answer_with(OLD, answered(task("completed", old=True, artifacts=made)))

    assert result.data == [{"总数": 3}, {"kind": "file", "file": {"uri": "http://x/y"}}]
    assert result.text == json_text(result.data)


def test_without_artifacts_the_last_words_are_the_answer_and_never_older_ones() -> None:
    history = [said("old"), said("写日报", role="user")]
    by_status = completed(message=said(ANSWER), history=history)
    by_history = completed(history=[*history, said(ANSWER)])
    silent = completed(history=history)

    assert answer_with(NEW, by_status, options=PINNED).text == ANSWER
    assert answer_with(NEW, by_history, options=PINNED).text == ANSWER
    assert failure_with(NEW, silent, options=PINNED).kind is ErrorKind.EMPTY


@pytest.mark.parametrize("state", ["input-required", "auth-required"])
def test_a_task_that_waits_for_somebody_keeps_its_question(state: str) -> None:
    asked = answer_with(NEW, answered({"task": task(state, message=said("批准吗？"))}), options=PINNED)
    mute = answer_with(OLD, answered(task(state, old=True)))

    assert (asked.status, asked.text, asked.data) == ("requires_action", "批准吗？", said("批准吗？"))
    assert (mute.status, mute.data) == ("requires_action", {"state": state})


@pytest.mark.parametrize(
    ("state", "kind"),
    [("failed", ErrorKind.REMOTE_FAILED), ("rejected", ErrorKind.INVALID), ("canceled", ErrorKind.CANCELLED)],
)
def test_a_task_that_ended_badly_says_why(state: str, kind: ErrorKind) -> None:
    new = failure_with(NEW, answered({"task": task(state, message=said("坏了"))}), options=PINNED)
    old = failure_with(OLD, answered(task(state, old=True)))

    assert (new.kind, old.kind) == (kind, kind)
    assert "坏了" in new.message


@pytest.mark.parametrize(
    "result",
    [{}, {"parts": 1}, {"task": {"id": "t"}}, {"task": {"id": "t", "status": {"state": "TASK_STATE_ODD"}}}],
)
def test_what_is_neither_task_nor_message_is_no_answer(result: dict[str, Any]) -> None:
    assert failure_with(NEW, answered(result), options=PINNED).kind is ErrorKind.PROTOCOL


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32700, ErrorKind.INVALID),
        (-32600, ErrorKind.INVALID),
        (-32601, ErrorKind.CONFIG),
        (-32602, ErrorKind.INVALID),
        (-32603, ErrorKind.UNAVAILABLE),
        (-32001, ErrorKind.NOT_FOUND),
        (-32004, ErrorKind.INVALID),
        (-32005, ErrorKind.INVALID),
        (-32006, ErrorKind.REMOTE_FAILED),
        (-32009, ErrorKind.CONFIG),
        (-32050, ErrorKind.REMOTE_FAILED),
    ],
)
def test_an_error_of_json_rpc_inside_a_200_means_what_its_code_says(code: int, kind: ErrorKind) -> None:
    error = failure_with(NEW, refused(code, "坏了"), options=PINNED)

    assert (error.kind, error.http_status) == (kind, 200)
    assert "坏了" in error.message


# -- tasks that outlive us ----------------------------------------------------------------------------


def test_the_handle_holds_all_that_a_later_attempt_needs_and_no_host() -> None:
    handles: list[RemoteHandle] = []
    answer_to(NEW, handles=handles)

    assert handles == [HANDLE]
    assert "127.0.0.1" not in handles[0].as_text()
    assert KEY not in handles[0].as_text()


def test_a_task_that_works_for_long_is_waited_for() -> None:
    async def scene() -> None:
        waiting = [task("submitted"), task("working", message=said("hm")), task("working")]

        def script(received: Received) -> Answer | None:
            return answered(waiting.pop(0)) if received.fields.get("method") == "GetTask" and waiting else None

        async with FakeAgent(script=script) as fake:
            assert (await attempt(NEW, fake.url)).text == ANSWER
            asked = [received.fields.get("method") for received in fake.requests]
            assert asked == [None, "SendMessage", "GetTask", "GetTask", "GetTask", "GetTask"]

    asyncio.run(scene())


def test_a_task_that_the_agent_forgot_is_unknown_and_not_asked_for_again() -> None:
    async def scene() -> AgentError:
        async with FakeAgent(scripted=refused(-32001)) as fake:
            error = await raised(on(fake, HANDLE))
            assert [received.json["method"] for received in fake.requests] == ["GetTask"]
            return error

    error = asyncio.run(scene())
    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, True)
    assert "does not know the task any more" in error.message


@pytest.mark.parametrize(
    ("answer", "done"),
    [
        (answered(task("canceled")), True),
        (refused(-32001), True),
        (refused(-32002), True),
        (refused(-32603), False),
        (json_answer({}, "no_json"), False),
    ],
)
def test_a_cancel_of_a_task_that_has_ended_counts_as_done(answer: Answer, done: bool) -> None:
    async def scene() -> None:
        async with FakeAgent(scripted=answer) as fake:
            assert await cancelled(fake) is done
            (asked,) = fake.requests
            assert (asked.json["method"], asked.json["params"]) == ("CancelTask", {"id": TASK_ID})
            assert asked.headers["idempotency-key"] == RUN_ID

    asyncio.run(scene())
