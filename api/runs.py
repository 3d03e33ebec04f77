"""`/api/v2/runs`: the ledger to read, newest run first. Changes: `run_changes.py`; live: `run_stream.py`."""

from datetime import datetime
from difflib import unified_diff
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel
from sqlalchemy import Connection

from api.off_loop import OffLoop
from api.problems import documented
from api.run_facets import Facets
from api.run_models import Run, RunDetail, Runs, shown, shown_whole
from api.run_query import RUN_ID, RunFilter, RunId, RunPage
from api.services import Ours
from store import overview, run_search
from store.database import AnyRow, autocommit

PATH: Final = "/api/v2/runs"
COMPARED_LINES: Final = 500
COMPARED_CHARACTERS: Final = 50_000
COMPARED: Final = (
    "state", "task_name", "origin", "queue", "priority", "attempt", "error_kind", "error", "http_status",
    "conversation_id", "input_tokens", "output_tokens", "cost", "currency",
)  # fmt: skip

router = APIRouter(route_class=OffLoop, prefix=PATH, tags=["runs"], responses=documented(401, 422, 503))


class Difference(BaseModel):
    """A field in which two runs differ."""

    field: str
    a: Any
    b: Any


class Comparison(BaseModel):
    """Two runs side by side."""

    a: Run
    b: Run
    seconds: tuple[float | None, float | None]
    """From start to end of each, where it has both."""
    differences: list[Difference]
    same_answer: bool
    answer_diff: list[str]
    """A unified diff of the answers' first 500 lines."""


@router.get("")
def latest_runs(ours: Ours, page: Annotated[RunPage, Query()]) -> Runs:
    """Search the runs, newest first."""
    with autocommit(ours.engine) as connection:
        found = run_search.search(connection, page.wanted(), page.before, page.limit)
    asked = page.model_dump(mode="json", exclude_defaults=True, exclude={"limit", "before"})
    more = {**asked, "limit": page.limit, "before": found.resume_before}
    following = f"{PATH}?{urlencode(more, doseq=True)}" if found.resume_before else None
    return Runs(items=[shown(row, ours.mask) for row in found.rows], next=following)


@router.get("/facets")
def count_by_facet(ours: Ours, wanted: Annotated[RunFilter, Query()]) -> Facets:
    """Count the newest 10,000 runs by state, origin, queue, kind of error and task; at most a second old."""
    return ours.facets.ask(wanted.wanted())


@router.get("/compare", responses=documented(404))
def compare_two(ours: Ours, a: Annotated[RunId, Query()], b: Annotated[RunId, Query()]) -> Comparison:
    """Show in what two runs differ: what was to be done, what came of it, how long it took."""
    with autocommit(ours.engine) as connection:
        first, second = existing(connection, a), existing(connection, b)
    whole = [shown_whole(row, ours.mask, ()) for row in (first, second)]
    pairs = {name: (getattr(whole[0], name), getattr(whole[1], name)) for name in COMPARED}
    pairs |= {f"config.{key}": pair for key, pair in _by_key(whole[0].config, whole[1].config).items()}
    return Comparison(
        a=shown(first, ours.mask),
        b=shown(second, ours.mask),
        seconds=(seconds_of(first), seconds_of(second)),
        differences=[Difference(field=name, a=x, b=y) for name, (x, y) in pairs.items() if x != y],
        same_answer=(first.result, first.result_data) == (second.result, second.result_data),
        answer_diff=list(unified_diff(_lines(whole[0].result), _lines(whole[1].result), a, b, lineterm="")),
    )


@router.get("/{run_id}", responses=documented(404))
def one_run(ours: Ours, run_id: Annotated[str, Path(pattern=RUN_ID)]) -> RunDetail:
    """Show a run with its answer; values of known secrets are hidden, and in `config` whatever is secret by name."""
    with autocommit(ours.engine) as connection:
        row = existing(connection, run_id)
        retries = run_search.retries_of(connection, row)
    return shown_whole(row, ours.mask, retries)


def existing(connection: Connection, run_id: str) -> AnyRow:
    """Read a run. Raises HTTPException 404."""
    row = overview.run_detail(connection, run_id)
    if row is None:
        raise no_such_run(run_id)
    return row


def no_such_run(run_id: str) -> HTTPException:
    """Say that the ledger does not have the run."""
    return HTTPException(404, f"No run has the id {run_id}. Runs older than RUN_RETENTION_DAYS are deleted.")


def seconds_of(row: AnyRow) -> float | None:
    """Say how long the latest attempt took; None where it has not started, or not ended."""
    if isinstance(row.started_at, datetime) and isinstance(row.finished_at, datetime):
        return max((row.finished_at - row.started_at).total_seconds(), 0.0)
    return None


def _by_key(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return {"": (a, b)}
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b})}


def _lines(text: str | None) -> list[str]:
    return (text or "")[:COMPARED_CHARACTERS].splitlines()[:COMPARED_LINES]
