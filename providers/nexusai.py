"""NexusAI: an app behind its API, or a workflow run that is started and then asked for.

Base URL: `https://host`, with or without `/v1`.

| option `call`        | request, and what it needs                                                          |
|----------------------|-------------------------------------------------------------------------------------|
| `app_api` (default)  | POST /v1/app-api/{encrypted id}/run; the endpoint's key is the app's API token       |
| `start_workflow`     | POST /v1/workflow/run, then POST /v1/workspace/workspace_workflow_log_info;          |
|                      | the task's `workflow_id` is the app's number; the key is `username:password` or a JWT|

The app API waits at most a minute (APP_API_TIMEOUT there) and then fails, though the run goes on, and names no run:
long workflows need `start_workflow`, whose handle is resumable. The platform cannot stop a run.

Every failure is HTTP 402 with a sentence, so the sentence decides. A refused login is HTTP 200.
"""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers import failures
from providers.base import CallContext
from providers.content import (
    decode_json,
    excerpt,
    json_text,
    outputs_text,
    read_usage,
    redacted,
    text_of,
    unless_zero,
)
from providers.http import base_of, below_version, exchange, origin, read, request_id
from providers.options import TEXT, Rules, check
from providers.polling import until

_CALLS: Final = frozenset({"app_api", "start_workflow"})
_WORKFLOW_OPTIONS: Final[Rules] = {
    "call": _CALLS,
    "output": TEXT,
    "run_type": frozenset({"draft", "published"}),
    "node_confirm_users": (dict,),
    "knowledge_base_mapping": (dict,),
}

#: What the sentence of a 402 says; the first match counts, and anything else is a run that failed.
_SENTENCES: Final = (
    (re.compile(r"timeout waiting", re.IGNORECASE), ErrorKind.OUTCOME_UNKNOWN),
    (
        re.compile(r"api token|authori[sz]|incorrect username|permission|access denied|credentials", re.IGNORECASE),
        ErrorKind.AUTH,
    ),
    (
        re.compile(r"not found|no available|invalid url|incorrect api url|not published", re.IGNORECASE),
        ErrorKind.NOT_FOUND,
    ),
    (re.compile(r"missing field|must be a|required|cannot be empty", re.IGNORECASE), ErrorKind.INVALID),
)

# As its log tells a run's status to others, and as its database has it: what 3 means, only the other columns say.
_DONE: Final = (2, 3)
_FAILED: Final = (3, 4)


class NexusAI:
    """Adapter of NexusAI's app API and workflow runs. Options of a workflow task:

    - `call`: `app_api` or `start_workflow`, see above
    - `output`: which of several outputs is the answer; default: all, as JSON
    - of `start_workflow`: `run_type` (published) or `draft`; `node_confirm_users`, `knowledge_base_mapping`: handed on

    An agent task takes no options: it is an app whose API is asked.
    """

    name = "nexusai"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        check(options, _WORKFLOW_OPTIONS if kind == "workflow" else {}, owner=f"{self.name} ({kind})")
        extra = sorted(options.keys() - {"call", "output"})
        if extra and options.get("call") != "start_workflow":
            raise AgentError(ErrorKind.CONFIG, f"option {extra[0]!r} needs option 'call' to be 'start_workflow'")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt; a workflow that is started is waited for."""
        if request.conversation_id is not None:
            raise AgentError(ErrorKind.CONFIG, f"{self.name} keeps no conversations; set conversation to 'new'")
        if request.options.get("call") != "start_workflow":
            return await _run_app(context, request)
        body = _workflow_body(request)
        async with _signed_in(context, request) as headers:
            async with _answer(context, request, ("workflow", "run"), body, headers) as (data, _):
                handle = _named(data)
                await context.on_handle(handle)
            return await until(lambda: _looked(context, request, handle, headers), at_once=True)

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Ask for a workflow run until it has ended."""
        async with _signed_in(context, request) as headers:
            return await until(lambda: _looked(context, request, handle, headers), at_once=True)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """There is no call for it: a run can be paused there, and never stopped."""
        return False


def _named(data: Any) -> RemoteHandle:
    match data:
        case {"workflow_id": int() as workflow, "app_run_id": int() as run}:
            return RemoteHandle(NexusAI.name, {"workflow_id": str(workflow), "app_run_id": str(run)}, resumable=True)
    raise AgentError(ErrorKind.PROTOCOL, f"nexusai did not name its run but said: {excerpt(str(data))}")


def _judged(refusal: failures.Refusal) -> ErrorKind | None:
    if refusal.status != 402:
        return None
    return next((kind for words, kind in _SENTENCES if words.search(refusal.message)), ErrorKind.REMOTE_FAILED)


@asynccontextmanager
async def _answer(
    context: CallContext, request: AgentRequest, path: tuple[str, ...], body: object, headers: Mapping[str, str]
) -> AsyncIterator[tuple[Any, httpx.Response]]:
    """What is inside `{"code": 0, "data": …}`. Raises AgentError for any other code."""
    url = below_version(base_of(context.endpoint), *path)
    async with exchange(context, request, "POST", url, json=body, headers=headers, judge=_judged) as response:
        answer = decode_json(await read(response, context.max_bytes), origin(url))
        match answer:
            case {"code": 0, "data": data}:
                yield data, response
            case {"code": int()} | {"detail": str()}:
                said = text_of(answer.get("detail")) or json_text(answer)
                kind = _judged(failures.Refusal(402, "", said, None)) or ErrorKind.REMOTE_FAILED
                raise AgentError(kind, f"{origin(url)} answered HTTP 200 and an error: {excerpt(said)}")
            case _:
                began = excerpt(str(answer))
                raise AgentError(
                    ErrorKind.PROTOCOL, f"{origin(url)} did not answer in this platform's envelope: {began}"
                )


async def _run_app(context: CallContext, request: AgentRequest) -> AgentResult:
    body = {"prompt": request.message} if request.kind == "agent" else {"input_data": dict(request.inputs)}
    async with _answer(context, request, ("app-api", request.target, "run"), body, {}) as (data, response):
        return _answered(data, response, request)


def _answered(outputs: Any, response: httpx.Response, request: AgentRequest, usage: Usage | None = None) -> AgentResult:
    text = outputs_text(outputs, request.options.get("output"), origin(response.url))
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{origin(response.url)}: the run ended well and gave no answer")
    return AgentResult(
        "succeeded",
        text,
        outputs,
        usage=usage or Usage(),
        http_status=response.status_code,
        request_id=request_id(response, request),
    )


@asynccontextmanager
async def _signed_in(context: CallContext, request: AgentRequest) -> AsyncIterator[Mapping[str, str]]:
    """The header of a user's requests; none where the endpoint's key is a JWT. No error from inside holds a secret."""
    user, colon, password = context.endpoint.api_key.strip().partition(":")
    if not colon:
        yield {}
        return
    jwt = ""
    try:
        jwt = await _login(context, request, user, password)
        yield {"authorization": f"Bearer {jwt}"}
    except AgentError as error:
        error.message = redacted(error.message, (jwt, password))
        raise


async def _login(context: CallContext, request: AgentRequest, user: str, password: str) -> str:
    url = below_version(base_of(context.endpoint), "auth", "login")
    form = urlencode({"username": user, "password": password}).encode()
    # Else the endpoint's key, which is no token, would go out as one.
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"content-type": "application/x-www-form-urlencoded", "authorization": f"Basic {basic}"}
    async with exchange(context, request, "POST", url, content=form, headers=headers, judge=_judged) as response:
        answer = decode_json(await read(response, context.max_bytes), origin(url))
    match answer:
        case {"access_token": str() as token} if token:
            return token
        case {"detail": str() as said}:
            raise AgentError(
                ErrorKind.AUTH, f"{origin(url)} refuses the username and password of the endpoint: {excerpt(said)}"
            )
    raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} did not answer a login")


def _workflow_body(request: AgentRequest) -> dict[str, Any]:
    options = request.options
    if not request.target.isdecimal():
        raise AgentError(
            ErrorKind.CONFIG, f"workflow_id must be the app's number for start_workflow, not {request.target!r}"
        )
    return {
        "app_id": int(request.target),
        "run_type": 0 if options.get("run_type") == "draft" else 1,
        "run_name": request.run_id,
        "inputs": {
            "name": "input",
            "type": "object",
            "properties": {name: _variable(name, value) for name, value in request.inputs.items()},
        },
        "node_confirm_users": options.get("node_confirm_users", {}),
        "knowledge_base_mapping": options.get("knowledge_base_mapping", {}),
        "data_source_run_id": 0,  # absent or null ends the call there with an exception
    }


def _variable(name: str, value: Any) -> dict[str, Any]:
    """A value as the platform's variable; one that is written as such already stays."""
    if isinstance(value, Mapping) and {"name", "type"} <= value.keys():
        return dict(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"name": name, "type": "number", "value": value}
    return {"name": name, "type": "string", "value": value if isinstance(value, str) else json_text(value)}


async def _looked(
    context: CallContext, request: AgentRequest, handle: RemoteHandle, headers: Mapping[str, str]
) -> AgentResult | None:
    """How the run stands: its result, or None while it goes on. Raises AgentError where it failed."""
    body = {"workflows_id": int(handle.ids["workflow_id"]), "app_runs_id": int(handle.ids["app_run_id"])}
    path = ("workspace", "workspace_workflow_log_info")
    async with _answer(context, request, path, body, headers) as (data, response):
        match data:
            case {"app_run_data": []}:
                return None  # queued: no node has begun
            case {"list": list() as nodes, "app_run_data": [Mapping() as run, *_]}:
                return _ended(run, [node for node in nodes if isinstance(node, Mapping)], response, request)
        raise AgentError(
            ErrorKind.PROTOCOL, f"{origin(response.url)} did not tell how its run goes: {excerpt(str(data))}"
        )


def _ended(
    run: Mapping[str, Any], nodes: list[Mapping[str, Any]], response: httpx.Response, request: AgentRequest
) -> AgentResult | None:
    status, finished, error = run.get("status"), run.get("finished_time"), run.get("error")
    if error or (status in _FAILED and not finished):  # before the human: a failed run is marked for one too
        said = text_of(error) or "it gave no reason"
        raise failures.remote_error({"message": said}, said, source=origin(response.url))
    usage = unless_zero(read_usage(run, given="prompt_tokens", made="completion_tokens"))
    if finished and status in _DONE:
        ends = [node.get("outputs") for node in nodes if node.get("node_type") == "end"]
        outputs = ends[-1] if ends and isinstance(ends[-1], Mapping) else None
        return _answered(outputs, response, request, usage)
    if run.get("need_human_confirm") == 1:
        named = ("node_id", "node_name", "outputs", "human_confirm_info")
        waiting = [{key: node.get(key) for key in named} for node in nodes if node.get("need_human_confirm") == 1]
        return AgentResult("requires_action", "", waiting, usage=usage, http_status=response.status_code)
    return None
