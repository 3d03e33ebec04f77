"""The ASGI application: `api.app:app`, or `create_app` for settings of one's own."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import home, probes, runs, schedules
from api.problems import problem
from api.services import build_services
from api.tokens import HOW_TO, TokenGate, parse_tokens
from config import Settings, get_settings
from logger import redact, setup_logging

RETRY_AFTER = {"Retry-After": "5"}
HINTS = {
    404: "Nothing is at this address; / names what there is.",
    405: "This address does not take this method; the header Allow names those it takes.",
}

logger = logging.getLogger("api")


def create_app(settings: Settings) -> FastAPI:
    """Build the application; it connects to nothing before the first request. Raises SettingsError."""
    grants = parse_tokens(settings.api_tokens.get_secret_value())
    services = build_services(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        setup_logging("api")
        if not grants:
            logger.warning("API_TOKENS is empty: only /, /health/* and /metrics answer")
        yield
        services.close()

    app = FastAPI(
        title="Agent scheduler",
        version="2",
        description=HOW_TO,
        lifespan=lifespan,
        docs_url=None,  # its page loads assets from the internet
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    app.add_middleware(TokenGate, grants=grants)
    app.include_router(home.router)
    app.include_router(probes.router)
    for router in (runs.router, schedules.router):
        # The gate has asked for the token already; this tells the OpenAPI document.
        app.include_router(router, dependencies=[Security(HTTPBearer(auto_error=False))])
    for error, answer in ANSWERS.items():
        app.add_exception_handler(error, answer)
    return app


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
    told = "; ".join(f"{issue['parameter']}: {issue['message']}" for issue in errors)
    return problem(422, told, errors=errors)


async def _database_away(request: Request, error: Exception) -> Response:
    logger.error("%s: the database: %s", request.url.path, redact(str(getattr(error, "orig", error))))
    return problem(
        503, "The database does not answer; /health/ready says more. Try again in a moment.", headers=RETRY_AFTER
    )


async def _failed(_: Request, __: Exception) -> Response:
    """The server logs the exception itself."""
    return problem(500, "The API failed to answer; its log in logs/ says why.")


ANSWERS = {
    HTTPException: _refused,
    RequestValidationError: _misunderstood,
    OperationalError: _database_away,
    InterfaceError: _database_away,
    TimeoutError: _database_away,
    Exception: _failed,
}

app = create_app(get_settings())
