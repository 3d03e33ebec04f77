"""OpenAI Responses: runs that go on in the background at OpenAI, or streams from servers that know no background.

Base URL: `https://host`, or with its version, `https://host/v1`. The task's `agent_id` is the model.

By default a run is stored there and goes on without us (`background`): we ask for it from time to time, and a worker
that dies leaves a handle that the next attempt asks for. The only proof of an answer is a final `status`, in a stream
inside its terminal event.

A conversation is a `conv_…` id, or the id of the response that this one follows; `sticky` tasks follow their last one.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers import failures
from providers.base import CallContext
from providers.content import (
    decode_json,
    excerpt,
    json_text,
    messages_of,
    parse_object,
    plain_text,
    read_usage,
    without_reasoning,
)
from providers.http import base_of, below_version, events, exchange, is_event_stream, origin, read, request_id
from providers.options import COUNT, FLAG, NUMBER, TEXT, Rules, check
from providers.polling import until

_MODEL_OPTIONS: Final[Rules] = {
    "instructions": TEXT,
    "max_output_tokens": COUNT,
    "max_tool_calls": COUNT,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "reasoning": (dict,),
    "text": (dict,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "truncation": frozenset({"auto", "disabled"}),
    "service_tier": TEXT,
}
_OUR_OPTIONS: Final[Rules] = {"background": FLAG, "stream": FLAG, "strip_reasoning": FLAG, "idle_timeout": NUMBER}

_METADATA_CHARS: Final = 512
_GOES_ON: Final = frozenset({"queued", "in_progress"})
_ENDS_A_STREAM: Final = ("response.completed", "response.incomplete", "response.failed")
_ASKING: Final = (
    "function_call",
    "custom_tool_call",
    "mcp_approval_request",
)  # the platform's own tools wait for nobody
_FAILURE_KINDS: Final = {"invalid_prompt": ErrorKind.INVALID}


class OpenAIResponses:
    """Adapter of `POST /v1/responses`. Options:

    - `background` (true): let the run go on there, and ask for it; false for servers that keep no responses
    - `stream` (true, only without background): ask for a stream, so that closing it stops the model
    - `strip_reasoning` (false): drop a leading `<think>…</think>`
    - `idle_timeout`: seconds of silence that end a stream; off by default, since a model may reason for minutes
    - `instructions`, `max_output_tokens`, `max_tool_calls`, `temperature`, `top_p`, `reasoning`, `text`, `tools`,
      `tool_choice`, `truncation`, `service_tier`: handed to the server
    """

    name = "openai_responses"
    kinds = frozenset({"agent"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above, or that contradicts another."""
        check(options, {**_MODEL_OPTIONS, **_OUR_OPTIONS}, owner=f"{self.name} ({kind})")
        if options.get("background", True):
            for name in ("stream", "idle_timeout"):
                if name in options:
                    raise AgentError(ErrorKind.CONFIG, f"option {name!r} needs option 'background' to be false")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Begin a response, and wait for its end."""
        url = below_version(base_of(context.endpoint), "responses")
        if not request.options.get("background", True):
            return await _in_the_foreground(context, request, url)
        body = {**_body(request), "background": True, "store": True}
        async with exchange(context, request, "POST", url, json=body) as response:
            begun = await _read_body(response, context.max_bytes)
            if (ended := _verdict(begun, request, response)) is not None:
                return ended
        if not (isinstance(response_id := begun.get("id"), str) and response_id):
            raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} began a response and did not name it")
        handle = RemoteHandle(self.name, {"response_id": response_id, "run_id": request.run_id}, resumable=True)
        await context.on_handle(handle)
        return await until(lambda: _look(context, request, handle))

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a response that an earlier attempt began."""
        return await until(lambda: _look(context, request, handle), at_once=True)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop a background response; one that has ended, or is gone, counts as stopped."""
        request = AgentRequest(kind="agent", target="", run_id=handle.ids["run_id"], timeout=5)
        url = below_version(base_of(context.endpoint), "responses", handle.ids["response_id"], "cancel")
        try:
            async with exchange(context, request, "POST", url):
                return True
        except AgentError as error:
            return error.http_status == 404


def _body(request: AgentRequest) -> dict[str, Any]:
    metadata = {"run_id": request.run_id, "user": request.user}
    body: dict[str, Any] = {
        "model": request.target,
        "input": messages_of(request) if request.history else request.message,
        "metadata": {name: value[:_METADATA_CHARS] for name, value in metadata.items()},
        **{name: value for name, value in request.options.items() if name in _MODEL_OPTIONS},
    }
    conversation = request.conversation_id
    if conversation is not None:
        body["conversation" if conversation.startswith("conv_") else "previous_response_id"] = conversation
    return body


async def _in_the_foreground(context: CallContext, request: AgentRequest, url: httpx.URL) -> AgentResult:
    if request.conversation_id is not None:
        raise AgentError(
            ErrorKind.CONFIG, "a response that is not stored continues no conversation; set conversation to 'new'"
        )
    streams = request.options.get("stream", True)
    body = {**_body(request), "store": False, "stream": streams}
    idle = request.options.get("idle_timeout")
    async with exchange(context, request, "POST", url, json=body, idle=idle) as response:
        if is_event_stream(response):
            ended = await _last_of_stream(response, context)
        else:
            ended = await _read_body(response, context.max_bytes)
        result = _verdict(ended, request, response)
        if result is None:
            raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} answered before the response had ended")
        return replace(result, conversation_id=None)


async def _look(context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult | None:
    url = below_version(base_of(context.endpoint), "responses", handle.ids["response_id"])
    try:
        async with exchange(context, request, "GET", url) as response:
            return _verdict(await _read_body(response, context.max_bytes), request, response)
    except AgentError as error:
        if error.http_status != 404:
            raise
        why = f"{origin(url)} does not know the response any more; what became of it is unknown"
        raise AgentError(
            ErrorKind.OUTCOME_UNKNOWN, why, http_status=404, request_id=error.request_id, over=True
        ) from error


async def _read_body(response: httpx.Response, max_bytes: int) -> Mapping[str, Any]:
    source = origin(response.url)
    return _as_response(decode_json(await read(response, max_bytes), source), source)


async def _last_of_stream(response: httpx.Response, context: CallContext) -> Mapping[str, Any]:
    """The response inside the event that ends a stream. Raises AgentError where there is none."""
    source = origin(response.url)
    async with aclosing(events(response, context.max_bytes)) as stream:
        async for event in stream:
            if event.data in {"", "[DONE]"}:
                continue
            told = parse_object(event.data, source)
            name = told.get("type")  # gateways leave out the event's own name
            if name == "error":
                raise failures.remote_error(told, event.data, source=source, kinds=_FAILURE_KINDS)
            if name == "response.output_text.delta":
                context.on_text(plain_text(told.get("delta")))
            if name in _ENDS_A_STREAM:
                return _as_response(decode_json(event.data, source).get("response"), source)
    raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its response had ended")


def _as_response(body: Any, source: str) -> Mapping[str, Any]:
    """The body, if it is a response. Raises AgentError for an error object, which may come in a 200."""
    if isinstance(body, Mapping):
        if isinstance(body.get("status"), str):
            return body
        if body.get("error"):
            raise failures.remote_error(body, json_text(body), source=source, kinds=_FAILURE_KINDS)
    raise AgentError(
        ErrorKind.PROTOCOL, f"{source} did not answer with a response; it began: {excerpt(json_text(body))}"
    )


def _verdict(body: Mapping[str, Any], request: AgentRequest, response: httpx.Response) -> AgentResult | None:
    """What a response amounts to; None while it goes on. Raises AgentError for one that has failed."""
    source = origin(response.url)
    match body["status"]:
        case status if status in _GOES_ON:
            return None
        case "failed":
            error = failures.remote_error(body, json_text(body.get("error")), source=source, kinds=_FAILURE_KINDS)
            error.over = True
            raise error
        case "cancelled":
            raise AgentError(ErrorKind.CANCELLED, f"{source}: somebody cancelled the response there")
        case "completed" | "incomplete":
            return replace(
                _answer(body, request, source),
                conversation_id=_conversation(body),
                http_status=response.status_code,
                request_id=request_id(response, request),
            )
        case status:
            raise AgentError(ErrorKind.PROTOCOL, f"{source}: a response in an unknown status {status!r}")


def _conversation(body: Mapping[str, Any]) -> str | None:
    """What the next run of a sticky task follows."""
    match body:
        case {"conversation": {"id": str() as conversation}} | {"id": str() as conversation}:
            return conversation
    return None


def _answer(body: Mapping[str, Any], request: AgentRequest, source: str) -> AgentResult:
    """What an ended response says. `data` keeps the reason of an incomplete one that is worth a look."""
    output = body.get("output")
    items = [item for item in output if isinstance(item, Mapping)] if isinstance(output, list) else []
    blocks = [block for item in items if item.get("type") == "message" for block in _blocks(item)]
    text = "".join(plain_text(block) for block in blocks)
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    refusal = "".join(plain_text(block.get("refusal")) for block in blocks)
    if refusal or reason == "content_filter":
        said = refusal or "the answer was withheld by a content filter"
        raise AgentError(ErrorKind.INVALID, f"{source}: the model refuses: {excerpt(said)}")
    usage = _usage(body)
    if calls := [_call(item) for item in items if _asks(item)]:
        return AgentResult("requires_action", text, {"tool_calls": calls}, usage=usage)
    if not text.strip():
        why = "all of max_output_tokens went into reasoning" if reason == "max_output_tokens" else "it has no text"
        raise AgentError(ErrorKind.EMPTY, f"{source}: the model gave no answer ({why})")
    return AgentResult("succeeded", text, {"incomplete": reason} if reason else None, usage=usage)


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _asks(item: Mapping[str, Any]) -> bool:
    return item.get("type") in _ASKING


def _call(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if item.get("type") == "mcp_approval_request":
        return item
    arguments = item.get("arguments", item.get("input"))
    return {"name": plain_text(item.get("name")), "arguments": plain_text(arguments)}


def _usage(body: Mapping[str, Any]) -> Usage:
    usage = body.get("usage")
    return read_usage(usage if isinstance(usage, Mapping) else {})
