"""`/api/tasks/*`: the task API of the trading system, with real answers from the ledger and from Celery.

Differences to what it was: nothing is canned, a token is needed, only registered tasks run, an unknown run is 404,
and an error has the status that it deserves instead of 500. Answers stand in `data`, errors are problems with `detail`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.access import Operator
from api.inspection import inspect_workers
from api.problems import documented
from api.registered import by_ending, by_name, start
from api.run_models import Moment
from api.run_query import RUN_ID
from api.runs import existing, seconds_of
from api.seed_answers import SHORT_DATA, SHORT_RESULT, answer_of, listed_answer
from api.seed_figures import Metrics
from api.services import Ours, Services
from config import RUN_TASKS
from core.celery_states import CeleryWord, in_celery_words, states_of
from core.task_config import CeleryConfig, readable_config
from store import leases, overview, run_search
from store.database import AnyRow, autocommit, read_clock
from store.run_search import Wanted
from store.runs import R

COUNTED: Final = 100_000
HISTORY: Final = (
    R.id, R.task_name, R.state, R.started_at, R.finished_at, SHORT_RESULT, SHORT_DATA, R.config, R.error,
)  # fmt: skip

T = TypeVar("T")

router = APIRouter(prefix="/api/tasks", tags=["trading tasks"], responses=documented(401, 422, 503))


class Envelope(BaseModel, Generic[T]):
    """How every answer of this API is wrapped."""

    success: Literal[True] = True
    data: T


class Status(BaseModel):
    """What Celery's workers say, by worker; null where none answers in time."""

    active_tasks: dict[str, Any] | None
    registered_tasks: dict[str, Any] | None
    worker_stats: dict[str, Any] | None
    timestamp: datetime


class Scheduled(BaseModel):
    """A row of `periodic_task`."""

    name: str
    task: str
    schedule: str
    options: dict[str, Any]
    enabled: bool
    next_run_at: Moment


class ScheduledTasks(BaseModel):
    """The rows by id. `next_after` names the last one where there are more."""

    scheduled_tasks: list[Scheduled]
    total_count: int
    next_after: int | None


class Past(BaseModel):
    """A run. `duration` in seconds, of its latest attempt."""

    task_id: str
    task_name: str
    status: str
    started_at: Moment
    completed_at: Moment
    duration: float | None
    result: Any


class History(BaseModel):
    """Runs, newest first. `total` is counted up to 100,000."""

    tasks: list[Past]
    total: int
    limit: int
    offset: int


class Started(BaseModel):
    """A run that was asked for."""

    task_id: str
    message: str


class Submitted(BaseModel):
    """A run that was asked for by the name of its task."""

    task_id: str
    task_name: str
    status: Literal["submitted"] = "submitted"
    submitted_at: datetime


class Result(BaseModel):
    """What a run came to."""

    task_id: str
    status: str
    result: Any
    traceback: str | None
    date_done: Moment


class Body(BaseModel):
    """A request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


Symbols = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=10_000)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class RunTask(Body):
    """A registered task and its arguments."""

    task_name: Annotated[str, Field(min_length=1, max_length=200)]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class SyncDaily(Body):
    """Which stocks, and which day; left out: as the task decides."""

    symbols: Symbols | None = None
    date: Day | None = None


class Batch(Body):
    """Which stocks, and how they are analysed."""

    symbols: Annotated[Symbols, Field(min_length=1)]
    config: dict[str, Any] = {}


class DailyReport(Body):
    """Which day; left out: as the task decides."""

    date: Day | None = None


class Cleanup(Body):
    """How many days of data stay."""

    days_to_keep: Annotated[int, Field(ge=0, le=36_500)] = 90


@router.get("/status")
def task_status(ours: Ours) -> Envelope[Status]:
    """Ask the workers what they run, know and count."""
    with autocommit(ours.engine) as connection:
        living, now = leases.living_workers(connection), read_clock(connection)
    answers = inspect_workers(ours.settings, len(living))
    return Envelope(
        data=Status(
            active_tasks=answers["active"] or None,
            registered_tasks=answers["registered"] or None,
            worker_stats=answers["stats"] or None,
            timestamp=now,
        )
    )


@router.get("/scheduled")
def scheduled_tasks(
    ours: Ours,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only rows with a higher id")] = 0,
) -> Envelope[ScheduledTasks]:
    """List the rows of `periodic_task` as a beat schedule."""
    with autocommit(ours.engine) as connection:
        rows = overview.tasks_after(connection, after, limit + 1)
        total = overview.count_tasks(connection)
    found = [_scheduled(row) for row in rows[:limit]]
    following = rows[limit - 1].id if len(rows) > limit else None
    return Envelope(data=ScheduledTasks(scheduled_tasks=found, total_count=total, next_after=following))


def _scheduled(row: AnyRow) -> Scheduled:
    config = readable_config(row.task_extra_config or "")
    task = "unreadable: see config_error"
    if config is not None:
        task = config.task if isinstance(config, CeleryConfig) else RUN_TASKS[config.task_type]
    kinds = (
        ("crontab", row.crontab), ("interval", row.interval_seconds and f"every {row.interval_seconds} s"),
        ("rrule", row.rrule), ("run_at", row.run_at),
    )  # fmt: skip
    return Scheduled(
        name=row.name,
        task=task,
        schedule=next((f"{kind}: {told}" for kind, told in kinds if told), "none"),
        options={"queue": config.queue, "priority": config.priority} if config else {},
        enabled=row.enabled == 1,
        next_run_at=row.next_run_at,
    )


@router.get("/history")
def task_history(
    ours: Ours,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=10_000, description="/api/v2/runs goes further back")] = 0,
    status: CeleryWord | None = None,
) -> Envelope[History]:
    """List the runs, newest first."""
    wanted = Wanted(states=states_of(status))
    with autocommit(ours.engine) as connection:
        rows = run_search.newest(connection, wanted, offset, limit, HISTORY)
        total = run_search.count(connection, wanted, COUNTED)
    return Envelope(data=History(tasks=[_past(ours, row) for row in rows], total=total, limit=limit, offset=offset))


def _past(ours: Services, row: AnyRow) -> Past:
    return Past(
        task_id=row.id,
        task_name=row.task_name,
        status=in_celery_words(row.state),
        started_at=row.started_at,
        completed_at=row.finished_at,
        duration=seconds_of(row),
        result=listed_answer(row, ours.mask),
    )


@router.get("/metrics")
def task_metrics(ours: Ours) -> Envelope[Metrics]:
    """Sum up today and this week; at most 15 s old."""
    return Envelope(data=ours.trading_metrics.ask())


@router.get("/{task_id}/result", responses=documented(404))
def task_result(ours: Ours, task_id: Annotated[str, Path(pattern=RUN_ID)]) -> Envelope[Result]:
    """Show what a run came to."""
    with autocommit(ours.engine) as connection:
        row = existing(connection, task_id)
    status = in_celery_words(row.state)
    failed = status in {"FAILURE", "REVOKED", "RETRY"}
    return Envelope(
        data=Result(
            task_id=row.id,
            status=status,
            result=ours.mask.prose(row.error) if failed else answer_of(row, ours.mask),
            traceback=ours.mask.prose(row.error) if status == "FAILURE" else None,
            date_done=row.finished_at,
        )
    )


posts = APIRouter(prefix="/api/tasks", tags=["trading tasks"], responses=documented(401, 403, 404, 422, 503))


@posts.post("/run")
def run_task(ours: Ours, caller: Operator, wanted: RunTask) -> Envelope[Submitted]:
    """Run a registered task once."""
    run = start(ours, caller, by_name(wanted.task_name), wanted.args, wanted.kwargs)
    return Envelope(data=Submitted(task_id=run.id, task_name=run.task_name, submitted_at=run.scheduled_for))


@posts.post("/data/sync-daily")
def sync_daily(ours: Ours, caller: Operator, wanted: SyncDaily) -> Envelope[Started]:
    """Fetch a day's prices now."""
    kwargs = {"symbols": wanted.symbols, "date": wanted.date}
    return _started(ours, caller, "data_tasks.sync_daily_stock_data", kwargs, "每日数据同步任务已提交")


@posts.post("/analysis/batch")
def analyse_batch(ours: Ours, caller: Operator, wanted: Batch) -> Envelope[Started]:
    """Analyse several stocks now."""
    kwargs = {"symbols": wanted.symbols, "analysis_config": wanted.config}
    told = f"批量分析任务已提交，共{len(wanted.symbols)}只股票"
    return _started(ours, caller, "analysis_tasks.batch_stock_analysis", kwargs, told)


@posts.post("/reports/daily")
def report_daily(ours: Ours, caller: Operator, wanted: DailyReport) -> Envelope[Started]:
    """Write a day's market report now."""
    kwargs = {"date": wanted.date}
    return _started(ours, caller, "report_tasks.generate_daily_market_report", kwargs, "每日报告生成任务已提交")


@posts.post("/maintenance/cleanup")
def clean_up(ours: Ours, caller: Operator, wanted: Cleanup) -> Envelope[Started]:
    """Delete old data now."""
    told = f"数据清理任务已提交，保留{wanted.days_to_keep}天数据"
    return _started(ours, caller, "maintenance_tasks.cleanup_old_data", {"days_to_keep": wanted.days_to_keep}, told)


def _started(
    ours: Services, caller: Operator, ending: str, kwargs: Mapping[str, Any], message: str
) -> Envelope[Started]:
    run = start(ours, caller, by_ending(ending), kwargs=kwargs)
    return Envelope(data=Started(task_id=run.id, message=message))
