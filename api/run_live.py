"""What runs say as they go on, read from where their workers send it while somebody watches.

One task reads for all who watch, three times a second, in one round trip; without watchers nothing is asked. Each
watcher has a place of its own in what all share, so a slow one misses nothing, holds nobody up, and costs no memory.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.masking import Mask
from api.run_watch import RunWatch
from core.live_text import (
    MOST_CHARACTERS,
    MOST_LINES,
    WATCHED,
    WATCHED_SECONDS,
    Tail,
    lines_key,
    text_key,
)
from logger import redact, run_prefix
from store.database import AnyRow
from trouble import Trouble

POLL_SECONDS: Final = 0.3
RENEW_SECONDS: Final = 3.0
SOCKET_SECONDS: Final = 2.0
LINGER_SECONDS: Final = 1.5  # after the end: workers send what was said last within half a second
PIECES_AT_ONCE: Final = 500

AWAY: Final = "The text cannot be shown as it comes now, Redis does not answer; the state of the run is still followed."
BACK: Final = "The text is shown as it comes again."
CUT: Final = f"Only the first {MOST_CHARACTERS:,} characters are shown on the way; at its end the run has all of it."
NOWHERE: Final = "This installation has no Redis, so the answer shows at its end only."

logger = logging.getLogger("api")


class Text(BaseModel):
    """A piece of an attempt's answer. `at` 0: it stands in the place of all that is shown; else it follows."""

    attempt: int
    at: int
    text: str


class Line(BaseModel):
    """What a worker has logged about the run."""

    at: str
    level: str
    text: str


class Note(BaseModel):
    """Something about the stream itself, in plain words."""

    text: str


#: What a watcher is told; a row is the run as it is now.
Told: TypeAlias = AnyRow | Text | Line | Note


@dataclass(slots=True)
class _Feed:
    """What is known of one run that somebody watches."""

    run_id: str
    attempt: int
    prefix: str
    watchers: int = 0
    tail: Tail = field(default_factory=Tail)
    text_after: str = "0"
    lines: list[Line] = field(default_factory=list)
    known_lines: set[str] = field(default_factory=set)
    lines_after: str = "0"
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _shown: tuple[str, bool, str] = ("", True, "")

    def shown(self, mask: Mask, *, more_follows: bool) -> str:
        """Give the text without secrets; looked through once, however many watch."""
        of, followed, text = self._shown
        if of is not self.tail.text or followed != more_follows:
            of, text = self.tail.text, mask.growing(self.tail.text, more_follows=more_follows)
            self._shown = (of, more_follows, text)
        return text

    def streams(self) -> dict[str, str]:
        """Name what to read, and after which entry."""
        return {text_key(self.run_id, self.attempt): self.text_after, lines_key(self.run_id): self.lines_after}

    def take(self, key: str, entry: str, fields: Mapping[str, str]) -> None:
        """Take in one entry. Raises KeyError, ValueError for what no worker of ours wrote."""
        if key == lines_key(self.run_id):
            self.lines_after = entry
            if fields["id"] not in self.known_lines and len(self.lines) < MOST_LINES:
                self.known_lines.add(fields["id"])
                said = fields["text"].removeprefix(self.prefix).lstrip()
                self.lines.append(Line(at=fields["at"], level=fields["level"], text=said))
        elif key == text_key(self.run_id, self.attempt):
            self.text_after = entry
            self.tail.take(int(fields["version"]), int(fields["at"]), fields["text"])

    def follow_attempt(self, attempt: int) -> None:
        """Leave the text of an earlier attempt behind."""
        if attempt > self.attempt:
            self.attempt, self.tail, self.text_after = attempt, Tail(), "0"


@dataclass(slots=True)
class _Place:
    """How far one watcher has read."""

    attempt: int = 0
    version: int = 0
    characters: int = 0
    lines: int = 0
    is_away: bool = False
    has_heard_of_the_cut: bool = False


class LiveRuns:
    """Follows runs: their state, their log, and their answer as it comes. For one event loop."""

    def __init__(self, redis_url: str | None, watch: RunWatch, mask: Mask) -> None:
        self._url, self._watch, self._mask = redis_url, watch, mask
        self._feeds: dict[str, _Feed] = {}
        self._reading: asyncio.Task[None] | None = None
        self._is_away = False
        self._trouble = Trouble(logger, "the text of watched runs is read again")

    @property
    def runs(self) -> int:
        """How many runs are followed; of each some hundred KB may be kept."""
        return len(self._feeds)

    async def follow(self, seen: AnyRow) -> AsyncGenerator[Told]:
        """Yield a run as it is, what has been said so far, and whatever follows, until the run has ended or is gone."""
        feed, place = self._join(seen), _Place()
        rows = self._watch.follow(seen)
        next_row: asyncio.Future[AnyRow | None] | None = asyncio.ensure_future(anext(rows, None))
        changed: asyncio.Future[Any] | None = None
        end_at: float | None = None
        try:
            if self._url is None:
                yield Note(text=NOWHERE)
            while end_at is None or monotonic() < end_at:
                changed = asyncio.ensure_future(feed.changed.wait())
                waited_for: set[asyncio.Future[Any]] = {changed} if next_row is None else {changed, next_row}
                seconds = None if end_at is None else max(end_at - monotonic(), 0)
                await asyncio.wait(waited_for, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if next_row is not None and next_row.done():
                    row = next_row.result()
                    if row is None:
                        next_row, end_at = None, monotonic() + (LINGER_SECONDS if self._url else 0)
                    else:
                        feed.follow_attempt(row.attempt)
                        yield row
                        next_row = asyncio.ensure_future(anext(rows, None))
                for told in self._news(feed, place, more_follows=next_row is not None):
                    yield told
            for told in self._news(feed, place, more_follows=False):
                yield told
        finally:
            self._leave(feed)
            if changed is not None:
                changed.cancel()
            if next_row is not None:
                next_row.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await next_row
            await rows.aclose()

    def _news(self, feed: _Feed, place: _Place, *, more_follows: bool) -> Iterator[Told]:
        """Tell one watcher what it does not know yet."""
        if self._is_away != place.is_away:
            place.is_away = self._is_away
            yield Note(text=AWAY if self._is_away else BACK)
        for line in feed.lines[place.lines :]:
            yield Line(at=line.at, level=line.level, text=self._mask.prose(line.text) or "")
        place.lines = len(feed.lines)
        began = place.characters
        if (place.attempt, place.version) != (feed.attempt, feed.tail.version):
            place.attempt, place.version, place.characters = feed.attempt, feed.tail.version, 0
        text = feed.shown(self._mask, more_follows=more_follows)
        if len(text) > place.characters or place.characters < began:
            yield Text(attempt=feed.attempt, at=place.characters, text=text[place.characters :])
            place.characters = max(len(text), place.characters)
        if len(feed.tail.text) >= MOST_CHARACTERS and not place.has_heard_of_the_cut:
            place.has_heard_of_the_cut = True
            yield Note(text=CUT)

    def _join(self, seen: AnyRow) -> _Feed:
        feed = self._feeds.get(seen.id)
        if feed is None:
            feed = self._feeds[seen.id] = _Feed(seen.id, seen.attempt, run_prefix(seen.id, seen.task_name))
        feed.watchers += 1
        if self._url is not None and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(self._url))
        return feed

    def _leave(self, feed: _Feed) -> None:
        feed.watchers -= 1
        if not feed.watchers:
            self._feeds.pop(feed.run_id, None)

    # -- the one task that reads ------------------------------------------------------------------

    async def _read(self, url: str) -> None:
        """Say who is watched and read what comes, until nobody watches."""
        client = Redis.from_url(
            url,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
        )
        said: set[str] = set()
        renew_at = 0.0
        try:
            while self._feeds:
                try:
                    if monotonic() >= renew_at or not self._feeds.keys() <= said:
                        said, renew_at = set(self._feeds), monotonic() + RENEW_SECONDS
                        await _say_who_is_watched(client, said)
                    await self._look(client)
                except (RedisError, OSError) as error:
                    said.clear()
                    self._trouble.goes_on(f"the text of watched runs cannot be read: {redact(str(error))}")
                    self._tell_all(is_away=True)
                else:
                    self._trouble.is_over()
                    if self._is_away:
                        self._tell_all(is_away=False)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            with suppress(RedisError, OSError):
                await client.aclose()

    async def _look(self, client: Any) -> None:
        feeds = {key: feed for feed in self._feeds.values() for key in feed.streams()}
        after = {key: entry for feed in self._feeds.values() for key, entry in feed.streams().items()}
        for key, entries in await client.xread(after, count=PIECES_AT_ONCE) if after else ():
            feed = feeds[key]
            for entry, fields in entries:
                with suppress(KeyError, ValueError):  # what no worker of ours wrote
                    feed.take(key, entry, fields)
            _wake(feed)

    def _tell_all(self, *, is_away: bool) -> None:
        self._is_away = is_away
        for feed in self._feeds.values():
            _wake(feed)


async def _say_who_is_watched(client: Any, run_ids: set[str]) -> None:
    """Tell the workers, by the server's clock: clocks of machines differ."""
    (second, _) = await client.time()
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(WATCHED, dict.fromkeys(run_ids, second + WATCHED_SECONDS))
    pipeline.zremrangebyscore(WATCHED, "-inf", second)
    pipeline.expire(WATCHED, WATCHED_SECONDS)
    await pipeline.execute()


def _wake(feed: _Feed) -> None:
    feed.changed.set()
    feed.changed = asyncio.Event()
