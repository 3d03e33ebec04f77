"""`/runs`: the ledger, newest first, by what one looks for; its filters stand in the address."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from api.access import Viewer
from api.runs import count_by_facet, latest_runs
from api.services import Ours
from core.lifecycle import Origin, State
from core.outcome import ErrorKind
from store import tasks
from store.database import autocommit, read_clock
from store.run_search import created_at
from web.pages.runs_asked import OWN_SPAN, PAGE_SIZE, SPANS, RunsAsked
from web.rendering import Page, rendered

PAGE: Final = Page("runs", "/runs", "r", "history")
#: In the order of what one looks for.
STATES: Final = (
    State.FAILURE, State.REQUIRES_ACTION, State.STARTED, State.QUEUED, State.PENDING, State.RETRY, State.SUCCESS,
    State.SKIPPED, State.REVOKED,
)  # fmt: skip

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Older:
    """Where the search goes on, and back to when it has come; nobody knows it of an id that is not ours."""

    before: str
    reached: datetime | None


@router.get(PAGE.path)
def runs(ours: Ours, request: Request, _: Viewer, asked: Annotated[RunsAsked, Query()]) -> HTMLResponse:
    """Show a page of runs."""
    with autocommit(ours.engine) as connection:
        now, named = read_clock(connection), _named(connection, asked)
    zone = ZoneInfo(ours.settings.timezone)
    found = latest_runs(ours, asked.page(now, zone, named))
    before = parse_qs(urlsplit(found.next).query)["before"][0] if found.next else None
    older = Older(before, created_at(before)) if before else None
    if request.headers.get("hx-target") == "older":
        return rendered(
            request, "runs/_rows.html", now=now, runs=found.items, older=older, asked=asked, full_page=PAGE_SIZE
        )
    return rendered(
        request,
        "runs/page.html",
        now=now,
        runs=found.items,
        older=older,
        asked=asked,
        named=named,
        full_page=PAGE_SIZE,
        facets=None,
        states=STATES,
        spans=[*SPANS, OWN_SPAN],
        origins=list(Origin),
        kinds=list(ErrorKind),
        queues=ours.settings.queues,
    )


@router.get(PAGE.path + "/facets")
def facets(ours: Ours, request: Request, _: Viewer, asked: Annotated[RunsAsked, Query()]) -> HTMLResponse:
    """Count the states beside the one that is asked for; apart from the page, which does not wait for it."""
    with autocommit(ours.engine) as connection:
        now, named = read_clock(connection), _named(connection, asked)
    wanted = asked.filter(now, ZoneInfo(ours.settings.timezone), named).model_copy(update={"state": []})
    counted = count_by_facet(ours, wanted)
    return rendered(request, "runs/_facets.html", now=now, facets=counted, states=STATES, asked=asked)


def _named(connection: Connection, asked: RunsAsked) -> int | None:
    """Find the task whose runs are meant by a name; None: a deleted one's, or runs of no task."""
    row = tasks.by_name(connection, asked.task) if asked.task is not None and asked.names_a_task else None
    return None if row is None else int(row.id)
