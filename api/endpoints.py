"""`/api/v2/endpoints`: where agents are, their limits and prices. A key is written and never shown."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from api.access import Admin, Operator
from api.editing import Exact, Page, following, require
from api.problems import documented
from api.schedules import Id, IfMatch
from api.services import Ours
from edits import endpoints as edits
from edits.desk import Desk
from edits.endpoints import AgentLimits, EndpointChange, NewEndpoint
from endpoints import tried
from store import audit
from store import endpoints as stored
from store.audit import Change
from store.database import AnyRow, autocommit, transaction

PATH: Final = "/api/v2/endpoints"
MOST_SECONDS: Final = 60.0
SHOWN: Final = 4000  # characters of an answer

router = APIRouter(prefix=PATH, tags=["endpoints"], responses=documented(401, 422, 503))


class Endpoint(BaseModel):
    """An endpoint; of its key only where it is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    provider: str
    base_url: str
    key: Literal["stored", "environment", "none"]
    credential_env: str | None
    max_concurrency: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    input_price: Exact | None
    output_price: Exact | None
    currency: str | None
    agents: list[AgentLimits]
    create_time: datetime
    update_time: datetime


class Endpoints(BaseModel):
    """A page; `next` is the address of the following one, null on the last."""

    items: list[Endpoint]
    next: str | None


class Removed(BaseModel):
    """What went with an endpoint."""

    budgets: int


class Check(BaseModel):
    """How to try an endpoint: reach it, or, with an agent, ask it something, which may cost money."""

    model_config = ConfigDict(extra="forbid")

    agent: Annotated[str | None, Field(min_length=1, max_length=191)] = None
    message: Annotated[str, Field(min_length=1, max_length=10_000)] = "Say hello in one short sentence."
    timeout: Annotated[float, Field(gt=0, le=MOST_SECONDS, description="seconds in total")] = 30.0


class Checked(BaseModel):
    """What came of it."""

    ok: bool
    error_kind: str | None
    detail: str | None
    answer: str | None
    seconds: float
    input_tokens: int | None
    output_tokens: int | None


@router.get("")
def list_endpoints(ours: Ours, page: Annotated[Page, Query()]) -> Endpoints:
    """List the endpoints by id."""
    with autocommit(ours.engine) as connection:
        rows = stored.page(connection, page.after, page.limit + 1)
        limits = stored.agent_limits(connection)
    shown = [_shown(row, [each for each in limits if each.endpoint == row.name]) for row in rows[: page.limit]]
    return Endpoints(items=shown, next=following(PATH, page, [row.id for row in rows]))


@router.post("", status_code=201, responses=documented(403))
def create_endpoint(ours: Ours, caller: Admin, response: Response, given: NewEndpoint) -> Endpoint:
    """Enter an endpoint. `credential` is encrypted, bound to its name and origin, and never shown."""
    with transaction(ours.engine) as tx:
        row = edits.add(Desk(tx, caller.actor, ours.settings), given)
        response.headers["Location"] = f"{PATH}/{row.id}"
        return _answer(tx, row, response)


@router.get("/{endpoint_id}", responses=documented(404))
def one_endpoint(ours: Ours, endpoint_id: Id, response: Response) -> Endpoint:
    """Show an endpoint; its ETag goes into If-Match of an edit."""
    with autocommit(ours.engine) as connection:
        row = stored.by_id(connection, endpoint_id) or _missing(endpoint_id)
        return _answer(connection, row, response)


@router.patch("/{endpoint_id}", responses=documented(403, 404, 412))
def change_endpoint(
    ours: Ours, caller: Admin, response: Response, endpoint_id: Id, given: EndpointChange, if_match: IfMatch = None
) -> Endpoint:
    """Change an endpoint; null takes a value away. Its name stays: tasks call it by that, and so does its key.

    Another scheme, host or port needs the key again, in the same request.
    """
    with transaction(ours.engine) as tx:
        row = _locked(tx, endpoint_id, if_match)
        return _answer(tx, edits.change(Desk(tx, caller.actor, ours.settings), row, given), response)


@router.delete("/{endpoint_id}", responses=documented(403, 404, 412))
def delete_endpoint(ours: Ours, caller: Admin, endpoint_id: Id, if_match: IfMatch = None) -> Removed:
    """Delete an endpoint with its agents' limits and its budgets; tasks that name it get a config_error."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, endpoint_id, if_match)
        return Removed(budgets=edits.remove(Desk(tx, caller.actor, ours.settings), row))


@router.post("/{endpoint_id}/check", responses=documented(403, 404))
def check_endpoint(ours: Ours, caller: Operator, endpoint_id: Id, given: Check) -> Checked:
    """Try an endpoint now, outside its limits and budgets. What fails is an answer too: `ok` is false."""
    with autocommit(ours.engine) as connection:
        row = stored.by_id(connection, endpoint_id) or _missing(endpoint_id)
    found = tried(row, ours.settings, agent=given.agent, message=given.message, timeout=given.timeout)
    with transaction(ours.engine) as tx:
        after = {"agent": given.agent, "ok": found.kind is None}
        audit.record(tx, caller.actor, Change(action="endpoint.check", subject=row.id, after=after))
    return Checked(
        ok=found.kind is None,
        error_kind=found.kind,
        detail=ours.mask.prose(found.detail),
        answer=(ours.mask.answer(found.answer) or "")[:SHOWN] if found.answer is not None else None,
        seconds=round(found.seconds, 3),
        input_tokens=found.usage.input_tokens,
        output_tokens=found.usage.output_tokens,
    )


def _locked(tx: Connection, endpoint_id: int, if_match: str | None) -> AnyRow:
    row = stored.by_id(tx, endpoint_id, lock=True) or _missing(endpoint_id)
    require(edits.etag_of(row, stored.limits_of(tx, row.name)), if_match, f"Endpoint {endpoint_id}")
    return row


def _answer(connection: Connection, row: AnyRow, response: Response) -> Endpoint:
    agents = stored.limits_of(connection, row.name)
    response.headers["ETag"] = edits.etag_of(row, agents)
    return _shown(row, agents)


def _shown(row: AnyRow, agents: Sequence[AnyRow]) -> Endpoint:
    key = "stored" if row.credential is not None else "environment" if row.credential_env else "none"
    limits = [{name: each._mapping[name] for name in ("agent", *edits.LIMITS)} for each in agents]
    return Endpoint.model_validate(dict(row._mapping) | {"key": key, "agents": limits})


def _missing(endpoint_id: int) -> AnyRow:
    raise HTTPException(404, f"No endpoint has the id {endpoint_id}; GET {PATH} lists them.")
