"""Reads for the API: pages of runs and tasks, the signs of life, and the figures of `/metrics`.

Nothing here locks or writes. Every count stops at COUNT_LIMIT, so an answer costs the same whatever has piled up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, ScalarSelect, String, bindparam, column, event, func, literal, select, table
from sqlalchemy.exc import OperationalError, ProgrammingError

from core.lifecycle import State
from store import budgets, calendar_days, missed_fires, notices
from store.database import AnyRow, connect, error_code, utc_now
from store.leases import BEAT, LEASE
from store.missed_fires import Noted
from store.notices import Notices
from store.runs import R
from store.schedules import DUE_INDEX, T
from store.schedules import TABLE as TASK_TABLE

COUNT_LIMIT: Final = 100_000
ERROR_CHARACTERS: Final = 500
NO_SUCH_TABLE: Final = 1146
UNFINISHED: Final = (State.PENDING, State.QUEUED, State.RETRY, State.STARTED)

RUN_SUMMARY = (
    R.id, R.periodic_task_id, R.task_name, R.origin, R.scheduled_for, R.ready_at, R.state, R.queue, R.priority,
    R.attempt, R.retry_of, R.after_run, R.worker, R.queued_at, R.started_at, R.finished_at, R.error_kind, R.http_status,
)  # fmt: skip
RUN_DETAIL = (
    *RUN_SUMMARY, R.error, R.config, R.result, R.result_data, R.conversation_id, R.request_id,
    R.input_tokens, R.output_tokens, R.cost, R.currency,
)  # fmt: skip
_RUN_DETAIL_BY_ID: Final = select(*RUN_DETAIL).where(R.id == bindparam("run_id"))
TASK = (
    T.id, T.name, T.description, T.owner, T.tags, T.enabled, T.pause_reason, T.crontab, T.interval_seconds, T.rrule,
    T.run_at, T.timezone, T.dst_policy, T.calendar, T.calendar_roll, T.start_time, T.end_time, T.max_runs,
    T.jitter_seconds, T.catch_up, T.catch_up_window_seconds, T.overlap, T.task_extra_config, T.run_now, T.next_run_at,
    T.last_run_at, T.last_run_state, T.run_count, T.consecutive_failures, T.config_error, T.hint, T.create_time,
    T.update_time, T.create_by, T.update_by,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """Who was there lately, by the database's clock."""

    now: datetime
    newest_tick: datetime | None
    workers: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What `/metrics` tells of the ledger. `oldest_ready` and `queue_ready` hold the moments, not the ages."""

    signs: SignsOfLife
    beats: int
    worker_slots: int
    runs: Mapping[str, int]
    oldest_ready: Mapping[str, datetime]
    queue_ready: Mapping[str, datetime]
    due: int
    oldest_due: datetime | None
    unarmed: int
    broken: int
    notices: Notices
    calendar_days_left: Mapping[str, int]
    missed: Noted | None
    used_up: Mapping[str, int]
    """Budgets that were found used up within their window, by what they do then."""


def connect_bounded(url: str, *, pool_size: int, seconds: int) -> Engine:
    """Make an engine on which no question waits longer than `seconds` for its answer."""
    engine = connect(url, pool_size=pool_size)
    is_sqlite = engine.dialect.name == "sqlite"
    names = ("timeout",) if is_sqlite else ("connect_timeout", "read_timeout", "write_timeout")

    @event.listens_for(engine, "do_connect")
    def _bound(_dialect: Any, _record: Any, _positional: Any, named: dict[str, Any]) -> None:
        named.update(dict.fromkeys(names, seconds))

    return engine


def schema_revision(connection: Connection) -> str | None:
    """Name the revision the database is at; None for an empty one. A table of one row."""
    version = table("alembic_version", column("version_num", String))
    try:
        return connection.execute(select(version.c.version_num)).scalar_one_or_none()
    except (ProgrammingError, OperationalError) as error:
        if error_code(error) == NO_SUCH_TABLE or "no such table" in str(error.orig):
            return None
        raise


def signs_of_life(connection: Connection) -> SignsOfLife:
    """Tell when a beat last ticked and how many workers live. Index ix_worker_lease_expires; beats are few rows."""
    newest = select(func.max(BEAT.c.last_tick_at)).scalar_subquery()
    workers = select(func.count()).select_from(LEASE).where(LEASE.c.expires_at > utc_now()).scalar_subquery()
    row = connection.execute(
        select(utc_now().label("now"), newest.label("newest_tick"), workers.label("workers"))
    ).one()
    return SignsOfLife(row.now, row.newest_tick, row.workers)


def figures(connection: Connection, *, heads: Sequence[str], beat_age: timedelta) -> Figures:
    """Count what waits and who lives. A beat lives that ticked within `beat_age`; `heads`: see `queue_ready`.

    Indexes ix_task_run_ready, ix_periodic_task_due, ix_periodic_task_rearm, ix_worker_lease_expires.
    """
    signs = signs_of_life(connection)
    is_due = (T.needs_arming == 0, T.next_run_at <= signs.now, T.enabled == 1, T.config_error.is_(None))
    slots = select(func.coalesce(func.sum(LEASE.c.concurrency), 0)).where(LEASE.c.expires_at > signs.now)
    row = connection.execute(
        select(
            *(_count_runs(state).label(f"{state}_count") for state in UNFINISHED),
            *(_oldest_ready(state).label(f"{state}_oldest") for state in UNFINISHED),
            _count_tasks(*is_due).label("due"),
            _count_tasks(T.needs_arming == 1).label("unarmed"),
            _count_tasks(T.rearm_at.is_not(None), hint="").label("broken"),
            _oldest_due(*is_due).label("oldest_due"),
            select(func.count())
            .select_from(BEAT)
            .where(BEAT.c.last_tick_at > signs.now - beat_age)
            .scalar_subquery()
            .label("beats"),
            slots.scalar_subquery().label("slots"),
        )
    ).one()
    oldest = {state: getattr(row, f"{state}_oldest") for state in UNFINISHED}
    return Figures(
        signs=signs,
        beats=row.beats,
        worker_slots=int(row.slots),
        runs={state: getattr(row, f"{state}_count") for state in UNFINISHED},
        oldest_ready={state: moment for state, moment in oldest.items() if isinstance(moment, datetime)},
        queue_ready=queue_ready(connection, heads),
        due=row.due,
        oldest_due=row.oldest_due,
        unarmed=row.unarmed,
        broken=row.broken,
        notices=notices.read(connection, signs.now),
        calendar_days_left=calendar_days.read_noted(connection).days_left(signs.now.date()),
        missed=missed_fires.noted(connection, signs.now),
        used_up=budgets.used_up(connection, signs.now),
    )


def _count_runs(state: State) -> ScalarSelect[int]:
    rows = select(R.state).where(R.state == state).limit(COUNT_LIMIT).subquery()
    return select(func.count()).select_from(rows).scalar_subquery()


def _count_tasks(*conditions: Any, hint: str = DUE_INDEX) -> ScalarSelect[int]:
    rows = select(literal(1).label("one")).select_from(TASK_TABLE).where(*conditions).limit(COUNT_LIMIT)
    rows = rows.with_hint(TASK_TABLE, hint, "mysql") if hint else rows
    return select(func.count()).select_from(rows.subquery()).scalar_subquery()


def _oldest_ready(state: State) -> ScalarSelect[Any]:
    """A held run has no `ready_at` and is not waiting for anybody."""
    ready = select(R.ready_at).where(R.state == state, R.ready_at.is_not(None))
    return ready.order_by(R.ready_at).limit(1).scalar_subquery()  # MIN() would read the whole range


def _oldest_due(*conditions: Any) -> ScalarSelect[Any]:
    first = select(T.next_run_at).with_hint(TASK_TABLE, DUE_INDEX, "mysql").where(*conditions)
    return first.order_by(T.next_run_at).limit(1).scalar_subquery()


def queue_ready(connection: Connection, heads: Sequence[str]) -> dict[str, datetime]:
    """Tell for each queue since when its next runs are ready; `heads` are the runs it serves next. Primary key."""
    if not heads:
        return {}
    waiting = select(R.queue, func.min(R.ready_at).label("ready_at")).where(
        R.id.in_(heads), R.state == State.QUEUED, R.ready_at.is_not(None)
    )
    return {row.queue: row.ready_at for row in connection.execute(waiting.group_by(R.queue))}


def runs_by_id(connection: Connection, run_ids: Sequence[str]) -> dict[str, AnyRow]:
    """Read runs without their answers. Primary key."""
    query = select(*RUN_SUMMARY, func.substr(R.error, 1, ERROR_CHARACTERS).label("error")).where(R.id.in_(run_ids))
    return {row.id: row for row in connection.execute(query)}


def run_detail(connection: Connection, run_id: str) -> AnyRow | None:
    """Read one run with its answer. Primary key."""
    return connection.execute(_RUN_DETAIL_BY_ID, {"run_id": run_id}).one_or_none()


def tasks_after(connection: Connection, after: int, limit: int) -> Sequence[AnyRow]:
    """Page through the tasks by id. Primary key."""
    return connection.execute(select(*TASK).where(T.id > after).order_by(T.id).limit(limit)).all()


def count_tasks(connection: Connection) -> int:
    """Count the tasks, up to COUNT_LIMIT. The smallest index."""
    every = select(literal(1)).select_from(TASK_TABLE)
    if connection.execute(every.limit(1).offset(COUNT_LIMIT - 1)).first() is not None:
        return COUNT_LIMIT  # a count of so many would first copy them into a table of its own
    return min(connection.execute(every.with_only_columns(func.count())).scalar_one(), COUNT_LIMIT)
