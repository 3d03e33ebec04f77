"""Per-row addresses and keys of the old agent rows: never copied, but named, so that an operator can enter them."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import quote, urlsplit

from core.legacy.rows import Problem

_MAX_NAME: Final = 48  # agent_endpoint.name and .credential_env hold 64, the variable's prefix included
_FIELD: Final = "task_extra_config.agent_url"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row to enter in `agent_endpoint`, and the variable that is to hold its key."""

    name: str
    base_url: str
    is_entered: bool = False
    """It stands in `agent_endpoint` already."""

    @property
    def credential_env(self) -> str:
        """The environment variable the workers read the key from."""
        return f"AGENT_KEY_{re.sub('[^A-Z0-9]', '_', self.name.upper())}"

    @property
    def sql(self) -> str:
        """The statement that enters it."""
        values = ", ".join(f"'{value}'" for value in (self.name, "agent_platform", self.base_url, self.credential_env))
        return f"INSERT INTO agent_endpoint (name, provider, base_url, credential_env) VALUES ({values});"  # noqa: S608 - shown, never run


class EndpointNames:
    """Gives every pair of address and key one name, in the order of the rows; keys are kept as digests only.

    `entered` are the endpoints there are, by name with their base_url: one of another address keeps its name.
    """

    def __init__(self, entered: Mapping[str, str]) -> None:
        self._entered = entered
        self._named: dict[tuple[str, bytes], Endpoint] = {}

    def endpoint_for(self, agent_url: Any, agent_key: Any) -> Endpoint:
        """Name the endpoint of a row. Raises Problem for an address that is none."""
        base_url, host = _base(agent_url)
        identity = (base_url, hashlib.sha256(str(agent_key).encode()).digest())
        if identity not in self._named:
            name = next(name for name in _names(host) if self._is_free(name, base_url))
            self._named[identity] = Endpoint(name, base_url, name in self._entered)
        return self._named[identity]

    def _is_free(self, name: str, base_url: str) -> bool:
        given = any(endpoint.name == name for endpoint in self._named.values())
        return not given and self._entered.get(name, base_url) == base_url


def _names(host: str) -> Iterator[str]:
    plain = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:_MAX_NAME]
    yield plain
    for number in count(2):
        yield f"{plain}-{number}"


def _base(agent_url: Any) -> tuple[str, str]:
    """Read an address without what may be secret in it: no user, password, query or fragment."""
    try:
        parts = urlsplit(str(agent_url).strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
        raise Problem(_FIELD, "is no http:// or https:// address", "correct it in the old row")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    path = quote(parts.path.rstrip("/"), safe="/%:@-._~")
    return f"{parts.scheme}://{place}{path}/api", place
