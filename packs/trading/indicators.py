"""Technical indicators by TA-Lib, from adjusted prices: a split or a dividend is no fall."""

import math
from collections.abc import Sequence
from typing import Any, Final

from packs.extras import load
from store.database import AnyRow

REQUIREMENTS: Final = "requirements-trading.txt"
LEAST_BARS: Final = 5
WARM_UP: Final = 250  # bars before the first that is kept: averages that never forget have settled by then
KEPT: Final = 250


def adjusted_closes(bars: Sequence[AnyRow]) -> list[float]:
    """Closes, comparable over splits and dividends, the last one as it was traded."""
    scale = bars[-1].adj_factor if bars else 1.0
    return [bar.close * (bar.adj_factor / scale) for bar in bars]


def indicators_of(bars: Sequence[AnyRow]) -> list[dict[str, Any]]:
    """Compute the indicators of each day, oldest first; None while the history is too short.

    Moving averages 5 to 60, EMA and MACD 12/26/9, RSI 14, Bollinger bands 20 and 2, ATR 14, stochastics 9/3/3.
    Raises AgentError CONFIG where TA-Lib is not installed.
    """
    talib, numpy = load("talib", REQUIREMENTS), load("numpy", REQUIREMENTS)
    scale = bars[-1].adj_factor
    factor = numpy.array([bar.adj_factor / scale for bar in bars], dtype=float)
    high, low, close = (
        numpy.array([getattr(bar, name) for bar in bars], dtype=float) * factor for name in ("high", "low", "close")
    )
    macd, signal, histogram = talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    upper, middle, lower = talib.BBANDS(close, timeperiod=20, nbdevup=2, nbdevdn=2)
    k, d = talib.STOCH(high, low, close, fastk_period=9, slowk_period=3, slowd_period=3)
    columns = {
        "close": close,
        "ma5": talib.SMA(close, timeperiod=5),
        "ma10": talib.SMA(close, timeperiod=10),
        "ma20": talib.SMA(close, timeperiod=20),
        "ma60": talib.SMA(close, timeperiod=60),
        "ema12": talib.EMA(close, timeperiod=12),
        "ema26": talib.EMA(close, timeperiod=26),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": histogram,
        "rsi14": talib.RSI(close, timeperiod=14),
        "boll_upper": upper,
        "boll_middle": middle,
        "boll_lower": lower,
        "atr14": talib.ATR(high, low, close, timeperiod=14),
        "stoch_k": k,
        "stoch_d": d,
    }
    return [
        {"day": bar.day, **{name: _known(values[position]) for name, values in columns.items()}}
        for position, bar in enumerate(bars)
    ]


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
