"""Publishing: ready runs become messages. A thread of its own, so that a slow broker never holds up a fire.

What beat just inserted is handed over in memory; everything else that is ready (retries, runs of a beat that
died before it sent them, runs the broker lost) is found in the ledger. Sending twice is harmless.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Event, Thread
from time import monotonic

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from broker import Sender, sendable
from store import runs
from store.database import autocommit, in_words, is_contention, read_clock, transaction
from store.runs import Sendable
from trouble import Trouble

logger = logging.getLogger("publisher")

BATCH = 1000
SWEEP_SECONDS = 0.5
SWEEP_BATCHES = 20  # then the runs handed over in memory have their turn again
FULL_SWEEP_SECONDS = 5.0  # in between, what was ready long before the last sweep is not looked for again
SWEPT_MARGIN = timedelta(seconds=5)
OTHERS_GRACE = timedelta(seconds=1)  # a PENDING run younger than this is its own beat's to send
LOST_AFTER = timedelta(seconds=10)
LOST_CHECK_SECONDS = 5.0
LOST_CHECK_SHARE = 20  # a look that took 1 s is followed by 20 s without
RESENT_MAX = 10_000  # runs whose growing pause is remembered
BROKER_PAUSE = 1.0
HANDED_OVER_MAX = 50_000  # beyond it the ledger keeps them: the sweep sends what memory does not hold


class Publisher:
    """Sends runs and marks them QUEUED. `start` runs it in a thread; `publish_ready` makes one pass without."""

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self.engine = engine
        self.sender = sender
        self._errors = sender.errors
        self._handed_over: deque[Sendable] = deque()
        self._wake = Event()
        self._stopping = False
        self._thread: Thread | None = None
        self._paused_until = 0.0
        self._next_lost_check = monotonic() + LOST_CHECK_SECONDS
        self._resent: dict[str, tuple[int, float]] = {}
        self._swept_to: datetime | None = None
        self._next_full_sweep = 0.0
        self._trouble = Trouble(logger, "runs are sent again", logging.WARNING)

    def start(self) -> None:
        """Begin sending in the background; begin again where the thread ended by itself."""
        if not self._stopping and (self._thread is None or not self._thread.is_alive()):
            self._thread = Thread(target=self._loop, name="publisher", daemon=True)
            self._thread.start()

    def hand_over(self, fresh: Iterable[Sendable]) -> None:
        """Take runs that were just committed. Never blocks; what does not fit is sent from the ledger."""
        room = HANDED_OVER_MAX - len(self._handed_over)
        self._handed_over.extend(list(fresh)[: max(room, 0)])
        self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Send what was handed over, at most `timeout` seconds long, and stop. Safe to call twice."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout)
        self._thread = None

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.wait(SWEEP_SECONDS)
            self._wake.clear()
            self._pass()
        self._pass()

    def _pass(self) -> None:
        """Make one pass; a broker or a database that is away pauses the sending and nothing else."""
        if monotonic() < self._paused_until:
            return
        try:
            if self.publish_ready():
                self._trouble.is_over()
        except self._errors as error:
            self._pause(f"the broker is away or refuses, runs wait in the ledger: {error}", type(error))
        except SQLAlchemyError as error:
            self._pause(f"what was fired cannot be looked up or marked as sent: {in_words(error)}", type(error))
        except Exception as error:  # the edge of the thread: if it died, nothing would be sent any more
            self._pause(f"a publishing pass failed: {error}", type(error), traceback=True)

    def _pause(self, reason: str, kind: object, *, traceback: bool = False) -> None:
        """Wait a second and connect anew: a broker that failed over refuses on the old connection for ever."""
        self._paused_until = monotonic() + BROKER_PAUSE
        self._handed_over.clear()
        self._trouble.goes_on(reason, kind, traceback=traceback)
        with suppress(Exception):  # a broken connection may fail to close; it is dropped all the same
            self.sender.close()

    def publish_ready(self, *, grace: timedelta = OTHERS_GRACE) -> int:
        """Send everything that is ready; return how many. Raises what the broker or the database raises."""
        sent = 0
        while batch := [self._handed_over.popleft() for _ in range(min(BATCH, len(self._handed_over)))]:
            sent += self._send(batch)
        with autocommit(self.engine) as connection:
            now = read_clock(connection)
            if monotonic() >= self._next_full_sweep:
                self._next_full_sweep = monotonic() + FULL_SWEEP_SECONDS
                self._swept_to = None
            for _ in range(SWEEP_BATCHES):
                waiting = runs.unsent(connection, since=self._swept_to, older_than=now - grace, limit=BATCH)
                if not waiting:
                    self._swept_to = now - SWEPT_MARGIN
                    break
                sent += self._send([sendable(row) for row in waiting])
        if (begin := monotonic()) >= self._next_lost_check:
            self.send_lost_again()
            # It reads every QUEUED run: with a million of them it must not be all that the database does.
            self._next_lost_check = monotonic() + max(LOST_CHECK_SECONDS, LOST_CHECK_SHARE * (monotonic() - begin))
        return sent

    def _send(self, batch: Sequence[Sendable]) -> int:
        self.sender.send(batch)
        sent = [(run.id, run.attempt) for run in batch]
        try:
            with autocommit(self.engine) as connection:
                runs.mark_queued(connection, sent)
        except DBAPIError as error:
            if not is_contention(error):
                raise
            with transaction(self.engine) as tx:
                runs.mark_queued_unlocked(tx, sent)
        return len(batch)

    def send_lost_again(self) -> int:
        """Send QUEUED runs the broker no longer has: those sent well before the one it serves next.

        A run that stays QUEUED is sent again after 10 s, 20 s, 40 s …: its message may be in a worker's hands.
        """
        sent = 0
        with autocommit(self.engine) as connection:
            now, clock = read_clock(connection), monotonic()
            for lane in runs.queued_lanes(connection):
                served = self.sender.next_run(lane.queue, lane.priority)
                before = now if served is None else runs.queued_at(connection, served)
                if before is None or lane.oldest is None or lane.oldest >= before - LOST_AFTER:
                    continue
                rows = runs.queued_before(connection, lane.queue, lane.priority, before - LOST_AFTER, BATCH)
                due = [row for row in rows if self._resent.get(row.id, (0, 0.0))[1] <= clock]
                if due:
                    self.sender.send([sendable(row) for row in due])
                    runs.touch_queued(connection, [row.id for row in due])
                    sent += len(due)
                    logger.warning("%d runs sent again: queue %s no longer had them", len(due), lane.queue)
                for row in due:
                    times = self._resent.get(row.id, (0, 0.0))[0] + 1
                    self._resent[row.id] = (times, clock + LOST_AFTER.total_seconds() * 2.0 ** min(times, 8))
            self._resent = dict(list(self._resent.items())[-RESENT_MAX:])
        return sent
