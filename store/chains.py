"""Queries on rows that start after others: who follows whom, ends that others wait for, and what a run followed.

A run's end is entered in `after_due` before it is written, where its row is followed: at worst a run is entered that
goes on, and is looked at again. `task_after` is what arming read in the rows, so that finding followers costs an index.
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, or_, select, update

from core.after import MAX_DEPTH, MAX_FOLLOWERS, After, loop_told
from core.lifecycle import FINAL, Origin
from models import AfterDue, TaskAfter
from store import leases, schedules
from store.bulk import many
from store.database import AnyRow, insert_once
from store.runs import TABLE as RUN
from store.runs import R
from store.schedules import SCHEDULE_COLUMNS, T
from store.schedules import TABLE as TASK

EDGE: Table = TaskAfter.__table__  # type: ignore[assignment]
DUE: Table = AfterDue.__table__  # type: ignore[assignment]
E = EDGE.c

TURN: Final = "rows after others"
ALIKE, LOOKED_AT_ALIKE = 3, 50  # names are compared that begin with the same letters: arming asks for every such row
LOOKED_AT: Final = 100_000  # rows that follow others, for loops and names that are gone


# -- who follows whom ---------------------------------------------------------------------------------


def what_is_wrong(connection: Connection, row: Any, after: After) -> str | None:
    """Say why a row cannot start after another; None where it can. Unique names and primary keys, MAX_DEPTH at most."""
    upstream = connection.execute(select(T.id, T.name).where(T.name == after.task)).one_or_none()
    if upstream is None:
        alike = select(T.name).where(T.name.startswith(after.task[:ALIKE], autoescape=True)).limit(LOOKED_AT_ALIKE)
        near = get_close_matches(after.task, connection.execute(alike).scalars().all(), 1, 0.6)
        mend = f"did you mean {near[0]!r}?" if near else "name a row that is there"
        return f"after names the row {after.task!r}, and there is none; {mend}"
    if upstream.id == row.id:
        return "after names the row itself; name another"
    others = select(func.count()).where(E.upstream_id == upstream.id, E.periodic_task_id != row.id)
    if connection.execute(others).scalar_one() >= MAX_FOLLOWERS:
        return f"after: {MAX_FOLLOWERS} rows start after {upstream.name!r} already; start this one after one of them"
    return _what_is_wrong_above(connection, row, upstream)


def _what_is_wrong_above(connection: Connection, row: Any, upstream: AnyRow) -> str | None:
    here, names = upstream.id, [str(row.name), upstream.name]
    above = select(E.upstream_id, E.upstream_name)
    for _ in range(MAX_DEPTH):
        edge = connection.execute(above.where(E.periodic_task_id == here)).one_or_none()
        if edge is None:
            return None
        names.append(edge.upstream_name)
        if edge.upstream_id == row.id:
            return loop_told(names)
        here = edge.upstream_id
    return f"after: more than {MAX_DEPTH} rows would stand one after the other; make the line shorter"


def edges_of(tx: Connection, task_ids: Sequence[int]) -> dict[int, AnyRow]:
    """Read which of these rows follow one, by their ids. Primary key."""
    edges = select(EDGE).where(E.periodic_task_id.in_(many("tasks")))
    return {row.periodic_task_id: row for row in tx.execute(edges, {"tasks": task_ids})}


def settle(tx: Connection, task_id: int, before: AnyRow | None, after: After | None) -> None:
    """Write whom a row follows from now on; None: nobody. Primary key."""
    upstream = None if after is None else schedules.id_of(tx, after.task)
    if after is None or upstream is None:
        if before is not None:
            tx.execute(delete(EDGE).where(E.periodic_task_id == task_id))
        return
    values = {"upstream_id": upstream, "upstream_name": after.task, "outcome": after.outcome.value}
    if before is None:
        tx.execute(insert(EDGE).values(periodic_task_id=task_id, **values))
    elif any(getattr(before, name) != value for name, value in values.items()):
        tx.execute(update(EDGE).where(E.periodic_task_id == task_id).values(values))


def astray(connection: Connection) -> Sequence[int]:
    """Name the rows whose upstream is gone, or is called otherwise now. Reads what follows, joined by primary key."""
    other = or_(T.id.is_(None), T.name != E.upstream_name)
    query = select(E.periodic_task_id).select_from(EDGE.outerjoin(TASK, T.id == E.upstream_id)).where(other)
    return connection.execute(query.limit(LOOKED_AT)).scalars().all()


def all_edges(connection: Connection) -> dict[int, int]:
    """Read who follows whom. Primary key."""
    query = select(E.periodic_task_id, E.upstream_id).order_by(E.periodic_task_id).limit(LOOKED_AT)
    return {row.periodic_task_id: row.upstream_id for row in connection.execute(query)}


def forget_deleted(tx: Connection, task_ids: Collection[int]) -> None:
    """Remove what is known of rows that are not there any more. Primary keys."""
    if not task_ids:
        return
    there = set(tx.execute(select(T.id).where(T.id.in_(task_ids))).scalars())
    for task_id in set(task_ids) - there:
        tx.execute(delete(EDGE).where(E.periodic_task_id == task_id))


# -- ends that others wait for ------------------------------------------------------------------------

_FOLLOWED = select(E.upstream_id).where(E.upstream_id == bindparam("task")).limit(1)


def enter(connection: Connection, run_id: str, task_id: int | None) -> None:
    """Note, before it is written, that a run's end is waited for; twice is once. Index ix_task_after_upstream alone."""
    if task_id is None or connection.execute(_FOLLOWED, {"task": task_id}).first() is None:
        return
    insert_once(connection, insert(DUE).values(run_id=run_id))


def anything_due(connection: Connection) -> bool:
    """Tell whether any end is waited for. Reads one row."""
    return connection.execute(select(DUE.c.run_id).limit(1)).first() is not None


def take_turn(tx: Connection) -> bool:
    """Let one beat at a time look at the ends: True where nobody else is at it. Primary key."""
    return leases.hold_turn(tx, TURN)


def take_ended(tx: Connection, limit: int, passed: int = 0) -> Sequence[AnyRow]:
    """Name runs that are waited for and have ended, or are gone (`id` None), in the order of their ends.

    The first `passed` are left out.

    Primary keys: `after_due` holds no more than a few that go on.
    """
    columns = (DUE.c.run_id, R.id, R.periodic_task_id, R.origin, R.state, R.finished_at)
    return tx.execute(
        select(*columns)
        .select_from(DUE.outerjoin(RUN, R.id == DUE.c.run_id))
        .where(or_(R.id.is_(None), R.state.in_(sorted(FINAL))))
        .order_by(R.finished_at, DUE.c.run_id)
        .limit(limit)
        .offset(passed)
    ).all()


def followers(tx: Connection, upstream_ids: Collection[int]) -> Sequence[AnyRow]:
    """Name the rows that start after these. Index ix_task_after_upstream."""
    return tx.execute(select(EDGE).where(E.upstream_id.in_(upstream_ids)).order_by(E.periodic_task_id)).all()


def lock_rows(tx: Connection, task_ids: Collection[int]) -> dict[int, AnyRow]:
    """Lock these rows but those that somebody holds, and read them as arming does. Primary key."""
    columns = (*SCHEDULE_COLUMNS, T.config_error, T.needs_arming)
    query = select(*columns).where(T.id.in_(task_ids)).order_by(T.id).with_for_update(skip_locked=True)
    return {row.id: row for row in tx.execute(query)}


def there_already(tx: Connection, run_ids: Collection[str]) -> set[str]:
    """Name those of the runs that the ledger has. Primary key."""
    return set(tx.execute(select(R.id).where(R.id.in_(run_ids))).scalars())


def newest_moment(tx: Connection, task_id: int) -> Any:
    """Tell the moment of a row's newest run that followed another. Index uq_task_run_moment."""
    mine = (R.periodic_task_id == task_id, R.origin == Origin.AFTER)
    return tx.execute(select(func.max(R.scheduled_for)).where(*mine)).scalar_one()


def leave(tx: Connection, run_ids: Collection[str]) -> None:
    """What follows these is in the ledger. Primary key."""
    for run_id in run_ids:
        tx.execute(delete(DUE).where(DUE.c.run_id == run_id))


# -- what a run followed ------------------------------------------------------------------------------


def upstream_of(connection: Connection, run_id: str) -> AnyRow | None:
    """Read the run that a run followed; None where it followed none, or that one is no longer kept. Primary keys."""
    up = RUN.alias("up")
    columns = (
        up.c.id, up.c.task_name, up.c.state, up.c.scheduled_for, up.c.finished_at, up.c.result, up.c.result_data,
        up.c.error,
    )  # fmt: skip
    query = select(*columns).select_from(RUN.join(up, up.c.id == R.after_run)).where(R.id == run_id)
    return connection.execute(query).one_or_none()
