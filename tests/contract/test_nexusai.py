"""What only NexusAI does: app API and started runs, its login, and failures told by their sentence."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from tests.contract.cases import CASES, RUN_ID, answer_to, failure_of
from tests.contract.dialects_flows import nexus
from tests.contract.fake_agent import Received
from tests.contract.fake_dialects import ANSWER, Answer, json_answer, prepared
from tests.contract.flow_scenes import cancelled, outcome_of, resumed
from tests.contract.test_agent_platform import answer_with, failure_with

AGENT, APP, WORKFLOW = (case for case in CASES if case.provider == "nexusai")
HANDLE = RemoteHandle("nexusai", {"workflow_id": "7", "app_run_id": "1042"}, resumable=True)
LOGIN = "scheduler@example.com:p4ss:word-9x"
JWT = "eyJhbGciOi.J1aWQiOjF9.c2lnbmVk"


def test_an_app_is_asked_by_prompt_or_by_inputs() -> None:
    _, fake = answer_to(AGENT)
    assert (fake.requests[0].path, fake.requests[0].json) == ("/v1/app-api/daily-report/run", {"prompt": "写日报 ✅"})

    result, fake = answer_to(APP)
    assert (fake.requests[0].path, fake.requests[0].json) == (
        "/v1/app-api/daily-report/run",
        {"input_data": {"day": "今天"}},
    )
    assert (result.text, result.data) == (ANSWER, {"text": ANSWER})


def test_several_outputs_are_readable_json() -> None:
    outputs = nexus({"标题": "日报", "页": 3}, "ok")

    assert answer_with(APP, outputs).text == '{"标题": "日报", "页": 3}'
    assert answer_with(APP, outputs, options={"output": "标题"}).text == "日报"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Timeout waiting for the workflow to complete", ErrorKind.OUTCOME_UNKNOWN),
        ("Invalid app API token, or the app is not published or enabled for API.", ErrorKind.AUTH),
        ("You are not authorized to run this workflow.", ErrorKind.AUTH),
        ("No available workflow, or the workflow is not published.", ErrorKind.NOT_FOUND),
        ("Incorrect API URL for this app", ErrorKind.NOT_FOUND),
        ('Missing field: "prompt"', ErrorKind.INVALID),
        ("the model ran out of memory", ErrorKind.REMOTE_FAILED),
    ],
)
@pytest.mark.parametrize("status", [402, 200])
def test_the_sentence_of_a_failure_decides(said: str, kind: ErrorKind, status: int) -> None:
    body = {"detail": said} if status == 402 else {"code": 1, "detail": said, "data": None}
    error = failure_with(APP, replace(json_answer(body, "ok"), status=status))

    assert (error.kind, error.http_status) == (kind, status)
    assert said.rstrip('"')[:20] in error.message


def test_a_started_workflow_gets_whole_variables_and_is_asked_for() -> None:
    confirm = {"n-2": [4]}
    handles: list[RemoteHandle] = []
    result, fake = answer_to(
        WORKFLOW,
        options={"call": "start_workflow", "run_type": "draft", "node_confirm_users": confirm},
        inputs={"day": "今天", "pages": 3, "tags": ["a"], "file": {"name": "file", "type": "file", "value": 9}},
        handles=handles,
    )

    started, asked = fake.requests
    assert started.path == "/v1/workflow/run"
    assert started.json == {
        "app_id": 42,
        "run_type": 0,
        "run_name": RUN_ID,
        "inputs": {
            "name": "input",
            "type": "object",
            "properties": {
                "day": {"name": "day", "type": "string", "value": "今天"},
                "pages": {"name": "pages", "type": "number", "value": 3},
                "tags": {"name": "tags", "type": "string", "value": '["a"]'},
                "file": {"name": "file", "type": "file", "value": 9},
            },
        },
        "node_confirm_users": confirm,
        "knowledge_base_mapping": {},
        "data_source_run_id": 0,
    }
    assert asked.path == "/v1/workspace/workspace_workflow_log_info"
    assert asked.json == {"workflows_id": 7, "app_runs_id": 1042}
    assert handles == [HANDLE]
    assert (result.text, result.data) == (ANSWER, {"report": ANSWER})


def test_a_username_and_password_are_changed_into_a_users_key_first() -> None:
    result, fake = outcome_of(WORKFLOW, lambda received: None, key=LOGIN)

    login, started, asked = fake.requests
    assert isinstance(result, AgentResult)
    assert parse_qs(login.body.decode()) == {"username": ["scheduler@example.com"], "password": ["p4ss:word-9x"]}
    assert login.headers["authorization"] == "Basic " + base64.b64encode(LOGIN.encode()).decode()
    assert started.headers["authorization"] == asked.headers["authorization"] == f"Bearer {JWT}"


def test_a_refused_login_is_told_though_it_is_http_200() -> None:
    refused = prepared({"detail": f"Incorrect username or password: {LOGIN.partition(':')[2]}"})
    error, fake = outcome_of(WORKFLOW, lambda r: refused if r.path.endswith("/login") else None, key=LOGIN)

    assert isinstance(error, AgentError)
    assert error.kind is ErrorKind.AUTH
    assert "Incorrect username" in error.message
    assert "p4ss" not in f"{error!r}{error.args}"
    assert len(fake.requests) == 1


def test_what_a_login_gave_shows_in_no_error() -> None:
    def echo(received: Received) -> Answer | None:
        if not received.path.endswith("/workflow/run"):
            return None
        return replace(json_answer({"detail": f"bad {received.headers['authorization']}"}, "ok"), status=401)

    error, _ = outcome_of(WORKFLOW, echo, key=LOGIN)

    assert isinstance(error, AgentError)
    assert error.kind is ErrorKind.AUTH
    assert JWT not in f"{error!r}{error.args}"


def log(run: dict[str, Any], *nodes: dict[str, Any]) -> Answer:
    return nexus({"list": list(nodes), "app_run_data": [run]}, "ok")


END_NODE = {"node_type": "end", "outputs": {"report": ANSWER}}


def test_a_run_is_asked_for_until_it_has_ended() -> None:
    logs = iter([nexus({"list": [], "app_run_data": []}, "ok"), log({"status": 1}), log({"status": 2})])
    result, fake = resumed(WORKFLOW, HANDLE, lambda received: next(logs, None))

    assert isinstance(result, AgentResult)
    assert result.text == ANSWER
    assert {request.path for request in fake.requests} == {"/v1/workspace/workspace_workflow_log_info"}
    assert len(fake.requests) == 4


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        ({"status": 3, "error": "节点失败", "need_human_confirm": 1}, ErrorKind.REMOTE_FAILED),
        ({"status": 4, "finished_time": None}, ErrorKind.REMOTE_FAILED),
        ({"status": 3, "finished_time": None}, ErrorKind.REMOTE_FAILED),
        ({"status": 2, "finished_time": "2026-01-05", "error": "节点失败"}, ErrorKind.REMOTE_FAILED),
    ],
)
def test_a_run_that_failed_is_known_by_its_error_or_its_status(run: dict[str, Any], kind: ErrorKind) -> None:
    error, _ = resumed(WORKFLOW, HANDLE, lambda received: log(run, END_NODE))

    assert isinstance(error, AgentError)
    assert error.kind is kind


@pytest.mark.parametrize("status", [2, 3])
def test_a_run_that_is_done_is_known_by_its_time_in_either_count_of_states(status: int) -> None:
    result, _ = resumed(WORKFLOW, HANDLE, lambda r: log({"status": status, "finished_time": "2026-01-05"}, END_NODE))

    assert isinstance(result, AgentResult)
    assert result.text == ANSWER


def test_tokens_that_were_not_counted_are_unknown_and_not_zero() -> None:
    run = {"status": 2, "finished_time": "2026-01-05", "prompt_tokens": 0, "completion_tokens": 0}
    result, _ = resumed(WORKFLOW, HANDLE, lambda received: log(run, END_NODE))

    assert isinstance(result, AgentResult)
    assert result.usage.input_tokens is None


def test_a_run_cannot_be_stopped() -> None:
    stopped, fake = cancelled(WORKFLOW, HANDLE)

    assert stopped is False
    assert fake.requests == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "report"}, "the app's number"),
        ({"conversation_id": "c-1"}, "keeps no conversations"),
        ({"options": {"run_type": "draft"}}, "'start_workflow'"),
        ({"kind": "agent"}, "no option 'call'"),
    ],
)
def test_a_task_that_cannot_be_asked_is_told_before_anything_is_sent(changes: dict[str, Any], words: str) -> None:
    error = failure_of(WORKFLOW, "ok", **changes)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_a_row_is_checked_without_an_attempt() -> None:
    registry.check("nexusai", "workflow", {"call": "start_workflow", "node_confirm_users": {}})
    with pytest.raises(AgentError, match="must be app_api or start_workflow"):
        registry.check("nexusai", "workflow", {"call": "run"})
