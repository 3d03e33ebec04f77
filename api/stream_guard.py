"""A stream of events goes on for hours: whose token was revoked, or has expired, sees it end within seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED_EVERY: Final = 3.0  # seconds; an identity is remembered for two more
GOODBYE_SECONDS: Final = 2.0
GOODBYE: Final = b"event: refused\ndata: This token or session has ended; log in again, or ask for a new token.\n\n"


async def until_refused(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, is_refused: Callable[[], Awaitable[bool]]
) -> None:
    """Answer a request. While the answer is an event stream, ask now and then whether its caller is let in still."""
    request = asyncio.current_task()
    asking: asyncio.Task[None] | None = None
    refused = False

    async def ask() -> None:
        nonlocal refused
        while not refused:
            await asyncio.sleep(ASKED_EVERY)
            refused = await is_refused()
        if request is not None:
            request.cancel()

    async def watched(message: Message) -> None:
        nonlocal asking
        if message["type"] == "http.response.start" and _is_event_stream(message):
            asking = asyncio.create_task(ask())
        await send(message)

    try:
        await app(scope, receive, watched)
    except asyncio.CancelledError:
        if not refused or request is None:
            raise
        request.uncancel()
        # A reader that does not read gets no word; the server closes what was not ended.
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await send({"type": "http.response.body", "body": GOODBYE, "more_body": False})
    finally:
        if asking is not None:
            asking.cancel()


def _is_event_stream(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/event-stream")
