"""Queries on `hold`: what is stopped for a while. A handful of rows, looked at every second or so."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, or_, select, update

from core.holds import MARK, Hold, Mode, Scope
from core.lifecycle import State
from models import Hold as HoldTable
from store.database import AnyRow, utc_now
from store.runs import TABLE as RUNS
from store.runs import WAITS, R
from store.schedules import T

TABLE: Table = HoldTable.__table__  # type: ignore[assignment]
H = TABLE.c

IN_FORCE: Final = (H.ended_at.is_(None), or_(H.ends_at.is_(None), H.ends_at > utc_now()))
MOST: Final = 1000


def in_force(connection: Connection) -> tuple[Hold, ...]:
    """Read what holds now, the oldest first. Index ix_hold_ended_at."""
    rows = connection.execute(select(TABLE).where(*IN_FORCE).order_by(H.id).limit(MOST))
    # What somebody enters by hand may end in spaces, which MySQL's comparisons, CHECKs too, pass over.
    return tuple(
        Hold(row.id, Scope(row.scope.strip()), row.name, Mode(row.mode.strip()), row.reason, row.ends_at)
        for row in rows
    )


def page(connection: Connection, before: int | None, limit: int, *, only_in_force: bool) -> Sequence[AnyRow]:
    """Page through the holds, newest first. Primary key backwards, or ix_hold_ended_at."""
    query = select(TABLE).where(*(IN_FORCE if only_in_force else ()))
    query = query if before is None else query.where(H.id < before)
    return connection.execute(query.order_by(H.id.desc()).limit(limit)).all()


def read(connection: Connection, hold_id: int, *, lock: bool = False) -> AnyRow | None:
    """Read one. Primary key."""
    query = select(TABLE).where(H.id == hold_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def add(tx: Connection, **values: Any) -> AnyRow:
    """Enter a hold and return its row."""
    key = tx.execute(insert(TABLE).values(values)).inserted_primary_key
    return tx.execute(select(TABLE).where(H.id == key[0])).one()  # type: ignore[index]


def end(tx: Connection, hold_id: int, by: str) -> None:
    """Lift a hold now. Primary key."""
    tx.execute(update(TABLE).where(H.id == hold_id, H.ended_at.is_(None)).values(ended_at=utc_now(), ended_by=by))


def tags_of(connection: Connection, task_ids: Iterable[int]) -> dict[int, str | None]:
    """Name the tags of rows. Primary key."""
    rows = connection.execute(select(T.id, T.tags).where(T.id.in_(list(task_ids))))
    return {row.id: row.tags for row in rows}


def wake(connection: Connection, hold_id: int) -> int:
    """Let the runs go that a hold put off; return how many. Index ix_task_run_ready, what is ready later than now."""
    statement = (
        update(RUNS)
        .where(
            R.state.in_([State.PENDING, State.RETRY]),
            R.ready_at > utc_now(),
            R.error.startswith(f"{WAITS}{MARK}{hold_id} ", autoescape=True),
        )
        .values(ready_at=utc_now())
    )
    return connection.execute(statement).rowcount
