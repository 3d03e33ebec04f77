"""`/tasks`: the rows of `periodic_task`, found by name as one types; filters stand in the address."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import model_validator

from api.access import Viewer
from api.schedules import TaskPage, list_tasks
from api.services import Ours
from core.lifecycle import State
from store import outcomes
from store.database import AnyRow, autocommit, read_clock
from web.rendering import Page, rendered
from web.spark import Spark, spark_of

PAGE: Final = Page("tasks", "/tasks", "t", "list-checks")
SPARKED: Final = 20
STATES: Final = (State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION, State.REVOKED)

router = APIRouter()


class TasksAsked(TaskPage):
    """Which tasks; a filter that a form sends empty is none."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value != ""}

    @property
    def is_filtered(self) -> bool:
        """True where it leaves tasks out."""
        return not self.selection.is_everything


@router.get(PAGE.path)
def show_tasks(ours: Ours, request: Request, _: Viewer, asked: Annotated[TasksAsked, Query()]) -> HTMLResponse:
    """Show a page of tasks; for htmx only its rows."""
    found = list_tasks(ours, asked)
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
        runs = outcomes.last_of(connection, [task.id for task in found.items], SPARKED)
    target = request.headers.get("hx-target")
    piece = {"rows": "tasks/_rows.html", "list": "tasks/_list.html"}.get(target or "", "tasks/page.html")
    return rendered(
        request,
        piece,
        now=now,
        asked=asked,
        tasks=found.items,
        following=_after(found.next),
        is_more=target == "rows",
        sparks=_sparks(runs),
        states=STATES,
    )


def _after(address: str | None) -> str | None:
    return parse_qs(urlsplit(address).query)["after"][0] if address else None


def _sparks(runs: Mapping[int, Sequence[AnyRow]]) -> dict[int, Spark]:
    return {task_id: spark_of(rows) for task_id, rows in runs.items()}
