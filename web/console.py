"""Puts the console onto the application: its pages, its files, the login page, and errors as pages."""

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.operations import queues_beside
from api.services import Services
from web import login
from web.lately import Lately
from web.load import LoadLook
from web.outcome_history import OutcomeHistory
from web.pages import PAGES, ROUTERS
from web.rendering import Templates, is_browser
from web.static_files import PATH, Assets

TEMPLATES: Final = Templates(PAGES)


def mount(app: FastAPI) -> None:
    """Add every page. None of them is in the OpenAPI document: they answer people."""
    services: Services = app.state.services
    app.state.templates = TEMPLATES
    app.state.outcome_history = OutcomeHistory(services.engine)
    app.state.queues = Lately(lambda: queues_beside(services, {}))
    app.state.load = LoadLook(services)
    app.mount(PATH, Assets(), name="static")
    app.include_router(login.router, include_in_schema=False)
    for router in ROUTERS:
        app.include_router(router, include_in_schema=False)


async def error_page(request: Request, status: int, detail: str) -> Response | None:
    """Show a person who opens an address what went wrong there; None where a program asks."""
    if not is_browser(request):
        return None
    is_known = hasattr(request.state, "caller")
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.SERVICE_UNAVAILABLE and not is_known):
        services: Services = request.app.state.services
        return await login.page(request, services, status)  # it says how the service is, too
    if not is_known:  # a file of the login page, say: the frame is for who has logged in
        return None
    return await run_in_threadpool(TEMPLATES.page, request, "error.html", status=status, code=status, detail=detail)
