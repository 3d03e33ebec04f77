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

from sqlalchemy import Connection, Table, delete, insert, select

from models import AuditLog, SchedulerState
from store.bulk import moment_text
from store.database import AnyRow, utc_now

TABLE: Table = AuditLog.__table__  # type: ignore[assignment]
A = TABLE.c
STATE: Table = SchedulerState.__table__  # type: ignore[assignment]

NOTE_CHARS: Final = 1000
ACTOR_CHARS: Final = 191
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


def page(
    connection: Connection,
    *,
    before: int | None,
    limit: int,
    kind: str | None = None,
    subject: str | None = None,
    hidden: Collection[str] = (),
) -> Sequence[AnyRow]:
    """Page through the changes, newest first, but for those of hidden kinds.

    Primary key backwards; with a kind ix_audit_log_subject.
    """
    query = select(TABLE)
    if hidden:
        query = query.where(A.subject_kind.not_in(hidden))
    if before is not None:
        query = query.where(A.id < before)
    if kind is not None:
        query = query.where(A.subject_kind == kind)
        if subject is not None:
            query = query.where(A.subject == subject)
    return connection.execute(query.order_by(A.id.desc()).limit(limit)).all()


def of_change_set(connection: Connection, change_set: str, after: int, limit: int) -> Sequence[AnyRow]:
    """Read a bulk change's entries in order. Index ix_audit_log_change_set."""
    query = select(A.id, A.action, A.subject, A.old_value, A.new_value)
    return connection.execute(query.where(A.change_set == change_set, A.id > after).order_by(A.id).limit(limit)).all()
