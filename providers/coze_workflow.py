"""Coze's workflow runs: blocking, streamed, or asynchronous and found again by their `execute_id`."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers.base import CallContext, OnText, unheard
from providers.content import decode_json, join_surrogates, outputs_text, parse_json, plain_text
from providers.coze_wire import NAME, ask, came, failure, forgotten, judge, opened, usage_of
from providers.http import base_of, below, events, exchange, is_event_stream, origin, read
from providers.polling import until

_END_TITLES: Final = frozenset({"end", "结束"})


async def run_workflow(context: CallContext, request: AgentRequest) -> AgentResult:
    """Start a run and wait for its end. Raises AgentError."""
    if request.conversation_id is not None:
        raise AgentError(ErrorKind.CONFIG, "a Coze workflow task keeps no conversation; set conversation to 'new'")
    options = request.options
    body: dict[str, Any] = {"workflow_id": request.target, "parameters": dict(request.inputs)}
    body |= {name: options[name] for name in ("bot_id", "app_id", "ext", "is_async") if name in options}
    verb = "stream_run" if options.get("stream") else "run"
    url = below(base_of(context.endpoint), "v1", "workflow", verb)
    idle = options.get("idle_timeout")
    async with exchange(context, request, "POST", url, json=body, idle=idle, judge=judge) as response:
        if is_event_stream(response):
            return replace(await _streamed(response, context, request), **came(response, request))
        envelope = opened(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
        if not options.get("is_async"):
            return replace(_blocking(envelope, request, origin(url)), **came(response, request))
    handle = _handle(envelope, request, origin(url))
    await context.on_handle(handle)
    return await wait_for_workflow(context, request, handle, at_once=False)


async def wait_for_workflow(
    context: CallContext, request: AgentRequest, handle: RemoteHandle, *, at_once: bool
) -> AgentResult:
    """Ask for an asynchronous run until it has ended; nothing is started. Raises AgentError."""
    ids = handle.ids
    url = below(base_of(context.endpoint), "v1", "workflows", ids["workflow_id"], "run_histories", ids["execute_id"])
    source = origin(url)

    def state(data: Any, exchanged: dict[str, Any]) -> AgentResult | None:
        match data:
            case [{"execute_status": "Running"}, *_]:
                return None
            case [{"execute_status": "Success"} as run, *_]:
                result = _result(run.get("output"), usage_of(run.get("usage")), request, source)
                return replace(result, **exchanged)
            case [{"execute_status": "Fail"} as run, *_]:
                said = run.get("error_message") or "the workflow failed"
                raise failure(run.get("error_code"), said, source, over=True)
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not tell how the workflow goes")

    try:
        return await until(lambda: ask(context, request, url, state), at_once=at_once)
    except AgentError as error:
        if error.http_status == 404:
            raise forgotten(source, error) from error
        raise


def _handle(envelope: Mapping[str, Any], request: AgentRequest, source: str) -> RemoteHandle:
    match envelope.get("execute_id"):
        case str() as execute_id if execute_id:
            return RemoteHandle(NAME, {"workflow_id": request.target, "execute_id": execute_id}, resumable=True)
    raise AgentError(ErrorKind.PROTOCOL, f"{source} began an asynchronous run and did not name it")


def _blocking(envelope: Mapping[str, Any], request: AgentRequest, source: str) -> AgentResult:
    usage = usage_of(envelope.get("usage"))
    if interrupt := envelope.get("interrupt_data"):
        return AgentResult("requires_action", "", {"interrupt_data": interrupt}, usage=usage)
    return _result(envelope.get("data"), usage, request, source)


def _result(written: Any, usage: Usage, request: AgentRequest, source: str) -> AgentResult:
    """The verdict on a run that ended well. Raises AgentError EMPTY."""
    outputs = _outputs(written)
    text = outputs_text(outputs, request.options.get("output"), source)
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{source}: the workflow ended well and its output is empty")
    return AgentResult("succeeded", text, None if outputs == text else outputs, usage=usage)


def _outputs(written: Any) -> Any:
    """What stands in `data` or `output`: JSON in a string, which asynchronous runs wrap once more; or plain text."""
    outputs = _loaded(written)
    match outputs:
        case {"Output": str() as inner} if len(outputs) == 1:
            outputs = _loaded(inner)
    match outputs:
        case {"content_type": int(), "data": str() as said}:
            return said
    return outputs


def _loaded(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    try:
        return decode_json(written, "the output")
    except AgentError:
        return written


@dataclass(slots=True)
class _Draft:
    """What the nodes of a streamed run have said, in the order in which they began."""

    said: dict[str, list[str]] = field(default_factory=dict)
    end: str | None = None
    chars: int = 0
    usage: Usage = field(default_factory=Usage)
    on_text: OnText = unheard

    def written(self) -> str:
        """The end node's outputs, or else the texts of all nodes."""
        nodes = [self.end] if self.end is not None else list(self.said)
        return join_surrogates("\n".join("".join(self.said[node]) for node in nodes))


async def _streamed(response: httpx.Response, context: CallContext, request: AgentRequest) -> AgentResult:
    source, max_bytes = origin(response.url), context.max_bytes
    draft = _Draft(on_text=context.on_text)
    async with aclosing(events(response, max_bytes)) as arriving:
        async for event in arriving:
            if event.event == "Done":
                return _result(draft.written(), draft.usage, request, source)
            body = parse_json(event.data, source) if event.data else {}
            if not isinstance(body, Mapping):
                raise AgentError(ErrorKind.PROTOCOL, f"{source} sent an event that is no object")
            match event.event:
                case "Message":
                    _add(draft, body)
                case "Error":
                    raise failure(body.get("error_code"), body.get("error_message"), source)
                case "Interrupt":
                    return AgentResult("requires_action", draft.written(), decode_json(event.data, source))
            if draft.chars > max_bytes:
                raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {max_bytes:,} bytes")
    raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its Done; it may have run")


def _add(draft: _Draft, message: Mapping[str, Any]) -> None:
    title = plain_text(message.get("node_title"))
    text = plain_text(message.get("content"))
    node = plain_text(message.get("node_execute_uuid")) or title
    draft.said.setdefault(node, []).append(text)
    draft.on_text(text)
    draft.chars += len(text)
    if "End" in (message.get("node_type"), message.get("node_title")) or title.lower() in _END_TITLES:
        draft.end = node
    if "usage" in message:
        draft.usage = usage_of(message["usage"])
