"""Queries on users, tokens and sessions. No secret is stored: passwords come as argon2id hashes, tokens as SHA-256."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from models import ApiSession, ApiToken, ApiUser
from store.database import AnyRow, is_duplicate, read_clock, utc_now

USERS: Table = ApiUser.__table__  # type: ignore[assignment]
TOKENS: Table = ApiToken.__table__  # type: ignore[assignment]
SESSIONS: Table = ApiSession.__table__  # type: ignore[assignment]
U, K, S = USERS.c, TOKENS.c, SESSIONS.c

USE_NOTED: Final = timedelta(minutes=1)  # how far behind last_used_at may be: a write for each request is too dear
SHOWN_USER = (U.id, U.name, U.role, U.disabled_at, U.last_login_at, U.create_time, U.update_time, U.create_by)
SHOWN_TOKEN = (K.id, K.name, K.role, K.expires_at, K.revoked_at, K.last_used_at, K.create_time, K.create_by)


class Taken(Exception):
    """Another user has the name."""


# -- tokens ------------------------------------------------------------------------------------------


def token_by_digest(connection: Connection, digest: str) -> AnyRow | None:
    """Find a token that is good now, and note that it was used. Index uq_api_token_digest."""
    row = connection.execute(
        select(K.id, K.name, K.role, K.last_used_at, utc_now().label("now")).where(
            K.digest == digest, K.revoked_at.is_(None), or_(K.expires_at.is_(None), K.expires_at > utc_now())
        )
    ).one_or_none()
    if row is not None and (row.last_used_at is None or row.last_used_at < row.now - USE_NOTED):
        connection.execute(update(TOKENS).where(K.id == row.id).values(last_used_at=utc_now()))
    return row


def add_token(tx: Connection, **values: Any) -> AnyRow:
    """Enter a token and return its row."""
    key = tx.execute(insert(TOKENS).values(values)).inserted_primary_key
    return tx.execute(select(*SHOWN_TOKEN).where(K.id == key[0])).one()  # type: ignore[index]


def tokens(connection: Connection) -> Sequence[AnyRow]:
    """Name every token, newest first, revoked ones too. Some hundred rows."""
    return connection.execute(select(*SHOWN_TOKEN).order_by(K.id.desc()).limit(1000)).all()


def revoke_token(tx: Connection, token_id: int) -> AnyRow | None:
    """End a token; its row stays. None: there is no such token. Primary key."""
    tx.execute(update(TOKENS).where(K.id == token_id, K.revoked_at.is_(None)).values(revoked_at=utc_now()))
    return tx.execute(select(*SHOWN_TOKEN).where(K.id == token_id)).one_or_none()


# -- users -------------------------------------------------------------------------------------------


def user_by_name(connection: Connection, name: str) -> AnyRow | None:
    """Read a user with the hash of his password. Index uq_api_user_name."""
    return connection.execute(select(*SHOWN_USER, U.password_hash).where(U.name == name)).one_or_none()


def user(connection: Connection, user_id: int, *, lock: bool = False) -> AnyRow | None:
    """Read a user with the hash of his password. Primary key."""
    query = select(*SHOWN_USER, U.password_hash).where(U.id == user_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def users(connection: Connection) -> Sequence[AnyRow]:
    """Name every user. Some hundred rows."""
    return connection.execute(select(*SHOWN_USER).order_by(U.name).limit(1000)).all()


def add_user(tx: Connection, **values: Any) -> AnyRow:
    """Enter a user and return its row. Raises Taken."""
    try:
        with tx.begin_nested():
            key = tx.execute(insert(USERS).values(values)).inserted_primary_key
    except IntegrityError as error:
        if is_duplicate(error):
            raise Taken from error
        raise
    return tx.execute(select(*SHOWN_USER).where(U.id == key[0])).one()  # type: ignore[index]


def change_user(tx: Connection, user_id: int, **values: Any) -> AnyRow:
    """Write columns of a user and end his sessions: what he may do has changed. Primary key."""
    tx.execute(update(USERS).where(U.id == user_id).values(**values, update_time=utc_now()))
    tx.execute(delete(SESSIONS).where(S.user_id == user_id))
    return tx.execute(select(*SHOWN_USER).where(U.id == user_id)).one()


# -- sessions ----------------------------------------------------------------------------------------


def open_session(tx: Connection, digest: str, known: AnyRow, lasts: timedelta) -> datetime | None:
    """Enter a session, note the login, drop what has expired; return when it ends. Index ix_api_session_expires.

    None: the user whose password was compared has got another one since, or was locked out.
    """
    user_id = known.id
    now = user(tx, user_id, lock=True)
    if now is None or (now.password_hash, now.disabled_at) != (known.password_hash, known.disabled_at):
        return None
    ends = read_clock(tx) + lasts
    tx.execute(delete(SESSIONS).where(S.expires_at < utc_now()))
    tx.execute(insert(SESSIONS).values(digest=digest, user_id=user_id, expires_at=ends))
    tx.execute(update(USERS).where(U.id == user_id).values(last_login_at=utc_now()))
    return ends


def user_by_session(connection: Connection, digest: str) -> AnyRow | None:
    """Find who has logged in with a session that still lasts. Primary keys."""
    joined = SESSIONS.join(USERS, and_(U.id == S.user_id, U.disabled_at.is_(None)))
    query = select(U.id, U.name, U.role).select_from(joined)
    return connection.execute(query.where(S.digest == digest, S.expires_at > utc_now())).one_or_none()


def close_session(connection: Connection, digest: str) -> None:
    """End a session. Primary key."""
    connection.execute(delete(SESSIONS).where(S.digest == digest))
