"""`/api/v2/users` and `/api/v2/tokens`: who may do what. For admins."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access import Admin, Role
from api.identities import digest_of, new_secret
from api.login import NewPassword
from api.moments import UtcMoment
from api.passwords import hash_password
from api.problems import documented
from api.services import Ours
from store import access, audit
from store.access import Taken
from store.audit import Change
from store.database import AnyRow, autocommit, read_clock, transaction

router = APIRouter(prefix="/api/v2", tags=["access"], responses=documented(401, 403, 422, 503))

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[int, Path(ge=1, lt=2**63)]
AUDITED: Final = ("name", "role", "disabled_at")


class User(BaseModel):
    """A person who may log in."""

    id: int
    name: str
    role: Role
    disabled_at: datetime | None
    last_login_at: datetime | None
    create_time: datetime
    update_time: datetime
    create_by: str | None


class NewUser(BaseModel):
    """A user to be."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    password: NewPassword
    role: Role = Role.VIEWER


class UserChange(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    password: NewPassword | None = None
    disabled: bool | None = None


class Token(BaseModel):
    """A token without itself: only its digest is kept."""

    id: int
    name: str
    role: Role
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    create_time: datetime
    create_by: str | None


class NewToken(BaseModel):
    """A token to be."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Role = Role.VIEWER
    expires_at: Annotated[UtcMoment | None, Field(description="null: never")] = None


class MadeToken(Token):
    """A token that was just made; `token` is shown this once."""

    token: str


class Users(BaseModel):
    """Every user."""

    items: list[User]


class Tokens(BaseModel):
    """Every token, revoked ones too, newest first."""

    items: list[Token]


@router.get("/users")
def list_users(ours: Ours, _: Admin) -> Users:
    """List the users."""
    with autocommit(ours.engine) as connection:
        return Users(items=[_user(row) for row in access.users(connection)])


@router.post("/users", status_code=201, responses=documented(409))
def add_user(ours: Ours, caller: Admin, given: NewUser) -> User:
    """Make a user."""
    hashed = hash_password(given.password.get_secret_value())
    with transaction(ours.engine) as tx:
        try:
            row = access.add_user(
                tx, name=given.name, role=given.role, password_hash=hashed, create_by=caller.name, update_by=caller.name
            )
        except Taken:
            raise HTTPException(409, f"There is a user {given.name!r} already; choose another name.") from None
        audit.record(tx, caller.actor, Change(action="user.create", subject=row.id, after=_told(row)))
    return _user(row)


@router.patch("/users/{user_id}", responses=documented(404, 409))
def change_user(ours: Ours, caller: Admin, user_id: Id, given: UserChange) -> User:
    """Change a user's role or password, or lock him out; his sessions end."""
    if caller.user_id == user_id and (given.disabled or given.role not in (None, Role.ADMIN)):
        raise HTTPException(409, "Nobody locks himself out: let another admin do this.")
    with transaction(ours.engine) as tx:
        before = access.user(tx, user_id, lock=True)
        if before is None:
            raise HTTPException(404, f"No user has the id {user_id}; GET /api/v2/users lists them.")
        values: dict[str, Any] = {"update_by": caller.name}
        if given.role is not None:
            values["role"] = given.role
        if given.password is not None:
            values["password_hash"] = hash_password(given.password.get_secret_value())
        if given.disabled is not None:
            values["disabled_at"] = (before.disabled_at or read_clock(tx)) if given.disabled else None
        row = access.change_user(tx, user_id, **values)
        note = "with a new password" if given.password is not None else None
        change = Change(action="user.update", subject=row.id, before=_told(before), after=_told(row), note=note)
        audit.record(tx, caller.actor, change)
    ours.identities.forget()
    return _user(row)


@router.get("/tokens")
def list_tokens(ours: Ours, _: Admin) -> Tokens:
    """List the tokens of the database; those of API_TOKENS are not in it."""
    with autocommit(ours.engine) as connection:
        return Tokens(items=[Token.model_validate(dict(row._mapping)) for row in access.tokens(connection)])


@router.post("/tokens", status_code=201)
def add_token(ours: Ours, caller: Admin, given: NewToken) -> MadeToken:
    """Make a token. It is shown this once; only its digest is kept."""
    secret = new_secret()
    with transaction(ours.engine) as tx:
        if given.expires_at is not None and given.expires_at <= read_clock(tx):
            raise HTTPException(422, "expires_at has passed; give a time that lies ahead, or null for never.")
        row = access.add_token(
            tx, name=given.name, role=given.role, digest=digest_of(secret.encode()).hex(), expires_at=given.expires_at,
            create_by=caller.name,
        )  # fmt: skip
        after = {"name": row.name, "role": row.role, "expires_at": row.expires_at}
        audit.record(tx, caller.actor, Change(action="token.create", subject=row.id, after=after))
    return MadeToken.model_validate(dict(row._mapping) | {"token": secret})


@router.delete("/tokens/{token_id}", responses=documented(404))
def revoke_token(ours: Ours, caller: Admin, token_id: Id) -> Token:
    """End a token, within two seconds; it stays in the list."""
    with transaction(ours.engine) as tx:
        row = access.revoke_token(tx, token_id)
        if row is None:
            raise HTTPException(404, f"No token has the id {token_id}; GET /api/v2/tokens lists them.")
        after = {"name": row.name, "role": row.role, "revoked_at": row.revoked_at}
        audit.record(tx, caller.actor, Change(action="token.revoke", subject=row.id, after=after))
    ours.identities.forget()
    return Token.model_validate(dict(row._mapping))


def _user(row: AnyRow) -> User:
    return User.model_validate(dict(row._mapping))


def _told(row: AnyRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AUDITED}
