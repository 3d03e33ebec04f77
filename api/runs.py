"""`/api/v2/runs`: the ledger, newest run first."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.problems import documented
from api.services import Ours
from store import overview
from store.database import AnyRow, autocommit

PATH = "/api/v2/runs"
RUN_ID = r"^[!-~]{1,36}$"  # ASCII: the column is, and MySQL refuses to compare it with anything else

Moment = datetime | str | None  # SQLite keeps, and gives back, text that is no time

router = APIRouter(prefix=PATH, tags=["runs"], responses=documented(401, 422, 503))


class RunPage(BaseModel):
    """Which runs are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most")] = 50
    before: Annotated[str | None, Field(pattern=RUN_ID, description="Only runs created before this one")] = None


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
    worker: str | None
    queued_at: Moment
    started_at: Moment
    finished_at: Moment
    error_kind: str | None
    error: str | None
    http_status: int | None


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


class Runs(BaseModel):
    """A page; `next` is the address of the following one, null on the last."""

    items: list[Run]
    next: str | None


@router.get("")
def latest_runs(ours: Ours, page: Annotated[RunPage, Query()]) -> Runs:
    """List the latest runs, newest first."""
    with autocommit(ours.engine) as connection:
        rows = overview.runs_before(connection, page.before, page.limit + 1)
    shown = rows[: page.limit]
    items = [Run.model_validate(_fields(row) | {"error": ours.mask.prose(row.error)}) for row in shown]
    more = f"{PATH}?{urlencode({'limit': page.limit, 'before': shown[-1].id})}" if len(rows) > page.limit else None
    return Runs(items=items, next=more)


@router.get("/{run_id}", responses=documented(404))
def one_run(ours: Ours, run_id: Annotated[str, Path(pattern=RUN_ID)]) -> RunDetail:
    """Show a run with its answer; values of known secrets are hidden, and in `config` whatever is secret by name."""
    with autocommit(ours.engine) as connection:
        row = overview.run_detail(connection, run_id)
    if row is None:
        raise HTTPException(404, f"No run has the id {run_id}. Runs older than RUN_RETENTION_DAYS are deleted.")
    mask = ours.mask
    return RunDetail.model_validate(
        _fields(row)
        | {
            "error": mask.prose(row.error),
            "config": mask.config(row.config),
            "result": mask.answer(row.result),
            "result_data": mask.answer_json(row.result_data),
        }
    )


def _fields(row: AnyRow) -> dict[str, Any]:
    return dict(row._mapping)
