"""What a source of market data answers, whichever it is. Sources know no tables.

Symbols: six digits are a stock of Shanghai, Shenzhen or Beijing; `sh000300`, `sz399001` an index there; letters a
stock in New York. Prices are as traded; `adj_factor` makes days before and after a split or a dividend comparable.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Protocol

from core.outcome import AgentError, ErrorKind

_CHINESE: Final = re.compile(r"(sh|sz|bj)?\d{6}", re.IGNORECASE)
_INDEX: Final = re.compile(r"(sh|sz)(\d{6})", re.IGNORECASE)
MOST_SHARES: Final = 2**63 - 1  # what the column holds
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One trading day. Volume in shares, amount in the exchange's currency."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    amount: float | None = None
    adj_factor: float = 1.0

    def fault(self, last: date) -> str | None:
        """Say why this cannot be what was traded up to a day; None: it can."""
        if self.day > last:
            return f"{self.day}: asked for days up to {last}"
        prices = (self.open, self.high, self.low, self.close, self.adj_factor)
        if not all(math.isfinite(value) and value > 0 for value in prices):
            return f"{self.day}: a price is not above zero"
        if self.low > min(self.open, self.close) or self.high < max(self.open, self.close):
            return f"{self.day}: open or close lies outside low {self.low:g} to high {self.high:g}"
        return None if 0 <= self.volume <= MOST_SHARES else f"{self.day}: the volume is {self.volume}"


@dataclass(frozen=True, slots=True)
class Quote:
    """What a symbol costs now. `at`: the source's own moment (UTC); None: it names none."""

    symbol: str
    price: float
    at: datetime | None = None
    previous_close: float | None = None
    volume: int | None = None
    amount: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a company reported for a period. Return on equity in per cent, money in the company's currency."""

    period_end: date
    revenue: float | None
    net_profit: float | None
    earnings_per_share: float | None
    return_on_equity: float | None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Article:
    """A piece of news. `published_at` is UTC."""

    title: str
    published_at: datetime
    content: str = ""
    url: str | None = None
    publisher: str | None = None

    @property
    def language(self) -> str:
        """`zh` where a Chinese character stands in the title, else `en`."""
        return "zh" if _HAN.search(self.title) else "en"


class Source(Protocol):
    """Where data come from. Each method asks for one symbol and raises AgentError where it gets no answer.

    CONFIG: something is not set up, for every symbol alike; any other kind concerns this symbol, now.
    """

    @property
    def name(self) -> str:
        """As rows say where they come from."""
        ...

    def bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        """The traded days from first to last, oldest first."""
        ...

    def quote(self, symbol: str) -> Quote:
        """The price now."""
        ...

    def reports(self, symbol: str) -> list[Report]:
        """Every reported period."""
        ...

    def news(self, symbol: str, limit: int) -> list[Article]:
        """The latest articles, newest first, at most `limit`."""
        ...


def exchange_of(symbol: str) -> str:
    """Name the calendar that a symbol is traded by."""
    return "XSHG" if _CHINESE.fullmatch(symbol) else "XNYS"


def index_code(symbol: str) -> tuple[str, str] | None:
    """Split an index into exchange and digits: ("sh", "000300"). None: a stock."""
    found = _INDEX.fullmatch(symbol)
    return (found[1].lower(), found[2]) if found else None


def rows_of(frame: Any) -> Iterator[dict[str, Any]]:
    """Read a pandas table row by row."""
    yield from frame.to_dict("records")


def number(value: Any) -> float | None:
    """Read a figure; None for what is none (`NaN`, `-`, `None`)."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        return None
    return read if math.isfinite(read) else None


def price(row: dict[str, Any], column: str, symbol: str) -> float:
    """Read a figure that must be there. Raises AgentError PROTOCOL."""
    if column not in row:
        raise AgentError(ErrorKind.PROTOCOL, f"{symbol}: the answer has no column {column!r}; it has {sorted(row)}")
    found = number(row[column])
    if found is None:
        raise AgentError(ErrorKind.PROTOCOL, f"{symbol}: {column} is {row[column]!r} and no number")
    return found


def day_of(value: Any) -> date:
    """Read 2025-01-20, 20250120, a date or a timestamp. Raises ValueError."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    return date.fromisoformat(str(value).strip()[:10])
