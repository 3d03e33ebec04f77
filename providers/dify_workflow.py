"""Dify's workflow runs: started as a stream, found again by their `workflow_run_id`."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, json_text, outputs_text, without_reasoning
from providers.dify_wire import base, failure, handle_of, judge, stream, unfinished
from providers.http import below, exchange, origin, read, request_id
from providers.polling import until

_GOES_ON: Final = frozenset({"running", "scheduled"})
_STOPPED: Final = "stopped"
_PARTIAL: Final = "partial-succeeded"
_NOT_TOLD: Final = frozenset({400, 404})  # no such run; or an older version, which tells of workflows only


async def run_workflow(context: CallContext, request: AgentRequest) -> AgentResult:
    """Start a run and wait for its end. Raises AgentError; the handle is given with the first event."""
    if request.conversation_id is not None:
        raise AgentError(ErrorKind.CONFIG, "a Dify workflow keeps no conversations; set conversation to 'new'")
    version = request.options.get("workflow_version")
    url = below(base(context), "workflows", *([version] if version else []), "run")
    body = {"inputs": dict(request.inputs), "user": request.user, "response_mode": "streaming"}
    if "files" in request.options:
        body["files"] = request.options["files"]
    idle = request.options.get("idle_timeout")
    async with exchange(context, request, "POST", url, json=body, idle=idle, judge=judge) as response:
        ending = await _ending(response, context, request)
        return _answered(_verdict(ending, request, origin(url)), response, request)


async def resume_run(context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
    """Ask for a run, a workflow's or a chatflow's, until it has ended; nothing is started. Raises AgentError.

    The record of a run tells no tokens and no cost: they stay unknown.
    """
    url = below(base(context), "workflows", "run", handle.ids["workflow_run_id"])
    source = origin(url)

    async def look() -> AgentResult | None:
        async with exchange(context, request, "GET", url, judge=judge) as response:
            run = decode_json(await read(response, context.max_bytes), source)
            if not isinstance(run, Mapping):
                raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a workflow run")
            if run.get("id") is None and run.get("status") is None:  # older versions say so of a run they do not know
                raise _forgotten(source, "it answered with an empty record")
            if str(run.get("status")) in _GOES_ON:
                return None
            return _answered(_verdict(run, request, source), response, request)

    try:
        result = await until(look, at_once=True)
    except AgentError as error:
        error.conversation_id = handle.ids.get("conversation_id")
        if error.http_status in _NOT_TOLD:
            forgotten = _forgotten(source, error.message)
            forgotten.http_status, forgotten.request_id = error.http_status, error.request_id
            forgotten.conversation_id = error.conversation_id
            raise forgotten from error
        raise
    return replace(result, conversation_id=handle.ids.get("conversation_id"))


async def _ending(response: httpx.Response, context: CallContext, request: AgentRequest) -> Mapping[str, Any]:
    """The `data` of the event that ends or pauses the run."""
    source = origin(response.url)
    handle = None
    async with aclosing(stream(response, context.max_bytes)) as arriving:
        async for event in arriving:
            if handle is None and (handle := handle_of(event, request, "workflows")) is not None:
                await context.on_handle(handle)
            match event:
                case {"event": "workflow_finished" | "workflow_paused" as name, "data": Mapping() as data}:
                    return {"status": "paused", **data} if name == "workflow_paused" else data
                case {"event": "text_chunk", "data": {"text": str() as text}}:
                    context.on_text(text)
                case {"event": "error"}:
                    raise failure(event, source)
    raise unfinished(source)


def _verdict(run: Mapping[str, Any], request: AgentRequest, source: str) -> AgentResult:
    """What a run amounts to: the `data` of its last event, or the record of it. Raises AgentError."""
    status = str(run.get("status"))
    if status == "paused":
        return AgentResult("requires_action", "", run.get("reasons") or {"status": status, "id": run.get("id")})
    if status == _STOPPED:
        raise AgentError(ErrorKind.CANCELLED, f"{source}: the run was stopped there")
    if status == "failed" or (status == _PARTIAL and not request.options.get("accept_partial", True)):
        said = {"message": run.get("error") or f"the run ended as {status}"}
        raise failures.remote_error(said, json_text(said), source=source)
    if status not in {"succeeded", _PARTIAL}:
        raise AgentError(ErrorKind.PROTOCOL, f"{source} gave a workflow run the unknown status {status!r}")
    outputs = _outputs(run, source)
    is_chat = request.kind == "agent"
    text = outputs_text(outputs, "answer" if is_chat else request.options.get("output"), source)
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{source}: the run succeeded and its outputs are empty")
    marked = outputs if status == "succeeded" else {"status": status, "outputs": outputs}
    return AgentResult("succeeded", text, None if is_chat else marked)


def _outputs(run: Mapping[str, Any], source: str) -> Any:
    """The outputs; in the record of a run, some versions write them as JSON in a string."""
    outputs = run.get("outputs")
    return decode_json(outputs, source) if isinstance(outputs, str) and outputs.startswith("{") else outputs


def _answered(result: AgentResult, response: httpx.Response, request: AgentRequest) -> AgentResult:
    return replace(result, http_status=response.status_code, request_id=request_id(response, request))


def _forgotten(source: str, reason: str) -> AgentError:
    why = f"{source} tells nothing of the run any more; what became of it is unknown ({reason})"
    return AgentError(ErrorKind.OUTCOME_UNKNOWN, why, over=True)
