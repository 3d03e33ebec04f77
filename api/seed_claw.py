"""`/api/v1/tasks/*`: the task API of the CLAW system, with real answers from the ledger and from Celery.

Differences to what it was: the list is not empty, a cancel says whether it cancelled, a retry retries, counts are
counted, priority 9 is the most urgent, an unknown run is 404, and a token is needed.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api import run_changes
from api.access import Operator
from api.inspection import inspect_workers
from api.off_loop import OffLoop
from api.problems import documented
from api.registered import by_ending, start
from api.run_models import Moment
from api.run_query import RUN_ID
from api.runs import existing, seconds_of
from api.seed_answers import SHORT_DATA, SHORT_RESULT, answer_of, listed_answer
from api.services import Ours, Services
from api.supervision import node_of
from core.celery_states import CeleryWord, in_celery_words, states_of
from core.lifecycle import State
from store import leases, run_search
from store.database import AnyRow, autocommit
from store.run_search import Wanted
from store.runs import R

AI_PRIORITY: Final = 8
GENERATE: Final = "ai_tasks.generate_ai_response"
LISTED: Final = (R.id, R.task_name, R.state, R.finished_at, SHORT_RESULT, SHORT_DATA, R.config, R.error)

PATH: Final = "/api/v1/tasks"
TAG: Final = "CLAW tasks"

router = APIRouter(route_class=OffLoop, prefix=PATH, tags=[TAG], responses=documented(401, 422, 503))
changes = APIRouter(prefix=PATH, tags=[TAG], responses=documented(401, 403, 422, 503))

TaskId = Annotated[str, Path(pattern=RUN_ID)]


class TaskStatus(BaseModel):
    """A run in Celery's words; `runtime` in seconds."""

    task_id: str
    status: str
    result: Any
    error: str | None
    traceback: str | None
    date_done: Moment
    runtime: float | None


class Listed(BaseModel):
    """A run of the list."""

    task_id: str
    task_name: str
    status: str
    date_done: Moment
    result: Any
    error: str | None


class TaskList(BaseModel):
    """Runs, newest first; `total` is how many are listed."""

    tasks: list[Listed]
    total: int


class Cancelled(BaseModel):
    """A cancel that was carried out; one that cannot be is 409."""

    task_id: str
    success: bool
    message: str


class Retried(BaseModel):
    """A new run in the place of one that failed."""

    task_id: str
    message: str
    original_task_id: str
    original_status: str
    original_error: str | None


class Stats(BaseModel):
    """All runs of the ledger by state, in Celery's words, at most 15 s old, and the workers that live."""

    total_tasks: int
    pending: int
    started: int
    success: int
    failure: int
    retry: int
    revoked: int
    workers: int


class Generate(BaseModel):
    """What `generate_ai_response` is to answer."""

    model_config = ConfigDict(extra="forbid")

    conversation_id: Annotated[str, Field(min_length=1, max_length=255)]
    user_message: Annotated[str, Field(min_length=1)]
    conversation_history: list[dict[str, Any]] | None = None
    system_prompt: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    user_id: Annotated[str | int | None, Field()] = None


class Accepted(BaseModel):
    """A run that was asked for."""

    task_id: str
    status: str
    message: str


class Worker(BaseModel):
    """What a worker says; null or empty where it does not answer in time."""

    stats: dict[str, Any] | None
    active_tasks: list[Any]
    registered_tasks: list[str]


class Workers(BaseModel):
    """The workers that hold a lease, by their Celery node."""

    workers: dict[str, Worker]
    count: int


@router.get("/status/{task_id}", responses=documented(404))
def task_status(ours: Ours, task_id: TaskId) -> TaskStatus:
    """Show a run."""
    with autocommit(ours.engine) as connection:
        row = existing(connection, task_id)
    error = ours.mask.prose(row.error)
    return TaskStatus(
        task_id=row.id,
        status=in_celery_words(row.state),
        result=answer_of(row, ours.mask),
        error=error,
        traceback=error if row.state == State.FAILURE else None,
        date_done=row.finished_at,
        runtime=seconds_of(row),
    )


@router.get("/list")
def list_tasks(
    ours: Ours, status: CeleryWord | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> TaskList:
    """List the newest runs."""
    with autocommit(ours.engine) as connection:
        rows = run_search.newest(connection, Wanted(states=states_of(status)), 0, limit, LISTED)
    return TaskList(tasks=[_listed(ours, row) for row in rows], total=len(rows))


def _listed(ours: Services, row: AnyRow) -> Listed:
    return Listed(
        task_id=row.id,
        task_name=row.task_name,
        status=in_celery_words(row.state),
        date_done=row.finished_at,
        result=listed_answer(row, ours.mask),
        error=ours.mask.prose(row.error),
    )


@router.get("/stats")
def task_stats(ours: Ours) -> Stats:
    """Count the runs and the workers."""
    counts = ours.state_counts.ask()
    with autocommit(ours.engine) as connection:
        workers = len(leases.living_workers(connection))

    def count(word: CeleryWord) -> int:
        return sum(counts[state] for state in states_of(word))

    return Stats(
        total_tasks=sum(counts.values()),
        pending=count(CeleryWord.PENDING),
        started=count(CeleryWord.STARTED),
        success=count(CeleryWord.SUCCESS),
        failure=count(CeleryWord.FAILURE),
        retry=count(CeleryWord.RETRY),
        revoked=count(CeleryWord.REVOKED),
        workers=workers,
    )


@router.get("/workers")
def list_workers(ours: Ours) -> Workers:
    """Ask the living workers what they run, know and count."""
    with autocommit(ours.engine) as connection:
        living = leases.living_workers(connection)
    answers = inspect_workers(ours.settings, len(living))
    found = {
        node: Worker(
            stats=answers["stats"].get(node),
            active_tasks=answers["active"].get(node) or [],
            registered_tasks=answers["registered"].get(node) or [],
        )
        for node in sorted({node_of(row.id) for row in living})
    }
    return Workers(workers=found, count=len(found))


@changes.post("/cancel/{task_id}", responses=documented(404, 409))
def cancel_task(ours: Ours, caller: Operator, task_id: TaskId) -> Cancelled:
    """Cancel a run that has not ended."""
    run_changes.cancel(ours, caller, task_id, None)
    return Cancelled(task_id=task_id, success=True, message="任务已取消")


@changes.post("/retry/{task_id}", responses=documented(400, 404, 409))
def retry_task(ours: Ours, caller: Operator, task_id: TaskId) -> Retried:
    """Run a failed run again, with its input."""
    with autocommit(ours.engine) as connection:
        row = existing(connection, task_id)
    if row.state != State.FAILURE:
        raise HTTPException(400, f"Only a run that failed is retried here, and this one is {row.state}.")
    made = run_changes.retry(ours, caller, task_id, None)
    return Retried(
        task_id=made.id,
        message="任务已重新提交",
        original_task_id=task_id,
        original_status=in_celery_words(row.state),
        original_error=ours.mask.prose(row.error),
    )


@changes.post("/ai/generate", responses=documented(404))
def generate(ours: Ours, caller: Operator, wanted: Generate) -> Accepted:
    """Have an answer generated."""
    run = start(ours, caller, by_ending(GENERATE), kwargs=wanted.model_dump(), priority=AI_PRIORITY)
    return Accepted(task_id=run.id, status="PENDING", message="AI 响应生成任务已提交")
