"""What FastGPT answers: chat completions with events and node reports of its own, streamed or whole."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind
from providers import failures
from providers.base import CallContext, OnText, unheard
from providers.content import (
    join_surrogates,
    json_text,
    outputs_text,
    parse_json,
    plain_text,
    read_usage,
    unless_zero,
    without_reasoning,
)
from providers.failures import Refusal
from providers.http import events, origin

AFTER_DONE_SECONDS: Final = 5.0  # the answer is whole; only the nodes' reports are still to come

_CODES: Final = {
    "403": ErrorKind.AUTH,
    "409": ErrorKind.BUSY,
    "429": ErrorKind.THROTTLED,
    "500": ErrorKind.REMOTE_FAILED,
    "510": ErrorKind.QUOTA,
    "511": ErrorKind.AUTH,
    "513": ErrorKind.AUTH,
    "514": ErrorKind.AUTH,
}
#: 500000 + n is about the team, 501000 + n about datasets, and so on: for good, and only the sentence tells why.
_FAMILY: Final = re.compile("5[0-9]{5}")
_REASONS: Final = (
    (re.compile(r"not_?\s?enough|insufficient", re.I), ErrorKind.QUOTA),
    (re.compile(r"un_?auth|no permission", re.I), ErrorKind.AUTH),
    (re.compile(r"un_?exist|not_?\s?exist|not_?\s?found", re.I), ErrorKind.NOT_FOUND),
)
_ANSWERS: Final = frozenset({"answer", "fastAnswer", "message"})


@dataclass(slots=True)
class Draft:
    """An answer while it arrives."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    is_finished: bool = False
    is_done: bool = False
    nodes: list[Any] = field(default_factory=list)
    are_nodes_told: bool = False
    interactive: Any = None
    variables: Any = None
    on_text: OnText = unheard

    @property
    def is_whole(self) -> bool:
        """A stop alone may be one node's; `[DONE]` alone says nothing of the answer."""
        return self.is_finished and self.is_done


def judge(refusal: Refusal) -> ErrorKind | None:
    """Read the code in the body: the status is 500 for every error, or 200 in older versions."""
    if _FAMILY.fullmatch(refusal.code):
        return next((kind for words, kind in _REASONS if words.search(refusal.message)), ErrorKind.INVALID)
    return _CODES.get(refusal.code)


def failure(body: Any, source: str) -> AgentError:
    """Make the AgentError of `{"code", "statusText", "message"}` in a 200 or a stream."""
    said = failures.remark(body)
    kind = judge(Refusal(200, said.code, said.message, None)) or failures.kind_of(None, said.code)
    return failures.remote_error(body, json_text(body), source=source, kinds={said.code: kind})


async def from_stream(response: httpx.Response, context: CallContext) -> Draft:
    """Read a stream to its end, which is after `[DONE]`: the nodes' reports follow it. Raises AgentError."""
    source, max_bytes = origin(response.url), context.max_bytes
    draft = Draft(on_text=context.on_text)
    try:
        async with asyncio.timeout(None) as patience, aclosing(events(response, max_bytes)) as arriving:
            async for event in arriving:
                if event.data == "[DONE]":
                    draft.is_done = True
                elif event.data:
                    _take(draft, event.event, parse_json(event.data, source), source)
                if draft.chars > max_bytes:
                    raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {max_bytes:,} bytes")
                if draft.is_whole and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + AFTER_DONE_SECONDS)
    except (TimeoutError, httpx.TransportError):
        if not draft.is_whole:
            raise
    if not draft.is_whole and draft.interactive is None:
        raise _cut(source)
    return draft


def from_body(body: Any, source: str) -> Draft:
    """Read a whole answer. Raises AgentError for an error, which older versions answer with HTTP 200."""
    match body:
        case {"choices": [{"message": Mapping() as message}, *_]}:
            draft = Draft(is_finished=True, is_done=True, are_nodes_told=True)
            _add(draft, message.get("content"))
            nodes = body.get("responseData")
            draft.nodes = nodes if isinstance(nodes, list) else []
            draft.variables = body.get("newVariables")
            if body.get("error"):
                raise failure(_complaint(body["error"]), source)
            return draft
        case {"code": int() | str()}:
            raise failure(body, source)
    raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with a chat completion")


def verdict(draft: Draft, request: AgentRequest, source: str) -> AgentResult:
    """What the whole answer amounts to. Raises AgentError."""
    usage = unless_zero(read_usage(*_reports(draft), given="inputTokens", made="outputTokens"))
    text = join_surrogates("".join(draft.text))
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    if draft.interactive is not None:
        return AgentResult("requires_action", text, draft.interactive, usage=usage)
    if broken := _broken_node(draft):
        raise failure(_complaint(broken), source)
    outputs = _outputs(draft, text) if request.kind == "workflow" else None
    if outputs is not None:
        text = outputs_text(outputs, request.options.get("output"), source)
    if not text.strip():
        if request.kind == "workflow" and not draft.are_nodes_told:
            raise _cut(source)
        raise AgentError(ErrorKind.EMPTY, f"{source}: the app ended well and gave no answer")
    return AgentResult("succeeded", text, outputs, usage=usage)


def _take(draft: Draft, name: str, body: Any, source: str) -> None:
    match name:
        case "error":
            raise failure(body, source)
        case "interactive":
            draft.interactive = body.get("interactive", body) if isinstance(body, Mapping) else body
        case "flowResponses":
            draft.nodes, draft.are_nodes_told = body if isinstance(body, list) else [body], True
        case "flowNodeResponse":  # version 2 reports each node as it ends
            draft.nodes.append(body)
            draft.are_nodes_told = True
        case "updateVariables":
            draft.variables = body
        case _ if name in _ANSWERS:
            _take_chunk(draft, body, source)


def _take_chunk(draft: Draft, chunk: Any, source: str) -> None:
    if not isinstance(chunk, Mapping):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} sent a chunk that is no object")
    if chunk.get("error"):
        raise failure(_complaint(chunk["error"]), source)
    match chunk.get("choices"):
        case [Mapping() as choice, *_]:
            delta = choice.get("delta")
            _add(draft, delta.get("content") if isinstance(delta, Mapping) else None)
            draft.is_finished = draft.is_finished or bool(choice.get("finish_reason"))


def _add(draft: Draft, content: Any) -> None:
    """Take in content: text, or with details a list of texts, tool calls and questions."""
    for item in content if isinstance(content, list) else [content]:
        match item:
            case {"text": {"content": str() as text}}:
                pass
            case {"interactive": interactive} if interactive:
                draft.interactive, text = interactive, ""
            case _:
                text = plain_text(item)
        draft.text.append(text)
        draft.on_text(text)
        draft.chars += len(text)


def _reports(draft: Draft) -> list[Mapping[str, Any]]:
    return [node for node in draft.nodes if isinstance(node, Mapping)]


def _broken_node(draft: Draft) -> Any:
    """Why the last node failed; an earlier one that did was dealt with by the flow itself."""
    reports = _reports(draft)
    return (reports[-1].get("error") or reports[-1].get("errorText")) if reports else None


def _complaint(error: Any) -> Mapping[str, Any]:
    return error if isinstance(error, Mapping) else {"message": error if isinstance(error, str) else json_text(error)}


def _outputs(draft: Draft, text: str) -> Any:
    """A plugin's outputs; of a flow that says nothing, the variables it leaves."""
    for node in _reports(draft):
        if node.get("moduleType") == "pluginOutput":
            return node.get("pluginOutput")
    return None if text.strip() else draft.variables


def _cut(source: str) -> AgentError:
    return AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its end; it may have run")
