"""`/queues`: what waits in each queue and for how long; a queue is held, and let go."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.access import Operator, Viewer
from api.broker_look import BrokerLook
from api.holds import HoldPage, NewHold, end_hold, hold, list_holds
from api.operations import MOST_COUNTED, Queues
from api.services import Ours, Services
from core.holds import Mode, Scope
from store.database import autocommit, read_clock
from web.lately import Lately
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("queues", "/queues", "q", "layers")
MOST_HOLDS: Final = 200
CHANGED: Final = ("console:close", "queues:changed")

router = APIRouter()


class HoldAsked(BaseModel):
    """What the dialog sends."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    mode: Mode = Mode.WAIT
    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get(PAGE.path)
async def show_queues(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page; for htmx only its tables. A broker that hangs delays it once in a while, and is told of."""
    return await run_in_threadpool(_shown, ours, request, await ours.readiness.broker.ask())


def _shown(ours: Services, request: Request, look: BrokerLook | None) -> HTMLResponse:
    queues: Lately[Queues] = request.app.state.queues
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    holds = list_holds(ours, HoldPage(limit=MOST_HOLDS)).items
    stopped = {each.name: each for each in holds if each.scope == Scope.QUEUE}
    piece = "queues/_tables.html" if request.headers.get("hx-request") else "queues/page.html"
    return rendered(
        request,
        piece,
        now=now,
        queues=queues.ask().items,
        depths=look.depths if look is not None else {},
        is_broker_silent=look is None or look.problem is not None,
        holds=holds,
        stopped=stopped,
        most=MOST_COUNTED,
    )


@router.post(PAGE.path + "/hold")
def hold_queue(ours: Ours, request: Request, caller: Operator, given: Annotated[HoldAsked, Form()]) -> Response:
    """Stop a queue."""
    hold(ours, caller, Response(), NewHold(scope=Scope.QUEUE, name=given.name, mode=given.mode, reason=given.reason))
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words("queues.held", name=given.name), events=CHANGED)
    return answer


@router.post(PAGE.path + "/holds/{hold_id}/end")
def let_go(ours: Ours, request: Request, caller: Operator, hold_id: int) -> Response:
    """End a hold of any kind."""
    ended = end_hold(ours, caller, hold_id)
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words.count("queues.let_go", ended.woken), events=CHANGED)
    return answer
