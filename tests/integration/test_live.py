"""What a run says as it goes on reaches who watches, and only them; a real Redis between the worker and the API."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from api import run_live, run_watch
from api.masking import Mask
from api.run_live import Line, LiveRuns, Note, Text, Told
from api.run_watch import RunWatch
from core.lifecycle import State
from core.live_text import MOST_CHARACTERS
from logger import run_prefix
from store import overview
from store.database import autocommit
from tests.integration.conftest import on_sqlite
from tests.integration.engine import Ledger, settings_for
from tests.services import ValkeyServer
from worker import live as worker_live
from worker.live import LiveFeed, LiveText

pytestmark = on_sqlite

SECRET = "sk-live-0123456789abcdef"
SOON = 10.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_live, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(run_live, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(run_watch, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(run_live, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(run_live, "LINGER_SECONDS", 0.5)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A Valkey of the test's own: it is flushed, and ended."""
    with ValkeyServer() as running:
        yield running


class Scene:
    """A worker's feed, the API's watch, and one run that has started."""

    def __init__(self, ledger: Ledger, url: str) -> None:
        self.ledger = ledger
        settings = settings_for(ledger, url, agent_api_key=SECRET)
        self.feeds = [LiveFeed(settings)]
        self.settings = settings
        self.run_id = ledger.add_run(State.STARTED)
        self.live = LiveRuns(url, RunWatch(ledger.engine), Mask(settings))

    def begin(self, attempt: int = 1, *secrets: str) -> LiveText:
        return self.feeds[0].begin(self.run_id, attempt, *secrets)

    def log(self, text: str) -> None:
        logging.getLogger("agent_tasks").warning("%s %s", run_prefix(self.run_id, "row"), text)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator["Screen"]:
        with autocommit(self.ledger.engine) as connection:
            row = overview.runs_by_id(connection, [self.run_id])[self.run_id]
        screen = Screen(self.live.follow(row))
        try:
            yield screen
        finally:
            await screen.close()

    def close(self) -> None:
        for feed in self.feeds:
            feed.close()


class Screen:
    """Shows what a client would show that does as the API's document says."""

    def __init__(self, told: AsyncGenerator[Told]) -> None:
        self.text, self.attempt = "", 0
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.states: list[str] = []
        self.shown: list[str] = []
        self._told = told
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for each in self._told:
            match each:
                case Text():
                    assert each.at in (0, len(self.text)), "a piece that neither follows nor begins"
                    self.text = self.text[: each.at] + each.text
                    self.attempt = each.attempt
                    self.shown.append(self.text)
                case Line():
                    self.lines.append(each.text)
                case Note():
                    self.notes.append(each.text)
                case row:
                    self.states.append(row.state)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():
                if self._reading.done():
                    self._reading.result()
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        async with asyncio.timeout(SOON):
            await self._reading

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        await self._told.aclose()


@pytest.fixture
def scene(ledger: Ledger, server: ValkeyServer) -> Iterator[Scene]:
    made = Scene(ledger, server.url)
    yield made
    made.close()


def test_nothing_is_sent_while_nobody_watches(scene: Scene, server: ValkeyServer) -> None:
    text = scene.begin()
    text("unheard")
    scene.log("attempt 1 calls agent at default")

    async def watch() -> str:
        await asyncio.sleep(0.5)
        with server.client() as client:
            assert client.dbsize() == 0
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text)
            return screen.text

    assert asyncio.run(watch()) == "unheard"


def test_who_comes_late_gets_what_was_said_then_what_follows_and_the_end(scene: Scene) -> None:
    text = scene.begin()
    text("早上")
    scene.log("attempt 1 calls agent at default")

    async def watch() -> None:
        async with scene.watched() as first, scene.watched() as second:
            await first.until(lambda: first.text == second.text == "早上" and first.lines)
            text("好")
            await first.until(lambda: first.text == second.text == "早上好")
            text("。")
            scene.feeds[0].end(text)
            scene.log("SUCCESS after attempt 1")
            scene.ledger.set_run(scene.run_id, state=State.SUCCESS)
            await first.end()
            await second.end()
            assert first.text == second.text == "早上好。"
            assert first.states == ["STARTED", "SUCCESS"]
            assert first.lines == second.lines == ["attempt 1 calls agent at default", "SUCCESS after attempt 1"]
            assert first.notes == []

    asyncio.run(watch())


def test_the_second_attempt_takes_the_place_of_the_first(scene: Scene) -> None:
    first = scene.begin(1)
    first("half of it")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "half of it")
            scene.feeds[0].end(first)
            scene.ledger.set_run(scene.run_id, state=State.RETRY)
            await screen.until(lambda: screen.states[-1] == "RETRY")
            scene.ledger.set_run(scene.run_id, state=State.STARTED, attempt=2)
            second = scene.begin(2)
            await screen.until(lambda: screen.states[-1] == "STARTED")
            await screen.until(lambda: screen.text == "")
            second("the whole")
            await screen.until(lambda: screen.text == "the whole")
            first(" late words of the lost one")
            second(" answer")
            await screen.until(lambda: screen.text == "the whole answer")
            assert screen.attempt == 2

    asyncio.run(watch())


def test_an_agent_that_begins_anew_is_shown_to_do_so(scene: Scene) -> None:
    text = scene.begin()
    text("draft")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "draft")
            text("final", instead=True)
            await screen.until(lambda: screen.text == "final")
            text("", instead=True)
            text("no, this.")
            await screen.until(lambda: screen.text == "no, this.")

    asyncio.run(watch())


def test_a_redis_that_was_emptied_is_told_the_whole_text_again(scene: Scene, server: ValkeyServer) -> None:
    text = scene.begin()
    text("before ")
    scene.log("first line")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "before " and screen.lines)
            with server.client() as client:
                client.flushall()
            text("after")
            scene.log("second line")
            await screen.until(lambda: screen.text == "before after" and len(screen.lines) == 2)
        async with scene.watched() as late:
            await late.until(lambda: late.text == "before after" and len(late.lines) == 2)

    asyncio.run(watch())


def test_without_redis_the_state_is_followed_and_the_text_comes_when_it_is_back(
    scene: Scene, server: ValkeyServer
) -> None:
    text = scene.begin()
    text("before ")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "before ")
            server.stop()
            await screen.until(lambda: screen.notes == [run_live.AWAY])
            text("after")
            scene.ledger.set_run(scene.run_id, queue="system")
            await screen.until(lambda: len(screen.states) == 2)
            server.start()
            await screen.until(lambda: screen.text == "before after")
            assert screen.notes == [run_live.AWAY, run_live.BACK]

    asyncio.run(watch())


def test_no_secret_is_shown_or_sent_however_it_is_cut(scene: Scene, server: ValkeyServer) -> None:
    key_of_the_endpoint = "endpoint-key-5f6e7d8c"
    text = scene.begin(1, key_of_the_endpoint)
    scene.log(f"failed with Authorization: Bearer {SECRET}")

    async def watch() -> None:
        async with scene.watched() as screen:
            for piece in (SECRET, " and ", key_of_the_endpoint, " are keys."):
                for character in piece:
                    text(character)
                    await asyncio.sleep(0.004)
            await screen.until(lambda: screen.text == "*** and *** are keys." and screen.lines)
            assert not any("sk-" in shown or "endp" in shown for shown in screen.shown)
            assert SECRET not in screen.lines[0]
        with server.client() as client:
            stored = [client.xrange(key) for key in client.scan_iter("live:*:*")]
        assert stored
        assert key_of_the_endpoint not in str(stored)

    asyncio.run(watch())


def test_a_secret_of_the_api_is_in_no_line_though_the_worker_did_not_know_it(scene: Scene) -> None:
    scene.log(f"the platform said {SECRET}")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.lines)
            assert screen.lines == ["the platform said ***"]

    asyncio.run(watch())


def test_a_text_is_looked_through_once_however_many_watch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    growing = Mask.growing

    def counted(mask: Mask, text: str, *, more_follows: bool) -> str:
        looked.append(text)
        return growing(mask, text, more_follows=more_follows)

    monkeypatch.setattr(Mask, "growing", counted)
    scene.begin()("a long answer")

    async def watch() -> None:
        async with AsyncExitStack() as watched:
            screens = [await watched.enter_async_context(scene.watched()) for _ in range(20)]
            await screens[0].until(lambda: all(each.text == "a long answer" for each in screens))

    asyncio.run(watch())
    assert len(looked) < 10


def test_half_a_character_waits_for_the_other_half(scene: Scene) -> None:
    text = scene.begin()
    text("ok \ud83d")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "ok ")
            text("\ude00")
            await screen.until(lambda: screen.text == "ok 😀")

    asyncio.run(watch())


def test_a_text_without_end_costs_a_bounded_memory_and_says_that_it_is_cut(scene: Scene, server: ValkeyServer) -> None:
    text = scene.begin()
    for _ in range(3 * MOST_CHARACTERS // 1000):
        text("x" * 1000)

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: len(screen.text) == MOST_CHARACTERS and screen.notes)
            assert screen.notes == [run_live.CUT]
            with server.client() as client:
                assert client.xlen(text.key) == 1

    asyncio.run(watch())


def test_a_watcher_who_stands_still_holds_nobody_up_and_gets_all_of_it_later(scene: Scene) -> None:
    text = scene.begin()

    async def watch() -> None:
        with autocommit(scene.ledger.engine) as connection:
            row = overview.runs_by_id(connection, [scene.run_id])[scene.run_id]
        slow = scene.live.follow(row)
        assert not isinstance(await anext(slow), Text)
        async with scene.watched() as screen:
            for number in range(60):
                text(f"{number} ")
                await asyncio.sleep(0.01)
            whole = "".join(f"{number} " for number in range(60))
            await screen.until(lambda: screen.text == whole)
        got: list[Told] = []
        async with asyncio.timeout(SOON):
            while "".join(each.text for each in got if isinstance(each, Text)) != whole:
                got.append(await anext(slow))
        assert len(got) <= 2, "what was missed comes in one piece"
        await slow.aclose()

    asyncio.run(watch())


def test_lines_of_every_worker_that_had_the_run_are_shown_once(scene: Scene) -> None:
    scene.log("attempt 1 failed")
    scene.feeds.append(LiveFeed(scene.settings))
    scene.log("attempt 2 calls agent at default")

    async def watch() -> None:
        async with scene.watched() as first:
            await first.until(lambda: len(first.lines) == 3)
        await asyncio.sleep(0.2)
        async with scene.watched() as again:
            await again.until(lambda: len(again.lines) == 3)
            await asyncio.sleep(0.3)
            assert sorted(again.lines) == [
                "attempt 1 failed",
                "attempt 2 calls agent at default",
                "attempt 2 calls agent at default",  # both feeds of this one process have heard it
            ]

    asyncio.run(watch())


def test_nothing_is_asked_once_nobody_watches(scene: Scene, server: ValkeyServer) -> None:
    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.states)
        await asyncio.sleep(0.3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watch())


def test_what_somebody_else_writes_into_the_streams_is_passed_over(scene: Scene, server: ValkeyServer) -> None:
    text = scene.begin()
    text("good")

    async def watch() -> None:
        async with scene.watched() as screen:
            await screen.until(lambda: screen.text == "good")
            with server.client() as client:
                client.xadd(text.key, {"version": "no number", "at": "0", "text": "bad"})
                client.xadd(text.key, {"nothing": "known"})
            text(" still")
            await screen.until(lambda: screen.text == "good still")

    asyncio.run(watch())
