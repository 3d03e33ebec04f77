"""A server that speaks the adapters' dialects over a real socket and misbehaves on demand, one fault a server.

What a platform would answer comes from `fake_dialects`; how the bytes reach the caller is decided here, so that
every dialect meets every fault.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NoReturn, Self

from tests.contract.fake_dialects import Answer, answers, refusal

REQUEST_ID = "req-7f3a"
HEARTBEAT_SECONDS = 0.02

HTTP_STATUS_FAULTS = (400, 401, 402, 403, 404, 409, 422, 500, 503, 529)
CONTENT_FAULTS = ("list", "empty", "error_in_200", "requires_action", "no_json", "wrong_shape")
WIRE_FAULTS = ("cut", "clean_cut", "drip", "stall", "silent", "heartbeats", "huge", "split", "reset")
THROTTLES = {
    "throttled_int": {"Retry-After": "17"},
    "throttled_float": {"Retry-After": "2.5"},
    "throttled_ms": {"retry-after-ms": "1500", "Retry-After": "99"},
    "throttled_absurd": {"Retry-After": "315360000"},
    "throttled_negative": {"Retry-After": "-5"},
    "throttled_nan": {"Retry-After": "nan"},
    "throttled_bare": {},
}


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object it carries; empty where it carries none, or a form."""
        found = self.json if self.body.startswith(b"{") else None
        return found if isinstance(found, dict) else {}


@dataclass
class FakeAgent:
    fault: str = "ok"
    scripted: Answer | None = None
    """Answer this, whatever is asked."""
    script: Callable[[Received], Answer | None] | None = None
    """Answer so; where it says None, as the dialect would."""
    requests: list[Received] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a run is asked for, after what only prepares it."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller closes its connection before the answer is complete."""
    url: str = ""
    _server: asyncio.Server | None = None
    _writers: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers.values():
            writer.transport.abort()
        if self._writers:
            await asyncio.wait(list(self._writers))
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        try:
            while (received := await _read_request(reader)) is not None:
                self.requests.append(received)
                await self._reply(received, reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            del self._writers[task]
            writer.close()

    async def _reply(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scripted = self.scripted or (self.script and self.script(received))
        answer = scripted or answers(received.path, received.fields, self.fault)
        if answer is not None and answer.role != "answer":
            if answer.role == "cancel":
                self.cancelled.append(received.path)
            head = {"Content-Type": answer.content_type, **answer.headers}
            return _whole(writer, answer.status, b"".join(answer.frames), head)
        self.asked.set()
        if self.fault == "slow_refusal":
            _head(writer, 401, {"Content-Type": "text/plain", "Transfer-Encoding": "chunked"})
            await _endlessly(reader, writer, b"no ")
        if self._refused(received, writer):
            return None
        if answer is None:
            return _whole(writer, 404, b'{"detail": "Not Found"}')
        return await self._transmit(answer, reader, writer)

    def _refused(self, received: Received, writer: asyncio.StreamWriter) -> bool:
        """Answer with a status that is no success, in the words of the dialect."""
        match self.fault.split(":"):
            case ["status", code]:
                _whole(writer, int(code), refusal(received.path, int(code), "as_asked"))
            case ["quota"]:
                _whole(writer, 429, refusal(received.path, 429, "insufficient_quota"), {"Retry-After": "5"})
            case ["throttled_date"]:
                moment = datetime.now(UTC)
                wait = {
                    "Date": format_datetime(moment, True),
                    "Retry-After": format_datetime(moment + timedelta(minutes=2), True),
                }
                _whole(writer, 429, refusal(received.path, 429, "rate_limit_exceeded"), wait)
            case [throttled] if throttled in THROTTLES:
                _whole(writer, 429, refusal(received.path, 429, "rate_limit_exceeded"), THROTTLES[throttled])
            case ["html_502"]:
                page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
                _whole(writer, 502, page, {"Content-Type": "text/html"})
            case ["redirect"]:
                _whole(writer, 302, b"", {"Location": "http://127.0.0.1:9/elsewhere?token=tok-in-url"})
            case ["echo_key"]:
                credential = next((value for value in received.headers.values() if "sk-live-" in value), "")
                bare = credential.removeprefix("Bearer ")
                said = f"bad credential {credential} (that is {bare}, {bare[:20]}…)"
                _whole(writer, 401, json.dumps({"detail": said}).encode(), {"X-Echo": credential})
            case _:
                return False
        return True

    async def _transmit(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "silent":
            await _until_gone(reader)
        if self.fault == "reset":
            return writer.transport.abort()
        head = {"Content-Type": answer.content_type, "Transfer-Encoding": "chunked", "X-Request-Id": REQUEST_ID}
        if answer.status == 204:  # has no body, and no word of one (RFC 9112, section 6.1)
            return _head(writer, 204, {"X-Request-Id": REQUEST_ID, **answer.headers})
        _head(writer, answer.status, {**head, "Content-Encoding": answer.content_encoding, **answer.headers})
        for frame in await self._spoiled(answer, reader, writer):
            if frame:  # an empty chunk is the end
                _chunk(writer, frame)
        if self.fault == "hang_after":
            await _until_gone(reader)
        if self.fault == "cut":
            await writer.drain()
            return writer.close()
        return _chunk(writer, b"")

    async def _spoiled(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[bytes]:
        """The frames as this fault lets them through; some faults never come to an end."""
        frames = answer.frames
        whole = b"".join(frames)
        beat = b": heartbeat\r\n\r\n" if "event-stream" in answer.content_type else b"\n"
        match self.fault:
            case "cut":
                return [whole[: len(whole) // 2]]
            case "clean_cut":
                return frames[: -answer.closing]
            case "huge":
                return [b"data: " + b"x" * 65536] * 64
            case "split":
                return [bytes([byte]) for byte in whole]
            case "stall":
                _chunk(writer, whole[:20])
                await _until_gone(reader)
            case "drip" | "heartbeats":
                await _endlessly(reader, writer, beat if self.fault == "heartbeats" else whole[:1])
        return frames


async def _endlessly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes) -> NoReturn:
    while not reader.at_eof():
        _chunk(writer, piece)
        await writer.drain()
        await asyncio.sleep(HEARTBEAT_SECONDS)
    raise ConnectionResetError


async def _until_gone(reader: asyncio.StreamReader) -> NoReturn:
    await reader.read()
    raise ConnectionResetError


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} As-Asked", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))


def _chunk(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    head = {"Content-Type": "application/json", "X-Request-Id": REQUEST_ID, "Content-Length": str(len(body))}
    _head(writer, status, {**head, **(headers or {})})
    writer.write(body)
