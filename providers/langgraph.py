"""LangGraph Server and Platform: a graph run on a thread.

Base URL: `http://host:8123`. The task's `agent_id` or `workflow_id` is the assistant: a graph's name or a uuid. The
endpoint's key goes into `x-api-key`.

    POST /threads                                  the run's own thread; made twice, it is the same
    POST /threads/{thread}/runs/stream             its head names the run, and the stream keeps the connection alive
    GET  /threads/{thread}/runs/{run}              how it ended: the end of a stream proves nothing
    GET  /threads/{thread}/runs/{run}/join         waits for a run whose stream broke off; holds its error
    POST /threads/{thread}/history                 the state that this run left, whoever used the thread after it

A run goes on when its connection breaks, so its handle is resumable. An attempt whose answer was lost before it named
the run leaves it on the thread, where the next attempt finds it: the thread is named after our run. After a failure
that is known, the next attempt takes another thread, since the first one remembers half a conversation.
"""

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, dig, excerpt, text_of
from providers.http import base_of, below, events, exchange, is_event_stream, origin, read, request_id
from providers.langgraph_state import read_state
from providers.options import COUNT, NUMBER, TEXT, Rules, check

IDLE_SECONDS: Final = 60.0  # the server sends a heartbeat every five

_OPTIONS: Final[Rules] = {
    "config": (dict,),
    "context": (dict,),
    "input": (dict,),
    "recursion_limit": COUNT,
    "result_path": TEXT,
    "idle_timeout": NUMBER,
}

_RUN_ID: Final = "scheduler_run_id"
_LOCATION: Final = re.compile(r"/threads/([^/?#]+)/runs/([^/?#]+)")
_GOING_ON: Final = frozenset({"pending", "running"})
#: What an earlier attempt's run may have ended in that makes this attempt a new one.
_KNOWN_FAILURES: Final = frozenset({ErrorKind.REMOTE_FAILED, ErrorKind.EMPTY})


class LangGraph:
    """Adapter of the threads and runs of LangGraph Server. Options:

    - `input`: goes into the graph's input beside an agent task's message; a workflow's inputs are its input
    - `config`, `context`, `recursion_limit`: handed to the graph
    - `result_path`: where in the graph's state the answer is, such as `report.text`. Default: the last message of
      the model; for a workflow without messages all of the state
    - `idle_timeout` (60): seconds of silence after which the connection counts as broken

    A `conversation` is a thread: a uuid. Where another run is active on it, the attempt fails as `busy`.
    """

    name = "langgraph"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above."""
        check(options, _OPTIONS, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt; go on with a run that an earlier attempt began without learning its name."""
        thread_id, failed = request.conversation_id or _thread_of(request.run_id, 0), 0
        while (earlier := await _earlier_run(context, request, thread_id)) is not None:
            await context.on_handle(earlier)
            try:
                return await self.resume(context, request, earlier)
            except AgentError as error:
                if error.kind not in _KNOWN_FAILURES:
                    raise
            if request.conversation_id:
                break
            failed += 1
            thread_id = _thread_of(request.run_id, failed)
        return await self._run(context, request, thread_id)

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a run on its thread and read what it left there."""
        try:
            return await _outcome(context, request, handle)
        except AgentError as error:
            error.conversation_id = handle.ids["thread_id"]
            raise

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Interrupt the run and wait until it stands; one that has ended counts as stopped."""
        request = AgentRequest(kind="agent", target="", run_id=handle.ids["run_id"], timeout=5)
        url = below(_run_url(context, handle), "cancel").copy_merge_params({"wait": "true", "action": "interrupt"})
        try:
            async with exchange(context, request, "POST", url, json={}):
                return True
        except AgentError as error:
            return error.http_status == 404

    async def _run(self, context: CallContext, request: AgentRequest, thread_id: str) -> AgentResult:
        url = below(_thread_url(context, thread_id), "runs", "stream")
        idle = request.options.get("idle_timeout", IDLE_SECONDS)
        try:
            async with exchange(context, request, "POST", url, json=_body(request), idle=idle) as response:
                if not is_event_stream(response):
                    said = excerpt(await read(response, context.max_bytes))
                    raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} was asked for a stream and gave: {said}")
                handle = _handle_of(response)
                if handle:
                    await context.on_handle(handle)
                async with aclosing(events(response, context.max_bytes)) as stream:
                    async for event in stream:
                        # Proxies drop headers.
                        if handle is None and event.event == "metadata":
                            handle = _named(thread_id, decode_json(event.data, origin(url)))
                            await context.on_handle(handle)
                        elif event.event == "custom":
                            context.on_text(_told(event.data))
        except AgentError as error:
            error.conversation_id = thread_id
            raise
        if handle is None:
            raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{origin(url)} ended the stream and never named its run")
        return await self.resume(context, request, handle)


def _told(data: str) -> str:
    """What the graph itself chooses to tell on its way, a line each; whatever it is, it decides nothing."""
    try:
        return text_of(decode_json(data, LangGraph.name)) + "\n"
    except AgentError:
        return data + "\n"


def _thread_of(run_id: str, failed: int) -> str:
    """The thread of a run's attempt after `failed` failures that are known: the same whoever asks."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run_id}/{failed}" if failed else run_id))


def _thread_url(context: CallContext, thread_id: str) -> httpx.URL:
    return below(base_of(context.endpoint), "threads", thread_id)


def _run_url(context: CallContext, handle: RemoteHandle) -> httpx.URL:
    return below(_thread_url(context, handle.ids["thread_id"]), "runs", handle.ids["run_id"])


def _named(thread_id: str, said: Any) -> RemoteHandle:
    match said:
        case {"run_id": str() as run_id} if run_id:
            return RemoteHandle(LangGraph.name, {"thread_id": thread_id, "run_id": run_id}, resumable=True)
    raise AgentError(ErrorKind.PROTOCOL, f"langgraph did not name its run but said: {excerpt(str(said))}")


def _handle_of(response: httpx.Response) -> RemoteHandle | None:
    found = _LOCATION.search(response.headers.get("content-location", ""))
    return found and _named(found[1], {"run_id": found[2]})


def _body(request: AgentRequest) -> dict[str, Any]:
    options = request.options
    asked = {"messages": [{"type": "human", "content": request.message}]} if request.kind == "agent" else request.inputs
    config = dict(options.get("config", {}))
    if "recursion_limit" in options:
        config["recursion_limit"] = options["recursion_limit"]
    return {
        "assistant_id": request.target,
        "input": {**options.get("input", {}), **asked},
        "config": config,
        **({"context": options["context"]} if "context" in options else {}),
        "metadata": {_RUN_ID: request.run_id, "user": request.user},
        "stream_mode": [
            "custom"
        ],  # what the graph itself chooses to tell, usually nothing: the state is read at the end
        "multitask_strategy": "reject",
        "on_disconnect": "continue",
    }


@asynccontextmanager
async def _asked(
    context: CallContext,
    request: AgentRequest,
    method: str,
    url: httpx.URL,
    body: object = None,
) -> AsyncIterator[tuple[Any, httpx.Response]]:
    async with exchange(context, request, method, url, json=body) as response:
        yield decode_json(await read(response, context.max_bytes), origin(url)), response


async def _earlier_run(context: CallContext, request: AgentRequest, thread_id: str) -> RemoteHandle | None:
    """Open the thread, and find the run that an earlier attempt of ours began there; None where there is none."""
    body = {"thread_id": thread_id, "if_exists": "do_nothing", "metadata": {_RUN_ID: request.run_id}}
    async with _asked(context, request, "POST", below(base_of(context.endpoint), "threads"), body) as (thread, _):
        match thread:
            case {"status": "idle", "values": None}:
                return None  # nothing has ever run here
            case {"thread_id": str()}:
                pass
            case _:
                raise AgentError(ErrorKind.PROTOCOL, f"langgraph opened a thread and said: {excerpt(str(thread))}")
    url = below(_thread_url(context, thread_id), "runs").copy_merge_params({"limit": 1})
    async with _asked(context, request, "GET", url) as (newest, _):
        ours = dig(newest, f"0.metadata.{_RUN_ID}") == request.run_id
        return _named(thread_id, newest[0]) if ours else None


async def _outcome(context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
    """How a run ended, once it has. Raises AgentError for a failure, or where nobody knows."""
    url = _run_url(context, handle)
    status = await _status(context, request, url)
    if status != "success":
        idle = request.options.get("idle_timeout", IDLE_SECONDS)
        async with exchange(context, request, "GET", below(url, "join"), idle=idle) as response:
            said = await read(response, context.max_bytes)  # heartbeats only, where a proxy has cut it
            ended = decode_json(said, origin(url)) if said.strip() else None
            if isinstance(ended, Mapping) and isinstance(error := ended.get("__error__"), Mapping):
                said = ": ".join(str(error[key]) for key in ("error", "message") if error.get(key))
                raise failures.remote_error({"message": said}, said, source=origin(url))
        status = await _status(context, request, url)
    if status in _GOING_ON:
        raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{origin(url)}: the connection ended, and the run goes on there")
    return await _left_behind(context, request, handle, status)


async def _status(context: CallContext, request: AgentRequest, url: httpx.URL) -> str:
    try:
        async with _asked(context, request, "GET", url) as (run, _):
            match run:
                case {"status": str() as status}:
                    return status
            raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} did not tell how its run goes: {excerpt(str(run))}")
    except AgentError as error:
        if error.http_status == 404:
            error.kind, error.over = ErrorKind.OUTCOME_UNKNOWN, True
            error.message = f"{origin(url)} does not know its run any more; it may have ended well"
        raise


async def _left_behind(context: CallContext, request: AgentRequest, handle: RemoteHandle, status: str) -> AgentResult:
    """The answer in the last state that this run wrote to its thread. Raises AgentError where there is none."""
    url = below(_thread_url(context, handle.ids["thread_id"]), "history")
    body = {"limit": 1, "metadata": {"run_id": handle.ids["run_id"]}}
    async with _asked(context, request, "POST", url, body) as (history, response):
        match history:
            case [{"values": values, "tasks": list() as tasks} as last, *_]:
                asked = [question for task in tasks for question in dig(task, "interrupts") or ()]
            case _:
                raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} has no state of its run: {excerpt(str(history))}")
        if status != "success" and not asked:
            raise AgentError(ErrorKind.REMOTE_FAILED, f"{origin(url)}: the run ended there as {excerpt(status)!r}")
        state = read_state(values)
        if asked:
            state = replace(state, interrupt=asked)
        elif state.interrupt is None and last.get("next"):
            state = replace(state, interrupt={"next": last["next"]})  # a breakpoint, which asks nothing
        result = replace(state, text=_text(request, values, state.text)).result(origin(url))
        return replace(
            result,
            data=values if request.kind == "workflow" and result.status == "succeeded" else result.data,
            conversation_id=handle.ids["thread_id"],
            http_status=response.status_code,
            request_id=request_id(response, request),
        )


def _text(request: AgentRequest, values: Any, said: str) -> str:
    if path := request.options.get("result_path"):
        return text_of(dig(values, path))
    speaks = request.kind == "agent" or (isinstance(values, Mapping) and "messages" in values)
    return said if speaks else text_of(values)
