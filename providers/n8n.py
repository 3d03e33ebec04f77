"""n8n: a workflow behind a webhook, or behind a chat trigger.

Base URL: `https://host`, or with its webhook prefix, `https://host/webhook-test`. The task's `agent_id` or
`workflow_id` is the webhook's path. The endpoint's key is one of n8n's API keys; it goes into `X-N8N-API-KEY`, which
the webhook's own "Header Auth" may demand too.

What the webhook answers depends on its Respond mode:

    When Last Node Finishes, Using Respond Node    the answer itself, as JSON or as text
    Streaming                                      JSON objects, one a line, the last of type `end`
    Immediately                                    that the workflow was started, which is no answer

An answer that is only `{"executionId": "{{ $execution.id }}"}` names the execution: then, with a key, its end is asked
for at the executions API. Such a handle is resumable, since an execution outlives its caller. Errors of a workflow come
as HTTP 500; what ran before them has run.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, dig, excerpt, json_text, text_of
from providers.http import base_of, below, exchange, origin, read, request_id
from providers.options import FLAG, TEXT, Rules, check
from providers.polling import until

_OPTIONS: Final[Rules] = {"result_path": TEXT, "accept_started": FLAG}
_AGENT_OPTIONS: Final[Rules] = {**_OPTIONS, "trigger": frozenset({"webhook", "chat"})}

_PREFIXES: Final = ("webhook", "webhook-test")
_USUAL_PATHS: Final = ("output", "text", "answer", "message.content")
_STARTED: Final = {"message": "Workflow was started"}
_PIECES: Final = frozenset({"begin", "item", "end", "error"})
_FIRST_PIECES: Final = frozenset({"begin", "error"})

_GOING_ON: Final = frozenset({"new", "running", "waiting"})
_FOR_EVER: Final = "3000-"  # the year that n8n writes for a wait that only somebody's answer ends
_NOTHING: Final = object()


class N8n:
    """Adapter of n8n's webhooks and executions API. Options:

    - `result_path`: where in the answer's JSON the text is, such as `report.0.text`; default: `output`, `text`,
      `answer`, `message.content`, else all of it
    - `accept_started` (false): take "Workflow was started" for success; how it ends, nobody asks
    - agents only: `trigger` (webhook): `chat` for a chat trigger

    A workflow gets its inputs as the body; an agent's webhook `{"message", "user", "sessionId"}`.
    """

    name = "n8n"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        check(options, _AGENT_OPTIONS if kind == "agent" else _OPTIONS, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt, up to the end of the execution where its answer names it."""
        url, body = _webhook(context, request)
        async with exchange(context, request, "POST", url, json=body, judge=_judged) as response:
            answer = _decoded(response, await read(response, context.max_bytes))
            execution = _named_execution(answer, request)
            if not (execution and context.endpoint.api_key):
                return _result(answer, request, response)
        handle = RemoteHandle(self.name, {"execution_id": execution}, resumable=True)
        await context.on_handle(handle)
        return await self.resume(context, request, handle)

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Ask for the execution until it has ended."""
        return await until(lambda: _looked(context, request, handle), at_once=True)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop the execution; one that has ended counts as stopped. Older versions have no such call."""
        url = _execution_url(context, handle)
        request = AgentRequest(kind="workflow", target="", run_id=handle.ids["execution_id"], timeout=5)
        try:
            async with exchange(context, request, "POST", below(url, "stop"), json={}):
                return True
        except AgentError:
            try:
                async with _execution(context, request, url) as (found, _):
                    return found["status"] not in _GOING_ON
            except AgentError:
                return False


def _judged(refusal: failures.Refusal) -> ErrorKind | None:
    return ErrorKind.REMOTE_FAILED if refusal.status == 500 else None


def _root(context: CallContext) -> tuple[httpx.URL, str]:
    """The address of the server, and the prefix of its webhooks."""
    base = base_of(context.endpoint)
    rest, _, last = base.path.rstrip("/").rpartition("/")
    return (base.copy_with(path=rest or "/"), last) if last in _PREFIXES else (base, _PREFIXES[0])


def _webhook(context: CallContext, request: AgentRequest) -> tuple[httpx.URL, dict[str, Any]]:
    root, prefix = _root(context)
    path = [prefix, *request.target.strip("/").split("/")]
    session = _session_of(request)
    if request.options.get("trigger") == "chat":
        body = {"action": "sendMessage", "sessionId": session, "chatInput": request.message}
        return below(root, *path, "chat"), body
    if request.kind == "agent":
        return below(root, *path), {"message": request.message, "user": request.user, "sessionId": session}
    return below(root, *path), dict(request.inputs)


def _session_of(request: AgentRequest) -> str | None:
    return (request.conversation_id or request.run_id) if request.kind == "agent" else request.conversation_id


def _decoded(response: httpx.Response, body: str) -> Any:
    """The answer as data, or as text where it is none. Raises AgentError for what is no answer at all."""
    source, began = origin(response.url), body.lstrip()[:14].lower()
    if not began:
        raise AgentError(ErrorKind.EMPTY, f"{source} answered {response.status_code} and gave no answer")
    if (pieces := _pieces(body)) is not None:
        return {"output": _joined(pieces, source)}
    # A Respond node's plain text is declared as HTML too.
    declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared.endswith("json") or began[0] in '{["':
        return decode_json(body, source)
    if began.startswith(("<!doctype html", "<html")):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} answered with {excerpt(body)}")
    return body.strip()


def _pieces(body: str) -> list[dict[str, Any]] | None:
    """The objects of a streamed answer; None where it is no such thing."""
    pieces: list[dict[str, Any]] = []
    for line in filter(str.strip, body.split("\n")):
        try:
            piece = json.loads(line)
        except (ValueError, RecursionError):
            return [*pieces, {"type": "cut"}] if pieces else None
        if not (isinstance(piece, dict) and piece.get("type") in (_PIECES if pieces else _FIRST_PIECES)):
            return None
        pieces.append(piece)
    return pieces


def _joined(pieces: list[dict[str, Any]], source: str) -> str:
    """The text of a streamed answer. Raises AgentError for an error in it, or where its end is missing."""
    for piece in pieces:
        if piece["type"] == "error":
            said = text_of(piece.get("content")) or json_text(piece)
            raise failures.remote_error({"message": said}, said, source=source)
    open_nodes = sum({"begin": 1, "end": -1}.get(piece["type"], 0) for piece in pieces)
    if pieces[-1]["type"] != "end" or open_nodes > 0:
        raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before its end; it may have run")
    return "".join(text_of(piece.get("content")) for piece in pieces if piece["type"] == "item")


def _found(answer: Any, request: AgentRequest) -> Any:
    """What stands where an answer stands, or _NOTHING."""
    path = request.options.get("result_path")
    first = answer[0] if isinstance(answer, list) and len(answer) == 1 and not path else answer
    places = (dig(first, place, default=_NOTHING) for place in ([path] if path else _USUAL_PATHS))
    return next((found for found in places if found is not _NOTHING), _NOTHING)


def _named_execution(answer: Any, request: AgentRequest) -> str:
    """The execution that the answer names in the place of a result."""
    if not isinstance(answer, Mapping) or _found(answer, request) is not _NOTHING:
        return ""
    named = answer.get("executionId")
    return str(named) if isinstance(named, str | int) and not isinstance(named, bool) else ""


def _result(answer: Any, request: AgentRequest, response: httpx.Response) -> AgentResult:
    """The verdict on an answer. Raises AgentError where it is an error, or none at all."""
    source, found = origin(response.url), _found(answer, request)
    started = answer == _STARTED or bool(_named_execution(answer, request))
    if isinstance(answer, Mapping) and found is _NOTHING:
        if answer.get("error"):
            raise failures.remote_error(answer, json_text(answer), source=source)
        if started and not request.options.get("accept_started"):
            raise AgentError(
                ErrorKind.CONFIG,
                f"{source} only says that the workflow was started. Set the webhook to respond when its last node "
                'finishes; or let it answer {"executionId": "{{ $execution.id }}"} and give the endpoint an API key; '
                "or, where the end does not matter, set the option accept_started",
            )
    if (path := request.options.get("result_path")) and found is _NOTHING and not started:
        began = excerpt(text_of(answer))
        raise AgentError(ErrorKind.PROTOCOL, f"{source}: nothing is at result_path {path!r}; the answer began: {began}")
    text = text_of(answer if found is _NOTHING else found)
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{source}: the workflow ended well and gave no answer")
    return AgentResult(
        "succeeded",
        text,
        None if isinstance(answer, str) else answer,
        conversation_id=_session_of(request),
        http_status=response.status_code,
        request_id=request_id(response, request),
    )


def _execution_url(context: CallContext, handle: RemoteHandle) -> httpx.URL:
    return below(_root(context)[0], "api", "v1", "executions", handle.ids["execution_id"])


@asynccontextmanager
async def _execution(
    context: CallContext, request: AgentRequest, url: httpx.URL, *, whole: bool = False
) -> AsyncIterator[tuple[Mapping[str, Any], httpx.Response]]:
    url = url.copy_merge_params({"includeData": "true"}) if whole else url
    async with exchange(context, request, "GET", url) as response:
        match decode_json(await read(response, context.max_bytes), origin(url)):
            case {"status": str()} as execution:
                yield execution, response
            case other:
                raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} told of no execution but: {excerpt(str(other))}")


async def _looked(context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult | None:
    """How the execution stands: its result, or None while it goes on. Raises AgentError where it failed."""
    url = _execution_url(context, handle)
    try:
        async with _execution(context, request, url) as (execution, _):
            asks = execution["status"] == "waiting" and str(execution.get("waitTill")).startswith(_FOR_EVER)
            if execution["status"] in _GOING_ON and not asks:
                return None
        async with _execution(context, request, url, whole=True) as (execution, response):
            return _ended(execution, request, response, asks=asks)
    except AgentError as error:
        if error.http_status == 404:
            error.kind, error.over = ErrorKind.OUTCOME_UNKNOWN, True
            error.message = f"{origin(url)} keeps no execution {handle.ids['execution_id']}; it may have ended well"
        raise


def _ended(execution: Mapping[str, Any], request: AgentRequest, response: httpx.Response, *, asks: bool) -> AgentResult:
    data = dig(execution, "data.resultData", default={})
    last = dig(data, "lastNodeExecuted", default="")
    if asks:
        return AgentResult("requires_action", "", {"waits_at": last}, http_status=response.status_code)
    if execution["status"] != "success":
        said = text_of(dig(data, "error.message")) or f"it ended as {excerpt(execution['status'])}"
        raise failures.remote_error({"message": said}, said, source=origin(response.url))
    return _result(_items(data, last), request, response)


def _items(data: Any, node: Any) -> Any:
    """What the last node put out: the data of its one item, or a list of them."""
    runs = data.get("runData", {}).get(node) if isinstance(data, Mapping) else None
    items = dig(runs[-1], "data.main.0") if isinstance(runs, list) and runs else None
    found = [item.get("json") for item in items or () if isinstance(item, Mapping)]
    return found[0] if len(found) == 1 else found
