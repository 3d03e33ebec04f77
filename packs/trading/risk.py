"""Risk figures from a series of closes. Pure. Returns are simple, day to day; figures are fractions, not per cent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import Final

TRADING_DAYS: Final = 252  # a year, as volatility is told
LEAST_RETURNS: Final = 20  # fewer say nothing about a tail


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """Yearly volatility; the deepest fall from a peak; losses that 5 % and 1 % of days exceed, and the mean of the 5 %.

    A VaR below zero would be a gain and is told as 0.
    """

    days: int
    volatility: float
    max_drawdown: float
    var_95: float
    var_99: float
    cvar_95: float

    @property
    def level(self) -> str:
        """`low` up to 20 % volatility a year, `medium` up to 40 %, else `high`."""
        return "low" if self.volatility <= 0.2 else "medium" if self.volatility <= 0.4 else "high"


def returns_of(closes: Sequence[float]) -> list[float]:
    """What each day brought, against the day before."""
    return [later / earlier - 1 for earlier, later in pairwise(closes)]


def figures_of(closes: Sequence[float]) -> RiskFigures | None:
    """Compute the risk of adjusted closes, oldest first. None: too few."""
    returns = returns_of(closes)
    if len(returns) < LEAST_RETURNS:
        return None
    tail = quantile(returns, 0.05)
    return RiskFigures(
        days=len(returns),
        volatility=stdev(returns) * math.sqrt(TRADING_DAYS),
        max_drawdown=max_drawdown(closes),
        var_95=max(-tail, 0.0),
        var_99=max(-quantile(returns, 0.01), 0.0),
        cvar_95=max(-fmean([value for value in returns if value <= tail]), 0.0),
    )


def max_drawdown(closes: Sequence[float]) -> float:
    """The deepest fall from a peak, as a fraction of the peak."""
    peak, deepest = -math.inf, 0.0
    for close in closes:
        peak = max(peak, close)
        deepest = max(deepest, 1 - close / peak)
    return deepest


def quantile(values: Sequence[float], share: float) -> float:
    """Interpolate between the two nearest values, as numpy and pandas do."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * share
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def beta(returns: Sequence[float], market: Sequence[float]) -> float | None:
    """How a stock moves with the market, by the returns of the same days. None: too few, or a still market."""
    if len(returns) < LEAST_RETURNS:
        return None
    mean, mean_market = fmean(returns), fmean(market)
    variance = sum((each - mean_market) ** 2 for each in market)
    if variance == 0:
        return None
    return sum((a - mean) * (b - mean_market) for a, b in zip(returns, market, strict=True)) / variance
