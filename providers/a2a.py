"""A2A agents over JSON-RPC, protocol 0.3 and 1.0.

Base URL: what stands before `/.well-known/agent-card.json`. A step `{agent_id}` of its path stands for the task's
`agent_id`; without one, the id names nothing in this protocol. The agent card tells the version and the path. Requests
never leave the origin of the base URL, whatever host the card names. With option `version` no card is asked for, and
the base URL is that of the JSON-RPC interface.

The agent is asked to answer at once with a task, which is then asked for until it has ended; the task's id finds it
again after a worker has died. Servers that answer only at the end, as LangGraph's do, leave nothing to find or to
cancel before that. The message's id is the run's, the same on every attempt.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.a2a_task import conversation_of, read_answer, verdict
from providers.base import CallContext
from providers.content import decode_json, excerpt, json_text
from providers.http import base_of, below, exchange, origin, read, request_id
from providers.options import Rules, check
from providers.polling import until

_OPTIONS: Final[Rules] = {"version": frozenset({"0.3", "1.0"})}
_PLACE: Final = "{agent_id}"
_HISTORY: Final = 10  # messages: the newest are enough to find the answer in

_METHODS: Final = {
    "0.3": {"send": "message/send", "get": "tasks/get", "cancel": "tasks/cancel"},
    "1.0": {"send": "SendMessage", "get": "GetTask", "cancel": "CancelTask"},
}

_TASK_NOT_FOUND: Final = -32001
_TASK_NOT_CANCELABLE: Final = -32002
_ERROR_KINDS: Final = {
    "-32001": ErrorKind.NOT_FOUND,
    "-32003": ErrorKind.INVALID,
    "-32004": ErrorKind.INVALID,
    "-32005": ErrorKind.INVALID,
    "-32006": ErrorKind.REMOTE_FAILED,
    "-32007": ErrorKind.INVALID,
    "-32008": ErrorKind.INVALID,
    "-32009": ErrorKind.CONFIG,
    "-32600": ErrorKind.INVALID,
    "-32601": ErrorKind.CONFIG,
    "-32602": ErrorKind.INVALID,
    "-32603": ErrorKind.UNAVAILABLE,
    "-32700": ErrorKind.INVALID,
}


@dataclass(frozen=True, slots=True)
class _Interface:
    """How an agent is spoken to: protocol version, path and query at the endpoint's origin, tenant."""

    version: str
    path: str
    tenant: str = ""


class _Offer(NamedTuple):
    """One interface of an agent card."""

    binding: str
    version: str
    url: str
    tenant: str


class A2A:
    """Adapter of A2A agents. Option:

    - `version`: `0.3` or `1.0`; default: what the agent card says, the newer one where it offers both
    """

    name = "a2a"
    kinds = frozenset({"agent"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that is not in the list above."""
        check(options, _OPTIONS, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Send one message, and wait for the end of the task that it makes."""
        interface = await _interface(context, request)
        async with _rpc(context, request, interface, "send", _message(request, interface)) as (result, response):
            answer = read_answer(result, origin(response.url))
            if (ended := _ended(answer, request, response)) is not None:
                return ended
        ids = {
            "task_id": answer["id"],
            "context_id": conversation_of(answer) or "",
            "version": interface.version,
            "path": interface.path,
            "tenant": interface.tenant,
            "run_id": request.run_id,
        }
        handle = RemoteHandle(self.name, ids, resumable=True)
        await context.on_handle(handle)
        return await until(lambda: _look(context, request, handle))

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a task that an earlier attempt began."""
        return await until(lambda: _look(context, request, handle), at_once=True)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Cancel a task; one that has ended, or is gone, counts as cancelled."""
        request = AgentRequest(kind="agent", target="", run_id=handle.ids["run_id"], timeout=5)
        try:
            async with _rpc(context, request, _interface_of(handle), "cancel", {"id": handle.ids["task_id"]}):
                return True
        except AgentError:
            return False


async def _look(context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult | None:
    params: dict[str, Any] = {"id": handle.ids["task_id"], "historyLength": _HISTORY}
    if context_id := handle.ids["context_id"]:
        params["contextId"] = context_id  # LangGraph's servers ask for it, the others overlook it
    async with _rpc(context, request, _interface_of(handle), "get", params) as (result, response):
        return _ended(read_answer(result, origin(response.url)), request, response)


def _ended(answer: Mapping[str, Any], request: AgentRequest, response: httpx.Response) -> AgentResult | None:
    ended = verdict(answer, origin(response.url))
    if ended is None:
        return None
    return replace(ended, http_status=response.status_code, request_id=request_id(response, request))


def _message(request: AgentRequest, interface: _Interface) -> dict[str, Any]:
    old = interface.version == "0.3"
    message: dict[str, Any] = {
        "messageId": request.run_id,
        "role": "user" if old else "ROLE_USER",
        "parts": [{"kind": "text", "text": request.message} if old else {"text": request.message}],
        "metadata": {"user": request.user},
    }
    if old:
        message["kind"] = "message"
    if request.conversation_id is not None:
        message["contextId"] = request.conversation_id
    at_once = {"blocking": False} if old else {"returnImmediately": True}
    return {"message": message, "configuration": {**at_once, "historyLength": _HISTORY}}


@asynccontextmanager
async def _rpc(
    context: CallContext, request: AgentRequest, interface: _Interface, verb: str, params: Mapping[str, Any]
) -> AsyncIterator[tuple[Mapping[str, Any], httpx.Response]]:
    """Call a method; give its result and the answer's head. Raises AgentError, also for an error inside a 200."""
    url = base_of(context.endpoint).copy_with(raw_path=interface.path.encode())
    call = {
        "jsonrpc": "2.0",
        "id": request.run_id,
        "method": _METHODS[interface.version][verb],
        "params": {**params, "tenant": interface.tenant} if interface.tenant else params,
    }
    headers = {} if interface.version == "0.3" else {"a2a-version": interface.version}
    async with exchange(context, request, "POST", url, json=call, headers=headers) as response:
        yield _result(decode_json(await read(response, context.max_bytes), origin(url)), verb, origin(url)), response


def _result(body: Any, verb: str, source: str) -> Mapping[str, Any]:
    match body:
        case {"error": {"code": code}} if verb == "cancel" and code in (_TASK_NOT_FOUND, _TASK_NOT_CANCELABLE):
            return {}  # what has ended needs no cancel
        case {"error": {"code": code}} if verb == "get" and code == _TASK_NOT_FOUND:
            why = f"{source} does not know the task any more; what became of it is unknown"
            raise AgentError(ErrorKind.OUTCOME_UNKNOWN, why, over=True)
        case {"error": error} if error:
            raise failures.remote_error(body, json_text(body), source=source, kinds=_ERROR_KINDS)
        case {"result": Mapping() as result}:
            return result
    raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer in JSON-RPC; it began: {excerpt(json_text(body))}")


def _interface_of(handle: RemoteHandle) -> _Interface:
    return _Interface(handle.ids["version"], handle.ids["path"], handle.ids["tenant"])


async def _interface(context: CallContext, request: AgentRequest) -> _Interface:
    """How to speak to the agent: as the task says, else as its card says. Raises AgentError; no task is begun."""
    base = _base(context, request)
    if version := request.options.get("version"):
        return _Interface(version, base.raw_path.decode())
    url = below(base, ".well-known", "agent-card.json")
    try:
        async with exchange(context, request, "GET", url) as response:
            return _chosen(decode_json(await read(response, context.max_bytes), origin(url)), base)
    except AgentError as error:
        if error.kind not in {ErrorKind.OUTCOME_UNKNOWN, ErrorKind.UNAVAILABLE}:
            raise
        how = f"HTTP {error.http_status}" if (error.http_status or 200) != 200 else "the connection broke"
        why = f"{origin(url)} did not give its agent card ({how}); no task was begun"
        raise AgentError(
            ErrorKind.CONNECT, why, http_status=error.http_status, retry_after=error.retry_after
        ) from error


def _base(context: CallContext, request: AgentRequest) -> httpx.URL:
    base = base_of(context.endpoint)
    steps = [step for step in base.path.split("/") if step]
    if _PLACE not in steps:
        return base
    return below(base.copy_with(path="/"), *(request.target if step == _PLACE else step for step in steps))


def _chosen(card: Any, base: httpx.URL) -> _Interface:
    if not isinstance(card, Mapping):
        raise AgentError(ErrorKind.PROTOCOL, f"{origin(base)} gave an agent card that is no object")
    offers = list(_offers(card))
    for version, prefix in (("1.0", "1."), ("0.3", "0.3")):
        for offer in offers:
            if offer.binding.upper() == "JSONRPC" and offer.version.startswith(prefix):
                return _Interface(version, base.join(offer.url).raw_path.decode(), offer.tenant)
    named = ", ".join(f"{offer.binding} {offer.version}" for offer in offers) or "none"
    raise AgentError(
        ErrorKind.CONFIG,
        f"{origin(base)}: its agent card offers no JSON-RPC interface of protocol 0.3 or 1.0, only: {excerpt(named)}",
    )


def _offers(card: Mapping[str, Any]) -> Iterator[_Offer]:
    """The interfaces of a card; those of 0.3 stand in other places, and a card may hold both."""
    for found in _with_address(card.get("supportedInterfaces")):
        tenant = str(found.get("tenant") or "")
        yield _Offer(str(found.get("protocolBinding")), str(found.get("protocolVersion")), found["url"], tenant)
    version = str(card.get("protocolVersion") or "0.3")
    for found in _with_address([card]):
        yield _Offer(str(found.get("preferredTransport") or "JSONRPC"), version, found["url"], "")
    for found in _with_address(card.get("additionalInterfaces")):
        yield _Offer(str(found.get("transport")), version, found["url"], "")


def _with_address(found: Any) -> list[Mapping[str, Any]]:
    interfaces = found if isinstance(found, list) else []
    return [each for each in interfaces if isinstance(each, Mapping) and isinstance(each.get("url"), str)]
