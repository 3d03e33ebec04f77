"""Limits that all workers share, counted in Redis: calls at the same time, requests and tokens a minute, cool-downs.

One script (limits.lua) decides over all limits of an endpoint and of its agents at once. A slot is a lease, so a
worker that dies gives its slots back. While Redis is away nobody is let in (`LimitsAway`): a limit that is not
counted is a limit that is broken. After a flush the slots are read from the ledger; of the requests and tokens of the
last minute only those are known then whose calls still go on.

Libraries such as `limits` or `pyrate-limiter` count one limit at a time and know no leases and no line of who is next.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import Settings

logger = logging.getLogger("limits")

SCRIPT: Final = (Path(__file__).with_name("limits.lua")).read_text(encoding="utf-8")
WINDOW_SECONDS: Final = 61  # a minute, and a second for the way to the endpoint; the script adds the one that has begun
SOCKET_SECONDS: Final = 2.0
CONNECTIONS: Final = 16
PREFIX: Final = "limits:endpoint:"
COOLING: Final = "limits:cooling"


class LimitsAway(Exception):
    """Redis does not answer, so nobody can be let in."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one endpoint or one agent bears; None: any number."""

    concurrency: int | None = None
    requests: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        """True where anything is limited."""
        return any(value is not None for value in (self.concurrency, self.requests, self.tokens))

    def known(self) -> dict[str, int]:
        """Name what is limited, for the script: it takes null for a value."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run counts against: an endpoint, and the agent there if that has limits of its own."""

    endpoint: str
    caps: Caps
    agent: str = ""
    agent_caps: Caps = field(default_factory=Caps)

    def spec(self) -> dict[str, Any]:
        """Name the agent's side for the script."""
        return {"agent": self.agent, "agent_caps": self.agent_caps.known()}


@dataclass(frozen=True, slots=True)
class Held:
    """A call that goes on, as the ledger knows it."""

    run_id: str
    scope: Scope
    age_seconds: int


class Woken(NamedTuple):
    """A run that stood in the line and has a slot now."""

    run_id: str
    attempt: int | None
    """What it stood there for; None: a version before this one lined it up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was decided. `woken`: other runs that are to be told."""

    is_let_in: bool
    woken: Sequence[Woken] = ()
    why: str = ""
    """What is used up: concurrency, requests, tokens, cooling, or line: others are before it."""
    seconds: float = 0.0
    """Until there may be room; 0: nobody knows, whoever makes room wakes the next."""
    place: int = 0


class Limits:
    """Asks for slots and gives them back. Thread-safe; connects when first asked."""

    def __init__(self, settings: Settings, *, window: int = WINDOW_SECONDS) -> None:
        self._url = redis_address(settings)
        self._window = window
        self._lease = settings.worker_lease_seconds
        self._lock = Lock()
        self._renewal = Lock()
        self._client: redis.Redis | None = None
        self._script: Any = None
        self._mine: dict[str, Scope] = {}
        self._closed = Event()
        self._renewing: Thread | None = None

    def ask(
        self, run_id: str, scope: Scope, place: float, held: Callable[[], Iterable[Held]], attempt: int = 0
    ) -> Answer:
        """Let a run in, or line it up at `place` (the lowest goes first). Raises LimitsAway.

        `held` reads the calls that go on from the ledger; it is asked for after a flush only. `attempt`: how many the
        run has had.
        """
        arguments = {"run": run_id, "place": place, "attempt": attempt, **scope.spec()}
        answer = self._do(scope, "ask", arguments)
        if answer["answer"] == "seed":
            self._seed(scope, held())
            answer = self._do(scope, "ask", arguments)
        woken = _woken(answer)
        if answer["answer"] == "go":
            self._keep(run_id, scope)
            return Answer(True, woken)
        return Answer(False, woken, answer["why"], float(answer["seconds"]), int(answer["place"]))

    def goes_out(self, run_id: str) -> None:
        """Count a request from now on: its call was held up since it was let in. Raises LimitsAway."""
        if (scope := self._mine.get(run_id)) is not None:
            self._do(scope, "renew", {"runs": [{"run": run_id, **scope.spec()}], "sent": True})

    def release(
        self, run_id: str, tokens: int | None, *, unsent: bool = False, scope: Scope | None = None
    ) -> list[Woken]:
        """Give a slot back and name the runs that have one now. Nothing is held: nothing happens. Raises LimitsAway.

        `tokens` settles what was guessed, None leaves the guess; `unsent`: nothing was called, and nothing counts.
        `scope` tells the limits of today, for those that are let in; without it those of `ask` count.
        """
        held = self._no_more_mine(run_id)
        return [] if held is None else self.forget(run_id, scope or held, tokens, unsent=unsent)

    def forget(self, run_id: str, scope: Scope, tokens: int | None = None, *, unsent: bool = True) -> list[Woken]:
        """Do the same for a run that another process asked for. Raises LimitsAway."""
        arguments: dict[str, Any] = {"run": run_id, "unsent": unsent}
        if tokens is not None:
            arguments["tokens"] = tokens
        return _woken(self._do(scope, "release", arguments))

    def holds(self, run_id: str, scope: Scope) -> bool:
        """Tell whether a run that waits was let in meanwhile. Raises LimitsAway."""
        return bool(self._do(scope, "holds", {"run": run_id})["holds"])

    def let_go(self, run_id: str) -> None:
        """Renew a slot no more, and leave it to the process that carries the run."""
        self._no_more_mine(run_id)

    def cool_down(self, endpoint: str, seconds: float) -> None:
        """Let nobody in at an endpoint for a while. Raises LimitsAway."""
        self._do(Scope(endpoint, Caps()), "cool", {"seconds": seconds})

    def cooling(self) -> Mapping[str, float]:
        """Name the endpoints that nobody may call now, with the seconds that are left. Raises LimitsAway."""
        return dict(self._do(Scope("", Caps()), "cooling", {}))

    def close(self) -> None:
        """Renew no slot any more."""
        self._closed.set()
        if self._client is not None:
            self._client.close()

    # -- inside -----------------------------------------------------------------------------------

    def _keep(self, run_id: str, scope: Scope) -> None:
        with self._lock:
            self._mine[run_id] = scope
            if self._renewing is None and not self._closed.is_set():
                self._renewing = Thread(target=self._renew, name="slots", daemon=True)
                self._renewing.start()

    def _no_more_mine(self, run_id: str) -> Scope | None:
        with self._renewal, self._lock:  # a renewal that is under way would enter again what is given back
            return self._mine.pop(run_id, None)

    def _renew(self) -> None:
        while not self._closed.wait(self._lease / 4):
            with self._lock:
                endpoints = {scope.endpoint for scope in self._mine.values()}
            for endpoint in endpoints:
                try:
                    self._renew_at(endpoint)
                except LimitsAway as away:
                    logger.warning("slots at endpoint %r are not renewed now: %s", endpoint, away)
                except Exception:  # the edge of the thread: if it died, slots would run out under healthy calls
                    logger.exception("renewing slots failed")

    def _renew_at(self, endpoint: str) -> None:
        with self._renewal:
            with self._lock:
                mine = [(run_id, scope) for run_id, scope in self._mine.items() if scope.endpoint == endpoint]
            if mine:
                self._do(mine[0][1], "renew", {"runs": [{"run": run_id, **scope.spec()} for run_id, scope in mine]})

    def _seed(self, scope: Scope, held: Iterable[Held]) -> None:
        """Enter the calls that go on. Two processes that do this at once enter the same."""
        known = [
            {"run": each.run_id, "age": each.age_seconds, **each.scope.spec()}
            for each in held
            if each.scope.endpoint == scope.endpoint
        ]
        self._do(scope, "seed", {"runs": known})
        logger.warning(
            "the slots of endpoint %r were not in Redis: %d calls that go on were read from the ledger",
            scope.endpoint, len(known),
        )  # fmt: skip

    def _do(self, scope: Scope, operation: str, arguments: dict[str, Any]) -> Any:
        """Run the script. Raises LimitsAway."""
        sent = json.dumps(
            {
                **arguments,
                "endpoint": scope.endpoint,
                "caps": scope.caps.known(),
                "window": self._window,
                "lease": int(self._lease * 1000),
            }
        )
        try:
            script = self._connected()
            return json.loads(script(keys=[f"{PREFIX}{scope.endpoint}", COOLING], args=[operation, sent]))
        except (redis.RedisError, OSError) as error:
            raise LimitsAway(str(error)) from error
        except (TypeError, ValueError) as error:  # its text may quote the address, and so a password
            raise LimitsAway(f"the address of Redis cannot be used ({type(error).__name__})") from None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                if self._url is None:
                    raise LimitsAway("there is no Redis to count in: set REDIS_URL")
                pool = redis.BlockingConnectionPool.from_url(
                    self._url,
                    max_connections=CONNECTIONS,
                    timeout=SOCKET_SECONDS,
                    socket_timeout=SOCKET_SECONDS,
                    socket_connect_timeout=SOCKET_SECONDS,
                    **({} if self._url.startswith("unix:") else {"socket_keepalive": True}),
                    retry=Retry(
                        NoBackoff(), 1
                    ),  # a connection that went stale; a script that ran twice changes nothing
                )
                self._client = redis.Redis(connection_pool=pool)
                self._script = self._client.register_script(SCRIPT)
            return self._script


def _woken(answer: Mapping[str, Any]) -> list[Woken]:
    return [Woken(each["run"], each.get("attempt")) for each in answer["woken"]]


def redis_address(settings: Settings) -> str | None:
    """Name the Redis to count in: the broker where it is one, else REDIS_URL; None where there is none."""
    for url in (settings.broker_url.partition(";")[0], settings.redis_url):  # the first of several brokers
        if url.startswith(("redis://", "rediss://")):
            return url
        if url.startswith("redis+socket://"):
            return "unix://" + url.removeprefix("redis+socket://")
    return None
