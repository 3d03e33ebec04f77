"""Passwords as argon2id hashes."""

from functools import cache
from secrets import token_hex
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()  # RFC 9106's second choice: 64 MiB, some 50 ms
_AT_ONCE = BoundedSemaphore(2)  # many logins at a time must not take all the memory


def hash_password(password: str) -> str:
    """Hash a new password."""
    with _AT_ONCE:
        return _HASHER.hash(password)


def is_password(password: str, hashed: str | None) -> bool:
    """Compare a password with a hash; None (nobody has the name) takes as long, and is False."""
    try:
        with _AT_ONCE:
            return _HASHER.verify(hashed or _nobodys(), password) and hashed is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash(token_hex(16))
