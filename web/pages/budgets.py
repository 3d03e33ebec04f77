"""`/budgets`: what endpoints and tasks may cost, how much of it is spent, and what happens then."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.access import Operator, Viewer
from api.budgets import change_budget, create_budget, delete_budget, list_budgets, one_budget
from api.editing import Page as Asked
from api.schedules import Id
from api.services import Ours
from core.budget import AtLimit, shown
from edits.budgets import BudgetChange, NewBudget
from edits.desk import read
from store.database import autocommit, read_clock
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("budgets", "/budgets", "b", "wallet")
MOST: Final = 200
WINDOWS: Final = (3600, 86_400, 7 * 86_400, 30 * 86_400)
ENDS: Final = tuple(end.value for end in AtLimit)
CHANGED: Final = ("console:close", "budgets:changed")

router = APIRouter()


class Dialog(BaseModel):
    """The dialog's fields as text; an empty one arrives as none."""

    model_config = ConfigDict(extra="ignore")

    endpoint: str | None = None
    periodic_task_id: str | None = None
    amount: str | None = None
    unit: str | None = None
    window_seconds: str | None = None
    at_limit: str | None = None
    reserve: str | None = None
    etag: Annotated[str, Field(max_length=200)] = ""

    def values(self, *without: str) -> dict[str, Any]:
        """Name what is to be written; without a `reserve` the dearest run of the window counts."""
        return self.model_dump(exclude_none=True, exclude={"etag", *without})


@router.get(PAGE.path)
def show_budgets(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page; for htmx only its table."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    found = list_budgets(ours, Asked(limit=MOST))
    piece = "budgets/_table.html" if request.headers.get("hx-request") else "budgets/page.html"
    return rendered(
        request,
        piece,
        now=now,
        budgets=found.items,
        is_cut=found.next is not None,
        plain=shown,
    )


@router.get(PAGE.path + "/new")
def ask_new(request: Request, _: Operator) -> HTMLResponse:
    """Show the dialog for a new budget."""
    return rendered(request, "budgets/_form.html", budget=None, etag="", windows=WINDOWS, ends=ENDS, plain=shown)


@router.get(PAGE.path + "/{budget_id}/edit")
def ask_edit(ours: Ours, request: Request, _: Operator, budget_id: Id) -> HTMLResponse:
    """Show the dialog for a budget; what it is of stays."""
    held = Response()
    budget = one_budget(ours, budget_id, held)
    windows = sorted({*WINDOWS, budget.window_seconds})
    etag = held.headers["ETag"]
    return rendered(request, "budgets/_form.html", budget=budget, etag=etag, windows=windows, ends=ENDS, plain=shown)


@router.post(PAGE.path)
def add_budget(ours: Ours, request: Request, caller: Operator, given: Annotated[Dialog, Form()]) -> Response:
    """Enter a budget."""
    create_budget(ours, caller, Response(), read(NewBudget, given.values()))
    return _changed(request, "budgets.added")


@router.post(PAGE.path + "/{budget_id}")
def edit_budget(
    ours: Ours, request: Request, caller: Operator, budget_id: Id, given: Annotated[Dialog, Form()]
) -> Response:
    """Change a budget, unless somebody else has changed it meanwhile; an empty reserve takes it away."""
    values = {"reserve": None} | given.values("endpoint", "periodic_task_id")
    change_budget(ours, caller, Response(), budget_id, read(BudgetChange, values), given.etag or None)
    return _changed(request, "budgets.changed")


@router.post(PAGE.path + "/{budget_id}/remove")
def remove_budget(ours: Ours, request: Request, caller: Operator, budget_id: Id) -> Response:
    """Remove a budget."""
    delete_budget(ours, caller, budget_id)
    return _changed(request, "budgets.removed")


def _changed(request: Request, key: str) -> Response:
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words(key), events=CHANGED)
    return answer
