"""Searching the ledger. Whatever is asked, one answer reads at most a bounded number of rows.

Ids are UUIDv7, so the primary key is the time index. A filter that no index serves looks at a piece of the ledger at
a time, newest first, and says where it stopped: further indexes would cost every run that is written.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal, select

from core.lifecycle import Origin, State
from store.database import AnyRow
from store.housekeeping import first_id_at
from store.overview import ERROR_CHARACTERS, RUN_SUMMARY
from store.runs import TABLE, R

PIECE: Final = 10_000  # rows that one answer looks at
FIRST_LOOK: Final = 2_000  # rows among which a page is often found, so that no index need be weighed
SORTABLE: Final = 50_000  # entries of another index that one answer reads and sorts
TOP_TASKS: Final = 20

BY_ID, BY_STATE, BY_TASK = (f"FORCE INDEX ({name})" for name in ("PRIMARY", "ix_task_run_ready", "uq_task_run_moment"))
ALWAYS_MANY: Final = frozenset({State.SUCCESS})

#: What can be asked of a run, by the name of the value it is compared with.
CONDITIONS: Final = {
    "before": R.id < bindparam("before"),
    "edge": R.id >= bindparam("edge"),
    "task_id": R.periodic_task_id == bindparam("task_id"),
    "task_name": R.task_name == bindparam("task_name"),
    "origin": R.origin == bindparam("origin"),
    "queue": R.queue == bindparam("queue"),
    "error_kind": R.error_kind == bindparam("error_kind"),
    "states": R.state.in_(bindparam("states", expanding=True)),
}
BOUNDS: Final = ("before", "edge")
Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs are looked for; what is None or empty is not asked. `since` is inclusive, `until` is not."""

    states: Sequence[State] = ()
    task_id: int | None = None
    task_name: str | None = None
    origin: Origin | None = None
    queue: str | None = None
    error_kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def asks_anything(self) -> bool:
        """False where every run is meant."""
        return any(getattr(self, each.name) not in (None, ()) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Found:
    """Runs, newest first. `resume_before` is where the next search goes on; None: nothing older is left."""

    rows: Sequence[AnyRow]
    resume_before: str | None


@dataclass(frozen=True, slots=True)
class Facets:
    """How many runs have which value, among the newest `examined`; `reaches_to` is the oldest id looked at."""

    counts: dict[str, Counter[str]]
    tasks: Sequence[AnyRow]
    examined: int
    reaches_to: str | None


def created_at(run_id: str) -> datetime | None:
    """Read the time out of a UUIDv7; None for another id. The clock is that of whoever made the run."""
    try:
        number = uuid.UUID(run_id)
    except ValueError:
        return None
    if number.version != 7:
        return None
    try:
        return datetime.fromtimestamp((number.int >> 80) / 1000, UTC)
    except (OverflowError, ValueError):
        return None


def search(connection: Connection, wanted: Wanted, before: str | None, limit: int) -> Found:
    """Find the newest `limit` runs with an id below `before`, or those among the next FIRST_LOOK + PIECE rows.

    Primary key backwards; ix_task_run_ready or uq_task_run_moment where they hold few enough entries, and the first
    look did not fill the page: what is asked for by state is mostly not that rare.
    """
    if wanted.task_id is None and limit < FIRST_LOOK and _leaves_rest(wanted, BY_ID):
        edge = _edge(connection, wanted, BY_ID, before, FIRST_LOOK)
        first = _read(connection, wanted, BY_ID, before, edge, limit + 1)
        if len(first) > limit:
            return Found(first[:limit], first[limit - 1].id)
        if len(first) == limit or edge is None:
            return Found(first, edge)
        rest = _search(connection, wanted, edge, limit - len(first))
        return Found([*first, *rest.rows], rest.resume_before)
    return _search(connection, wanted, before, limit)


def _search(connection: Connection, wanted: Wanted, before: str | None, limit: int) -> Found:
    path = _path(connection, wanted)
    edge = None
    if _leaves_rest(wanted, path):
        edge = _edge(connection, wanted, path, before, PIECE)
    elif path != BY_ID:  # rows are looked up for those that are shown only
        edge = _edge(connection, wanted, path, before, limit + 1)
    rows = _read(connection, wanted, path, before, edge, limit + 1)
    if len(rows) > limit:
        return Found(rows[:limit], rows[limit - 1].id)
    return Found(rows, edge)


def _read(
    connection: Connection, wanted: Wanted, path: str, before: str | None, edge: str | None, limit: int
) -> Sequence[AnyRow]:
    asked = _asked(wanted, before, edge)
    return connection.execute(_page(path, tuple(asked)), {**asked, "rows": limit}).all()


@lru_cache(maxsize=256)  # to write a statement of so many columns anew costs as much as to read thirty rows
def _page(path: str, asked: tuple[str, ...]) -> Select[Any]:
    query = select(*RUN_SUMMARY, func.substr(R.error, 1, ERROR_CHARACTERS).label("error")).where(*_where(asked))
    return _hinted(query, path).order_by(R.id.desc()).limit(bindparam("rows"))


def ids(connection: Connection, wanted: Wanted, before: str | None, limit: int) -> tuple[Sequence[str], str | None]:
    """Name the same runs only."""
    found = search(connection, wanted, before, limit)
    return [row.id for row in found.rows], found.resume_before


def facets(connection: Connection, wanted: Wanted) -> Facets:
    """Count states, origins, queues and kinds of error among the newest PIECE runs of the time range or the task."""
    path = _path(connection, wanted)
    edge = _edge(connection, wanted, path, None, PIECE)
    asked = _asked(wanted, None, edge)
    columns = (R.state, R.origin, R.queue, R.error_kind)
    groups = connection.execute(
        _hinted(select(*columns, func.count().label("runs")).where(*_where(asked)), path).group_by(*columns), asked
    ).all()
    counts: dict[str, Counter[str]] = {column.name: Counter() for column in columns}
    for group in groups:
        for name, counter in counts.items():
            if (value := getattr(group, name)) is not None:
                counter[value] += group.runs
    many = func.count().label("runs")
    each = (R.periodic_task_id, R.task_name)
    tasks = _hinted(select(*each, many).where(*_where(asked)).group_by(*each), path)
    top = connection.execute(tasks.order_by(many.desc(), R.task_name).limit(TOP_TASKS), asked).all()
    return Facets(counts, top, sum(group.runs for group in groups), edge)


def newest(connection: Connection, wanted: Wanted, offset: int, limit: int, columns: Sequence[Any]) -> Sequence[AnyRow]:
    """Read a page by offset, for callers that know no other: it costs what is passed over, too."""
    path, asked = _path(connection, wanted), _asked(wanted, None, None)
    page = _page_by_offset(path, tuple(asked), tuple(columns))
    return connection.execute(page, {**asked, "rows": limit, "passed_over": offset}).all()


@lru_cache
def _page_by_offset(path: str, asked: tuple[str, ...], columns: tuple[Any, ...]) -> Select[Any]:
    query = _hinted(select(R.id).where(*_where(asked)), path).order_by(R.id.desc())
    page = query.limit(bindparam("rows")).offset(bindparam("passed_over")).subquery()
    return select(*columns).join(page, page.c.id == R.id).order_by(R.id.desc())


def count(connection: Connection, wanted: Wanted, limit: int) -> int:
    """Count the runs, up to `limit`. Without reading a row where only a state is asked, or nothing."""
    asked = _asked(wanted, None, None)
    some = select(literal(1)).select_from(TABLE).where(*_where(asked))
    if replace(wanted, states=()).asks_anything:
        some = _hinted(some, _path(connection, wanted))
    elif wanted.states:
        some = _hinted(some, BY_STATE)
    if connection.execute(some.limit(1).offset(limit - 1), asked).first() is not None:
        return limit  # a count of so many would first copy them into a table of its own
    return min(connection.execute(some.with_only_columns(func.count()), asked).scalar_one(), limit)


def retries_of(connection: Connection, run: AnyRow, limit: int = 20) -> Sequence[AnyRow]:
    """Name the runs that repeat this one, oldest first, among the task's first 1,000 later ones by the API.

    Index uq_task_run_moment.
    """
    asked = {"run_id": run.id, "task_id": run.periodic_task_id, "since": run.finished_at or run.scheduled_for}
    return connection.execute(_RETRIES, {**asked, "rows": limit}).all()


_LATER: Final = (
    select(R.id, R.state, R.retry_of)
    .with_hint(TABLE, BY_TASK, "mysql")
    .where(
        R.periodic_task_id.is_not_distinct_from(bindparam("task_id")),  # a run by a program may have no task
        R.origin == Origin.API,
        R.scheduled_for >= bindparam("since"),
    )
    .order_by(R.scheduled_for)
    .limit(1000)
    .subquery()
)
_RETRIES: Final = select(_LATER).where(_LATER.c.retry_of == bindparam("run_id")).limit(bindparam("rows"))


def _path(connection: Connection, wanted: Wanted) -> str:
    """Choose the index: one that narrows the search and holds few enough of such entries, else the primary key."""
    narrowing: list[tuple[str, Values]] = [(BY_TASK, {"task_id": wanted.task_id})] if wanted.task_id is not None else []
    if wanted.states and not ALWAYS_MANY & set(wanted.states):
        narrowing.append((BY_STATE, {"states": list(wanted.states)}))
    for path, asked in narrowing:
        # The last one that would be too many; a count of so many would first copy them into a table of its own.
        last = {**asked, "passed_over": SORTABLE - 1}
        if connection.execute(_entry(path, tuple(asked)), last).first() is None:
            return path
    return BY_ID


@lru_cache
def _entry(path: str, asked: tuple[str, ...]) -> Select[Any]:
    entries = _hinted(select(literal(1)).select_from(TABLE).where(*_where(asked)), path)
    return entries.limit(1).offset(bindparam("passed_over"))


def _leaves_rest(wanted: Wanted, path: str) -> bool:
    """True where rows must be read to know whether they are wanted: the index does not say."""
    named = wanted.task_name is not None or wanted.queue is not None or wanted.error_kind is not None
    by_state = bool(wanted.states) and path != BY_STATE
    by_task = (wanted.task_id is not None or wanted.origin is not None) and path != BY_TASK
    return named or by_state or by_task


def _edge(connection: Connection, wanted: Wanted, path: str, before: str | None, rows: int) -> str | None:
    """Name the oldest of the next `rows` runs; None where there are not so many."""
    indexed = {BY_ID: (), BY_STATE: ("states",), BY_TASK: ("task_id", "origin")}[path]
    asked = {name: value for name, value in _asked(wanted, before, None).items() if name in (*BOUNDS, *indexed)}
    last = {**asked, "passed_over": rows - 1}
    return connection.execute(_id_at(path, tuple(asked)), last).scalar_one_or_none()


@lru_cache(maxsize=256)
def _id_at(path: str, asked: tuple[str, ...]) -> Select[Any]:
    query = _hinted(select(R.id).where(*_where(asked)), path)
    return query.order_by(R.id.desc()).limit(1).offset(bindparam("passed_over"))


def _asked(wanted: Wanted, before: str | None, edge: str | None) -> Values:
    """Say what is asked of a run, by the names of CONDITIONS."""
    ends = [bound for bound in (before, wanted.until and first_id_at(wanted.until)) if bound]
    starts = [bound for bound in (edge, wanted.since and first_id_at(wanted.since)) if bound]
    values = {
        "before": min(ends, default=None),
        "edge": max(starts, default=None),
        "task_id": wanted.task_id,
        "task_name": wanted.task_name,
        "origin": wanted.origin,
        "queue": wanted.queue,
        "error_kind": wanted.error_kind,
        "states": list(wanted.states) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _where(asked: Iterable[str]) -> list[ColumnElement[bool]]:
    return [CONDITIONS[name] for name in asked]


def _hinted(query: Select[Any], path: str) -> Select[Any]:
    return query.with_hint(TABLE, path, "mysql")
