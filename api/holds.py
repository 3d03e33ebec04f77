"""`/api/v2/holds`: stop everything, a queue, a tag or an endpoint for a while, and let it go on."""

from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from api.access import Operator
from api.moments import UtcMoment
from api.problems import Refused, documented
from api.schedules import Id
from api.services import Ours, Services
from core.holds import DEFAULT_ENDPOINT, Mode, Scope
from store import audit, holds, schedules
from store.audit import Change
from store.database import AnyRow, autocommit, read_clock, transaction

PATH: Final = "/api/v2/holds"

router = APIRouter(prefix=PATH, tags=["holds"], responses=documented(401, 422, 503))


class NewHold(BaseModel):
    """What to stop, and until when."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    name: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="of the queue, tag or endpoint (default: `default`)"),
    ] = None
    mode: Annotated[Mode, Field(description="wait: runs start when it ends; skip: they never do")] = Mode.WAIT
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    ends_at: Annotated[UtcMoment | None, Field(description="null: until it is ended")] = None


class Hold(BaseModel):
    """Something that is, or was, stopped."""

    id: int
    scope: Scope
    name: str | None
    mode: Mode
    reason: str
    ends_at: datetime | None
    ended_at: datetime | None
    create_time: datetime
    create_by: str | None
    ended_by: str | None


class Ended(Hold):
    """A hold that was ended; so many runs that it had put off go on."""

    woken: int


class Holds(BaseModel):
    """A page, newest first; `next` is the address of the following one."""

    items: list[Hold]
    next: str | None


class HoldPage(BaseModel):
    """Which holds are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int | None, Field(ge=1, lt=2**63)] = None
    which: Annotated[Literal["in_force", "all"], Field(description="all: ended ones too")] = "in_force"


@router.get("")
def list_holds(ours: Ours, page: Annotated[HoldPage, Query()]) -> Holds:
    """List what is stopped."""
    only_in_force = page.which == "in_force"
    with autocommit(ours.engine) as connection:
        rows = holds.page(connection, page.before, page.limit + 1, only_in_force=only_in_force)
    found = [_shown(row) for row in rows[: page.limit]]
    asked = {"limit": page.limit, "which": page.which, "before": found[-1].id if found else None}
    return Holds(items=found, next=f"{PATH}?{urlencode(asked)}" if len(rows) > page.limit else None)


@router.post("", status_code=201, responses=documented(403))
def hold(ours: Ours, caller: Operator, response: Response, given: NewHold) -> Hold:
    """Stop new starts, within a second; what runs goes on. A hold outlives every restart."""
    with transaction(ours.engine) as tx:
        _check(ours, tx, given)
        values = given.model_dump(include={"scope", "name", "mode", "reason"})
        with audit.silence_triggers(tx):
            row = holds.add(tx, **values, ends_at=given.ends_at, create_by=caller.name)
        after = values | {"ends_at": row.ends_at}
        audit.record(tx, caller.actor, Change(action="hold.create", subject=row.id, after=after, note=given.reason))
    response.headers["Location"] = f"{PATH}/{row.id}"
    return _shown(row)


def _check(ours: Services, tx: Connection, given: NewHold) -> None:
    """Refuse what would hold nothing. Raises Refused."""
    if (given.scope is Scope.EVERYTHING) != (given.name is None):
        wrong = "must be left out" if given.scope is Scope.EVERYTHING else f"must name the {given.scope}"
        raise Refused([{"field": "name", "message": f"name {wrong} where scope is {given.scope}"}])
    if given.ends_at is not None and given.ends_at <= read_clock(tx):
        raise Refused([{"field": "ends_at", "message": "ends_at has passed; give a time that lies ahead, or null"}])
    known = {Scope.QUEUE: set(ours.settings.queues), Scope.ENDPOINT: {DEFAULT_ENDPOINT, *schedules.endpoints(tx)}}
    names = known.get(given.scope)
    if names is not None and given.name not in names:
        told = f"{given.scope} {given.name!r} is unknown; known: {', '.join(sorted(names))}"
        raise Refused([{"field": "name", "message": told}])


@router.get("/{hold_id}", responses=documented(404))
def one_hold(ours: Ours, hold_id: Id) -> Hold:
    """Show a hold."""
    with autocommit(ours.engine) as connection:
        return _shown(holds.read(connection, hold_id) or _missing(hold_id))


@router.delete("/{hold_id}", responses=documented(403, 404, 409))
def end_hold(ours: Ours, caller: Operator, hold_id: Id) -> Ended:
    """End a hold; the runs it had put off go on at once, unless another hold stops them."""
    with transaction(ours.engine) as tx:
        row = holds.read(tx, hold_id, lock=True) or _missing(hold_id)
        if row.ended_at is not None:
            raise HTTPException(409, f"Hold {hold_id} was ended already, by {row.ended_by}.")
        with audit.silence_triggers(tx):
            holds.end(tx, hold_id, caller.name)
        row = holds.read(tx, hold_id) or _missing(hold_id)
        after = {"ended_at": row.ended_at}
        audit.record(
            tx, caller.actor, Change(action="hold.end", subject=hold_id, before={"ended_at": None}, after=after)
        )
    with autocommit(ours.engine) as connection:
        woken = holds.wake(connection, hold_id)
    return Ended.model_validate(dict(row._mapping) | {"woken": woken})


def _shown(row: AnyRow) -> Hold:
    return Hold.model_validate(dict(row._mapping))


def _missing(hold_id: int) -> AnyRow:
    raise HTTPException(404, f"No hold has the id {hold_id}; GET {PATH}?which=all lists them.")
