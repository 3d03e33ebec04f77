"""What is remembered for as long as it was dear to find out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from logger import redact
from store.database import in_words

T = TypeVar("T")

DEAR: Final = 0.1  # seconds; what takes less is asked anew every time
TIMES: Final = 20  # so many times as long as it took it is good: one part in 21 of the time goes into asking
LATE: Final = 4  # so many times as long as that it is still told while somebody asks anew

logger = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    answer: T
    at: float
    good_for: float


class Lately(Generic[T]):
    """A question that is asked by one at a time. Who waited for another's answer takes it. Thread-safe."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._turn = Lock()
        self._known: _Known[T] | None = None

    def ask(self) -> T:
        """Tell the answer, at most LATE times as old as it is good for. Raises what the question raises."""
        asked_at, known = monotonic(), self._known
        age = 0.0 if known is None else asked_at - known.at
        if known is not None and age < known.good_for:
            return known.answer
        if known is not None and age < LATE * known.good_for:
            if self._turn.acquire(blocking=False):
                Thread(target=self._renew, name="lately", daemon=True).start()
            return known.answer
        with self._turn:
            known = self._known
            return known.answer if known is not None and known.at > asked_at else self._ask()

    def _renew(self) -> None:
        try:
            self._ask()
        except SQLAlchemyError as error:  # who asks once the answer is too old hears it
            logger.warning("an answer is not renewed: %s", redact(in_words(error)))
        finally:
            self._turn.release()

    def _ask(self) -> T:
        begun = monotonic()
        answer = self._question()
        took = monotonic() - begun
        self._known = _Known(answer, begun + took, TIMES * took if took > DEAR else 0.0)
        return answer
