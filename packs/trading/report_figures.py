"""The figures of reports, from daily bars. Pure; changes are fractions, adjusted for splits and dividends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev
from typing import Final

TRADING_DAYS: Final = 252  # of a year


@dataclass(frozen=True, slots=True)
class Day:
    """A trading day of a symbol."""

    day: date
    close: float
    adj_factor: float = 1.0
    volume: float = 0.0
    amount: float | None = None

    @property
    def adjusted(self) -> float:
        """The close as it compares with other days."""
        return self.close * self.adj_factor


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of a symbol, and what one share cost."""

    symbol: str
    quantity: float
    cost_price: float
    name: str | None = None

    @property
    def label(self) -> str:
        """Its symbol with its name."""
        return f"{self.symbol} {self.name}" if self.name else self.symbol


@dataclass(frozen=True, slots=True)
class Holding:
    """A position at the end of a week. `weekly` is None for one without a bar before the week, or in it."""

    position: Position
    close: float
    value: float
    weight: float
    profit: float
    profit_rate: float | None
    weekly: float | None
    weekly_profit: float | None


def change(days: Sequence[Day], back: int) -> float | None:
    """Compute the change from `back` days before the last one; None while the history is too short."""
    if len(days) <= back or days[-1 - back].adjusted == 0:
        return None
    return days[-1].adjusted / days[-1 - back].adjusted - 1


def volume_ratio(days: Sequence[Day], back: int = 5) -> float | None:
    """Compare the last day's volume with the mean of those before it."""
    usual = [day.volume for day in days[-1 - back : -1]]
    return days[-1].volume / fmean(usual) if usual and fmean(usual) > 0 else None


@dataclass(frozen=True, slots=True)
class Performance:
    """How a symbol did over some days. `volatility` is a year's, `drawdown` the deepest fall from a height."""

    total: float
    volatility: float | None
    drawdown: float
    first: Day
    last: Day


def performance(days: Sequence[Day]) -> Performance | None:
    """Compute it from at least two days."""
    if len(days) < 2 or days[0].adjusted == 0:
        return None
    returns = [after.adjusted / before.adjusted - 1 for before, after in pairwise(days)]
    height, deepest = days[0].adjusted, 0.0
    for each in days:
        height = max(height, each.adjusted)
        deepest = min(deepest, each.adjusted / height - 1)
    volatility = stdev(returns) * sqrt(TRADING_DAYS) if len(returns) > 1 else None
    return Performance(days[-1].adjusted / days[0].adjusted - 1, volatility, -deepest, days[0], days[-1])


def holdings(
    positions: Sequence[Position], bars: Mapping[str, Sequence[Day]], week_start: date
) -> tuple[list[Holding], list[Position]]:
    """Value positions at the last bar of each, the largest first; and name those that have none."""
    valued = [(position, bars[position.symbol]) for position in positions if bars.get(position.symbol)]
    total = sum(position.quantity * days[-1].close for position, days in valued)
    found = [_holding(position, days, week_start, total) for position, days in valued]
    without = [position for position in positions if not bars.get(position.symbol)]
    return sorted(found, key=lambda holding: -holding.value), without


def _holding(position: Position, days: Sequence[Day], week_start: date, total: float) -> Holding:
    last = days[-1]
    value = position.quantity * last.close
    cost = position.quantity * position.cost_price
    before = [day for day in days if day.day < week_start]
    has_moved = last.day >= week_start and before and before[-1].adjusted and last.adjusted
    weekly = last.adjusted / before[-1].adjusted - 1 if has_moved else None
    return Holding(
        position=position,
        close=last.close,
        value=value,
        weight=value / total if total else 0.0,
        profit=value - cost,
        profit_rate=(value - cost) / cost if cost else None,
        weekly=weekly,
        weekly_profit=None if weekly is None else value - value / (1 + weekly),
    )


def value_by_day(positions: Sequence[Position], bars: Mapping[str, Sequence[Day]]) -> dict[date, float]:
    """Value what is held now on each day that every held symbol has a bar of, in adjusted prices of the last day."""
    held = [position for position in positions if bars.get(position.symbol)]
    if not held:
        return {}
    closes = {position.symbol: {day.day: day for day in bars[position.symbol]} for position in held}
    days = set.intersection(*(set(by_day) for by_day in closes.values()))
    return {
        day: sum(
            position.quantity * closes[position.symbol][day].adjusted / bars[position.symbol][-1].adj_factor
            for position in held
        )
        for day in sorted(days)
    }
