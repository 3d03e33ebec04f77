"""Coze v3: chats with a bot, and workflows; the cloud (api.coze.com, api.coze.cn) and self-hosted coze-studio.

Base URL: `https://api.coze.com`. The endpoint's key is a personal or service access token.

| task                       | request                                                                              |
|----------------------------|--------------------------------------------------------------------------------------|
| agent (`agent_id`: bot id) | POST {base}/v3/chat; then GET /v3/chat/retrieve and /v3/chat/message/list            |
| workflow                   | POST {base}/v1/workflow/run or stream_run; then GET /v1/workflows/{id}/run_histories |

Failures come with HTTP 200 in an envelope `{"code": 4000, "msg": …}`, on streams too. A streamed chat is whole at
`conversation.chat.completed`, a streamed workflow at `Done`.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers.base import CallContext
from providers.content import decode_json, plain_text
from providers.coze_wire import NAME, ask, came, failure, forgotten, judge, opened, usage_of
from providers.coze_workflow import run_workflow, wait_for_workflow
from providers.http import base_of, below, events, exchange, is_event_stream, origin, read
from providers.options import FLAG, NUMBER, TEXT, Rules, check
from providers.polling import until

_AGENT_OPTIONS: Final[Rules] = {
    "stream": FLAG,
    "auto_save_history": FLAG,
    "custom_variables": (dict,),
    "parameters": (dict,),
    "meta_data": (dict,),
    "idle_timeout": NUMBER,
}
_WORKFLOW_OPTIONS: Final[Rules] = {
    "stream": FLAG,
    "is_async": FLAG,
    "bot_id": TEXT,
    "app_id": TEXT,
    "ext": (dict,),
    "output": TEXT,
    "idle_timeout": NUMBER,
}
_HANDED_ON: Final = ("custom_variables", "parameters", "meta_data")
_CANNOT_BE_CANCELLED: Final = 4104  # it has ended already


class Coze:
    """Adapter of Coze. Options of an agent task:

    - `stream` (true): false asks for the chat's state instead, every few seconds
    - `auto_save_history` (true): without it a chat cannot be found again after its connection is lost
    - `custom_variables`, `parameters`, `meta_data`: handed to Coze

    and of a workflow task:

    - `stream`: call `stream_run`, which also tells of questions to a human; `is_async`: begin the run and ask for its
      state, for up to 24 hours (a paid plan). Without either the call blocks, and Coze cuts it after 90 seconds.
    - `bot_id` or `app_id`, `ext`: handed to Coze
    - `output`: the one output that is the answer; default: the only one, or all of them as JSON

    Both: `idle_timeout`, seconds of silence that end a call; off by default.
    """

    name = NAME
    kinds = frozenset({"agent", "workflow"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take, and for two that exclude each other."""
        check(options, _AGENT_OPTIONS if kind == "agent" else _WORKFLOW_OPTIONS, owner=f"{self.name} ({kind})")
        for one, other in (("bot_id", "app_id"), ("stream", "is_async")):
            if options.get(one) and options.get(other):
                raise AgentError(ErrorKind.CONFIG, f"options {one!r} and {other!r} exclude each other; keep one")
        if kind == "agent" and not options.get("stream", True) and not options.get("auto_save_history", True):
            raise AgentError(
                ErrorKind.CONFIG, "without 'stream' Coze needs 'auto_save_history'; set one of them to true"
            )

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt. A chat begins a conversation of its own unless the task names one."""
        return await (run_workflow if request.kind == "workflow" else _run_chat)(context, request)

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a chat, or of an asynchronous workflow run, that an earlier attempt began."""
        if "execute_id" in handle.ids:
            return await wait_for_workflow(context, request, handle, at_once=True)
        return await _wait_for_chat(context, request, handle, at_once=True)

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Stop a chat; one that has ended already counts as stopped. Workflow runs have no such call."""
        ids = handle.ids
        if "execute_id" in ids:
            return False
        request = AgentRequest(kind="agent", target="", run_id=ids["run_id"], timeout=5)
        url = below(base_of(context.endpoint), "v3", "chat", "cancel")
        body = {"conversation_id": ids["conversation_id"], "chat_id": ids["chat_id"]}
        try:
            async with exchange(context, request, "POST", url, json=body) as response:
                match decode_json(await read(response, context.max_bytes), origin(url)):
                    case {"code": int() as code}:
                        return code in {0, _CANNOT_BE_CANCELLED}
                return False
        except AgentError:
            return False


async def _run_chat(context: CallContext, request: AgentRequest) -> AgentResult:
    url = below(base_of(context.endpoint), "v3", "chat")
    if request.conversation_id is not None:
        url = url.copy_merge_params({"conversation_id": request.conversation_id})
    idle = request.options.get("idle_timeout")
    body = _body(request)
    draft = _Draft(conversation_id=request.conversation_id)
    try:
        async with exchange(context, request, "POST", url, json=body, idle=idle, judge=judge) as response:
            if is_event_stream(response):
                result = await _streamed(response, context, request, draft)
                return replace(result, **came(response, request))
            envelope = opened(decode_json(await read(response, context.max_bytes), origin(url)), origin(url))
        handle = _handle(envelope.get("data"), request)
        if handle is None:
            raise AgentError(ErrorKind.PROTOCOL, f"{origin(url)} began a chat and did not name it")
        draft.conversation_id = handle.ids["conversation_id"]
        await context.on_handle(handle)
        return await _wait_for_chat(context, request, handle, at_once=False)
    except AgentError as error:
        error.conversation_id = draft.conversation_id
        raise


def _body(request: AgentRequest) -> dict[str, Any]:
    options = request.options
    question = {"role": "user", "type": "question", "content": request.message, "content_type": "text"}
    return {
        "bot_id": request.target,
        "user_id": request.user,
        "stream": options.get("stream", True),
        "auto_save_history": options.get("auto_save_history", True),
        "additional_messages": [question],
        **{name: options[name] for name in _HANDED_ON if name in options},
    }


def _handle(chat: Any, request: AgentRequest) -> RemoteHandle | None:
    match chat:
        case {"id": str() as chat_id, "conversation_id": str() as conversation_id}:
            ids = {"chat_id": chat_id, "conversation_id": conversation_id, "run_id": request.run_id}
            return RemoteHandle(NAME, ids, resumable=bool(request.options.get("auto_save_history", True)))
    return None


@dataclass(slots=True)
class _Draft:
    """A chat while it goes on."""

    conversation_id: str | None = None
    answers: list[str] = field(default_factory=list)


async def _streamed(
    response: httpx.Response, context: CallContext, request: AgentRequest, draft: _Draft
) -> AgentResult:
    source = origin(response.url)
    handle = None
    async with aclosing(events(response, context.max_bytes)) as arriving:
        async for event in arriving:
            if event.event == "done":
                break
            body = decode_json(event.data, source) if event.data else {}
            if not isinstance(body, Mapping):
                raise AgentError(ErrorKind.PROTOCOL, f"{source} sent an event that is no object")
            match event.event:
                case "conversation.message.delta" if body.get("type") == "answer":
                    context.on_text(plain_text(body.get("content")))
                case "conversation.message.completed" if body.get("type") == "answer":
                    draft.answers.append(_content(body))
                case "error":
                    raise failure(body.get("code"), body.get("msg"), source)
                case str() as name if name.startswith("conversation.chat."):
                    if handle is None and (handle := _handle(body, request)) is not None:
                        draft.conversation_id = handle.ids["conversation_id"]
                        await context.on_handle(handle)
                    if (result := _verdict(name.rpartition(".")[2], body, draft.answers, source)) is not None:
                        return replace(result, conversation_id=draft.conversation_id)
    raise AgentError(ErrorKind.OUTCOME_UNKNOWN, f"{source}: the stream stopped before the chat's end; it may have run")


async def _wait_for_chat(
    context: CallContext, request: AgentRequest, handle: RemoteHandle, *, at_once: bool
) -> AgentResult:
    """Ask for a chat until it has ended, then for its messages; nothing is sent to the bot. Raises AgentError."""
    chat_of = {name: handle.ids[name] for name in ("conversation_id", "chat_id")}
    base = below(base_of(context.endpoint), "v3", "chat")
    source = origin(base)

    def ended(chat: Mapping[str, Any], messages: Any, exchanged: dict[str, Any]) -> AgentResult | None:
        result = _verdict(str(chat.get("status")), chat, _answers(messages), source)
        return None if result is None else replace(result, conversation_id=chat_of["conversation_id"], **exchanged)

    def state(chat: Any, exchanged: dict[str, Any]) -> AgentResult | Mapping[str, Any] | None:
        if not isinstance(chat, Mapping):
            raise AgentError(ErrorKind.PROTOCOL, f"{source} did not tell how the chat goes")
        return chat if chat.get("status") == "completed" else ended(chat, [], exchanged)

    async def look() -> AgentResult | None:
        chat = await ask(context, request, below(base, "retrieve").copy_merge_params(chat_of), state)
        if not isinstance(chat, Mapping):
            return chat
        messages = below(base, "message", "list").copy_merge_params(chat_of)
        return await ask(context, request, messages, lambda found, exchanged: ended(chat, found, exchanged))

    try:
        return await until(look, at_once=at_once)
    except AgentError as error:
        error.conversation_id = chat_of["conversation_id"]
        if error.http_status == 404:
            raise forgotten(source, error) from error
        raise


def _verdict(status: str, chat: Mapping[str, Any], answers: list[str], source: str) -> AgentResult | None:
    """What a chat amounts to in this state; None while it goes on. Raises AgentError."""
    usage = usage_of(chat.get("usage"))
    text = "\n".join(answer for answer in answers if answer.strip())
    match status:
        case "created" | "in_progress":
            return None
        case "completed" if text:
            return AgentResult("succeeded", text, usage=usage)
        case "completed":
            raise AgentError(ErrorKind.EMPTY, f"{source}: the chat ended well and holds no answer")
        case "requires_action":
            return AgentResult("requires_action", text, chat.get("required_action") or {"status": status}, usage=usage)
        case "canceled":
            raise AgentError(ErrorKind.CANCELLED, f"{source}: the chat was cancelled there")
        case "failed":
            error = chat.get("last_error")
            error = error if isinstance(error, Mapping) else {}
            raise failure(error.get("code"), error.get("msg") or "the chat failed", source, over=True)
    raise AgentError(ErrorKind.PROTOCOL, f"{source} gave a chat the unknown status {status!r}")


def _answers(messages: Any) -> list[str]:
    """The bot's answers among the messages of a chat, which also hold its tool calls and follow-up questions."""
    found = messages if isinstance(messages, list) else []
    return [_content(message) for message in found if isinstance(message, Mapping) and message.get("type") == "answer"]


def _content(message: Mapping[str, Any]) -> str:
    """A message's text; one of several parts is a list of them, as JSON in a string."""
    content = plain_text(message.get("content"))
    if message.get("content_type") != "object_string":
        return content
    try:
        return plain_text(decode_json(content, "the message")) or content
    except AgentError:
        return content
