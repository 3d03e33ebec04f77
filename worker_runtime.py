"""What one worker process holds: its lease, its database connections, and the event loop its calls run on.

Built when first used, once a process: the threads pool sends no `worker_process_init`, and a prefork child
must not share its parent's connections.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import attempts
from config import DRAIN_SECONDS, Settings, get_settings
from core.outcome import AgentError, ErrorKind
from store import leases, runs
from store.database import autocommit, connect, transaction
from store.runs import Claim

logger = logging.getLogger("worker")

T = TypeVar("T")

POOL_SIZE = 16  # with the lease keeper's own connection well below the 20 a worker may use
LOCK_WAIT_SECONDS = 1  # an operator's open transaction must not hold a slot for long
WATCH_SECONDS = 1.0
LEASE_MARGIN = 0.8  # stop trusting our lease before the database drops it: a slow round trip must not make two owners
OVERDUE_SECONDS = 10.0  # the loop cuts a call at its deadline; this is for a loop that is stuck


@dataclass(slots=True)
class Running:
    """A call in this process. `claim` is there once the ledger says that the run is ours."""

    claim: Claim | None = None
    future: Future[Any] | None = None
    cancelled_because: str = ""


class CallCancelled(Exception):
    """The run is not ours any more: cancelled, rescued, or given back. Nothing is to be written."""


class WorkerRuntime:
    """The lease, the loop and the running calls of this process. Thread-safe."""

    def __init__(self, node_name: str, queues: Sequence[str], concurrency: int, settings: Settings) -> None:
        self.settings = settings
        self.node_name = node_name
        self.queues = queues
        self.concurrency = concurrency
        self.pid = os.getpid()
        # No ping before each statement: claiming and writing try again by themselves when a connection is stale.
        self.engine: Engine = connect(
            settings.database_url, pool_size=POOL_SIZE, lock_wait=LOCK_WAIT_SECONDS, pre_ping=False
        )
        self._lease_engine: Engine = connect(settings.database_url, pool_size=1, lock_wait=LOCK_WAIT_SECONDS)
        self._lease = timedelta(seconds=settings.worker_lease_seconds)
        self._lock = Lock()
        self._running: dict[str, Running] = {}
        self._stopping = Event()
        self.loop = asyncio.new_event_loop()
        Thread(target=self._run_loop, name="calls", daemon=True).start()
        self._register()
        Thread(target=self._keep_lease, name="lease", daemon=True).start()

    # -- the lease --------------------------------------------------------------------------------

    def _register(self) -> None:
        worker = f"{self.node_name}#{runs.new_run_id()[-8:]}"
        started = monotonic()
        with transaction(self._lease_engine) as tx:
            leases.register_worker(
                tx,
                worker,
                pid=self.pid,
                queues=",".join(self.queues),
                concurrency=self.concurrency,
                lease=self._lease,
            )
        self.worker, self._renewed_at = worker, started

    def owns_lease(self) -> bool:
        """True while our lease surely holds, judged by the monotonic clock alone."""
        return monotonic() - self._renewed_at < self._lease.total_seconds() * LEASE_MARGIN

    def _keep_lease(self) -> None:
        renew_every = self._lease.total_seconds() / 4
        renew_at = monotonic() + renew_every
        while not self._stopping.wait(WATCH_SECONDS):
            try:
                if monotonic() >= renew_at:
                    renew_at = monotonic() + renew_every
                    self._renew()
                self._compare_with_ledger()
            except SQLAlchemyError as error:
                renew_at = monotonic()
                logger.error("the ledger cannot be reached, calls go on: %s", getattr(error, "orig", error))
            except Exception:  # the edge of the thread: if it died, the lease would run out under healthy calls
                logger.exception("keeping the lease failed")

    def _renew(self) -> None:
        started = monotonic()
        with autocommit(self._lease_engine) as connection:
            if leases.renew_worker(connection, self.worker, self._lease):
                self._renewed_at = started
                return
        logger.error("worker %s was judged dead while it was away: its calls are cut", self.worker)
        with self._lock:
            abandoned = list(self._running.values())
        for call in abandoned:
            self._cut(call, "this worker's lease had run out")
        self._register()

    def _compare_with_ledger(self) -> None:
        """Cut calls whose row is no longer ours (that is how a cancel arrives); give back rows we do not run."""
        with self._lock:
            before = dict(self._running)
            claimed = [call.claim.id for call in before.values() if call.claim and call.claim.worker == self.worker]
        with autocommit(self._lease_engine) as connection:
            started = runs.started_by(connection, self.worker)
            for run_id in claimed:
                if run_id not in started:
                    self._cut(before[run_id], "its row is no longer STARTED by this worker")
            for run_id, run in started.items():
                # A run that ended while the ledger was read is in `before`; one claimed meanwhile is running now.
                if run_id not in before and run_id not in self._running:
                    attempts.fail(connection, run, attempts.lost(run, f"worker {self.worker} does not run it"))
            attempts.show_owed(connection)

    def _cut(self, call: Running, why: str) -> None:
        call.cancelled_because = why
        if call.future is not None:
            call.future.cancel()

    # -- calls ------------------------------------------------------------------------------------

    def enter(self, run_id: str) -> bool:
        """Reserve a run in this process before it is claimed. False: a copy of its message is at work here."""
        with self._lock:
            if run_id in self._running:
                return False
            self._running[run_id] = Running()
            return True

    def claimed(self, claim: Claim) -> None:
        """The ledger says the run is ours."""
        self._running[claim.id].claim = claim

    def leave(self, run_id: str) -> None:
        """The run's end is written, or somebody else's."""
        with self._lock:
            self._running.pop(run_id, None)

    def call(self, run_id: str, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the loop and wait. Raises what it raises, or CallCancelled when the call was cut."""
        call = self._running[run_id]
        if not self.owns_lease():
            work.close()
            raise AgentError(ErrorKind.WORKER_LOST, "this worker's lease ran out before the call went out")
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        call.future = future
        if call.cancelled_because:
            future.cancel()
        try:
            return future.result(timeout + OVERDUE_SECONDS)
        except FutureTimeout:
            future.cancel()
            raise AgentError(
                ErrorKind.TIMEOUT, f"the call was not over {OVERDUE_SECONDS:g} s after its deadline"
            ) from None
        except (asyncio.CancelledError, FutureCancelled):
            raise CallCancelled(call.cancelled_because or "cancelled") from None

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    # -- the end ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let calls go on for a while, then give back what is left, so that a stop is bounded."""
        Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        deadline = monotonic() + DRAIN_SECONDS
        while self._running and monotonic() < deadline:
            sleep(0.2)
        with self._lock:
            left = list(self._running.values())
        for call in left:
            if call.claim is not None:
                with autocommit(self.engine) as connection:
                    attempts.fail(connection, call.claim, attempts.lost(call.claim, "its worker was stopped"))
            self._cut(call, "this worker is stopping")

    def close(self) -> None:
        """Stop the lease keeper and leave no lease behind; rescue takes what is still STARTED."""
        self._stopping.set()
        try:
            with autocommit(self._lease_engine) as connection:
                leases.remove_worker(connection, self.worker)
        except SQLAlchemyError as error:
            logger.warning("the lease stays until it runs out: %s", getattr(error, "orig", error))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.engine.dispose()
        self._lease_engine.dispose()


_runtime: WorkerRuntime | None = None
_building = Lock()


def runtime(node_name: str = "", queues: Sequence[str] = (), concurrency: int = 1) -> WorkerRuntime:
    """Return this process's runtime, built when first asked for; what it serves is shown in its lease."""
    global _runtime
    with _building:
        if _runtime is None or _runtime.pid != os.getpid():
            name = node_name or f"celery@{socket.gethostname()}"
            settings = get_settings()
            _runtime = WorkerRuntime(name, queues or settings.queues, concurrency, settings)
        return _runtime


def current_runtime() -> WorkerRuntime | None:
    """Return this process's runtime if it has one."""
    return _runtime if _runtime is not None and _runtime.pid == os.getpid() else None
