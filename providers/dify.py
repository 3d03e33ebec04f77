"""Dify's service API: chats (chatbot, agent and chatflow apps), completions and workflows.

Base URL: as Dify shows it, `https://api.dify.ai/v1`; one without any path gets `/v1`. The endpoint's key names the app,
so `agent_id` and `workflow_id` of a task are not sent: they are for the people who read the row.

| task, mode                  | request                                                         |
|-----------------------------|-----------------------------------------------------------------|
| agent, `chat` (default)     | POST {base}/chat-messages                                       |
| agent, `completion`         | POST {base}/completion-messages                                 |
| workflow                    | POST {base}/workflows/run, or /workflows/{workflow_version}/run |
| a workflow or chatflow that | GET {base}/workflows/run/{workflow_run_id}: its stream begins   |
| an earlier attempt began    | with that id                                                    |

Everything is streamed: a blocking call is cut by gateways after a minute while the run goes on, and only a stream can
be stopped. A chat is whole at `message_end`, a workflow at `workflow_finished`; HTTP stays 200 whatever they say.
"""

import asyncio
import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle, Usage
from providers.base import CallContext, OnText, unheard
from providers.content import join_surrogates, plain_text, read_usage, unless_zero, without_reasoning
from providers.dify_wire import NAME, base, failure, handle_of, judge, stream, unfinished
from providers.dify_workflow import resume_run, run_workflow
from providers.http import below, exchange, origin, request_id
from providers.options import FLAG, NUMBER, TEXT, Rules, check

AFTER_END_SECONDS: Final = 5.0  # a chatflow's answer is whole; only the verdict on its nodes is still to come

_AGENT_OPTIONS: Final[Rules] = {
    "mode": frozenset({"chat", "completion"}),
    "inputs": (dict,),
    "files": (list,),
    "workflow_version": TEXT,
    "auto_generate_name": FLAG,
    "strip_reasoning": FLAG,
    "idle_timeout": NUMBER,
}
_WORKFLOW_OPTIONS: Final[Rules] = {
    "files": (list,),
    "workflow_version": TEXT,
    "output": TEXT,
    "accept_partial": FLAG,
    "idle_timeout": NUMBER,
}


class Dify:
    """Adapter of Dify. Options of an agent task:

    - `mode`: `chat` or `completion`, see above
    - `inputs`: the app's own variables; `files`: as Dify's API takes them
    - `workflow_version`: the id of a published version of a chatflow, in place of the newest
    - `auto_generate_name` (false): let Dify name the conversation, which costs tokens
    - `strip_reasoning` (false): drop a leading `<think>…</think>`

    and of a workflow task:

    - `files`, `workflow_version`: as above
    - `output`: the one output that is the answer; default: the only one, or all of them as JSON
    - `accept_partial` (true): take the answer of a run some of whose nodes failed where its author lets it go on;
      `result_data` then says `partial-succeeded`

    Both: `idle_timeout`, seconds of silence that end a stream; off by default. Dify sends a ping every ten.
    """

    name = NAME
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        check(options, _AGENT_OPTIONS if kind == "agent" else _WORKFLOW_OPTIONS, owner=f"{self.name} ({kind})")
        if options.get("mode") == "completion" and "workflow_version" in options:
            raise AgentError(ErrorKind.CONFIG, "a completion app has no workflow_version; take the option out")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt. A chat begins a conversation of its own unless the task names one."""
        return await (run_workflow if request.kind == "workflow" else _run_chat)(context, request)

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a workflow's or a chatflow's run that an earlier attempt began."""
        return await resume_run(context, request, handle)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop a run as the user who began it; Dify answers with success whether it still ran or not."""
        ids = handle.ids
        request = AgentRequest(kind="agent", target="", run_id=ids["run_id"], timeout=5)
        path = ["workflows", "tasks"] if ids["app"] == "workflows" else [ids["app"]]
        url = below(base(context), *path, ids["task_id"], "stop")
        try:
            async with exchange(context, request, "POST", url, json={"user": ids["user"]}):
                return True
        except AgentError as error:
            return error.http_status == 404  # nothing is running there any more


@dataclass(slots=True)
class _Draft:
    """An answer while it arrives."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    by_agent: bool = False
    conversation_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    has_nodes: bool = False
    """A chatflow: its workflow has a verdict of its own, which follows the answer."""
    is_whole: bool = False
    is_over: bool = False
    paused: Any = None
    on_text: OnText = unheard

    def add(self, text: str, *, instead: bool = False) -> None:
        if instead:
            self.text.clear()
            self.chars = 0
        self.text.append(text)
        self.on_text(text, instead=instead)
        self.chars += len(text)


async def _run_chat(context: CallContext, request: AgentRequest) -> AgentResult:
    app = f"{request.options.get('mode', 'chat')}-messages"
    if app == "completion-messages" and request.conversation_id is not None:
        raise AgentError(ErrorKind.CONFIG, "a completion app keeps no conversations; set conversation to 'new'")
    url = below(base(context), app)
    idle = request.options.get("idle_timeout")
    draft = _Draft(conversation_id=request.conversation_id, on_text=context.on_text)
    try:
        body = _body(request, app)
        async with exchange(context, request, "POST", url, json=body, idle=idle, judge=judge) as response:
            await _read(response, context, request, draft, app)
            return replace(
                _verdict(draft, request, origin(url)),
                conversation_id=draft.conversation_id,
                http_status=response.status_code,
                request_id=request_id(response, request),
            )
    except AgentError as error:
        error.conversation_id = draft.conversation_id
        raise


def _body(request: AgentRequest, app: str) -> dict[str, Any]:
    options = request.options
    body = {
        "inputs": options.get("inputs", {}),
        "query": request.message,
        "user": request.user,
        "response_mode": "streaming",
    }
    if "files" in options:
        body["files"] = options["files"]
    if app == "completion-messages":
        body["inputs"] = {"query": request.message, **body["inputs"]}  # newer versions read the message here
        return body
    body["conversation_id"] = request.conversation_id or ""
    body["auto_generate_name"] = options.get("auto_generate_name", False)
    if "workflow_version" in options:
        body["workflow_id"] = options["workflow_version"]
    return body


async def _read(response: httpx.Response, context: CallContext, request: AgentRequest, draft: _Draft, app: str) -> None:
    """Take in the events up to the end. Raises AgentError for a failure, and for an end that proves nothing."""
    source = origin(response.url)
    handle = None
    try:
        async with asyncio.timeout(None) as patience, aclosing(stream(response, context.max_bytes)) as arriving:
            async for event in arriving:
                if handle is None and (handle := handle_of(event, request, app)) is not None:
                    await context.on_handle(handle)
                _take(draft, event, source)
                if draft.chars > context.max_bytes:
                    limit = f"{context.max_bytes:,} bytes"
                    raise AgentError(ErrorKind.PROTOCOL, f"{source}: the answer is longer than {limit}")
                if draft.is_over:
                    return
                if draft.is_whole and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + AFTER_END_SECONDS)
    except (TimeoutError, httpx.TransportError):
        if not draft.is_whole:
            raise
    if not draft.is_whole:
        raise unfinished(source)


def _take(draft: _Draft, event: Mapping[str, Any], source: str) -> None:
    if isinstance(conversation := event.get("conversation_id"), str) and conversation:
        draft.conversation_id = conversation
    match event.get("event"):
        case "agent_message":
            draft.by_agent = True
            draft.add(plain_text(event.get("answer")))
        case "message":
            # A New Agent closes with one message that holds the whole answer again.
            draft.add(plain_text(event.get("answer")), instead=draft.by_agent)
        case "message_replace":
            draft.add(plain_text(event.get("answer")), instead=True)
        case "message_end":
            draft.usage = _usage(event)
            draft.is_whole, draft.is_over = True, not draft.has_nodes
        case "error":
            raise failure(event, source)
        case str() as name if name.startswith("workflow_"):
            _take_workflow(draft, name, event.get("data"), source)


def _take_workflow(draft: _Draft, name: str, data: Any, source: str) -> None:
    data = data if isinstance(data, Mapping) else {}
    match name:
        case "workflow_started":
            draft.has_nodes = True
        case "workflow_paused":
            draft.paused = data.get("reasons") or data
            draft.is_whole = draft.is_over = True
        case "workflow_finished":
            if data.get("status") == "stopped":
                raise AgentError(ErrorKind.CANCELLED, f"{source}: the run was stopped there")
            if data.get("status") == "failed":
                raise failure({"message": data.get("error") or "the workflow failed"}, source)
            draft.has_nodes, draft.is_over = False, draft.is_whole


def _verdict(draft: _Draft, request: AgentRequest, source: str) -> AgentResult:
    text = join_surrogates("".join(draft.text))
    if request.options.get("strip_reasoning"):
        text = without_reasoning(text)
    if draft.paused is not None:
        return AgentResult("requires_action", text, draft.paused, usage=draft.usage)
    if not text.strip():
        raise AgentError(ErrorKind.EMPTY, f"{source}: the app ended well and gave no answer")
    return AgentResult("succeeded", text, usage=draft.usage)


def _usage(event: Mapping[str, Any]) -> Usage:
    match event.get("metadata"):
        case {"usage": Mapping() as report}:
            usage = unless_zero(read_usage(report, given="prompt_tokens", made="completion_tokens"))
            return replace(usage, **_price(report))
    return Usage()


def _price(report: Mapping[str, Any]) -> dict[str, Any]:
    """Cost and currency. A model whose price Dify does not know costs 0 USD there, so 0 says nothing."""
    try:
        cost = float(report.get("total_price") or 0)
    except (TypeError, ValueError, OverflowError):
        return {}
    currency = report.get("currency")
    if not (math.isfinite(cost) and cost > 0 and isinstance(currency, str) and currency):
        return {}
    return {"cost": cost, "currency": currency}
