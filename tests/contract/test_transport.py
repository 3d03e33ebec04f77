"""What went wrong below HTTP, told by whether the request may have run: real sockets, real faults."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from core.outcome import AgentError, AgentRequest, ErrorKind
from providers import http
from providers.base import CallContext, Endpoint
from providers.http import base_of, client_for, events, exchange, read
from providers.transport import CONNECT_TRIES
from tests.server_process import HOST, free_port

SECRET = "tok-in-the-address"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """Serve one connection; give the server as `host:port`."""
    ended = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:  # the client has gone
            pass
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(once, HOST, 0)
    yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    await asyncio.wait_for(ended.wait(), 10)
    server.close()


async def said(serve: Serve, content: bytes = b"", *, timeout: float = 5, idle: float | None = None) -> str:
    """Ask a server that behaves like `serve`; give its answer."""
    async with serving(serve) as place:
        try:
            return await ask(f"http://{place}/agent?t={SECRET}", content, timeout=timeout, idle=idle)
        except AgentError as error:
            told = error
    raise told


async def ask(url: str, content: bytes = b"", *, timeout: float = 5, idle: float | None = None) -> str:
    endpoint = Endpoint("e", "http_json", url)
    request = AgentRequest(kind="agent", target="a", run_id="r", timeout=timeout)
    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, 1_000_000)
        async with exchange(context, request, "POST", base_of(endpoint), content=content, idle=idle) as response:
            return await read(response, 1_000_000)


def fault(work: Awaitable[str]) -> AgentError:
    async def scene() -> str:
        return await work

    with pytest.raises(AgentError) as raised:
        asyncio.run(scene())
    assert SECRET not in raised.value.message
    assert "None" not in raised.value.message
    return raised.value


def answering(answer: bytes, *, abruptly: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if abruptly:
            await asyncio.sleep(0.05)
            linger = writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()

    return serve


@pytest.mark.parametrize(
    ("answer", "abruptly"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Ty", False),
        (HEAD + b"Content-Length: 10\r\n\r\nhalf", False),
        (HEAD + b"Content-Length: 10\r\n\r\nhalf", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n", False),
        (HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nhalf", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", False),
        (b"\x15\x03\x03\x00\x02\x02\x46", False),
    ],
    ids=[
        "closed", "reset", "half a head", "half a body", "half a body, reset", "half of its chunks", "no chunk",
        "two lengths", "another protocol", "TLS",
    ],
)  # fmt: skip
def test_what_breaks_after_the_request_was_sent_may_have_run(answer: bytes, abruptly: bool) -> None:
    assert fault(said(answering(answer, abruptly=abruptly))).kind is ErrorKind.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (HEAD + b"Content-Length: 4\r\n\r\ntext\r\n", "text"),
        (HEAD + b"\r\nuntil it closes", "until it closes"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", "old"),
        (HEAD + b"X-Long: " + b"x" * 30_000 + b"\r\nContent-Length: 4\r\n\r\ntext", "text"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD + b"Content-Length: 4\r\n\r\ntext", "text"),
        (HEAD + b"X-Name: caf\xe9\r\nContent-Length: 4\r\n\r\ntext", "text"),
        (HEAD.replace(b" OK", b"") + b"Content-Length: 4\r\n\r\ntext", "text"),
    ],
    ids=["a stray line break", "no length", "HTTP/1.0", "a long header", "early hints", "latin-1", "no reason"],
)
def test_what_servers_really_send_is_read(answer: bytes, text: str) -> None:
    assert asyncio.run(said(answering(answer))) == text


def test_where_nobody_listens_nothing_was_sent() -> None:
    assert fault(ask(f"http://{HOST}:{free_port()}/?t={SECRET}")).kind is ErrorKind.CONNECT


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 \r\n\r\n", b""], ids=["no TLS", "no handshake"])
def test_without_a_handshake_nothing_was_sent(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()

    async def scene() -> None:
        async with serving(serve) as place:
            with pytest.raises(AgentError) as raised:
                await ask(f"https://{place}/?t={SECRET}")
        assert raised.value.kind is ErrorKind.CONNECT
        assert SECRET not in raised.value.message

    asyncio.run(scene())


def test_silence_after_the_request_may_mean_that_it_runs() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert fault(said(silent, idle=0.3)).kind is ErrorKind.OUTCOME_UNKNOWN


def test_a_server_that_takes_no_more_of_a_long_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WRITE_SECONDS", 0.3)

    async def takes_a_little(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2)  # and reads no more: the sockets of both sides fill up

    error = fault(said(takes_a_little, b"x" * 20_000_000, timeout=20))
    assert error.kind is ErrorKind.OUTCOME_UNKNOWN
    assert "stuck on its way" in error.message


def test_a_long_body_arrives_whole_with_its_length() -> None:
    content, arrived = bytes(range(256)) * 4000, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert f"content-length: {len(content)}" in head
        assert "transfer-encoding" not in head
        arrived.append(await reader.readexactly(len(content)))
        writer.write(HEAD + b"Content-Length: 2\r\n\r\nok")

    assert asyncio.run(said(serve, content)) == "ok"
    assert arrived == [content]


def test_a_refusal_that_comes_while_the_body_is_sent_is_told() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big")
        await writer.drain()
        await reader.read()

    error = fault(said(refuses, b"x" * 3_000_000))
    assert (error.http_status, error.kind) == (413, ErrorKind.INVALID)


def test_every_exchange_has_a_connection_of_its_own_and_says_so() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(HEAD + b"Content-Length: 2\r\n\r\nok")

    asyncio.run(said(serve))

    (head,) = heads
    assert head.startswith(f"POST /agent?t={SECRET} HTTP/1.1\r\n")
    names = [line.partition(":")[0].lower() for line in head.splitlines()[1:] if line]
    assert len(names) == len(set(names))
    assert "connection: close" in head.lower()
    assert "accept-encoding: identity" in head.lower()
    assert {"cookie", "authorization", "referer"}.isdisjoint(names)


@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "POST"])
def test_what_may_have_run_is_not_sent_again_whatever_its_method(method: str, abruptly: bool) -> None:
    """HTTP calls some methods idempotent, and aiohttp repeats those; a workflow started by GET would run twice."""
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if abruptly:
            linger = writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort() if abruptly else writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(serve, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        async with server, client_for(Endpoint("e", "http_json", "")) as client:
            timeout = httpx.Timeout(5)
            with pytest.raises(httpx.TransportError) as raised:
                async with client.stream(method, httpx.URL(f"http://{HOST}:{port}/run"), timeout=timeout):
                    pass
        assert not isinstance(raised.value, httpx.ConnectError)

    asyncio.run(scene())

    assert len(heads) == 1


@pytest.mark.parametrize(
    "head",
    [b"Set-Cookie: session=" + SECRET.encode() + b"x" * 70_000, b"Set-C\xc3\xa9: session=" + SECRET.encode()],
    ids=["too long", "no name of a header"],
)
def test_a_header_that_cannot_be_read_is_not_quoted(head: bytes) -> None:
    told = fault(said(answering(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")))

    assert told.kind is ErrorKind.OUTCOME_UNKNOWN
    assert "session" not in told.message


def test_a_name_with_many_addresses_is_given_no_more_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """All take the connection and none answers the handshake: a dead balancer."""
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.25)
    addresses = [f"127.0.0.{number}" for number in range(1, 5)]

    async def scene() -> str:
        listening = [socket.create_server((address, port), backlog=20) for address in addresses]
        try:
            return await ask(f"https://many.example:{port}/", timeout=20)
        finally:
            for each in listening:
                each.close()

    port = free_port()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    start = time.monotonic()

    assert fault(scene()).kind is ErrorKind.CONNECT
    assert time.monotonic() - start < 0.25 * (len(addresses) * CONNECT_TRIES - 1)


def test_a_stream_that_is_left_in_the_middle_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No generator is dropped half read: asyncio would make a task to end each of them."""
    frames = b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
    head = HEAD.replace(b"plain", b"event-stream") + b"Content-Length: 1000\r\n\r\n"
    ended: list[Any] = []

    async def scene() -> str:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "_asyncgen_finalizer_hook", ended.append)
        async with serving(answering(head + frames)) as place:
            endpoint = Endpoint("e", "http_json", f"http://{place}/")
            request = AgentRequest(kind="agent", target="a", run_id="r", timeout=5)
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, 1_000_000)
                async with exchange(context, request, "GET", base_of(endpoint)) as response:
                    stream = events(response, 1_000_000)
                    first = (await anext(stream)).data
                    await stream.aclose()
        return first

    assert asyncio.run(scene()) == "1"
    assert ended == []


def test_the_name_in_an_address_is_sent_to_nobody() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(HEAD + b"Content-Length: 2\r\n\r\nok")

    async def scene() -> None:
        async with serving(serve) as place, client_for(Endpoint("e", "http_json", "")) as client:
            url = httpx.URL(f"http://user:{SECRET}@{place}/")
            async with client.stream("GET", url, timeout=httpx.Timeout(5)) as answer:
                await answer.aread()

    asyncio.run(scene())
    assert "authorization" not in heads[0]


def test_a_scheme_that_is_no_http_is_refused_before_anything_is_resolved() -> None:
    async def scene() -> None:
        async with client_for(Endpoint("e", "http_json", "")) as client:
            for url in ("ftp://nothing.invalid/", "http:///no-host"):
                with pytest.raises(httpx.UnsupportedProtocol):
                    async with client.stream("GET", httpx.URL(url), timeout=httpx.Timeout(5)):
                        pass

    asyncio.run(scene())
