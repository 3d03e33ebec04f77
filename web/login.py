"""`/`: the console for whoever has logged in; for others the login page, which says how the service is."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import cookie_parser
from starlette.responses import Response

from api.access import Caller
from api.readiness import is_ready, verdict
from api.services import Ours, Services
from api.tokens import COOKIE
from web.rendering import LANGUAGE_COOKIE, rendered
from web.wording import LANGUAGES

CONSOLE: Final = "/overview"
YEAR: Final = 365 * 86_400
ASKED_AGAIN: Final = "agent_scheduler_asked_again"
AGAIN_SECONDS: Final = 10

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
async def home(ours: Ours, request: Request) -> Response:
    """Lead into the console, or to the login page."""
    if await run_in_threadpool(_known, ours, request):
        return RedirectResponse(CONSOLE, 303)
    return await page(request, ours, 200)


async def page(request: Request, ours: Services, status: int) -> Response:
    """Show the login page; a page that asks for a login shows it in its own place, and itself afterwards."""
    checks = await ours.readiness.checks()
    answer: Response = await run_in_threadpool(
        rendered, request, "login.html", status=status, checks=checks,
        is_ready=is_ready(checks), verdict=verdict(checks),
    )  # fmt: skip
    if request.query_params.get("lang") in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, request.query_params["lang"], max_age=YEAR, samesite="lax")
    if _followed_a_foreign_link(request):
        # The session's cookie is SameSite=Strict, so a link in a message comes without it: our own page asks once more.
        answer.headers["Refresh"] = "0"
        answer.set_cookie(ASKED_AGAIN, "1", max_age=AGAIN_SECONDS, httponly=True, samesite="lax")
    return answer


def _followed_a_foreign_link(request: Request) -> bool:
    cookies = cookie_parser(request.headers.get("cookie", ""))
    is_foreign = request.headers.get("sec-fetch-site") == "cross-site"
    return is_foreign and COOKIE not in cookies and ASKED_AGAIN not in cookies


def _known(ours: Services, request: Request) -> Caller | None:
    session = cookie_parser(request.headers.get("cookie", "")).get(COOKIE)
    if not session:
        return None
    try:
        return ours.identities.known_session(session) or ours.identities.by_session(session)
    except SQLAlchemyError:  # the login page names what is wrong
        return None
