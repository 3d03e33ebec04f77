"""`POST /tasks/test`: one real call with what the form of a task says, before anything is saved."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from api.access import Operator
from api.services import Ours
from api.trial_calls import TrialCall, try_call
from web.forms import refusal_of
from web.pages.task_form import TaskForm
from web.pages.tasks import PAGE
from web.rendering import rendered

router = APIRouter()


@router.post(PAGE.path + "/test")
def try_form(ours: Ours, request: Request, caller: Operator, given: Annotated[TaskForm, Form()]) -> HTMLResponse:
    """Make the call and show what came of it. Saves nothing."""
    try:
        asked = TrialCall(
            task_extra_config=given.task_extra_config,
            task_id=int(given.task_id) if given.task_id else None,
            name=given.name.strip(),
            tags=given.tags.strip() or None,
        )
    except ValueError as error:
        raise refusal_of(error) from None
    return rendered(request, "tasks/_tried.html", tried=try_call(ours, caller, asked))
