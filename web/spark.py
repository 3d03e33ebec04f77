"""A row's last runs as a line of small bars: green as high as the run was long, red and full where it failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.lifecycle import State
from store.database import AnyRow

HEIGHT: Final = 18
STEP: Final = 5
WIDTH: Final = 3
LOWEST: Final = 4
TONES: Final = {State.SUCCESS: "ok", State.FAILURE: "bad", State.STARTED: "run", State.REQUIRES_ACTION: "ask"}
FULL: Final = (State.FAILURE, State.REQUIRES_ACTION)


@dataclass(frozen=True, slots=True)
class Bar:
    """One run, in pixels."""

    x: int
    height: int
    tone: str


@dataclass(frozen=True, slots=True)
class Spark:
    """The bars, oldest first, and what they come to."""

    bars: Sequence[Bar]
    succeeded: int
    failed: int


def spark_of(rows: Sequence[AnyRow]) -> Spark:
    """Draw runs, oldest first."""
    longest = max((_seconds(row) for row in rows), default=0.0)
    states = [row.state for row in rows]
    bars = [Bar(STEP * at, _height(row, longest), TONES.get(row.state, "idle")) for at, row in enumerate(rows)]
    return Spark(bars, states.count(State.SUCCESS), states.count(State.FAILURE))


def _height(row: AnyRow, longest: float) -> int:
    if row.state in FULL:
        return HEIGHT
    return LOWEST + round((HEIGHT - LOWEST) * _seconds(row) / longest) if longest and row.state in TONES else LOWEST


def _seconds(row: AnyRow) -> float:
    if isinstance(row.started_at, datetime) and isinstance(row.finished_at, datetime):
        return max((row.finished_at - row.started_at).total_seconds(), 0.0)
    return 0.0
