"""Blocking questions to servers that may hang, asked from the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One question in one thread, shared by everybody who asks meanwhile.

    Who asks waits at most `seconds`; a server that hangs costs this one thread, however many ask, and for `rests`
    seconds after somebody has waited in vain nobody waits again. The question must raise nothing: nobody may be
    left to hear it.
    """

    def __init__(self, question: Callable[..., T], seconds: float, rests: float = 0.0) -> None:
        self._question = question
        self._seconds = seconds
        self._rests = rests
        self._rests_until = float("-inf")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe")
        self._asked: asyncio.Future[T] | None = None

    async def ask(self, *arguments: Any) -> T | None:
        """Return the answer, or None after `seconds`. The arguments of who asked first count."""
        if monotonic() < self._rests_until:
            return None
        if self._asked is None or self._asked.done():
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._question, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked), self._seconds)
        except TimeoutError:
            self._rests_until = monotonic() + self._rests
            return None

    def close(self) -> None:
        """Ask no more; a question under way ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
