"""DatabaseScheduler: turns due rows into runs. Celery Beat calls `tick`; everything it knows is in the ledger.

A tick arms edited rows, fires due ones and hands the new runs to the publisher. It keeps no copy of the
table: its cost follows what is due, not what exists. Any number of beats may run at once.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Thread
from time import monotonic, sleep
from typing import Any, Final

from celery.beat import Scheduler
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from beat.cadences import Cadences
from beat.chains import Upstreams
from beat.firing import BATCH, Fired, fire_due, fire_manual
from beat.jobs import Job
from beat.keeper import Keeper
from beat.publisher import Publisher
from beat.watchdog import LOOK_SECONDS, Watchdog
from broker import Sender, sendable
from config import Settings, get_settings
from core.arming import Armed, Surroundings, arm
from core.calendars import NO_OVERRIDES
from core.holds import Mode
from core.lifecycle import State
from core.task_config import AnyConfig
from endpoints import what_is_wrong_with_target
from store import calendar_days, holds, leases, notifications, runs, schedules
from store.database import AnyRow, autocommit, connect, in_words, is_contention, read_clock, transaction
from store.schedules import ERROR_CHARS
from trouble import Trouble

logger = logging.getLogger("scheduler")

ARM_BATCH: Final = 2000
BROKEN_TOLD: Final = 20  # broken rows named in the log by one pass
BACKLOG_SECONDS: Final = 0.2
HANDS: Final = 3  # threads on a backlog; two reach 80 % of the bare loop's rate (bench/fires.py), three 84 %
BUSY_PAUSE: Final = 0.05  # due rows that somebody else holds: look again, without spinning
LOOK_BACK_SECONDS: Final = 0.5  # how late a row may be seen that was locked, or set back by hand
BROKEN_RETRY: Final = timedelta(minutes=1)
SURROUNDINGS_SECONDS: Final = 5.0
OUTAGE_PAUSE: Final = 1.0
SILENCE: Final = 20.0  # no statement of a beat takes half as long; after it a half-open connection is given up
POOL_SIZE: Final = 14  # the tick and its helping hands, the publisher two, and each job at most one


class DatabaseScheduler(Scheduler):
    """Celery Beat's scheduler over `periodic_task`. Overrides only setup_schedule, tick, sync and close."""

    def __init__(self, *args: Any, settings: Settings | None = None, **kwargs: Any) -> None:
        self.settings = settings or get_settings()
        self.beat_id = f"{socket.gethostname()}:{os.getpid()}:{runs.new_run_id()[-6:]}"
        # A beat frozen in mid-transaction keeps its row locks until the server drops the session.
        self.engine: Engine = connect(
            self.settings.database_url,
            pool_size=POOL_SIZE,
            wait_timeout=int(self.settings.poll_seconds) + 4,
            silence=SILENCE,
        )
        self.low_water: datetime | None = None
        self.skip_before: datetime | None = None
        self.surroundings = Surroundings(self.settings.timezone, frozenset(self.settings.queues))
        self._overrides = NO_OVERRIDES
        self._calendar_versions: dict[str, str] = {}
        self._next_surroundings = 0.0
        self._has_backlog = False
        self._cadences = Cadences()
        self._trouble = Trouble(logger, "the ledger can be used again, and what is owed follows")
        self._closed = False
        super().__init__(*args, **kwargs)
        self.publisher = Publisher(self.engine, Sender(self.app))
        self.watchdog = Watchdog(self.settings, Sender(self.app))
        self.keeper = Keeper(self.engine, self.settings, self.beat_id, self._commit, lambda: self.surroundings)
        self.jobs = [
            Job(name, every, work, told=lambda: self._trouble.lasts)
            for name, every, work in (
                *self.keeper.work(),
                ("looking back", LOOK_BACK_SECONDS, self.look_back),
                ("the watchdog", LOOK_SECONDS, self.watchdog.look),
            )
        ]

    # -- Celery Beat's interface ------------------------------------------------------------------

    def setup_schedule(self) -> None:
        """Refuse entries of `beat_schedule` aloud: here schedules are rows, and silence would lose them."""
        for name in self.app.conf.beat_schedule or {}:
            logger.error("beat_schedule entry %r does not run: insert it into periodic_task instead", name)

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due and return the seconds to sleep. Raises nothing: an exception here would end beat."""
        self.publisher.start()
        for job in self.jobs:
            job.start()
        try:
            pause = self.run_due()
        except SQLAlchemyError as error:
            return self._after_failure(error)
        except Exception as error:  # the edge: Celery Beat does not survive an exception from tick
            self._trouble.goes_on(f"a tick failed: {error}", type(error), traceback=True)
            self.keeper.contact_lost()
            return min(OUTAGE_PAUSE, self.settings.poll_seconds)
        self._trouble.is_over()
        return pause

    def sync(self) -> None:
        """Nothing to save: every tick commits what it did."""

    def close(self) -> None:
        """Send what was fired, for two seconds at most, and let go of the connections. Celery calls it twice."""
        if self._closed:
            return
        self._closed = True
        for job in self.jobs:
            job.stop()
        self.keeper.lookout.close()
        self.watchdog.close()
        self.publisher.close()
        self.engine.dispose()

    @property
    def info(self) -> str:
        """Beat's start-up banner shows this."""
        return f"    . database -> {self.engine.url.render_as_string(hide_password=True)}"

    # -- one tick ---------------------------------------------------------------------------------

    def run_due(self) -> float:
        """Arm and fire once; return the seconds until something is due."""
        self.keeper.tick_begins()
        if self._turn():
            self._read_surroundings()
        with autocommit(self.engine) as connection:
            found = schedules.probe(connection, self.low_water)
        probed = monotonic()
        worked = 0
        is_due = found.next_due is not None and found.next_due <= found.now
        if self.low_water is None and not is_due:
            self.low_water = found.now  # after a start, or an edit: nothing below is due
        if is_due:  # first: while an import is armed batch by batch, due rows wait for one of them and not for two
            worked += self.fire()
        if found.needs_arming:
            worked += self.arm()
        if found.run_now:
            worked += self.fire_manual()
        self.keeper.tick_ends()
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
        self.keeper.rearming.look()
        self.keeper.lookout.look(self.surroundings.overrides)
        counts: Counter[str] = Counter()
        for name, step in (("armed", self.arm), ("manual", self.fire_manual), ("fired", self.fire)):
            while done := step():
                counts[name] += done
        counts["rescued"] = self.keeper.rescue()
        counts["released"] = self.keeper.release_held()
        counts["backfilled"] = self.keeper.backfill()
        counts["followed"] = self.keeper.chains.look()
        counts["sent"] = self.publisher.publish_ready(grace=timedelta())
        self.keeper.notifications.look()
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
            upstreams = Upstreams(tx, rows)
            around = replace(self.surroundings, check_upstream=upstreams.check)
            armed = []
            for row in rows:  # one by one: a row may start after one of the same batch
                armed.append(self._arm_one(row, now, around))
                upstreams.settle(row, armed[-1]["config_error"])
            schedules.set_armed(tx, armed)
        self.low_water = None
        _tell_broken(rows, armed)
        return len(rows)

    def _arm_one(self, row: AnyRow, now: datetime, around: Surroundings) -> dict[str, Any]:
        armed_for = row.armed_for or ""
        try:
            armed = arm(
                row,
                now,
                around,
                was_broken=row.config_error is not None,
                checked_only=armed_for.startswith(f"{row.schedule_fingerprint}:"),
            )
        except SQLAlchemyError:  # says nothing about the row
            raise
        except Exception as error:  # an edge: a row that arming cannot handle is marked, never picked for ever
            logger.exception("row %s %r cannot be armed", row.id, row.name)
            armed = Armed(config_error=f"this row cannot be read: {error}")
        return {
            "id": row.id,
            "next_run_at": armed.next_run_at,
            "config_error": armed.config_error,
            "hint": armed.hint,
            "armed_for": f"{row.schedule_fingerprint}:{row.checked_fingerprint}",
            "rearm_at": now + BROKEN_RETRY if armed.config_error else None,
        }

    def fire(self) -> int:
        """Turn due rows into runs; return how many rows moved on. A backlog is worked off by several hands at once.

        While some wait for the database, another plans: like several beats, they never see the same row.
        """
        moved = 0
        if not self._has_backlog:
            moved = self._fire_batch()
            if moved < BATCH:
                return moved
        if self.engine.dialect.name == "sqlite":  # which has one writer
            return moved + self._fire_backlog()
        helpers: list[Future[int]] = [Future() for _ in range(HANDS - 1)]
        for done in helpers:
            Thread(target=self._help, args=(done,), name="fire", daemon=True).start()
        return moved + self._fire_backlog() + sum(done.result() for done in helpers)

    def _help(self, done: "Future[int]") -> None:
        try:
            done.set_result(self._fire_backlog())
        except BaseException as error:  # the edge of the thread: `fire` raises it
            done.set_exception(error)

    def _fire_backlog(self) -> int:
        """Fire batch after batch, but let an edit have its turn soon."""
        until, moved = monotonic() + BACKLOG_SECONDS, 0
        while True:
            rows = self._fire_batch()
            moved += rows
            self._has_backlog = rows == BATCH
            if not self._has_backlog or monotonic() > until:
                return moved

    def _fire_batch(self) -> int:
        fired = self._commit(
            lambda tx: fire_due(
                tx, self.surroundings, self._cadences, since=self.low_water, skip_before=self.skip_before
            )
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

    # -- beside the tick --------------------------------------------------------------------------

    def look_back(self) -> None:
        """Lower the mark to a due row below it: one that was locked, or set back by hand.

        Not in the tick: behind an old read view this reads every entry that purge has left.
        """
        with autocommit(self.engine) as connection:
            oldest = schedules.probe(connection, None).next_due
        mark = self.low_water
        if mark is not None and oldest is not None and oldest < mark:
            self.low_water = oldest

    def _turn(self) -> bool:
        """True once in SURROUNDINGS_SECONDS."""
        if monotonic() < self._next_surroundings:
            return False
        self._next_surroundings = monotonic() + SURROUNDINGS_SECONDS
        return True

    def _after_failure(self, error: SQLAlchemyError) -> float:
        what = f"the ledger cannot be used and nothing fires, trying again: {in_words(error)}"
        self._trouble.goes_on(what, type(error))
        if isinstance(error, DBAPIError) and is_contention(error):
            return BUSY_PAUSE
        self.keeper.contact_lost()
        return min(OUTAGE_PAUSE, self.settings.poll_seconds)

    def _read_surroundings(self) -> None:
        """Read the endpoints, the channels and the calendars' days that rows are judged by."""
        with autocommit(self.engine) as connection:
            known, channels = schedules.endpoints(connection), notifications.channel_names(connection)
            skips = tuple(hold for hold in holds.in_force(connection) if hold.mode is Mode.SKIP)
            versions = calendar_days.versions(connection)
            if versions != self._calendar_versions:  # one object while nothing changed: caches hang on it
                self._calendar_versions, self._overrides = versions, calendar_days.read(connection)
        settings = self.settings

        def check(config: AnyConfig) -> str | None:
            return what_is_wrong_with_target(config, known, settings)

        self.surroundings = Surroundings(
            settings.timezone, frozenset(settings.queues), self._overrides, check, skips, channels
        )


def _tell_broken(rows: Sequence[AnyRow], armed: Sequence[Mapping[str, Any]]) -> None:
    """Name rows that broke, few of them: a missing endpoint may break a million at once."""
    errors = [(row, new["config_error"]) for row, new in zip(rows, armed, strict=True)]
    broken = [(row, error) for row, error in errors if error and error[:ERROR_CHARS] != row.config_error]
    for row, error in broken[:BROKEN_TOLD]:
        logger.warning("row %s %r is broken: %s", row.id, row.name, error)
    if len(broken) > BROKEN_TOLD:
        more = len(broken) - BROKEN_TOLD
        logger.warning("%d more rows are broken: SELECT name, config_error FROM periodic_task", more)
