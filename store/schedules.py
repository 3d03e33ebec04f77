"""Queries on `periodic_task`: what needs arming, what is due, and moving rows on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, Table, and_, bindparam, case, exists, or_, select, update

from core.hints import DEAF, HINT_CHARS
from core.lifecycle import Origin, State
from models import AgentEndpoint, PeriodicTask, TaskRun
from store.bulk import moment_text, send_rows, update_by_id, updating
from store.database import AnyRow, utc_now
from store.packed import Packed

TABLE: Table = PeriodicTask.__table__  # type: ignore[assignment]
T = TABLE.c

# The optimizer otherwise may prefer the primary key for LIMIT queries, which is a scan of every idle row.
DUE_INDEX = "FORCE INDEX (ix_periodic_task_due)"

PAUSE_CHARS = 500  # of pause_reason
ERROR_CHARS = 1000  # of config_error; a text that is too long for its type would come out of JSON_TABLE as NULL

SCHEDULE_COLUMNS = (
    T.id, T.name, T.enabled, T.crontab, T.interval_seconds, T.rrule, T.run_at, T.timezone, T.dst_policy,
    T.calendar, T.calendar_roll, T.start_time, T.end_time, T.max_runs, T.jitter_seconds, T.catch_up,
    T.catch_up_window_seconds, T.overlap, T.task_extra_config, T.next_run_at, T.last_run_at, T.run_count,
    T.hint, T.create_time,
)  # fmt: skip


# create_time is the anchor of few rows only.
_ANCHOR = case((and_(T.crontab.is_(None), T.start_time.is_(None)), T.create_time)).label("create_time")

_UNARMED = Packed(
    (
        T.id, T.name, T.enabled, T.crontab, T.interval_seconds, T.run_at, T.timezone, T.dst_policy, T.calendar,
        T.calendar_roll, T.start_time, T.end_time, T.max_runs, T.jitter_seconds, T.catch_up,
        T.catch_up_window_seconds, T.overlap, T.next_run_at, T.run_count, _ANCHOR, T.armed_for,
        T.schedule_fingerprint, T.checked_fingerprint,
    ),
    (T.rrule, T.task_extra_config, T.config_error),
)  # fmt: skip

# What firing reads of each due row. The columns that name its moments are read once for all rows of a fingerprint,
# which stands in armed_for.
_DUE = Packed(
    (
        T.id, T.name, T.armed_for, _ANCHOR, T.jitter_seconds, T.max_runs, T.catch_up, T.catch_up_window_seconds,
        T.overlap, T.next_run_at, T.run_count,
    ),
    (T.task_extra_config,),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """What a tick finds to do, from one round trip."""

    now: datetime
    needs_arming: bool
    run_now: bool
    next_due: datetime | None


def probe(connection: Connection, since: datetime | None) -> Probe:
    """Look at the clock and at the front of three indexes: due, run_now, rearm.

    `since` is the low-water mark: while an old read view stops purge, the entries before it are dead and many.
    """
    waiting = select(T.id).with_hint(TABLE, DUE_INDEX, "mysql").where(T.needs_arming == 1)
    broken = select(T.id).where(T.rearm_at <= utc_now())
    # ORDER BY … LIMIT 1 and not MIN(): with these conditions MIN() reads every idle row.
    due = select(T.next_run_at).with_hint(TABLE, DUE_INDEX, "mysql").where(runnable(since)).order_by(T.next_run_at)
    row = connection.execute(
        select(
            utc_now().label("now"),
            (exists(waiting) | exists(broken)).label("needs_arming"),
            exists(select(T.id).where(T.run_now > 0)).label("run_now"),
            due.limit(1).scalar_subquery().label("next_due"),
        )
    ).one()
    return Probe(row.now, bool(row.needs_arming), bool(row.run_now), row.next_due)


def runnable(since: datetime | None) -> Any:
    """Say which rows fire once they are due: armed, enabled, in order."""
    bounds = [T.needs_arming == 0, T.next_run_at.is_not(None), T.enabled == 1, T.config_error.is_(None)]
    return and_(*bounds, *([T.next_run_at >= since] if since is not None else []))


def take_unarmed(tx: Connection, limit: int) -> Sequence[Any]:
    """Lock rows whose columns differ from what they were armed for, skipping rows somebody else holds.

    Index ix_periodic_task_due; a broken row comes back by ix_periodic_task_rearm once its time has come.
    """
    changed = (
        _UNARMED.select(tx)
        .with_hint(TABLE, DUE_INDEX, "mysql")
        .where(T.needs_arming == 1)
        .order_by(T.next_run_at, T.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    broken = (
        _UNARMED.select(tx)
        .where(T.rearm_at <= utc_now())  # and no word of needs_arming: SQLite would walk that index instead
        .order_by(T.rearm_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list({row.id: row for row in (*_UNARMED.rows(tx, changed), *_UNARMED.rows(tx, broken))}.values())


_ARMED_TYPES = {"next_run_at": "DATETIME(6)", "armed_for": "VARCHAR(65)"}
_SAID_TYPES = {"config_error": f"VARCHAR({ERROR_CHARS})", "hint": f"VARCHAR({HINT_CHARS})", "rearm_at": "DATETIME(6)"}
_ARM = updating(
    TABLE,
    _ARMED_TYPES,
    "t.next_run_at = v.next_run_at, t.armed_for = v.armed_for, t.config_error = NULL, t.hint = NULL, t.rearm_at = NULL",
)


def set_armed(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store what arming found. `armed_for` is the fingerprint that was read, so a later edit shows at once.

    Rows with nothing to say, which are most, are written by a statement of their own at three quarters of the cost.
    """
    plain = [] if tx.dialect.name == "sqlite" else [row for row in rows if not any(row[name] for name in _SAID_TYPES)]
    if plain:
        send_rows(tx, _ARM, [(row["id"], row["next_run_at"], row["armed_for"]) for row in plain])
    others = rows if not plain else [row for row in rows if any(row[name] for name in _SAID_TYPES)]
    said = [{**row, "config_error": row["config_error"] and row["config_error"][:ERROR_CHARS]} for row in others]
    update_by_id(tx, TABLE, said, _ARMED_TYPES | _SAID_TYPES)


def take_due(tx: Connection, now: datetime, since: datetime | None, limit: int) -> Sequence[Any]:
    """Lock the rows that are due, oldest first, skipping those another beat or an operator holds.

    Index ix_periodic_task_due.
    """
    due = (
        _DUE.select(tx)
        .with_hint(TABLE, DUE_INDEX, "mysql")
        .where(runnable(since), T.next_run_at <= now)
        .order_by(T.next_run_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _DUE.rows(tx, due)


def read_many(tx: Connection, task_ids: Collection[int]) -> Sequence[AnyRow]:
    """Read rows as arming does. Primary key."""
    return tx.execute(select(*SCHEDULE_COLUMNS).where(T.id.in_(task_ids))).all()


def take_run_now(tx: Connection, limit: int) -> Sequence[AnyRow]:
    """Lock the rows an operator asked to run once. Index ix_periodic_task_run_now."""
    return tx.execute(
        select(*SCHEDULE_COLUMNS, T.config_error, T.needs_arming)
        .where(T.run_now > 0)
        .order_by(T.run_now, T.id)  # the order of the index
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def read(connection: Connection, task_id: int) -> AnyRow | None:
    """Read one row as arming does. Primary key."""
    return connection.execute(select(*SCHEDULE_COLUMNS, T.needs_arming).where(T.id == task_id)).one_or_none()


def id_of(connection: Connection, name: str) -> int | None:
    """Find a row by its name. Index uq_periodic_task_name."""
    return connection.execute(select(T.id).where(T.name == name)).scalar_one_or_none()


def names(connection: Connection, limit: int = 10_000) -> Sequence[str]:
    """Name rows, to find what a wrong name was most likely meant to be. Index uq_periodic_task_name."""
    return connection.execute(select(T.name).limit(limit)).scalars().all()


def clear_run_now(tx: Connection, task_ids: Sequence[int], started: Sequence[int | None], now: datetime) -> None:
    """The manual runs exist now: set the flag back, and note the time where one really starts. Primary key."""
    tx.execute(update(TABLE).where(T.id.in_(task_ids)).values(run_now=0))
    if started:
        tx.execute(update(TABLE).where(T.id.in_(started)).values(last_run_at=now))


class Moved(NamedTuple):
    """A fired row: when it is due again, and how many of its runs were started."""

    id: int
    next_run_at: datetime | None
    started: int


_MOVED = {"next_run_at": "DATETIME(6)", "started": "INT"}
_ADVANCE = updating(
    TABLE,
    _MOVED,
    "t.next_run_at = v.next_run_at, t.run_count = t.run_count + v.started, "
    "t.last_run_at = IF(v.started > 0, :now, t.last_run_at)",
)


def advance(tx: Connection, rows: Sequence[Moved], now: datetime) -> None:
    """Move fired rows on to their next moment; last_run_at only where a run was started. Primary key."""
    if not rows:
        return
    if tx.dialect.name != "sqlite":
        send_rows(tx, _ADVANCE, rows, now=moment_text(now))
        return
    started = bindparam("started", type_=Integer)
    values = {
        "next_run_at": bindparam("new_next", type_=T.next_run_at.type),
        "run_count": T.run_count + started,
        "last_run_at": case((started > 0, bindparam("now", type_=T.last_run_at.type)), else_=T.last_run_at),
    }
    tx.execute(
        update(TABLE).where(T.id == bindparam("row_id")).values(values),
        [{"row_id": row.id, "new_next": row.next_run_at, "started": row.started, "now": now} for row in rows],
    )


def set_hints(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the column alone, of rows that are locked. Primary key."""
    update_by_id(tx, TABLE, rows, {"hint": f"VARCHAR({HINT_CHARS})"})


def mark_for_arming(tx: Connection, task_ids: Sequence[int]) -> None:
    """Send rows back to arming, which will say what is wrong with them. Primary key."""
    tx.execute(update(TABLE).where(T.id.in_(task_ids)).values(armed_for=""))


def mark_for_checking(tx: Connection, task_ids: Sequence[int]) -> None:
    """Send armed rows back to arming as after an edit that does not move their next moment. Primary key.

    A row that waits for arming is left out: this would hide that its schedule was edited.
    """
    is_armed = T.needs_arming == 0
    checked = T.schedule_fingerprint.concat(":")
    tx.execute(update(TABLE).where(T.id.in_(task_ids), is_armed).values(armed_for=checked))


#: Which rows depend on what may change beside them.
CONCERNED = {"default_zone": T.timezone.is_(None), "calendars": T.calendar.is_not(None), "tzdata": T.id > 0}


def armed_after(tx: Connection, last: int, concern: str, limit: int = 1000) -> list[int]:
    """Name armed rows beyond an id that a change concerns: a key of CONCERNED. Primary key."""
    bounds = [T.id > last, T.armed_for.is_not(None), CONCERNED[concern]]
    return list(tx.execute(select(T.id).where(*bounds).order_by(T.id).limit(limit)).scalars())


def armed_for_channels(tx: Connection, last: int, removed: Iterable[str], limit: int = 1000) -> list[int]:
    """Name armed rows beyond an id that name a channel in vain, or one of these in their config. Primary key."""
    named = [T.task_extra_config.contains(f'"{name}"', autoescape=True) for name in removed]
    bounds = [T.id > last, T.needs_arming == 0, T.next_run_at.is_not(None), or_(T.hint.contains(DEAF), *named)]
    return list(tx.execute(select(T.id).where(*bounds).order_by(T.id).limit(limit)).scalars())


_RUN = TaskRun.__table__.c
_OUTCOME = (
    update(TABLE)
    .where(
        T.id == bindparam("task"),
        ~exists(select(_RUN.id).where(_RUN.id == bindparam("run"), _RUN.origin == Origin.BACKFILL)),
    )
    .values(
        last_run_state=bindparam("state"),
        consecutive_failures=case(
            (bindparam("state") == State.SUCCESS, 0),
            (bindparam("state") == State.FAILURE, T.consecutive_failures + 1),
            else_=T.consecutive_failures,
        ),
    )
)


def record_outcome(connection: Connection, run_id: str, task_id: int, state: State) -> None:
    """Show a run's end on its schedule row, but a backfill's: its old moments say nothing about the row today.

    Primary keys; a statement of its own, so results never wait for a lock.
    """
    connection.execute(_OUTCOME, {"run": run_id, "task": task_id, "state": state.value})


def pause(connection: Connection, task_id: int, why: str) -> bool:
    """Disable a row and say why. False: it is disabled already. Primary key."""
    values = {"enabled": 0, "pause_reason": why[:PAUSE_CHARS]}
    return connection.execute(update(TABLE).where(T.id == task_id, T.enabled == 1).values(**values)).rowcount == 1


def endpoints(connection: Connection) -> dict[str, AnyRow]:
    """Name every endpoint with its provider and address."""
    table = AgentEndpoint.__table__
    rows = connection.execute(select(table.c.name, table.c.provider, table.c.base_url))
    return {row.name: row for row in rows}
