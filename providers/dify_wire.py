"""What Dify's calls have in common: addresses, handles, errors and events."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, excerpt, json_text, parse_json
from providers.failures import Refusal
from providers.http import base_of, events, is_event_stream, origin, read

NAME: Final = "dify"

_CODES: Final = {
    "rate_limit_error": ErrorKind.QUOTA,  # the plan's; a busy server says too_many_requests
    "provider_quota_exceeded": ErrorKind.QUOTA,
    "too_many_requests": ErrorKind.THROTTLED,
}

#: `completion_request_error` wraps whatever the model's own provider answered: only its sentence tells what that was.
_UPSTREAM: Final = (
    (re.compile(r"insufficient_quota|exceeded your current quota|insufficient balance", re.I), ErrorKind.QUOTA),
    (re.compile(r"\b429\b|rate.?limit|too many requests|overloaded", re.I), ErrorKind.THROTTLED),
    (re.compile(r"time(?:d )?.?out|connection|\b50[0-4]\b", re.I), ErrorKind.UNAVAILABLE),
)

_EVENT_IDS: Final = ("task_id", "workflow_run_id", "conversation_id")

# Pieces of text: half a character may end one and begin the next, so they are joined before they are cleaned.
_PIECES: Final = frozenset({"message", "agent_message", "text_chunk", "reasoning_chunk"})


def base(context: CallContext) -> httpx.URL:
    """The endpoint's base_url; one without any path gets `/v1`."""
    url = base_of(context.endpoint)
    return url.copy_with(path="/v1") if url.path.rstrip("/") == "" else url


def judge(refusal: Refusal) -> ErrorKind | None:
    """Read Dify's own codes; None where the status says enough."""
    if refusal.code == "completion_request_error":
        return next((kind for words, kind in _UPSTREAM if words.search(refusal.message)), None)
    return _CODES.get(refusal.code)


def failure(body: Mapping[str, Any], source: str) -> AgentError:
    """Make the AgentError of `{"status", "code", "message"}` in a 200 or a stream: the run has ended with it."""
    said = failures.remark(body)
    status = body.get("status")
    status = status if isinstance(status, int) and 400 <= status < 600 else None
    kind = judge(Refusal(status or 200, said.code, said.message, None)) or failures.kind_of(status, said.code)
    error = failures.remote_error(body, json_text(body), source=source, kinds={said.code: kind})
    error.over = True
    return error


def handle_of(event: Mapping[str, Any], request: AgentRequest, app: str) -> RemoteHandle | None:
    """What stops the run of this event, and finds it again if it has nodes. A stop needs the run's own user."""
    found = {name: event[name] for name in _EVENT_IDS if isinstance(event.get(name), str)}
    if "task_id" not in found:
        return None
    ids = {"app": app, "user": request.user, "run_id": request.run_id, **found}
    return RemoteHandle(NAME, ids, resumable="workflow_run_id" in found)


async def stream(response: httpx.Response, max_bytes: int) -> AsyncGenerator[Mapping[str, Any], None]:
    """The events of an answer; each names itself in its JSON. Raises AgentError where the answer is no stream."""
    source = origin(response.url)
    if not is_event_stream(response):
        raise _no_stream(decode_json(await read(response, max_bytes), source), source)
    async with aclosing(events(response, max_bytes)) as arriving:
        async for event in arriving:
            if not event.data:  # the keep-alive is `event: ping` and nothing else
                continue
            body = parse_json(event.data, source)
            if not isinstance(body, Mapping):
                raise AgentError(ErrorKind.PROTOCOL, f"{source} sent an event that is no object")
            yield body if str(body.get("event")) in _PIECES else decode_json(event.data, source)


def unfinished(source: str) -> AgentError:
    """Make the AgentError of a stream that ends before the event that proves its answer whole."""
    return AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its end; it may have run")


def _no_stream(body: Any, source: str) -> AgentError:
    if isinstance(body, Mapping) and isinstance(body.get("code"), str) and "message" in body:
        return failure(body, source)
    return AgentError(
        ErrorKind.PROTOCOL, f"{source} did not answer with a stream; it began: {excerpt(json_text(body))}"
    )
