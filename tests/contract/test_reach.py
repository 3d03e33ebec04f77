"""Whether somebody is there is asked within a time in total, and no answer however long is kept."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from core.outcome import AgentError, ErrorKind
from providers.base import Endpoint
from providers.reach import reach

KEPT = 8 * 1024 * 1024  # what the sockets of both sides may hold


@asynccontextmanager
async def served(piece: bytes, pause: float, sent: Callable[[int], None]) -> AsyncIterator[str]:
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                sent(len(piece))
                await asyncio.sleep(pause)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in filter(None, serving):
            task.cancel()
        await asyncio.sleep(0.1)


def test_a_server_that_sends_a_byte_now_and_then_is_left_at_the_deadline() -> None:
    async def ask() -> None:
        async with served(b"H", 0.05, lambda _: None) as url:
            await reach(Endpoint("e", "http_json", url), (), 0.5)

    began = monotonic()
    with pytest.raises(AgentError) as caught:
        asyncio.run(asyncio.wait_for(ask(), 20))

    assert caught.value.kind in (ErrorKind.TIMEOUT, ErrorKind.CONNECT)
    assert monotonic() - began < 10


def test_an_answer_without_end_proves_that_somebody_is_there() -> None:
    sizes: list[int] = []
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"

    async def ask() -> str:
        async with served(head + b"x" * 100_000, 0, sizes.append) as url:
            return await reach(Endpoint("e", "http_json", url), ())

    assert "answers (HTTP 200)" in asyncio.run(asyncio.wait_for(ask(), 20))
    assert sum(sizes) < KEPT
