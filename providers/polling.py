"""Waiting for a remote run by asking how it goes: ever less often, and through short troubles.

The total deadline is `providers.call`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from core.outcome import RESUMABLE, AgentError, ErrorKind

FIRST_SECONDS: Final = 1.0
GROWTH: Final = 1.5
LONGEST_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 30.0  # one question: a server that drips its answer must not take the whole deadline
PATIENCE: Final = 3

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, at_once: bool = False) -> T:
    """Ask until there is an answer; `look` gives None while the run goes on. Raises AgentError.

    `at_once`: ask before the first wait, for a run that an earlier attempt began. Asking changes nothing, so three
    failures in a row that say nothing of the run are ridden out. The fourth passes through, and so does one that asks
    for a longer wait than ours: the ledger can wait without holding a thread, and the next attempt goes on.
    """
    pause, failed = FIRST_SECONDS, 0
    if not at_once:
        await asyncio.sleep(pause)
    while True:
        try:
            found = await _bounded(look)
        except AgentError as error:
            failed += 1
            wait = error.retry_after or 0.0
            if error.over or error.kind not in RESUMABLE or failed > PATIENCE or wait > LONGEST_SECONDS:
                raise
            pause = max(pause, wait)
        else:
            if found is not None:
                return found
            failed = 0
        await asyncio.sleep(pause)
        pause = min(pause * GROWTH, LONGEST_SECONDS)


async def _bounded(look: Callable[[], Awaitable[T | None]]) -> T | None:
    try:
        async with asyncio.timeout(LOOK_SECONDS) as limit:
            return await look()
    except TimeoutError as error:
        if not limit.expired():
            raise
        why = f"asked how the run goes, and had no whole answer within {LOOK_SECONDS:g} s"
        raise AgentError(ErrorKind.OUTCOME_UNKNOWN, why) from error
