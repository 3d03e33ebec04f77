"""The fault catalogue of Dify, Coze and FastGPT: what goes wrong there, in their own words, and what it must end in.

`test_catalogue_apps` makes each of them happen.
"""

from typing import NamedTuple

from core.outcome import ErrorKind
from providers.content import json_text
from tests.contract import dialects_coze as coze
from tests.contract import dialects_dify as dify
from tests.contract import dialects_fastgpt as fastgpt
from tests.contract.app_scenes import answered
from tests.contract.cases import SHORT
from tests.contract.fake_dialects import Answer, sse

ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too


class Row(NamedTuple):
    """One fault of one platform."""

    platform: str
    case: str
    """Which row of `cases.CASES` meets it."""
    fault: str
    """In words."""
    switch: str
    """The fake agent's fault."""
    ends: str
    """An ErrorKind, `succeeded`, `requires_action`, or `cut`: by our own cancel; the ledger says REVOKED."""
    status: int | None = 200
    """The HTTP status that is recorded; None where there was no answer, or the deadline came first."""
    answer: Answer | None = None
    """What the platform says to the first request, where no dialect says it."""
    on_cancel: Answer | None = None
    timeout: float | None = None
    told_to_stop: bool | None = None
    """What the message says of the remote run at the deadline; None: nothing."""


_CHAT, _WORKFLOW = ("dify", "dify-chat"), ("dify, workflow", "dify-workflow")
_COZE, _COZE_RUN = ("coze", "coze-streaming"), ("coze, workflow", "coze-workflow")
_STREAM_RUN = ("coze, stream_run", "coze-workflow-streaming")
_FASTGPT, _V2 = ("fastgpt", "fastgpt-streaming"), ("fastgpt, app_id", "fastgpt-v2")
_EVERY = (_CHAT, _WORKFLOW, _COZE, _COZE_RUN, _FASTGPT)


def _dify(status: int, code: str, message: str = "no") -> Answer:
    return answered(json_text({"code": code, "message": message, "status": status}), status)


def _coze(code: int, status: int = 200) -> Answer:
    return answered(json_text({"code": code, "msg": "no", "detail": {"logid": "1"}}), status)


def _fastgpt(code: int, message: str = "no", status: int = 500) -> Answer:
    return answered(json_text({"code": code, "statusText": "error", "message": message, "data": None}), status)


def _page(status: int, title: str) -> Answer:
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head></html>"
    return Answer("text/html; charset=utf-8", [text.encode()], status=status)


def _in_stream(status: int, code: str) -> Answer:
    broken = {"event": "error", "status": status, "code": code, "message": "no"}
    return dify.stream(dify.message("half"), sse("", broken))


def _ended(status: str, *before: bytes) -> Answer:
    return dify.stream(dify.started(), *before, dify.finished(status, outputs={"text": "半"}, error="坏了"))


_KIND = ErrorKind

ON_THE_WIRE = [
    row
    for platform in _EVERY
    for row in (
        Row(*platform, "the connection breaks in the middle of the answer", "cut", _KIND.OUTCOME_UNKNOWN),
        Row(*platform, "the connection breaks before the answer", "reset", _KIND.OUTCOME_UNKNOWN, None),
        Row(*platform, "no answer until the deadline", "silent", _KIND.TIMEOUT, None, timeout=SHORT),
        Row(*platform, "the answer stalls until the deadline", "stall", _KIND.TIMEOUT, None, timeout=SHORT),
        Row(*platform, "the answer drips beyond the deadline", "drip", _KIND.TIMEOUT, None, timeout=SHORT),
        Row(*platform, "heartbeats beyond the deadline", "heartbeats", _KIND.TIMEOUT, None, timeout=SHORT),
        Row(*platform, "502, an HTML page of a gateway", "html_502", _KIND.UNAVAILABLE, 502),
        Row(*platform, "200, an HTML page", "ok", _KIND.PROTOCOL, answer=_page(200, "Login")),
        Row(*platform, "302, a redirect", "redirect", _KIND.CONFIG, 302),
        Row(*platform, "the answer is larger than RESULT_MAX_BYTES", "huge", _KIND.PROTOCOL),
        Row(*platform, "429, retry after ten years", "throttled_absurd", _KIND.QUOTA, 429),
        Row(*platform, "200, and no answer in it", "empty", _KIND.EMPTY),
        Row(*platform, "a question for a human", "requires_action", "requires_action"),
        Row(*platform, "cancelled by us while it answers", "silent", "cut", None),
    )
]

OF_DIFY = [
    *(
        Row(*platform, words, "ok", ends, status, answer)
        for platform in (_CHAT, _WORKFLOW)
        for words, ends, status, answer in (
            ("401 unauthorized", _KIND.AUTH, 401, _dify(401, "unauthorized", "Access token is invalid")),
            ("403 forbidden", _KIND.AUTH, 403, _dify(403, "forbidden")),
            ("404 not_found", _KIND.NOT_FOUND, 404, _dify(404, "not_found")),
            ("400 app_unavailable", _KIND.INVALID, 400, _dify(400, "app_unavailable")),
            ("400 provider_not_initialize: no model", _KIND.INVALID, 400, _dify(400, "provider_not_initialize")),
            ("429 too_many_requests", _KIND.THROTTLED, 429, _dify(429, "too_many_requests")),
            ("429 rate_limit_error: the plan's", _KIND.QUOTA, 429, _dify(429, "rate_limit_error")),
            ("400 provider_quota_exceeded", _KIND.QUOTA, 400, _dify(400, "provider_quota_exceeded")),
            (
                "400 completion_request_error: the model is throttled",
                _KIND.THROTTLED, 400, _dify(400, "completion_request_error", "Error code: 429 - slow down"),
            ),
            (
                "400 completion_request_error: the model's quota",
                _KIND.QUOTA, 400, _dify(400, "completion_request_error", "429, code: insufficient_quota"),
            ),
            ("429, an HTML page: error 1015", _KIND.THROTTLED, 429, _page(429, "error 1015")),
            ("504, an HTML page of the edge", _KIND.UNAVAILABLE, 504, _page(504, "504 Gateway Time-out")),
            ("500 internal_server_error", _KIND.UNAVAILABLE, 500, _dify(500, "internal_server_error")),
        )
    ),
    *(
        Row(*_CHAT, words, switch, ends, answer=answer)
        for words, switch, ends, answer in (
            ("200, then event error: 500", "error_in_200", _KIND.UNAVAILABLE, None),
            ("200, then event error: quota", "ok", _KIND.QUOTA, _in_stream(400, "provider_quota_exceeded")),
            ("200, then event error: throttled", "ok", _KIND.THROTTLED, _in_stream(429, "too_many_requests")),
            ("the stream ends politely without message_end", "clean_cut", _KIND.OUTCOME_UNKNOWN, None),
            (
                "a chatflow's nodes fail after its answer", "ok", _KIND.REMOTE_FAILED,
                _ended("failed", dify.message("好"), dify.message_end()),
            ),
        )
    ),
    *(
        Row(*_WORKFLOW, words, switch, ends, answer=answer)
        for words, switch, ends, answer in (
            ("the stream ends politely without workflow_finished", "clean_cut", _KIND.OUTCOME_UNKNOWN, None),
            ("200, failed", "ok", _KIND.REMOTE_FAILED, _ended("failed")),
            ("200, stopped there", "ok", _KIND.CANCELLED, _ended("stopped")),
            ("200, partial-succeeded: an answer, marked", "ok", "succeeded", _ended("partial-succeeded")),
        )
    ),
]  # fmt: skip

OF_COZE = [
    *(
        Row(*platform, words, "ok", ends, status, answer)
        for platform in (_COZE, _COZE_RUN)
        for words, ends, status, answer in (
            ("401, code 700012006", _KIND.AUTH, 401, _coze(700012006, 401)),
            ("200, code 4100: the key is wrong", _KIND.AUTH, 200, _coze(4100)),
            ("200, code 4101: the key may not", _KIND.AUTH, 200, _coze(4101)),
            ("404", _KIND.NOT_FOUND, 404, _coze(0, 404)),
            ("200, code 4015: the bot is not published", _KIND.NOT_FOUND, 200, _coze(4015)),
            ("200, code 4200: the workflow is not published", _KIND.NOT_FOUND, 200, _coze(4200)),
            ("200, code 4000: a wrong parameter", _KIND.INVALID, 200, _coze(4000)),
            ("200, code 4013: throttled", _KIND.THROTTLED, 200, _coze(4013)),
            ("429", _KIND.THROTTLED, 429, _coze(4013, 429)),
            ("200, code 4028: quota", _KIND.QUOTA, 200, _coze(4028)),
            ("200, code 4016: a chat runs in this conversation", _KIND.BUSY, 200, _coze(4016)),
            ("200, code 5000", _KIND.UNAVAILABLE, 200, _coze(5000)),
            ("200, code 702", _KIND.UNAVAILABLE, 200, _coze(702)),
        )
    ),
    *(
        Row(*_COZE, words, switch, ends, answer=answer)
        for words, switch, ends, answer in (
            ("200, then chat.failed", "error_in_200", _KIND.UNAVAILABLE, None),
            ("200, then event error", "ok", _KIND.THROTTLED, coze.stream(coze.event("error", {"code": 4013}))),
            ("200, cancelled there", "ok", _KIND.CANCELLED, coze.stream(coze.on_chat("canceled"))),
            ("the stream ends politely without chat.completed", "clean_cut", _KIND.OUTCOME_UNKNOWN, None),
        )
    ),
    Row(*_STREAM_RUN, "200, then event Error", "error_in_200", _KIND.UNAVAILABLE),
    Row(*_STREAM_RUN, "the stream ends politely without Done", "clean_cut", _KIND.OUTCOME_UNKNOWN),
    *(
        Row("coze, is_async", "coze-workflow-async", words, switch, ends, status, timeout=timeout, told_to_stop=told)
        for words, switch, ends, status, timeout, told in (
            ("asked for: 401", "status:401", _KIND.AUTH, 401, None, None),
            ("asked for: 404, the run is forgotten", "status:404", _KIND.OUTCOME_UNKNOWN, 404, None, None),
            ("asked for: 503 for good", "status:503", _KIND.UNAVAILABLE, 503, None, None),
            ("asked for: the answer is cut", "cut", _KIND.OUTCOME_UNKNOWN, 200, None, None),
            ("asked for: 200, Fail", "error_in_200", _KIND.UNAVAILABLE, 200, None, None),
            ("asked for: silence until the deadline; no cancel", "silent", _KIND.TIMEOUT, None, ENOUGH, False),
        )
    ),
    Row("coze, polling", "coze-polling", "a question for a human", "requires_action", "requires_action"),
]  # fmt: skip

OF_FASTGPT = [
    *(
        Row(*_FASTGPT, words, "ok", ends, status, answer)
        for words, ends, status, answer in (
            ("500, code 514: the key is wrong", _KIND.AUTH, 500, _fastgpt(514)),
            ("200, code 514: the key is wrong", _KIND.AUTH, 200, _fastgpt(514, status=200)),
            ("500, code 403: the key may not", _KIND.AUTH, 500, _fastgpt(403)),
            ("500, code 511: the model may not be used", _KIND.AUTH, 500, _fastgpt(511)),
            ("500, code 502000: no such app", _KIND.NOT_FOUND, 500, _fastgpt(502000, "code_error.app_error.not_exist")),
            ("500, code 510: quota", _KIND.QUOTA, 500, _fastgpt(510)),
            ("500, code 500004: points", _KIND.QUOTA, 500, _fastgpt(500004, "team_error.ai_points_not_enough")),
            ("500, code 429", _KIND.THROTTLED, 500, _fastgpt(429)),
            ("500, code 409: the chat is answering", _KIND.BUSY, 500, _fastgpt(409)),
            ("500, code 500", _KIND.REMOTE_FAILED, 500, _fastgpt(500)),
            ("404, an HTML page: an older version", _KIND.NOT_FOUND, 404, _page(404, "404")),
            ("200, then event error: quota", _KIND.QUOTA, 200, fastgpt.stream(sse("error", {"code": 510}))),
        )
    ),
    Row(*_FASTGPT, "200, then event error", "error_in_200", _KIND.REMOTE_FAILED),
    Row(*_FASTGPT, "the stream ends politely without stop and [DONE]", "clean_cut", _KIND.OUTCOME_UNKNOWN),
    Row(
        *_FASTGPT, "the last node failed, and half an answer stands", "ok", _KIND.REMOTE_FAILED,
        answer=fastgpt.stream(
            fastgpt.chunk("半"), fastgpt.chunk(None, "stop"), fastgpt.DONE,
            sse("flowResponses", [fastgpt.ai_node(errorText="坏了")]),
        ),
    ),
    Row("fastgpt, no stream", "fastgpt-blocking", "200, code 500", "error_in_200", _KIND.REMOTE_FAILED),
    Row("fastgpt, plugin", "fastgpt-plugin", "200, and no output in it", "empty", _KIND.EMPTY),
    Row(
        "fastgpt, plugin", "fastgpt-plugin", "the stream ends before the output", "ok", _KIND.OUTCOME_UNKNOWN,
        answer=fastgpt.stream(fastgpt.chunk(None, "stop"), fastgpt.DONE),
    ),
]  # fmt: skip


_ENDED_THERE = {
    "dify-chat": Answer("application/json", [b'{"code": "not_found", "message": "no"}'], status=404, role="cancel"),
    "coze-streaming": Answer("application/json", [b'{"code": 4104, "msg": "cannot be cancelled"}'], role="cancel"),
    "fastgpt-v2": None,  # its stop says success whether the run still went on or not
}
_BEGUN = {
    "dify-chat": dify.stream(dify.message("日")),
    "coze-streaming": coze.stream(coze.on_chat("created")),
    "fastgpt-v2": fastgpt.stream(fastgpt.chunk("日")),
}
_CANCEL_FAILS = Answer("application/json", [b"{}"], status=500, role="cancel")

AT_THE_DEADLINE = [
    row
    for platform in (_CHAT, _COZE, _V2)
    for begun in (_BEGUN[platform[1]],)
    for row in (
        Row(
            *platform, "deadline: the run is stopped there", "hang_after", _KIND.TIMEOUT, None, begun,
            timeout=ENOUGH, told_to_stop=True,
        ),
        Row(
            *platform, "deadline, and the run has ended when it is told to stop", "hang_after", _KIND.TIMEOUT, None,
            begun, on_cancel=_ENDED_THERE[platform[1]], timeout=ENOUGH, told_to_stop=True,
        ),
        Row(
            *platform, "deadline, and the cancel fails", "hang_after", _KIND.TIMEOUT, None, begun,
            on_cancel=_CANCEL_FAILS, timeout=ENOUGH, told_to_stop=False,
        ),
    )
]  # fmt: skip

ROWS = [*ON_THE_WIRE, *OF_DIFY, *OF_COZE, *OF_FASTGPT, *AT_THE_DEADLINE]
