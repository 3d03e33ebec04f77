"""What the adapters' platforms say, in their own shapes: whole answers and errors, before any wire fault. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Literal

ANSWER = "日报已生成 ✅ café"
INPUT_TOKENS, OUTPUT_TOKENS = 11, 7
OLD_ANSWER = "an answer to an older question"


@dataclass(frozen=True)
class Answer:
    content_type: str
    frames: list[bytes]
    closing: int = 1
    """How many frames at the end prove that the answer is whole."""
    content_encoding: str = "identity"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further lines of its head."""
    status: int = 200
    role: Literal["answer", "preliminary", "cancel"] = "answer"
    """What only prepares a run meets no fault, and what stops one neither: that is counted."""


def refusal(path: str, status: int, code: str) -> bytes:
    message = f"refused with {status}: 拒绝"
    if path.endswith(("/chat/completions", "/responses")):
        return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()
    if path.endswith("/v1/messages"):
        return json.dumps({"type": "error", "error": {"type": code, "message": message}}).encode()
    if status == 422:
        return json.dumps({"detail": [{"loc": ["body", "agent_id"], "msg": message, "type": "missing"}]}).encode()
    return json.dumps({"detail": message, "code": code}, ensure_ascii=False).encode()


def answers(path: str, body: Any, fault: str) -> Answer | None:
    """What the dialect of this path answers; None where no dialect lives."""
    for ending, build in _dialects().items():
        if re.search(f"{ending}$", path.partition("?")[0]):
            return build(body, fault)
    return None


def sse(event: str, data: object) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def content_of(fault: str) -> Any:
    blocks = [{"type": "text", "text": ANSWER[:5]}, {"type": "text", "text": ANSWER[5:]}]
    return {"list": blocks, "empty": ""}.get(fault, ANSWER)


def platform_state(query: str, fault: str) -> dict[str, Any]:
    metadata = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "total_tokens": 18}
    state: dict[str, Any] = {
        "messages": [
            {"type": "human", "content": "an older question", "id": "1"},
            {
                "type": "ai",
                "content": OLD_ANSWER,
                "id": "2",
                "usage_metadata": {"input_tokens": 900, "output_tokens": 900},
            },
            {"type": "human", "content": query, "id": "3"},
            {"type": "ai", "content": content_of(fault), "id": "4", "usage_metadata": metadata},
        ]
    }
    return state


INTERRUPT = [{"value": {"question": "批准吗？"}, "id": "i-1"}]


def _platform_stream(query: str, fault: str) -> Answer:
    state = platform_state(query, fault)
    asked = {"messages": state["messages"][:3]}
    start = [b"id: 1\n" + sse("values", asked), b": keep-alive\r\n\r\n"]
    match fault:
        case "error_in_200":
            frames = [*start, sse("error", {"type": "error", "error": "工具调用失败"})]
        case "requires_action":
            frames = [*start, sse("updates", {"__interrupt__": INTERRUPT})]
        case "no_json":
            frames = [*start, b"event: values\ndata: {oops\n\n", sse("end", {"status": "completed"})]
        case "wrong_shape":
            frames = [*start, sse("values", "just text"), sse("end", ["completed"])]
        case _:
            frames = [*start, sse("updates", {"agent": {"messages": state["messages"][3:]}}), sse("values", state)]
            frames.append(sse("end", {"status": "completed"}))
    return Answer("text/event-stream; charset=utf-8", frames)


def json_answer(body: object, fault: str) -> Answer:
    text = {"no_json": "<html><title>Login</title></html>", "wrong_shape": "[1, 2]"}.get(fault)
    return Answer("application/json", [(text or json.dumps(body, ensure_ascii=False)).encode()])


def envelope(data: object, fault: str) -> Answer:
    if fault == "error_in_200":
        return json_answer({"status": "error", "msg": "处理请求时出错", "data": None, "code": 500}, fault)
    return json_answer({"status": "ok", "msg": "操作成功", "code": 200, "data": data}, fault)


def _platform_v1(body: dict[str, Any], fault: str) -> Answer:
    if body["chat_mode"] == "streaming":
        return _platform_stream(body["query"], fault)
    state = platform_state(body["query"], fault)
    if fault == "requires_action":
        state = {"messages": state["messages"][:3], "__interrupt__": INTERRUPT}
    last = {"content": content_of(fault), "type": "ai"}
    return envelope({"thread_id": "t", "status": "completed", "result": state, "last_message": last}, fault)


def _platform_legacy(body: dict[str, Any], fault: str) -> Answer:
    return _platform_stream(body["input"]["messages"][-1]["content"], fault)


def _platform_workflow(body: dict[str, Any], fault: str) -> Answer:
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    data: dict[str, Any] = {"status": "completed", "outputs": {"report": ANSWER}, "usage": usage}
    match fault:
        case "empty":
            data["outputs"] = {}
        case "requires_action":
            data = {"status": "interrupted", "__interrupt__": INTERRUPT}
        case _:
            data["result"] = content_of(fault)
    return envelope(data, fault)


def prepared(body: object) -> Answer:
    """An answer that only prepares a run."""
    return Answer("application/json", [json.dumps(body, ensure_ascii=False).encode()], role="preliminary")


def _thread(body: dict[str, Any], fault: str) -> Answer:
    return prepared({"thread_id": "thread-1", "metadata": {}})


def stopped(body: dict[str, Any], fault: str) -> Answer:
    return Answer("application/json", [b"{}"], role="cancel")


def _openai(body: dict[str, Any], fault: str) -> Answer:
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": 18}
    error = {"error": {"message": "模型崩溃", "type": "server_error", "param": None, "code": None}}
    call = {"index": 0, "id": "c-1", "type": "function", "function": {"name": "approve", "arguments": '{"a": 1}'}}
    reason = "tool_calls" if fault == "requires_action" else "stop"
    asks = {"content": None, "tool_calls": [call]}
    if not body["stream"]:
        message = asks if fault == "requires_action" else {"role": "assistant", "content": content_of(fault)}
        whole = {"id": "cmpl-1", "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}
        return json_answer(error if fault == "error_in_200" else whole, fault)

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return sse("", {"id": "cmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    start = [chunk({"role": "assistant", "content": None})]
    ending = [chunk({}, reason), sse("", {"id": "cmpl-1", "choices": [], "usage": usage}), sse("", "[DONE]")]
    deltas = [chunk({"content": piece}) for piece in ([ANSWER[:3], ANSWER[3:]] if fault != "empty" else [""])]
    frames = {
        "error_in_200": [*start, *deltas, sse("", error)],
        "requires_action": [*start, chunk(asks), *ending],
        "list": [*start, chunk({"content": content_of("list")}), *ending],
        "no_json": [*start, b"data: {oops\n\n", *ending],
        "wrong_shape": [*start, sse("", [1, 2]), *ending],
    }
    return Answer("text/event-stream", frames.get(fault, [*start, *deltas, *ending]), closing=3)


def _plain(body: dict[str, Any], fault: str) -> Answer:
    if fault == "error_in_200":
        return json_answer({"error": {"message": "下游失败"}, "answer": None}, fault)
    return json_answer({"answer": content_of(fault), "error": None, "got": body}, fault)


def _echo(body: dict[str, Any], fault: str) -> Answer:
    return Answer("application/json", [b""]) if fault == "empty" else _plain(body, fault)


# By the end of the path, a pattern; the first that fits counts.
_DIALECTS: dict[str, Callable[[dict[str, Any], str], Answer]] = {
    "/chat/threads": _thread,
    "/chat/threads/[^/]+/runs/cancel": stopped,
    "/completion": _platform_v1,
    "/runs/stream": _platform_legacy,
    "/run": _platform_workflow,
    "/chat/completions": _openai,
    "/plain": _plain,
    "/echo": _echo,
}

# Modules with a table of their own, named DIALECTS, which is asked before the one above.
_MODULES = (
    "dialects_dify",
    "dialects_coze",
    "dialects_fastgpt",
    "dialects_models",
    "dialects_a2a",
    "dialects_langgraph",
    "dialects_flows",
)


@cache
def _dialects() -> dict[str, Callable[[dict[str, Any], str], Answer]]:
    found: dict[str, Callable[[dict[str, Any], str], Answer]] = {}
    for name in _MODULES:  # not imported above: they need what is defined here
        found |= import_module(f"tests.contract.{name}").DIALECTS
    return found | _DIALECTS
