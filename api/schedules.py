"""`/api/v2/tasks`: the rows of `periodic_task`, by id."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.problems import documented
from api.runs import Moment
from api.services import Ours
from store import overview
from store.database import autocommit

PATH = "/api/v2/tasks"

# A broken row may hold anything in SQLite, and must be shown all the same.
Whole = int | float | str | None
Flag = Annotated[bool | Whole, BeforeValidator(lambda value: bool(value) if value in (0, 1) else value)]

router = APIRouter(prefix=PATH, tags=["tasks"], responses=documented(401, 422, 503))


class TaskPage(BaseModel):
    """Which tasks are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most")] = 50
    after: Annotated[int, Field(ge=0, lt=2**63, description="Only tasks with a higher id")] = 0


class Task(BaseModel):
    """A row. System times are UTC; run_at, start_time and end_time are wall-clock times in the row's zone."""

    id: int
    name: str
    description: str | None
    owner: str | None
    tags: str | None
    enabled: Flag
    pause_reason: str | None
    crontab: str | None
    interval_seconds: Whole
    rrule: str | None
    run_at: Moment
    timezone: str | None
    dst_policy: str | None
    calendar: str | None
    calendar_roll: str
    start_time: Moment
    end_time: Moment
    max_runs: Whole
    jitter_seconds: Whole
    catch_up: str
    catch_up_window_seconds: Whole
    overlap: str
    task_extra_config: Any
    run_now: Flag
    next_run_at: Moment
    last_run_at: Moment
    last_run_state: str | None
    run_count: Whole
    consecutive_failures: Whole
    config_error: str | None
    hint: str | None
    create_time: Moment
    update_time: Moment
    create_by: str | None
    update_by: str | None


class Tasks(BaseModel):
    """A page; `next` is the address of the following one, null on the last."""

    items: list[Task]
    next: str | None


@router.get("")
def list_tasks(ours: Ours, page: Annotated[TaskPage, Query()]) -> Tasks:
    """List the tasks by id; in `task_extra_config` whatever is secret by its name is hidden."""
    with autocommit(ours.engine) as connection:
        rows = overview.tasks_after(connection, page.after, page.limit + 1)
    shown = rows[: page.limit]
    items = [
        Task.model_validate(
            dict(row._mapping)
            | {
                "task_extra_config": ours.mask.config(row.task_extra_config),
                "config_error": ours.mask.prose(row.config_error),
            }
        )
        for row in shown
    ]
    more = f"{PATH}?{urlencode({'limit': page.limit, 'after': shown[-1].id})}" if len(rows) > page.limit else None
    return Tasks(items=items, next=more)
