"""The fault catalogue of OpenAI Responses, Anthropic Messages and A2A: what goes wrong there, and what it must end in.

`test_catalogue_models` makes each of them happen.
"""

from typing import Literal, NamedTuple, TypeAlias

from core.outcome import ErrorKind
from tests.contract.cases import IN_TIME, SHORT
from tests.contract.dialects_a2a import answered, refused, said, task
from tests.contract.dialects_models import event, message, response, text_block
from tests.contract.fake_dialects import ANSWER, Answer, json_answer

ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too


End: TypeAlias = ErrorKind | Literal["succeeded", "requires_action", "cut"]


class Row(NamedTuple):
    """One fault of one platform."""

    platform: str
    case: str
    """Which row of `cases.CASES` meets it."""
    fault: str
    """In words."""
    switch: str
    """The fake agent's fault."""
    ends: End
    """`cut`: by our own cancel; the ledger says REVOKED."""
    begun: bool = False
    """The run is begun as it should be, and the fault strikes when it is asked for."""
    answer: Answer | None = None
    """What the platform says, where no dialect says it."""
    on_cancel: Answer | None = None
    timeout: float = IN_TIME
    at: str = ""
    """The end of the path that gets `answer`, a pattern; empty: whatever asks for the answer gets it."""


class Fault(NamedTuple):
    """A fault that every platform can have."""

    words: str
    switch: str
    ends: End
    timeout: float = IN_TIME


EVERYWHERE = [
    Fault("401, the key is wrong", "status:401", ErrorKind.AUTH),
    Fault("403, the key may not", "status:403", ErrorKind.AUTH),
    Fault("404, no such model or agent", "status:404", ErrorKind.NOT_FOUND),
    Fault("400, the request is not accepted", "status:400", ErrorKind.INVALID),
    Fault("429, the quota is used up", "quota", ErrorKind.QUOTA),
    Fault("429, retry after 17 s", "throttled_int", ErrorKind.THROTTLED),
    Fault("429, retry after ten years", "throttled_absurd", ErrorKind.QUOTA),
    Fault("502, an HTML page of a gateway", "html_502", ErrorKind.UNAVAILABLE),
    Fault("503, not available", "status:503", ErrorKind.UNAVAILABLE),
    Fault("302, a redirect", "redirect", ErrorKind.CONFIG),
    Fault("200, and no answer in it", "empty", ErrorKind.EMPTY),
    Fault("200, and no JSON in it", "no_json", ErrorKind.PROTOCOL),
    Fault("the connection breaks in the middle of the answer", "cut", ErrorKind.OUTCOME_UNKNOWN),
    Fault("the connection breaks before the answer", "reset", ErrorKind.OUTCOME_UNKNOWN),
    Fault("the answer is larger than RESULT_MAX_BYTES", "huge", ErrorKind.PROTOCOL),
    Fault("a question for a human", "requires_action", "requires_action"),
    Fault("no answer until the deadline", "silent", ErrorKind.TIMEOUT, SHORT),
    Fault("the answer stalls until the deadline", "stall", ErrorKind.TIMEOUT, SHORT),
    Fault("the answer drips beyond the deadline", "drip", ErrorKind.TIMEOUT, SHORT),
    Fault("heartbeats beyond the deadline", "heartbeats", ErrorKind.TIMEOUT, SHORT),
]

_PLATFORMS = [
    ("openai_responses", "responses-background"),
    ("openai_responses, no background", "responses-streaming"),
    ("anthropic", "anthropic-streaming"),
    ("a2a", "a2a-1.0"),
]

_STREAMING = [row for row in _PLATFORMS if row[1].endswith("streaming")]
_BEGINNING = [("openai_responses", "responses-background"), ("a2a", "a2a-1.0"), ("a2a 0.3", "a2a-0.3")]

_FINISHED = {
    "responses-background": Answer("application/json", [b"{}"], status=404, role="cancel"),
    "a2a-1.0": Answer("application/json", refused(-32002).frames, role="cancel"),
    "a2a-0.3": Answer("application/json", refused(-32002).frames, role="cancel"),
}
_CANCEL_FAILS = Answer("application/json", [b"{}"], status=500, role="cancel")


def _failed(code: str) -> Answer:
    return json_answer(response("failed", error={"code": code, "message": "坏了"}), "ok")


def _incomplete(reason: str, *texts: str) -> Answer:
    output = [message(*texts)] if texts else []
    return json_answer(response("incomplete", output=output, incomplete_details={"reason": reason}), "ok")


def _stopped_by(reason: str, *texts: str) -> Answer:
    start = event(type="message_start", message={"content": [], "usage": {"input_tokens": 3, "output_tokens": 1}})
    blocks = [frame for index, text in enumerate(texts) for frame in text_block(index, text)]
    closing = [event(type="message_delta", delta={"stop_reason": reason}, usage={}), event(type="message_stop")]
    return Answer("text/event-stream", [start, *blocks, *closing])


def _stream_error(kind: str) -> Answer:
    broken = event(type="error", error={"type": kind, "message": "坏了"})
    return Answer("text/event-stream", [*text_block(0, "half"), broken])


_RESPONSES: list[tuple[str, End, Answer]] = [
    ("200, failed: server_error", ErrorKind.UNAVAILABLE, _failed("server_error")),
    ("200, failed: rate_limit_exceeded", ErrorKind.THROTTLED, _failed("rate_limit_exceeded")),
    ("200, failed: invalid_prompt", ErrorKind.INVALID, _failed("invalid_prompt")),
    ("200, incomplete: a partial answer, marked", "succeeded", _incomplete("max_output_tokens", "half")),
    ("200, incomplete: nothing but reasoning", ErrorKind.EMPTY, _incomplete("max_output_tokens")),
    ("200, incomplete: content_filter", ErrorKind.INVALID, _incomplete("content_filter", "half")),
    ("200, cancelled there", ErrorKind.CANCELLED, json_answer(response("cancelled"), "ok")),
    ("404, the response is forgotten", ErrorKind.OUTCOME_UNKNOWN, Answer("application/json", [], status=404)),
]

_MESSAGES: list[tuple[str, str, End, Answer | None]] = [
    ("429 without a wait: a spend limit", "throttled_bare", ErrorKind.QUOTA, None),
    ("529, overloaded", "status:529", ErrorKind.THROTTLED, None),
    ("200, then an error event: overloaded", "ok", ErrorKind.THROTTLED, _stream_error("overloaded_error")),
    ("200, a partial answer, marked", "ok", "succeeded", _stopped_by("max_tokens", "half")),
    ("200, nothing but reasoning", "ok", ErrorKind.EMPTY, _stopped_by("max_tokens")),
    ("200, a refusal", "ok", ErrorKind.INVALID, _stopped_by("refusal", ANSWER)),
    ("200, a paused turn", "ok", ErrorKind.REMOTE_FAILED, _stopped_by("pause_turn", "half")),
]

_HALF = [{"artifactId": "a-1", "parts": [{"text": "half"}]}]
_TASKS: list[tuple[str, End, Answer]] = [
    ("200, failed", ErrorKind.REMOTE_FAILED, answered(task("failed", message=said("坏了")))),
    ("200, failed with a partial answer", ErrorKind.REMOTE_FAILED, answered(task("failed", artifacts=_HALF))),
    ("200, rejected", ErrorKind.INVALID, answered(task("rejected"))),
    ("200, canceled there", ErrorKind.CANCELLED, answered(task("canceled"))),
    ("200, the agent asks for a login", "requires_action", answered(task("auth-required"))),
    ("200, error -32001: the task is forgotten", ErrorKind.OUTCOME_UNKNOWN, refused(-32001)),
    ("200, error -32603 for good", ErrorKind.UNAVAILABLE, refused(-32603)),
    ("200, error -32602", ErrorKind.INVALID, refused(-32602)),
]

ROWS = [
    *(
        Row(*platform, fault.words, fault.switch, fault.ends, timeout=fault.timeout)
        for platform in _PLATFORMS
        for fault in EVERYWHERE
    ),
    *(
        Row(*platform, "the stream ends politely without its last event", "clean_cut", ErrorKind.OUTCOME_UNKNOWN)
        for platform in _STREAMING
    ),
    *(Row(*platform, "an error inside the stream", "error_in_200", ErrorKind.UNAVAILABLE) for platform in _STREAMING),
    *(Row(*platform, "cancelled by us while it answers", "silent", "cut") for platform in _PLATFORMS),
    *(
        row
        for platform in _BEGINNING
        for row in (
            Row(*platform, "asked for: 503 three times, then the answer", "three_503", "succeeded", begun=True),
            Row(*platform, "asked for: 503 for good", "status:503", ErrorKind.UNAVAILABLE, begun=True),
            Row(*platform, "asked for: 401", "status:401", ErrorKind.AUTH, begun=True),
            Row(*platform, "asked for: the answer is cut", "cut", ErrorKind.OUTCOME_UNKNOWN, begun=True),
            Row(*platform, "asked for: silence until the deadline", "silent", ErrorKind.TIMEOUT, True, timeout=ENOUGH),
            Row(
                *platform, "deadline, and the run has ended when it is told to stop", "silent", ErrorKind.TIMEOUT, True,
                on_cancel=_FINISHED[platform[1]], timeout=ENOUGH,
            ),
            Row(
                *platform, "deadline, and the cancel fails", "silent", ErrorKind.TIMEOUT, True,
                on_cancel=_CANCEL_FAILS, timeout=ENOUGH,
            ),
            Row(*platform, "cancelled by us while it is asked for", "silent", "cut", begun=True),
        )
    ),
    *(
        Row("openai_responses", "responses-background", words, "ok", ends, begun=True, answer=answer)
        for words, ends, answer in _RESPONSES
    ),
    *(
        Row("anthropic", "anthropic-streaming", words, switch, ends, answer=answer)
        for words, switch, ends, answer in _MESSAGES
    ),
    *(Row("a2a", "a2a-1.0", words, "ok", ends, begun=True, answer=answer) for words, ends, answer in _TASKS),
]  # fmt: skip
