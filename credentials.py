"""Endpoints' keys as they are stored: encrypted with SECRET_KEY, and bound to the endpoint they were entered for.

    v1.<salt>.<Fernet token of {"name": …, "origin": …, "key": …}>

Who may write `agent_endpoint` could otherwise copy a key to an endpoint of their own, or turn the address of its
endpoint to a server of their own, and read it there. Fernet is AES-128-CBC with HMAC-SHA256; its key is derived by
scrypt from SECRET_KEY and a salt of the credential's own, so a SECRET_KEY may be a passphrase.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import scrypt
from os import urandom
from typing import Final
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from config import Settings

VERSION: Final = "v1"
SALT_BYTES: Final = 16
ENTER_AGAIN: Final = "enter the key again: python -m scripts.endpoints set NAME --key-stdin"
# 16 MiB and some 40 ms for each credential and process; RFC 7914 names these for interactive use.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1


class CredentialError(Exception):
    """A stored key cannot be written or read; the message says why and what to do, and holds nothing secret."""


def encrypt(key: str, *, name: str, base_url: str, settings: Settings) -> str:
    """Write a key for `agent_endpoint.credential`. Raises CredentialError where SECRET_KEY is not set."""
    salt = urlsafe_b64encode(urandom(SALT_BYTES)).decode()
    inside = json.dumps({"name": name, "origin": _origin(base_url), "key": key})
    return _sealed(inside, salt, settings)


def decrypt(stored: str, *, name: str, base_url: str, settings: Settings) -> str:
    """Read a stored key back. Raises CredentialError: the SECRET_KEY is another, or the endpoint is."""
    inside = json.loads(_opened(stored, settings))
    if inside["name"] != name:
        raise CredentialError(f"its key was entered for the endpoint {inside['name']!r}; {ENTER_AGAIN}")
    if inside["origin"] != _origin(base_url):
        raise CredentialError(
            f"its key was entered for {inside['origin']}, and base_url points elsewhere now; {ENTER_AGAIN}"
        )
    return str(inside["key"])


def encrypt_anew(stored: str, settings: Settings) -> str:
    """Write the same key with today's SECRET_KEY and a new salt. Raises CredentialError where it cannot be read."""
    return _sealed(_opened(stored, settings), urlsafe_b64encode(urandom(SALT_BYTES)).decode(), settings)


def is_current(stored: str, settings: Settings) -> bool:
    """True where today's SECRET_KEY reads it; False where only SECRET_KEY_PREVIOUS does, or neither."""
    try:
        _opened(stored, settings, with_previous=False)
    except CredentialError:
        return False
    return True


def _sealed(inside: str, salt: str, settings: Settings) -> str:
    return f"{VERSION}.{salt}.{_ciphers(settings, salt).encrypt(inside.encode()).decode()}"


def _opened(stored: str, settings: Settings, *, with_previous: bool = True) -> str:
    version, _, rest = stored.partition(".")
    salt, _, token = rest.partition(".")
    if version != VERSION or not token:
        raise CredentialError(f"its column `credential` holds no encrypted key; {ENTER_AGAIN}")
    try:
        return _ciphers(settings, salt, with_previous=with_previous).decrypt(token.encode()).decode()
    except (InvalidToken, ValueError) as error:  # ValueError: the salt is damaged, or it is no text
        raise CredentialError(
            "its key cannot be read with this SECRET_KEY (nor SECRET_KEY_PREVIOUS): set the SECRET_KEY that it was "
            f"entered with, or {ENTER_AGAIN}"
        ) from error


def _ciphers(settings: Settings, salt: str, *, with_previous: bool = True) -> MultiFernet:
    current = settings.secret_key.get_secret_value()
    if not current:
        raise CredentialError(
            "SECRET_KEY is not set, and stored keys cannot be read or written without it; set it to a long random "
            "text on every machine, such as the output of: openssl rand -hex 32"
        )
    previous = settings.secret_key_previous.get_secret_value() if with_previous else ""
    return MultiFernet([Fernet(_derived(secret, salt)) for secret in (current, previous) if secret])


@lru_cache(maxsize=1024)
def _derived(secret: str, salt: str) -> bytes:
    found = scrypt(secret.encode(), salt=urlsafe_b64decode(salt), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=32)
    return urlsafe_b64encode(found)


def _origin(url: str) -> str:
    """Scheme, host and port: what a key belongs to."""
    parts = urlsplit(url.strip())
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
