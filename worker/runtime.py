"""What one worker process holds: its lease, its database connections, and the event loop its calls run on.

Built when first used, once a process: the threads pool sends no `worker_process_init`, and a prefork child
must not share its parent's connections.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import attempts
from config import Settings, get_settings
from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle, resumable_handle
from logger import run_prefix
from store import runs
from store.database import autocommit, connect
from store.runs import Claim
from worker.admission import Admission
from worker.crowd import Crowd
from worker.endings import Ended, write_together
from worker.hold_gate import HoldGate
from worker.lease import Lease
from worker.live import LiveFeed
from worker.unwritten import Adopted, Kept, KeptFile, Unwritten

logger = logging.getLogger("worker")

T = TypeVar("T")

POOL_SIZE = 6  # more threads at the ledger only take Python's lock from each other; a worker may use 20
LOCK_WAIT_SECONDS = 1  # an operator's open transaction must not hold a slot for long
WATCH_SECONDS = 1.0
LEDGER_PAUSE = 1.0
TELL_SECONDS = 30.0  # a run that waits says so now and then, not at every try
OVERDUE_SECONDS = 10.0  # the loop cuts a call at its deadline; this is for a loop that is stuck
SILENCE_SECONDS = (
    10.0  # a statement without an answer: below rescue's grace for overdue runs, so a second try is in time
)
HAND_OVER_SECONDS = 5.0  # after the drain, for a ledger that is away just then
EXIT_SECONDS = 4.0  # then threads that nothing can stop do not hold the process any longer
COLD_SECONDS = 1.5  # a second signal: what the ledger takes in that time is handed over
ABORTED = 70  # EX_SOFTWARE; the supervisor starts it again


@dataclass(slots=True)
class Running:
    """A call in this process. `claim` is there once the ledger says that the run is ours."""

    claim: Claim | None = None
    future: Future[Any] | None = None
    cancelled_because: str = ""
    stops_remote: bool = True
    kept: KeptFile | None = None
    """Its outcome is on disk until the ledger takes it: if not in this process, then in the next."""

    def drop_kept(self) -> None:
        """The outcome is written, or never can be."""
        if self.kept is not None:
            self.kept.drop()
            self.kept = None


class CallCancelled(Exception):
    """The run is not ours any more: cancelled, rescued, or given back. Nothing is to be written."""


class WorkerRuntime:
    """The lease, the loop and the running calls of this process. Thread-safe."""

    def __init__(self, node_name: str, queues: Sequence[str], concurrency: int, settings: Settings) -> None:
        self.settings = settings
        self.pid = os.getpid()
        # No ping before each statement: claiming and writing try again by themselves when a connection is stale.
        self.engine: Engine = connect(
            settings.database_url,
            pool_size=POOL_SIZE,
            lock_wait=LOCK_WAIT_SECONDS,
            pre_ping=False,
            silence=SILENCE_SECONDS,
        )
        self.admission = Admission(settings, self.engine)
        self.live = LiveFeed(settings)
        self._unwritten = Unwritten(settings.log_path / "unwritten")
        self.holds = HoldGate()
        self.claiming: Crowd[str] = Crowd()
        self._ending: Crowd[Ended] = Crowd()
        self._lock = Lock()
        self._running: dict[str, Running] = {}
        self.draining = Event()
        self._giving_up = Event()
        self._closed = Event()
        self.loop = asyncio.new_event_loop()
        self._start("calls", self._run_loop)
        self._lease = Lease(node_name, queues, concurrency, settings, LOCK_WAIT_SECONDS)
        self._adopt()
        self._start("lease", self._keep_lease)

    def _start(self, name: str, body: Callable[[], None]) -> None:
        """Run one of the threads that everything depends on: where it ends too early, so does the process."""

        def guarded() -> None:
            try:
                body()
            except BaseException:
                logger.critical("the thread %r failed", name, exc_info=True)
            finally:
                if not self._closed.is_set():
                    _end_process(ABORTED, f"the thread {name!r} ended")

        Thread(target=guarded, name=name, daemon=True).start()

    # -- the lease --------------------------------------------------------------------------------

    @property
    def worker(self) -> str:
        """The id under which runs are claimed now."""
        return self._lease.worker

    def owns_lease(self) -> bool:
        """True while our lease surely holds."""
        return self._lease.holds()

    def _keep_lease(self) -> None:
        renew_at = monotonic() + self._lease.renew_every
        while not self._closed.wait(WATCH_SECONDS):
            try:
                if monotonic() >= renew_at:
                    renew_at = monotonic() + self._lease.renew_every
                    self._renew()
                self._compare_with_ledger()
                self._adopt()
            except SQLAlchemyError as error:
                renew_at = monotonic()
                logger.error("the ledger cannot be reached, calls go on: %s", getattr(error, "orig", error))
            except Exception:  # the edge of the thread: if it died, the lease would run out under healthy calls
                logger.exception("keeping the lease failed")

    def _renew(self) -> None:
        if self._lease.renew():
            return
        logger.error("worker %s was judged dead while it was away: its calls are cut", self.worker)
        with self._lock:
            abandoned = list(self._running.values())
        for call in abandoned:
            self._cut(call, "this worker's lease had run out", goes_on=True)
        self._lease.take()

    def _compare_with_ledger(self) -> None:
        """Cut calls whose row is no longer ours (that is how a cancel arrives); give back rows we do not run."""
        with self._lock:
            before = dict(self._running)
            claimed = [call.claim.id for call in before.values() if call.claim and call.claim.worker == self.worker]
        with autocommit(self._lease.engine) as connection:
            started = runs.started_by(connection, self.worker)
            for run_id in claimed:
                if run_id not in started:
                    self._cut(before[run_id], "its row is no longer STARTED by this worker")
            for run_id, run in started.items():
                # A run that ended while the ledger was read is in `before`; one claimed meanwhile is running now.
                if run_id not in before and run_id not in self._running:
                    attempts.fail(connection, run, attempts.lost(run, f"worker {self.worker} does not run it"))
            attempts.show_owed(connection)

    def _adopt(self) -> None:
        """Write what processes that died could not; a run that is not theirs any more is refused."""
        try:
            self._unwritten.adopt(self._write_kept)
        except SQLAlchemyError as error:
            logger.warning("outcomes of a dead process wait for the ledger: %s", getattr(error, "orig", error))

    def _write_kept(self, kept: Kept) -> Adopted:
        with autocommit(self._lease.engine) as connection:
            run = runs.read(connection, kept.run_id)
        if run is None:
            return Adopted.UNKNOWN
        if (run.worker, run.attempt) != (kept.worker, kept.attempt):
            attempts.refuse(run, kept.attempt)
            return Adopted.DONE
        try:
            state = attempts.write(self._lease.engine, run, kept.outcome)
        except attempts.LedgerAway:
            return Adopted.LATER
        if state is not None:
            logger.warning("run %s %s: written for a process that had died", kept.run_id, state)
        return Adopted.DONE

    def _cut(self, call: Running, why: str, *, goes_on: bool = False) -> None:
        """Cancel a call. `goes_on`: another attempt may follow, which resumes the remote run where that is possible."""
        resumable = call.claim is not None and resumable_handle(call.claim.remote_handle) is not None
        call.stops_remote = not (goes_on and resumable)
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

    def has_handle(self, claim: Claim, handle: RemoteHandle) -> None:
        """The platform named the remote run: where it can be resumed, giving it back lets the next attempt do so."""
        self._running[claim.id].claim = replace(claim, remote_handle=handle.as_text())

    def stops_remote(self, run_id: str) -> bool:
        """False where a call is cut because this process ends, and the next attempt goes on with its remote run."""
        call = self._running.get(run_id)
        return call is None or call.stops_remote

    def leave(self, run_id: str) -> None:
        """The run's end is written, or somebody else's. One whose outcome is still on disk stays: it is not lost."""
        with self._lock:
            if (call := self._running.get(run_id)) is not None and call.kept is None:
                del self._running[run_id]

    def call(self, run_id: str, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the loop and wait. Raises what it raises, or CallCancelled when the call was cut."""
        call = self._running[run_id]
        while not self.owns_lease() and not call.cancelled_because:  # after an outage it is renewed, or calls are cut
            if not self.wait_for_ledger(0.1):
                call.cancelled_because = "this worker ends before the call went out"
        if call.cancelled_because:  # a new lease does not bring back what was claimed under the lost one
            work.close()
            raise CallCancelled(call.cancelled_because)
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

    def wait_for_ledger(self, seconds: float) -> bool:
        """Wait before the next try. False: this process ends, and nobody is to wait any longer."""
        return not self._giving_up.wait(seconds)

    def write(self, run: Claim, outcome: AgentResult | AgentError) -> State | None:
        """Write a call's outcome, however long the ledger is away; from the first failure on it is on disk too.

        None: the run is not ours any more. Raises CallCancelled where this process ends first: the next one writes it.
        """
        call = self._running[run.id]
        run = call.claim or run
        told_at = 0.0
        pause = 0.0  # the first failure may be a stale connection only
        while True:
            try:
                state = self._ending.do(
                    (run, outcome), partial(write_together, self.engine), partial(self._write_alone, run, outcome)
                )
            except attempts.LedgerAway as away:
                if call.kept is None:
                    call.kept = self._unwritten.keep(Kept(run.id, run.worker, run.attempt, outcome))
                if monotonic() > told_at + TELL_SECONDS:
                    told_at = monotonic()
                    logger.error("%s its outcome waits for the ledger: %s", run_prefix(run.id, run.task_name), away)
                if not self.wait_for_ledger(pause):
                    raise CallCancelled("this worker ends, and the ledger is away") from away
                pause = LEDGER_PAUSE
            except BaseException:
                call.drop_kept()
                raise
            else:
                call.drop_kept()
                return state

    def _write_alone(self, run: Claim, outcome: AgentResult | AgentError, _: None) -> State | None:
        return attempts.write(self.engine, run, outcome)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    # -- the end ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let calls go on for DRAIN_SECONDS, then give back what is left and end, at most 9 s later."""
        if not self.draining.is_set():
            self.draining.set()
            Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        deadline = monotonic() + self.settings.drain_seconds
        while self._running and monotonic() < deadline:
            if self._closed.wait(0.2):
                return
        self._hand_over(HAND_OVER_SECONDS)
        if not self._closed.wait(max(deadline - monotonic(), 0) + EXIT_SECONDS):
            self._end("threads of this worker did not end in time")

    def stop_now(self) -> None:
        """End this process within two seconds; what the ledger does not take in that time is left to rescue."""
        self.draining.set()
        Thread(target=self._end, args=("told to stop at once",), name="stop", daemon=True).start()

    def _end(self, why: str) -> None:
        self._closed.set()  # no lease is renewed or taken from here on
        self._hand_over(COLD_SECONDS, and_lease=True)
        _end_process(1, why)

    def _hand_over(self, seconds: float, *, and_lease: bool = False) -> None:
        """Give back what still runs, and cut it. While the ledger is away, try until the time is up."""
        with self._lock:
            left = [call for call in self._running.values() if call.claim is not None]
        helper = Thread(target=self._give_back, args=(left, monotonic() + seconds, and_lease), daemon=True)
        helper.start()
        helper.join(seconds)  # on a connection that went silent a statement may take longer
        self._giving_up.set()
        for call in left:
            self._cut(call, "this worker is stopping", goes_on=True)

    def _give_back(self, left: Sequence[Running], give_up_at: float, and_lease: bool) -> None:
        for call in left:
            while call.claim is not None and call.kept is None:
                try:
                    attempts.write(self.engine, call.claim, attempts.lost(call.claim, "its worker was stopped"))
                    break
                except attempts.LedgerAway as away:
                    if monotonic() > give_up_at:
                        logger.error("runs are left to rescue: %s", away)
                        return
                    sleep(0.2)
        while any(call.kept for call in left) and monotonic() < give_up_at:
            sleep(0.1)
        if and_lease:
            self._remove_lease()

    def close(self) -> None:
        """Stop the lease keeper and leave no lease behind, so that rescue takes at once what is still STARTED.

        Where outcomes are still on disk the lease stays, as long as it runs: time for the next process to write them.
        """
        if self._closed.is_set():
            return
        self._giving_up.set()
        self._closed.set()
        self._remove_lease()
        self.admission.close()
        self.live.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.engine.dispose()
        self._lease.engine.dispose()

    def _remove_lease(self) -> None:
        if any(call.kept for call in self._running.values()):
            logger.warning("outcomes are kept in %s for the next process", self._unwritten.folder)
        else:
            self._lease.remove(self.engine)


def _end_process(code: int, why: str) -> None:
    """End this process, whatever its threads wait for; Celery sees to it that children of the pool die with it."""
    try:
        logger.critical("%s: the worker ends", why)
    finally:
        os._exit(code)


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
