"""`/load`: how busy each hour of the coming week will be, a crowd spread out, and the outcomes of the past weeks."""

from dataclasses import dataclass
from datetime import date
from math import sqrt
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from api.access import Operator, Viewer
from api.bulk import ChangeId, undo
from api.load import SpreadOrder, spread_minute
from api.services import Ours
from store.database import autocommit, read_clock
from web.load import DAYS, HOURS, Day, Forecast, LoadLook
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("load", "/load", "c", "calendar-days")
LEVELS: Final = 6
TOP_MINUTES: Final = 10
CROWD: Final = 10  # rows in a minute from which on spreading is offered
CHANGED: Final = ("console:close", "load:changed")
BAD_SHARE, DOUBTFUL_SHARE = 0.2, 0.05  # of a day's runs that failed

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the coming week; `level` 0 to LEVELS tells how it compares with the busiest one."""

    number: int
    fires: int
    level: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class PastDay:
    """A day of the past with how it is coloured, and the address of its runs."""

    day: Day
    tone: str
    href: str


@router.get(PAGE.path)
def load(
    ours: Ours, request: Request, _: Viewer, hour: Annotated[int | None, Query(ge=0, lt=DAYS * HOURS)] = None
) -> HTMLResponse:
    """Show the page; `hour` is the one that is looked at, else the busiest."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    look: LoadLook = request.app.state.load
    forecast, zone = look.ask(now), ZoneInfo(ours.settings.timezone)
    current = sum(edge <= now for edge in forecast.edges) - 1
    hours = hours_of(forecast, current)
    busiest = max(hours[current:], key=lambda each: each.fires)
    shown = busiest.number if hour is None else hour
    since, until = forecast.edges[shown], forecast.edges[shown + 1]
    return rendered(
        request,
        "load/page.html",
        now=now,
        forecast=forecast,
        tasks=forecast.exact + forecast.estimated,
        days=[forecast.edges[day * HOURS].astimezone(zone).date() for day in range(DAYS)],
        hours=hours,
        hours_a_day=HOURS,
        busiest=busiest,
        shown=hours[shown],
        shown_since=since.astimezone(zone),
        chosen=hour,
        minutes=[(minute, round(rows)) for minute, rows in forecast.minutes if since <= minute < until][:TOP_MINUTES],
        crowd=CROWD,
        past=[PastDay(day, tone_of(day), runs_of(day.day)) for day in forecast.past],
        is_counting=look.moves or not forecast.is_made or any(day.counts is None for day in forecast.past),
    )


@router.post("/load/spread")
def spread(ours: Ours, request: Request, caller: Operator, order: Annotated[SpreadOrder, Form()]) -> Response:
    """Propose a spread, or carry it out: then it can be undone."""
    answer = Response(status_code=204)
    found = spread_minute(ours, caller, answer, order)
    if found.change is None:
        return rendered(request, "load/_proposal.html", found=found)
    look: LoadLook = request.app.state.load
    look.forget()
    words = reader_of(request).words
    done = Response(status_code=204)
    told = words.count("load.spread_done", found.change.changed, before=found.before, after=found.after)
    toast(done, told, undo=f"{PAGE.path}/spread/{found.change.id}/undo", events=CHANGED)
    return done


@router.post("/load/spread/{change_id}/undo")
def take_back(ours: Ours, request: Request, caller: Operator, change_id: ChangeId) -> Response:
    """Give each task back the delay that it had."""
    outcome = undo(ours, caller, change_id)
    look: LoadLook = request.app.state.load
    look.forget()
    words = reader_of(request).words
    answer = Response(status_code=204)
    told = words.count("load.spread_undone", outcome.changed)
    if outcome.left:
        told = f"{told} {words.count('load.undo_left', outcome.left)}"
    toast(answer, told, kind="warn" if outcome.left else "ok", events=CHANGED)
    return answer


def hours_of(forecast: Forecast, current: int) -> list[Hour]:
    """Grade each hour by the busiest one; the root makes a difference among the quiet ones seen."""
    most = max(forecast.fires, default=0.0)
    return [
        Hour(number, round(fires), 0 if fires <= 0 else max(1, round(LEVELS * sqrt(fires / most))), number < current)
        for number, fires in enumerate(forecast.fires)
    ]


def tone_of(day: Day) -> str:
    """Colour a day by the share of its runs that failed."""
    if not day.runs:
        return "none"
    share = day.failed / day.runs
    return "bad" if share >= BAD_SHARE else "warn" if share >= DOUBTFUL_SHARE else "ok"


def runs_of(day: date) -> str:
    """Write the address of a day's runs, by the installation's clock."""
    following = date.fromordinal(day.toordinal() + 1)
    return f"/runs?span=own&first={day}T00:00&last={following}T00:00"
