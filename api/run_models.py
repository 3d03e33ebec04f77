"""A run as the API shows it: never a secret, times in UTC."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from api.masking import Mask
from core.lifecycle import FINAL
from core.task_config import readable_config
from store.database import AnyRow
from store.run_search import created_at

Moment = datetime | str | None  # SQLite keeps, and gives back, text that is no time


class Run(BaseModel):
    """A run without its answer; times are UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    periodic_task_id: int | None
    task_name: str
    origin: str
    scheduled_for: Moment
    ready_at: Moment
    state: str
    queue: str
    priority: int
    attempt: int
    retry_of: str | None
    after_run: str | None
    """The run whose end started this one."""
    worker: str | None
    queued_at: Moment
    started_at: Moment
    finished_at: Moment
    error_kind: str | None
    error: str | None
    http_status: int | None


class Step(BaseModel):
    """Something that happened to a run; the ledger keeps the times of the latest attempt only."""

    at: datetime
    what: str


class RunDetail(Run):
    """A run with what was to be done and what came of it."""

    config: Any
    result: str | None
    result_data: Any
    conversation_id: str | None
    request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    currency: str | None
    attempts_allowed: int | None
    """None: nobody can read what the run was to do."""
    timeline: list[Step]
    retried_as: list[str]


class Runs(BaseModel):
    """A page; `next` is the address of the following one, null on the last.

    A page may hold fewer runs than asked for, even none, and still have a `next`: a search looks at a piece of the
    ledger at a time.
    """

    items: list[Run]
    next: str | None


def values_of(row: AnyRow) -> dict[str, Any]:
    """Name the values of a row; `_mapping` would look each of them up, which takes twice as long."""
    return dict(zip(row._fields, row, strict=True))


def shown(row: AnyRow, mask: Mask) -> Run:
    """Show a run without its answer."""
    return Run.model_validate(values_of(row) | {"error": mask.prose(row.error)})


def shown_whole(row: AnyRow, mask: Mask, retries: Sequence[AnyRow]) -> RunDetail:
    """Show a run with its answer; values of known secrets are hidden, and in `config` whatever is secret by name."""
    config = readable_config(row.config)
    return RunDetail.model_validate(
        values_of(row)
        | {
            "error": mask.prose(row.error),
            "config": mask.config(row.config),
            "result": mask.answer(row.result),
            "result_data": mask.answer_json(row.result_data),
            "attempts_allowed": config.max_retries + 1 if config else None,
            "timeline": timeline(row),
            "retried_as": [each.id for each in retries],
        }
    )


def timeline(row: AnyRow) -> list[Step]:
    """Tell what happened when, as far as the ledger has it, in the order of time."""
    by = f" by {row.worker}" if row.worker else ""
    told = [
        (created_at(row.id), f"created ({row.origin}{f' run {row.after_run}' if row.after_run else ''})"),
        (row.scheduled_for, "due"),
        (row.ready_at, "ready for its next attempt" if row.state == "RETRY" else "ready"),
        (row.queued_at, "put on the broker"),
        (row.started_at, f"attempt {row.attempt} started{by}"),
        (row.finished_at, f"ended as {row.state}" if row.state in FINAL else "an attempt ended"),
    ]
    steps = [Step(at=at, what=what) for at, what in told if isinstance(at, datetime)]
    return sorted(steps, key=lambda step: step.at)
