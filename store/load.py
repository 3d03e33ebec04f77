"""The armed rows by the rule they share: what the load of the coming days is computed from."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from core.load import Group
from store.database import AnyRow
from store.schedules import DUE_INDEX, TABLE, T

MOST_ROWS: Final = 50_000
MOST_RULES: Final = 2_000
FINGERPRINT: Final = 32  # characters of armed_for: the half that names the schedule

#: Rules without a start_time count from it, so rows with one fingerprint may fire at different moments.
ANCHOR: Final = case((and_(T.crontab.is_(None), T.start_time.is_(None)), T.create_time)).label("create_time")
COLUMNS: Final = (
    T.id, T.name, T.crontab, T.interval_seconds, T.rrule, T.run_at, T.timezone, T.dst_policy, T.calendar,
    T.calendar_roll, T.start_time, T.end_time, T.jitter_seconds, T.create_time,
)  # fmt: skip


class Rules(NamedTuple):
    """Groups of rows with one rule each, and the rows beyond them by their next moment."""

    groups: Sequence[Group]
    beyond: Sequence[tuple[datetime, int]]
    more: bool
    """True where there are rows that are in neither."""


def rules(connection: Connection, first: datetime, last: datetime) -> Rules:
    """Group the first MOST_ROWS rows that fire from `first` to `last` by rule; at most MOST_RULES groups are read.

    The others are counted at their next moment alone. Index ix_periodic_task_due, then primary keys.
    """
    due = (T.needs_arming == 0, T.next_run_at >= first, T.next_run_at < last)
    rule = func.substr(T.armed_for, 1, FINGERPRINT).label("rule")
    some = (
        select(T.id, T.next_run_at, rule, ANCHOR)
        .with_hint(TABLE, DUE_INDEX, "mysql")
        .where(*due)
        .order_by(T.next_run_at)
        .limit(MOST_ROWS)
        .subquery()
    )
    s = some.c
    grouped = (
        select(func.min(s.id).label("id"), func.count().label("rows"), func.min(s.next_run_at).label("next_run_at"))
        .group_by(s.rule, s.create_time)
        .order_by(func.count().desc(), func.min(s.id))
    )
    found = connection.execute(grouped).all()
    columns = {row.id: row for row in rows(connection, [group.id for group in found[:MOST_RULES]])}
    groups = [Group(columns[each.id], each.rows, each.next_run_at) for each in found if each.id in columns]
    beyond = [(each.next_run_at, each.rows) for each in found[MOST_RULES:]]
    return Rules(groups, beyond, sum(each.rows for each in found) == MOST_ROWS)


def rows(connection: Connection, ids: Sequence[int]) -> Sequence[AnyRow]:
    """Read the columns that name rows' moments. Primary key."""
    return connection.execute(select(*COLUMNS).where(T.id.in_(ids))).all() if ids else []


def alike(connection: Connection, ids: Sequence[int], limit: int) -> Sequence[AnyRow]:
    """Read the armed rows whose rule one of these rows has, at most `limit`. Reads every armed row's fingerprint."""
    if not ids:
        return []
    rule = func.substr(T.armed_for, 1, FINGERPRINT)
    wanted = select(rule).where(T.id.in_(ids))
    query = select(*COLUMNS).where(T.needs_arming == 0, T.next_run_at.is_not(None), rule.in_(wanted))
    return connection.execute(query.order_by(T.id).limit(limit)).all()
