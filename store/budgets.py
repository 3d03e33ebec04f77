"""Queries on budgets: how they stand, what goes on, what is spent.

Nothing is written when a run ends. An attempt under a budget has a row in `budget_use`, entered with its claim; whoever
claims next under the same budget moves those that have ended into `budget_slice`, by what the ledger then says of
them. So a reservation lasts exactly as long as its run is STARTED by that attempt, whatever dies. The lock on the
budget's row makes claims under it one after the other.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, func, insert, or_, select, tuple_, update

from core.budget import AtLimit, Budget, Standing, cost_in, slice_length, slice_start
from core.lifecycle import State
from models import Budget as BudgetRow
from models import BudgetSlice, BudgetUse
from store.database import AnyRow
from store.runs import TABLE as RUNS
from store.runs import R

TABLE: Table = BudgetRow.__table__  # type: ignore[assignment]
USES: Table = BudgetUse.__table__  # type: ignore[assignment]
SLICES: Table = BudgetSlice.__table__  # type: ignore[assignment]
B, U, S = TABLE.c, USES.c, SLICES.c

_COLUMNS = (B.id, B.endpoint, B.periodic_task_id, B.amount, B.unit, B.window_seconds, B.at_limit, B.reserve)
_ANSWERED = (State.SUCCESS, State.REQUIRES_ACTION)


@dataclass(frozen=True, slots=True)
class Look:
    """How a budget stands, and how many answers of its window told no cost in its unit."""

    standing: Standing
    unknown: int


def every(connection: Connection) -> list[Budget]:
    """Read all budgets."""
    return [Budget(*row) for row in connection.execute(select(*_COLUMNS).order_by(B.id))]


def page(connection: Connection, after: int, limit: int) -> Sequence[AnyRow]:
    """Page through the budgets by id. Primary key."""
    return connection.execute(select(TABLE).where(B.id > after).order_by(B.id).limit(limit)).all()


def read(connection: Connection, budget_id: int, *, lock: bool = False) -> AnyRow | None:
    """Read one, with what is known of it. Primary key."""
    query = select(TABLE).where(B.id == budget_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def of_row(row: AnyRow) -> Budget:
    """Take the budget out of its row."""
    return Budget(*(getattr(row, column.name) for column in _COLUMNS))


def lock(tx: Connection, ids: Sequence[int]) -> list[Budget]:
    """Lock budgets, always in the order of their ids, and read them as they are now. Primary key."""
    query = select(*_COLUMNS).where(B.id.in_(ids)).order_by(B.id).with_for_update()
    return [Budget(*row) for row in tx.execute(query)]


def settle(tx: Connection, budget: Budget, now: datetime) -> Standing:
    """Enter what has ended since the last look, forget what left the window, and tell how a locked budget stands."""
    ended, going_on = _uses(tx, budget.id)
    if ended:
        _enter(tx, budget, ended, now)
    return standing(tx, budget, now, going_on)


def standing(connection: Connection, budget: Budget, now: datetime, going_on: int) -> Standing:
    """Tell what stands in the slices of the window. Primary key; at most 62 rows."""
    return _standing(_slices(connection, [budget], now).get(budget.id), going_on)


def look(connection: Connection, budget: Budget, now: datetime) -> Standing:
    """Tell how a budget stands without locking or entering anything."""
    return looks(connection, [budget], now)[budget.id].standing


def looks(connection: Connection, wanted: Sequence[Budget], now: datetime) -> dict[int, Look]:
    """Tell how each of some budgets stands, in three statements however many they are. Primary keys."""
    slices = _slices(connection, wanted, now)
    attempts = USES.join(RUNS, and_(R.id == U.run_id, R.attempt == U.attempt))
    ours = U.budget_id.in_([budget.id for budget in wanted])
    counts = select(U.budget_id, func.count().label("attempts")).select_from(attempts)
    going_on = {
        row.budget_id: row.attempts
        for row in connection.execute(counts.where(ours, R.state == State.STARTED).group_by(U.budget_id))
    }
    costs = select(U.budget_id, R.input_tokens, R.output_tokens, R.cost, R.currency).select_from(attempts)
    ended: dict[int, list[AnyRow]] = defaultdict(list)
    for row in connection.execute(costs.where(ours, R.state != State.STARTED)):
        ended[row.budget_id].append(row)

    def seen(budget: Budget) -> Look:
        row = slices.get(budget.id)
        known = _standing(row, going_on.get(budget.id, 0))
        told = (cost for run in ended[budget.id] if (cost := cost_in(budget.unit, run)) is not None)
        return Look(replace(known, spent=known.spent + sum(told, Decimal(0))), int(row.unknown) if row else 0)

    return {budget.id: seen(budget) for budget in wanted}


def _slices(connection: Connection, wanted: Sequence[Budget], now: datetime) -> dict[int, AnyRow]:
    """Add up the slices of each budget's window; a budget without any is left out. Primary key."""
    alike: dict[tuple[str, datetime], list[int]] = defaultdict(list)
    for budget in wanted:
        alike[budget.unit, _begin(budget, now)].append(budget.id)
    windows = [and_(S.budget_id.in_(ids), S.unit == unit, S.starts_at > begin) for (unit, begin), ids in alike.items()]
    query = select(
        S.budget_id,
        func.sum(S.amount).label("spent"),
        func.max(S.dearest).label("dearest"),
        func.sum(S.answers).label("answers"),
        func.sum(S.unknown).label("unknown"),
    )
    rows = connection.execute(query.where(or_(*windows)).group_by(S.budget_id)) if windows else ()
    return {row.budget_id: row for row in rows}


def _standing(row: AnyRow | None, going_on: int) -> Standing:
    if row is None:
        return Standing(Decimal(0), going_on, Decimal(0), 0)
    return Standing(Decimal(row.spent), going_on, Decimal(row.dearest), int(row.answers))


def _begin(budget: Budget, now: datetime) -> datetime:
    """A slice counts as long as any of it lies in the window."""
    return now - timedelta(seconds=budget.window_seconds) - slice_length(budget.window_seconds)


def _uses(connection: Connection, budget_id: int) -> tuple[list[AnyRow], int]:
    """Read the attempts that have ended, with what the ledger says of their runs, and count the others."""
    columns = (
        U.run_id, U.attempt.label("used_by"), R.state, R.attempt, R.finished_at,
        R.input_tokens, R.output_tokens, R.cost, R.currency,
    )  # fmt: skip
    query = select(*columns).select_from(USES.outerjoin(RUNS, R.id == U.run_id)).where(U.budget_id == budget_id)
    rows = connection.execute(query).all()
    ended = [row for row in rows if not (row.state == State.STARTED and _is_of_attempt(row))]
    return ended, len(rows) - len(ended)


def _is_of_attempt(row: AnyRow) -> bool:
    """False where a later attempt has begun: what the ledger says of the run is not this attempt's any more."""
    return bool(row.attempt == row.used_by)


def _enter(tx: Connection, budget: Budget, ended: Sequence[AnyRow], now: datetime) -> None:
    for row in ended:
        told = _is_of_attempt(row)
        cost = cost_in(budget.unit, row) if told else None
        if cost is not None or (told and row.state in _ANSWERED):
            _add(tx, budget, slice_start(row.finished_at or now, budget.window_seconds), cost)
    done = [(row.run_id, row.used_by) for row in ended]
    tx.execute(delete(USES).where(U.budget_id == budget.id, tuple_(U.run_id, U.attempt).in_(done)))
    tx.execute(delete(SLICES).where(S.budget_id == budget.id, S.starts_at <= _begin(budget, now)))


def _add(tx: Connection, budget: Budget, starts_at: datetime, cost: Decimal | None) -> None:
    key = {"budget_id": budget.id, "unit": budget.unit, "starts_at": starts_at}
    where = (S.budget_id == budget.id, S.unit == budget.unit, S.starts_at == starts_at)
    old = tx.execute(select(S.amount, S.dearest, S.answers, S.unknown).where(*where)).one_or_none()
    amount, dearest, answers, untold = old or (Decimal(0), Decimal(0), 0, 0)
    values: dict[str, Any] = {
        "amount": amount + (cost or 0),
        "dearest": max(dearest, cost or Decimal(0)),
        "answers": answers + 1,
        "unknown": untold + (cost is None),
    }
    tx.execute(insert(SLICES).values(**key, **values) if old is None else update(SLICES).where(*where).values(**values))


def reserve(tx: Connection, budget_id: int, run_id: str, attempt: int) -> None:
    """Enter an attempt that is being claimed in this transaction. Primary key."""
    tx.execute(insert(USES).values(budget_id=budget_id, run_id=run_id, attempt=attempt))


def enter_cost(tx: Connection, ids: Sequence[int], costs: Any, now: datetime) -> None:
    """Enter an answer that is of no run, whose `costs` stand as a run's would. Locks the budgets."""
    for budget in lock(tx, ids):
        _add(tx, budget, slice_start(now, budget.window_seconds), cost_in(budget.unit, costs))


def mark_used_up(connection: Connection, budget: Budget, now: datetime) -> bool:
    """Note that a budget was found used up. True for one caller, once a window. Primary key."""
    lately = now - timedelta(seconds=budget.window_seconds)
    statement = update(TABLE).where(B.id == budget.id, (B.reached_at <= lately) | B.reached_at.is_(None))
    return connection.execute(statement.values(reached_at=now)).rowcount == 1


def used_up(connection: Connection, now: datetime) -> dict[str, int]:
    """Count the budgets that were found used up within their window, by `at_limit`. Reads all budgets."""
    found = dict.fromkeys((limit.value for limit in AtLimit), 0)
    for row in connection.execute(select(B.at_limit, B.window_seconds, B.reached_at).where(B.reached_at.is_not(None))):
        found[row.at_limit] += row.reached_at > now - timedelta(seconds=row.window_seconds)
    return found


def add(tx: Connection, values: dict[str, Any]) -> int:
    """Enter a budget; return its id."""
    key = tx.execute(insert(TABLE).values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 - narrows the type only
    return int(key[0])


def change(tx: Connection, budget_id: int, values: dict[str, Any]) -> None:
    """Change columns of a budget. Primary key."""
    tx.execute(update(TABLE).where(B.id == budget_id).values(**values))


def of_endpoint(connection: Connection, endpoint: str) -> Sequence[AnyRow]:
    """Read the budgets of an endpoint."""
    return connection.execute(select(TABLE).where(B.endpoint == endpoint).order_by(B.id)).all()


def remove(tx: Connection, ids: Sequence[int]) -> int:
    """Delete budgets and what they know of spending; return how many. Primary key."""
    for table in (USES, SLICES):  # SQLite enforces no foreign keys
        tx.execute(delete(table).where(table.c.budget_id.in_(ids)))
    return tx.execute(delete(TABLE).where(B.id.in_(ids))).rowcount
