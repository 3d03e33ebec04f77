"""`/users`: people who log in, and tokens for scripts; for admins."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from api.access import Admin, Role
from api.accounts import (
    Id,
    NewToken,
    NewUser,
    UserChange,
    add_token,
    add_user,
    change_user,
    list_tokens,
    list_users,
    revoke_token,
)
from api.services import Ours
from store.database import autocommit, read_clock
from web.rendering import Page, reader_of, rendered, toast

PAGE: Final = Page("users", "/users", "u", "users", Role.ADMIN)
CHANGED: Final = ("console:close", "users:changed")

router = APIRouter()


@router.get(PAGE.path)
def show_users(ours: Ours, request: Request, caller: Admin) -> HTMLResponse:
    """Show the page; for htmx only its tables."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    piece = "users/_tables.html" if request.headers.get("hx-request") else "users/page.html"
    users, tokens = list_users(ours, caller).items, list_tokens(ours, caller).items
    return rendered(request, piece, now=now, users=users, tokens=tokens, roles=[role.value for role in Role])


@router.post(PAGE.path)
def add_person(ours: Ours, request: Request, caller: Admin, given: Annotated[NewUser, Form()]) -> Response:
    """Add a user."""
    return _changed(request, "users.added", add_user(ours, caller, given).name)


@router.get(PAGE.path + "/{user_id}/password")
def ask_password(ours: Ours, request: Request, caller: Admin, user_id: Id) -> HTMLResponse:
    """Show the dialog for a new password."""
    user = next((user for user in list_users(ours, caller).items if user.id == user_id), None)
    if user is None:
        raise HTTPException(404, f"No user has the id {user_id}.")
    return rendered(request, "users/_password.html", user=user)


@router.post(PAGE.path + "/{user_id}")
def change_person(
    ours: Ours, request: Request, caller: Admin, user_id: Id, given: Annotated[UserChange, Form()]
) -> Response:
    """Give a user another role or password, or lock him out, or let him in again."""
    user = change_user(ours, caller, user_id, given)
    return _changed(request, "users.changed", user.name)


@router.post("/tokens")
def add_script(ours: Ours, request: Request, caller: Admin, given: Annotated[NewToken, Form()]) -> HTMLResponse:
    """Make a token, and show it this once."""
    made = add_token(ours, caller, given)
    answer = rendered(request, "users/_token.html", made=made)
    answer.headers["Cache-Control"] = "no-store"
    toast(answer, reader_of(request).words("users.token_made", name=made.name), events=("users:changed",))
    return answer


@router.post("/tokens/{token_id}/revoke")
def revoke(ours: Ours, request: Request, caller: Admin, token_id: Id) -> Response:
    """Make a token worthless."""
    return _changed(request, "users.revoked", revoke_token(ours, caller, token_id).name)


def _changed(request: Request, key: str, name: str) -> Response:
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words(key, name=name), events=CHANGED)
    return answer
