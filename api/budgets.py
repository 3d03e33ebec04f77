"""`/api/v2/budgets`: the most that an endpoint's or a task's runs may cost within a window, and how much they have."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from api.access import Operator
from api.editing import Exact, Page, following, require
from api.problems import documented
from api.schedules import Id, IfMatch
from api.services import Ours
from edits import budgets as edits
from edits.budgets import BudgetChange, NewBudget
from edits.desk import Desk
from store import budgets as stored
from store.database import AnyRow, autocommit, read_clock, transaction

PATH: Final = "/api/v2/budgets"

router = APIRouter(prefix=PATH, tags=["budgets"], responses=documented(401, 422, 503))


class Budget(BaseModel):
    """A budget and how it stands now. Amounts are decimals, written as text."""

    id: int
    endpoint: str | None
    periodic_task_id: int | None
    amount: Exact
    unit: str
    window_seconds: int
    at_limit: str
    reserve: Exact | None
    spent: Exact
    """Within the window, in its unit."""
    going_on: int
    """Attempts whose cost is not known yet."""
    unknown: int
    """Answers of the window that told no cost in its unit; they count as nothing."""
    reached_at: datetime | None
    """When a run last found it used up."""
    create_time: datetime


class Budgets(BaseModel):
    """A page; `next` is the address of the following one, null on the last."""

    items: list[Budget]
    next: str | None


@router.get("")
def list_budgets(ours: Ours, page: Annotated[Page, Query()]) -> Budgets:
    """List the budgets by id."""
    with autocommit(ours.engine) as connection:
        rows = stored.page(connection, page.after, page.limit + 1)
        now = read_clock(connection)
        shown = _shown(connection, rows[: page.limit], now)
    return Budgets(items=shown, next=following(PATH, page, [row.id for row in rows]))


@router.post("", status_code=201, responses=documented(403))
def create_budget(ours: Ours, caller: Operator, response: Response, given: NewBudget) -> Budget:
    """Enter a budget; what was spent before counts from now on only."""
    with transaction(ours.engine) as tx:
        row = edits.add(Desk(tx, caller.actor, ours.settings), given)
        response.headers["Location"] = f"{PATH}/{row.id}"
        return _answer(tx, row, response)


@router.get("/{budget_id}", responses=documented(404))
def one_budget(ours: Ours, budget_id: Id, response: Response) -> Budget:
    """Show a budget; its ETag goes into If-Match of an edit."""
    with autocommit(ours.engine) as connection:
        return _answer(connection, stored.read(connection, budget_id) or _missing(budget_id), response)


@router.patch("/{budget_id}", responses=documented(403, 404, 412))
def change_budget(
    ours: Ours, caller: Operator, response: Response, budget_id: Id, given: BudgetChange, if_match: IfMatch = None
) -> Budget:
    """Change a budget; runs go by it from their next claim on. What it is of stays."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, budget_id, if_match)
        return _answer(tx, edits.change(Desk(tx, caller.actor, ours.settings), row, given), response)


@router.delete("/{budget_id}", status_code=204, responses=documented(403, 404, 412))
def delete_budget(ours: Ours, caller: Operator, budget_id: Id, if_match: IfMatch = None) -> None:
    """Delete a budget and what it knows of spending; the ledger keeps what each run cost."""
    with transaction(ours.engine) as tx:
        edits.remove(Desk(tx, caller.actor, ours.settings), _locked(tx, budget_id, if_match))


def _locked(tx: Connection, budget_id: int, if_match: str | None) -> AnyRow:
    row = stored.read(tx, budget_id, lock=True) or _missing(budget_id)
    require(edits.etag_of(row), if_match, f"Budget {budget_id}")
    return row


def _answer(connection: Connection, row: AnyRow, response: Response) -> Budget:
    response.headers["ETag"] = edits.etag_of(row)
    (shown,) = _shown(connection, [row], read_clock(connection))
    return shown


def _shown(connection: Connection, rows: Sequence[AnyRow], now: datetime) -> list[Budget]:
    looks = stored.looks(connection, [stored.of_row(row) for row in rows], now)

    def budget(row: AnyRow) -> Budget:
        look = looks[row.id]
        known = {"spent": look.standing.spent, "going_on": look.standing.going_on, "unknown": look.unknown}
        return Budget.model_validate(dict(row._mapping) | known)

    return [budget(row) for row in rows]


def _missing(budget_id: int) -> AnyRow:
    raise HTTPException(404, f"No budget has the id {budget_id}; GET {PATH} lists them.")
