"""`/workers`: who carries out runs and who fires them, and what each worker has in hand."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.access import Viewer
from api.operations import list_beats, list_workers
from api.services import Ours
from store.database import autocommit, read_clock
from web.rendering import Page, rendered

PAGE: Final = Page("workers", "/workers", "w", "cpu")

router = APIRouter()


@router.get(PAGE.path)
def show_workers(ours: Ours, request: Request, _: Viewer) -> HTMLResponse:
    """Show the page; for htmx only its tables."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    piece = "workers/_tables.html" if request.headers.get("hx-request") else "workers/page.html"
    return rendered(request, piece, now=now, workers=list_workers(ours).items, beats=list_beats(ours).items)
