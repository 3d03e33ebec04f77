"""What one does with a task beside editing it: run it now, and see when it will run."""

from dataclasses import replace
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from time import monotonic
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import Operator, Viewer
from api.moments import UtcMoment
from api.off_loop import OffLoop
from api.problems import Refused, documented
from api.schedules import PATH, Id, editor_of
from api.services import Ours
from api.task_models import Schedule
from core.arming import Surroundings, upstream_of
from core.cadence import MICROSECOND
from core.legacy.rows import as_row
from core.lifecycle import Origin, State
from core.preview import Preview as Previewed
from core.preview import as_json, preview
from core.task_config import parse_task_config
from store import audit, runs, tasks
from store.audit import Change
from store.database import autocommit, read_clock, transaction
from store.runs import NewRun

MOST_FIRES: Final = 100
PREVIEW_SECONDS: Final = 1.0
TRIES: Final = 5  # a second run in the same microsecond takes the next one
NO_WORK: Final = '{"task_type": "celery", "task": "draft"}'  # a draft is about WHEN; any sound WHAT will do

AT_ONCE = BoundedSemaphore(2)  # previews compute: more of them would leave no processor to other requests

router = APIRouter(route_class=OffLoop, tags=["tasks"], responses=documented(401, 422, 503))


class RunNow(BaseModel):
    """What this one run does otherwise than the task says."""

    model_config = ConfigDict(extra="forbid")

    overrides: Annotated[
        dict[str, Any], Field(description='keys of task_extra_config, such as {"message": "…", "queue": "system"}')
    ] = Field(default_factory=dict)
    note: Annotated[str | None, Field(max_length=500)] = None


class MadeRun(BaseModel):
    """A run that was made, and where it can be looked at."""

    id: str
    state: str
    href: str


class PreviewPage(BaseModel):
    """How far to look."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=MOST_FIRES)] = 10
    since: Annotated[UtcMoment | None, Field(description="look from here; default: now")] = None


class Draft(Schedule):
    """A schedule that no row has yet, or the columns to put in the place of a row's."""

    task_id: Annotated[int | None, Field(ge=1, lt=2**63)] = None
    count: Annotated[int, Field(ge=1, le=MOST_FIRES)] = 10
    since: UtcMoment | None = None


class Fire(BaseModel):
    """A moment at which the task runs; `local` in its zone."""

    scheduled_for: datetime
    local: datetime
    without_jitter: datetime
    jitter_seconds: float
    note: str


class LeftOut(BaseModel):
    """Times of the rule that do not run as they stand, in wall-clock times of the zone."""

    first: str
    last: str
    count: int | None
    reason: str


class Preview(BaseModel):
    """The coming moments; `problems` says why there are none, `notes` what may not be meant."""

    zone: str
    problems: list[str]
    fires: list[Fire]
    left_out: list[LeftOut]
    ended: str | None
    notes: list[str]


@router.post(PATH + "/{task_id}/runs", status_code=201, responses=documented(403, 404))
def run_now(ours: Ours, caller: Operator, task_id: Id, given: RunNow) -> MadeRun:
    """Run a task once, now, enabled or not, with what it is to do changed for this once."""
    with transaction(ours.engine) as tx:
        row = tasks.read(tx, task_id)
        if row is None:
            raise HTTPException(404, f"No task has the id {task_id}; GET {PATH} lists them.")
        editor, config = editor_of(ours, tx), row.task_extra_config
        if given.overrides or config is None:
            config = editor.config_with(given.overrides, config)
        editor.check_whole({"task_extra_config": config}, row, read_clock(tx))
        run = _insert(tx, row, config)
        tasks.note_start(tx, task_id, run.scheduled_for)
        after = {"run_id": run.id, **given.overrides}
        audit.record(tx, caller.actor, Change(action="task.run", subject=task_id, after=after, note=given.note))
    return MadeRun(id=run.id, state=run.state, href=f"/api/v2/runs/{run.id}")


def _insert(tx: Any, row: Any, config: str) -> NewRun:
    """Enter the run; a moment that another one has just taken is left to it."""
    parsed, now = parse_task_config(config), read_clock(tx)
    for later in range(TRIES):
        moment = now + later * timedelta(microseconds=1)
        run = NewRun(
            id=runs.new_run_id(), periodic_task_id=row.id, task_name=row.name, origin=Origin.API, scheduled_for=moment,
            ready_at=now, state=State.PENDING, queue=parsed.queue, priority=parsed.priority, config=config,
        )  # fmt: skip
        if runs.insert_runs(tx, [run]):
            return run
    raise HTTPException(503, "Too many runs of this task in one moment; try again.", {"Retry-After": "1"})


@router.get(PATH + "/{task_id}/preview", responses=documented(404))
def preview_task(ours: Ours, task_id: Id, page: Annotated[PreviewPage, Query()]) -> Preview:
    """Tell when a task runs next, what is left out between, and why."""
    with autocommit(ours.engine) as connection:
        row = tasks.read(connection, task_id)
        if row is None:
            raise HTTPException(404, f"No task has the id {task_id}; GET {PATH} lists them.")
        around, now = _asked_now(editor_of(ours, connection).around, row), read_clock(connection)
    columns = dict(row._mapping)
    if row.needs_arming or page.since is not None:  # next_run_at belongs to the columns before, or to now
        columns["next_run_at"] = None
    return previewed(columns, around, page.since, now, page.count)


@router.post("/api/v2/preview", responses=documented(404))
def preview_draft(ours: Ours, _: Viewer, given: Draft) -> Preview:
    """Tell when a schedule would run that is not saved, or a task with these columns changed. Changes nothing."""
    with autocommit(ours.engine) as connection:
        old = None if given.task_id is None else tasks.read(connection, given.task_id)
        if given.task_id is not None and old is None:
            raise HTTPException(404, f"No task has the id {given.task_id}; GET {PATH} lists them.")
        editor, now = editor_of(ours, connection), read_clock(connection)
        around = editor.around if old is None else _asked_now(editor.around, old)
    values = editor.columns(given, old)
    base = dict(old._mapping) if old is not None else {"id": 0, "enabled": 1, "task_extra_config": NO_WORK}
    found = previewed({**base, **values, "next_run_at": None}, around, given.since, now, given.count)
    if old is None and given.jitter_seconds:
        found.notes.append("the delays of jitter_seconds depend on the task's id, so a draft's are an example")
    return found


def _asked_now(around: Surroundings, row: Any) -> Surroundings:
    """Ask while there is a connection what is wrong with the row that a row starts after: a preview holds none."""
    after = upstream_of(row)
    wrong = None if after is None else around.check_upstream(row, after)
    return replace(around, check_upstream=lambda _row, _after: wrong)


def previewed(
    columns: dict[str, Any], around: Surroundings, since: datetime | None, now: datetime, count: int
) -> Preview:
    """Preview a row's columns. Raises Refused: it takes too long; HTTPException: others are being worked out."""
    begin = now if since is None else since - MICROSECOND
    if not AT_ONCE.acquire(blocking=False):
        raise HTTPException(503, "Other previews are being worked out; try again in a moment.", {"Retry-After": "1"})
    try:
        return Preview.model_validate(as_json(_in_time(as_row(columns, now), around, begin, count)))
    finally:
        AT_ONCE.release()


def _in_time(row: Any, around: Surroundings, begin: datetime, count: int) -> Previewed:
    """Look for one moment, then for twice as many, and so on, while twice as many are likely to be found in time.

    A walk cannot be interrupted, and ends by the steps that it may take. Raises Refused.
    """
    started, wanted = monotonic(), 1
    while True:
        step = monotonic()
        found = preview(row, around, begin, wanted)
        if wanted == count or len(found.fires) < wanted:
            return found
        following = min(2 * wanted, count)
        if monotonic() - started + (monotonic() - step) * following / wanted > PREVIEW_SECONDS:
            told = (
                f"count={count} takes too long for this schedule: its moments are far apart or hard to find; "
                f"use count={wanted}, or write the schedule more simply"
            )
            raise Refused([{"field": "count", "message": told}])
        wanted = following
