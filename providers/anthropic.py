"""Anthropic Messages: Anthropic itself, and the gateways and servers that speak like it.

Base URL: `https://host`, or with its version, `https://host/v1`. The task's `agent_id` is the model; the key goes into
`x-api-key`. Nothing is kept there, so a task can only ask for a `new` conversation, and a call that is cut is over.

Only `message_stop` proves that a stream said all it had to say. A 429 that names no wait is a spend limit.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import chain
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
    parse_object,
    plain_text,
    read_usage,
    without_reasoning,
)
from providers.http import base_of, below_version, events, exchange, is_event_stream, origin, read, request_id
from providers.options import COUNT, FLAG, NUMBER, TEXT, Rules, check

VERSION: Final = "2023-06-01"
MAX_TOKENS: Final = 4096  # the protocol demands a limit, and every model takes this one
USER_CHARS: Final = 256

_MODEL_OPTIONS: Final[Rules] = {
    "max_tokens": COUNT,
    "system": TEXT,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": COUNT,
    "stop_sequences": (list,),
    "thinking": (dict,),
    "tools": (list,),
    "tool_choice": (dict,),
    "service_tier": TEXT,
}
_OUR_OPTIONS: Final[Rules] = {"stream": FLAG, "strip_reasoning": FLAG, "idle_timeout": NUMBER, "beta": TEXT}

_INPUT_COUNTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_CUT_SHORT: Final = frozenset({"max_tokens", "model_context_window_exceeded"})


@dataclass(slots=True)
class _Block:
    """One block of an answer while it arrives."""

    type: str
    name: str = ""
    text: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    """An answer while it arrives."""

    blocks: dict[int, _Block] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    stop_reason: str | None = None
    chars: int = 0
    on_text: OnText = unheard

    def begin(self, index: int, block: _Block) -> None:
        self.blocks[index] = block
        if block.type == "text":
            self.on_text("".join(block.text))


class Anthropic:
    """Adapter of `POST /v1/messages`. Options:

    - `max_tokens` (4096): the longest answer
    - `stream` (true): ask for a stream, so that closing it stops the model
    - `strip_reasoning` (false): drop a leading `<think>…</think>`
    - `idle_timeout`: seconds of silence that end a call; off by default
    - `beta`: the `anthropic-beta` header
    - `system`, `temperature`, `top_p`, `top_k`, `stop_sequences`, `thinking`, `tools`, `tool_choice`, `service_tier`:
      handed to the server
    """

    name = "anthropic"
    kinds = frozenset({"agent"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above."""
        check(options, {**_MODEL_OPTIONS, **_OUR_OPTIONS}, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt: what was said before, and the user's message."""
        if request.conversation_id is not None:
            raise AgentError(ErrorKind.CONFIG, f"{self.name} keeps no conversations; set conversation to 'new'")
        url = below_version(base_of(context.endpoint), "messages")
        idle = request.options.get("idle_timeout")
        headers = {"anthropic-version": VERSION}
        if "beta" in request.options:
            headers["anthropic-beta"] = request.options["beta"]
        async with exchange(
            context, request, "POST", url, json=_body(request), headers=headers, idle=idle, judge=_judge
        ) as response:
            if is_event_stream(response):
                draft = await _from_stream(response, context)
            else:
                draft = _from_body(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
            return replace(
                _verdict(draft, request, origin(url)),
                http_status=response.status_code,
                request_id=request_id(response, request),
            )

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """There is no call for it: the model stops when its connection is closed."""
        return False


def _judge(refusal: failures.Refusal) -> ErrorKind | None:
    """Whoever throttles says for how long; who does not has reached a spend limit, and waiting does not help."""
    return ErrorKind.QUOTA if refusal.status == 429 and refusal.retry_after is None else None


def _body(request: AgentRequest) -> dict[str, Any]:
    return {
        "model": request.target,
        "max_tokens": MAX_TOKENS,
        "messages": messages_of(request),
        "metadata": {"user_id": request.user[:USER_CHARS]},
        "stream": request.options.get("stream", True),
        **{name: value for name, value in request.options.items() if name in _MODEL_OPTIONS},
    }


async def _from_stream(response: httpx.Response, context: CallContext) -> _Draft:
    source, max_bytes = origin(response.url), context.max_bytes
    draft = _Draft(on_text=context.on_text)
    async with aclosing(events(response, max_bytes)) as stream:
        async for event in stream:
            if not event.data:
                continue
            told = parse_object(event.data, source)
            if told.get("type") == "message_stop":
                return draft
            _add(draft, told, source)
            if draft.chars > max_bytes:
                raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {max_bytes:,} bytes")
    raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its message_stop")


def _add(draft: _Draft, event: Mapping[str, Any], source: str) -> None:
    """Take in one event; new types of them may come at any time. Raises AgentError for the one that is an error."""
    match event:
        case {"type": "error"}:
            raise failures.remote_error(event, json_text(event), source=source)
        case {"type": "message_start", "message": {"usage": Mapping() as usage}}:
            draft.counts.update(usage)
        case {"type": "content_block_start", "index": int() as index, "content_block": Mapping() as block}:
            draft.begin(index, _block(block))
        case {"type": "content_block_delta", "index": int() as index, "delta": Mapping() as delta}:
            if (growing := draft.blocks.get(index)) is not None:
                growing.text.append(text := plain_text(delta.get("text")))
                growing.arguments.append(arguments := plain_text(delta.get("partial_json")))
                draft.chars += len(text) + len(arguments)
                if growing.type == "text":
                    draft.on_text(text)
        case {"type": "message_delta"}:
            if isinstance(counts := event.get("usage"), Mapping):
                draft.counts.update({name: count for name, count in counts.items() if count is not None})
            match event.get("delta"):
                case {"stop_reason": str() as reason}:
                    draft.stop_reason = reason


def _from_body(body: Any, source: str) -> _Draft:
    match body:
        case {"type": "error"} | {"error": Mapping()}:
            raise failures.remote_error(body, json_text(body), source=source)
        case {"content": list() as content}:
            blocks = [block for block in content if isinstance(block, Mapping)]
        case _:
            raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a message; it has no content")
    usage, reason = body.get("usage"), body.get("stop_reason")
    return _Draft(
        {index: _block(block, arguments=json_text(block.get("input"))) for index, block in enumerate(blocks)},
        dict(usage) if isinstance(usage, Mapping) else {},
        reason if isinstance(reason, str) else None,
    )


def _block(block: Mapping[str, Any], arguments: str = "") -> _Block:
    return _Block(
        plain_text(block.get("type")), plain_text(block.get("name")), [plain_text(block.get("text"))], [arguments]
    )


def _verdict(draft: _Draft, request: AgentRequest, source: str) -> AgentResult:
    """What the finished answer amounts to. `data` keeps a stop_reason that is worth a look, such as `max_tokens`."""
    texts = (block.text for block in draft.blocks.values() if block.type == "text")
    text = join_surrogates("".join(chain.from_iterable(texts)))
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    reason = draft.stop_reason
    if reason == "refusal":
        raise AgentError(ErrorKind.INVALID, f"{source}: the model refuses: {excerpt(text) or 'without a word'}")
    if reason == "pause_turn":
        raise AgentError(ErrorKind.REMOTE_FAILED, f"{source}: the model paused its turn and waits to be called again")
    usage = _usage(draft.counts)
    if calls := [block for block in draft.blocks.values() if block.type == "tool_use"]:
        asked = [{"name": call.name, "arguments": join_surrogates("".join(call.arguments))} for call in calls]
        return AgentResult("requires_action", text, {"tool_calls": asked}, usage=usage)
    if not text.strip():
        why = "all of max_tokens went into reasoning" if reason == "max_tokens" else f"stop_reason {reason!r}"
        raise AgentError(ErrorKind.EMPTY, f"{source}: the model gave no answer ({why})")
    return AgentResult("succeeded", text, {"stop_reason": reason} if reason in _CUT_SHORT else None, usage=usage)


def _usage(counts: Mapping[str, Any]) -> Usage:
    """What was read from a cache, or written into one, was input too, and is not in `input_tokens`."""
    if counts.get("input_tokens") is None:
        return read_usage(counts)
    given = [{"input_tokens": counts.get(name)} for name in _INPUT_COUNTS]
    return replace(read_usage(counts), input_tokens=read_usage(*given).input_tokens)
