"""Which addresses a call may go to. Judged on the address that is connected to, after its name was resolved.

A check of the name alone is none: what it resolves to may change between the check and the call (DNS rebinding).
Loopback and private networks are open, since agents live there; see docs/adr/0017.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

import httpx

from core.outcome import AgentError, ErrorKind

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

MAX_ADDRESSES: Final = 4  # of a name that are tried

_METADATA: Final = "a metadata service, which hands out the machine's own credentials"
_REFUSED: Final[Sequence[tuple[Network, str]]] = [
    (ip_network(network), what)
    for network, what in (
        ("169.254.0.0/16", "link-local, where clouds keep their metadata services"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::/32", _METADATA),  # AWS, EKS Pod Identity too
        ("fd00:42::42/128", _METADATA),  # Scaleway
        ("fd20:ce::254/128", _METADATA),  # Google
        ("100.100.100.200/32", _METADATA),  # Alibaba
        ("192.0.0.192/32", _METADATA),  # Oracle
        ("168.63.129.16/32", _METADATA),  # Azure's host agent
        ("0.0.0.0/8", "no address of a server"),
        ("::/128", "no address of a server"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]
_NAT64: Final = ip_network("64:ff9b::/96")


def why_refused(address: str, allowed: Iterable[str] = ()) -> str | None:
    """Say why no call may go to an address; None where it may. `allowed` are networks that are open all the same."""
    known = [ip_address(address), *_hidden_in(ip_address(address))]
    if any(one in network for network in _networks(tuple(allowed)) for one in known):
        return None
    return next((what for one in known for network, what in _REFUSED if one in network), None)


@lru_cache(maxsize=16)
def _networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names)


def _hidden_in(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 one stands for: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address.teredo is not None:
        found.append(address.teredo[1])
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def check_literal(url: httpx.URL, allowed: Iterable[str] = ()) -> None:
    """Raise AgentError CONFIG for an URL whose host is a refused address itself. Resolves and sends nothing."""
    try:
        ip_address(url.host)
    except ValueError:
        return
    _check(url.host, url.host, allowed)


def _check(host: str, address: str, allowed: Iterable[str]) -> None:
    why = why_refused(address, allowed)
    if why is not None:
        where = host if host == address else f"{host} ({address})"
        raise AgentError(
            ErrorKind.CONFIG,
            f"calls to {where} are refused: it is {why}; where that is meant, add it to ENDPOINT_ALLOWED_NETWORKS",
        )


async def judged(host: str, port: int, timeout: float | None, allowed: Iterable[str] = ()) -> list[str]:
    """Resolve a host once and give its addresses, for a connection that goes to these very ones.

    Raises AgentError CONFIG if one of them is refused, httpx.ConnectError or ConnectTimeout if there is none.
    """
    addresses = await _resolved(host, port, timeout)
    for address in addresses:
        _check(host, address, allowed)
    return addresses


async def _resolved(host: str, port: int, timeout: float | None) -> list[str]:
    with suppress(ValueError):
        return [str(ip_address(host))]  # asyncio would take a thread for it
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpx.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError, MemoryError, RuntimeError) as error:  # the last: no thread can be started
        raise httpx.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]
