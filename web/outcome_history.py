"""The outcomes of the last day by half hours, counted beside the requests: nobody waits long for them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from logger import redact
from store import outcomes
from store.database import autocommit, in_words

STEP: Final = timedelta(minutes=30)
STEPS: Final = 48
MOVING: Final = timedelta(hours=1)  # runs made longer ago than this have mostly ended
MOVING_SECONDS: Final = 4.0
SETTLED_SECONDS: Final = 600.0
PATIENCE: Final = 0.05  # seconds that who asks first waits for what was never counted

logger = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Half an hour; `counts` None: not counted yet."""

    since: datetime
    counts: dict[str, int] | None

    @property
    def is_capped(self) -> bool:
        """True where there may be more runs than are counted."""
        return sum((self.counts or {}).values()) >= outcomes.COUNTED


@dataclass(slots=True)
class _Counted:
    counts: dict[str, int] | None = None
    at: float = field(default=float("-inf"))


class OutcomeHistory:
    """Remembers what was counted; a single thread counts what is out of date, the newest first. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counted: dict[datetime, _Counted] = {}
        self._lock = Lock()
        self._is_counting = False
        self._round = Event()

    def ask(self, now: datetime) -> list[Stretch]:
        """Tell of the last day, the oldest stretch first, as far as it is known. `now` is the database's clock."""
        newest = datetime.fromtimestamp(now.timestamp() // STEP.total_seconds() * STEP.total_seconds(), UTC)
        wanted = [newest - STEP * n for n in range(STEPS)]
        with self._lock:
            self._counted = {since: self._counted.get(since, _Counted()) for since in wanted}
            old = [(since, each) for since, each in self._counted.items() if _is_old(since, each, now)]
            if old and not self._is_counting:
                self._is_counting, self._round = True, Event()
                Thread(target=self._count, args=(old, self._round), name="outcomes", daemon=True).start()
            is_new, counted = any(each.counts is None for each in self._counted.values()), self._round
        if is_new:
            counted.wait(PATIENCE)
        with self._lock:
            known = {since: each.counts for since, each in self._counted.items()}
        return [Stretch(since, known.get(since)) for since in reversed(wanted)]

    def _count(self, old: Sequence[tuple[datetime, _Counted]], done: Event) -> None:
        try:
            for since, each in old:
                with autocommit(self._engine) as connection:
                    each.counts = outcomes.by_state(connection, since, since + STEP)
                each.at = monotonic()
        except SQLAlchemyError as error:
            logger.warning("the runs are not counted: %s", redact(in_words(error)))
        except Exception:  # the edge of the thread: whoever asks next has it tried again
            logger.exception("the runs are not counted")
        finally:
            with self._lock:
                self._is_counting = False
            done.set()


def _is_old(since: datetime, counted: _Counted, now: datetime) -> bool:
    lasts = MOVING_SECONDS if since + STEP > now - MOVING else SETTLED_SECONDS
    return monotonic() - counted.at > lasts
