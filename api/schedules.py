"""`/api/v2/tasks`: the rows of `periodic_task`: list, read, create, edit, delete, pause."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from api.access import Caller, Operator
from api.off_loop import OffLoop
from api.problems import documented
from api.services import Ours, Services
from api.task_edit import Editor, etag_of, matches
from api.task_models import NewTask, Task, TaskChange, Tasks, shown
from store import audit, tasks
from store.audit import Change
from store.database import AnyRow, autocommit, read_clock, transaction
from store.tasks import NameTaken, Selection, editable
from surroundings import read_surroundings

PATH: Final = "/api/v2/tasks"

router = APIRouter(route_class=OffLoop, prefix=PATH, tags=["tasks"], responses=documented(401, 422, 503))

Id = Annotated[int, Path(ge=1, lt=2**63)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=1000, description="ETag of the state edited")]
Text = Annotated[str | None, Field(min_length=1, max_length=200)]


class TaskFilter(BaseModel):
    """Which tasks; what is not named is not asked about."""

    model_config = ConfigDict(extra="forbid")

    name_prefix: Text = None
    name_contains: Text = None
    tag: Text = None
    owner: Text = None
    enabled: bool | None = None
    state: Annotated[str | None, Field(pattern=r"^[A-Z_]{1,16}$", description="of the last run")] = None
    broken: bool | None = None

    @property
    def selection(self) -> Selection:
        """The same for the store."""
        return Selection(**self.model_dump(include=set(TaskFilter.model_fields)))


class TaskPage(TaskFilter):
    """Which tasks are asked for."""

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most")] = 50
    after: Annotated[int, Field(ge=0, lt=2**63, description="Only tasks with a higher id")] = 0


class Pause(BaseModel):
    """Why a task is paused."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get("")
def list_tasks(ours: Ours, page: Annotated[TaskPage, Query()]) -> Tasks:
    """List the tasks by id; in `task_extra_config` whatever is secret by its name is hidden."""
    with autocommit(ours.engine) as connection:
        rows = tasks.page(connection, page.selection, page.after, page.limit + 1)
    found = rows[: page.limit]
    asked = page.model_dump(exclude_defaults=True, exclude={"after"})
    more = (
        f"{PATH}?{urlencode(asked | {'limit': page.limit, 'after': found[-1].id})}" if len(rows) > page.limit else None
    )
    return Tasks(items=[shown(row, ours.mask) for row in found], next=more)


@router.post("", status_code=201, responses=documented(403, 409))
def create_task(ours: Ours, caller: Operator, response: Response, given: NewTask) -> Task:
    """Create a task. What beat would call broken is refused, in the same words."""
    with transaction(ours.engine) as tx:
        editor = editor_of(ours, tx)
        values = editor.columns(given)
        editor.check(values, None, read_clock(tx))
        with audit.silence_triggers(tx):
            row = insert(tx, values, caller)
        audit.record(tx, caller.actor, Change(action="task.create", subject=row.id, after=editable(row)))
    response.headers["Location"] = f"{PATH}/{row.id}"
    return _answer(ours, row, response)


@router.get("/{task_id}", responses=documented(404))
def one_task(ours: Ours, task_id: Id, response: Response) -> Task:
    """Show a task; its ETag goes into If-Match of an edit."""
    with autocommit(ours.engine) as connection:
        row = tasks.read(connection, task_id)
    return _answer(ours, row or _missing(task_id), response)


@router.patch("/{task_id}", responses=documented(403, 404, 409, 412))
def change_task(
    ours: Ours, caller: Operator, response: Response, task_id: Id, given: TaskChange, if_match: IfMatch = None
) -> Task:
    """Change a task. An edit that would break it is refused, in beat's words; what was broken before may be mended."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, task_id, if_match)
        editor = editor_of(ours, tx)
        values = editor.columns(given, row)
        editor.check(values, row, read_clock(tx))
        row = edit(tx, caller, row, values, "task.update")
    return _answer(ours, row, response)


@router.delete("/{task_id}", status_code=204, responses=documented(403, 404, 412))
def delete_task(ours: Ours, caller: Operator, task_id: Id, if_match: IfMatch = None) -> None:
    """Delete a task. Its runs go on, and its history stays."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, task_id, if_match)
        with audit.silence_triggers(tx):
            tasks.remove(tx, task_id)
        audit.record(tx, caller.actor, Change(action="task.delete", subject=task_id, before=editable(row)))


@router.put("/{task_id}/pause", responses=documented(403, 404, 412))
def pause_task(
    ours: Ours, caller: Operator, response: Response, task_id: Id, given: Pause, if_match: IfMatch = None
) -> Task:
    """Stop new runs of a task, and say why; a broken one too. Runs under way go on."""
    return _switch(ours, caller, response, task_id, if_match, {"enabled": 0, "pause_reason": given.reason})


@router.delete("/{task_id}/pause", responses=documented(403, 404, 412))
def resume_task(ours: Ours, caller: Operator, response: Response, task_id: Id, if_match: IfMatch = None) -> Task:
    """Let a paused task run again, from now on."""
    return _switch(ours, caller, response, task_id, if_match, {"enabled": 1, "pause_reason": None})


def _switch(
    ours: Services, caller: Caller, response: Response, task_id: int, if_match: str | None, values: dict[str, Any]
) -> Task:
    with transaction(ours.engine) as tx:
        row = _locked(tx, task_id, if_match)
        row = edit(tx, caller, row, values, "task.resume" if values["enabled"] else "task.pause")
    return _answer(ours, row, response)


def editor_of(ours: Services, connection: Connection) -> Editor:
    """Read what rows are judged by now."""
    return Editor(read_surroundings(connection, ours.settings), ours.mask).on(connection)


def insert(tx: Connection, values: dict[str, Any], caller: Caller) -> AnyRow:
    """Insert a row in the caller's name. Raises HTTPException 409."""
    try:
        return tasks.add(tx, values | {"create_by": caller.name, "update_by": caller.name})
    except NameTaken:
        raise HTTPException(409, _taken(values["name"])) from None


def edit(
    tx: Connection, caller: Caller, row: AnyRow, values: dict[str, Any], action: str, change_set: str | None = None
) -> AnyRow:
    """Write what differs into a locked row, in the caller's name, and enter the change. Raises HTTPException 409."""
    differing = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not differing:
        return row
    try:
        with audit.silence_triggers(tx):
            tasks.change(tx, [row.id], differing | {"update_by": caller.name})
    except NameTaken:
        raise HTTPException(409, _taken(values["name"])) from None
    new = tasks.read(tx, row.id)
    assert new is not None  # noqa: S101 - narrows the type only
    before, after = editable(row), editable(new)
    changed = [name for name in before if before[name] != after[name]]
    change = Change(
        action=action,
        subject=row.id,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
        change_set=change_set,
    )
    audit.record(tx, caller.actor, change)
    return new


def _locked(tx: Connection, task_id: int, if_match: str | None) -> AnyRow:
    """Lock a row that is in the state the client saw. Raises HTTPException 404, 412."""
    row = tasks.lock(tx, [task_id]).get(task_id) or _missing(task_id)
    if not matches(etag_of(row), if_match):
        raise HTTPException(
            412, f"Task {task_id} was edited meanwhile; read it again, and send its new ETag in If-Match.",
            {"ETag": etag_of(row)},
        )  # fmt: skip
    return row


def _answer(ours: Services, row: AnyRow, response: Response) -> Task:
    response.headers["ETag"] = etag_of(row)
    return shown(row, ours.mask)


def _missing(task_id: int) -> AnyRow:
    raise HTTPException(404, f"No task has the id {task_id}; GET {PATH} lists them.")


def _taken(name: str) -> str:
    return f"There is a task {name!r} already (case and accents do not count); choose another name."
