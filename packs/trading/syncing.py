"""What a symbol's daily sync has to ask for, and what it came to. The deciding part is pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import isclose
from typing import Final

from sqlalchemy import Engine

from core.calendars import Calendar
from packs.trading import market
from packs.trading.sources.base import DailyBar, Source

LOOK_BACK: Final = timedelta(days=730)  # a new symbol's history, and how far back gaps are looked for
OVERLAP: Final = timedelta(days=10)  # asked for again: a dividend since then shows in the adjustment


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of one symbol. `missing`: open days that the source has no bar for, such as a suspension's."""

    written: int
    gaps_filled: int
    readjusted: bool = False
    missing: Sequence[date] = ()
    faults: Sequence[str] = field(default=())


def expected_days(calendar: Calendar, first: date, last: date) -> list[date]:
    """Name the open days from first to last."""
    days = (first + timedelta(days=ahead) for ahead in range((last - first).days + 1))
    return [day for day in days if calendar.is_open(day)]


def ask_from(expected: Sequence[date], stored: Collection[date], last: date) -> date:
    """Decide since when to ask: the stored day before the first open one that is missing, else before the end.

    Without a day that is stored already, an adjustment that changed during a long pause would go unnoticed.
    """
    gap = next((day for day in expected if day not in stored), last)
    return min(max((day for day in stored if day < gap), default=gap), last - OVERLAP)


def is_readjusted(stored: Mapping[date, float], bars: Sequence[DailyBar]) -> bool:
    """Tell whether the source has changed the adjustment of days that are stored: then all of them are stale."""
    return any(not isclose(bar.adj_factor, stored[bar.day], rel_tol=1e-6) for bar in bars if bar.day in stored)


def sync_symbol(engine: Engine, source: Source, calendar: Calendar, symbol: str, last: date) -> Synced:
    """Bring a symbol's bars up to `last`. Whole or not at all; again, it goes on from what is stored.

    Raises AgentError where the source does not answer.
    """
    known_since = market.first_day(engine, symbol)
    first = last - LOOK_BACK if known_since is None else max(known_since, last - LOOK_BACK)
    stored = market.factors(engine, symbol, first, last)
    expected = expected_days(calendar, first, last)
    bars = source.bars(symbol, ask_from(expected, stored, last), last)
    readjusted = is_readjusted(stored, bars)
    if readjusted and known_since is not None:
        bars = source.bars(symbol, known_since, last)
    faults = [fault for bar in bars if (fault := bar.fault(last)) is not None]
    good = [bar for bar in bars if bar.fault(last) is None]
    market.write_bars(engine, symbol, source.name, good)
    days = {bar.day for bar in good}
    newest_stored = max(stored, default=None)
    filled = [day for day in days - stored.keys() if newest_stored is not None and day < newest_stored]
    begins = known_since or min(days, default=last)
    missing = [day for day in expected if day >= begins and day not in days and day not in stored]
    return Synced(len(good), len(filled), readjusted, missing, faults)
