"""`/audit`: who changed what, and what it was before; edits by plain SQL too."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import model_validator

from api.access import Viewer
from api.changes import AuditPage, list_changes
from api.services import Ours
from web.rendering import Page, rendered

PAGE: Final = Page("audit", "/audit", "a", "scroll-text")
KINDS: Final = (
    "task", "run", "hold", "endpoint", "budget", "calendar_day", "channel", "queue", "user", "token", "session",
)  # fmt: skip

SHOWN: Final = 2000  # characters of a value; /api/v2/audit has it whole

router = APIRouter()


class Asked(AuditPage):
    """Which changes; a filter that a form sends empty is none."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: value for name, value in given.items() if value != ""}
        return found if "kind" in found else {name: value for name, value in found.items() if name != "subject"}


@router.get(PAGE.path)
def show_audit(ours: Ours, request: Request, caller: Viewer, asked: Annotated[Asked, Query()]) -> HTMLResponse:
    """Show a page of changes; for htmx only its rows."""
    found = list_changes(ours, caller, asked)
    target = request.headers.get("hx-target")
    piece = {"rows": "audit/_rows.html", "list": "audit/_list.html"}.get(target or "", "audit/page.html")
    following = parse_qs(urlsplit(found.next).query)["before"][0] if found.next else None
    return rendered(
        request,
        piece,
        asked=asked,
        entries=found.items,
        following=following,
        is_more=target == "rows",
        shown=_shown,
        kinds=KINDS,
    )


def _shown(values: Any, name: str) -> str:
    """Write one of the values of before or after, cut where it is long."""
    value = values.get(name) if isinstance(values, dict) else None
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
