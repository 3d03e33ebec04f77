"""Holds: what an operator has stopped for a while, and which of a task's runs that concerns. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.task_config import AnyConfig

DEFAULT_ENDPOINT: Final = "default"
CALLS_AGENTS: Final = frozenset({"agent", "workflow"})  # others have an endpoint only where they name one
TOLD_CHARS: Final = 500  # what a fired run's `error` takes
MARK: Final = "held by hold "
"""What the reason begins with that a run gives for waiting."""


class Scope(StrEnum):
    """Stored in `hold.scope`: what `hold.name` names."""

    EVERYTHING = "everything"
    QUEUE = "queue"
    TAG = "tag"
    ENDPOINT = "endpoint"


class Mode(StrEnum):
    """Stored in `hold.mode`: what becomes of the runs."""

    WAIT = "wait"  #: they start when the hold ends
    SKIP = "skip"  #: they become SKIPPED, those that fall due and those that wait already


@dataclass(frozen=True, slots=True)
class Hold:
    """One row of `hold` that is in force."""

    id: int
    scope: Scope
    name: str | None
    mode: Mode
    reason: str
    ends_at: datetime | None

    def concerns(self, queue: str, endpoint: str | None, tags: Callable[[], str | None]) -> bool:
        """Tell whether it stops a run. `tags` is asked only where a tag is held."""
        match self.scope:
            case Scope.EVERYTHING:
                return True
            case Scope.QUEUE:
                return self.name == queue
            case Scope.ENDPOINT:
                return self.name == endpoint
            case Scope.TAG:
                return self.name in [tag.strip() for tag in (tags() or "").split(",")]

    @property
    def told(self) -> str:
        """Say it in `error` of a run."""
        what = self.scope if self.name is None else f"{self.scope} {self.name}"
        until = f", until {self.ends_at:%Y-%m-%d %H:%M:%S} UTC" if self.ends_at else ""
        return f"{MARK}{self.id} ({what}{until}): {self.reason}"[:TOLD_CHARS]


def holding(holds: Iterable[Hold], queue: str, config: AnyConfig, tags: Callable[[], str | None]) -> Hold | None:
    """Find the first hold that stops a run."""
    endpoint = config.endpoint or (DEFAULT_ENDPOINT if config.task_type in CALLS_AGENTS else None)
    return next((hold for hold in holds if hold.concerns(queue, endpoint, tags)), None)
