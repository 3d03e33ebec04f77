"""`/runs/{id}`: one run, from the moment it was due to its answer; live while it goes on. And what one does with it."""

import json
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.access import Operator, Viewer
from api.problems import Refused
from api.run_changes import cancel, retry
from api.run_models import RunDetail
from api.run_query import RUN_ID
from api.runs import one_run
from api.services import Ours, Services
from core.lifecycle import FINAL, State
from core.strict_json import JSONError, read_object
from store import run_search
from store.database import autocommit, read_clock
from store.run_search import Wanted, created_at
from web.rendering import go_to, reader_of, rendered, toast

SHOWN_CHARACTERS: Final = 100_000  # more of an answer makes a browser slow; the API has all of it
CARRIED_OUT: Final = (State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION)

router = APIRouter(prefix="/runs")

Id = Annotated[str, Path(pattern=RUN_ID)]
Reason = Annotated[str, Field(max_length=500)]


class Cancelled(BaseModel):
    """The form that cancels."""

    reason: Reason = ""


class Edited(BaseModel):
    """The form that runs it again with other input."""

    config: str
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened, and how long after what came before; `key` is a sentence of the console."""

    at: datetime
    key: str
    seconds_after: float | None
    values: dict[str, Any]


@router.get("/{run_id}")
def run(ours: Ours, request: Request, _: Viewer, run_id: Id) -> HTMLResponse:
    """Show the whole page."""
    return rendered(request, "runs/run.html", **_shown(ours, run_id))


@router.get("/{run_id}/pieces/{piece}")
def piece(
    ours: Ours, request: Request, _: Viewer, run_id: Id, piece: Annotated[str, Path(pattern="^(head|side)$")]
) -> HTMLResponse:
    """Show what changes while the run goes on: its head, or its course."""
    return rendered(request, f"runs/_{piece}.html", **_shown(ours, run_id))


@router.post("/{run_id}/cancel")
def cancel_run(
    ours: Ours, request: Request, caller: Operator, run_id: Id, given: Annotated[Cancelled, Form()]
) -> Response:
    """Cancel it; the page sees the change by its stream."""
    cancel(ours, caller, run_id, given.reason or None)
    answer = go_to(f"/runs/{run_id}")
    toast(answer, reader_of(request).words("runs.cancelled"))
    return answer


@router.post("/{run_id}/retry")
def retry_run(ours: Ours, request: Request, caller: Operator, run_id: Id) -> Response:
    """Repeat it as it was; go to the new run."""
    made = retry(ours, caller, run_id, None)
    answer = go_to(f"/runs/{made.id}")
    toast(answer, reader_of(request).words("runs.retried"))
    return answer


@router.post("/{run_id}/replay")
def replay(ours: Ours, request: Request, caller: Operator, run_id: Id, given: Annotated[Edited, Form()]) -> Response:
    """Repeat it with an edited input; go to the new run. Raises Refused."""
    try:
        edited = read_object(given.config)
    except JSONError as error:
        raise Refused([{"field": "config", "message": f"This {error}."}]) from None
    was = one_run(ours, run_id).config
    shown = was if isinstance(was, dict) else {}
    if gone := sorted(shown.keys() - edited.keys()):
        edited |= dict.fromkeys(gone)
    overrides = {name: value for name, value in edited.items() if name not in shown or value != shown[name]}
    try:
        made = retry(ours, caller, run_id, given.reason or None, overrides)
    except Refused as refused:
        raise Refused([{"field": "config", "message": each["message"]} for each in refused.problems]) from None
    answer = go_to(f"/runs/{made.id}")
    toast(answer, reader_of(request).words("runs.replayed" if overrides else "runs.replay_same"))
    return answer


def _shown(ours: Services, run_id: str) -> dict[str, Any]:
    found = one_run(ours, run_id)
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
        before = previous(connection, found)
    config = found.config if isinstance(found.config, dict) else {}
    answer = found.result or ""
    return {
        "now": now,
        "run": found,
        "is_final": found.state in FINAL,
        "previous": before,
        "steps": steps(found),
        "waited": _between(found.ready_at or found.scheduled_for, found.started_at),
        "took": _between(found.started_at, found.finished_at),
        "cost": None if found.cost is None else f"{found.cost.normalize():f}",
        "answer": answer[:SHOWN_CHARACTERS],
        "answer_cut": len(answer) > SHOWN_CHARACTERS,
        "shown_characters": f"{SHOWN_CHARACTERS:,}",
        "answer_data": written(found.result_data),
        "message": config.get("message") or "",
        "inputs": written(config.get("inputs")),
        "config": written(found.config),
    }


def previous(connection: Any, run: RunDetail) -> str | None:
    """Name the run of the same task before this one that was carried out, among those that one search looks at."""
    task_id = run.periodic_task_id
    same = Wanted(task_id=task_id, task_name=run.task_name if task_id is None else None, states=CARRIED_OUT)
    found, _ = run_search.ids(connection, same, run.id, 1)
    return found[0] if found else None


def steps(run: RunDetail) -> list[Step]:
    """Tell what happened when, as far as the ledger has it: the times of the latest attempt only."""
    is_final = run.state in FINAL
    told: list[tuple[Any, str, dict[str, Any]]] = [
        (created_at(run.id), "created", {}),
        (run.scheduled_for, "due", {}),
        (run.ready_at, "ready_again" if run.state == "RETRY" else "ready", {}),
        (run.queued_at, "queued", {}),
        (run.started_at, "started", {"n": run.attempt}),
        (run.finished_at, "ended" if is_final else "attempt_ended", {}),
    ]
    known = sorted(
        ((at, key, values) for at, key, values in told if isinstance(at, datetime)), key=lambda each: each[0]
    )
    moments = [at for at, _, _ in known]
    gaps = [None, *((later - earlier).total_seconds() for earlier, later in pairwise(moments))]
    return [Step(at, key, gap, values) for (at, key, values), gap in zip(known, gaps, strict=True)]


def written(value: Any) -> str:
    """Write data for people: indented, unescaped; text as it is; nothing for nothing."""
    if value in (None, {}, []):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _between(first: Any, last: Any) -> float | None:
    if isinstance(first, datetime) and isinstance(last, datetime):
        return max((last - first).total_seconds(), 0.0)
    return None
