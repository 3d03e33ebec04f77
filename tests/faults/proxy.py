"""A TCP fault proxy: loopback ports whose every connection can be cut, silenced, slowed or torn while it runs.

Each process under test gets its own `Port` to each service, so that one of them can be partitioned alone. All ports
share one event loop in a thread; `Port`'s methods may be called from any other thread.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import Any, Self, TypeVar, cast

from tests.server_process import HOST, free_port

T = TypeVar("T")

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: close() sends RST instead of FIN
DRIP_BYTES, DRIP_SECONDS = 16, 0.005


class Mode(StrEnum):
    """What a port does with the bytes of its connections."""

    PASS = "pass"
    REFUSE = "refuse"
    """Nobody listens, and what was connected is reset."""
    HOLD = "hold"
    """A partition: nothing gets through, and what waits follows when it ends, as TCP would send it again."""
    BLACK_HOLE = "black_hole"
    """Bytes vanish. A connection that lost some stays silent for good: half-open, its far end is gone."""
    DELAY = "delay"
    """Every piece arrives `seconds` later."""
    DRIP = "drip"
    """A few bytes at a time."""
    RESET_IN_REPLY = "reset_in_reply"
    """The next reply of each connection is torn by a reset after `reply_bytes`."""
    HALF_CLOSE = "half_close"
    """Instead of its next reply each connection gets the end of the stream; what it sends is taken, and lost."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    mode: Mode = Mode.PASS
    seconds: float = 0.2
    reply_bytes: int = 5


class _End(asyncio.Protocol):
    """One end of a link: the client's or the server's connection."""

    def __init__(self, link: "_Link", is_server: bool) -> None:
        self.link, self.is_server = link, is_server
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.link.connected(self)

    def data_received(self, data: bytes) -> None:
        self.link.received(self, data)

    def eof_received(self) -> bool:
        self.link.ended(self)
        return True  # keep the other direction open

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.ended(self, reset=exc is not None)

    def pause_writing(self) -> None:
        if (other := self.link.other(self).transport) is not None:
            other.pause_reading()

    def resume_writing(self) -> None:
        if (other := self.link.other(self).transport) is not None:
            other.resume_reading()

    def reset(self) -> None:
        if self.transport is None:
            return
        if (raw := self.transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class _Link:
    """One client's connection through a port."""

    def __init__(self, port: "Port") -> None:
        self.port = port
        self.client, self.server = _End(self, False), _End(self, True)
        self.waiting: list[tuple[_End, bytes]] = []  # held back, or sent before the server was connected
        self.is_lost = False
        self.busy_until = 0.0
        self.opening: asyncio.Task[None] | None = None

    def other(self, end: _End) -> _End:
        return self.client if end.is_server else self.server

    def connected(self, end: _End) -> None:
        if end.is_server:
            self.go_on()
        else:
            self.port.links.add(self)
            self.opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, HOST, self.port.target)
        except OSError:
            self.reset()

    def received(self, end: _End, data: bytes) -> None:
        behaviour = self.port.behaviour
        if self.is_lost:
            return
        if behaviour.mode is Mode.BLACK_HOLE:
            self.is_lost = True
            self.server.reset()
        elif behaviour.mode is Mode.HOLD or self.server.transport is None or self.waiting:
            self.waiting.append((end, data))
        elif behaviour.mode is Mode.RESET_IN_REPLY and end.is_server:
            self._write(self.client, data[: behaviour.reply_bytes])
            asyncio.get_running_loop().call_later(0.02, self.reset)
            self.is_lost = True
        elif behaviour.mode is Mode.HALF_CLOSE and end.is_server:
            self.is_lost = True
            if self.client.transport is not None and self.client.transport.can_write_eof():
                self.client.transport.write_eof()
        else:
            self._send(end, data, behaviour)

    def _send(self, end: _End, data: bytes, behaviour: Behaviour) -> None:
        to, loop = self.other(end), asyncio.get_running_loop()
        if behaviour.mode is Mode.DELAY:
            self.busy_until = max(self.busy_until, loop.time() + behaviour.seconds)
            loop.call_at(self.busy_until, self._write, to, data)
        elif behaviour.mode is Mode.DRIP:
            for at in range(0, len(data), DRIP_BYTES):
                self.busy_until = max(self.busy_until, loop.time()) + DRIP_SECONDS
                loop.call_at(self.busy_until, self._write, to, data[at : at + DRIP_BYTES])
        elif self.busy_until > loop.time():  # what was slowed before goes first
            loop.call_at(self.busy_until, self._write, to, data)
        else:
            self._write(to, data)

    def _write(self, to: _End, data: bytes) -> None:
        if to.transport is not None and not to.transport.is_closing():
            to.transport.write(data)

    def go_on(self) -> None:
        """Send what was held back, if it may go now."""
        if self.port.behaviour.mode is Mode.HOLD or self.server.transport is None:
            return
        waiting, self.waiting = self.waiting, []
        for end, data in waiting:
            self.received(end, data)

    def ended(self, end: _End, *, reset: bool = False) -> None:
        """One end closed: so does the other, but for a client whose server is silent for good."""
        if end.is_server and self.is_lost:
            return
        if end.is_server and self.port.behaviour.mode in (Mode.HOLD, Mode.BLACK_HOLE):
            self.is_lost = True  # the news does not arrive either
            return
        if reset:
            self.reset()
            return
        for transport in (self.client.transport, self.server.transport):
            if transport is not None:
                transport.close()
        self.port.links.discard(self)

    def reset(self) -> None:
        self.port.links.discard(self)
        if self.opening is not None:
            self.opening.cancel()
        self.client.reset()
        self.server.reset()


class Port:
    """One listening port before one service."""

    def __init__(self, proxy: "Proxy", target: int) -> None:
        self._proxy = proxy
        self.target = target
        self.number = free_port()
        self.behaviour = Behaviour()
        self.links: set[_Link] = set()
        self._listener: asyncio.Server | None = None

    def set(self, mode: Mode, **details: Any) -> None:
        """Change what happens to every connection, now and until it is set again."""
        self._proxy.do(self._set(Behaviour(mode, **details)))

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._proxy.do(self._cut())

    async def _cut(self) -> None:
        for link in list(self.links):
            link.reset()

    async def _set(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        if behaviour.mode is Mode.REFUSE:
            await self.close()
            return
        if self._listener is None:
            await self.listen()
        for link in list(self.links):
            link.go_on()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Link(self).client, HOST, self.number, backlog=1024, reuse_address=True
        )

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()


class Proxy:
    """The ports and the loop they run on. Use as a context manager."""

    def __init__(self) -> None:
        self._ports: list[Port] = []

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for port in self._ports:
            self.do(port.close())
        self.do(asyncio.sleep(0.05))  # what was aborted is closed in the loop's next round
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def port(self, target: int) -> Port:
        """Open a port before the service that listens on `target`."""
        port = Port(self, target)
        self.do(port.listen())
        self._ports.append(port)
        return port

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
