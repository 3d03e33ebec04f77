"""An answer of the model or agent of ASSISTANT_ENDPOINT: what was said before, the call, and what it took."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine

from config import Settings
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind
from endpoints import DEFAULT
from packs.agent_call import ask, endpoint_named
from packs.assistant import store
from packs.assistant.turns import in_turn
from packs.task import AnyTask
from providers.base import Endpoint
from store.database import autocommit

CALL_SECONDS: Final = 120.0
MAX_CONVERSATION: Final = 255
MAX_USER: Final = 191
REMEMBERED: Final = 20  # messages of a conversation that a model is shown
ROLES: Final = ("user", "assistant")
SPEAKERS: Final = {"user": "User", "assistant": "Assistant"}

#: Models take a system prompt, the history and these options, each by its own names; agents have settings of their own.
MODELS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {"system_prompt": "system", "temperature": "temperature", "max_tokens": "max_tokens"},
    "openai_responses": {
        "system_prompt": "instructions",
        "temperature": "temperature",
        "max_tokens": "max_output_tokens",
    },
    "anthropic": {"system_prompt": "system", "temperature": "temperature", "max_tokens": "max_tokens"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `history` None: what the database remembers of the conversation."""

    conversation_id: str
    user_message: str
    history: Sequence[Mapping[str, Any]] | None = None
    system_prompt: str | None = None
    temperature: float = 0.7
    max_tokens: int | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer. `result` is None where an earlier attempt of the run had it: then `details` tell what that took."""

    text: str
    details: Mapping[str, Any]
    result: AgentResult | None


def answer(task: AnyTask, question: Question, engine: Engine, settings: Settings, run_id: str) -> Answered:
    """Ask, and remember question and answer in the conversation. Raises AgentError.

    A run whose answer is remembered already is not asked again: it was paid for.
    """
    if not 1 <= len(question.conversation_id) <= MAX_CONVERSATION or not question.user_message.strip():
        what = f"conversation_id takes 1 to {MAX_CONVERSATION} characters, and user_message some text"
        raise AgentError(ErrorKind.INVALID, what)
    if len(question.user_id or "") > MAX_USER:
        raise AgentError(ErrorKind.INVALID, f"user_id takes up to {MAX_USER} characters")
    if not settings.assistant_agent:
        raise AgentError(ErrorKind.CONFIG, "ASSISTANT_AGENT is not set: name the agent or model that is to answer")
    with autocommit(engine) as connection:
        known = store.answer_of(connection, run_id)
        if known is not None:
            return Answered(known.content, json.loads(known.details or "{}"), None)
        history = _history(question, store.history(connection, question.conversation_id, REMEMBERED))
        name = settings.assistant_endpoint or DEFAULT
        endpoint, prices = endpoint_named(connection, name, settings)
    request = _request(question, history, endpoint, settings.assistant_agent, run_id)
    result = ask(task, endpoint, request, settings, prices)
    if result.status == "requires_action":
        raise AgentError(ErrorKind.INVALID, f"{endpoint.name}: the agent asks for a human, who is not there")
    details = {
        "tokens": _tokens(result),
        "cost": result.usage.cost,
        "currency": result.usage.currency,
        "model": settings.assistant_agent,
    }
    in_turn(
        engine,
        lambda tx: store.enter_exchange(
            tx,
            question.conversation_id,
            run_id,
            question.user_id,
            question.user_message,
            result.text,
            details,
        ),
    )
    return Answered(result.text, details, result)


def _history(question: Question, remembered: Sequence[Any]) -> list[tuple[str, str]]:
    """Take the history that was given, else the remembered one. Raises AgentError INVALID."""
    if question.history is None:
        return [(row.role, row.content) for row in remembered]
    given = []
    for at, message in enumerate(question.history):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            wanted = 'use {"role": "user" or "assistant", "content": "..."}'
            raise AgentError(ErrorKind.INVALID, f"conversation_history[{at}]: {wanted}; for the system: system_prompt")
        given.append((str(role), content))
    return given


def _request(
    question: Question, history: Sequence[tuple[str, str]], endpoint: Endpoint, agent: str, run_id: str
) -> AgentRequest:
    names = MODELS.get(endpoint.provider)
    options = {
        name: value
        for name, value in (
            ("system_prompt", question.system_prompt),
            ("temperature", question.temperature),
            ("max_tokens", question.max_tokens),
        )
        if value is not None
    }
    return AgentRequest(
        kind="agent",
        target=agent,
        run_id=run_id,
        timeout=CALL_SECONDS,
        message=question.user_message if names else _transcript(question, history),
        user=question.user_id or "system",
        history=tuple(history) if names else (),
        options={} if names is None else {names[name]: value for name, value in options.items()},
    )


def _transcript(question: Question, history: Sequence[tuple[str, str]]) -> str:
    """Put all into one message, for agents that take nothing else."""
    if not history and not question.system_prompt:
        return question.user_message
    said = [f"{SPEAKERS[role]}: {text}" for role, text in (*history, ("user", question.user_message))]
    return "\n\n".join(filter(None, (question.system_prompt, *said)))


def _tokens(result: AgentResult) -> dict[str, int | None]:
    asked, made = result.usage.input_tokens, result.usage.output_tokens
    total = None if asked is None or made is None else asked + made
    return {"prompt": asked, "completion": made, "total": total}
