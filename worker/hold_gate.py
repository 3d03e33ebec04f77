"""The hold at a worker's door: a run that an operator has stopped is not claimed, whatever its message says."""

from datetime import timedelta
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection

from core.holds import Hold, Mode, holding
from core.task_config import AnyConfig
from store import holds, waiting
from store.database import AnyRow

LOOK_SECONDS: Final = 1.0
#: Until then a run waits before it asks again: a hold may be ended by SQL. The API wakes its runs at once.
LOOK_AGAIN: Final = timedelta(minutes=2)


class HoldGate:
    """Remembers the holds for a second, so that a claim costs nothing while there is none. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holds: tuple[Hold, ...] | None = None
        self._next_look = 0.0

    def turns_away(self, connection: Connection, row: AnyRow, config: AnyConfig | None) -> bool:
        """Say whether a run is held, and put it off or skip it; one that was started before is never skipped.

        Raises SQLAlchemyError.
        """
        in_force = self._look(connection)
        if not in_force or config is None:
            return False
        hold = holding(in_force, row.queue, config, partial(_tags, connection, row.periodic_task_id))
        if hold is None:
            return False
        if hold.mode is Mode.SKIP and waiting.skip(connection, row.id, hold.told):
            return True
        until = row.now + LOOK_AGAIN
        waiting.wait(connection, row, until if hold.ends_at is None else min(until, hold.ends_at), hold.told)
        return True

    def are_any(self, connection: Connection) -> bool:
        """Tell whether anything is held at all. Raises SQLAlchemyError."""
        return bool(self._look(connection))

    def _look(self, connection: Connection) -> tuple[Hold, ...]:
        """Read anew once a second; whoever comes meanwhile goes by the old holds, and waits where none are known."""
        known = self._holds
        if known is not None and (monotonic() < self._next_look or not self._lock.acquire(blocking=False)):
            return known
        if known is None:
            self._lock.acquire()
        try:
            if self._holds is None or monotonic() >= self._next_look:
                self._holds = None  # where the look fails nothing is known
                self._holds = holds.in_force(connection)
                self._next_look = monotonic() + LOOK_SECONDS
            return self._holds
        finally:
            self._lock.release()


def _tags(connection: Connection, task_id: Any) -> str | None:
    return None if task_id is None else holds.tags_of(connection, [task_id]).get(task_id)
