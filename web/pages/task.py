"""`/tasks/{id}`: one task: when it runs next, how it went, what it is; and what is done with it."""

import json
from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Operator, Viewer
from api.changes import AuditPage, list_changes
from api.problems import Refused
from api.run_query import RunPage
from api.runs import latest_runs
from api.schedules import Id, Pause, delete_task, one_task, pause_task, resume_task
from api.services import Ours, Services
from api.task_actions import Preview, PreviewPage, RunNow, preview_task, run_now
from store import outcomes
from store.database import autocommit, read_clock
from web.pages.tasks import PAGE, SPARKED
from web.rendering import go_to, reader_of, rendered, toast
from web.spark import spark_of

PATH: Final = PAGE.path + "/{task_id}"
RUNS: Final = 12
CHANGES: Final = 5

router = APIRouter()


class Order(BaseModel):
    """What the dialogs of the page send."""

    model_config = ConfigDict(extra="ignore")

    reason: Annotated[str, Field(max_length=500)] = ""
    message: Annotated[str, Field(max_length=16_000)] = ""
    note: Annotated[str, Field(max_length=500)] = ""


@router.get(PATH)
def show_task(ours: Ours, request: Request, caller: Viewer, task_id: Id) -> HTMLResponse:
    """Show the page."""
    return _shown(ours, request, caller, task_id, "tasks/task.html")


@router.get(PATH + "/live")
def live(ours: Ours, request: Request, caller: Viewer, task_id: Id) -> HTMLResponse:
    """Show what changes by itself."""
    return _shown(ours, request, caller, task_id, "tasks/_task.html")


def _shown(ours: Services, request: Request, caller: Viewer, task_id: int, template: str) -> HTMLResponse:
    task = one_task(ours, task_id, Response())
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
        last = outcomes.last_of(connection, [task_id], SPARKED).get(task_id)
    preview, trouble = _preview(ours, task_id)
    config = task.task_extra_config
    return rendered(
        request,
        template,
        now=now,
        task=task,
        preview=preview,
        trouble=trouble,
        runs=latest_runs(ours, RunPage(task_id=task_id, limit=RUNS)).items,
        spark=spark_of(last) if last else None,
        changes=list_changes(ours, caller, AuditPage(kind="task", subject=str(task_id), limit=CHANGES)).items,
        config_text=config if isinstance(config, str) else json.dumps(config, ensure_ascii=False, indent=2),
    )


def _preview(ours: Services, task_id: int) -> tuple[Preview | None, str]:
    """Work out the next fires, or say why not: a page is shown all the same."""
    try:
        return preview_task(ours, task_id, PreviewPage()), ""
    except Refused as error:
        return None, str(error)
    except HTTPException as error:
        return None, error.detail


@router.post(PATH + "/pause")
def pause(ours: Ours, request: Request, caller: Operator, task_id: Id, order: Annotated[Order, Form()]) -> Response:
    """Stop new runs, and say why."""
    if not order.reason.strip():
        raise Refused([{"field": "reason", "message": reader_of(request).words("tasks.reason_needed")}])
    pause_task(ours, caller, Response(), task_id, Pause(reason=order.reason.strip()))
    return _done(request, "tasks.did_pause", undo=f"{PAGE.path}/{task_id}/resume")


@router.post(PATH + "/resume")
def resume(ours: Ours, request: Request, caller: Operator, task_id: Id) -> Response:
    """Let it run again."""
    resume_task(ours, caller, Response(), task_id)
    return _done(request, "tasks.did_resume")


@router.post(PATH + "/run")
def run(ours: Ours, request: Request, caller: Operator, task_id: Id, order: Annotated[Order, Form()]) -> Response:
    """Run it once, now; with another message where one is given."""
    overrides = {"message": order.message} if order.message.strip() else {}
    run_now(ours, caller, task_id, RunNow(overrides=overrides, note=order.note.strip() or None))
    return _done(request, "tasks.did_run")


@router.post(PATH + "/delete")
def delete(ours: Ours, request: Request, caller: Operator, task_id: Id) -> Response:
    """Delete it; its runs stay."""
    delete_task(ours, caller, task_id)
    answer = go_to(PAGE.path)
    toast(answer, reader_of(request).words("tasks.did_delete"))
    return answer


def _done(request: Request, key: str, undo: str | None = None) -> Response:
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words(key), undo=undo, events=("tasks:changed", "console:close"))
    return answer
