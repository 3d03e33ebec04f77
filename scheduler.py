"""DatabaseScheduler: turns due rows into runs. Celery Beat calls `tick`; everything it knows is in the ledger.

A tick arms edited rows, fires due ones and hands the new runs to the publisher. It keeps no copy of the
table: its cost follows what is due, not what exists. Any number of beats may run at once.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Thread
from time import monotonic, sleep
from typing import Any, Final

from celery.beat import Scheduler
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from broker import Sender
from config import PURGE_TASK, Settings, get_settings
from core.arming import Armed, Surroundings, arm
from core.calendars import NO_OVERRIDES
from core.lifecycle import State
from core.task_config import AnyConfig
from endpoints import what_is_wrong_with_target
from firing import Fired, fire_due, fire_manual, order_of
from publisher import Publisher, sendable
from rearm import rearm_after_changes
from rescue import rescue
from store import calendar_days, housekeeping, leases, runs, schedules
from store.database import AnyRow, autocommit, connect, is_contention, read_clock, transaction

logger = logging.getLogger("scheduler")

ARM_BATCH: Final = 2000
RELEASE_BATCH: Final = 1000
BUSY_PAUSE: Final = 0.05  # due rows that somebody else holds: look again, without spinning
LOW_WATER_SECONDS: Final = 1.0  # how late a row may be seen that was locked, or set back by hand
BROKEN_RETRY: Final = timedelta(minutes=1)
RESCUE_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 2.0
SURROUNDINGS_SECONDS: Final = 5.0
HOUSEKEEPING_SECONDS: Final = 60.0
PURGE_EVERY: Final = timedelta(hours=1)
PURGE_TIMEOUT: Final = timedelta(minutes=30)
OUTAGE_PAUSE: Final = 1.0


class DatabaseScheduler(Scheduler):
    """Celery Beat's scheduler over `periodic_task`. Overrides only setup_schedule, tick, sync and close."""

    def __init__(self, *args: Any, settings: Settings | None = None, **kwargs: Any) -> None:
        self.settings = settings or get_settings()
        self.beat_id = f"{socket.gethostname()}:{os.getpid()}:{runs.new_run_id()[-6:]}"
        poll = self.settings.poll_seconds
        # A beat frozen in mid-transaction keeps its row locks until the server drops the session.
        self.engine: Engine = connect(self.settings.database_url, pool_size=3, wait_timeout=int(poll) + 4)
        self.low_water: datetime | None = None
        self.skip_before: datetime | None = None
        self.surroundings = Surroundings(self.settings.timezone, frozenset(self.settings.queues))
        self._overrides = NO_OVERRIDES
        self._calendar_versions: dict[str, str] = {}
        self.reached_since: float | None = None
        self._last_tick = monotonic()
        self._turns: dict[str, float] = {}
        self._rearming: Thread | None = None
        self._rearmed_for: dict[str, str] | None = None
        self._closed = False
        super().__init__(*args, **kwargs)
        self.publisher = Publisher(self.engine, Sender(self.app))

    # -- Celery Beat's interface ------------------------------------------------------------------

    def setup_schedule(self) -> None:
        """Refuse entries of `beat_schedule` aloud: here schedules are rows, and silence would lose them."""
        for name in self.app.conf.beat_schedule or {}:
            logger.error("beat_schedule entry %r does not run: insert it into periodic_task instead", name)

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due and return the seconds to sleep. Raises nothing: an exception here would end beat."""
        self.publisher.start()
        try:
            pause = self.run_due()
        except SQLAlchemyError as error:
            return self._after_failure(error)
        except Exception:  # the edge: Celery Beat does not survive an exception from tick
            logger.exception("a tick failed")
            self.reached_since = None
            return min(OUTAGE_PAUSE, self.settings.poll_seconds)
        return pause

    def sync(self) -> None:
        """Nothing to save: every tick commits what it did."""

    def close(self) -> None:
        """Send what was fired and let go of the connections. Celery calls this twice on SIGTERM."""
        if self._closed:
            return
        self._closed = True
        self.publisher.close()
        self.engine.dispose()

    @property
    def info(self) -> str:
        """Beat's start-up banner shows this."""
        return f"    . database -> {self.engine.url.render_as_string(hide_password=True)}"

    # -- one tick ---------------------------------------------------------------------------------

    def run_due(self) -> float:
        """Arm, fire and look after the ledger once; return the seconds until something is due."""
        self._note_contact()
        if self._turn("surroundings", SURROUNDINGS_SECONDS):
            self._read_surroundings()
            self._start_rearming()
        if self._turn("low_water", LOW_WATER_SECONDS):
            self.low_water = None
        with autocommit(self.engine) as connection:
            found = schedules.probe(connection, self.low_water)
        probed = monotonic()
        worked = 0
        if found.needs_arming:
            worked += self.arm()
        if found.run_now:
            worked += self.fire_manual()
        is_due = found.next_due is not None and found.next_due <= found.now
        if is_due:
            worked += self.fire()
        self._look_after()
        if worked:
            return 0.0
        if is_due or found.needs_arming or found.run_now:
            return BUSY_PAUSE
        if found.next_due is None:
            return self.settings.poll_seconds
        until_due = (found.next_due - found.now).total_seconds() - (monotonic() - probed)
        return max(0.0, min(until_due, self.settings.poll_seconds))

    def run_once(self) -> Counter[str]:
        """Make one whole pass for `--once`: arm every row, fire, publish, rescue; return the counts."""
        self._read_surroundings()
        rearm_after_changes(self.engine, self.settings.timezone)
        counts: Counter[str] = Counter()
        for name, step in (("armed", self.arm), ("manual", self.fire_manual), ("fired", self.fire)):
            while done := step():
                counts[name] += done
        counts["rescued"] = rescue(self.engine, judge_leases=False)
        counts["released"] = self._release_held()
        counts["sent"] = self.publisher.publish_ready(grace=timedelta())
        with autocommit(self.engine) as connection:
            counts["workers"] = len(leases.living_workers(connection))
        return counts

    def skip_missed(self) -> None:
        """Owe nothing from before now: what fell due while no beat ran is SKIPPED."""
        with autocommit(self.engine) as connection:
            self.skip_before = read_clock(connection)

    def arm(self) -> int:
        """Arm rows whose columns were edited; return how many. One transaction, at most 2,000 rows."""
        self._read_surroundings()
        with transaction(self.engine) as tx:
            rows = schedules.take_unarmed(tx, ARM_BATCH)
            if not rows:
                return 0
            now = read_clock(tx)
            schedules.set_armed(tx, [self._arm_one(row, now) for row in rows])
        self.low_water = None
        return len(rows)

    def _arm_one(self, row: AnyRow, now: datetime) -> dict[str, Any]:
        armed_for = row.armed_for or ""
        try:
            armed = arm(
                row,
                now,
                self.surroundings,
                was_broken=row.config_error is not None,
                checked_only=armed_for.startswith(f"{row.schedule_fingerprint}:"),
            )
        except Exception as error:  # an edge: a row that arming cannot handle is marked, never picked for ever
            logger.exception("row %s %r cannot be armed", row.id, row.name)
            armed = Armed(config_error=f"this row cannot be read: {error}")
        if armed.config_error and armed.config_error != row.config_error:
            logger.warning("row %s %r is broken: %s", row.id, row.name, armed.config_error)
        return {
            "id": row.id,
            "next_run_at": armed.next_run_at,
            "config_error": armed.config_error,
            "hint": armed.hint,
            "armed_for": f"{row.schedule_fingerprint}:{row.checked_fingerprint}",
            "rearm_at": now + BROKEN_RETRY if armed.config_error else None,
        }

    def fire(self) -> int:
        """Turn due rows into runs, in one transaction; return how many rows moved on."""
        fired = self._commit(
            lambda tx: fire_due(tx, self.surroundings, since=self.low_water, skip_before=self.skip_before)
        )
        if fired.low_water is not None:  # only once it is committed: a failed COMMIT leaves the rows due
            self.low_water = fired.low_water
        return fired.rows

    def fire_manual(self) -> int:
        """Make one manual run for each row with run_now=1, enabled or not, and set it back."""
        self._read_surroundings()
        return self._commit(lambda tx: fire_manual(tx, self.surroundings)).rows

    def _commit(self, step: Callable[[Connection], Fired]) -> Fired:
        """Run a step in one transaction, again after a deadlock; hand its runs over once they are committed."""
        for attempt in range(3):
            try:
                with transaction(self.engine) as tx:
                    fired = step(tx)
                break
            except DBAPIError as error:
                if attempt == 2 or not is_contention(error):
                    raise
                logger.info("the transaction met a lock and is made again: %s", error.orig)
                sleep(BUSY_PAUSE)
        self.publisher.hand_over(
            sendable(run) for run in fired.new_runs if run.state is State.PENDING and run.ready_at is not None
        )
        return fired

    # -- looking after the ledger -----------------------------------------------------------------

    def _look_after(self) -> None:
        if self._turn("heartbeat", HEARTBEAT_SECONDS):
            with transaction(self.engine) as tx:
                leases.beat_alive(tx, self.beat_id)
        if self._turn("rescue", RESCUE_SECONDS):
            rescue(self.engine, judge_leases=self._may_judge_leases())
            self._release_held()
        if self._turn("housekeeping", HOUSEKEEPING_SECONDS) and self.settings.run_retention_days:
            self._commit(self._order_purge)

    def _order_purge(self, tx: Connection) -> Fired:
        """Where the ledger holds more than RUN_RETENTION_DAYS, enter a run that deletes it, once in `PURGE_EVERY`."""
        now = read_clock(tx)
        before = now - timedelta(days=self.settings.run_retention_days)
        if not housekeeping.has_runs_before(tx, before) or not leases.take_turn(tx, PURGE_TASK, PURGE_EVERY):
            return Fired()
        order = order_of(PURGE_TASK, "system", PURGE_TIMEOUT, now)
        return Fired(1, runs.insert_runs(tx, [order]))

    def _release_held(self) -> int:
        with transaction(self.engine) as tx:
            return len(runs.release_held(tx, RELEASE_BATCH))

    def _turn(self, name: str, every: float) -> bool:
        """True once in `every` seconds of this process."""
        if monotonic() < self._turns.get(name, 0.0):
            return False
        self._turns[name] = monotonic() + every
        return True

    def _note_contact(self) -> None:
        """Keep track of how long this beat has reached the database without a break, its own freezes included."""
        frozen = monotonic() - self._last_tick > self.settings.poll_seconds + 5
        self._last_tick = monotonic()
        if self.reached_since is None or frozen:
            self.reached_since = self._last_tick

    def _may_judge_leases(self) -> bool:
        return self.reached_since is not None and monotonic() - self.reached_since >= self.settings.worker_lease_seconds

    def _after_failure(self, error: SQLAlchemyError) -> float:
        self.reached_since = None
        # The text of the statement would fill the log; its cause is what an operator needs.
        logger.error("the ledger cannot be used, trying again: %s", getattr(error, "orig", error))
        return min(OUTAGE_PAUSE, self.settings.poll_seconds)

    def _read_surroundings(self) -> None:
        """Read the endpoints and the calendars' days that rows are judged by."""
        with autocommit(self.engine) as connection:
            known = schedules.endpoints(connection)
            versions = calendar_days.versions(connection)
            if versions != self._calendar_versions:  # one object while nothing changed: caches hang on it
                self._calendar_versions, self._overrides = versions, calendar_days.read(connection)
        settings = self.settings

        def check(config: AnyConfig) -> str | None:
            return what_is_wrong_with_target(config, known, settings)

        self.surroundings = Surroundings(settings.timezone, frozenset(settings.queues), self._overrides, check)

    def _start_rearming(self) -> None:
        """Look whether the default zone, tzdata or a calendar changed; in a thread: it may wait for locked rows.

        Zone and tzdata are this process's for good, so after the first look only new calendar days ask for another.
        """
        is_at_work = self._rearming is not None and self._rearming.is_alive()
        if self._rearmed_for != self._calendar_versions and not is_at_work:
            self._rearming = Thread(target=self._rearm, name="rearm", daemon=True)
            self._rearming.start()

    def _rearm(self) -> None:
        versions = self._calendar_versions
        try:
            rearm_after_changes(self.engine, self.settings.timezone)
            self._rearmed_for = versions
        except Exception as error:  # the edge of the thread: a later tick starts it again
            logger.error("rows cannot be armed again yet: %s", getattr(error, "orig", error))
