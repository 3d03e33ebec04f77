"""FastGPT's applications: chats, workflows and plugins behind its own kind of chat completions.

Base URL: `https://host/api`; a trailing `/v1` or `/v2` does no harm, and a URL without any path gets `/api`. The
endpoint's key names the app, so `agent_id` and `workflow_id` of a task are not sent; a key of an account, which names
none, needs the option `app_id`.

Every error comes with HTTP 500, or with 200 in older versions; the code in its body tells what it is. The conversation
(`chatId`) is the task's, or named after the run: a further attempt sees there what an earlier one left.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, RemoteHandle
from providers.base import CallContext
from providers.content import decode_json
from providers.fastgpt_answer import from_body, from_stream, judge, verdict
from providers.http import base_of, below, exchange, is_event_stream, origin, read, request_id
from providers.options import FLAG, NUMBER, TEXT, Rules, check

_COMMON_OPTIONS: Final[Rules] = {
    "version": frozenset({"v1", "v2"}),
    "app_id": TEXT,
    "stream": FLAG,
    "idle_timeout": NUMBER,
}
_AGENT_OPTIONS: Final[Rules] = {**_COMMON_OPTIONS, "variables": (dict,), "strip_reasoning": FLAG}
_WORKFLOW_OPTIONS: Final[Rules] = {**_COMMON_OPTIONS, "message": TEXT, "output": TEXT}


class FastGPT:
    """Adapter of `POST {base}/v1/chat/completions` and its version 2. Options:

    - `version` (`v1`): `v1` or `v2`
    - `app_id`: the app, for keys of an account; with it newer versions can stop a run
    - `stream` (true)
    - `idle_timeout`: seconds of silence that end a call; off by default
    - agent tasks: `variables` of the app; `strip_reasoning` (false): drop a leading `<think>…</think>`
    - workflow tasks, whose `inputs` are the variables: `message`, for a workflow that also takes a question; `output`:
      the one output that is the answer, by default the only one, or all of them as JSON
    """

    name = "fastgpt"
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        check(options, _AGENT_OPTIONS if kind == "agent" else _WORKFLOW_OPTIONS, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt. Nothing finds a run of FastGPT again, so its handle serves to stop it only."""
        options = request.options
        chat_id = request.conversation_id or request.run_id
        url = below(_base(context), options.get("version", "v1"), "chat", "completions")
        body = _body(request, chat_id)
        idle = options.get("idle_timeout")
        if "app_id" in options:
            ids = {"app_id": options["app_id"], "chat_id": chat_id, "run_id": request.run_id}
            await context.on_handle(RemoteHandle(self.name, ids))
        try:
            async with exchange(context, request, "POST", url, json=body, idle=idle, judge=judge) as response:
                if is_event_stream(response):
                    draft = await from_stream(response, context)
                else:
                    draft = from_body(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
                return replace(
                    verdict(draft, request, origin(url)),
                    conversation_id=chat_id,
                    http_status=response.status_code,
                    request_id=request_id(response, request),
                )
        except AgentError as error:
            error.conversation_id = chat_id
            raise

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop what runs in the conversation; older versions have no such call and go on, or notice the hang-up."""
        ids = handle.ids
        request = AgentRequest(kind="agent", target="", run_id=ids["run_id"], timeout=5)
        url = below(_base(context), "v2", "chat", "stop")
        body = {"appId": ids["app_id"], "chatId": ids["chat_id"]}
        try:
            async with exchange(context, request, "POST", url, json=body) as response:
                match decode_json(await read(response, context.max_bytes), origin(url)):
                    case {"code": code} if code != 200:
                        return False
                return True
        except AgentError:
            return False


def _base(context: CallContext) -> httpx.URL:
    base = base_of(context.endpoint)
    path = base.path.rstrip("/").removesuffix("/v1").removesuffix("/v2")
    return base.copy_with(path=path or "/api")


def _body(request: AgentRequest, chat_id: str) -> dict[str, Any]:
    """The request; with `detail`, for only the nodes' reports tell tokens, outputs and what failed."""
    options = request.options
    is_agent = request.kind == "agent"
    message = request.message if is_agent else options.get("message")
    body = {
        "chatId": chat_id,
        "stream": options.get("stream", True),
        "detail": True,
        "messages": [] if message is None else [{"role": "user", "content": message}],
        "variables": options.get("variables", {}) if is_agent else dict(request.inputs),
        "customUid": request.user,
    }
    if "app_id" in options:
        body["appId"] = options["app_id"]
    return body
