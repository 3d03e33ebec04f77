"""`/overview`: what is wrong first, then how the whole goes. A piece of it is fetched anew while somebody looks."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.access import Viewer
from api.operations import Queues, list_beats, list_workers
from api.readiness import Check, verdict
from api.services import Ours, Services
from core.lifecycle import State
from store import outcomes
from store.database import autocommit, read_clock
from store.pulse import pulse
from web.lately import Lately
from web.outcome_history import OutcomeHistory, Stretch
from web.pulse import MOST_WATCHERS, Pulse
from web.rendering import Page, rendered
from web.standing import matters, pace

PAGE: Final = Page("overview", "/overview", "o", "layout-dashboard")
NEWEST: Final = 500
NEXT: Final = 12
CHARTED: Final = (State.SUCCESS, State.FAILURE, State.SKIPPED)

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Chart:
    """What charts.js draws: seconds since 1970, and a row of counts for each series; None where nobody has counted."""

    times: list[int]
    series: list[list[int | None]]


@dataclass(frozen=True, slots=True)
class Sum:
    """Runs made in some stretches."""

    runs: int
    succeeded: int
    failed: int
    is_capped: bool
    """There may be more."""


@router.get(PAGE.path)
async def overview(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page."""
    return await _shown(ours, request, "overview/page.html")


@router.get(PAGE.path + "/live")
async def live(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show what changes."""
    return await _shown(ours, request, "overview/_live.html")


def _watchable(request: Request) -> Pulse:
    """Refuse before the answer begins, which can be no error any more then; the page asks by itself instead."""
    beating: Pulse = request.app.state.pulse
    if beating.is_full:
        raise HTTPException(503, f"{MOST_WATCHERS} pages are told of changes already.", {"Retry-After": "30"})
    return beating


@router.get(PAGE.path + "/events", response_class=EventSourceResponse)
async def events(_: Viewer, beating: Annotated[Pulse, Depends(_watchable)]) -> AsyncIterator[ServerSentEvent]:
    """Tell after each change, in an event `change`, that the page is an old one."""
    async with aclosing(beating.follow()) as changes:
        async for state in changes:
            yield ServerSentEvent(event="change", raw_data=state)


def felt(engine: Engine) -> str:
    """Look whether anything has happened that the page shows."""
    with autocommit(engine) as connection:
        return pulse(connection)


async def _shown(ours: Services, request: Request, template: str) -> HTMLResponse:
    checks = await ours.readiness.checks()
    return await run_in_threadpool(_look, ours, request, template, checks)


def _look(ours: Services, request: Request, template: str, checks: list[Check]) -> HTMLResponse:
    history: OutcomeHistory = request.app.state.outcome_history
    beating: Pulse = request.app.state.pulse
    heard = beating.told  # before the look: what changes during it is told again
    queues: Lately[Queues] = request.app.state.queues
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
        found = matters(connection, checks, ours.mask, now)
        late = pace(outcomes.newest(connection, NEWEST))
        coming = outcomes.next_fires(connection, NEXT)
    stretches = history.ask(now)
    return rendered(
        request,
        template,
        now=now,
        verdict=verdict(checks),
        matters=found,
        pace=late,
        coming=coming,
        queues=queues.ask().items,
        workers=list_workers(ours).items,
        beats=list_beats(ours).items,
        since=stretches[-2].since,
        hour=total(stretches[-2:]),
        day=total(stretches),
        chart=asdict(_chart(stretches)),
        heard=heard,
    )


def total(stretches: list[Stretch]) -> Sum | None:
    """Add up; None where a stretch is not counted yet."""
    counts = [stretch.counts for stretch in stretches if stretch.counts is not None]
    if len(counts) < len(stretches):
        return None
    return Sum(
        runs=sum(sum(each.values()) for each in counts),
        succeeded=sum(each.get(State.SUCCESS, 0) for each in counts),
        failed=sum(each.get(State.FAILURE, 0) for each in counts),
        is_capped=any(stretch.is_capped for stretch in stretches),
    )


def _chart(stretches: list[Stretch]) -> Chart:
    def counts(stretch: Stretch) -> list[int] | list[None]:
        if stretch.counts is None:
            return [None] * (len(CHARTED) + 1)
        told = [stretch.counts.get(state, 0) for state in CHARTED]
        return [*told, sum(stretch.counts.values()) - sum(told)]

    return Chart(
        [int(stretch.since.timestamp()) for stretch in stretches],
        [list(series) for series in zip(*(counts(stretch) for stretch in stretches), strict=True)],
    )
