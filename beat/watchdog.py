"""What stands still without an error: due rows that are held, and queues from which nobody takes. A job of beat."""

import logging
from dataclasses import dataclass
from time import monotonic
from typing import Final

from sqlalchemy import Engine

from beat.blocked import HeldRowsWatch
from broker import HIGHEST, LOWEST, Sender
from config import Settings
from store import leases, notices
from store.database import autocommit, connect, transaction
from store.notices import StalledQueue
from trouble import Trouble

logger = logging.getLogger("watchdog")

LOOK_SECONDS: Final = 2.0
STALLED_SECONDS: Final = 15.0  # a worker asks for its next message within a second
POOL_SIZE: Final = 5
LOCK_WAIT_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Front:
    """What a queue serves next, and since when (monotonic)."""

    run: str
    since: float


class Watchdog:
    """Looks on connections of its own; beat makes a job of `look`, every LOOK_SECONDS."""

    def __init__(self, settings: Settings, sender: Sender) -> None:
        self.settings = settings
        self.sender = sender
        self.engine: Engine = connect(
            settings.database_url, pool_size=POOL_SIZE, lock_wait=LOCK_WAIT_SECONDS, silence=10
        )
        self.held_rows = HeldRowsWatch(self.engine)
        self._fronts: dict[str, Front] = {}
        self._published = False
        self._trouble = Trouble(logger, "every queue with a message is served again")

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()

    def look(self) -> None:
        """Look at the queues and at held rows. Raises SQLAlchemyError while the ledger is away."""
        try:
            self.look_at_queues()
        except self.sender.errors as error:
            logger.debug("no look while the broker is away, which the publisher tells: %s", error)
            self.sender.close()
        if self.engine.dialect.name != "sqlite":
            self.held_rows.look()

    def look_at_queues(self) -> None:
        """Find queues that stand still, and tell of them in the log and in `scheduler_state`."""
        stalled = self.find_stalled(monotonic())
        if stalled:
            told = "; ".join(str(each) for each in stalled)
            self._trouble.goes_on(f"nothing is taken from a queue: {told}", tuple(each.queue for each in stalled))
        else:
            self._trouble.is_over()
        if stalled or self._published:
            with transaction(self.engine) as tx:
                notices.write_stalled(tx, stalled)
            self._published = bool(stalled)

    def find_stalled(self, now: float) -> list[StalledQueue]:
        """Name the queues whose next message has been the same for STALLED_SECONDS while a slot was free for it."""
        depths = {queue: self.sender.depth(queue) for queue in self.settings.queues}
        fronts = {queue: self._front(queue, now) for queue, depth in depths.items() if depth}
        self._fronts = {queue: front for queue, front in fronts.items() if front is not None}
        waiting = {queue: front for queue, front in self._fronts.items() if now - front.since >= STALLED_SECONDS}
        if not waiting:
            return []
        with autocommit(self.engine) as connection:
            workers = leases.living_workers(connection)
            started = leases.started_counts(connection)
        stalled = []
        for queue, front in waiting.items():
            serving = [worker for worker in workers if queue in worker.queues.split(",")]
            free = [worker.id for worker in serving if started[worker.id] < worker.concurrency]
            if free or not serving:
                stalled.append(StalledQueue(queue, depths[queue], now - front.since, free))
        return stalled

    def _front(self, queue: str, now: float) -> Front | None:
        for priority in range(HIGHEST, LOWEST - 1, -1):
            run = self.sender.next_run(queue, priority)
            if run is not None:
                before = self._fronts.get(queue)
                return before if before is not None and before.run == run else Front(run, now)
        return None
