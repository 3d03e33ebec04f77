"""`/api/v2/backfills`: past moments of a task as runs; look at them, pause them, cancel them."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from api.access import Caller, Operator
from api.moments import UtcMoment
from api.problems import Refused, documented
from api.schedules import PATH as TASKS
from api.schedules import Id
from api.services import Ours, Services
from beat.backfill_range import CannotBackfill, count, enter, read_range
from store import audit, backfills, schedules
from store.audit import Change
from store.backfills import MAX_AT_A_TIME, BackfillState
from store.database import AnyRow, autocommit, read_clock, transaction
from surroundings import read_surroundings

PATH: Final = "/api/v2/backfills"

router = APIRouter(tags=["backfills"], responses=documented(401, 422, 503))


class NewBackfill(BaseModel):
    """Which moments; both ends are included, and have passed."""

    model_config = ConfigDict(extra="forbid")

    since: UtcMoment
    until: UtcMoment
    at_a_time: Annotated[int, Field(ge=1, le=MAX_AT_A_TIME, description="runs at once")] = 1
    dry_run: Annotated[bool, Field(description="count the moments, and enter nothing")] = False


class Entered(BaseModel):
    """What was entered, or for a dry run counted; `is_whole` false: there are more moments than were counted."""

    id: int | None
    first_moment: datetime
    moments: int | None = None
    left_out: int | None = None
    is_whole: bool | None = None


class Backfill(BaseModel):
    """Where a backfill stands. Times are UTC."""

    id: int
    periodic_task_id: int
    task_name: str
    from_moment: datetime
    until_moment: datetime
    at_a_time: int
    state: BackfillState
    next_moment: datetime | None
    created: int
    left_out: int
    reason: str | None
    create_time: datetime
    finished_at: datetime | None


class Backfills(BaseModel):
    """A page, newest first; `next` is the address of the following one."""

    items: list[Backfill]
    next: str | None


class BackfillPage(BaseModel):
    """Which backfills are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int | None, Field(ge=1, lt=2**63)] = None


class Cancel(BaseModel):
    """How a backfill is cancelled."""

    model_config = ConfigDict(extra="forbid")

    cut: Annotated[bool, Field(description="revoke the started runs too, not only the waiting ones")] = False


@router.post(
    TASKS + "/{task_id}/backfills",
    status_code=201,
    responses={**documented(403, 404, 409), 200: {"model": Entered, "description": "Dry run"}},
)
def start(ours: Ours, caller: Operator, response: Response, task_id: Id, given: NewBackfill) -> Entered:
    """Run past moments of a task that have no success yet, a few at a time; beat carries it out."""
    since, until = given.since, given.until
    with transaction(ours.engine) as tx:
        row = schedules.read(tx, task_id)
        if row is None:
            raise HTTPException(404, f"No task has the id {task_id}; GET {TASKS} lists them.")
        if until > read_clock(tx):
            raise Refused([{"field": "until", "message": "until lies ahead; what is to come the schedule itself runs"}])
        if until < since:
            raise Refused([{"field": "until", "message": "until is before since; change one of them"}])
        try:
            wanted = read_range(tx, row, read_surroundings(tx, ours.settings), since, until)
            if given.dry_run:
                response.status_code = 200
                return Entered(id=None, first_moment=wanted.first, **asdict(count(tx, wanted)))
            made = enter(tx, wanted, at_a_time=given.at_a_time)
        except CannotBackfill as error:
            raise HTTPException(409, ours.mask.prose(str(error))) from None
        after = {"task_id": task_id, "since": since, "until": until, "at_a_time": given.at_a_time}
        audit.record(tx, caller.actor, Change(action="backfill.create", subject=made, after=after))
    response.headers["Location"] = f"{PATH}/{made}"
    return Entered(id=made, first_moment=wanted.first)


@router.get(PATH)
def list_backfills(ours: Ours, page: Annotated[BackfillPage, Query()]) -> Backfills:
    """List the backfills, newest first."""
    with autocommit(ours.engine) as connection:
        rows = backfills.latest(connection, page.limit + 1, before=page.before)
    found = [_shown(row) for row in rows[: page.limit]]
    more = f"{PATH}?{urlencode({'limit': page.limit, 'before': found[-1].id})}" if len(rows) > page.limit else None
    return Backfills(items=found, next=more)


@router.get(PATH + "/{backfill_id}", responses=documented(404))
def one_backfill(ours: Ours, backfill_id: Id) -> Backfill:
    """Show a backfill."""
    with autocommit(ours.engine) as connection:
        row = backfills.read(connection, backfill_id)
    if row is None:
        raise HTTPException(404, _unknown(backfill_id))
    return _shown(row)


@router.put(PATH + "/{backfill_id}/pause", responses=documented(403, 404, 409))
def pause(ours: Ours, caller: Operator, backfill_id: Id) -> Backfill:
    """Make no further runs for now; those that were made go on."""
    return _turn(ours, caller, backfill_id, BackfillState.PAUSED, "backfill.pause")


@router.delete(PATH + "/{backfill_id}/pause", responses=documented(403, 404, 409))
def resume(ours: Ours, caller: Operator, backfill_id: Id) -> Backfill:
    """Go on."""
    return _turn(ours, caller, backfill_id, BackfillState.RUNNING, "backfill.resume")


@router.delete(PATH + "/{backfill_id}", responses=documented(403, 404, 409))
def cancel(ours: Ours, caller: Operator, backfill_id: Id, how: Annotated[Cancel, Query()]) -> Backfill:
    """Make no further runs, and revoke those that wait."""
    with transaction(ours.engine) as tx:
        one = _held(tx, backfill_id)
        revoked = backfills.cancel(tx, one, cut=how.cut)
        after = {"state": BackfillState.CANCELLED, "revoked_runs": revoked}
        change = Change(action="backfill.cancel", subject=backfill_id, before={"state": one.state}, after=after)
        audit.record(tx, caller.actor, change)
        return _shown(backfills.read(tx, backfill_id) or one)


def _turn(ours: Services, caller: Caller, backfill_id: int, state: BackfillState, action: str) -> Backfill:
    with transaction(ours.engine) as tx:
        one = _held(tx, backfill_id)
        backfills.move(tx, one, state=state)
        change = Change(action=action, subject=backfill_id, before={"state": one.state}, after={"state": state})
        audit.record(tx, caller.actor, change)
        return _shown(backfills.read(tx, backfill_id) or one)


def _held(tx: Connection, backfill_id: int) -> AnyRow:
    """Lock a backfill that has not ended. Raises HTTPException 404, 409."""
    one = backfills.take(tx, backfill_id, wait=True)
    if one is not None:
        return one
    ended = backfills.read(tx, backfill_id)
    if ended is None:
        raise HTTPException(404, _unknown(backfill_id))
    raise HTTPException(409, f"Backfill {backfill_id} has ended already: {ended.state}, {ended.reason}")


def _unknown(backfill_id: int) -> str:
    return f"There is no backfill {backfill_id}; GET {PATH} lists them."


def _shown(row: AnyRow) -> Backfill:
    return Backfill.model_validate(dict(row._mapping))
