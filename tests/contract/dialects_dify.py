"""What Dify says: chatbots, chatflows, completions, workflow runs and their records."""

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

TASK_ID, RUN, CONVERSATION = "task-7f", "run-5c", "conversation-3a"
COST, CURRENCY = 0.0012890, "USD"
PING = b"event: ping\n\n"

USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    "total_price": "0.0012890",
    "currency": CURRENCY,
}
CRASH = {"event": "error", "status": 500, "code": "internal_server_error", "message": "模型崩溃"}


def said(event: str, **fields: object) -> bytes:
    """One event of any stream: its name stands in its JSON, with the task."""
    return sse("", {"event": event, "task_id": TASK_ID, **fields})


def message(answer: str, event: str = "message") -> bytes:
    return said(event, id="m-1", message_id="m-1", conversation_id=CONVERSATION, answer=answer)


def message_end(usage: object = USAGE) -> bytes:
    metadata = {"usage": usage, "retriever_resources": []}
    return said("message_end", id="m-1", message_id="m-1", conversation_id=CONVERSATION, metadata=metadata)


def of_workflow(event: str, **data: object) -> bytes:
    return said(event, workflow_run_id=RUN, data={"id": RUN, "workflow_id": "w-1", **data})


def started() -> bytes:
    return of_workflow("workflow_started", inputs={}, created_at=1)


def finished(status: str = "succeeded", outputs: object = None, error: str | None = None) -> bytes:
    return of_workflow("workflow_finished", status=status, outputs=outputs, error=error, total_tokens=18, total_steps=2)


def paused() -> bytes:
    return of_workflow("workflow_paused", paused_nodes=["n-1"], reasons=INTERRUPT, status="paused", outputs={})


def stream(*frames: bytes, closing: int = 1) -> Answer:
    return Answer("text/event-stream; charset=utf-8", list(frames), closing=closing)


def _spoiled(fault: str, *start: bytes) -> Answer | None:
    match fault:
        case "error_in_200":
            return stream(*start, sse("", CRASH))
        case "requires_action":
            return stream(*start, paused())
        case "no_json":
            return stream(*start, b"data: {oops\n\n")
        case "wrong_shape":
            return stream(*start, sse("", [1, 2]))
    return None


def _pieces(fault: str) -> list[str]:
    return [""] if fault == "empty" else [ANSWER[:3], ANSWER[3:]]


def _chat(body: dict[str, Any], fault: str) -> Answer:
    if fault == "list":  # a chatflow, whose nodes show beside its answer
        nodes = [started(), said("node_started", workflow_run_id=RUN, data={"node_type": "llm"})]
        ending = [message_end(), finished(outputs={"answer": ANSWER})]
        return stream(PING, *nodes, *map(message, _pieces(fault)), *ending, closing=2)
    start = [PING, *map(message, _pieces(fault))]
    return _spoiled(fault, *start) or stream(*start, message_end())


def _workflow(body: dict[str, Any], fault: str) -> Answer:
    start = [PING, started(), said("text_chunk", workflow_run_id=RUN, data={"text": ANSWER[:3]})]
    outputs = {"text": content_of(fault)}
    return _spoiled(fault, *start) or stream(*start, finished(outputs=outputs))


def record(status: str = "succeeded", **fields: object) -> dict[str, object]:
    """What GET /workflows/run/{id} tells; `inputs` is JSON in a string there."""
    outputs = {"text": ANSWER} if status == "succeeded" else None
    return {
        "id": RUN,
        "workflow_id": "w-1",
        "status": status,
        "inputs": "{}",
        "outputs": outputs,
        "error": None,
        **fields,
    }


def _record(body: dict[str, Any], fault: str) -> Answer:
    return json_answer(record(), fault)


def _stopped(body: dict[str, Any], fault: str) -> Answer:
    return Answer("application/json", [b'{"result": "success"}'], role="cancel")


DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/chat-messages": _chat,
    "/completion-messages": _chat,
    "/workflows/run": _workflow,
    f"/workflows/run/{RUN}": _record,
    f"/(chat-messages|completion-messages|workflows/tasks)/{TASK_ID}/stop": _stopped,
}
