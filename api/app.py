"""The ASGI application: `api.app:app`, or `create_app` for settings of one's own."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import (
    accounts,
    backfills,
    budgets,
    bulk,
    calendars,
    changes,
    channels,
    documents,
    endpoints,
    exchange,
    holds,
    load,
    login,
    operations,
    phrases,
    probes,
    run_changes,
    run_stream,
    runs,
    schedules,
    seed_claw,
    seed_claw_workers,
    seed_trading,
    task_actions,
    trial_calls,
    why,
)
from api.access import document_roles
from api.bodies import BoundedBodies
from api.headers import SecureHeaders
from api.idempotency import IdempotentPosts
from api.problems import Refused, problem
from api.services import build_services
from api.tokens import HOW_TO, PUBLIC, TokenGate
from config import Settings, get_settings
from logger import redact, setup_logging
from store.database import in_words, is_contention
from web import console

MOST_ERRORS = 50
RETRY_AFTER = {"Retry-After": "5"}
HINTS = {
    404: "Nothing is at this address; / names what there is.",
    405: "This address does not take this method; the header Allow names those it takes.",
}

ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]

logger = logging.getLogger("api")


def create_app(settings: Settings) -> FastAPI:
    """Build the application; it connects to nothing before the first request. Raises SettingsError."""
    services = build_services(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        setup_logging("api")
        if not services.identities.grants:
            logger.warning("API_TOKENS is empty: only users and tokens of the database are let in")
        yield
        services.close()

    app = documents.DescribedApi(
        title="Agent scheduler",
        version="2",
        description=HOW_TO,
        lifespan=lifespan,
        docs_url=None,  # its page loads assets from the internet; api/documents.py has them
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    app.add_middleware(IdempotentPosts, engine=services.engine)  # the last one added is asked first
    app.add_middleware(BoundedBodies)
    app.add_middleware(
        TokenGate, identities=services.identities, throttle=services.throttle, error_page=console.error_page
    )
    app.add_middleware(SecureHeaders)
    app.include_router(probes.router)
    app.include_router(documents.router)
    for router in (
        runs.router,
        run_changes.router,
        run_stream.router,
        exchange.router,  # before the tasks: its addresses are no ids
        phrases.router,  # likewise
        schedules.router,
        task_actions.router,
        trial_calls.router,
        why.router,
        backfills.router,
        bulk.router,
        load.router,
        changes.router,
        holds.router,
        endpoints.router,
        budgets.router,
        calendars.router,
        channels.router,
        login.router,
        accounts.router,
        operations.router,
        operations.changes,
        seed_trading.router,
        seed_trading.posts,
        seed_claw.router,
        seed_claw.changes,
        seed_claw_workers.router,
    ):
        # The gate has asked for the token already; this tells the OpenAPI document.
        document_roles(router, PUBLIC)
        app.include_router(router, dependencies=[Security(HTTPBearer(auto_error=False))])
    console.mount(app)  # last: routes are tried in turn, and programs ask more often than people
    for error, answer in ANSWERS.items():
        app.add_exception_handler(error, _for_people_too(answer))
    return app


def _for_people_too(answer: ErrorHandler) -> ErrorHandler:
    """Show a person who opens an address in a browser the same problem as a page."""

    async def answer_or_page(request: Request, error: Exception) -> Response:
        answered = await answer(request, error)
        told = json.loads(bytes(answered.body))
        page = await console.error_page(request, answered.status_code, told["detail"])
        return page or console.in_words_of(request, answered)

    return answer_or_page


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type only
    is_bare = error.detail == HTTPStatus(error.status_code).phrase
    detail = HINTS.get(error.status_code, error.detail) if is_bare else error.detail
    return problem(error.status_code, detail, headers=error.headers)


async def _misunderstood(_: Request, error: Exception) -> Response:
    """Name each parameter that is wrong; its value is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - narrows the type only
    errors = [
        {"parameter": ".".join(str(part) for part in issue["loc"][1:]), "message": issue["msg"]}
        for issue in error.errors()
    ]
    named = errors[:MOST_ERRORS]
    told = "; ".join(f"{issue['parameter']}: {issue['message']}" for issue in named)
    more = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
    return problem(422, told + more, errors=named)


async def _refused_edit(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - narrows the type only
    return problem(422, str(error), errors=error.problems)


async def _database_away(request: Request, error: Exception) -> Response:
    if isinstance(error, OperationalError) and is_contention(error):
        told = "Another session holds this row or table, so nothing was changed. Try again in a moment."
        return problem(503, told, headers=RETRY_AFTER)
    logger.error("%s: the database: %s", request.url.path, redact(in_words(error)))
    return problem(
        503, "The database does not answer; /health/ready says more. Try again in a moment.", headers=RETRY_AFTER
    )


async def _failed(_: Request, __: Exception) -> Response:
    """The server logs the exception itself."""
    return problem(500, "The API failed to answer; its log in logs/ says why.")


ANSWERS = {
    HTTPException: _refused,
    RequestValidationError: _misunderstood,
    Refused: _refused_edit,
    OperationalError: _database_away,
    InterfaceError: _database_away,
    TimeoutError: _database_away,
    Exception: _failed,
}

app = create_app(get_settings())
