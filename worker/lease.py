"""A worker process's lease: its right to its runs, for a while. See docs/adr/0005-leases.md."""

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from store import leases, runs
from store.database import autocommit, connect, transaction

logger = logging.getLogger("worker")

LEASE_MARGIN = 0.8  # stop trusting our lease before the database drops it: a slow round trip must not make two owners


class Lease:
    """One row under an id that is new at every start, and again after it was lost. One thread keeps it."""

    def __init__(
        self, node_name: str, queues: Sequence[str], concurrency: int, settings: Settings, lock_wait: int
    ) -> None:
        self._node_name, self._queues, self._concurrency = node_name, ",".join(queues), concurrency
        self._length = timedelta(seconds=settings.worker_lease_seconds)
        self.renew_every = settings.worker_lease_seconds / 4
        # On a half-open connection the lease must not run out: it is given up in time for a second try.
        self.engine: Engine = connect(
            settings.database_url, pool_size=1, lock_wait=lock_wait, silence=max(1.0, self.renew_every)
        )
        self.take()

    def take(self) -> None:
        """Enter this process under a new id. Raises SQLAlchemyError."""
        worker = f"{self._node_name}#{runs.new_run_id()[-8:]}"
        started = monotonic()
        with transaction(self.engine) as tx:
            leases.register_worker(
                tx, worker, pid=os.getpid(), queues=self._queues, concurrency=self._concurrency, lease=self._length
            )
        self.worker, self._renewed_at = worker, started

    def holds(self) -> bool:
        """True while the lease surely holds, judged by the monotonic clock alone."""
        return monotonic() - self._renewed_at < self._length.total_seconds() * LEASE_MARGIN

    def renew(self) -> bool:
        """Extend it. False: this worker was judged dead, and must take a new id. Raises SQLAlchemyError."""
        started = monotonic()
        with autocommit(self.engine) as connection:
            if not leases.renew_worker(connection, self.worker, self._length):
                return False
        self._renewed_at = started
        return True

    def remove(self, engine: Engine) -> None:
        """Leave none behind: what is still STARTED is rescued at once. Another thread may be using our own engine."""
        try:
            with autocommit(engine) as connection:
                leases.remove_worker(connection, self.worker)
        except SQLAlchemyError as error:
            logger.warning("the lease stays until it runs out: %s", getattr(error, "orig", error))
