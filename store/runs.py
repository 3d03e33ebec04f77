"""Queries on `task_run`, the ledger. Every state change is one guarded UPDATE."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias

from sqlalchemy import (
    Connection,
    Table,
    TextClause,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from uuid_utils import uuid7

from core.lifecycle import Origin, State, leading_to
from models import TaskRun
from store.bulk import json_table, many, moment_text, send_rows
from store.database import AnyRow, is_duplicate, is_refused, utc_now

TABLE: Table = TaskRun.__table__  # type: ignore[assignment]
R = TABLE.c

TO_STARTED, TO_QUEUED, TO_REVOKED = leading_to(State.STARTED), leading_to(State.QUEUED), leading_to(State.REVOKED)
WAITS = "waits: "  # how the `error` begins of a run that has not started since something is used up


def new_run_id() -> str:
    """Make a UUIDv7: ids sort by creation, which keeps the primary key append-only."""
    return str(uuid7())


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A row for the ledger. `ready_at` None holds a PENDING run back."""

    id: str
    periodic_task_id: int | None
    task_name: str
    origin: Origin
    scheduled_for: datetime
    ready_at: datetime | None
    state: State
    queue: str
    priority: int
    config: str
    attempt: int = 0
    error: str | None = None
    result_data: str | None = None
    finished_at: datetime | None = None
    after_run: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is ours: what to do, and the attempt that guards its result."""

    id: str
    attempt: int
    worker: str
    periodic_task_id: int | None
    task_name: str
    config: str
    scheduled_for: datetime
    remote_handle: str | None


@dataclass(frozen=True, slots=True)
class Sendable:
    """What the sender needs: where a run goes. `attempt` guards the step to QUEUED."""

    id: str
    queue: str
    priority: int
    attempt: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What an attempt wrote back; None where nothing is known."""

    state: State
    result: str | None = None
    result_data: str | None = None
    error_kind: str | None = None
    error: str | None = None
    http_status: int | None = None
    conversation_id: str | None = None
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None

    def texts(self) -> list[str]:
        """The values that may be long."""
        return [text for text in (self.result, self.result_data, self.error) if text is not None]


#: Runs that the table cannot take, each with its reason.
Refused: TypeAlias = list[tuple[NewRun, str]]

_NEW_COLUMNS = tuple(column.name for column in fields(NewRun))
_read_columns = attrgetter(*_NEW_COLUMNS)
_ENDED = tuple(column.name for column in fields(Ending))


def _columns(new_runs: Iterable[NewRun]) -> list[dict[str, Any]]:
    """Name the columns of each run; `asdict` would copy every value deeply, a third of the cost of a fire."""
    return [dict(zip(_NEW_COLUMNS, _read_columns(run), strict=True)) for run in new_runs]


def insert_runs(tx: Connection, runs: Sequence[NewRun], refused: Refused | None = None) -> list[NewRun]:
    """Insert the runs and return those that are new: a moment that has its run already is left out.

    What the table refuses goes to `refused` with the reason; without that list it is raised.
    """
    return _insert_new(tx, runs, lambda batch: tx.execute(insert(TABLE), _columns(batch)), refused)


def insert_fired(tx: Connection, runs: Sequence[NewRun], refused: Refused | None = None) -> list[NewRun]:
    """Do the same for runs of rows that this transaction has locked and fires now, at a third of the cost.

    The server copies name and config from the row; they are not sent, nor is what all runs to be started share. The
    values come as JSON_TABLE: quoting them one by one costs more than all the rest of a fire.
    """
    if tx.dialect.name == "sqlite":
        return insert_runs(tx, runs, refused)
    starting = [run for run in runs if run.ready_at is not None]
    others = [run for run in runs if run.ready_at is None]
    shared = {"ready_at": moment_text(starting[0].ready_at)} if starting and starting[0].ready_at else {}
    return [
        *_insert_new(tx, starting, lambda part: send_rows(tx, _START, [*map(_start, part)], **shared), refused),
        *_insert_new(tx, others, lambda part: send_rows(tx, _ENTER, [*map(_enter, part)]), refused),
    ]


#: What of a run is sent; VARCHAR and not TEXT keeps MariaDB's temporary table in memory.
_STARTED_TYPES = {
    "id": "CHAR(36)",
    "periodic_task_id": "BIGINT",
    "scheduled_for": "DATETIME(6)",
    "queue": "VARCHAR(64)",
    "priority": "TINYINT",
}
_ENTERED_TYPES = _STARTED_TYPES | {
    "state": "VARCHAR(16)",
    "error": "VARCHAR(500)",
    "result_data": "VARCHAR(500)",
    "finished_at": "DATETIME(6)",
}
_start, _enter = attrgetter(*_STARTED_TYPES), attrgetter(*_ENTERED_TYPES)


def _inserting(types: Mapping[str, str], shared: Mapping[str, str]) -> TextClause:
    """Write the INSERT of runs whose columns `types` are sent, and which have the `shared` ones in common."""
    return text(
        f"INSERT INTO task_run (task_name, config, {', '.join((*types, *shared))}) "  # noqa: S608 - our own names only
        f"SELECT t.name, COALESCE(t.task_extra_config, '{{}}'), "
        f"{', '.join((*(f'v.{name}' for name in types), *shared.values()))} FROM {json_table(types)} v "
        "STRAIGHT_JOIN periodic_task t FORCE INDEX (PRIMARY) ON t.id = v.periodic_task_id"
    )


_SCHEDULED = f"'{Origin.SCHEDULE}'"
_START = _inserting(
    _STARTED_TYPES, {"origin": _SCHEDULED, "state": f"'{State.PENDING}'", "attempt": "0", "ready_at": ":ready_at"}
)
_ENTER = _inserting(_ENTERED_TYPES, {"origin": _SCHEDULED, "attempt": "0"})


def _insert_new(
    tx: Connection, runs: Sequence[NewRun], write: Callable[[Sequence[NewRun]], Any], refused: Refused | None
) -> list[NewRun]:
    """Insert all, or the halves where one row discards the whole multi-row INSERT: a duplicate moment, a wrong value.

    So a few such rows among 1,000 cost a few statements, and no query has to look for them.
    """
    if not runs:
        return []
    try:
        with tx.begin_nested():
            write(runs)
        return list(runs)
    except DBAPIError as error:
        doubled = is_duplicate(error)
        if not doubled and (refused is None or not is_refused(error)):
            raise
        if len(runs) == 1:
            if not doubled and refused is not None:
                refused.append((runs[0], str(error.orig)))
            return []
    middle = len(runs) // 2
    return _insert_new(tx, runs[:middle], write, refused) + _insert_new(tx, runs[middle:], write, refused)


_ACTIVE = select(R.id, R.periodic_task_id, R.state, R.ready_at).where(R.active_task_id.in_(many("tasks")))


def active_runs(tx: Connection, task_ids: Sequence[int]) -> Sequence[AnyRow]:
    """Name the runs of these tasks that are not final, backfill left out. Index ix_task_run_active."""
    return tx.execute(_ACTIVE, {"tasks": task_ids}).all()


def release_held(tx: Connection, limit: int) -> Sequence[str]:
    """Let the oldest held run of each task go whose runs have all ended; name them.

    Indexes ix_task_run_ready for the held ones, ix_task_run_active for what still runs. Two beats that do this
    at once find the same runs, and the lock and the guard let each go once.
    """
    place = func.row_number().over(partition_by=R.periodic_task_id, order_by=(R.scheduled_for, R.id))
    held = (
        select(R.id, R.periodic_task_id, place.label("place"))
        .where(R.state == State.PENDING, R.ready_at.is_(None))
        .subquery("held")
    )
    other = TABLE.alias("other")
    busy = exists(select(other.c.id).where(other.c.active_task_id == held.c.periodic_task_id, ~_is_held(other.c)))
    free = tx.execute(select(held.c.id).where(held.c.place == 1, ~busy).limit(limit)).scalars().all()
    if not free:
        return []
    unlocked = select(R.id).where(R.id.in_(free), _is_held(R)).with_for_update(skip_locked=True)
    released = tx.execute(unlocked).scalars().all()
    if released:
        tx.execute(update(TABLE).where(R.id.in_(released)).values(ready_at=utc_now()))
    return released


def _is_held(columns: Any) -> Any:
    return and_(columns.state == State.PENDING, columns.ready_at.is_(None))


def is_held(row: AnyRow) -> bool:
    """True for a PENDING run that waits until its task has no active run."""
    return row.state == State.PENDING and row.ready_at is None


def revoke_active(tx: Connection, task_ids: Sequence[int], spared: Sequence[str], reason: str) -> int:
    """Cancel the runs of these tasks that are not final, but for the `spared` ones. Index ix_task_run_active."""
    return tx.execute(
        update(TABLE)
        .where(R.active_task_id.in_(task_ids), R.state.in_(TO_REVOKED), R.id.not_in(spared))
        .values(state=State.REVOKED, error=reason, finished_at=utc_now())
    ).rowcount


def unsent(
    connection: Connection, *, since: datetime | None = None, older_than: datetime, limit: int
) -> Sequence[AnyRow]:
    """Name waiting runs that are ready, and were ready before `older_than` if they are new.

    Index ix_task_run_ready. RETRY runs go at once; a PENDING one is left for 1 s to the beat that made it. Rows that
    somebody holds are left out: they could not be marked as sent, and would be sent again twice a second.
    `since` is a low-water mark: while an old read view stops purge, the entries before it are dead and many.
    """
    columns = (R.id, R.queue, R.priority, R.attempt, R.config, R.ready_at)
    found: list[AnyRow] = []
    for state, until in ((State.RETRY, utc_now()), (State.PENDING, literal(older_than, TaskRun.ready_at.type))):
        query = select(*columns).where(R.state == state, R.ready_at <= until)
        query = query if since is None else query.where(R.ready_at >= since)
        unlocked = query.order_by(R.ready_at).limit(limit).with_for_update(skip_locked=True)
        found += connection.execute(unlocked).all()
    return found


_MARK = (
    update(TABLE)
    .where(R.id.in_(many("ids")), R.state.in_(TO_QUEUED), R.attempt == bindparam("before"))
    .values(state=State.QUEUED, queued_at=utc_now())
)


def mark_queued(connection: Connection, runs: Iterable[tuple[str, int]]) -> None:
    """The broker has these (id, attempt): show it, unless a worker was faster. Primary key."""
    by_attempt: dict[int, list[str]] = {}
    for run_id, attempt in runs:
        by_attempt.setdefault(attempt, []).append(run_id)
    for attempt, ids in by_attempt.items():
        connection.execute(_MARK, {"ids": ids, "before": attempt})


def mark_queued_unlocked(tx: Connection, sent: Sequence[tuple[str, int]]) -> None:
    """The same, passing over rows that somebody holds: they are sent again until they can be marked. Primary key."""
    ids = [run_id for run_id, _ in sent]
    free = set(tx.execute(select(R.id).where(R.id.in_(ids)).with_for_update(skip_locked=True)).scalars())
    mark_queued(tx, [item for item in sent if item[0] in free])


def queued_before(connection: Connection, queue: str, priority: int, before: datetime, limit: int) -> Sequence[AnyRow]:
    """Name QUEUED runs of one queue and priority sent before a moment, oldest first. Index ix_task_run_ready."""
    return connection.execute(
        select(R.id, R.queue, R.priority, R.attempt, R.config, R.queued_at)
        .where(R.state == State.QUEUED, R.queue == queue, R.priority == priority, R.queued_at < before)
        .order_by(R.ready_at)
        .limit(limit)
    ).all()


def queued_lanes(connection: Connection) -> Sequence[AnyRow]:
    """Name each (queue, priority) that has QUEUED runs, with the time of the one sent first. Reads all that are QUEUED.

    Index ix_task_run_ready.
    """
    query = select(R.queue, R.priority, func.min(R.queued_at).label("oldest")).where(R.state == State.QUEUED)
    return connection.execute(query.group_by(R.queue, R.priority)).all()


def queued_at(connection: Connection, run_id: str) -> datetime | None:
    """Tell when a run was last put on the broker. Primary key."""
    return connection.execute(select(R.queued_at).where(R.id == run_id)).scalar_one_or_none()


def touch_queued(connection: Connection, ids: Sequence[str]) -> None:
    """These were sent again. Primary key."""
    connection.execute(update(TABLE).where(R.id.in_(ids), R.state == State.QUEUED).values(queued_at=utc_now()))


# Statements of every run are built once: building one costs as much as the database needs to carry it out.
READ_COLUMNS = (
    R.id, R.state, R.attempt, R.ready_at, R.config, R.periodic_task_id, R.task_name, R.scheduled_for,
    R.remote_handle, R.worker, R.queue, R.priority, utc_now().label("now"),
)  # fmt: skip
_READ = select(*READ_COLUMNS).where(R.id == bindparam("run_id"))
#: What a claim writes, with the parameters `owner` and `deadline`.
STARTING: Mapping[str, Any] = {
    "state": State.STARTED,
    "worker": bindparam("owner"),
    "attempt": R.attempt + 1,
    "started_at": utc_now(),
    "deadline_at": bindparam("deadline"),
    "error": None,
    "error_kind": None,
    "input_tokens": None,  # what an attempt before has cost was entered, or is not known
    "output_tokens": None,
    "cost": None,
    "currency": None,
}
_CLAIM = (
    update(TABLE)
    .where(
        R.id == bindparam("run_id"),
        R.state.in_(TO_STARTED),
        R.attempt == bindparam("before"),
        R.ready_at <= utc_now(),
    )
    .values(**STARTING)
)


def read(connection: Connection, run_id: str) -> AnyRow | None:
    """Read what a worker must know before it claims a run, with the database's time. Primary key."""
    return connection.execute(_READ, {"run_id": run_id}).one_or_none()


def claim(connection: Connection, run_id: str, attempt: int, worker: str, deadline_at: datetime) -> bool:
    """Take a run by compare-and-set: exactly one of any number of callers gets True. Primary key."""
    values = {"run_id": run_id, "before": attempt, "owner": worker, "deadline": deadline_at}
    return connection.execute(_CLAIM, values).rowcount == 1


def storable(ending: Ending) -> dict[str, Any]:
    """Name the known columns of an ending, in a form every database takes: no lone surrogates, no over-long ids."""
    values = {name: value for name in _ENDED if (value := getattr(ending, name)) is not None}
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = value.encode("utf-8", "replace").decode()[: getattr(R[name].type, "length", None)]
    return values


def _owned(run_id: Any, worker: Any, attempt: Any) -> Any:
    return (R.id == run_id) & (R.worker == worker) & (R.attempt == attempt) & (R.state == State.STARTED)


def finish(connection: Connection, run_id: str, worker: str, attempt: int, ending: Ending) -> bool:
    """Write an attempt's end where the run is still ours. False: it is not, and nothing was written. Primary key."""
    values = storable(ending)
    owner = {"run_id": run_id, "owner": worker, "nth": attempt}
    statement = _finishing(frozenset(values))
    return connection.execute(statement, owner | {f"new_{name}": values[name] for name in values}).rowcount == 1


@cache
def _finishing(names: frozenset[str]) -> Update:
    owned = _owned(bindparam("run_id"), bindparam("owner"), bindparam("nth"))
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(TABLE).where(owned).values(**values, finished_at=utc_now())


def has_ended(connection: Connection, run_id: str, worker: str, attempt: int, state: State) -> bool:
    """True where an attempt stands there as ended in `state`. Primary key."""
    query = select(R.id).where(R.id == run_id, R.worker == worker, R.attempt == attempt, R.state == state)
    return connection.execute(query).one_or_none() is not None


def complete_cancelled(connection: Connection, run_id: str) -> bool:
    """Fill in what an operator's `state = 'REVOKED'` leaves empty. Primary key."""
    said = func.coalesce(R.error, "cancelled")
    return (
        connection.execute(
            update(TABLE)
            .where(R.id == run_id, R.state == State.REVOKED, R.finished_at.is_(None))
            .values(finished_at=utc_now(), error=case((R.error.like(f"{WAITS}%"), "cancelled"), else_=said))
        ).rowcount
        == 1
    )


def retry_later(
    connection: Connection,
    run_id: str,
    worker: str,
    attempt: int,
    ending: Ending,
    ready_at: datetime,
    handle: str | None = None,
) -> bool:
    """Give a run another attempt at `ready_at`, keeping what this one met, and what it resumes. Primary key."""
    values = storable(ending) | {"state": State.RETRY, "ready_at": ready_at, "remote_handle": handle}
    return connection.execute(update(TABLE).where(_owned(run_id, worker, attempt)).values(**values)).rowcount == 1


def save_handle(connection: Connection, run_id: str, worker: str, attempt: int, handle: str) -> bool:
    """Keep what finds the remote run again, before its answer. Primary key."""
    statement = update(TABLE).where(_owned(run_id, worker, attempt)).values(remote_handle=handle)
    return connection.execute(statement).rowcount == 1


def started_by(connection: Connection, worker: str) -> dict[str, AnyRow]:
    """Name a worker's STARTED runs. Index ix_task_run_ready (state)."""
    columns = (R.id, R.attempt, R.worker, R.periodic_task_id, R.task_name, R.config, R.remote_handle)
    rows = connection.execute(select(*columns).where(R.state == State.STARTED, R.worker == worker))
    return {row.id: row for row in rows}
