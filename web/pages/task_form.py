"""`/tasks/new`, `/tasks/{id}/edit`: the form of a task, which explains what it would do while it is filled in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Caller, Operator
from api.problems import Refused
from api.schedules import Id, change_task, create_task, editor_of, one_task
from api.services import Ours, Services
from api.task_actions import Draft, Preview, preview_draft
from api.task_models import NewTask, Schedule, Task, TaskChange
from core.planning import CatchUp, Overlap
from store import tasks as rows
from store.database import autocommit, read_clock
from web.forms import refusal_of
from web.pages.tasks import PAGE
from web.rendering import go_to, reader_of, rendered, toast

KINDS: Final[Mapping[str, str]] = {
    "crontab": "crontab", "interval": "interval_seconds", "rrule": "rrule", "once": "run_at"
}  # fmt: skip
NUMBERS: Final = ("interval_seconds", "max_runs", "jitter_seconds", "catch_up_window_seconds")
#: What a new task may begin with: the least that each type needs.
SKELETONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "agent": {"task_type": "agent", "agent_id": "", "message": "", "queue": "priority_low", "timeout": 300},
    "workflow": {"task_type": "workflow", "workflow_id": "", "inputs": {}, "queue": "priority_low", "timeout": 1800},
    "http": {"task_type": "http", "url": "https://", "method": "POST", "body": {}, "timeout": 30},
    "celery": {"task_type": "celery", "task": "", "args": [], "kwargs": {}},
}

router = APIRouter()

Text = Annotated[str, Field(max_length=16_000)]


class TaskForm(BaseModel):
    """The form as it is sent: texts, of which an empty one means none."""

    model_config = ConfigDict(extra="ignore")

    task_id: Annotated[str, Field(pattern=r"^[0-9]{0,18}$")] = ""
    etag: Annotated[str, Field(max_length=200)] = ""
    name: Text = ""
    description: Text = ""
    owner: Text = ""
    tags: Text = ""
    kind: Literal["crontab", "interval", "rrule", "once", "none"] = "crontab"
    crontab: Text = ""
    interval_seconds: Text = ""
    rrule: Text = ""
    run_at: Text = ""
    timezone: Text = ""
    dst_policy: Text = ""
    calendar: Text = ""
    calendar_roll: Text = "skip"
    start_time: Text = ""
    end_time: Text = ""
    max_runs: Text = ""
    jitter_seconds: Text = "0"
    catch_up: Text = "latest"
    catch_up_window_seconds: Text = "3600"
    overlap: Text = "skip"
    task_extra_config: Annotated[str, Field(max_length=500_000)] = ""

    def columns(self) -> dict[str, Any]:
        """Say the form in columns of a task. Raises Refused for text that is no number."""
        found: dict[str, Any] = {
            name: getattr(self, name).strip() or None for name in TaskForm.model_fields if name not in LEFT_OUT
        }
        for kind, column in KINDS.items():
            if kind != self.kind:
                found[column] = None
        wrong = []
        for name in NUMBERS:
            try:
                found[name] = None if found[name] is None else int(found[name])
            except ValueError:
                wrong.append({"field": name, "message": f"{name} is a whole number, not {found[name]!r}"})
        if wrong:
            raise Refused(wrong)
        return {name: value for name, value in found.items() if value is not None or name not in NEVER_NULL}


LEFT_OUT: Final = frozenset({"task_id", "etag", "kind"})
NEVER_NULL: Final = frozenset(
    {"name", "calendar_roll", "jitter_seconds", "catch_up", "catch_up_window_seconds", "overlap"}
)


@dataclass(frozen=True, slots=True)
class Explained:
    """What a form would do."""

    preview: Preview | None = None
    problems: list[dict[str, str]] = field(default_factory=list)


@router.get(PAGE.path + "/new")
def new_task(ours: Ours, request: Request, _: Operator, copy: Id | None = None) -> HTMLResponse:
    """Show an empty form, or a copy of a task."""
    if copy is None:
        values = TaskForm(task_extra_config=_as_text(SKELETONS["agent"]))
    else:
        values = _form_of(one_task(ours, copy, Response())).model_copy(update={"name": "", "etag": "", "task_id": ""})
    return _form(ours, request, values)


@router.get(PAGE.path + "/{task_id}/edit")
def edit_task(ours: Ours, request: Request, _: Operator, task_id: Id) -> HTMLResponse:
    """Show the form of a task as it is."""
    answer = Response()
    task = one_task(ours, task_id, answer)
    return _form(ours, request, _form_of(task, answer.headers["ETag"]), task)


def _form(ours: Services, request: Request, values: TaskForm, task: Task | None = None) -> HTMLResponse:
    words = reader_of(request).words
    return rendered(
        request,
        "tasks/form.html",
        values=values,
        task=task,
        skeletons={name: _as_text(value) for name, value in SKELETONS.items()},
        overlaps=[(each.value, words(f"tasks.overlap.{each.value}")) for each in Overlap],
        catch_ups=[(each.value, words(f"tasks.catch_up.{each.value}")) for each in CatchUp],
        zone=ours.settings.timezone,
    )


@router.post(PAGE.path + "/explain")
def explain(ours: Ours, request: Request, caller: Operator, given: Annotated[TaskForm, Form()]) -> HTMLResponse:
    """Tell when a form's task would run, and what is wrong with it. Saves nothing."""
    task_id = int(given.task_id) if given.task_id else None
    return rendered(request, "tasks/_explained.html", told=_explain(ours, caller, given, task_id), kind=given.kind)


def _explain(ours: Services, caller: Caller, given: TaskForm, task_id: int | None) -> Explained:
    """Look ahead, then judge the whole row as saving would: the fires are shown beside what is wrong elsewhere."""
    preview = None
    try:
        columns = given.columns()
        if given.kind != "none":
            when = {name: value for name, value in columns.items() if name in Schedule.model_fields}
            preview = preview_draft(ours, caller, Draft(**when, task_id=task_id))
        with autocommit(ours.engine) as connection:
            old = rows.read(connection, task_id) if task_id is not None else None
            editor = editor_of(ours, connection)
            change = NewTask(**({"name": "-"} | columns))
            editor.check(editor.columns(change, old), old, read_clock(connection))
    except Refused as error:
        told = preview.problems if preview else []
        return Explained(preview, [problem for problem in error.problems if problem["message"] not in told])
    except ValueError as error:  # pydantic: a column that is too long, say
        return Explained(preview, refusal_of(error).problems)
    except HTTPException as error:
        return Explained(preview, [{"field": "", "message": error.detail}])
    return Explained(preview)


@router.post(PAGE.path + "/new")
def save_new(ours: Ours, request: Request, caller: Operator, given: Annotated[TaskForm, Form()]) -> Response:
    """Create the task."""
    try:
        task = create_task(ours, caller, Response(), NewTask(**({"name": ""} | given.columns())))
    except ValueError as error:
        raise refusal_of(error) from None
    return _saved(request, task.id, "tasks.did_create")


@router.post(PAGE.path + "/{task_id}/edit")
def save(ours: Ours, request: Request, caller: Operator, task_id: Id, given: Annotated[TaskForm, Form()]) -> Response:
    """Save the task; where somebody has edited it meanwhile, show what differs and save nothing."""
    try:
        change = TaskChange(**given.columns())
    except ValueError as error:
        raise refusal_of(error) from None
    try:
        change_task(ours, caller, Response(), task_id, change, given.etag or None)
    except HTTPException as error:
        if error.status_code != 412:
            raise
        return _conflict(ours, request, task_id, given)
    return _saved(request, task_id, "tasks.did_save")


def _saved(request: Request, task_id: int, key: str) -> Response:
    answer = go_to(f"{PAGE.path}/{task_id}")
    toast(answer, reader_of(request).words(key))
    return answer


def _conflict(ours: Services, request: Request, task_id: int, given: TaskForm) -> Response:
    current = Response()
    task = one_task(ours, task_id, current)
    theirs = _form_of(task)
    names = [name for name in TaskForm.model_fields if name not in LEFT_OUT]
    differing = [(name, getattr(theirs, name), getattr(given, name)) for name in names]
    return rendered(
        request,
        "tasks/_conflict.html",
        headers={"HX-Retarget": "#conflict", "HX-Reswap": "innerHTML"},
        task=task,
        etag=current.headers["ETag"],
        differing=[each for each in differing if each[1].strip() != each[2].strip()],
    )


def _form_of(task: Task, etag: str = "") -> TaskForm:
    given: dict[str, Any] = {
        name: _text(getattr(task, name)) for name in TaskForm.model_fields if hasattr(task, name) and name != "task_id"
    }
    kind = next((kind for kind, column in KINDS.items() if getattr(task, column) is not None), "none")
    return TaskForm.model_construct(  # unchecked: SQL may have written what is longer than the form takes
        **given | {"kind": kind, "etag": etag, "task_id": str(task.id)}
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return _as_text(value)
    return value.isoformat(sep=" ") if hasattr(value, "isoformat") else str(value)


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
