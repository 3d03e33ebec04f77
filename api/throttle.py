"""How often somebody may be wrong before he is not even asked any more, and how often he may make a call that costs.

Failures are counted, not requests, and looked at before the next try is counted: rate limiters count what passes.
Of what costs money each one counts.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil
from threading import Lock
from time import monotonic
from typing import Final
from unicodedata import combining, normalize

MOST_KEYS: Final = 20_000  # whoever makes up more names or addresses than this is still slowed by his address


@dataclass(frozen=True, slots=True)
class Limit:
    """So many failures, or calls, in so many seconds."""

    failures: int
    seconds: int


WRONG_TOKENS: Final = Limit(30, 60)  # from one address
#: Wrong logins: for one name from one address, from one address, for one name from everywhere.
BY_BOTH: Final = Limit(5, 60)
BY_ADDRESS: Final = Limit(60, 60)
BY_NAME: Final = Limit(100, 3600)  # high: whoever knows a name must not be able to lock its owner out with ease
TRIALS: Final = Limit(10, 60)  # of one caller

Key = tuple[str, ...]


class Throttle:
    """Counts failures in this process; a restart forgets them. Thread-safe."""

    def __init__(self) -> None:
        self._failed: dict[Key, deque[float]] = {}
        self._lock = Lock()

    def login_wait(self, address: str, name: str) -> int:
        """Tell for how many seconds this name may not log in from this address; 0: it may try."""
        return max(self._wait(key, limit) for key, limit in _login(address, name).items())

    def login_failed(self, address: str, name: str) -> None:
        """Count a wrong name or password."""
        for key, limit in _login(address, name).items():
            self._count(key, limit)

    def token_wait(self, address: str) -> int:
        """Tell for how many seconds no unknown token of this address is looked at; 0: it is."""
        return self._wait(("token", address), WRONG_TOKENS)

    def token_failed(self, address: str) -> None:
        """Count a wrong token."""
        self._count(("token", address), WRONG_TOKENS)

    def trial_wait(self, caller: str) -> int:
        """Tell for how many seconds this caller may try no task; 0: he may, and this one is counted."""
        with self._lock:
            wait = self._left(("trial", caller), TRIALS)
            if not wait:
                self._enter(("trial", caller), TRIALS)
        return wait

    def _wait(self, key: Key, limit: Limit) -> int:
        with self._lock:
            return self._left(key, limit)

    def _count(self, key: Key, limit: Limit) -> None:
        with self._lock:
            self._enter(key, limit)

    def _left(self, key: Key, limit: Limit) -> int:
        times = self._failed.get(key)
        until = times[0] + limit.seconds if times and len(times) == limit.failures else 0.0
        return max(0, ceil(until - monotonic()))

    def _enter(self, key: Key, limit: Limit) -> None:
        if len(self._failed) >= MOST_KEYS and key not in self._failed:
            self._failed.pop(next(iter(self._failed)))  # the one that was first wrong longest ago
        self._failed.setdefault(key, deque(maxlen=limit.failures)).append(monotonic())


def _login(address: str, name: str) -> dict[Key, Limit]:
    name = _one_spelling(name)
    return {("both", address, name): BY_BOTH, ("address", address): BY_ADDRESS, ("name", name): BY_NAME}


def _one_spelling(name: str) -> str:
    """Spell a name in one way: databases take letters with and without accents, and ends of spaces, for the same."""
    return "".join(letter for letter in normalize("NFKD", name) if not combining(letter)).strip().casefold()
