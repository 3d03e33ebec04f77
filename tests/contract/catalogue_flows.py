"""The fault catalogue of the other platforms: what goes wrong there, in their own words, and what it must end in.

OpenAI-compatible servers, the seed platform, LangGraph, n8n, Flowise, NexusAI and plain JSON. `test_catalogue_models`
makes each of them happen.
"""

import re
from dataclasses import replace
from typing import Any, Final

from core.outcome import ErrorKind
from tests.contract.app_scenes import answered
from tests.contract.cases import SHORT
from tests.contract.catalogue_models import ENOUGH, EVERYWHERE, End, Row
from tests.contract.dialects_flows import EXECUTION, nexus
from tests.contract.dialects_langgraph import RUN, THREAD
from tests.contract.fake_dialects import ANSWER, Answer, json_answer, platform_state, prepared, sse

#: What begins a run that is asked for afterwards, by the end of its path.
BEGINNINGS: Final = re.compile(r"/lg/threads/[^/]+/runs/stream$|/n8n-poll/webhook/[^/]+$|/v1/workflow/run$")

_KIND = ErrorKind
_CHAT, _PLATFORM = ("openai_chat", "openai-streaming"), ("agent_platform", "platform-streaming")
_WORKFLOW, _LEGACY = ("agent_platform, workflow", "platform-workflow"), ("agent_platform, legacy", "platform-legacy")
_GRAPH, _N8N = ("langgraph", "langgraph-agent"), ("n8n", "n8n-webhook")
_EXECUTION, _LINES = ("n8n, execution", "n8n-execution"), ("n8n, streaming", "n8n-streaming")
_FLOWISE, _FLOWISE_JSON = ("flowise", "flowise-streaming"), ("flowise, no stream", "flowise-blocking")
_NEXUS, _NEXUS_RUN = ("nexusai", "nexusai-app"), ("nexusai, start_workflow", "nexusai-workflow")
_JSON, _HTTP = ("http_json", "json-agent"), ("http_json, http task", "http")

_EVERY = (_CHAT, _PLATFORM, _WORKFLOW, _GRAPH, _N8N, _EXECUTION, _FLOWISE, _NEXUS, _JSON)
_ASKS_NOBODY = (_N8N, _NEXUS, _JSON)
_CANCEL_FAILS = Answer("application/json", [b"{}"], status=500, role="cancel")
_ENDED_THERE = Answer("application/json", [b"{}"], status=404, role="cancel")


_STATE = sse("values", platform_state("q", "ok"))


def _json(body: object, status: int = 200) -> Answer:
    return replace(json_answer(body, "ok"), status=status)


def _delta(text: str, reason: str | None = None) -> bytes:
    return sse("", {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})


def _chunks(*frames: bytes) -> Answer:
    return Answer("text/event-stream", [*frames, sse("", "[DONE]")])


def _events(*frames: bytes) -> Answer:
    return Answer("text/event-stream; charset=utf-8", [*frames])


def _envelope(code: int) -> Answer:
    return _json({"status": "error", "msg": "坏了", "data": None, "code": code})


def _run(status: str) -> Answer:
    return prepared({"run_id": RUN, "thread_id": THREAD, "status": status})


def _execution(status: str, **data: Any) -> Answer:
    return _json({"id": EXECUTION, "status": status, "finished": False, "data": {"resultData": data}})


def _flow_events(*named: tuple[str, Any]) -> Answer:
    return _events(*(b"message:\n" + sse("", {"event": name, "data": data}) for name, data in named))


def _sentence(said: str) -> Answer:
    return _json({"detail": said}, 402)


def _log(**run: Any) -> Answer:
    known = {"app_run_id": 1042, "need_human_confirm": 0, "error": None, "finished_time": None, **run}
    return nexus({"list": [], "app_run_data": [known]}, "ok")


ON_THE_WIRE = [
    *(
        Row(*platform, fault.words, fault.switch, fault.ends, timeout=fault.timeout)
        for platform in _EVERY
        for fault in EVERYWHERE
        if not (platform in _ASKS_NOBODY and fault.switch == "requires_action")
    ),
    *(Row(*platform, "cancelled by us while it answers", "silent", "cut") for platform in _EVERY),
    *(
        Row(*platform, "the stream ends politely without its last event", "clean_cut", _KIND.OUTCOME_UNKNOWN)
        for platform in (_CHAT, _PLATFORM, _LEGACY, _FLOWISE, _LINES)
    ),
    Row(*_CHAT, "an error inside the stream", "error_in_200", _KIND.UNAVAILABLE),
    *(
        Row(*platform, "200, and an error in it", "error_in_200", _KIND.REMOTE_FAILED)
        for platform in (*_EVERY[1:], _LEGACY, _LINES, _FLOWISE_JSON, _NEXUS_RUN, _HTTP)
    ),
    Row(*_NEXUS_RUN, "a question for a human", "requires_action", "requires_action"),
    *(
        Row(*platform, "asked for: 503 three times, then the answer", "three_503", "succeeded", begun=True)
        for platform in (_EXECUTION, _NEXUS_RUN)
    ),
    Row(*_GRAPH, "asked for: 503 for good", "status:503", _KIND.UNAVAILABLE, begun=True),
    *(
        row
        for platform in (_GRAPH, _EXECUTION, _NEXUS_RUN)
        for row in (
            Row(*platform, "asked for: 401", "status:401", _KIND.AUTH, begun=True),
            Row(*platform, "asked for: the answer is cut", "cut", _KIND.OUTCOME_UNKNOWN, begun=True),
            Row(*platform, "asked for: silence until the deadline", "silent", _KIND.TIMEOUT, True, timeout=ENOUGH),
            Row(*platform, "cancelled by us while it is asked for", "silent", "cut", begun=True),
        )
    ),
    *(
        row
        for platform, is_begun, timeout in ((_GRAPH, True, ENOUGH), (_FLOWISE, False, SHORT))
        for row in (
            Row(
                *platform, "deadline, and the run has ended when it is told to stop", "silent", _KIND.TIMEOUT,
                is_begun, on_cancel=_ENDED_THERE, timeout=timeout,
            ),
            Row(
                *platform, "deadline, and the cancel fails", "silent", _KIND.TIMEOUT, is_begun,
                on_cancel=_CANCEL_FAILS, timeout=timeout,
            ),
        )
    ),
]  # fmt: skip


def _said(platform: tuple[str, str], *rows: tuple[str, End, Answer]) -> list[Row]:
    return [Row(*platform, words, "ok", ends, answer=answer) for words, ends, answer in rows]


def _told(platform: tuple[str, str], at: str, *rows: tuple[str, End, Answer]) -> list[Row]:
    """What it says where it is asked for a run that goes on."""
    return [Row(*platform, words, "ok", ends, True, answer=answer, at=at) for words, ends, answer in rows]


OWN = [
    *_said(
        _CHAT,
        ("400 context_length_exceeded", _KIND.INVALID, _json({"error": {"code": "context_length_exceeded"}}, 400)),
        ("402, no balance", _KIND.QUOTA, _json({"error": {"message": "Insufficient Balance"}}, 402)),
        ("429 insufficient_quota", _KIND.QUOTA, _json({"error": {"type": "insufficient_quota"}}, 429)),
        ("503 slow_down", _KIND.THROTTLED, _json({"error": {"code": "slow_down"}}, 503)),
        ("200, then an error: context_length_exceeded", _KIND.INVALID, _chunks(
            _delta("half"), sse("", {"error": {"code": "context_length_exceeded", "message": "too long"}}))),
        ("200, then an error: quota", _KIND.QUOTA, _chunks(sse("", {"error": {"code": "insufficient_quota"}}))),
        ("200, [DONE] without a finish_reason", _KIND.OUTCOME_UNKNOWN, _chunks(_delta("half"))),
        ("200, length: a partial answer, marked", "succeeded", _chunks(_delta("half", "length"))),
        ("200, length: nothing but reasoning", _KIND.EMPTY, _chunks(_delta("", "length"))),
        ("200, content_filter", _KIND.INVALID, _chunks(_delta("half", "content_filter"))),
    ),
    *_said(
        _PLATFORM,
        ("422, a field is missing", _KIND.INVALID, _json({"detail": [{"loc": ["body"], "msg": "missing"}]}, 422)),
        ("200, an error event, then an end", _KIND.REMOTE_FAILED, _events(
            _STATE, sse("error", {"error": "坏了"}), sse("end", {"status": "completed"}))),
        ("200, it ended as failed", _KIND.REMOTE_FAILED, _events(_STATE, sse("end", {"status": "failed"}))),
    ),
    *_said(
        _WORKFLOW,
        ("200, envelope code 401", _KIND.AUTH, _envelope(401)),
        ("200, envelope code 404", _KIND.NOT_FOUND, _envelope(404)),
        ("200, envelope code 429", _KIND.THROTTLED, _envelope(429)),
        ("200, no envelope", _KIND.PROTOCOL, _json({"answer": ANSWER})),
    ),
    *_said(
        _GRAPH,
        ("409, the thread has another run", _KIND.BUSY, _json({"detail": "Thread is already running a task."}, 409)),
        ("422, a wrong input", _KIND.INVALID, _json({"detail": "Invalid input"}, 422)),
        ("200, JSON in the place of a stream", _KIND.PROTOCOL, _json({"values": {}})),
        ("200, a stream that never names its run", _KIND.OUTCOME_UNKNOWN, _events(b": heartbeat\r\n\r\n")),
    ),
    *_told(
        _GRAPH, rf"/runs/{RUN}$",
        ("asked for: 404, the run is forgotten", _KIND.OUTCOME_UNKNOWN, _json({"detail": "not found"}, 404)),
        ("the stream ends, and the run goes on there", _KIND.OUTCOME_UNKNOWN, _run("running")),
        ("it ended as timeout", _KIND.REMOTE_FAILED, _run("timeout")),
        ("it was interrupted there, and asks nothing", _KIND.REMOTE_FAILED, _run("interrupted")),
    ),
    *_told(_GRAPH, "/history$", ("200, no state of the run", _KIND.PROTOCOL, _json([]))),
    *_said(
        _N8N,
        ("404, the webhook is not registered", _KIND.NOT_FOUND, _json({"code": 404, "message": "not registered"}, 404)),
        ("500, the workflow failed", _KIND.REMOTE_FAILED, _json({"message": "Error in workflow"}, 500)),
        ("200, it only says that it was started", _KIND.CONFIG, _json({"message": "Workflow was started"})),
        ("200, nothing at result_path", _KIND.PROTOCOL, _json({"another": 1})),
    ),
    *_told(
        _EXECUTION, "/executions/",
        ("asked for: 404, the execution is not kept", _KIND.OUTCOME_UNKNOWN, _json({"message": "Not Found"}, 404)),
        ("asked for: no execution", _KIND.PROTOCOL, _json({"data": []})),
        ("it ended as crashed", _KIND.REMOTE_FAILED, _execution("crashed")),
        ("it was cancelled there", _KIND.REMOTE_FAILED, _execution("canceled")),
        ("its last node put nothing out", _KIND.PROTOCOL, _execution("success", lastNodeExecuted="AI", runData={})),
    ),
    *_said(
        _FLOWISE,
        ("500, the flow failed", _KIND.REMOTE_FAILED, _json({"success": False, "message": "坏了"}, 500)),
        ("200, error, then end", _KIND.REMOTE_FAILED, _flow_events(("token", "half"), ("error", "坏了"), ("end", ""))),
        ("200, aborted there", _KIND.REMOTE_FAILED, _flow_events(("token", "half"), ("abort", ""), ("end", ""))),
        ("200, the agentflow was TERMINATED", _KIND.REMOTE_FAILED, _flow_events(
            ("token", "half"), ("agentFlowEvent", "TERMINATED"), ("end", ""))),
    ),
    *_said(_FLOWISE_JSON, ("200, no prediction", _KIND.PROTOCOL, _json({"chatId": "c"}))),
    *_said(
        _NEXUS,
        ("402, the API token is wrong", _KIND.AUTH, _sentence("Invalid API token")),
        ("402, no such app", _KIND.NOT_FOUND, _sentence("App not found")),
        ("402, a field is missing", _KIND.INVALID, _sentence("missing field: prompt")),
        ("402, the model failed", _KIND.REMOTE_FAILED, _sentence("模型崩溃")),
        ("402, it waited a minute and goes on", _KIND.OUTCOME_UNKNOWN, _sentence("Timeout waiting for the run")),
        ("200, code 1", _KIND.REMOTE_FAILED, _json({"code": 1, "detail": "坏了", "data": None})),
    ),
    *_told(
        _NEXUS_RUN, "workspace_workflow_log_info",
        ("it failed: an error", _KIND.REMOTE_FAILED, _log(status=3, error="坏了")),
        ("it failed: a status", _KIND.REMOTE_FAILED, _log(status=4)),
        ("it is done, and has no output", _KIND.EMPTY, _log(status=2, finished_time="2026-01-05T08:00:00")),
    ),
    *_said(
        _JSON,
        ("200, something at error_path", _KIND.REMOTE_FAILED, _json({"error": "坏了"})),
        ("200, nothing at result_path", _KIND.PROTOCOL, _json({"another": 1})),
        ("200, an HTML page", _KIND.PROTOCOL, Answer("text/html", [b"<html><title>Login</title></html>"])),
    ),
    *_said(_HTTP, ("204, no answer at all", _KIND.PROTOCOL, answered("", 204))),
]  # fmt: skip

ROWS = [*ON_THE_WIRE, *OWN]
