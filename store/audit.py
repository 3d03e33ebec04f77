"""Queries on `audit_log`: who changed what, and what it was before. Rows are only ever added.

Edits by plain SQL are entered by triggers (migrations/sql/0006_*_audit.sql, 0008_*_audit.sql). Whoever enters the
changes of a transaction himself calls `silence_triggers` first, or they would stand there twice.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, literal, select

from models import AuditLog, SchedulerState
from store.bulk import moment_text
from store.database import AnyRow, utc_now

TABLE: Table = AuditLog.__table__  # type: ignore[assignment]
A = TABLE.c
STATE: Table = SchedulerState.__table__  # type: ignore[assignment]

NOTE_CHARS: Final = 1000
ACTOR_CHARS: Final = 191
LOOKED: Final = 50_000  # entries that one answer looks at
FIRST_LOOK: Final = 1_000  # entries among which a page is mostly found: to reach further costs a hundred times that
FEW: Final = 20_000  # entries of a kind that are sorted
BY_ID, BY_SUBJECT = (f"FORCE INDEX ({name})" for name in ("PRIMARY", "ix_audit_log_subject"))
SILENT: Final = "audited_by_the_program"
"""The row of `scheduler_state` that the triggers look for."""
MINE: Final = f"CONCAT('{SILENT}:', CONNECTION_ID())"
SILENCE_SESSION: Final = (
    f"REPLACE INTO scheduler_state (name, value, update_time) VALUES ({MINE}, '', UTC_TIMESTAMP(6))"  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and the way he came in: token, session, command, sql or system."""

    name: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one thing. `action` is `<kind>.<verb>`; the values hold what is known of before and after."""

    action: str
    subject: str | int
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    note: str | None = None
    change_set: str | None = None

    @property
    def kind(self) -> str:
        """What kind of thing it is: task, run, hold, user, token, endpoint, calendar_day, queue, worker."""
        return self.action.partition(".")[0]


def record(tx: Connection, actor: Actor, *changes: Change) -> None:
    """Enter changes, in the transaction that makes them: both are there, or neither."""
    if changes:
        tx.execute(insert(TABLE), [_columns(actor, change) for change in changes])


def _columns(actor: Actor, change: Change) -> dict[str, Any]:
    return {
        "actor": actor.name[:ACTOR_CHARS],
        "via": actor.via,
        "action": change.action,
        "subject_kind": change.kind,
        "subject": str(change.subject)[:ACTOR_CHARS],
        "old_value": as_text(change.before),
        "new_value": as_text(change.after),
        "note": change.note and change.note[:NOTE_CHARS],
        "change_set": change.change_set,
    }


def as_text(values: Mapping[str, Any] | None) -> str | None:
    """Write values as JSON; a moment as the text of a DATETIME(6), a wall-clock time as it is."""
    if values is None:
        return None
    return json.dumps(dict(values), ensure_ascii=False, default=_text_of)


def _text_of(value: Any) -> str:
    if not isinstance(value, datetime):
        return str(value)
    is_wall_clock = value.tzinfo is None
    return value.isoformat(sep=" ", timespec="microseconds") if is_wall_clock else moment_text(value)


@contextmanager
def silence_triggers(tx: Connection) -> Iterator[None]:
    """Let the triggers enter nothing for a while: who opens this enters the changes himself, in this transaction."""
    # A row of this transaction only. On SQLite it is the sole writer; elsewhere the row names the session, and
    # operators may not write the table, while a session variable is anybody's: it only makes the triggers look.
    if tx.dialect.name == "sqlite":
        tx.execute(insert(STATE).values(name=SILENT, value="", update_time=utc_now()))
        yield
        tx.execute(delete(STATE).where(STATE.c.name == SILENT))
        return
    tx.exec_driver_sql(SILENCE_SESSION)
    tx.exec_driver_sql(f"SET @{SILENT} = 1")
    try:
        yield
    finally:
        if not tx.invalidated:
            tx.exec_driver_sql(f"SET @{SILENT} = NULL")
            tx.exec_driver_sql(f"DELETE FROM scheduler_state WHERE name = {MINE}")  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Found:
    """Changes, newest first. `resume_before` is where the next search goes on; None: nothing older is left."""

    rows: Sequence[AnyRow]
    resume_before: int | None


def page(
    connection: Connection,
    *,
    before: int | None,
    limit: int,
    kind: str | None = None,
    subject: str | None = None,
    hidden: Collection[str] = (),
) -> Found:
    """Page through the changes, newest first, but for those of hidden kinds.

    Index ix_audit_log_subject for a subject, or a kind that has few entries; else the primary key backwards, LOOKED
    entries at most: many thousand logins may lie between two changes that are shown.
    """
    if kind in hidden:
        return Found([], None)
    bounds: list[ColumnElement[bool]] = [A.id < before] if before is not None else []
    wanted: list[ColumnElement[bool]] = [A.subject_kind.not_in(hidden)] if hidden else []
    wanted += [A.subject_kind == kind] if kind is not None else []
    wanted += [A.subject == subject] if subject is not None else []
    if subject is not None or (kind is not None and _has_few(connection, kind)):
        return _newest(connection, BY_SUBJECT, (*bounds, *wanted), limit, None)
    if not wanted:
        return _newest(connection, BY_ID, bounds, limit, None)
    for looked in (min(FIRST_LOOK, LOOKED), LOOKED):
        reached = select(A.id).where(*bounds).order_by(A.id.desc()).limit(1).offset(looked - 1)
        edge = connection.execute(reached).scalar_one_or_none()
        until = [A.id >= edge] if edge is not None else []
        found = _newest(connection, BY_ID, (*bounds, *until, *wanted), limit, edge)
        if edge is None or len(found.rows) == limit:
            break
    return found


def _newest(
    connection: Connection, path: str, conditions: Sequence[ColumnElement[bool]], limit: int, edge: int | None
) -> Found:
    """Read the newest entries; where they are fewer than asked for, the next search goes on before `edge`."""
    ids = select(A.id).with_hint(TABLE, path, "mysql").where(*conditions)
    found = ids.order_by(A.id.desc()).limit(limit + 1).subquery()  # no row is read whole only to be sorted
    rows = connection.execute(select(TABLE).join(found, A.id == found.c.id).order_by(A.id.desc())).all()
    return Found(rows[:limit], rows[limit - 1].id) if len(rows) > limit else Found(rows, edge)


def _has_few(connection: Connection, kind: str) -> bool:
    entries = select(literal(1)).select_from(TABLE).where(A.subject_kind == kind).limit(1).offset(FEW)
    return connection.execute(entries).first() is None


def of_change_set(connection: Connection, change_set: str, after: int, limit: int) -> Sequence[AnyRow]:
    """Read a bulk change's entries in order. Index ix_audit_log_change_set."""
    query = select(A.id, A.action, A.subject, A.old_value, A.new_value)
    return connection.execute(query.where(A.change_set == change_set, A.id > after).order_by(A.id).limit(limit)).all()
