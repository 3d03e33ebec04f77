"""The gate in front of everything that is not public: who asks, by token or by session."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access import Caller
from api.identities import Identities, csrf_token_of
from api.problems import problem
from api.stream_guard import until_refused
from api.throttle import Throttle
from logger import redact
from store.database import in_words

#: What answers without a token; everything else, unknown paths too, asks for one.
PUBLIC: Final = frozenset({"/", "/login", "/health/live", "/health/ready", "/metrics"})
PUBLIC_FILES: Final = "/static/"  # style sheets and scripts of the login page and the console
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE: Final = "agent_scheduler_session"
CSRF_HEADER: Final = "X-CSRF-Token"

HOW_TO: Final = (
    "Send the header `Authorization: Bearer <token>`. A token comes from whoever runs this service: an admin makes one "
    "with POST /api/v2/tokens, or it stands in API_TOKENS (environment or .env) as token:role, comma-separated, roles "
    "viewer, operator, admin; `make run` keeps its own in data/embedded/api-token. A browser logs in with POST /login."
)

SHOWN_AS_PAGE: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE})
KEPT_HEADERS: Final = ("WWW-Authenticate", "Retry-After")
#: Makes the page that a person sees in the place of a refusal; None where a program asks.
ErrorPage = Callable[[Request, int, str], Awaitable[Response | None]]

logger = logging.getLogger("api")


class TokenGate:
    """ASGI middleware: a request without a known token or session goes no further, unless its path is PUBLIC.

    Who asks stands in `request.state.caller` afterwards. A session alone changes nothing: what is not SAFE needs
    the session's CSRF token too. Who opens an address in a browser without a session gets the login page.
    """

    def __init__(self, app: ASGIApp, identities: Identities, throttle: Throttle, error_page: ErrorPage) -> None:
        self.app = app
        self.identities = identities
        self.throttle = throttle
        self.error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let public paths and known callers through; answer 401, 403 or 429 to everything else."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and _is_public(scope["path"])):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        found = await self._identify(scope)
        if isinstance(found, Response):
            await (await self._for_people(scope, found))(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = found
        await until_refused(self.app, scope, receive, send, partial(self._is_refused, scope))

    async def _is_refused(self, scope: Scope) -> bool:
        """True where the caller is let in no more; while the database is away nobody can say so."""
        found = await self._identify(scope)
        return isinstance(found, Response) and found.status_code == HTTPStatus.UNAUTHORIZED

    async def _identify(self, scope: Scope) -> Caller | Response:
        headers = Headers(scope=scope)
        header = headers.get("authorization")
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        try:
            if header is None and session:
                return await self._by_session(scope["method"], session, headers.get(CSRF_HEADER, ""))
            return await self._by_token(header, address_of(scope))
        except SQLAlchemyError as error:
            logger.error("nobody can be recognised: %s", redact(in_words(error)))
            told = "The database does not answer, so the caller cannot be recognised. Try again in a moment."
            return problem(503, told, headers={"Retry-After": "5"})

    async def _for_people(self, scope: Scope, refusal: Response) -> Response:
        """Put the login page in the place of a 401 or 503 where a browser asks that sends no token of its own."""
        if refusal.status_code not in SHOWN_AS_PAGE or "authorization" in Headers(scope=scope):
            return refusal
        page = await self.error_page(Request(scope), refusal.status_code, "")
        if page is None:
            return refusal
        page.headers.update({name: refusal.headers[name] for name in KEPT_HEADERS if name in refusal.headers})
        return page

    async def _by_session(self, method: str, session: str, csrf_token: str) -> Caller | Response:
        caller = self.identities.known_session(session) or await run_in_threadpool(self.identities.by_session, session)
        if caller is None:
            return self._refused("This session has ended")
        expected = csrf_token_of(session)
        if method not in SAFE and not compare_digest(csrf_token.encode("latin-1", "replace"), expected.encode()):
            told = f"A session changes something only with the header {CSRF_HEADER}; GET /api/v2/session names it."
            return problem(403, told)
        return caller

    async def _by_token(self, header: str | None, address: str) -> Caller | Response:
        scheme, _, token = (header or "").strip().partition(" ")
        token = token.strip()
        if header is None:
            return self._refused("A token is needed")
        if scheme.lower() != "bearer" or not token:
            return self._refused("The header Authorization holds no bearer token")
        wait = 0 if self.identities.was_good(token) else self.throttle.token_wait(address)
        if wait:
            told = f"Too many wrong tokens from {address}; the next one is looked at in {wait} seconds."
            return problem(429, told, headers={"Retry-After": str(wait)})
        caller = self.identities.known_token(token) or await run_in_threadpool(self.identities.by_token, token)
        if caller is None:
            self.throttle.token_failed(address)
            return self._refused("This token is not known here, or has expired", challenge=', error="invalid_token"')
        return caller

    def _refused(self, told: str, challenge: str = "") -> Response:
        if not self.identities.grants:
            told += ". API_TOKENS is empty"
        headers = {"WWW-Authenticate": f'Bearer realm="agent-scheduler"{challenge}'}
        return problem(401, f"{told}. {HOW_TO}", headers=headers)


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(PUBLIC_FILES)


def address_of(scope: Scope) -> str:
    """Name where a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
