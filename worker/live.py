"""What the runs of this process say as they go on, for those who watch: the text that arrives, and the log's lines.

Both stay in memory, bounded. Twice a second one thread asks Redis, in one round trip, who is watched; only of those
runs anything is sent. Nothing here holds a call up: where Redis is away, nobody watches.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Event, Lock, Thread
from typing import Final, TypeAlias
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry
from redis.typing import EncodableT, FieldT

from config import Settings
from core.live_text import (
    KEPT_SECONDS,
    MOST_CHARACTERS,
    MOST_LINES,
    WATCHED,
    lines_key,
    text_key,
    without_secrets,
)
from logger import redact
from providers.content import join_surrogates
from trouble import Trouble
from worker.limits import redis_address

TICK_SECONDS: Final = 0.5
SOCKET_SECONDS: Final = 2.0
SHORTEST_SECRET: Final = 8  # hiding a shorter one would take ordinary answers apart
MOST_PIECES: Final = 500  # in one stream; then it begins again with the whole text
RUNS_WITH_LINES: Final = 2_000
LINES_OF_A_RUN: Final = 50
LINE_CHARACTERS: Final = 2_000

Fields: TypeAlias = dict[FieldT, EncodableT]

logger = logging.getLogger("worker")


@dataclass(slots=True)
class Sent:
    """What of a text stands in Redis. `pieces` 0: nothing, or nobody knows."""

    version: int = 0
    characters: int = 0
    pieces: int = 0


class LiveText:
    """One attempt's answer while it arrives; told by its provider, on the loop of the calls."""

    def __init__(self, run_id: str, attempt: int, secrets: Iterable[str]) -> None:
        self.run_id = run_id
        self.key = text_key(run_id, attempt)
        self.sent = Sent()
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._said: tuple[int, list[str]] = (0, [])
        self._characters = 0

    def __call__(self, text: str, *, instead: bool = False) -> None:
        """Take the next piece of the answer, or another beginning."""
        version, pieces = self._said
        if instead:
            before = "".join(pieces)
            if not text.startswith(before):
                self._said, self._characters = (version + 1, [text]), len(text)
                return
            text = text[len(before) :]  # platforms that tell their whole state each time mostly go on
        if text and self._characters <= MOST_CHARACTERS:
            pieces.append(text)
            self._characters += len(text)

    def shown(self, *, more_follows: bool) -> tuple[int, str]:
        """Tell the version and its text so far, without secrets; while more follows, without half a character."""
        version, pieces = self._said
        text = "".join(tuple(pieces))
        if more_follows and "\ud800" <= text[-1:] <= "\udbff":
            text = text[:-1]
        text = without_secrets(join_surrogates(text), self._secrets, more_follows=more_follows)
        return version, text[:MOST_CHARACTERS]

    def send(self, pipeline: Pipeline, *, more_follows: bool) -> bool:
        """Send what is new, all of it where a new stream begins. False: there is nothing to keep."""
        version, text = self.shown(more_follows=more_follows)
        sent = self.sent
        if not text:
            return False
        if not sent.pieces or sent.version != version or sent.pieces >= MOST_PIECES:
            sent = Sent(version)
            pipeline.delete(self.key)
        if len(text) > sent.characters:
            piece: Fields = {"version": version, "at": sent.characters, "text": text[sent.characters :]}
            # A stream that a flush has taken away must not begin in the middle: readers could not tell.
            pipeline.xadd(self.key, piece, nomkstream=sent.pieces > 0)
            sent = Sent(version, len(text), sent.pieces + 1)
        self.sent = sent
        pipeline.expire(self.key, KEPT_SECONDS)
        return True

    def forget_sent(self) -> None:
        """Nobody knows what stands in Redis."""
        self.sent = Sent()


class _Lines(logging.Handler):
    """Keeps the last lines about each of the latest runs; for any number of threads."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._runs: OrderedDict[str, deque[tuple[int, Fields]]] = OrderedDict()
        self._process = uuid4().hex[:12]
        self._number = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line that begins with a run's prefix, without what looks like a secret."""
        with suppress(Exception):  # a line whose arguments do not fit is the log's to complain of
            message = record.getMessage()
            if message.startswith("[run "):
                self._keep(message[5:].partition(" ")[0], record, redact(message))

    def _keep(self, run_id: str, record: logging.LogRecord, message: str) -> None:
        kept = self._runs.get(run_id)
        if kept is None:
            kept = self._runs[run_id] = deque(maxlen=LINES_OF_A_RUN)
            if len(self._runs) > RUNS_WITH_LINES:
                self._runs.popitem(last=False)
        self._number += 1
        line: Fields = {
            "id": f"{self._process}:{self._number}",
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "text": message[:LINE_CHARACTERS],
        }
        kept.append((self._number, line))

    def of(self, run_id: str, after: int) -> list[tuple[int, Fields]]:
        """Give a run's lines with a number above `after`."""
        with self.lock or Lock():
            return [line for line in self._runs.get(run_id, ()) if line[0] > after]


class LiveFeed:
    """Sends what is watched. One for each worker process; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._url = redis_address(settings)
        self._texts: dict[str, LiveText] = {}
        self._over: deque[LiveText] = deque()
        self._lines = _Lines()
        self._lines_sent: dict[str, int] = {}
        self._client: redis.Redis | None = None
        self._closed = Event()
        self._trouble = Trouble(logger, "watched runs are shown live again", logging.WARNING)
        if self._url is not None:
            logging.getLogger().addHandler(self._lines)
            Thread(target=self._keep_sending, name="live", daemon=True).start()

    def begin(self, run_id: str, attempt: int, *secrets: str) -> LiveText:
        """Begin the text of an attempt; give it to the provider, and to `end` when its call is over."""
        text = LiveText(run_id, attempt, secrets)
        if self._url is not None:
            self._texts[run_id] = text
        return text

    def end(self, text: LiveText) -> None:
        """The call is over: what it has said is sent once more where it is watched, then forgotten."""
        if self._url is not None:
            self._over.append(text)

    def close(self) -> None:
        """Send nothing any more."""
        self._closed.set()
        logging.getLogger().removeHandler(self._lines)

    # -- the thread -------------------------------------------------------------------------------

    def _keep_sending(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            over = [self._over.popleft() for _ in range(len(self._over))]
            try:
                self._send(over)
                self._trouble.is_over()
            except Exception as error:  # the edge of the thread: runs go on, whether they are shown or not
                away = isinstance(error, redis.RedisError | OSError)
                what = redact(str(error)) if away else type(error).__name__  # the address may be in other errors
                self._trouble.goes_on(f"watched runs are not shown live: {what}", traceback=not away)
                self._lines_sent.clear()
                for text in self._texts.copy().values():
                    text.forget_sent()
            for text in over:
                if self._texts.get(text.run_id) is text:
                    del self._texts[text.run_id]
        if self._client is not None:
            self._client.close()

    def _send(self, over: Sequence[LiveText]) -> None:
        """Send what is new about the runs that are watched now."""
        if self._client is None:
            self._client = _connection(str(self._url))
        watched = _watched(self._client)
        self._lines_sent = {run_id: self._lines_sent.get(run_id, 0) for run_id in watched}
        pipeline = self._client.pipeline(transaction=False)
        stood: dict[int, Callable[[], None]] = {}  # by the place of an EXPIRE: what to do where its stream is gone
        for text in {*(self._texts[run_id] for run_id in watched if run_id in self._texts), *over}:
            if text.run_id in watched and text.send(pipeline, more_follows=text not in over):
                stood[len(pipeline) - 1] = text.forget_sent
        for run_id in watched:
            if self._send_lines(pipeline, run_id):
                stood[len(pipeline) - 1] = partial(self._forget_lines, run_id)
        answers = pipeline.execute() if stood else ()
        for place, forget in stood.items():
            if not answers[place]:
                forget()

    def _send_lines(self, pipeline: Pipeline, run_id: str) -> bool:
        """Send a run's new lines. False: there are none of it here."""
        key, sent = lines_key(run_id), self._lines_sent[run_id]
        for number, line in self._lines.of(run_id, sent):
            pipeline.xadd(key, line, maxlen=MOST_LINES)
            self._lines_sent[run_id] = number
        if self._lines_sent[run_id]:
            pipeline.expire(key, KEPT_SECONDS)
        return bool(self._lines_sent[run_id])

    def _forget_lines(self, run_id: str) -> None:
        self._lines_sent.pop(run_id, None)


def _watched(client: redis.Redis) -> set[str]:
    """Name the runs that are watched now, by the server's clock."""
    pipeline = client.pipeline(transaction=False)
    pipeline.time()
    pipeline.zrange(WATCHED, 0, -1, withscores=True)
    (second, _), watched = pipeline.execute()
    return {run_id for run_id, until in watched if until > second}


def _connection(url: str) -> redis.Redis:
    """Connect when first asked, and wait for nothing longer than two seconds."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=SOCKET_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
