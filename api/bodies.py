"""Bodies of requests are read whole before anything is done with them: not too long, and not too slowly."""

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

LONGEST_BODY: Final = 2 * 1024 * 1024
LONGEST_IMPORT: Final = 16 * 1024 * 1024
LONGEST_LOGIN: Final = 4096
BODY_SECONDS: Final = 30.0
LIMITS: Final = {"/api/v2/tasks/import": LONGEST_IMPORT, "/login": LONGEST_LOGIN}


class BoundedBodies:
    """ASGI middleware: 413 for a body that is too long, 408 for one that takes too long."""

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body and hand it on in one piece."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        longest = LIMITS.get(scope["path"], LONGEST_BODY)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and int(length) > longest:
            await _too_long(longest)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds):  # wait_for would make a task for every request
                body = await _read(receive, longest)
        except TimeoutError:
            told = f"The body was not here within {self.seconds:g} seconds."
            await problem(408, told, headers={"Connection": "close"})(scope, receive, send)
            return
        if body is None:
            return
        if len(body) > longest:
            await _too_long(longest)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, replay, send)


async def _read(receive: Receive, longest: int) -> bytes | None:
    """Read until the end, or until it is too long; None where the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > longest or not message.get("more_body", False):
            return bytes(body)


def _too_long(longest: int) -> ASGIApp:
    told = f"The body is longer than {longest:,} bytes, which is the most this address takes; send it in parts."
    return problem(413, told, headers={"Connection": "close"})
