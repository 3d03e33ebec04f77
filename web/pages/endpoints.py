"""`/endpoints`: where agents are: address, key, limits and prices; each can be tried. Keys are never shown."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from api.access import Admin, Operator, Viewer
from api.editing import Page as Asked
from api.endpoints import (
    Check,
    change_endpoint,
    check_endpoint,
    create_endpoint,
    delete_endpoint,
    list_endpoints,
    one_endpoint,
)
from api.schedules import Id
from api.services import Ours
from core.budget import shown
from edits.desk import read
from edits.endpoints import EndpointChange, NewEndpoint
from providers.registry import PROVIDERS
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("endpoints", "/endpoints", "e", "plug")
MOST: Final = 200
CHANGED: Final = ("console:close", "endpoints:changed")
COLUMNS: Final = (
    "name", "provider", "base_url", "credential_env", "max_concurrency", "requests_per_minute", "tokens_per_minute",
    "input_price", "output_price", "currency",
)  # fmt: skip

router = APIRouter()


class Dialog(BaseModel):
    """The dialog's fields as text; it sends all of them, and an empty one arrives as none.

    That takes a value away, but for the key: where none is typed the one that is stored stays.
    """

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    provider: str | None = None
    base_url: str | None = None
    credential: SecretStr | None = None
    credential_env: str | None = None
    max_concurrency: str | None = None
    requests_per_minute: str | None = None
    tokens_per_minute: str | None = None
    input_price: str | None = None
    output_price: str | None = None
    currency: str | None = None
    etag: Annotated[str, Field(max_length=200)] = ""

    def values(self, *, new: bool) -> dict[str, Any]:
        """Name what is to be written."""
        found: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        if self.credential is not None:
            found["credential"] = self.credential.get_secret_value()
        kept = ("provider", "base_url")  # these cannot be taken away
        return {name: value for name, value in found.items() if value is not None or not (new or name in kept)}


@router.get(PAGE.path)
def show_endpoints(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page; for htmx only its table."""
    found = list_endpoints(ours, Asked(limit=MOST))
    piece = "endpoints/_table.html" if request.headers.get("hx-request") else "endpoints/page.html"
    return rendered(request, piece, endpoints=found.items, is_cut=found.next is not None, plain=shown)


@router.get(PAGE.path + "/new")
def ask_new(request: Request, _: Admin) -> HTMLResponse:
    """Show the dialog for a new endpoint."""
    return rendered(request, "endpoints/_form.html", endpoint=None, etag="", providers=sorted(PROVIDERS))


@router.get(PAGE.path + "/{endpoint_id}/edit")
def ask_edit(ours: Ours, request: Request, _: Admin, endpoint_id: Id) -> HTMLResponse:
    """Show the dialog for an endpoint; its key is never in it."""
    held = Response()
    endpoint = one_endpoint(ours, endpoint_id, held)
    return rendered(
        request, "endpoints/_form.html", endpoint=endpoint, etag=held.headers["ETag"], providers=sorted(PROVIDERS)
    )


@router.post(PAGE.path)
def add(ours: Ours, request: Request, caller: Admin, given: Annotated[Dialog, Form()]) -> Response:
    """Enter an endpoint."""
    made = create_endpoint(ours, caller, Response(), read(NewEndpoint, given.values(new=True)))
    return _changed(request, "endpoints.saved", made.name)


@router.post(PAGE.path + "/{endpoint_id}")
def change(ours: Ours, request: Request, caller: Admin, endpoint_id: Id, given: Annotated[Dialog, Form()]) -> Response:
    """Change an endpoint, unless somebody else has changed it meanwhile."""
    wanted = read(EndpointChange, {k: v for k, v in given.values(new=False).items() if k != "name"})
    changed = change_endpoint(ours, caller, Response(), endpoint_id, wanted, given.etag or None)
    return _changed(request, "endpoints.saved", changed.name)


@router.post(PAGE.path + "/{endpoint_id}/remove")
def remove(ours: Ours, request: Request, caller: Admin, endpoint_id: Id) -> Response:
    """Remove an endpoint and its budgets."""
    delete_endpoint(ours, caller, endpoint_id)
    return _changed(request, "endpoints.removed", "")


@router.post(PAGE.path + "/{endpoint_id}/check")
def check(ours: Ours, request: Request, caller: Operator, endpoint_id: Id) -> HTMLResponse:
    """Call the endpoint once, and show what came of it."""
    return rendered(request, "endpoints/_checked.html", found=check_endpoint(ours, caller, endpoint_id, Check()))


def _changed(request: Request, key: str, name: str) -> Response:
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words(key, name=name), events=CHANGED)
    return answer
