"""Counts of the ledger, as the seeds' APIs tell them. Each reads at most LIMIT runs; who asks remembers them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from sqlalchemy import ColumnElement, Connection, LargeBinary, case, cast, func, literal, select, text

from core.lifecycle import State
from store.housekeeping import first_id_at
from store.run_search import BY_ID, BY_STATE
from store.runs import TABLE, R

LIMIT: Final = 1_000_000
PIECE: Final = 50_000  # runs that one statement sums up


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """What runs of one queue came to whose tasks are of one module; None: of none of those that were asked about.

    `seconds` is the mean of the `ended` ones; None: there are none.
    """

    module: str | None
    queue: str
    runs: int
    succeeded: int
    failed: int
    ended: int
    seconds: float | None


def count_by_state(connection: Connection) -> dict[State, int]:
    """Count each state, up to LIMIT. Index ix_task_run_ready, no row is read."""
    counts = [
        select(func.count())
        .select_from(
            select(literal(1).label("one"))
            .with_hint(TABLE, BY_STATE, "mysql")
            .where(R.state == state)
            .limit(LIMIT)
            .subquery()
        )
        .scalar_subquery()
        .label(state.value)
        for state in State
    ]
    row = connection.execute(select(*counts)).one()
    return {state: getattr(row, state.value) for state in State}


def between(
    connection: Connection, since: datetime, until: datetime | None, modules: Sequence[str], *, seconds: float
) -> list[TaskFigures]:
    """Sum up the runs created from one moment to another, newest first, by queue and module. Primary key.

    In pieces, each a statement of its own; no further one begins after LIMIT runs, nor after so many `seconds`: the
    oldest runs are left out then. What belongs together may come in several parts.
    """
    lowest, give_up = first_id_at(since), monotonic() + seconds
    bounds = [R.id >= lowest, *([R.id < first_id_at(until)] if until else [])]
    found: list[TaskFigures] = []
    for _ in range(LIMIT // PIECE):
        piece = select(R.id).with_hint(TABLE, BY_ID, "mysql").where(*bounds).order_by(R.id.desc())
        edge = connection.execute(piece.limit(1).offset(PIECE - 1)).scalar_one_or_none()
        found += _summed_up(connection, [*bounds, R.id >= (edge or lowest)], modules)
        if edge is None or monotonic() > give_up:
            break
        bounds = [R.id >= lowest, R.id < edge]
    return found


def _summed_up(
    connection: Connection, bounds: Sequence[ColumnElement[bool]], modules: Sequence[str]
) -> Iterator[TaskFigures]:
    took = (
        func.timestampdiff(text("MICROSECOND"), R.started_at, R.finished_at) / 1e6
        if connection.dialect.name != "sqlite"
        else (func.julianday(R.finished_at) - func.julianday(R.started_at)) * 86400
    )
    # As bytes: the collation of the column makes no difference between cases.
    parts = cast(literal(".").concat(R.task_name).concat("."), LargeBinary)
    module = case(*((func.instr(parts, f".{name}.") > 0, name) for name in modules), else_=None).label("module")
    rows = connection.execute(
        select(
            module,
            R.queue,
            func.count().label("runs"),
            func.sum(case((R.state == State.SUCCESS, 1), else_=0)).label("succeeded"),
            func.sum(case((R.state == State.FAILURE, 1), else_=0)).label("failed"),
            func.count(took).label("ended"),
            func.avg(took).label("seconds"),
        )
        .with_hint(TABLE, BY_ID, "mysql")
        .where(*bounds)
        .group_by(text("1"), R.queue)
    )
    for row in rows:
        seconds = None if row.seconds is None else float(row.seconds)
        yield TaskFigures(row.module, row.queue, row.runs, int(row.succeeded), int(row.failed), row.ended, seconds)
