"""`/api/v2/tasks/{id}/why`: why a task did not run at a moment, in one sentence out of the ledger."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from api.moments import EARLIEST, LATEST, TOLD
from api.problems import documented
from api.readiness import tick_limit
from api.schedules import PATH, Id, editor_of
from api.services import Ours, Services
from core.cadence import CadenceError
from core.clock_change import is_in_gap, moment_at
from core.refused import Refused
from core.why import Evidence, meant, put_off, row_at, why
from core.why_words import sentence
from core.zones import zone_names
from store import leases, tasks
from store import why as evidence
from store.database import autocommit, read_clock

MOST_CHARACTERS: Final = 40

router = APIRouter(tags=["tasks"], responses=documented(401, 404, 422, 503))

Asked = Annotated[
    str,
    Query(
        max_length=MOST_CHARACTERS,
        description="with an offset, such as 2026-11-22T09:00:00+08:00; without one as the clocks of the task's zone",
    ),
]


class Why(BaseModel):
    """`key` names the cause, `run` the run that tells it; `at` and `local` are the moment that was asked about."""

    key: str
    en: str
    zh: str
    run: str | None
    at: datetime
    local: datetime
    zone: str
    values: Annotated[dict[str, str | int | float | None], Field(description="what the sentence names")]


@router.get(PATH + "/{task_id}/why")
def why_not(ours: Ours, task_id: Id, moment: Asked) -> Why:
    """Tell why a task did not run at a moment, or that it did."""
    return explained(ours, task_id, moment)


def explained(ours: Services, task_id: int, moment: str) -> Why:
    """Explain one moment of a task. Raises HTTPException 404, Refused."""
    with autocommit(ours.engine) as connection:
        row = tasks.read(connection, task_id)
        around, now = editor_of(ours, connection).around, read_clock(connection)
        current = None if row is None else dict(row._mapping)
        zone = str((current or {}).get("timezone") or around.zone)
        zone = zone if zone in zone_names() else around.zone
        at, gap = _moment(moment, ZoneInfo(zone))
        edits = evidence.edits_of(connection, task_id, at)
        seen = Evidence(
            asked=at,
            gap=gap,
            now=now,
            row=current,
            edits=edits,
            newest_tick=leases.newest_tick(connection),
            beat_age=tick_limit(ours.settings),
            workers=evidence.workers_by_queue(connection),
            retention=timedelta(days=ours.settings.run_retention_days) if ours.settings.run_retention_days else None,
        )
        then = row_at(seen, at)
        if then is not None and not gap:
            at = meant(then, at, around)
            seen = replace(seen, asked=at)
        moments = (at,) if then is None or gap else tuple(dict.fromkeys((at, put_off(then, at, around))))
        run = None if gap else evidence.run_of(connection, task_id, moments)
        if row is None and run is None and not edits:
            raise HTTPException(404, f"No task has the id {task_id}; GET {PATH} lists them.")
        try:
            cause = why(replace(seen, run=run), around)
        except CadenceError as error:  # a search over its budget
            raise Refused([{"field": "moment", "message": str(error)}]) from None
    english, chinese = (ours.mask.prose(text) or "" for text in sentence(cause, ZoneInfo(zone)))
    return Why(
        key=cause.key,
        en=english,
        zh=chinese,
        run=cause.run_id,
        at=at,
        local=at.astimezone(ZoneInfo(zone)),
        zone=zone,
        values={
            name: value if isinstance(value, int | float) or value is None else ours.mask.prose(str(value))
            for name, value in cause.values.items()
        },
    )


def _moment(text: str, zone: ZoneInfo) -> tuple[datetime, bool]:
    """Read a moment, and say whether the zone's clocks left it out. Raises Refused."""
    # A "+" in an address that nobody escaped is a blank.
    try:
        found = datetime.fromisoformat(text.strip().replace(" +", "+"))
    except ValueError:
        told = f"moment {text!r} is no time; write 2026-11-22T09:00:00+08:00, or 2026-11-22 09:00 in the task's zone"
        raise Refused([{"field": "moment", "message": told}]) from None
    if not EARLIEST < found.year < LATEST:
        raise Refused([{"field": "moment", "message": f"moment: {TOLD}"}])
    if found.tzinfo is not None:
        return found.astimezone(UTC), False
    return moment_at(found, zone), is_in_gap(found, zone)
