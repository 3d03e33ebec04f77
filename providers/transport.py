"""httpx's transport over aiohttp: a connection of its own for each exchange, to an address that was judged.

aiohttp because a call takes half the processor time that it takes with httpx's own (docs/adr/0030). Its errors become
httpx's by what they say of the request: only what happened before a connection stood is a `ConnectError` or a
`ConnectTimeout`, since a call that may have begun is not repeated.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError

from providers.addresses import judged

CONNECT_TRIES: Final = 2  # nothing was sent: a connection that could not be made is tried once more
HEADER_BYTES: Final = 64 * 1024  # of one header line; aiohttp's own 8 KiB is less than some gateways' cookies
PIECE_BYTES: Final = 64 * 1024  # what a socket takes at once: a longer body is watched while it is sent

# A silent agent may be thinking for minutes, a dead host must not hold a slot that long: the kernel tells them apart.
_KEEPALIVE: Final = [
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
]
_NOT_OURS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # aiohttp would add them
_BROKEN: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)


class GuardedTransport(httpx.AsyncBaseTransport):
    """One for each call. `allowed`: networks that may be called though `providers.addresses` refuses them."""

    def __init__(self, ssl_context: ssl.SSLContext, allowed: Sequence[str] = ()) -> None:
        self._ssl_context, self._allowed = ssl_context, allowed

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and give the answer's head. Raises httpx.TransportError, AgentError for a refused address."""
        timeout = request.extensions.get("timeout", {})
        url = request.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise httpx.UnsupportedProtocol("")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await judged(url.raw_host.decode("ascii"), port, timeout.get("connect"), self._allowed)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Known(addresses),
                use_dns_cache=False,
                ssl=self._ssl_context,
                force_close=True,  # a connection used again may be closed by then: nobody could tell what has run
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_OURS,
            middlewares=(_never_again,),
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            # `connect` for all addresses together: aiohttp gives each of them `sock_connect`, one after the other
            timeout=aiohttp.ClientTimeout(total=None, connect=timeout.get("connect"), sock_read=timeout.get("read")),
        )
        try:
            answer = await _sent(session, request, timeout.get("write"))
        except BaseException:
            await session.close()
            raise
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer, session))


async def _sent(
    session: aiohttp.ClientSession, request: httpx.Request, patience: float | None
) -> aiohttp.ClientResponse:
    for remaining in reversed(range(CONNECT_TRIES)):
        try:
            async with asyncio.timeout(None) as deadline:
                return await session.request(
                    request.method,
                    _address(request.url),
                    data=_content(request.content, deadline, patience),
                    headers=list(request.headers.multi_items()),
                    allow_redirects=False,
                )
        except aiohttp.ClientConnectorCertificateError as error:
            raise httpx.ConnectError(str(error.certificate_error)) from error.certificate_error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if not remaining:
                raise _translated(error) from error
        except _BROKEN as error:
            if deadline.expired():
                raise httpx.WriteTimeout("the server takes nothing any more") from error
            raise _translated(error) from error
    raise AssertionError("unreachable")


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET, PUT or DELETE again when its connection breaks: it may have run."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _translated(error) from error


def _address(url: httpx.URL) -> yarl.URL:
    """The same address byte for byte; without a user's name, which aiohttp would send on."""
    address = yarl.URL(str(url), encoded=True)
    return address.with_user(None) if address.raw_user is not None else address


def _content(content: bytes, deadline: asyncio.Timeout, patience: float | None) -> Any:
    if len(content) <= PIECE_BYTES:
        return content or None
    return _pieces(content, deadline, patience)


async def _pieces(content: bytes, deadline: asyncio.Timeout, patience: float | None) -> AsyncIterator[bytes]:
    """A long body, piece by piece; the deadline is put off as long as somebody takes them."""
    loop = asyncio.get_running_loop()
    with suppress(RuntimeError):  # the answer has come before all was sent, and the deadline is over
        for start in range(0, len(content), PIECE_BYTES):
            deadline.reschedule(None if patience is None else loop.time() + patience)
            yield content[start : start + PIECE_BYTES]
        deadline.reschedule(None)


class _Known(AbstractResolver):
    """Names the addresses that were judged, and asks nobody."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give them to aiohttp, which connects to them in turn."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Hold nothing."""


def _socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(address[0], address[1], address[2])
    for option in _KEEPALIVE:
        made.setsockopt(*option)
    return made


class _Body(httpx.AsyncByteStream):
    """An answer's body as it comes from the wire. No generator: one that is left early costs a task to end it."""

    def __init__(self, answer: aiohttp.ClientResponse, session: aiohttp.ClientSession) -> None:
        self._answer, self._session = answer, session

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._answer.content.readany()
        except _BROKEN as error:
            raise _translated(error) from error
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._answer.close()
        await self._session.close()


def _translated(error: Exception) -> httpx.TransportError | httpx.InvalidURL:
    """Make httpx's error of aiohttp's; in its own words, since some of aiohttp's quote the whole address."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(error.os_error))
        case aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol("")
        case aiohttp.InvalidURL():
            return httpx.InvalidURL("")
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return httpx.ReadTimeout("")
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError("it closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError("it closed the connection before the whole answer")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return httpx.RemoteProtocolError(error.message.partition(":")[0])  # then it quotes what was read
        case OSError():
            return httpx.ReadError(error.strerror or "")
        case _:
            return httpx.TransportError(type(error).__name__)
