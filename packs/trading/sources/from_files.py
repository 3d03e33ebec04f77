"""CSV and Parquet files in a folder (TRADING_DATA_DIR), as an exchange, a vendor or another system puts them there.

- `bars/<symbol>.csv` or `.parquet`: date, open, high, low, close, volume; and, where there are, amount, and adj_close
  or adj_factor
- `prices.csv`: symbol, at (UTC, or with its offset), price; and previous_close, volume, amount: the latest line counts
- `reports/<symbol>.csv`: period_end; revenue, net_profit, earnings_per_share, return_on_equity, and anything else
- `news.csv`: symbol, published_at, title; content, url, publisher
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from core.outcome import AgentError, ErrorKind
from packs.extras import load
from packs.trading.sources.base import Article, DailyBar, Quote, Report, day_of, number, price, rows_of


class Files:
    """Reads a file whenever it is asked: what is copied there counts at once."""

    name = "files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pandas = load("pandas", "requirements-trading.txt")

    def bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        """`bars/<symbol>`."""
        bars = []
        for row in self._rows(f"bars/{symbol}"):
            day = self._day(row.get("date"), symbol)
            if first <= day <= last:
                close = price(row, "close", symbol)
                factor = number(row.get("adj_factor"))
                adjusted = number(row.get("adj_close"))
                bars.append(
                    DailyBar(
                        day,
                        price(row, "open", symbol),
                        price(row, "high", symbol),
                        price(row, "low", symbol),
                        close,
                        round(price(row, "volume", symbol)),
                        number(row.get("amount")),
                        factor or (adjusted / close if adjusted and close else 1.0),
                    )
                )
        return sorted(bars, key=lambda bar: bar.day)

    def quote(self, symbol: str) -> Quote:
        """The latest line of `prices.csv`."""
        quotes = [
            Quote(
                symbol,
                price(row, "price", symbol),
                _moment(row.get("at"), symbol),
                number(row.get("previous_close")),
                None if (volume := number(row.get("volume"))) is None else round(volume),
                number(row.get("amount")),
            )
            for row in self._rows("prices", dtype={"symbol": str})
            if row.get("symbol") == symbol
        ]
        if not quotes:
            raise AgentError(ErrorKind.NOT_FOUND, f"{symbol}: prices.csv has no line for it")
        return max(quotes, key=lambda quote: quote.at or datetime.min.replace(tzinfo=UTC))

    def reports(self, symbol: str) -> list[Report]:
        """`reports/<symbol>`."""
        return [
            Report(
                self._day(row.get("period_end"), symbol),
                number(row.get("revenue")),
                number(row.get("net_profit")),
                number(row.get("earnings_per_share")),
                number(row.get("return_on_equity")),
                {name: number(value) for name, value in row.items() if name != "period_end"},
            )
            for row in self._rows(f"reports/{symbol}")
        ]

    def news(self, symbol: str, limit: int) -> list[Article]:
        """The lines of `news.csv`."""
        found = [
            Article(
                str(row["title"]),
                _moment(row.get("published_at"), symbol),
                _text(row.get("content")) or "",
                _text(row.get("url")),
                _text(row.get("publisher")),
            )
            for row in self._rows("news", dtype=str)
            if row.get("symbol") == symbol and _text(row.get("title"))
        ]
        return sorted(found, key=lambda article: article.published_at, reverse=True)[:limit]

    def _rows(self, stem: str, **options: Any) -> list[dict[str, Any]]:
        """Read a file. Raises AgentError NOT_FOUND, or INVALID where it cannot be read."""
        for suffix, read in ((".csv", self._pandas.read_csv), (".parquet", self._pandas.read_parquet)):
            path = self._folder / f"{stem}{suffix}"
            if path.is_file():
                try:
                    return list(rows_of(read(path, **(options if suffix == ".csv" else {}))))
                except Exception as error:  # the edge to whatever may be in a file
                    raise AgentError(ErrorKind.INVALID, f"{path}: cannot be read: {error}") from error
        raise AgentError(ErrorKind.NOT_FOUND, f"{self._folder / stem}.csv or .parquet is not there")

    def _day(self, value: Any, symbol: str) -> date:
        try:
            return day_of(value)
        except ValueError:
            raise AgentError(ErrorKind.INVALID, f"{symbol}: {value!r} is no date such as 2025-01-20") from None


def _moment(value: Any, symbol: str) -> datetime:
    """Read a time; one without a zone is UTC. Raises AgentError INVALID."""
    try:
        moment = value.to_pydatetime() if hasattr(value, "to_pydatetime") else datetime.fromisoformat(str(value))
    except ValueError:
        raise AgentError(ErrorKind.INVALID, f"{symbol}: {value!r} is no time such as 2025-01-20T09:35:00Z") from None
    assert isinstance(moment, datetime)  # noqa: S101 - narrows the type only
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(value: Any) -> str | None:
    """Read a cell; an empty one is NaN to pandas."""
    return value if isinstance(value, str) and value else None
