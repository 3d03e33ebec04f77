"""A demo agent: a local stand-in for an agent platform, so that the scheduler can be tried without any account.

    python scripts/demo_agent.py --port 8900 --delay 0.2

It listens on 127.0.0.1 only, asks for no key, and thinks nothing: every answer says that it comes from the demo agent
and from no model. It speaks

    POST /api/v1/chat/threads/{thread_id}/completion   agent_platform, streaming and blocking
    POST /api/v1/workflows/{workflow_id}/run           agent_platform, workflows (a shape of this project's own)
    POST /v1/chat/completions                          OpenAI-compatible, stream or not
    any  /echo                                         plain JSON for `http` tasks: what was sent, without credentials
    GET  /health                                       {"status": "ok", "calls": …, "running": …}

Failures to try: send one of these as the whole message (an agent's `message`, a string among a workflow's `inputs`,
`{"message": …}` in the body or `?message=…` of /echo):

    slow N        answer after N seconds more (at most 3600)
    fail          HTTP 200 with an error inside; /echo answers 500
    empty         success without an answer
    drip          a byte a second, for ever
    stall         half an answer, then silence
    cut           half an answer, then a closed connection
    ask           the agent asks for a human; /echo does not
    unauthorized, missing, invalid    401, 404, 422
    throttled     429 with Retry-After: 5
    quota         429, out of quota
    gateway       502 with an HTML page
    huge          64 MiB of answer
"""

import argparse
import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

MAX_SLOW_SECONDS: Final = 3600.0
STATUS_FAULTS: Final = {"unauthorized": 401, "missing": 404, "invalid": 422, "throttled": 429, "quota": 429}
SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "x-api-key", "proxy-authorization"})
FAULTS: Final = frozenset({"fail", "empty", "drip", "stall", "cut", "ask", "gateway", "huge", *STATUS_FAULTS})

QUESTION: Final = [{"value": {"question": "The demo agent asks: go on? 是否继续？"}, "id": "demo"}]

_SLOW = re.compile(r"slow\s+(\d+(?:\.\d+)?)", re.IGNORECASE)


class Demo:
    """How long answers take, and what is going on."""

    delay = 0.2
    calls = 0
    running = 0


class CutAsAsked(Exception):
    """Closes the connection in the middle of an answer."""


Frames = tuple[str, list[bytes]]
app = FastAPI(title="Demo agent (no model)", docs_url=None, redoc_url=None)


@app.post("/api/v1/chat/threads/{thread_id}/completion")
async def completion(thread_id: str, request: Request) -> Response:
    """Answer a message as the newest agent platform does."""
    body = await _object(request)
    query = str(body.get("query", ""))
    if body.get("chat_mode") == "blocking":
        return await _answer(request, query, _envelope(query, _blocking(thread_id, query)))
    return await _answer(request, query, _platform_events(query))


@app.post("/api/v1/workflows/{workflow_id}/run")
async def workflow(workflow_id: str, request: Request) -> Response:
    """Run a workflow: the outputs are the inputs and a sentence about them."""
    inputs = (await _object(request)).get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    texts = [value for value in inputs.values() if isinstance(value, str)]
    said = next((text for text in texts if _fault(text) or _slowness(text)), "")
    return await _answer(request, said, _envelope(said, _workflow_data(workflow_id, inputs, said)))


@app.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer like an OpenAI-compatible server."""
    body = await _object(request)
    query = _last_content(body)
    if body.get("stream"):
        return await _answer(request, query, _chat_events(query))
    return await _answer(request, query, _json_frames(_chat_whole(query)))


@app.api_route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request) -> Response:
    """Say what was sent."""
    raw = (await request.body()).decode("utf-8", "replace")
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = raw
    said = request.query_params.get("message") or (body.get("message") if isinstance(body, dict) else "")
    if _fault(str(said)) == "fail":
        return JSONResponse({"demo": True, "error": "the demo agent fails as asked"}, 500)
    if _fault(str(said)) == "empty":
        return Response(status_code=204)
    headers = {name: value for name, value in request.headers.items() if name not in SECRET_HEADERS}
    echoed = {"demo": True, "method": request.method, "path": request.url.path, "headers": headers, "body": body}
    return await _answer(request, str(said), _json_frames(echoed))


@app.get("/health")
async def health() -> Response:
    """Say that we are up, and how busy."""
    return JSONResponse({"status": "ok", "demo": True, "calls": Demo.calls, "running": Demo.running})


async def _answer(request: Request, said: str, answer: Frames) -> Response:
    """Answer after the delay, or fail as asked."""
    Demo.calls += 1
    fault = _fault(said)
    if status := STATUS_FAULTS.get(fault):
        code = {"quota": "insufficient_quota", "throttled": "rate_limit_exceeded"}.get(fault, fault)
        message = f"the demo agent answers {status} as asked"
        body = {"error": {"message": message, "type": code, "code": code}, "detail": message, "code": code}
        return JSONResponse(body, status, {"Retry-After": "5"} if fault == "throttled" else None)
    if fault == "gateway":
        return HTMLResponse("<html><head><title>502 Bad Gateway</title></head></html>", 502)
    sent = _sent(request, answer[1], fault, Demo.delay + _slowness(said))
    return StreamingResponse(sent, media_type=answer[0])


async def _sent(request: Request, frames: list[bytes], fault: str, seconds: float) -> AsyncIterator[bytes]:
    whole = b"".join(frames)
    Demo.running += 1
    try:
        match fault:
            case "drip":
                while not await _gone_within(request, 1):
                    yield whole[:1]
            case "huge":
                for _ in range(1024):
                    if not await _gone_within(request, 0.001):
                        yield b"x" * 65536
            case "stall" | "cut":
                yield whole[: len(whole) // 2]
                if fault == "stall":
                    await _gone_within(request, MAX_SLOW_SECONDS)
                raise CutAsAsked
            case _:
                early = frames[:-1][:1]
                for frame in early:
                    yield frame
                if not await _gone_within(request, seconds):
                    yield whole[len(b"".join(early)) :]
    finally:
        Demo.running -= 1


async def _gone_within(request: Request, seconds: float) -> bool:
    """Wait; True as soon as the caller hangs up, so that nobody's long answer is kept for him."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


def _fault(said: str) -> str:
    word = said.strip().lower()
    return word if word in FAULTS else ""


def _slowness(said: str) -> float:
    slow = _SLOW.fullmatch(said.strip())
    return min(float(slow.group(1)), MAX_SLOW_SECONDS) if slow else 0


def _text(said: str) -> str:
    answer = f"[demo agent, no model] Received “{said[:500]}”. 这是演示代理的固定回答，没有调用任何模型。"
    return "" if _fault(said) == "empty" else answer


def _sse(data: object, event: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"{f'event: {event}' + chr(10) if event else ''}data: {text}\n\n".encode()


def _json_frames(body: object) -> Frames:
    return "application/json", [json.dumps(body, ensure_ascii=False).encode()]


def _state(said: str) -> dict[str, Any]:
    # Characters, not tokens: the demo agent has no tokenizer.
    usage = {"input_tokens": len(said), "output_tokens": len(_text(said))}
    answer = {"type": "ai", "content": _text(said), "id": "2", "usage_metadata": usage}
    return {"messages": [{"type": "human", "content": said, "id": "1"}, answer]}


def _platform_events(said: str) -> Frames:
    state = _state(said)
    frames = [_sse({"messages": state["messages"][:1]}, "values")]
    match _fault(said):
        case "fail":
            frames.append(_sse({"type": "error", "error": "the demo agent fails as asked"}, "error"))
        case "ask":
            frames.append(_sse({"__interrupt__": QUESTION}, "updates"))
        case _:
            frames += [_sse(state, "values"), _sse({"status": "completed"}, "end")]
    return "text/event-stream", frames


def _envelope(said: str, data: Mapping[str, Any]) -> Frames:
    if _fault(said) == "fail":
        return _json_frames({"status": "error", "msg": "the demo agent fails as asked", "data": None, "code": 500})
    return _json_frames({"status": "ok", "msg": "ok", "code": 200, "data": data})


def _blocking(thread_id: str, said: str) -> dict[str, Any]:
    state = _state(said)
    if _fault(said) == "ask":
        state = {"messages": state["messages"][:1], "__interrupt__": QUESTION}
    last = {"content": _text(said), "type": "ai"}
    return {"thread_id": thread_id, "status": "completed", "result": state, "last_message": last}


def _workflow_data(workflow_id: str, inputs: dict[str, Any], said: str) -> dict[str, Any]:
    if _fault(said) == "ask":
        return {"status": "interrupted", "__interrupt__": QUESTION}
    if _fault(said) == "empty":
        return {"status": "completed", "outputs": {}, "result": ""}
    result = f"[demo agent, no model] Workflow {workflow_id} ran. 这是演示工作流，没有调用任何模型。"
    return {"status": "completed", "outputs": {"workflow_id": workflow_id, "inputs": inputs}, "result": result}


def _chat_whole(said: str) -> dict[str, Any]:
    if _fault(said) == "fail":
        return {"error": {"message": "the demo agent fails as asked", "type": "server_error", "code": None}}
    call = {"index": 0, "id": "demo", "type": "function", "function": {"name": "ask_human", "arguments": "{}"}}
    asks = _fault(said) == "ask"
    message = {"role": "assistant", **({"content": None, "tool_calls": [call]} if asks else {"content": _text(said)})}
    return {
        "id": "demo",
        "model": "demo-agent-no-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if asks else "stop"}],
        "usage": {"prompt_tokens": len(said), "completion_tokens": len(_text(said))},
    }


def _chat_events(said: str) -> Frames:
    whole = _chat_whole(said)
    start = _sse({"id": "demo", "choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
    if "error" in whole:
        return "text/event-stream", [start, _sse(whole)]
    (choice,) = whole["choices"]
    delta = {"index": 0, "delta": choice["message"], "finish_reason": None}
    finish = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    chunks = [{"id": "demo", "choices": [delta]}, {"id": "demo", "choices": [finish]}]
    chunks.append({"id": "demo", "choices": [], "usage": whole["usage"]})
    return "text/event-stream", [start, *map(_sse, chunks), _sse("[DONE]")]


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _last_content(body: object) -> str:
    match body:
        case {"messages": [*_, {"content": content}]}:
            return str(content)
    return ""


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="A local demo agent; see the docstring for what it can do.")
    parser.add_argument("--port", type=int, default=8900, help="port on 127.0.0.1 (8900)")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that every answer takes (0.2)")
    options = parser.parse_args()
    Demo.delay = options.delay
    # A cut is what was asked for, no defect with a traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "CutAsAsked" not in str(record.exc_info))
    print(f"Demo agent (no model) on http://127.0.0.1:{options.port}, {options.delay:g} s an answer", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False, backlog=4096)


if __name__ == "__main__":
    main()
