"""The states of a run as Celery's own words have them: what AsyncResult, Flower and the seeds' APIs show."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from core.lifecycle import State


class CeleryWord(StrEnum):
    """The states that Celery knows."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"


_SHOWN: Final = {
    State.QUEUED: CeleryWord.PENDING,
    State.SKIPPED: CeleryWord.REVOKED,
    State.REQUIRES_ACTION: CeleryWord.SUCCESS,
}


def in_celery_words(state: str) -> CeleryWord:
    """Say a state as Celery would: QUEUED is PENDING, SKIPPED is REVOKED, REQUIRES_ACTION is SUCCESS."""
    return _SHOWN.get(State(state)) or CeleryWord(state)


def states_of(word: CeleryWord | None) -> Sequence[State]:
    """Name the states that a word stands for; none: all, said by no state."""
    return () if word is None else [state for state in State if in_celery_words(state) is word]
