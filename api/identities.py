"""Whom a token or a session stands for: API_TOKENS, and what the database knows, remembered for two seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from re import fullmatch
from secrets import token_urlsafe
from time import monotonic
from typing import Final

from sqlalchemy import Engine

from api.access import Caller, Role
from config import SettingsError
from store import access
from store.database import autocommit

REMEMBERED: Final = 2.0  # seconds until the end of a token or a session is noticed
MOST_REMEMBERED: Final = 10_000
TRUSTED_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A token of API_TOKENS, kept as its digest, and whom it stands for."""

    digest: bytes
    caller: Caller


def digest_of(token: bytes) -> bytes:
    """Make every token equally long, so that a comparison tells nothing, and none stays in memory."""
    return sha256(token).digest()


def new_secret() -> str:
    """Make a token or a session's cookie: 256 random bits."""
    return token_urlsafe(32)


def csrf_token_of(session: str) -> str:
    """Derive what a page must send beside its cookie. Another site can make a browser send the cookie, not read it."""
    return sha256(b"csrf:" + session.encode()).hexdigest()


def parse_tokens(text: str) -> tuple[Grant, ...]:
    """Read API_TOKENS. Raises SettingsError, which names the entry by its position and shows nothing of it."""
    found: dict[bytes, Grant] = {}
    roles = ", ".join(Role)
    for position, entry in enumerate(text.split(","), start=1):
        if not entry.strip():
            continue
        token, separator, role = (part.strip() for part in entry.rpartition(":"))
        wrong = f"API_TOKENS: entry {position}"
        if not separator:
            raise SettingsError(f"{wrong} has no role; write token:role, where the role is one of {roles}")
        if not fullmatch(r"[!-~]+", token):
            raise SettingsError(f"{wrong} needs a token of ASCII letters, digits and signs, without spaces")
        if role not in set(Role):
            raise SettingsError(f"{wrong} has an unknown role after its last colon; use one of {roles}")
        digest = digest_of(token.encode())
        if digest in found:
            raise SettingsError(f"{wrong} repeats the token of an earlier entry; give each role a token of its own")
        found[digest] = Grant(digest, Caller(f"API_TOKENS entry {position}", Role(role), "token"))
    return tuple(found.values())


def granted(digest: bytes, grants: Iterable[Grant]) -> Caller | None:
    """Find whose token has the digest, in the same time whoever's it is."""
    caller = None
    for grant in grants:
        if compare_digest(grant.digest, digest):
            caller = grant.caller
    return caller


class Identities:
    """Looks callers up: first among the known, then in the database, whose errors go to whoever asks."""

    def __init__(self, grants: tuple[Grant, ...], engine: Engine) -> None:
        self.grants = grants
        self._engine = engine
        self._remembered: dict[tuple[str, bytes], tuple[float, Caller]] = {}
        self._trusted: dict[bytes, float] = {}

    def known_token(self, token: str) -> Caller | None:
        """Name whose token it is where no database need be asked. Never blocks."""
        digest = digest_of(_bytes(token))
        caller = self._remembered_as("token", digest) or granted(digest, self.grants)
        if caller is not None:
            self._trust(digest)
        return caller

    def known_session(self, cookie: str) -> Caller | None:
        """Name whose cookie it is where the database was asked just now. Never blocks."""
        return self._remembered_as("session", digest_of(_bytes(cookie)))

    def _remembered_as(self, via: str, digest: bytes) -> Caller | None:
        until, caller = self._remembered.get((via, digest), (0.0, None))
        return caller if monotonic() < until else None

    def was_good(self, token: str) -> bool:
        """True for a token that was good within the last hour."""
        return self._trusted.get(digest_of(_bytes(token)), 0.0) > monotonic() - TRUSTED_SECONDS

    def by_token(self, token: str) -> Caller | None:
        """Ask the database whose token it is, by its digest, which nobody can steer."""
        digest = digest_of(_bytes(token))
        with autocommit(self._engine) as connection:
            row = access.token_by_digest(connection, digest.hex())
        if row is None:
            return None
        caller = Caller(row.name, Role(row.role), "token")
        self._remember(digest, caller)
        self._trust(digest)
        return caller

    def by_session(self, cookie: str) -> Caller | None:
        """Ask the database who has logged in."""
        digest = digest_of(_bytes(cookie))
        with autocommit(self._engine) as connection:
            row = access.user_by_session(connection, digest.hex())
        if row is None:
            return None
        caller = Caller(row.name, Role(row.role), "session", row.id)
        self._remember(digest, caller)
        return caller

    def forget(self) -> None:
        """Ask the database again for everybody: somebody's rights have changed."""
        self._remembered.clear()

    def _remember(self, digest: bytes, caller: Caller) -> None:
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[caller.via, digest] = (monotonic() + REMEMBERED, caller)

    def _trust(self, digest: bytes) -> None:
        if len(self._trusted) >= MOST_REMEMBERED:
            self._trusted.clear()
        self._trusted[digest] = monotonic()


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")
