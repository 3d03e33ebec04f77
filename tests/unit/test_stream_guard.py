"""A stream ends when its caller is refused, even where nobody reads it; other answers are left alone."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from api import stream_guard
from api.stream_guard import until_refused

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_guard, "ASKED_EVERY", 0.01)
    monkeypatch.setattr(stream_guard, "GOODBYE_SECONDS", 0.05)


async def receive() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def endless(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    while True:
        await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
        await asyncio.sleep(0.01)


async def slow_file(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]})
    await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"whole", "more_body": False})


def test_the_last_words_of_a_refused_stream_say_why() -> None:
    sent: list[Message] = []
    asked = 0

    async def refused_at_last() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    async def send(message: Message) -> None:
        sent.append(message)

    async def scene() -> None:
        async with asyncio.timeout(5):
            await until_refused(endless, {"type": "http"}, receive, send, refused_at_last)

    asyncio.run(scene())

    assert asked == 3
    assert sent[-1]["more_body"] is False
    assert sent[-1]["body"].startswith(b"event: refused\n")


def test_a_reader_that_does_not_read_keeps_no_stream_open() -> None:
    async def refused() -> bool:
        return True

    async def full(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def scene() -> None:
        async with asyncio.timeout(5):
            await until_refused(endless, {"type": "http"}, receive, full, refused)

    asyncio.run(scene())


def test_an_answer_that_is_no_stream_is_not_asked_about() -> None:
    sent: list[Message] = []

    async def refused() -> bool:
        return True

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(until_refused(slow_file, {"type": "http"}, receive, send, refused))

    assert [message.get("body") for message in sent] == [None, b"whole"]


def test_a_caller_that_hangs_up_is_no_refusal() -> None:
    async def refused() -> bool:
        return False

    async def send(_: Message) -> None:
        """Take it."""

    async def scene() -> None:
        task = asyncio.ensure_future(until_refused(endless, {"type": "http"}, receive, send, refused))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())
