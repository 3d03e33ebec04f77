"""Queries of the lookout: rows seen beside each other, rows that nothing would find, cancelled runs without an end.

Each reads a bounded piece by an index, and locks nothing; only what is then changed is locked, where it is free.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, case, func, or_, select

from core.after import STARTS_AFTER
from core.hints import BESIDE, CROWD
from core.lifecycle import State
from store.database import AnyRow
from store.runs import R
from store.schedules import DUE_INDEX, TABLE, T

NAMED: Final = 20
"""Rows of one crowd, and twins of one row, that get a hint: enough to be seen, and a million rows stay unwritten."""
ARMED: Final = (T.needs_arming == 0, T.next_run_at.is_not(None))  # so enabled, and without a config_error
SILENCED: Final = (
    T.enabled == 1,
    T.config_error.is_(None),
    or_(T.hint.is_(None), and_(T.hint.not_like("finished:%"), T.hint.not_like(f"{STARTS_AFTER}%"))),
)


class Piece(NamedTuple):
    """Ids beyond the last piece, and where this one ends: None at the end of the table."""

    ids: Sequence[int]
    last: int | None


def end_of_piece(connection: Connection, since: datetime | None, size: int) -> datetime | None:
    """Name the last moment of the next `size` armed rows, the last of them left out where it may be cut.

    None: no row is left. Index ix_periodic_task_due alone.
    """
    after = ARMED if since is None else (*ARMED, T.next_run_at > since)
    rows = select(T.next_run_at).with_hint(TABLE, DUE_INDEX, "mysql").where(*after).order_by(T.next_run_at)
    last: datetime | None = connection.execute(rows.limit(1).offset(size - 1)).scalar()
    if last is None:
        newest = rows.order_by(None).order_by(T.next_run_at.desc())
        end: datetime | None = connection.execute(newest.limit(1)).scalar()
        return end
    before = rows.where(T.next_run_at < last).order_by(None).order_by(T.next_run_at.desc())
    whole: datetime | None = connection.execute(before.limit(1)).scalar()
    return last if whole is None else whole


def neighbours(connection: Connection, since: datetime | None, until: datetime, size: int) -> Sequence[AnyRow]:
    """Name rows that share their second with a crowd (`crowd`: how many), do what an older row does (`twin`), or did.

    Of at most `size` rows with a next moment after `since` and up to `until`. Index ix_periodic_task_due.
    """
    after = ARMED if since is None else (*ARMED, T.next_run_at > since)
    # Two rows without start_time may name the same interval and never meet: each counts from its create_time.
    counts_from_creation = and_(T.start_time.is_(None), or_(T.interval_seconds.is_not(None), T.rrule.is_not(None)))
    piece = (
        select(T.id, T.next_run_at, T.armed_for, T.hint, case((counts_from_creation, T.next_run_at)).label("anchor"))
        .with_hint(TABLE, DUE_INDEX, "mysql")
        .where(*after, T.next_run_at <= until)
        .order_by(T.next_run_at, T.id)
        .limit(size)
        .subquery()
    )
    p, alike = piece.c, (piece.c.armed_for, piece.c.anchor)
    seen = select(
        p.id,
        p.next_run_at,
        p.hint,
        func.count().over(partition_by=p.next_run_at).label("crowd"),
        func.row_number().over(partition_by=p.next_run_at, order_by=p.id).label("place"),
        func.min(p.id).over(partition_by=alike).label("twin"),
        func.row_number().over(partition_by=alike, order_by=p.id).label("copy"),
    ).subquery()
    s = seen.c
    crowded, doubled = and_(s.crowd >= CROWD, s.place <= NAMED), and_(s.copy > 1, s.copy <= NAMED)
    return connection.execute(
        select(
            s.id,
            s.next_run_at,
            s.hint,
            case((crowded, s.crowd)).label("crowd"),
            case((doubled, s.twin)).label("twin"),
        ).where(or_(crowded, doubled, s.hint.contains(BESIDE)))
    ).all()


def lock_hints(tx: Connection, moments: Mapping[int, datetime]) -> Sequence[AnyRow]:
    """Lock the rows (id: next moment) that nobody holds and that still have that next moment. Primary key."""
    found = tx.execute(
        select(T.id, T.hint, T.next_run_at)
        .where(T.id.in_(moments), T.needs_arming == 0)
        .with_for_update(skip_locked=True)
    ).all()
    return [row for row in found if row.next_run_at == moments[row.id]]


def silenced(connection: Connection, after: int, size: int) -> Piece:
    """Name enabled, armed, unfinished rows without a next moment, among the next `size` rows without one.

    Only a hand writes that, and no tick would see it. Index ix_periodic_task_due.
    """
    rows = _by_id(DUE_INDEX, T.needs_arming == 0, T.next_run_at.is_(None), after=after)
    return _piece(connection, rows, SILENCED, size)


def still_silenced(tx: Connection, ids: Collection[int]) -> Sequence[int]:
    """Lock those of the rows that nobody holds and that are silenced still. Primary key."""
    without = (T.needs_arming == 0, T.next_run_at.is_(None))
    return tx.execute(
        select(T.id).where(T.id.in_(ids), *without, *SILENCED).with_for_update(skip_locked=True)
    ).scalars().all()  # fmt: skip


def without_words(connection: Connection, calendar: str, words: str, after: int, size: int) -> Piece:
    """Name armed rows under a calendar whose hint has not these words, among its next `size` rows.

    Index ix_periodic_task_calendar.
    """
    rows = _by_id("FORCE INDEX (ix_periodic_task_calendar)", T.calendar == calendar, after=after)
    return _piece(connection, rows, (*ARMED, or_(T.hint.is_(None), ~T.hint.contains(words))), size)


def unlocked(tx: Connection, ids: Collection[int]) -> Sequence[int]:
    """Lock those of the rows that nobody holds. Primary key."""
    return tx.execute(select(T.id).where(T.id.in_(ids)).with_for_update(skip_locked=True)).scalars().all()


def _by_id(index: str, *conditions: Any, after: int) -> Any:
    """Rows equal in an index come out of it by id."""
    return select(T.id).with_hint(TABLE, index, "mysql").where(*conditions, T.id > after).order_by(T.id)


def _piece(connection: Connection, rows: Any, wanted: Sequence[Any], size: int) -> Piece:
    last: int | None = connection.execute(rows.limit(1).offset(size - 1)).scalar()
    found = rows.where(*wanted) if last is None else rows.where(*wanted, T.id <= last)
    return Piece(connection.execute(found).scalars().all(), last)


def cancelled_without_end(connection: Connection, since: datetime, size: int) -> Sequence[str]:
    """Name runs set to REVOKED by hand that no worker completed, among the newest `size` of each kind.

    One was ready or would have been later than `since`: an older one was sent long ago, and a worker that meets it
    completes it. The other was held and has no time: ids are looked at, which sort by creation. Index
    ix_task_run_ready.
    """
    revoked = select(R.id, R.finished_at).where(R.state == State.REVOKED)
    timed = revoked.where(R.ready_at > since).order_by(R.ready_at.desc())
    held = revoked.where(R.ready_at.is_(None)).order_by(R.id.desc())
    found: list[str] = []
    for newest in (timed.limit(size).subquery(), held.limit(size).subquery()):
        found += connection.execute(select(newest.c.id).where(newest.c.finished_at.is_(None))).scalars()
    return found
