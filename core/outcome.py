"""What a call to an agent, workflow or HTTP target can end in. Pure; knows no rows and no wire format.

AgentError(kind)          every failure, whatever the platform
AgentResult(status)       every answer that is one
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class ErrorKind(StrEnum):
    """Why a run failed: stored in `task_run.error_kind`, so the values are a public contract."""

    CONFIG = "config"  #: our side is set up wrongly: unknown endpoint, missing key, redirect
    AUTH = "auth"  #: 401, 403 and their disguises
    NOT_FOUND = "not_found"  #: no such agent, model, workflow or path
    INVALID = "invalid"  #: the platform refuses the request as it stands
    QUOTA = "quota"  #: money or plan limit: waiting does not help
    THROTTLED = "throttled"  #: too many requests: waiting helps
    BUSY = "busy"  #: one run at a time here, and one is running
    CONNECT = "connect"  #: nothing was sent: refused, unresolved, unreachable
    UNAVAILABLE = "unavailable"  #: 5xx, gateway pages
    REMOTE_FAILED = "remote_failed"  #: the agent ran and says it failed
    EMPTY = "empty"  #: the agent says success and gives no answer
    EXPECTATION = "expectation"  #: an answer, paid for, that fails a check of `expect`; it stays in `result`
    PROTOCOL = "protocol"  #: the answer is not what this platform speaks, or is too large
    TIMEOUT = "timeout"  #: our total deadline
    CANCELLED = "cancelled"  #: cut on request
    OUTCOME_UNKNOWN = "outcome_unknown"  #: sent, and then silence: it may have run
    WORKER_LOST = "worker_lost"  #: the worker stopped renewing its lease
    INTERNAL = "internal"  #: a defect of ours, caught at the edge

    @property
    def retryable(self) -> bool:
        """True where calling again may end differently; `max_retries` decides whether we may."""
        return self in RETRYABLE


RETRYABLE = frozenset(
    {
        ErrorKind.THROTTLED,
        ErrorKind.BUSY,
        ErrorKind.CONNECT,
        ErrorKind.UNAVAILABLE,
        ErrorKind.REMOTE_FAILED,
        ErrorKind.EMPTY,
        ErrorKind.EXPECTATION,  # the same question may be answered better; it costs again, which max_retries allows
        ErrorKind.TIMEOUT,
        ErrorKind.OUTCOME_UNKNOWN,
        ErrorKind.WORKER_LOST,
    }
)


#: The remote run may go on, or be over with an answer: a resume finds out, where the platform has one.
RESUMABLE = frozenset(
    {
        ErrorKind.THROTTLED,
        ErrorKind.CONNECT,
        ErrorKind.UNAVAILABLE,
        ErrorKind.OUTCOME_UNKNOWN,
        ErrorKind.WORKER_LOST,
    }
)


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One attempt's request, built from the run. `run_id` is the same on every attempt."""

    kind: Literal["agent", "workflow", "http"]
    target: str
    """agent_id, workflow_id, model, or the URL of an `http` task."""
    run_id: str
    timeout: float
    """Seconds in total for this attempt."""
    message: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    user: str = "system"
    conversation_id: str | None = None
    history: Sequence[tuple[str, str]] = ()
    """What was said before, oldest first, as (role, text); for models, which keep no conversations themselves."""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoteHandle:
    """What finds a remote run again: stored as JSON in `task_run.remote_handle` as soon as known."""

    provider: str
    ids: Mapping[str, str]
    resumable: bool = False
    """True where the next attempt may pick the run up; else the handle serves to cancel it only."""

    def as_text(self) -> str:
        """Write it for `task_run.remote_handle`."""
        return json.dumps(
            {"provider": self.provider, "ids": dict(self.ids), "resumable": self.resumable}, ensure_ascii=False
        )


def resumable_handle(text: str | None) -> RemoteHandle | None:
    """Read the handle of a run that the next attempt may pick up; None where there is none, or nobody can read it."""
    try:
        match json.loads(text or "null"):
            case {"provider": str() as provider, "ids": dict() as ids, "resumable": True}:
                return RemoteHandle(provider, ids, resumable=True)
    except ValueError:
        pass
    return None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money as the platform reports them. None means unknown, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class AgentResult:
    """An answer. `requires_action`: the agent asks for a human; `data` then holds what it asks."""

    status: Literal["succeeded", "requires_action"]
    text: str
    data: Any = None
    conversation_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    http_status: int | None = None
    request_id: str | None = None


class AgentError(Exception):
    """A call that failed, in words an operator understands. Never holds a credential."""

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        conversation_id: str | None = None,
        over: bool = False,
        answer: AgentResult | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.http_status = http_status
        self.retry_after = retry_after
        """Seconds the platform asks us to wait: a floor for our own back-off."""
        self.request_id = request_id
        self.conversation_id = conversation_id
        self.over = over
        """True where the remote run has ended, or is forgotten there: its handle finds nothing to go on with."""
        self.answer = answer
        """What came all the same, to be kept with its usage: the answer that fails an expectation."""
