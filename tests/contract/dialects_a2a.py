"""What A2A agents say over JSON-RPC: the card, and tasks of protocol 0.3 and 1.0."""

from collections.abc import Callable
from typing import Any

from tests.contract.fake_dialects import ANSWER, OLD_ANSWER, Answer, json_answer, prepared

TASK_ID, CONTEXT_ID = "task-41", "context-9"
CARD = {
    "name": "reporter",
    "supportedInterfaces": [
        {"url": "grpc.example:443", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
        {"url": "http://agents.example:9/a2a/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
    ],
    "protocolVersion": "0.3.0",
    "preferredTransport": "JSONRPC",
    "url": "http://agents.example:9/a2a/rpc",
}
STATES = {
    "submitted": "TASK_STATE_SUBMITTED",
    "working": "TASK_STATE_WORKING",
    "completed": "TASK_STATE_COMPLETED",
    "failed": "TASK_STATE_FAILED",
    "canceled": "TASK_STATE_CANCELED",
    "rejected": "TASK_STATE_REJECTED",
    "input-required": "TASK_STATE_INPUT_REQUIRED",
    "auth-required": "TASK_STATE_AUTH_REQUIRED",
}


def said(*texts: str, old: bool = False, role: str = "agent") -> dict[str, Any]:
    """A message, in the words of its protocol."""
    parts = [{"kind": "text", "text": text} if old else {"text": text} for text in texts]
    words = {"kind": "message", "role": role} if old else {"role": f"ROLE_{role.upper()}"}
    return {**words, "messageId": "m-1", "parts": parts}


QUESTION, OLD_QUESTION = said("批准吗？"), said("批准吗？", old=True)


def task(state: str, *, old: bool = False, message: object = None, **fields: object) -> dict[str, Any]:
    """A task, in the words of its protocol."""
    status: dict[str, Any] = {"state": state if old else STATES[state], "timestamp": "2026-03-01T12:00:00Z"}
    if message is not None:
        status["message"] = message
    history = [said("写日报", old=old, role="user"), said(OLD_ANSWER, old=old)]
    whole: dict[str, Any] = {"id": TASK_ID, "contextId": CONTEXT_ID, "status": status, "history": history, **fields}
    return {"kind": "task", **whole} if old else whole


def ended(fault: str, *, old: bool) -> dict[str, Any]:
    """The task that a message ends in."""
    texts = {"list": [ANSWER[:5], ANSWER[5:]], "empty": [""]}.get(fault, [ANSWER])
    match fault:
        case "error_in_200":
            return task("failed", old=old, message=said("模型崩溃", old=old))
        case "requires_action":
            return task("input-required", old=old, message=OLD_QUESTION if old else QUESTION)
        case "empty":
            return task("completed", old=old, history=[said("写日报", old=old, role="user")])
        case _:
            artifact = {"artifactId": "a-1", "name": "report", "parts": said(*texts, old=old)["parts"]}
            return task("completed", old=old, artifacts=[artifact])


def answered(result: object, fault: str = "ok") -> Answer:
    return json_answer({"jsonrpc": "2.0", "id": "1", "result": result}, fault)


def refused(code: int, message: str = "no") -> Answer:
    return json_answer({"jsonrpc": "2.0", "id": "1", "error": {"code": code, "message": message}}, "ok")


def card(body: dict[str, Any], fault: str) -> Answer:
    return prepared(CARD)


def rpc(body: dict[str, Any], fault: str) -> Answer:
    match body.get("method"):
        case "SendMessage":
            return answered({"task": task("submitted")})
        case "message/send":
            return answered(task("submitted", old=True))
        case "GetTask":
            return answered(ended(fault, old=False), fault)
        case "tasks/get":
            return answered(ended(fault, old=True), fault)
        case "CancelTask" | "tasks/cancel":
            stopped = task("canceled", old=body["method"] == "tasks/cancel")
            return Answer("application/json", answered(stopped).frames, role="cancel")
    return refused(-32601, "Method not found")


DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/.well-known/agent-card.json": card,
    "/a2a/rpc": rpc,
}
