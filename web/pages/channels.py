"""`/channels`: where notifications go; each can be sent a test. Addresses hold secrets and are never shown."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from api.access import Admin, Operator, Viewer
from api.channels import (
    change_channel,
    check_channel,
    create_channel,
    delete_channel,
    list_channels,
    one_channel,
)
from api.editing import Page as Asked
from api.schedules import Id
from api.services import Ours
from edits.channels import ChannelChange, NewChannel
from edits.desk import read
from notify import ALERTS
from store.database import autocommit, read_clock
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("channels", "/channels", "n", "bell")
MOST: Final = 200
CHANGED: Final = ("console:close", "channels:changed")

router = APIRouter()


class Dialog(BaseModel):
    """The dialog's fields as text; an empty one arrives as none: an address that is not typed stays what it is."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    url: SecretStr | None = None
    url_env: str | None = None
    enabled: str | None = None
    etag: Annotated[str, Field(max_length=200)] = ""

    def values(self, *without: str) -> dict[str, Any]:
        """Name what is to be written."""
        return self.model_dump(exclude_none=True, exclude={"etag", *without})


@router.get(PAGE.path)
def show_channels(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page; for htmx only its table."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    found = list_channels(ours, Asked(limit=MOST))
    piece = "channels/_table.html" if request.headers.get("hx-request") else "channels/page.html"
    return rendered(request, piece, now=now, channels=found.items, is_cut=found.next is not None)


@router.get(PAGE.path + "/new")
def ask_new(request: Request, _: Admin) -> HTMLResponse:
    """Show the dialog for a new channel."""
    return rendered(request, "channels/_form.html", channel=None, etag="", is_alerts=False)


@router.get(PAGE.path + "/{channel_id}/edit")
def ask_edit(ours: Ours, request: Request, _: Admin, channel_id: Id) -> HTMLResponse:
    """Show the dialog for a channel; its address is never in it."""
    held = Response()
    channel = one_channel(ours, channel_id, held)
    is_alerts = channel.name == ALERTS
    return rendered(request, "channels/_form.html", channel=channel, etag=held.headers["ETag"], is_alerts=is_alerts)


@router.post(PAGE.path)
def add(ours: Ours, request: Request, caller: Admin, given: Annotated[Dialog, Form()]) -> Response:
    """Enter a channel."""
    made = create_channel(ours, caller, Response(), read(NewChannel, given.values()))
    return _changed(request, "channels.saved", made.name)


@router.post(PAGE.path + "/{channel_id}")
def change(ours: Ours, request: Request, caller: Admin, channel_id: Id, given: Annotated[Dialog, Form()]) -> Response:
    """Change a channel, unless somebody else has changed it meanwhile."""
    wanted = read(ChannelChange, given.values("name"))
    changed = change_channel(ours, caller, Response(), channel_id, wanted, given.etag or None)
    return _changed(request, "channels.saved", changed.name)


@router.post(PAGE.path + "/{channel_id}/remove")
def remove(ours: Ours, request: Request, caller: Admin, channel_id: Id) -> Response:
    """Remove a channel and what waits for it."""
    delete_channel(ours, caller, channel_id)
    return _changed(request, "channels.removed", "")


@router.post(PAGE.path + "/{channel_id}/check")
def check(ours: Ours, request: Request, caller: Operator, channel_id: Id) -> HTMLResponse:
    """Send it a test, and show what came of it."""
    return rendered(request, "channels/_checked.html", told=check_channel(ours, caller, channel_id))


def _changed(request: Request, key: str, name: str) -> Response:
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words(key, name=name), events=CHANGED)
    return answer
