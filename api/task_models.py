"""Tasks as JSON: as they are shown, and as they are written."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from api.masking import Mask
from api.run_models import Moment, values_of
from store.database import AnyRow

# A broken row may hold anything in SQLite, and must be shown all the same.
Whole = int | float | str | None
Flag = Annotated[bool | Whole, BeforeValidator(lambda value: bool(value) if value in (0, 1) else value)]

Number = Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)]


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


def shown(row: AnyRow, mask: Mask) -> Task:
    """Show a row; in `task_extra_config` whatever is secret by its name is hidden."""
    hidden = {"task_extra_config": mask.config(row.task_extra_config), "config_error": mask.prose(row.config_error)}
    return Task.model_validate(values_of(row) | hidden)


Text16 = Annotated[StrictStr, Field(max_length=16)]
Text40 = Annotated[StrictStr, Field(max_length=40)]
Text64 = Annotated[StrictStr, Field(max_length=64)]
Text100 = Annotated[StrictStr, Field(max_length=100)]
Text255 = Annotated[StrictStr, Field(max_length=255)]
Text500 = Annotated[StrictStr, Field(max_length=500)]
LongText = Annotated[StrictStr, Field(max_length=16_000)]  # TEXT holds 65,535 bytes, and a character may take four


class RepeatFields(BaseModel):
    """The workflow executor's way to say how often: they become the schedule columns."""

    model_config = ConfigDict(extra="forbid")

    repeat_type: Literal["none", "minute", "hour", "day", "week", "month", "year"] = "none"
    repeat_interval: int | None = None
    repeat_days: list[int] | None = None
    repeat_day_of_month: int | None = None
    repeat_month: int | None = None
    repeat_day_of_year: int | None = None
    start_time: datetime | StrictStr
    end_time: datetime | StrictStr | None = None
    max_executions: int | None = None


class Schedule(BaseModel):
    """WHEN: the columns, or `repeat`. One kind takes the place of another: what is not named here becomes null."""

    model_config = ConfigDict(extra="forbid")

    crontab: Text255 | None = None
    interval_seconds: Number | None = None
    rrule: LongText | None = None
    run_at: Text40 | None = None
    timezone: Text64 | None = None
    dst_policy: Text40 | None = None
    calendar: Text64 | None = None
    calendar_roll: Text16 = "skip"
    start_time: Text40 | None = None
    end_time: Text40 | None = None
    max_runs: Number | None = None
    jitter_seconds: Number = 0
    repeat: RepeatFields | None = None


class TaskChange(Schedule):
    """What is to change; what is left out stays. Times are wall-clock times of the task's zone."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] = ""
    description: LongText | None = None
    owner: Text100 | None = None
    tags: Annotated[StrictStr, Field(max_length=500, description="comma-separated")] | None = None
    enabled: StrictBool = True
    pause_reason: Text500 | None = None
    catch_up: Text16 = "latest"
    catch_up_window_seconds: Number = 3600
    overlap: Text16 = "skip"
    task_extra_config: Annotated[
        dict[str, Any] | StrictStr | None, Field(description="the object itself, or its JSON text")
    ] = None


class NewTask(TaskChange):
    """A task to be."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=200)]
