"""Answers that cost much and may be a few seconds old."""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Remembered(Generic[T]):
    """Asks again once the answer is older than `seconds`. Who asks meanwhile waits for the same answer."""

    def __init__(self, question: Callable[[], T], seconds: float) -> None:
        self._question = question
        self._seconds = seconds
        self._lock = Lock()
        self._answer: tuple[float, T] | None = None

    def ask(self) -> T:
        """Return the answer. Raises what the question raises, and remembers no such end."""
        with self._lock:
            if self._answer is None or monotonic() - self._answer[0] > self._seconds:
                self._answer = (monotonic(), self._question())
            return self._answer[1]


class RememberedEach(Generic[K, T]):
    """Does so for each of the `most` things that were asked about last."""

    def __init__(self, question: Callable[[K], T], seconds: float, most: int) -> None:
        self._about = lru_cache(maxsize=most)(lambda asked: Remembered(partial(question, asked), seconds))

    def ask(self, asked: K) -> T:
        """Return the answer, as Remembered does."""
        return self._about(asked).ask()
