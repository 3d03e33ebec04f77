"""What only n8n does: webhooks and their answers, streams of lines, executions that outlive their caller."""

import json
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from tests.contract.cases import CASES, KEY, RUN_ID, answer_to, failure_of
from tests.contract.dialects_flows import EXECUTION
from tests.contract.fake_agent import Received
from tests.contract.fake_dialects import ANSWER, Answer, json_answer, prepared
from tests.contract.flow_scenes import Script, cancelled, outcome_of, resumed
from tests.contract.test_agent_platform import answer_with, failure_with

WEBHOOK, STREAMING, POLLED = (replace(case, options={}) for case in CASES if case.provider == "n8n")
HANDLE = RemoteHandle("n8n", {"execution_id": str(EXECUTION)}, resumable=True)


def said(body: object, content_type: str = "application/json") -> Answer:
    return Answer(content_type, [body.encode() if isinstance(body, str) else json.dumps(body).encode()])


@pytest.mark.parametrize(
    ("base", "target", "path"),
    [
        ("/n8n", "daily-report", "/n8n/webhook/daily-report"),
        ("/n8n/", "/daily-report/", "/n8n/webhook/daily-report"),
        ("/n8n/webhook", "daily-report", "/n8n/webhook/daily-report"),
        ("/n8n/webhook-test/", "daily-report", "/n8n/webhook-test/daily-report"),
        ("", "teams/财务/daily-report", "/webhook/teams/%E8%B4%A2%E5%8A%A1/daily-report"),
    ],
)
def test_a_webhook_is_found_by_its_path(base: str, target: str, path: str) -> None:
    _, fake = outcome_of(replace(WEBHOOK, base=base, target=target), lambda r: said({"output": ANSWER}))

    assert [request.path for request in fake.requests] == [path]


def test_a_path_cannot_climb_out_of_the_webhooks() -> None:
    error = failure_of(replace(WEBHOOK, target="../rest/login"), "ok")

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)


def test_an_agent_says_its_message_and_a_workflow_gives_its_inputs() -> None:
    result, fake = answer_to(WEBHOOK)
    assert fake.requests[0].json == {"message": "写日报 ✅", "user": "ops", "sessionId": RUN_ID}
    assert result.conversation_id == RUN_ID

    result, fake = answer_to(replace(WEBHOOK, kind="workflow"))
    assert fake.requests[0].json == {"day": "今天"}
    assert result.conversation_id is None


def test_a_chat_trigger_is_spoken_to_in_its_own_words() -> None:
    result, fake = outcome_of(
        WEBHOOK, lambda r: said({"output": ANSWER}), options={"trigger": "chat"}, conversation_id="财务"
    )

    assert fake.requests[0].path == "/n8n/webhook/daily-report/chat"
    assert fake.requests[0].json == {"action": "sendMessage", "sessionId": "财务", "chatInput": "写日报 ✅"}
    assert isinstance(result, AgentResult)
    assert result.conversation_id == "财务"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"output": ANSWER}, ANSWER),
        ({"text": ANSWER, "n": 1}, ANSWER),
        ({"answer": ANSWER}, ANSWER),
        ({"message": {"role": "assistant", "content": ANSWER}}, ANSWER),
        ([{"output": ANSWER}], ANSWER),
        ({"message": "done"}, '{"message": "done"}'),
        ([{"a": 1}, {"a": 2}], '[{"a": 1}, {"a": 2}]'),
        ({"executionId": 5, "output": ANSWER}, ANSWER),
        ("plain words", "plain words"),
    ],
)
def test_the_answer_is_found_in_what_a_webhook_usually_says(body: object, text: str) -> None:
    answer = said(body, "text/html; charset=utf-8" if isinstance(body, str) else "application/json")
    result = answer_with(WEBHOOK, answer)

    assert result.text == text
    assert result.data == (None if isinstance(body, str) else body)


def test_a_result_path_is_the_only_place_where_it_is_set() -> None:
    options = {"result_path": "report.0.text"}
    assert answer_with(WEBHOOK, said({"report": [{"text": ANSWER}]}), options=options).text == ANSWER

    error = failure_with(WEBHOOK, said({"output": ANSWER}), options=options)
    assert error.kind is ErrorKind.PROTOCOL
    assert "report.0.text" in error.message


@pytest.mark.parametrize(
    ("body", "kind"), [("", "empty"), ("  \n", "empty"), ("<!DOCTYPE html><title>Sign in</title>", "protocol")]
)
def test_a_page_or_nothing_is_no_answer(body: str, kind: str) -> None:
    assert failure_with(WEBHOOK, said(body, "text/html")).kind == kind


def test_a_workflow_that_was_only_started_is_no_success_unless_the_task_says_so() -> None:
    started = said({"message": "Workflow was started"})
    error = failure_with(WEBHOOK, started)

    assert error.kind is ErrorKind.CONFIG
    assert not error.kind.retryable
    assert "accept_started" in error.message
    assert answer_with(WEBHOOK, started, options={"accept_started": True}).status == "succeeded"


def test_an_execution_that_nobody_may_ask_for_is_only_started() -> None:
    error, fake = outcome_of(POLLED, lambda r: None, key="")

    assert isinstance(error, AgentError)
    assert error.kind is ErrorKind.CONFIG
    assert "API key" in error.message
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"type": "begin"}\n{"type": "item", "content": "half"}\n',
        '{"type": "begin"}\n{"type": "item", "con',
        '{"type": "begin"}\n{"type": "begin"}\n{"type": "item", "content": "half"}\n{"type": "end"}\n',
    ],
    ids=["no end", "half a line", "one of two nodes"],
)
def test_a_stream_is_an_answer_when_all_its_nodes_have_ended(body: str) -> None:
    assert failure_with(STREAMING, said(body)).kind is ErrorKind.OUTCOME_UNKNOWN


def test_an_execution_is_asked_for_until_it_has_ended() -> None:
    seen: list[str] = []

    def goes_on_twice(received: Received) -> Answer | None:
        if "/executions/" not in received.path:
            return None
        seen.append(received.path)
        states = ["running", "waiting"]
        return (
            prepared({"status": states[len(seen) - 1], "waitTill": "2026-05-01T00:00:00.000Z"})
            if len(seen) < 3
            else None
        )

    handles: list[RemoteHandle] = []
    result, fake = outcome_of(POLLED, goes_on_twice, handles=handles)

    assert isinstance(result, AgentResult)
    assert (result.text, result.data) == (ANSWER, {"output": ANSWER})
    assert handles == [HANDLE]
    asked = f"/n8n-poll/api/v1/executions/{EXECUTION}"
    assert seen == [asked, asked, asked, f"{asked}?includeData=true"]
    assert {request.headers["x-n8n-api-key"] for request in fake.requests} == {KEY}


def test_a_resumed_execution_is_only_asked_for() -> None:
    result, fake = resumed(POLLED, HANDLE)

    assert isinstance(result, AgentResult)
    assert result.text == ANSWER
    assert {request.method for request in fake.requests} == {"GET"}


@pytest.mark.parametrize("status", ["error", "crashed", "canceled", "a new word"])
def test_an_execution_that_ended_badly_has_failed(status: str) -> None:
    execution = {"status": status, "data": {"resultData": {"error": {"message": "节点 3 失败"}}}}
    error, _ = resumed(POLLED, HANDLE, lambda r: json_answer(execution, "ok"))

    assert isinstance(error, AgentError)
    assert error.kind is ErrorKind.REMOTE_FAILED
    assert "节点 3 失败" in error.message


def test_an_execution_that_is_not_kept_is_not_asked_for_again() -> None:
    error, _ = resumed(POLLED, HANDLE, lambda r: Answer("application/json", [b'{"message": "Not Found"}'], status=404))

    assert isinstance(error, AgentError)
    assert (error.kind, error.over) == (ErrorKind.OUTCOME_UNKNOWN, True)


def test_short_troubles_are_ridden_out_while_asking() -> None:
    troubles = iter([503, 502])

    def troubled(received: Received) -> Answer | None:
        status = next(troubles, None)
        return Answer("text/plain", [b"later"], status=status) if status else None

    result, _ = resumed(POLLED, HANDLE, troubled)

    assert isinstance(result, AgentResult)


def test_a_webhook_that_is_not_registered_is_told_with_its_hint() -> None:
    body = {"code": 404, "message": 'The requested webhook "POST x" is not registered.', "hint": "Activate it"}
    error = failure_with(WEBHOOK, replace(said(body), status=404))

    assert error.kind is ErrorKind.NOT_FOUND
    assert "is not registered" in error.message


STOP_MISSING: dict[str, Any] = {"content_type": "application/json", "frames": [b"{}"], "status": 404}


@pytest.mark.parametrize(
    ("script", "stopped"),
    [
        (lambda r: None, True),
        (lambda r: Answer(**STOP_MISSING) if r.path.endswith("/stop") else None, True),
        (lambda r: Answer(**STOP_MISSING) if r.path.endswith("/stop") else prepared({"status": "running"}), False),
        (lambda r: Answer(**STOP_MISSING), False),
    ],
    ids=["stopped", "ended before", "a version without stop", "unknown there"],
)
def test_only_what_stands_counts_as_stopped(script: Script, stopped: bool) -> None:
    assert cancelled(POLLED, HANDLE, script)[0] is stopped


def test_options_belong_to_their_kind() -> None:
    registry.check("n8n", "agent", {"trigger": "chat", "result_path": "a", "accept_started": False})
    with pytest.raises(AgentError, match="no option 'trigger'"):
        registry.check("n8n", "workflow", {"trigger": "chat"})
