"""`/api/v2/load`: how full the coming days are, and the top taken off a minute in which too many rows fire."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Operator, Viewer
from api.bulk import MOST_IDS, BulkOrder, BulkOutcome, TaskSelection, change_many
from api.moments import UtcMoment
from api.problems import documented
from api.schedules import editor_of
from api.services import Ours, Services
from api.task_models import TaskChange
from core.arming import Surroundings, cadence_of
from core.cadence import MICROSECOND, CadenceError
from core.load import MINUTE, Group, Load, Spread, load_of, spread
from core.refused import Refused
from store import load
from store.database import autocommit, read_clock

PATH: Final = "/api/v2/load"
MOST_SPREAD: Final = MOST_IDS  # rows of one spread: it is one bulk change
PEAKS: Final = 20
HOUR: Final = timedelta(hours=1)

router = APIRouter(prefix=PATH, tags=["load"], responses=documented(401, 422, 503))


class Peak(BaseModel):
    """A minute, and how many rows are to be expected in it."""

    minute: datetime
    rows: float


class Hour(BaseModel):
    """An hour, the rows in it, and in its fullest minute."""

    hour: datetime
    rows: float
    fullest: float


class Coming(BaseModel):
    """The coming load, and how much of it is exact: `walked` rows are."""

    first: datetime
    last: datetime
    hours: list[Hour]
    peaks: list[Peak]
    walked: Annotated[int, Field(description="rows whose every moment is in it")]
    thinned: Annotated[int, Field(description="rows that come so often that the later days have their mean")]
    once: Annotated[int, Field(description="rows of which only the next moment is in it")]
    more: Annotated[bool, Field(description="there are rows beyond those looked at")]


class Stretch(BaseModel):
    """How far to look."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=7)] = 7


class SpreadOrder(BaseModel):
    """Which minute is too full, and how much emptier it is to be."""

    model_config = ConfigDict(extra="forbid")

    minute: UtcMoment
    fold: Annotated[float, Field(gt=1, le=60)] = 5
    dry_run: Annotated[bool, Field(description="propose, and change nothing")] = False


class Spreading(BaseModel):
    """The proposal, and the bulk change that it became; `POST /api/v2/bulk-changes/{id}/undo` takes it back exactly."""

    minute: datetime
    jitter_seconds: int
    rows: Annotated[int, Field(description="that get it")]
    left: Annotated[
        int, Field(description="that fire there and stay: an exchange's day, the next moment or midnight is near")
    ]
    before: Annotated[int, Field(description="rows in this minute")]
    after: Annotated[int, Field(description="rows in the fullest minute of the spread")]
    change: BulkOutcome | None


@router.get("")
def coming_load(ours: Ours, _: Viewer, stretch: Annotated[Stretch, Query()]) -> Coming:
    """Tell how many rows fire in each hour of the coming days, and which minutes are the fullest."""
    found, more = coming(ours, stretch.days)
    fullest: dict[int, float] = {}
    for place, rows in found.minutes.items():
        fullest[place // 60] = max(fullest.get(place // 60, 0), rows)
    return Coming(
        first=found.first,
        last=found.last,
        hours=[
            Hour(hour=found.first + place * HOUR, rows=round(rows, 1), fullest=round(fullest.get(place, 0), 1))
            for place, rows in enumerate(found.by_hour())
        ],
        peaks=[Peak(minute=minute, rows=round(rows, 1)) for minute, rows in found.peaks(PEAKS)],
        walked=found.walked,
        thinned=found.thinned,
        once=found.once,
        more=more,
    )


def coming(ours: Services, days: int) -> tuple[Load, bool]:
    """Compute the load from this hour on, and tell whether rows are left out. About a second at most."""
    with autocommit(ours.engine) as connection:
        around, now = editor_of(ours, connection).around, read_clock(connection)
        first = now.replace(minute=0, second=0, microsecond=0)
        last = first + timedelta(days=days)
        rules = load.rules(connection, now, last)
    found = load_of(rules.groups, around, first, last)
    for moment, rows in rules.beyond:
        found.add(moment, rows)
        found.once += rows
    return found, rules.more


DRY: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Spreading, "description": "Dry run"}}


@router.post("/spread", status_code=201, responses={**documented(403), **DRY})
def spread_minute(ours: Ours, caller: Operator, response: Response, order: SpreadOrder) -> Spreading:
    """Give the rows that fire in a minute a `jitter_seconds` that makes the fullest minute `fold` times emptier."""
    found = proposed(ours, order.minute, order.fold)
    if not found.ids:
        told = (
            "no spread empties this minute: nothing fires in it, or its rows come again too soon, keep to an "
            "exchange's calendar, run for the last time or would end up on the next day"
        )
        raise Refused([{"field": "minute", "message": told}])
    change: BulkOutcome | None = None
    if order.dry_run:
        response.status_code = 200
    else:
        select = TaskSelection(ids=list(found.ids))
        change = change_many(
            ours, caller, response, BulkOrder(select=select, change=TaskChange(jitter_seconds=found.jitter_seconds))
        )
    return Spreading(
        minute=found.minute,
        jitter_seconds=found.jitter_seconds,
        rows=len(found.ids),
        left=len(found.left),
        before=found.before,
        after=found.after,
        change=change,
    )


def proposed(ours: Services, moment: datetime, fold: float) -> Spread:
    """Work a spread out, and change nothing. Raises Refused."""
    minute = moment.replace(second=0, microsecond=0)
    with autocommit(ours.engine) as connection:
        around, now = editor_of(ours, connection).around, read_clock(connection)
        if not now < minute + MINUTE <= now + timedelta(days=8):
            told = f"minute must lie within the coming week, after {now:%H:%M} UTC"
            raise Refused([{"field": "minute", "message": told}])
        groups = load.rules(connection, now, now + timedelta(days=8)).groups
        here = [group for group in groups if _fires_in(group, minute, around)]
        rows = load.alike(connection, [group.row.id for group in here], MOST_SPREAD)
    beyond = sum(group.rows for group in here) - len(rows) if len(rows) == MOST_SPREAD else 0
    share = max(beyond, 0) / (beyond + MOST_SPREAD)  # of the rows that fire here; they stay
    staying = [replace(group, rows=round(group.rows * share)) for group in here]
    others = _others([group for group in groups if group not in here] + staying, around, minute)
    return spread(rows, minute, around, others, fold)


def _others(groups: list[Group], around: Surroundings, minute: datetime) -> dict[datetime, float]:
    """What else fires in the hour from a minute on."""
    found = load_of(groups, around, minute, minute + HOUR + MINUTE)
    return {minute + place * MINUTE: rows for place, rows in found.minutes.items()}


def _fires_in(group: Group, minute: datetime, around: Surroundings) -> bool:
    try:
        found = cadence_of(group.row, around.zone, around.overrides).after(minute - MICROSECOND)
    except CadenceError:
        return False
    return found is not None and found < minute + MINUTE
