"""Who may ask: tokens from API_TOKENS, and the gate in front of everything that is not public."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from re import fullmatch
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from config import SettingsError

#: What answers without a token; everything else, unknown paths too, asks for one.
PUBLIC: Final = frozenset({"/", "/health/live", "/health/ready", "/metrics"})

HOW_TO: Final = (
    "Send the header `Authorization: Bearer <token>`. A token comes from whoever runs this service: it stands in "
    "API_TOKENS (environment or .env) as token:role, comma-separated, roles viewer, operator, admin; "
    "`make run` keeps its own in data/embedded/api-token."
)


class Role(StrEnum):
    """What a token may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, kept as its digest, and its role."""

    digest: bytes
    role: Role


def digest_of(token: bytes) -> bytes:
    """Make every token equally long, so that a comparison tells nothing, and none stays in memory."""
    return sha256(token).digest()


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
        found[digest] = Grant(digest, Role(role))
    return tuple(found.values())


def role_of(header: str | None, grants: Iterable[Grant]) -> Role | None:
    """Find whose token the Authorization header holds, in the same time whoever's it is."""
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    presented = digest_of(token.strip().encode("latin-1"))
    role = None
    for grant in grants:
        if compare_digest(grant.digest, presented):
            role = grant.role
    return role


class TokenGate:
    """ASGI middleware: a request without a known token goes no further, unless its path is PUBLIC.

    The role stands in `request.state.role` afterwards.
    """

    def __init__(self, app: ASGIApp, grants: tuple[Grant, ...]) -> None:
        self.app = app
        self.grants = grants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let public paths and known tokens through; answer 401 to everything else."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in PUBLIC):
            await self.app(scope, receive, send)
            return
        header = Headers(scope=scope).get("authorization")
        role = role_of(header, self.grants)
        if role is not None:
            scope.setdefault("state", {})["role"] = role
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        challenge = 'Bearer realm="agent-scheduler"' + (', error="invalid_token"' if header else "")
        await problem(401, self._refusal(header), headers={"WWW-Authenticate": challenge})(scope, receive, send)

    def _refusal(self, header: str | None) -> str:
        if not self.grants:
            return f"API_TOKENS is empty, so nobody can ask yet: set it and restart the API. {HOW_TO}"
        return f"{'This token is not known here' if header else 'A token is needed'}. {HOW_TO}"
