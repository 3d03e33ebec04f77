"""`/api/v2/runs/{id}/events`: a run as it goes on, as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.problems import documented
from api.run_models import shown
from api.run_query import RUN_ID
from api.runs import PATH, no_such_run
from api.services import Ours
from store import overview
from store.database import AnyRow, autocommit

MOST_WATCHERS: Final = 500

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


@router.get("/{run_id}/events", response_class=EventSourceResponse)
async def watch_run(ours: Ours, seen: Annotated[AnyRow, Depends(_watchable)]) -> AsyncIterator[ServerSentEvent]:
    """Send the run now and after each change (event `run`), and `end` once it is final, or gone."""
    async with aclosing(ours.watch.follow(seen)) as changes:
        async for row in changes:
            yield ServerSentEvent(event="run", data=shown(row, ours.mask))
    yield ServerSentEvent(event="end", raw_data=seen.id)
