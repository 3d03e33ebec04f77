"""What a LangGraph agent's state says about the run that has just produced it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.outcome import AgentError, AgentResult, ErrorKind, Usage
from providers.content import plain_text, read_usage

_HUMAN: Final = frozenset({"human", "user", "HumanMessage"})
_AI: Final = frozenset({"ai", "assistant", "AIMessage", "AIMessageChunk"})


@dataclass(frozen=True, slots=True)
class RunState:
    """The newest answer in a state. A thread remembers older ones: they count neither as text nor as tokens."""

    text: str = ""
    usage: Usage = field(default_factory=Usage)
    interrupt: Any = None
    """What the graph asks a human for; an empty list is a pause too. None: it asks nothing."""

    def result(self, source: str) -> AgentResult:
        """The verdict, once the run is known to have ended. Raises AgentError EMPTY."""
        if self.interrupt is not None:
            return AgentResult("requires_action", self.text, data=self.interrupt, usage=self.usage)
        if not self.text.strip():
            raise AgentError(ErrorKind.EMPTY, f"{source}: the run ended well and gave no answer")
        return AgentResult("succeeded", self.text, usage=self.usage)


def read_state(state: Any) -> RunState:
    """Read one state: a `values` payload, an `updates` payload (for its interrupt), or `[[mode, payload], …]`."""
    if isinstance(state, list):
        payloads = [part[1] for part in state if isinstance(part, list) and len(part) == 2 and part[0] == "values"]
        return read_state(payloads[-1]) if payloads else RunState()
    if not isinstance(state, Mapping):
        return RunState()
    messages = state.get("messages")
    new = _since_question(messages if isinstance(messages, list) else [])
    answers = [message for message in new if _is(message, _AI)]
    interrupt = state.get("__interrupt__", _unanswered_tools(new))
    return RunState(
        text=plain_text(answers[-1].get("content")) if answers else "",
        usage=_usage_of(answers),
        interrupt=[] if "__interrupt__" in state and interrupt is None else interrupt,
    )


def _since_question(messages: Sequence[Any]) -> Sequence[Any]:
    """The messages after the last human one: what this run has added."""
    asked = max((index for index, message in enumerate(messages) if _is(message, _HUMAN)), default=-1)
    return messages[asked + 1 :]


def _unanswered_tools(new: Sequence[Any]) -> Any:
    """Tool calls in the very last message: the graph stopped before them, for somebody to approve."""
    match new:
        case [*_, {"tool_calls": [_, *_] as calls} as last] if _is(last, _AI):
            return {"tool_calls": calls}
    return None


def _is(message: Any, names: frozenset[str]) -> bool:
    return isinstance(message, Mapping) and str(message.get("type") or message.get("role")) in names


def _usage_of(answers: Sequence[Mapping[str, Any]]) -> Usage:
    reports = (message.get("usage_metadata") for message in answers)
    return read_usage(*(report for report in reports if isinstance(report, Mapping)))
