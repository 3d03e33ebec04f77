"""`/api/v2/channels`: where notifications go. An address holds secrets: it is written and never shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from api.access import Admin, Operator
from api.editing import Page, following, require
from api.problems import documented
from api.schedules import Id, IfMatch
from api.services import Ours, Services
from edits import channels as edits
from edits.channels import ChannelChange, NewChannel
from edits.desk import Desk
from notify import ChannelFault, kinds_of, send_test
from store import audit, notifications
from store.audit import Change
from store.database import AnyRow, autocommit, transaction

PATH: Final = "/api/v2/channels"

router = APIRouter(prefix=PATH, tags=["channels"], responses=documented(401, 422, 503))


class Channel(BaseModel):
    """A channel; of its address only the kinds, such as `dingtalk`."""

    id: int
    name: str
    kinds: list[str] | None
    """Null: its address cannot be read here."""
    url_env: str | None
    enabled: bool
    waiting: int
    """Events that are to be told."""
    failures: int
    """In a row."""
    last_error: str | None
    last_sent_at: datetime | None
    create_time: datetime


class Channels(BaseModel):
    """A page; `next` is the address of the following one, null on the last."""

    items: list[Channel]
    next: str | None


class Removed(BaseModel):
    """So many events waited for it, and are told to nobody."""

    waiting: int


class Told(BaseModel):
    """What came of a test."""

    ok: bool
    detail: str | None


@router.get("")
def list_channels(ours: Ours, page: Annotated[Page, Query()]) -> Channels:
    """List the channels by id."""
    with autocommit(ours.engine) as connection:
        rows = sorted(notifications.channels(connection), key=lambda row: int(row.id))
    found = [row for row in rows if row.id > page.after][: page.limit + 1]
    shown = [_shown(ours, row, row.waiting) for row in found[: page.limit]]
    return Channels(items=shown, next=following(PATH, page, [row.id for row in found]))


@router.post("", status_code=201, responses=documented(403))
def create_channel(ours: Ours, caller: Admin, response: Response, given: NewChannel) -> Channel:
    """Enter a channel; try it with `POST …/check`."""
    edits.check_name(given.name)
    address = edits.address(given, given.name, ours.settings)
    with transaction(ours.engine) as tx:
        row = edits.add(Desk(tx, caller.actor, ours.settings), given, address)
        response.headers["Location"] = f"{PATH}/{row.id}"
        return _answer(ours, tx, row, response)


@router.get("/{channel_id}", responses=documented(404))
def one_channel(ours: Ours, channel_id: Id, response: Response) -> Channel:
    """Show a channel; its ETag goes into If-Match of an edit."""
    with autocommit(ours.engine) as connection:
        row = notifications.channel_by_id(connection, channel_id) or _missing(channel_id)
        return _answer(ours, connection, row, response)


@router.patch("/{channel_id}", responses=documented(403, 404, 412))
def change_channel(
    ours: Ours, caller: Admin, response: Response, channel_id: Id, given: ChannelChange, if_match: IfMatch = None
) -> Channel:
    """Give a channel another address, or switch it off; what is told to it then waits."""
    address = _address(ours, channel_id, given)
    with transaction(ours.engine) as tx:
        row = _locked(tx, channel_id, if_match)
        row = edits.change(Desk(tx, caller.actor, ours.settings), row, given, address)
        return _answer(ours, tx, row, response)


@router.delete("/{channel_id}", responses=documented(403, 404, 412))
def delete_channel(ours: Ours, caller: Admin, channel_id: Id, if_match: IfMatch = None) -> Removed:
    """Delete a channel and what waits for it; tasks that name it run on, and tell nobody."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, channel_id, if_match)
        return Removed(waiting=edits.remove(Desk(tx, caller.actor, ours.settings), row))


@router.post("/{channel_id}/check", responses=documented(403, 404))
def check_channel(ours: Ours, caller: Operator, channel_id: Id) -> Told:
    """Send a channel a test now. What fails is an answer too: `ok` is false."""
    with autocommit(ours.engine) as connection:
        row = notifications.channel_by_id(connection, channel_id) or _missing(channel_id)
    fault = None
    try:
        send_test(row, ours.settings)
    except ChannelFault as error:
        fault = str(error)
    with transaction(ours.engine) as tx:
        audit.record(tx, caller.actor, Change(action="channel.check", subject=row.id, after={"ok": fault is None}))
    return Told(ok=fault is None, detail=ours.mask.prose(fault))


def _address(ours: Services, channel_id: int, given: ChannelChange) -> Mapping[str, str | None]:
    """Check and encrypt an address before the transaction: that asks a child process."""
    with autocommit(ours.engine) as connection:
        row = notifications.channel_by_id(connection, channel_id) or _missing(channel_id)
    return edits.address(given, row.name, ours.settings)


def _locked(tx: Connection, channel_id: int, if_match: str | None) -> AnyRow:
    row = notifications.channel_by_id(tx, channel_id, lock=True) or _missing(channel_id)
    require(edits.etag_of(row), if_match, f"Channel {channel_id}")
    return row


def _answer(ours: Services, connection: Connection, row: AnyRow, response: Response) -> Channel:
    response.headers["ETag"] = edits.etag_of(row)
    return _shown(ours, row, notifications.waiting_for(connection, row.name))


def _shown(ours: Services, row: AnyRow, waiting: int | None) -> Channel:
    return Channel(
        **{name: row._mapping[name] for name in ("id", "name", "url_env", "failures", "last_sent_at", "create_time")},
        enabled=bool(row.enabled),
        kinds=kinds_of(row, ours.settings),
        waiting=int(waiting or 0),
        last_error=ours.mask.prose(row.last_error),
    )


def _missing(channel_id: int) -> AnyRow:
    raise HTTPException(404, f"No channel has the id {channel_id}; GET {PATH} lists them.")
