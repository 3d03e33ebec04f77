"""Keeping the ledger beside the tick: heartbeat, rescue, held runs, backfills, rearming, retention, lookout, news."""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from beat.backfill import go_on
from beat.chains import LOOK_SECONDS as FOLLOW_SECONDS
from beat.chains import WATCH_SECONDS, Chains
from beat.firing import Commit, Fired, order_of
from beat.jobs import Work
from beat.lookout import Lookout
from beat.rearm import Rearming
from beat.rescue import rescue
from config import PURGE_TASK, Settings
from core.arming import Surroundings
from notify import LOOK_SECONDS as NOTIFY_SECONDS
from notify import Notifications
from store import backfills, housekeeping, leases, runs
from store.database import autocommit, is_contention, read_clock, transaction

logger = logging.getLogger("keeper")

LEDGER_SECONDS: Final = 2.0
HELD_SECONDS: Final = 0.5  # what a buffered run waits at most once the one before it has ended
HELD_SHARE: Final = 20  # a look that took 1 s is followed by 20 s without
BACKFILL_SECONDS: Final = 1.0
REARM_SECONDS: Final = 5.0
RETENTION_SECONDS: Final = 60.0
LOOKOUT_SECONDS: Final = 60.0
RELEASE_BATCH: Final = 1000
PURGE_EVERY: Final = timedelta(hours=1)
PURGE_TIMEOUT: Final = timedelta(minutes=30)
FROZEN_SECONDS: Final = 5.0
STUCK_SECONDS: Final = 10.0  # a tick that does not end for so long: this beat does not call itself alive


class Keeper:
    """Keeps the ledger in order: `work` names the jobs, and each part can be called by itself."""

    def __init__(
        self, engine: Engine, settings: Settings, beat_id: str, commit: Commit, around: Callable[[], Surroundings]
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.beat_id = beat_id
        self.lookout = Lookout(engine)
        self.rearming = Rearming(engine, settings.timezone)
        self.notifications = Notifications(engine, settings)
        self.chains = Chains(engine, commit, around)
        self._commit = commit
        self._around = around
        self._next_release = 0.0
        self._contact_since: float | None = None
        self._begun_at = self._ended_at = monotonic()

    def work(self) -> tuple[Work, ...]:
        """Name what is to be done beside the tick, and every how many seconds."""
        return (
            ("keeping the ledger", LEDGER_SECONDS, self.keep),
            ("held runs", HELD_SECONDS, self.release_rested),
            ("backfill", BACKFILL_SECONDS, self.backfill),
            ("rows after others", FOLLOW_SECONDS, self.chains.look),
            ("who follows whom", WATCH_SECONDS, self.chains.check_again),
            ("rearming", REARM_SECONDS, self.rearming.look),
            ("retention", RETENTION_SECONDS, self.order_purge),
            ("notifications", NOTIFY_SECONDS, self.notifications.look),
            ("the lookout", LOOKOUT_SECONDS, lambda: self.lookout.look(self._around().overrides)),
        )

    # -- how long this beat has reached the ledger -------------------------------------------------

    def tick_begins(self) -> None:
        """Note contact; a tick that comes late tells of a freeze, which is no contact."""
        is_frozen = monotonic() - self._begun_at > self.settings.poll_seconds + FROZEN_SECONDS
        self._begun_at = monotonic()
        if self._contact_since is None or is_frozen:
            self._contact_since = self._begun_at

    def tick_ends(self) -> None:
        """Note that a tick came to its end."""
        self._ended_at = monotonic()

    def contact_lost(self) -> None:
        """From here on no lease is judged until a whole one has passed."""
        self._contact_since = None

    def may_judge_leases(self) -> bool:
        """True once this beat has reached the ledger for one whole lease, so that an outage fails no healthy run."""
        return (
            self._contact_since is not None and monotonic() - self._contact_since >= self.settings.worker_lease_seconds
        )

    # -- its work ---------------------------------------------------------------------------------

    def keep(self) -> None:
        """Tell that this beat lives, and rescue runs."""
        try:
            if monotonic() - self._ended_at < self.settings.poll_seconds + STUCK_SECONDS:
                with transaction(self.engine) as tx:
                    leases.beat_alive(tx, self.beat_id)
            self.rescue()
        except SQLAlchemyError as error:
            if not (isinstance(error, DBAPIError) and is_contention(error)):
                self.contact_lost()
            raise

    def rescue(self) -> int:
        """Move on the runs of lost workers and those past their deadline; return how many."""
        return rescue(self.engine, judge_leases=self.may_judge_leases())

    def release_held(self) -> int:
        """Let the oldest held run of each idle row go; return how many."""
        with transaction(self.engine) as tx:
            return len(runs.release_held(tx, RELEASE_BATCH))

    def release_rested(self) -> None:
        """Do so at its own pace: it reads every run that is held."""
        if (begin := monotonic()) >= self._next_release:
            self.release_held()
            self._next_release = monotonic() + HELD_SHARE * (monotonic() - begin)

    def backfill(self) -> int:
        """Take each open backfill one step on, in a transaction of its own; return how many runs were made."""
        with autocommit(self.engine) as connection:
            unfinished = backfills.open_ids(connection)
        made = 0
        for each in unfinished:
            try:
                made += len(self._commit(partial(go_on, backfill_id=each, around=self._around())).new_runs)
            except DBAPIError as error:
                if not is_contention(error):
                    raise
                logger.warning("backfill %s meets another session's lock and goes on later", each)
        return made

    def order_purge(self) -> None:
        """Where runs or entries of the audit are past their time, enter a run that deletes them, once an hour."""
        if self.settings.run_retention_days or self.settings.audit_retention_days:
            self._commit(self._purge_run)

    def _purge_run(self, tx: Connection) -> Fired:
        now = read_clock(tx)
        runs_for, audit_for = (
            timedelta(days=days) for days in (self.settings.run_retention_days, self.settings.audit_retention_days)
        )
        is_due = (runs_for and housekeeping.has_runs_before(tx, now - runs_for)) or (
            audit_for and housekeeping.has_audit_before(tx, now - audit_for)
        )
        if not is_due or not leases.take_turn(tx, PURGE_TASK, PURGE_EVERY):
            return Fired()
        return Fired(1, runs.insert_runs(tx, [order_of(PURGE_TASK, "system", PURGE_TIMEOUT, now)]))
