"""Runs that somebody watches: one query a second reads them all, however many watch; without watchers none is made."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core.lifecycle import FINAL
from logger import redact
from store import overview
from store.database import AnyRow, autocommit
from trouble import Trouble

POLL_SECONDS: Final = 1.0

logger = logging.getLogger("api")


@dataclass(slots=True)
class _Watched:
    """One run that somebody watches. `row` None: it is gone."""

    row: AnyRow | None
    watchers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class RunWatch:
    """Tells watchers of every change that a look, once a second, can see. For one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None
        self._trouble = Trouble(logger, "watched runs are read again")

    @property
    def watchers(self) -> int:
        """How many watch."""
        return sum(each.watchers for each in self._watched.values())

    async def follow(self, seen: AnyRow) -> AsyncGenerator[AnyRow]:
        """Yield a run as it is, and after every change, until it is final, or gone from the ledger."""
        watched = self._watched.setdefault(seen.id, _Watched(seen))
        watched.watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            row: AnyRow | None = seen
            while row is not None:
                yield row
                if row.state in FINAL:
                    return
                while watched.row == row:
                    await watched.changed.wait()
                row = watched.row
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                self._watched.pop(seen.id, None)

    async def _look(self) -> None:
        """Read what is watched once a second; end where nobody watches."""
        while self._watched:
            await asyncio.sleep(POLL_SECONDS)
            before = dict(self._watched)
            try:
                rows = await asyncio.to_thread(self._read, list(before))
            except SQLAlchemyError as error:
                self._trouble.goes_on(f"watched runs cannot be read: {redact(str(getattr(error, 'orig', error)))}")
                continue
            self._trouble.is_over()
            for run_id, watched in before.items():
                if watched.row != rows.get(run_id):
                    watched.row = rows.get(run_id)
                    watched.changed.set()
                    watched.changed = asyncio.Event()

    def _read(self, run_ids: Sequence[str]) -> dict[str, AnyRow]:
        with autocommit(self._engine) as connection:
            return overview.runs_by_id(connection, run_ids)
