"""Tells pages that something has changed: one look a second for everybody who watches, and none for nobody."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from logger import redact
from store.database import in_words
from trouble import Trouble

LOOK_SECONDS: Final = 1.0
APART_SECONDS: Final = 5.0
"""Where something changes all the time it is told that often: each telling makes every page ask for itself anew."""
MOST_WATCHERS: Final = 500
AWAY: Final = "away"  # the ledger does not answer; a page that asks then hears it too

logger = logging.getLogger("api")


class Pulse:
    """Follows one text that is another one after a change. For one event loop."""

    def __init__(self, feel: Callable[[], str]) -> None:
        self._feel = feel
        self.told = ""
        """What watchers know; empty while nobody watches."""
        self.watchers = 0
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._trouble = Trouble(logger, "pages are told of changes again")

    @property
    def is_full(self) -> bool:
        """True where no more may watch."""
        return self.watchers >= MOST_WATCHERS

    async def follow(self) -> AsyncGenerator[str]:
        """Yield the text as it is, and after every change."""
        self.watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        known = ""
        try:
            while True:
                while self.told == known:
                    await self._changed.wait()
                known = self.told
                yield known
        finally:
            self.watchers -= 1

    async def _look(self) -> None:
        """Look once a second; end where nobody watches."""
        told_at = -APART_SECONDS
        while self.watchers:
            try:
                seen = await asyncio.to_thread(self._feel)
            except SQLAlchemyError as error:
                reason = redact(in_words(error))
                self._trouble.goes_on(f"pages are not told of changes: {reason}")
                seen = AWAY
            else:
                self._trouble.is_over()
            if seen != self.told and monotonic() - told_at >= APART_SECONDS:
                self.told, told_at = seen, monotonic()
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(LOOK_SECONDS)
        self.told = ""
