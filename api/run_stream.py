"""`/api/v2/runs/{id}/events` and `/live`: a run as it goes on, as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.problems import documented
from api.run_live import Line, Note, Text
from api.run_models import shown
from api.run_query import RUN_ID
from api.runs import PATH, no_such_run
from api.services import Ours
from store import overview
from store.database import AnyRow, autocommit

MOST_WATCHERS: Final = 500
MOST_LIVE_RUNS: Final = 100  # their texts are in memory

router = APIRouter(prefix=PATH, tags=["runs"], responses=documented(401, 404, 422, 503))


def _watchable(ours: Ours, run_id: Annotated[str, Path(pattern=RUN_ID)]) -> AnyRow:
    """Read the run before the answer begins, which can be no error any more then."""
    if ours.watch.watchers >= MOST_WATCHERS:
        raise HTTPException(503, f"{MOST_WATCHERS} watch already; ask for the run itself now and then.")
    with autocommit(ours.engine) as connection:
        row = overview.runs_by_id(connection, [run_id]).get(run_id)
    if row is None:
        raise no_such_run(run_id)
    return row


def _watchable_live(ours: Ours, seen: Annotated[AnyRow, Depends(_watchable)]) -> AnyRow:
    if ours.live.runs >= MOST_LIVE_RUNS:
        raise HTTPException(
            503, f"{MOST_LIVE_RUNS} runs are watched live already; {PATH}/{seen.id}/events tells its state."
        )
    return seen


@router.get("/{run_id}/events", response_class=EventSourceResponse)
async def watch_run(ours: Ours, seen: Annotated[AnyRow, Depends(_watchable)]) -> AsyncIterator[ServerSentEvent]:
    """Send the run now and after each change (event `run`), and `end` once it is final, or gone."""
    async with aclosing(ours.watch.follow(seen)) as changes:
        async for row in changes:
            yield ServerSentEvent(event="run", data=shown(row, ours.mask))
    yield ServerSentEvent(event="end", raw_data=seen.id)


@router.get("/{run_id}/live", response_class=EventSourceResponse)
async def watch_live(ours: Ours, seen: Annotated[AnyRow, Depends(_watchable_live)]) -> AsyncIterator[ServerSentEvent]:
    """Send the run, its answer while it arrives, and its log: what there was so far, then what comes.

    Events: `run` as above. `text` is a piece of the answer of one `attempt`; with `at` 0 it takes the place of all
    that is shown, else it follows. `line` is a line of the worker's log. `note` says in words what is amiss with the
    stream itself. `end` comes last, once the run is final, or gone: the whole answer is in the run.
    """
    async with aclosing(ours.live.follow(seen)) as told:
        async for each in told:
            match each:
                case Text() | Line() | Note():
                    yield ServerSentEvent(event=type(each).__name__.lower(), data=each)
                case row:
                    yield ServerSentEvent(event="run", data=shown(row, ours.mask))
    yield ServerSentEvent(event="end", raw_data=seen.id)
