"""What LangGraph Server says about one run of one thread. Pure."""

import json
from typing import Any

from tests.contract.fake_dialects import INTERRUPT, Answer, json_answer, platform_state, prepared, sse, stopped

THREAD, RUN = "8f0e1c52-7a55-4c0e-9d4e-0f4f0b1f9a11", "01a20274-7f00-758f-a7d8-9695cd7d9b9c"
LOCATION = f"/threads/{THREAD}/runs/{RUN}"


def thread(body: dict[str, Any], fault: str) -> Answer:
    """`POST /threads` for a thread on which nothing has run."""
    return prepared({"thread_id": body.get("thread_id"), "status": "idle", "metadata": {}, "values": None})


def stream(body: dict[str, Any], fault: str) -> Answer:
    """`POST …/runs/stream`: the head names the run, and the end of the stream proves nothing."""
    frames = [sse("metadata", {"run_id": RUN, "attempt": 1}), b": heartbeat\r\n\r\n"]
    if fault == "error_in_200":
        frames.append(sse("error", {"error": "ToolException", "message": "工具调用失败"}))
    return Answer("text/event-stream; charset=utf-8", frames, headers={"Content-Location": LOCATION})


def run(body: dict[str, Any], fault: str) -> Answer:
    """`GET …/runs/{run}`."""
    status = {"error_in_200": "error", "clean_cut": "running"}.get(fault, "success")
    return prepared({"run_id": RUN, "thread_id": THREAD, "status": status})


def joined(body: dict[str, Any], fault: str) -> Answer:
    """`GET …/join`: the state, or the error, after heartbeats."""
    error = {"__error__": {"error": "ToolException", "message": "工具调用失败"}}
    ended = error if fault == "error_in_200" else platform_state("写日报", fault)
    return Answer("application/json", [b"\n", b"\n", json.dumps(ended).encode()])


def history(body: dict[str, Any], fault: str) -> Answer:
    """`POST …/history` for the last state that a run left."""
    state = platform_state("写日报", fault)
    tasks: list[dict[str, Any]] = []
    if fault == "requires_action":
        state["messages"].pop()
        tasks = [{"id": "t-1", "name": "approve", "error": None, "interrupts": INTERRUPT}]
    left = {"values": state, "next": [task["name"] for task in tasks], "tasks": tasks, "metadata": {"run_id": RUN}}
    return json_answer([left], fault)


DIALECTS = {
    "/lg/threads": thread,
    "/lg/threads/[^/]+/runs/stream": stream,
    f"/lg/threads/[^/]+/runs/{RUN}": run,
    f"/lg/threads/[^/]+/runs/{RUN}/join": joined,
    f"/lg/threads/[^/]+/runs/{RUN}/cancel": stopped,
    "/lg/threads/[^/]+/history": history,
}
