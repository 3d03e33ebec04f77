"""The agent platform of the agent-scheduler seed: LangGraph agents behind its own envelope.

Base URL: as the platform documents it, `http://host:8000/api`. A trailing slash and a trailing `/v1` do no harm,
and a URL without any path gets `/api`; any other path is taken as it stands.

| task, dialect            | request                                                                    |
|--------------------------|----------------------------------------------------------------------------|
| agent, `v1` (default)    | POST {base}/v1/chat/threads/{thread_id}/completion                         |
| agent, `legacy` (2025-08)| POST {base}/chat/threads, then POST {base}/chat/threads/{id}/runs/stream   |
| workflow                 | POST {base}/v1/workflows/{workflow_id}/run                                 |

The platform's published versions have no workflow call. This path and its body,
`{"inputs": {…}, "user_name": …, "response_mode": "blocking"}` answered by the platform's own envelope with
`data: {outputs | result}`, are this project's choice for its default platform; `scripts/demo_agent.py` serves it.

HTTP 200 proves nothing here: every failure but a 422 arrives in an envelope `{"status": "error", "code": …}`.
A stream is an answer only after `event: end`, and a run that waits for a human sends none.
"""

import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, excerpt, json_text, plain_text, read_usage
from providers.http import base_of, below, events, exchange, is_event_stream, origin, read, request_id
from providers.langgraph_state import RunState, read_state
from providers.options import COUNT, NUMBER, TEXT, Rules, check

_AGENT_OPTIONS: Final[Rules] = {
    "dialect": frozenset({"v1", "legacy"}),
    "mode": frozenset({"streaming", "blocking"}),
    "model": TEXT,
    "recursion_limit": COUNT,
    "file_ids": (list,),
    "idle_timeout": NUMBER,
}

# The server marks a pause for a human only where it streams `updates`; with `values` alone it says `end`, completed.
_STREAM_MODES: Final = ["values", "updates"]

_ENVELOPE_KINDS: Final = {"461": ErrorKind.AUTH, "500": ErrorKind.REMOTE_FAILED}
_FINISHED: Final = frozenset({"completed", "succeeded", "success", "ok", "done"})
_PAUSED: Final = frozenset({"interrupted", "requires_action", "paused"})


class AgentPlatform:
    """Adapter of the seed's own platform. Options of an agent task:

    - `dialect`: `v1` or `legacy`, see above
    - `mode`: `streaming` (default) or `blocking`; a blocking run goes on there when we give up
    - `model`, `recursion_limit`, `file_ids`: handed to the platform
    - `idle_timeout`: seconds of silence that end a stream. Off by default: the platform sends no heartbeat, so a
      long tool call is silent too; a dead host is noticed within a minute by TCP keep-alive.

    A workflow task takes no options.
    """

    name = "agent_platform"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        check(options, _AGENT_OPTIONS if kind == "agent" else {}, owner=f"{self.name} ({kind})")
        if options.get("dialect") == "legacy" and options.get("mode") == "blocking":
            raise AgentError(ErrorKind.CONFIG, "the legacy dialect is called in mode 'streaming' only")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt. The conversation is the task's, else a thread named after the run."""
        if request.kind == "workflow":
            return await _run_workflow(context, request)
        legacy = request.options.get("dialect") == "legacy"
        thread_id = request.conversation_id or (await _new_thread(context, request) if legacy else _thread_of(request))
        try:
            if legacy:
                await context.on_handle(RemoteHandle(self.name, {"thread_id": thread_id, "run_id": request.run_id}))
                return await _run_legacy(context, request, thread_id)
            return await _run_agent(context, request, thread_id)
        except AgentError as error:
            error.conversation_id = thread_id
            raise

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop a legacy run; the newest platform has no such call and stops when its stream is closed."""
        thread_id = handle.ids["thread_id"]
        request = AgentRequest(kind="agent", target="", run_id=handle.ids["run_id"], timeout=5)
        url = below(_base(context), "chat", "threads", thread_id, "runs", "cancel")
        try:
            async with exchange(context, request, "POST", url, json={}):
                return True
        except AgentError as error:
            return error.http_status == 404  # nothing is running there any more


def _base(context: CallContext) -> httpx.URL:
    return _with_path(base_of(context.endpoint))


@lru_cache(maxsize=256)
def _with_path(base: httpx.URL) -> httpx.URL:
    path = base.path.rstrip("/").removesuffix("/v1")
    return base.copy_with(path=path or "/api")


def _thread_of(request: AgentRequest) -> str:
    """The run's id, so that the platform's thread and our ledger can be found from each other."""
    try:
        return str(uuid.UUID(request.run_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, request.run_id))


async def _run_agent(context: CallContext, request: AgentRequest, thread_id: str) -> AgentResult:
    options = request.options
    mode = options.get("mode", "streaming")
    settings = {"selected_model": options.get("model"), "recursion_limit": options.get("recursion_limit")}
    body = {
        "agent_id": request.target,
        "user_name": request.user,
        "query": request.message,
        "chat_mode": mode,
        "config": {
            # A blocking run must name one mode as plain text, else its result is a list of [mode, payload].
            "stream_mode": _STREAM_MODES if mode == "streaming" else "values",
            **{name: value for name, value in settings.items() if value is not None},
        },
    }
    if "file_ids" in options:
        body["file_ids"] = options["file_ids"]
    url = below(_base(context), "v1", "chat", "threads", thread_id, "completion")
    return await _answer(context, request, url, body, thread_id)


async def _new_thread(context: CallContext, request: AgentRequest) -> str:
    url = below(_base(context), "chat", "threads")
    async with exchange(context, request, "POST", url, json={"metadata": {}}) as response:
        body = decode_json(await read(response, context.max_bytes), origin(url))
        match body:
            case {"thread_id": str() as thread_id} | {"data": {"thread_id": str() as thread_id}}:
                return thread_id
        _envelope_data(body, origin(url))
        raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} opened a thread and did not name it")


async def _run_legacy(context: CallContext, request: AgentRequest, thread_id: str) -> AgentResult:
    model = request.options.get("model")
    limit = request.options.get("recursion_limit")
    config: dict[str, Any] = {"configurable": {"selected_model": model} if model else {}}
    if limit is not None:
        config["recursion_limit"] = limit
    body = {
        # Builds of that summer read one or the other.
        "assistant_id": request.target,
        "agent_id": request.target,
        "user_name": request.user,
        "input": {
            "messages": [{"type": "human", "content": request.message, "id": request.run_id}],
            "user_name": request.user,
        },
        "config": config,
        "stream_mode": _STREAM_MODES,
        "on_disconnect": "cancel",
    }
    url = below(_base(context), "chat", "threads", thread_id, "runs", "stream")
    return await _answer(context, request, url, body, thread_id)


async def _answer(
    context: CallContext, request: AgentRequest, url: httpx.URL, body: object, thread_id: str
) -> AgentResult:
    idle = request.options.get("idle_timeout")
    async with exchange(context, request, "POST", url, json=body, idle=idle) as response:
        if is_event_stream(response):
            result = await _from_stream(response, context)
        else:
            data = _envelope_data(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
            result = _from_blocking(data, origin(url))
        return replace(
            result,
            conversation_id=thread_id,
            http_status=response.status_code,
            request_id=request_id(response, request),
        )


async def _from_stream(response: httpx.Response, context: CallContext) -> AgentResult:
    source = origin(response.url)
    last, interrupt = RunState(), None
    async with aclosing(events(response, context.max_bytes)) as stream:
        async for event in stream:
            match event.event.partition("|")[0]:
                case "values" | "updates" as mode if event.data:
                    state = read_state(decode_json(event.data, source))
                    interrupt = interrupt if state.interrupt is None else state.interrupt
                    if mode == "values":
                        last = state
                        context.on_text(state.text, instead=True)
                case "error":
                    raise _stream_error(event.data, source)
                case "end":
                    return _ended(decode_json(event.data or "{}", source), replace(last, interrupt=interrupt), source)
    if interrupt is not None:
        return replace(last, interrupt=interrupt).result(source)
    raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its end; it may have run")


def _ended(end: Any, state: RunState, source: str) -> AgentResult:
    """The verdict of a run whose platform says that it is over, with a status of its own."""
    status = str(end.get("status") or "completed") if isinstance(end, Mapping) else "completed"
    if status in _PAUSED and state.interrupt is None:
        return replace(state, interrupt=end).result(source)
    if status in _FINISHED | _PAUSED:
        return state.result(source)
    raise failures.remote_error({**end, "code": status}, json_text(end), source=source)


def _stream_error(data: str, source: str) -> AgentError:
    try:
        body = decode_json(data, source)
    except AgentError:
        body = None
    return failures.remote_error(body, data, source=source, kinds=_ENVELOPE_KINDS)


def _envelope_data(body: Any, source: str) -> Any:
    """What is inside `{"status": "ok", "data": …}`; raises AgentError for `{"status": "error", "code": …}`."""
    match body:
        case {"status": "ok", "data": Mapping() as data}:
            return data
        case {"status": "ok"}:
            raise AgentError(ErrorKind.EMPTY, f"{source} says ok and gives no data")
        case {"status": "error"}:
            raise failures.remote_error(body, json_text(body), source=source, kinds=_ENVELOPE_KINDS)
    raise AgentError(
        ErrorKind.PROTOCOL, f"{source} did not answer in this platform's envelope; it began: {excerpt(json_text(body))}"
    )


def _from_blocking(data: Mapping[str, Any], source: str) -> AgentResult:
    result, last = data.get("result"), data.get("last_message")
    state = read_state(result)
    if not state.text:
        # Only without a state of its own: `last_message` may be the answer to an older question of the thread.
        stateless = not (isinstance(result, Mapping) and isinstance(result.get("messages"), list))
        said = plain_text(last.get("content")) if isinstance(last, Mapping) else plain_text(result)
        state = replace(state, text=said) if stateless else state
    return _ended(data, state, source)


async def _run_workflow(context: CallContext, request: AgentRequest) -> AgentResult:
    body = {"inputs": dict(request.inputs), "user_name": request.user, "response_mode": "blocking"}
    url = below(_base(context), "v1", "workflows", request.target, "run")
    async with exchange(context, request, "POST", url, json=body) as response:
        source = origin(url)
        data = _envelope_data(decode_json(await read(response, context.max_bytes), source), source)
        outputs, result, usage = data.get("outputs"), data.get("result"), data.get("usage")
        written = plain_text(result) or (json_text(result) if result else "")
        state = RunState(
            text=written or (json_text(outputs) if outputs else ""),
            usage=read_usage(usage if isinstance(usage, Mapping) else {}),
            interrupt=data.get("__interrupt__"),
        )
        verdict = _ended(data, state, source)
        return replace(
            verdict,
            data=(outputs if outputs is not None else result) if verdict.status == "succeeded" else verdict.data,
            http_status=response.status_code,
            request_id=request_id(response, request),
        )
