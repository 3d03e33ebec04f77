"""What FastGPT says: chat completions with its own events, and plugins that answer in a node's report."""

from collections.abc import Callable
from typing import Any

from tests.contract.fake_dialects import (
    ANSWER,
    INPUT_TOKENS,
    INTERRUPT,
    OUTPUT_TOKENS,
    Answer,
    content_of,
    json_answer,
    sse,
)

PLACEHOLDER = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 1}
CRASH = {"code": 500, "statusText": "error", "message": "模型崩溃", "data": None}
DONE = sse("answer", "[DONE]")


def chunk(content: str | None, reason: str | None = None, event: str = "answer") -> bytes:
    delta = {"role": "assistant", "content": content}
    return sse(event, {"id": "", "object": "", "choices": [{"delta": delta, "index": 0, "finish_reason": reason}]})


def ai_node(**fields: object) -> dict[str, object]:
    tokens = {"inputTokens": INPUT_TOKENS, "outputTokens": OUTPUT_TOKENS, "totalPoints": 0.3}
    return {"nodeId": "n-1", "moduleName": "AI", "moduleType": "chatNode", **tokens, **fields}


def plugin_node(outputs: object) -> dict[str, object]:
    return {"nodeId": "n-2", "moduleName": "输出", "moduleType": "pluginOutput", "pluginOutput": outputs}


def reports(body: dict[str, Any], fault: str) -> list[dict[str, object]]:
    """The nodes' reports: a plugin, which is called without a message, ends with its outputs."""
    return [ai_node()] if body["messages"] else [ai_node(), plugin_node({"report": content_of(fault)})]


def items(fault: str) -> Any:
    """Content with details: a list where there is more than one text, and for a question."""
    match fault:
        case "list":
            texts = [{"type": "text", "text": {"content": piece}} for piece in (ANSWER[:5], ANSWER[5:])]
            return [*texts, {"type": "tool", "tools": [{"id": "t-1"}]}]
        case "requires_action":
            return [{"type": "interactive", "interactive": INTERRUPT}]
        case "empty":
            return ""
    return ANSWER


def stream(*frames: bytes, closing: int = 1) -> Answer:
    return Answer("text/event-stream;charset=utf-8", list(frames), closing=closing)


def _completions(body: dict[str, Any], fault: str) -> Answer:
    assert body["detail"], "without details there are no tokens"
    if not body["stream"]:
        message = {"role": "assistant", "content": items(fault) if body["messages"] else ""}
        choices = [{"message": message, "finish_reason": "stop", "index": 0}]
        whole = {"responseData": reports(body, fault), "newVariables": {}, "choices": choices, "usage": PLACEHOLDER}
        return json_answer(CRASH if fault == "error_in_200" else whole, fault)
    pieces = (
        [] if fault == "empty" or not body["messages"] else [chunk(ANSWER[:3]), chunk(ANSWER[3:], event="fastAnswer")]
    )
    start = [sse("flowNodeStatus", {"status": "running", "name": "AI"}), *pieces]
    ending = [chunk(None, "stop"), DONE, sse("flowResponses", reports(body, fault))]
    match fault:
        case "error_in_200":
            return stream(*start, sse("error", CRASH))
        case "requires_action":
            return stream(*start, sse("interactive", {"interactive": INTERRUPT}), *ending)
        case "no_json":
            return stream(*start, b"event: answer\ndata: {oops\n\n", *ending)
        case "wrong_shape":
            return stream(*start, sse("answer", [1, 2]), *ending)
    return stream(*start, *ending, closing=3)


def _stopped(body: dict[str, Any], fault: str) -> Answer:
    done = b'{"code": 200, "statusText": "", "message": "", "data": {"success": true}}'
    return Answer("application/json", [done], role="cancel")


DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/api/v[12]/chat/completions": _completions,
    "/api/v2/chat/stop": _stopped,
}
