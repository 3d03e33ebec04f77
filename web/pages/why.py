"""“Why did it not run?” on the page of a task: a moment, and the answer in one sentence."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.access import Viewer
from api.schedules import Id
from api.services import Ours
from api.why import MOST_CHARACTERS, explained
from web.pages.tasks import PAGE
from web.rendering import rendered

router = APIRouter()


@router.get(PAGE.path + "/{task_id}/why")
def why(
    ours: Ours, request: Request, _: Viewer, task_id: Id, moment: Annotated[str, Query(max_length=MOST_CHARACTERS)] = ""
) -> HTMLResponse:
    """Show the answer."""
    return rendered(request, "why/_answer.html", found=explained(ours, task_id, moment))
