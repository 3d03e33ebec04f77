"""The coming week's load and the outcomes of the past weeks, worked out beside the requests.

Walking the rules takes a second where there are many: a thread does it once somebody asks, and what it has found is
good for a minute. Who asks meanwhile gets what is known already.
"""

import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.exc import SQLAlchemyError

from api.load import coming
from api.services import Services
from core.load import MINUTE
from logger import redact
from store import outcomes
from store.database import autocommit, in_words

DAYS: Final = 7
HOURS: Final = 24
PAST_DAYS: Final = 28
PAUSE: Final = 0.005  # between the days: requests are answered by the same process
GOOD_FOR: Final = 60.0
BEAT_READS: Final = 3.0  # seconds within which a beat has armed the rows that were changed
TOP_MINUTES: Final = 500

logger = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the past; `counts` by state, None: not counted yet."""

    day: date
    since: datetime
    until: datetime
    counts: Mapping[str, int] | None = None

    @property
    def runs(self) -> int:
        """How many runs were made."""
        return sum((self.counts or {}).values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return (self.counts or {}).get("FAILURE", 0)

    @property
    def is_capped(self) -> bool:
        """True where there were more than are counted."""
        return self.runs >= outcomes.COUNTED


@dataclass(frozen=True, slots=True)
class Forecast:
    """Fires for each hour of seven days, from midnight of today in the installation's zone."""

    edges: Sequence[datetime]
    past: Sequence[Day]
    fires: Sequence[float] = (0.0,) * (DAYS * HOURS)
    minutes: Sequence[tuple[datetime, float]] = ()
    """The fullest minutes, the fullest first."""
    exact: int = 0
    """Rows whose every moment is in it; of `estimated` ones a mean, or the next moment only."""
    estimated: int = 0
    more: bool = False
    """There are rows beyond those looked at."""
    is_made: bool = False


class LoadLook:
    """Remembers the last forecast, and has it made anew. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services, self._zone = services, ZoneInfo(services.settings.timezone)
        self._lock = Lock()
        self._forecast: Forecast | None = None
        self._past: dict[date, Day] = {}
        self._made_at = float("-inf")
        self._is_making = False
        self._has_changed = False

    @property
    def moves(self) -> bool:
        """True while something else is to be told soon."""
        return self._is_making or self._has_changed

    def ask(self, now: datetime) -> Forecast:
        """Tell what is known; begin to make a new one where that is old, or of another day."""
        edges = hours_from(now, self._zone)
        with self._lock:
            known = self._forecast
            if known is None or known.edges[0] != edges[0]:
                known = Forecast(edges, days_before(now, self._zone))
                self._made_at = float("-inf")
            if monotonic() - self._made_at > GOOD_FOR and not self._is_making:
                self._is_making, self._has_changed = True, False
                Thread(target=self._make, args=(now, edges), name="load", daemon=True).start()
            return known

    def forget(self) -> None:
        """Somebody has changed what is to come; beat reads that first."""
        with self._lock:
            self._made_at, self._has_changed = monotonic() - GOOD_FOR + BEAT_READS, True

    def _make(self, now: datetime, edges: Sequence[datetime]) -> None:
        try:
            made = self._coming(now, edges)
            with self._lock:
                self._forecast = made
            self._count_days(now)
        except SQLAlchemyError as error:
            logger.warning("the forecast of load is not made: %s", redact(in_words(error)))
        except Exception:  # the edge of the thread: whoever asks next has it tried again
            logger.exception("the forecast of load failed")
        finally:
            with self._lock:
                self._is_making = False
                if not self._has_changed:  # else it is made anew as `forget` says
                    self._made_at = monotonic()

    def _coming(self, now: datetime, edges: Sequence[datetime]) -> Forecast:
        found, more = coming(self._services, DAYS)
        fires = [0.0] * (DAYS * HOURS)
        for place, rows in found.minutes.items():
            minute = found.first + place * MINUTE
            if now - MINUTE < minute < edges[-1]:
                fires[bisect_right(edges, minute) - 1] += rows
        return Forecast(
            edges,
            self._forecast.past if self._forecast is not None else days_before(now, self._zone),
            fires,
            [peak for peak in found.peaks(TOP_MINUTES) if peak[0] > now],
            found.walked,
            found.thinned + found.once,
            more,
            is_made=True,
        )

    def _count_days(self, now: datetime) -> None:
        """Count the runs of each past day; what has been counted of days that are over stays so."""
        wanted = days_before(now, self._zone)
        for day in reversed(wanted):
            if day.day not in self._past or day.until > now - timedelta(days=1):
                with autocommit(self._services.engine) as connection:
                    counts = outcomes.by_state(connection, day.since, min(day.until, now))
                self._past[day.day] = replace(day, counts=counts)
                sleep(PAUSE)
        self._past = {day.day: self._past[day.day] for day in wanted}
        with self._lock:
            if self._forecast is not None:
                self._forecast = replace(self._forecast, past=list(self._past.values()))


def hours_from(now: datetime, zone: ZoneInfo) -> list[datetime]:
    """List the hours of seven days of a zone's clocks from today's midnight on, and the end of the last one.

    An hour that the clocks leave out has no length; one that they show twice is two hours long.
    """
    today = now.astimezone(zone).date()
    walls = [datetime.combine(today + timedelta(days=day), time(hour)) for day in range(DAYS) for hour in range(HOURS)]
    walls.append(datetime.combine(today + timedelta(days=DAYS), time()))
    moments = [wall.replace(tzinfo=zone).astimezone(now.tzinfo) for wall in walls]
    return [max(moments[: place + 1]) for place in range(len(moments))]


def days_before(now: datetime, zone: ZoneInfo) -> list[Day]:
    """List the days of four weeks of a zone's clocks, from a Monday on, the last of them today."""
    today = now.astimezone(zone).date()
    first = today - timedelta(days=today.weekday() + PAST_DAYS - 7)
    days = [first + timedelta(days=number) for number in range((today - first).days + 1)]

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time(), zone).astimezone(now.tzinfo)

    return [Day(day, midnight(day), midnight(day + timedelta(days=1))) for day in days]
