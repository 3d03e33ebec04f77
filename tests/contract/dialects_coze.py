"""What Coze says: streamed chats, chats to ask for, and workflows in their three ways."""

import json
from collections.abc import Callable
from typing import Any

from tests.contract.fake_dialects import (
    ANSWER,
    INPUT_TOKENS,
    INTERRUPT,
    OLD_ANSWER,
    OUTPUT_TOKENS,
    Answer,
    content_of,
    json_answer,
    prepared,
)

CHAT_ID, CONVERSATION, EXECUTION = "7374752000116113452", "7374752000116100000", "743104097880000000"
USAGE = {"token_count": INPUT_TOKENS + OUTPUT_TOKENS, "input_count": INPUT_TOKENS, "output_count": OUTPUT_TOKENS}
CRASH = {"code": 5000, "msg": "模型崩溃"}
ACTION = {"type": "submit_tool_outputs", "submit_tool_outputs": INTERRUPT}


def event(name: str, data: object) -> bytes:
    """One event, with no blank after the colons."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"event:{name}\ndata:{text}\n\n".encode()


def chat(status: str, **fields: object) -> dict[str, object]:
    return {"id": CHAT_ID, "conversation_id": CONVERSATION, "bot_id": "b-1", "status": status, **fields}


def on_chat(status: str, **fields: object) -> bytes:
    return event(f"conversation.chat.{status}", chat(status, **fields))


def message(content: Any, kind: str = "answer") -> dict[str, object]:
    parts = isinstance(content, list)
    return {
        "id": "m-1",
        "conversation_id": CONVERSATION,
        "role": "assistant",
        "type": kind,
        "content": json.dumps(content, ensure_ascii=False) if parts else content,
        "content_type": "object_string" if parts else "text",
    }


def messages(fault: str) -> list[dict[str, object]]:
    """A chat's messages: what is no answer stands before and behind the one that is."""
    call, extra = message("{}", "function_call"), message(OLD_ANSWER, "follow_up")
    return [call, message(content_of(fault)), message('{"msg_type":"generate_answer_finish"}', "verbose"), extra]


def stream(*frames: bytes, closing: int = 2) -> Answer:
    return Answer("text/event-stream", list(frames), closing=closing)


DONE = event("done", '"[DONE]"')


def opened(data: object, **fields: object) -> dict[str, object]:
    return {"code": 0, "msg": "", "data": data, "detail": {"logid": "20250106172024"}, **fields}


def _chat(body: dict[str, Any], fault: str) -> Answer:
    if not body.get("stream"):
        return json_answer(CRASH if fault == "error_in_200" else opened(chat("in_progress")), fault)
    start = [on_chat("created"), on_chat("in_progress")]
    deltas = [event("conversation.message.delta", message(piece)) for piece in (ANSWER[:3], ANSWER[3:])]
    completed = [event("conversation.message.completed", said) for said in messages(fault)]
    match fault:
        case "error_in_200":
            return stream(*start, on_chat("failed", last_error=CRASH), DONE)
        case "requires_action":
            return stream(*start, on_chat("requires_action", required_action=ACTION), DONE)
        case "no_json":
            return stream(*start, event("conversation.message.delta", "{oops"), DONE)
        case "wrong_shape":
            return stream(*start, event("conversation.message.completed", [1, 2]), DONE)
    return stream(*start, *deltas, *completed, on_chat("completed", usage=USAGE), DONE)


def _retrieve(body: dict[str, Any], fault: str) -> Answer:
    match fault:
        case "requires_action":
            return json_answer(opened(chat("requires_action", required_action=ACTION)), fault)
    return json_answer(opened(chat("completed", usage=USAGE)), fault)


def _messages(body: dict[str, Any], fault: str) -> Answer:
    return json_answer(opened(messages(fault)), fault)


def _cancelled(body: dict[str, Any], fault: str) -> Answer:
    return Answer("application/json", [json.dumps(opened(chat("canceled"))).encode()], role="cancel")


def written(fault: str) -> str:
    """A workflow's outputs, as JSON in a string."""
    return json.dumps({"output": content_of(fault)}, ensure_ascii=False)


def _run(body: dict[str, Any], fault: str) -> Answer:
    if fault == "error_in_200":
        return json_answer(CRASH, fault)
    if body.get("is_async"):
        return prepared({"code": 0, "msg": "Success", "execute_id": EXECUTION, "debug_url": "https://coze.example"})
    data = "" if fault == "requires_action" else written(fault)
    asks = {"interrupt_data": INTERRUPT} if fault == "requires_action" else {}
    return json_answer({"code": 0, "msg": "", "data": data, "usage": USAGE, **asks}, fault)


def node(content: str, title: str, *, is_last: bool = True, **fields: object) -> bytes:
    said = {"content": content, "node_title": title, "node_seq_id": "0", "node_is_finish": is_last, **fields}
    return event("Message", said)


WORKFLOW_DONE = event("Done", {"debug_url": "https://coze.example"})


def _stream_run(body: dict[str, Any], fault: str) -> Answer:
    start = [node("正在", "Message", is_last=False), node("生成", "Message")]
    match fault:
        case "error_in_200":
            return stream(*start, event("Error", {"error_code": 5000, "error_message": "模型崩溃"}), closing=1)
        case "requires_action":
            return stream(event("Interrupt", INTERRUPT[0]), closing=1)
        case "no_json":
            return stream(*start, event("Message", "{oops"), WORKFLOW_DONE, closing=1)
        case "wrong_shape":
            return stream(*start, event("Message", [1, 2]), WORKFLOW_DONE, closing=1)
    return stream(*start, node(written(fault), "End", node_type="End", usage=USAGE), WORKFLOW_DONE, closing=1)


def history(status: str = "Success", **fields: object) -> dict[str, object]:
    """What an asynchronous run is told to have come to; its output is wrapped once more."""
    output = json.dumps({"Output": written("ok")})
    run = {"execute_id": EXECUTION, "execute_status": status, "output": output, "usage": USAGE, "error_code": "0"}
    return opened([{**run, **fields}])


def _history(body: dict[str, Any], fault: str) -> Answer:
    if fault == "error_in_200":
        return json_answer(history("Fail", output="", error_code="5000", error_message="模型崩溃"), fault)
    return json_answer(history(output=json.dumps({"Output": written(fault)})), fault)


DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/v3/chat": _chat,
    "/v3/chat/retrieve": _retrieve,
    "/v3/chat/message/list": _messages,
    "/v3/chat/cancel": _cancelled,
    "/coze/v1/workflow/run": _run,  # NexusAI has a path of this name
    "/v1/workflow/stream_run": _stream_run,
    f"/run_histories/{EXECUTION}": _history,
}
