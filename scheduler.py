"""DatabaseScheduler: turns due rows into runs. Celery Beat calls `tick`; everything it knows is in the ledger.

A tick arms edited rows, fires due ones and hands the new runs to the publisher. It keeps no copy of the
table: its cost follows what is due, not what exists. Any number of beats may run at once.
"""

import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, Final

import tzdata
from celery.beat import Scheduler
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from broker import Sender
from config import PURGE_TASK, Settings, get_settings
from core.arming import Armed, Surroundings, arm, cadence_of, policy_of, what_is_wrong
from core.lifecycle import Origin, State
from core.planning import Overlap, Plan, Skipped, plan, skip_missed
from core.task_config import DEFAULT_PRIORITY, DEFAULT_QUEUE, AnyConfig, parse_task_config
from endpoints import what_is_wrong_with_target
from publisher import Publisher
from rescue import rescue
from store import leases, runs, schedules
from store.database import AnyRow, autocommit, connect, is_contention, read_clock
from store.runs import NewRun, Sendable

logger = logging.getLogger("scheduler")

ARM_BATCH: Final = 2000
FIRE_BATCH: Final = 1000
BUSY_PAUSE: Final = 0.05  # due rows that somebody else holds: look again, without spinning
LOW_WATER_SECONDS: Final = 5.0
BROKEN_RETRY: Final = timedelta(minutes=1)
RESCUE_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 2.0
HOUSEKEEPING_SECONDS: Final = 60.0
PURGE_EVERY: Final = timedelta(hours=1)
OUTAGE_PAUSE: Final = 1.0


@dataclass(slots=True)
class Batch:
    """What one transaction of fire writes."""

    new_runs: list[NewRun] = field(default_factory=list)
    advanced: list[dict[str, Any]] = field(default_factory=list)
    broken: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)


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
        self.reached_since: float | None = None
        self._last_tick = monotonic()
        self._turns: dict[str, float] = {}
        self._surroundings_checked = False
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
        if not self._surroundings_checked:
            self._check_surroundings()
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
        self._check_surroundings()
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
        self._read_endpoints()
        with self.engine.begin() as tx:
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
        """Turn due rows into runs: claim, insert and advance in one transaction. Return how many rows moved."""
        return self._in_transaction(self._fire)

    def _fire(self, tx: Connection) -> tuple[int, list[NewRun]]:
        now = read_clock(tx)
        rows = schedules.take_due(tx, now, self.low_water, FIRE_BATCH)
        if not rows:
            return 0, []
        active, held = self._occupied(tx, rows)
        batch = Batch()
        for row in rows:
            self._plan_one(row, now, active[row.id], held[row.id], batch)
        if batch.cancelled:
            runs.revoke_active(tx, batch.cancelled, "overlap=cancel_other: a newer run replaces it")
        inserted = runs.insert_runs(tx, batch.new_runs)
        if len(inserted) < len(batch.new_runs):
            logger.warning("%d moments had a run already: not run twice", len(batch.new_runs) - len(inserted))
        schedules.advance(tx, batch.advanced)
        schedules.set_armed(tx, batch.broken)
        self.low_water = rows[-1].next_run_at if len(rows) == FIRE_BATCH else now
        return len(rows), inserted

    def _occupied(self, tx: Connection, rows: Sequence[AnyRow]) -> tuple[Counter[int], Counter[int]]:
        """Count the active and the held runs of the rows whose overlap policy asks."""
        active: Counter[int] = Counter()
        held: Counter[int] = Counter()
        asking = [row.id for row in rows if row.overlap != Overlap.ALLOW]
        for run in runs.active_runs(tx, asking) if asking else ():
            (held if runs.is_held(run) else active)[run.periodic_task_id] += 1
        return active, held

    def _plan_one(self, row: AnyRow, now: datetime, active: int, held: int, batch: Batch) -> None:
        try:
            config = parse_task_config(row.task_extra_config)
            if config.queue not in self.surroundings.queues:
                raise ValueError("; ".join(what_is_wrong(row, self.surroundings)))
            cadence, policy = cadence_of(row, self.settings.timezone), policy_of(row)
            if self.skip_before is not None and row.next_run_at <= self.skip_before:
                owed = skip_missed(row.next_run_at, self.skip_before, cadence)
            else:
                owed = plan(row.next_run_at, now, cadence, policy, active=active, held=held)
        except Exception as error:  # an edge: one row that cannot be planned must not hold its neighbours
            logger.warning("row %s %r cannot run: %s", row.id, row.name, error)
            broken = {"id": row.id, "next_run_at": None, "config_error": str(error), "hint": None, "rearm_at": None}
            batch.broken.append(broken | {"armed_for": ""})  # arming comes next and says what is wrong
            return
        batch.new_runs += runs_of(row, (config.queue, config.priority), owed, now)
        if owed.cancel_active:
            batch.cancelled.append(row.id)
        started = len(owed.fire) + len(owed.hold)
        batch.advanced.append(
            {
                "id": row.id,
                "next_run_at": owed.next_at,
                "last_run_at": now if started else row.last_run_at,
                "run_count": row.run_count + started,
                "hint": f"finished: {owed.finished}" if owed.finished else None,
            }
        )

    def fire_manual(self) -> int:
        """Make one manual run for each row with run_now=1, enabled or not, and set it back."""
        return self._in_transaction(self._fire_manual)

    def _fire_manual(self, tx: Connection) -> tuple[int, list[NewRun]]:
        rows = schedules.take_run_now(tx, FIRE_BATCH)
        if not rows:
            return 0, []
        now = read_clock(tx)
        inserted = runs.insert_runs(tx, [self._manual_run(row, now) for row in rows])
        schedules.clear_run_now(tx, [row.id for row in rows], now)
        return len(rows), inserted

    def _manual_run(self, row: AnyRow, now: datetime) -> NewRun:
        problems = what_is_wrong(row, self.surroundings)
        if problems:
            owed = Plan(skipped=(Skipped(now, now, 1, f"run_now on a broken row: {'; '.join(problems)}"),))
            lane = (DEFAULT_QUEUE, DEFAULT_PRIORITY)
        else:
            config = parse_task_config(row.task_extra_config)
            owed, lane = Plan(fire=(now,)), (config.queue, config.priority)
        return runs_of(row, lane, owed, now, Origin.MANUAL)[0]

    def _in_transaction(self, step: Callable[[Connection], tuple[int, list[NewRun]]]) -> int:
        """Run a step in one transaction, again after a deadlock; hand its runs over once they are committed."""
        for attempt in range(3):
            try:
                with self.engine.begin() as tx:
                    moved, inserted = step(tx)
                break
            except DBAPIError as error:
                if attempt == 2 or not is_contention(error):
                    raise
                logger.info("the transaction met a lock and is made again: %s", error.orig)
                sleep(BUSY_PAUSE)
        self.publisher.hand_over(
            Sendable(run.id, run.queue, run.priority, 0, json.loads(run.config)["task_type"])
            for run in inserted
            if run.state is State.PENDING and run.ready_at is not None
        )
        return moved

    # -- looking after the ledger -----------------------------------------------------------------

    def _look_after(self) -> None:
        if self._turn("heartbeat", HEARTBEAT_SECONDS):
            with self.engine.begin() as tx:
                leases.beat_alive(tx, self.beat_id)
        if self._turn("rescue", RESCUE_SECONDS):
            rescue(self.engine, judge_leases=self._may_judge_leases())
            self._release_held()
        if self._turn("housekeeping", HOUSEKEEPING_SECONDS) and self.settings.run_retention_days:
            self._in_transaction(_order_purge)

    def _release_held(self) -> int:
        with self.engine.begin() as tx:
            return len(runs.release_held(tx, FIRE_BATCH))

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

    def _read_endpoints(self) -> None:
        with autocommit(self.engine) as connection:
            known = schedules.endpoints(connection)
        settings = self.settings

        def check(config: AnyConfig) -> str | None:
            return what_is_wrong_with_target(config, known, settings)

        self.surroundings = Surroundings(settings.timezone, frozenset(settings.queues), check)

    def _check_surroundings(self) -> None:
        """Arm rows again whose moments depend on a setting or on data that changed since the last start."""
        with self.engine.begin() as tx:
            for name, value, rearm in (
                ("default_zone", self.settings.timezone, schedules.rearm_where_zone_is_default),
                ("tzdata", tzdata.IANA_VERSION, schedules.rearm_all),
            ):
                before = leases.read_state(tx, name)
                if before != value:
                    if before is not None:
                        logger.warning(
                            "%s changed from %s to %s: %d rows are armed again", name, before, value, rearm(tx)
                        )
                    leases.write_state(tx, name, value)
        self._surroundings_checked = True


def runs_of(
    row: AnyRow, lane: tuple[str, int], owed: Plan, now: datetime, origin: Origin = Origin.SCHEDULE
) -> list[NewRun]:
    """Make the ledger rows of a plan: runs to start, held ones, and skipped ones with their reason.

    `lane` is the queue and the priority.
    """
    queue, priority = lane

    def make(moment: datetime, state: State, ready_at: datetime | None, skip: Skipped | None = None) -> NewRun:
        return NewRun(
            id=runs.new_run_id(),
            periodic_task_id=row.id,
            task_name=row.name,
            origin=origin,
            scheduled_for=moment.astimezone(UTC),
            ready_at=ready_at,
            state=state,
            queue=queue,
            priority=priority,
            config=row.task_extra_config or "{}",
            error=skip.reason if skip else None,
            result_data=_range_of(skip) if skip else None,
            finished_at=now if skip else None,
        )

    return [
        *(make(moment, State.PENDING, now) for moment in owed.fire),
        *(make(moment, State.PENDING, None) for moment in owed.hold),
        *(make(skip.first, State.SKIPPED, None, skip) for skip in owed.skipped),
    ]


def _order_purge(tx: Connection) -> tuple[int, list[NewRun]]:
    """Once in `PURGE_EVERY`, among all beats, enter a run that deletes what RUN_RETENTION_DAYS no longer keeps."""
    if not leases.take_turn(tx, "purge_runs", PURGE_EVERY):
        return 0, []
    now = read_clock(tx)
    order = NewRun(
        id=runs.new_run_id(),
        periodic_task_id=None,
        task_name=PURGE_TASK,
        origin=Origin.API,
        scheduled_for=now,
        ready_at=now,
        state=State.PENDING,
        queue="system",
        priority=DEFAULT_PRIORITY,
        config=json.dumps({"task_type": "celery", "task": PURGE_TASK, "queue": "system", "timeout": 1800}),
    )
    return 1, runs.insert_runs(tx, [order])


def _range_of(skip: Skipped) -> str | None:
    if skip.first == skip.last:
        return None
    return json.dumps({"from": skip.first.isoformat(), "to": skip.last.isoformat(), "count": skip.count})
