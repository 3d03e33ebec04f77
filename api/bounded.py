"""Blocking questions to servers that may hang, asked from the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One question in one thread, shared by everybody who asks meanwhile.

    Who asks waits at most `seconds`; a server that hangs costs this one thread, however many ask. The
    question must raise nothing: nobody may be left to hear it.
    """

    def __init__(self, question: Callable[..., T], seconds: float) -> None:
        self._question = question
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe")
        self._asked: asyncio.Future[T] | None = None

    async def ask(self, *arguments: Any) -> T | None:
        """Return the answer, or None after `seconds`. The arguments of who asked first count."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._question, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked), self._seconds)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Ask no more; a question under way ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
