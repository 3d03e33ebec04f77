"""OpenAI-compatible chat completions: OpenAI, vLLM, Ollama, LiteLLM, llama.cpp and the many that speak like them.

Base URL: `https://host`, or with its version, `https://host/v1`, `https://host/api/paas/v4`.
The task's `agent_id` is the model. These servers keep no conversations, so a task can only ask for a `new` one.

Only a `finish_reason` proves that a stream said all it had to say.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers import failures
from providers.base import CallContext, OnText, unheard
from providers.content import (
    decode_json,
    excerpt,
    join_surrogates,
    json_text,
    messages_of,
    parse_json,
    plain_text,
    read_usage,
    without_reasoning,
)
from providers.http import base_of, below_version, events, exchange, is_event_stream, origin, read, request_id
from providers.options import COUNT, FLAG, NUMBER, TEXT, Rules, check

AFTER_FINISH_SECONDS: Final = 5.0  # the answer is whole; only the token counts are still to come

_MODEL_OPTIONS: Final[Rules] = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "max_tokens": COUNT,
    "max_completion_tokens": COUNT,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "seed": COUNT,
    "stop": (list, str),
    "reasoning_effort": TEXT,
    "response_format": (dict,),
}
_OUR_OPTIONS: Final[Rules] = {
    "system": TEXT,
    "stream": FLAG,
    "include_usage": FLAG,
    "strip_reasoning": FLAG,
    "idle_timeout": NUMBER,
}


@dataclass(slots=True)
class _Draft:
    """An answer while it arrives."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    chars: int = 0
    on_text: OnText = unheard


class OpenAIChat:
    """Adapter of `POST /v1/chat/completions`. Options:

    - `system`: the system message
    - `stream` (true): ask for a stream, so that closing it stops the model; `include_usage` (true): and for its tokens
    - `strip_reasoning` (false): drop a leading `<think>…</think>`
    - `idle_timeout`: seconds of silence that end a call; off by default, since a model may load or reason for minutes
    - `temperature`, `top_p`, `max_tokens`, `max_completion_tokens`, `presence_penalty`, `frequency_penalty`, `seed`,
      `stop`, `reasoning_effort`, `response_format`: handed to the server
    """

    name = "openai_chat"
    kinds = frozenset({"agent"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above."""
        check(options, {**_MODEL_OPTIONS, **_OUR_OPTIONS}, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt: the system message, what was said before, and the user's message."""
        if request.conversation_id is not None:
            raise AgentError(ErrorKind.CONFIG, f"{self.name} keeps no conversations; set conversation to 'new'")
        url = below_version(base_of(context.endpoint), "chat", "completions")
        idle = request.options.get("idle_timeout")
        async with exchange(context, request, "POST", url, json=_body(request), idle=idle) as response:
            if is_event_stream(response):
                draft = await _from_stream(response, context)
            else:
                body = decode_json(await read(response, context.max_bytes), origin(url))
                draft = _from_body(body, origin(url))
            return replace(
                _verdict(draft, request, origin(url)),
                http_status=response.status_code,
                request_id=request_id(response, request),
            )

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """There is no call for it: the model stops when its connection is closed."""
        return False


def _body(request: AgentRequest) -> dict[str, Any]:
    options = request.options
    system = [{"role": "system", "content": options["system"]}] if "system" in options else []
    body = {
        "model": request.target,
        "messages": [*system, *messages_of(request)],
        "stream": options.get("stream", True),
        "user": request.user,
        **{name: value for name, value in options.items() if name in _MODEL_OPTIONS},
    }
    if body["stream"] and options.get("include_usage", True):
        body["stream_options"] = {"include_usage": True}
    return body


async def _from_stream(response: httpx.Response, context: CallContext) -> _Draft:
    source, max_bytes = origin(response.url), context.max_bytes
    draft = _Draft(on_text=context.on_text)
    try:
        async with asyncio.timeout(None) as patience, aclosing(events(response, max_bytes)) as stream:
            async for event in stream:
                if event.data == "[DONE]":
                    break
                if event.data:
                    _add(draft, parse_json(event.data, source), source)
                if draft.chars > max_bytes:
                    raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {max_bytes:,} bytes")
                if draft.finish_reason and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + AFTER_FINISH_SECONDS)
    except (TimeoutError, httpx.TransportError):
        if not draft.finish_reason:
            raise
    if not draft.finish_reason:
        raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its finish_reason")
    return draft


def _add(draft: _Draft, chunk: Any, source: str) -> None:
    """Take in one chunk. Raises AgentError for an error object, which comes inside a successful answer."""
    if not isinstance(chunk, Mapping):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} sent a chunk that is no object")
    if chunk.get("error"):
        raise failures.remote_error(chunk, json_text(chunk), source=source)
    if isinstance(usage := chunk.get("usage"), Mapping):
        draft.usage = read_usage(usage, given="prompt_tokens", made="completion_tokens")
    match chunk.get("choices"):
        case [Mapping() as choice, *_]:
            message = choice.get("delta") or choice.get("message")
            if isinstance(message, Mapping):
                _add_message(draft, message)
            if isinstance(reason := choice.get("finish_reason"), str) and reason:
                draft.finish_reason = reason


def _add_message(draft: _Draft, message: Mapping[str, Any]) -> None:
    text = plain_text(message.get("content"))
    draft.text.append(text)
    draft.on_text(text)
    draft.chars += len(text)
    draft.refusal.append(plain_text(message.get("refusal")))
    calls = message.get("tool_calls")
    for position, call in enumerate(calls if isinstance(calls, list) else []):
        match call:
            case {"function": Mapping() as function}:
                index = call.get("index")
                index = index if isinstance(index, int) else position
                whole = draft.tool_calls.setdefault(index, {"name": "", "arguments": ""})
                for name in whole:
                    whole[name] += plain_text(function.get(name))


def _from_body(body: Any, source: str) -> _Draft:
    draft = _Draft()
    _add(draft, body, source)
    if not isinstance(body.get("choices"), list):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a chat completion: it has no choices")
    return draft


def _verdict(draft: _Draft, request: AgentRequest, source: str) -> AgentResult:
    """What the finished answer amounts to. `data` keeps a finish_reason that is worth a look, such as `length`."""
    text = join_surrogates("".join(draft.text))
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    refusal = join_surrogates("".join(draft.refusal))
    reason = draft.finish_reason
    if refusal or reason == "content_filter":
        said = refusal or "the answer was withheld by a content filter"
        raise AgentError(ErrorKind.INVALID, f"{source}: the model refuses: {excerpt(said)}")
    if reason == "error":
        raise AgentError(ErrorKind.REMOTE_FAILED, f"{source}: the model stopped with an error")
    if draft.tool_calls or reason in {"tool_calls", "function_call"}:
        calls = [{name: join_surrogates(said) for name, said in call.items()} for call in draft.tool_calls.values()]
        return AgentResult("requires_action", text, {"tool_calls": calls}, usage=draft.usage)
    if not text.strip():
        why = "all of max_tokens went into reasoning" if reason == "length" else f"finish_reason {reason!r}"
        raise AgentError(ErrorKind.EMPTY, f"{source}: the model gave no answer ({why})")
    data = None if reason in {"stop", None} else {"finish_reason": reason}
    return AgentResult("succeeded", text, data, usage=draft.usage)
