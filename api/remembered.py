"""Answers that cost much and may be a few seconds old."""

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


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
