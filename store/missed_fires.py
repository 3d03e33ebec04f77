"""Rows that should have fired and have not, and what the watchdog last saw of them (`scheduler_state`).

Reads and one upsert; no row of `periodic_task` is locked or waited for.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, literal, select

from store import leases
from store.database import read_clock
from store.schedules import DUE_INDEX, TABLE, T, runnable

OVERDUE: Final = timedelta(seconds=30)  # what is due for longer is overdue
NOTED: Final = "missed_fires"
COUNTED: Final = 10_000
NAME_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Missed:
    """A row, and for how long it is due."""

    id: int
    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name!r} (id {self.id}) for {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Sight:
    """One look. `rows` is counted up to COUNTED, `worst` names the ones due for longest."""

    rows: int
    worst: Sequence[Missed]
    tick_age: float | None
    """Seconds since any beat last ticked; None: none ever did."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What a watchdog saw last, and how many seconds ago."""

    age: float
    rows: int
    worst: Sequence[Missed]


def look(connection: Connection, overdue_by: timedelta, named: int) -> Sight:
    """Find rows that are due for longer than `overdue_by`. Index ix_periodic_task_due."""
    now = read_clock(connection)
    is_missed = (runnable(None), T.next_run_at < now - overdue_by)
    due = select(T.id, T.name, T.next_run_at).with_hint(TABLE, DUE_INDEX, "mysql").where(*is_missed)
    worst = connection.execute(due.order_by(T.next_run_at).limit(named)).all()
    rows = len(worst)
    if rows == named:
        some = select(literal(1).label("one")).with_hint(TABLE, DUE_INDEX, "mysql").where(*is_missed).limit(COUNTED)
        rows = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    tick = leases.newest_tick(connection)
    return Sight(
        rows,
        [Missed(row.id, row.name[:NAME_CHARS], (now - row.next_run_at).total_seconds()) for row in worst],
        None if tick is None else (now - tick).total_seconds(),
    )


def note(tx: Connection, sight: Sight) -> None:
    """Keep what was seen, for `/metrics`. Primary key."""
    worst = [asdict(each) for each in sight.worst]
    leases.write_state(tx, NOTED, json.dumps({"rows": sight.rows, "worst": worst}, ensure_ascii=False))


def noted(connection: Connection, now: datetime) -> Noted | None:
    """Read what a watchdog saw last; None: there never was one. Primary key."""
    state = leases.STATE.c
    row = connection.execute(select(state.value, state.update_time).where(state.name == NOTED)).one_or_none()
    if row is None or not row.value:
        return None
    told = json.loads(row.value)
    age = max((now - row.update_time).total_seconds(), 0.0)
    return Noted(age, told["rows"], [Missed(**each) for each in told["worst"]])
