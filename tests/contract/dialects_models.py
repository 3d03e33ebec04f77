"""What OpenAI Responses and Anthropic Messages say."""

from collections.abc import Callable
from typing import Any

from tests.contract.fake_dialects import ANSWER, INPUT_TOKENS, OUTPUT_TOKENS, Answer, json_answer, sse, stopped

RESPONSE_ID = "resp_68c1"
CRASH = {"code": "server_error", "message": "模型崩溃"}
FUNCTION_CALL = {"type": "function_call", "call_id": "c-1", "name": "approve", "arguments": '{"a": 1}'}


def response(status: str, **fields: object) -> dict[str, Any]:
    """A response object; while it goes on, it has no output and no usage."""
    return {
        "id": RESPONSE_ID,
        "object": "response",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        **fields,
    }


def message(*texts: str) -> dict[str, Any]:
    """A message among the output of a response."""
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def ended(fault: str) -> dict[str, Any]:
    """The response that a background run ends in."""
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "total_tokens": 18}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    match fault:
        case "error_in_200":
            return response("failed", error=CRASH)
        case "requires_action":
            return response("completed", output=[reasoning, FUNCTION_CALL], usage=usage)
        case "empty":
            return response("completed", output=[reasoning, message("")], usage=usage)
        case "list":
            return response("completed", output=[reasoning, message(ANSWER[:5], ANSWER[5:])], usage=usage)
        case _:
            return response("completed", output=[reasoning, message(ANSWER)], usage=usage)


def responses(body: dict[str, Any], fault: str) -> Answer:
    if body.get("background"):
        return json_answer(response("queued"), "ok")
    whole = ended(fault)
    if not body["stream"]:
        return json_answer(whole, fault)

    def event(name: str, **fields: object) -> bytes:
        return sse(f"response.{name}", {"type": f"response.{name}", **fields})

    start = [event("created", response=response("in_progress")), event("in_progress", response=response("in_progress"))]
    deltas = [event("output_text.delta", item_id="msg_1", delta=piece) for piece in (ANSWER[:3], ANSWER[3:])]
    closing = event("failed" if whole["status"] == "failed" else "completed", response=whole)
    match fault:
        case "no_json":
            closing = b"event: response.completed\ndata: {oops\n\n"
        case "wrong_shape":
            closing = sse("response.completed", [1, 2])
    return Answer("text/event-stream; charset=utf-8", [*start, *deltas, closing])


def stored_response(body: dict[str, Any], fault: str) -> Answer:
    return json_answer(ended(fault), fault)


def messages(body: dict[str, Any], fault: str) -> Answer:
    usage = {"input_tokens": 4, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 2}
    error = {"type": "error", "error": {"type": "api_error", "message": "模型崩溃"}, "request_id": "req_1"}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "approve", "input": {"a": 1}}
    texts = {"list": [ANSWER[:5], ANSWER[5:]], "empty": [""]}.get(fault, [ANSWER])
    reason = "tool_use" if fault == "requires_action" else "end_turn"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
    if not body["stream"]:
        blocks = [tool] if fault == "requires_action" else [{"type": "text", "text": text} for text in texts]
        whole = {**head, "content": blocks, "stop_reason": reason, "usage": {**usage, "output_tokens": OUTPUT_TOKENS}}
        return json_answer(error if fault == "error_in_200" else whole, fault)

    started = {**head, "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    start = [event(type="message_start", message=started), event(type="ping")]
    blocks_in_pieces = [frame for index, text in enumerate(texts) for frame in text_block(index, text)]
    ending = [
        event(type="message_delta", delta={"stop_reason": reason}, usage={"output_tokens": OUTPUT_TOKENS}),
        event(type="message_stop"),
    ]
    frames = {
        "error_in_200": [*start, *blocks_in_pieces, event(**error)],
        "requires_action": [*start, *tool_block(0), *ending],
        "no_json": [*start, b"event: content_block_start\ndata: {oops\n\n", *ending],
        "wrong_shape": [*start, sse("content_block_start", [1, 2]), *ending],
    }
    return Answer("text/event-stream; charset=utf-8", frames.get(fault, [*start, *blocks_in_pieces, *ending]))


def event(**fields: object) -> bytes:
    """One event of an Anthropic stream: its name stands in its JSON too."""
    return sse(str(fields["type"]), fields)


def text_block(index: int, text: str) -> list[bytes]:
    return [
        event(type="content_block_start", index=index, content_block={"type": "text", "text": ""}),
        *(
            event(type="content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
            for piece in (text[:3], text[3:])
        ),
        event(type="content_block_stop", index=index),
    ]


def tool_block(index: int) -> list[bytes]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "approve", "input": {}}
    return [
        event(type="content_block_start", index=index, content_block=block),
        *(
            event(type="content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
            for piece in ('{"a"', ": 1}")
        ),
        event(type="content_block_stop", index=index),
    ]


DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/responses": responses,
    f"/responses/{RESPONSE_ID}": stored_response,
    f"/responses/{RESPONSE_ID}/cancel": stopped,
    "/messages": messages,
}
