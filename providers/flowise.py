"""Flowise: chatflows and agentflows.

Base URL: `http://host:3000`, with or without `/api/v1`. The task's `agent_id` or `workflow_id` is the flow's id.

    POST /api/v1/prediction/{flow}              the answer, as a stream or as JSON where the flow cannot stream
    PUT  /api/v1/chatmessage/abort/{flow}/{chat}

We choose the chat's id, so it is known before the call; it serves to abort only, since an answer that was missed
cannot be asked for. A stream ends in `end` also after an `error`: only an end without one is an answer. Every failure
of a flow comes as HTTP 500.
"""

import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers import failures
from providers.base import CallContext, OnText, unheard
from providers.content import decode_json, dig, excerpt, join_surrogates, json_text, parse_json, read_usage, text_of
from providers.http import base_of, below, events, exchange, is_event_stream, origin, read, request_id
from providers.options import FLAG, NUMBER, Rules, check

_OPTIONS: Final[Rules] = {
    "stream": FLAG,
    "override_config": (dict,),
    "history": (list,),
    "uploads": (list,),
    "idle_timeout": NUMBER,
}


@dataclass(slots=True)
class _Draft:
    """An answer while it arrives."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    error: str | None = None
    asks: Any = None
    usage: list[Mapping[str, Any]] = field(default_factory=list)
    executed: Any = None
    data: Any = None
    on_text: OnText = unheard


class Flowise:
    """Adapter of Flowise's predictions. Options:

    - `stream` (true): ask for a stream, which shows errors early
    - `override_config`: handed to the flow, such as `{"vars": {…}}`; a flow that does not allow it ignores it
    - `history`, `uploads`: handed to the flow
    - `idle_timeout`: seconds of silence that end a call; off by default, since Flowise sends no heartbeat

    An agent task asks its message; a workflow task gives its inputs as the `form` of an agentflow.
    """

    name = "flowise"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above."""
        check(options, _OPTIONS, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt, in the task's chat or in one named after the run."""
        chat = request.conversation_id or str(uuid.uuid5(uuid.NAMESPACE_URL, request.run_id))
        url = below(_base(context), "prediction", request.target)
        await context.on_handle(RemoteHandle(self.name, {"flow_id": request.target, "chat_id": chat}))
        idle, body = request.options.get("idle_timeout"), _body(request, chat)
        try:
            async with exchange(context, request, "POST", url, json=body, idle=idle, judge=_judged) as response:
                if is_event_stream(response):
                    draft = await _from_stream(response, context)
                else:
                    draft = _from_body(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
                return replace(
                    _verdict(draft, origin(url)),
                    conversation_id=chat,
                    http_status=response.status_code,
                    request_id=request_id(response, request),
                )
        except AgentError as error:
            error.conversation_id = chat
            raise

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Abort what runs in the chat."""
        request = AgentRequest(kind="agent", target="", run_id=handle.ids["chat_id"], timeout=5)
        url = below(_base(context), "chatmessage", "abort", handle.ids["flow_id"], handle.ids["chat_id"])
        try:
            async with exchange(context, request, "PUT", url, json={}):
                return True
        except AgentError:
            return False


def _base(context: CallContext) -> httpx.URL:
    base = base_of(context.endpoint)
    return base if base.path.rstrip("/").endswith("/api/v1") else below(base, "api", "v1")


def _judged(refusal: failures.Refusal) -> ErrorKind | None:
    return ErrorKind.REMOTE_FAILED if refusal.status == 500 else None


def _body(request: AgentRequest, chat: str) -> dict[str, Any]:
    options = request.options
    named = {"override_config": "overrideConfig", "history": "history", "uploads": "uploads"}
    return {
        **({"question": request.message} if request.kind == "agent" else {"form": dict(request.inputs)}),
        "chatId": chat,
        "streaming": options.get("stream", True),
        **{there: options[here] for here, there in named.items() if here in options},
    }


async def _from_stream(response: httpx.Response, context: CallContext) -> _Draft:
    source, max_bytes = origin(response.url), context.max_bytes
    draft, ended = _Draft(on_text=context.on_text), False
    async with aclosing(events(response, max_bytes)) as stream:
        async for event in stream:
            said = parse_json(event.data, source) if event.data else {}
            if not isinstance(said, Mapping):
                raise AgentError(ErrorKind.PROTOCOL, f"{source} sent an event that is no object")
            if ended := said.get("event") == "end":
                break
            _add(draft, said.get("event"), said.get("data"))
            if draft.chars > max_bytes:
                raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {max_bytes:,} bytes")
    if not ended and draft.error is None:
        raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its end; it may have run")
    return draft


def _add(draft: _Draft, event: Any, data: Any) -> None:
    match event, data:
        case "token", str():
            draft.text.append(data)
            draft.on_text(data)
            draft.chars += len(data)
        case "error", _:
            draft.error = text_of(data) or "an error without words"
        case "abort", _:
            draft.error = draft.error or "the run was aborted"
        case "agentFlowEvent", "ERROR" | "TERMINATED" | "TIMEOUT":
            draft.error = draft.error or f"the flow ended as {data}"
        case "action", Mapping() | list() if data:
            draft.asks = data
        case "usageMetadata", Mapping():
            draft.usage.append(data)
        case "agentFlowExecutedData", _:
            draft.executed = data


def _from_body(body: Any, source: str) -> _Draft:
    if not isinstance(body, Mapping):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a prediction but: {excerpt(str(body))}")
    if body.get("success") is False or body.get("error"):
        raise failures.remote_error({"message": body.get("message"), **body}, json_text(body), source=source)
    if not {"text", "json", "action"} & body.keys():
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a prediction: it has no text")
    written = text_of(body.get("text")) or text_of(body.get("json"))
    return _Draft([written], asks=body.get("action"), executed=body.get("agentFlowExecutedData"), data=body.get("json"))


def _verdict(draft: _Draft, source: str) -> AgentResult:
    """What the finished answer amounts to. Raises AgentError for an error in it, or where it is empty."""
    if draft.error is not None:
        raise failures.remote_error({"message": draft.error}, draft.error, source=source)
    text, usage = join_surrogates("".join(draft.text)), _usage(draft)
    if draft.asks:
        return AgentResult("requires_action", text, draft.asks, usage=usage)
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{source}: the flow ended well and gave no answer")
    return AgentResult("succeeded", text, draft.data, usage=usage)


def _usage(draft: _Draft) -> Usage:
    """The tokens of all the flow's models; a stream counts them itself, or in the nodes it lists."""
    nodes = draft.executed if isinstance(draft.executed, list) else []
    listed = [dig(node, "data.output.usageMetadata") for node in nodes]
    return read_usage(*(draft.usage or [report for report in listed if isinstance(report, Mapping)]))
