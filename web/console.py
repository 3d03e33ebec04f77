"""Puts the console onto the application: its pages, its files, the login page, and errors as pages."""

import json
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.operations import queues_beside
from api.services import Services
from web import login
from web.lately import Lately
from web.load import LoadLook
from web.outcome_history import OutcomeHistory
from web.pages import PAGES, ROUTERS
from web.pages.overview import felt
from web.pulse import Pulse
from web.refusals import said
from web.rendering import Templates, is_browser, reader_of
from web.static_files import PATH, Assets

TEMPLATES: Final = Templates(PAGES)


def mount(app: FastAPI) -> None:
    """Add every page. None of them is in the OpenAPI document: they answer people."""
    services: Services = app.state.services
    app.state.templates = TEMPLATES
    app.state.outcome_history = OutcomeHistory(services.engine)
    app.state.pulse = Pulse(partial(felt, services.probe_engine))
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
    told = said(reader_of(request).words, detail)
    return await run_in_threadpool(TEMPLATES.page, request, "error.html", status=status, code=status, detail=told)


def in_words_of(request: Request, answer: Response) -> Response:
    """Say a problem that a page asked for by htmx in the page's language; a program gets it as it is."""
    if "hx-request" not in request.headers:
        return answer
    words = reader_of(request).words
    problem: dict[str, Any] = json.loads(bytes(answer.body))
    problem["detail"] = said(words, problem["detail"])
    for each in problem.get("errors") or ():
        each["message"] = said(words, each["message"])
    kept = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
    return JSONResponse(problem, answer.status_code, kept, answer.media_type)
