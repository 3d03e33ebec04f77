"""What an A2A task or message, of protocol 0.3 or 1.0, says about the run that it is. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from core.outcome import AgentError, AgentResult, ErrorKind
from providers.content import excerpt, json_text, plain_text

_GOES_ON: Final = frozenset({"submitted", "working"})
_ASKS: Final = frozenset({"input-required", "auth-required"})


def read_answer(result: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """The task or message of a result: 1.0 wraps it when it answers a message, else it is the result itself.

    Raises AgentError PROTOCOL for what is neither.
    """
    for answer in (result.get("task"), result.get("message"), result):
        match answer:
            case {"id": str(), "status": {"state": str()}} | {"parts": list()} if isinstance(answer, Mapping):
                return answer
    raise AgentError(
        ErrorKind.PROTOCOL, f"{source} answered with neither task nor message; it began: {excerpt(json_text(result))}"
    )


def conversation_of(answer: Mapping[str, Any]) -> str | None:
    """The context that the next message may go on in."""
    context_id = answer.get("contextId")
    return context_id if isinstance(context_id, str) and context_id else None


def verdict(answer: Mapping[str, Any], source: str) -> AgentResult | None:
    """What a task or message amounts to; None while the task goes on. Raises AgentError for one that has failed."""
    if "status" not in answer:
        return _answered(answer, _text(answer), _data(answer), source)
    state = answer["status"]["state"].removeprefix("TASK_STATE_").lower().replace("_", "-")
    said = answer["status"].get("message")
    said = said if isinstance(said, Mapping) else {}
    if state in _GOES_ON:
        return None
    if state in _ASKS:
        return AgentResult("requires_action", _text(said), said or {"state": state}, conversation_of(answer))
    if state == "completed":
        artifacts = answer.get("artifacts")
        made = [each for each in artifacts if isinstance(each, Mapping)] if isinstance(artifacts, list) else []
        text = "\n\n".join(text for artifact in made if (text := _text(artifact)).strip())
        data = [value for artifact in made for value in _data(artifact)]
        return _answered(answer, text or ("" if data else _last_words(answer, said)), data, source)
    words = excerpt(_text(said)) or "nothing more"
    match state:
        case "failed":
            raise AgentError(ErrorKind.REMOTE_FAILED, f"{source}: the task failed there. It said: {words}")
        case "rejected":
            raise AgentError(ErrorKind.INVALID, f"{source}: the agent rejects the task. It said: {words}")
        case "canceled" | "cancelled":
            raise AgentError(ErrorKind.CANCELLED, f"{source}: somebody cancelled the task there. It said: {words}")
    raise AgentError(ErrorKind.PROTOCOL, f"{source}: a task in an unknown state {excerpt(state)!r}")


def _answered(answer: Mapping[str, Any], text: str, data: list[Any], source: str) -> AgentResult:
    if not text.strip() and not data:
        raise AgentError(ErrorKind.EMPTY, f"{source}: the agent is done and gave no answer")
    found = data[0] if len(data) == 1 else data or None
    return AgentResult("succeeded", text if text.strip() else json_text(found), found, conversation_of(answer))


def _last_words(task: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """What an agent without artifacts said: with its status, else as the task's last message, never an older one."""
    if text := _text(said):
        return text
    match task.get("history"):
        case [*_, {"role": "agent" | "ROLE_AGENT"} as last]:
            return _text(last)
    return ""


def _parts(owner: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = owner.get("parts")
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _text(owner: Mapping[str, Any]) -> str:
    return "".join(plain_text(part) for part in _parts(owner))


def _data(owner: Mapping[str, Any]) -> list[Any]:
    """What is no text: data as such, files with their names and addresses."""
    return [part.get("data", part) for part in _parts(owner) if not isinstance(part.get("text"), str)]
