"""Logging in and out by browser, and who one is: `/login`, `/logout`, `/api/v2/session`."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import cookie_parser

from api.access import Role, Viewer
from api.identities import csrf_token_of, digest_of, new_secret
from api.passwords import hash_password, is_password
from api.problems import documented
from api.services import Ours
from api.tokens import COOKIE, address_of
from store import access, audit
from store.audit import Actor, Change
from store.database import autocommit, transaction

SESSION_LASTS: Final = timedelta(hours=12)
SHORTEST_PASSWORD: Final = 10
WRONG_LOGIN: Final = "The name or the password is wrong. An admin makes users with POST /api/v2/users."

router = APIRouter(tags=["session"])

NewPassword = Annotated[SecretStr, Field(min_length=SHORTEST_PASSWORD, max_length=200)]


class Login(BaseModel):
    """A name and its password."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    password: Annotated[SecretStr, Field(max_length=200)]


class Session(BaseModel):
    """Who one is. `csrf_token` goes into the header X-CSRF-Token of every change; null for a token."""

    name: str
    role: Role
    via: str
    csrf_token: str | None = None
    expires_at: datetime | None = None


class PasswordChange(BaseModel):
    """One's own password, old and new."""

    model_config = ConfigDict(extra="forbid")

    old: Annotated[SecretStr, Field(max_length=200)]
    new: NewPassword


@router.post("/login", responses=documented(401, 403, 413, 422, 429, 503))
def log_in(ours: Ours, request: Request, response: Response, given: Login) -> Session:
    """Open a session: a cookie that no script of a page can read, for twelve hours."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "Another site sent this login; log in from this one.")
    address = address_of(request.scope)
    if wait := ours.throttle.login_wait(address, given.name):
        told = f"Too many wrong logins; the next one is looked at in {wait} seconds."
        raise HTTPException(429, told, {"Retry-After": str(wait)})
    with autocommit(ours.engine) as connection:
        user = access.user_by_name(connection, given.name)
    known = user.password_hash if user is not None and user.disabled_at is None else None
    if not is_password(given.password.get_secret_value(), known) or user is None:
        ours.throttle.login_failed(address, given.name)
        raise HTTPException(401, WRONG_LOGIN)
    secret = new_secret()
    with transaction(ours.engine) as tx:
        ends = access.open_session(tx, digest_of(secret.encode()).hex(), user, SESSION_LASTS)
        if ends is None:
            raise HTTPException(401, WRONG_LOGIN)
        audit.record(tx, Actor(user.name, "session"), Change(action="session.open", subject=user.id, note=address))
    response.set_cookie(
        COOKIE, secret, max_age=int(SESSION_LASTS.total_seconds()), httponly=True, samesite="strict",
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),  # TLS may end at a proxy
    )  # fmt: skip
    return Session(
        name=user.name, role=Role(user.role), via="session", csrf_token=csrf_token_of(secret), expires_at=ends
    )


@router.post("/logout", status_code=204, responses=documented(401, 403, 503))
def log_out(ours: Ours, request: Request, response: Response, _: Viewer) -> None:
    """End the session."""
    session = _session_of(request)
    if session:
        with autocommit(ours.engine) as connection:
            access.close_session(connection, digest_of(session.encode()).hex())
        ours.identities.forget()
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.get("/api/v2/session", responses=documented(401, 503))
def who_am_i(request: Request, caller: Viewer) -> Session:
    """Tell who one is, and what a page must send to change something."""
    session = _session_of(request) if caller.via == "session" else None
    csrf_token = csrf_token_of(session) if session else None
    return Session(name=caller.name, role=caller.role, via=caller.via, csrf_token=csrf_token)


@router.put("/api/v2/session/password", status_code=204, responses=documented(401, 403, 409, 422, 429, 503))
def change_own_password(ours: Ours, request: Request, caller: Viewer, given: PasswordChange) -> None:
    """Change one's own password; every session of the user ends."""
    if caller.user_id is None:
        raise HTTPException(409, "A token has no password; log in as a user.")
    address = address_of(request.scope)
    if wait := ours.throttle.login_wait(address, caller.name):
        raise HTTPException(429, f"Too many wrong passwords; wait {wait} seconds.", {"Retry-After": str(wait)})
    with transaction(ours.engine) as tx:
        user = access.user(tx, caller.user_id, lock=True)
        if user is None or not is_password(given.old.get_secret_value(), user.password_hash):
            ours.throttle.login_failed(address, caller.name)
            raise HTTPException(403, "The old password is wrong.")
        hashed = hash_password(given.new.get_secret_value())
        access.change_user(tx, user.id, password_hash=hashed, update_by=caller.name)
        audit.record(tx, caller.actor, Change(action="user.password", subject=user.id))
    ours.identities.forget()


def _session_of(request: Request) -> str | None:
    return cookie_parser(request.headers.get("cookie", "")).get(COOKIE)
