"""AkShare: A-share data from public web pages. No account.

Calls and columns are those of the functions named here; AkShare's own requests to most pages have no time limit, so a
page that never answers holds a run until its `timeout`.
"""

from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.outcome import AgentError, ErrorKind
from packs.extras import load
from packs.trading.sources.base import Article, DailyBar, Quote, Report, day_of, index_code, number, price, rows_of

LOT: Final = 100  # shares: volumes are told in lots
SECONDS: Final = 20.0
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
#: Rows of stock_financial_abstract.
REVENUE, NET_PROFIT = "营业总收入", "归母净利润"
EPS, ROE = "基本每股收益", "净资产收益率(ROE)"


class AkShare:
    """`ak`: the module, or what stands in for it."""

    name = "akshare"

    def __init__(self, ak: Any = None) -> None:
        self._ak = load("akshare", "requirements-trading-sources.txt") if ak is None else ak

    def bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        """`stock_zh_a_hist`, as traded and adjusted backwards (`hfq`), whose past never changes."""
        if index_code(symbol):
            return self._index_bars(symbol, first, last)
        asked = {
            "symbol": symbol,
            "period": "daily",
            "start_date": f"{first:%Y%m%d}",
            "end_date": f"{last:%Y%m%d}",
            "timeout": SECONDS,
        }
        traded = self._ask("stock_zh_a_hist", symbol, **asked, adjust="")
        adjusted = self._ask("stock_zh_a_hist", symbol, **asked, adjust="hfq")
        later = {day_of(row["日期"]): price(row, "收盘", symbol) for row in rows_of(adjusted)}
        bars = []
        for row in rows_of(traded):
            day, close = day_of(row["日期"]), price(row, "收盘", symbol)
            if day not in later:
                raise AgentError(ErrorKind.PROTOCOL, f"{symbol}: {day} has no adjusted price")
            bars.append(
                DailyBar(
                    day,
                    price(row, "开盘", symbol),
                    price(row, "最高", symbol),
                    price(row, "最低", symbol),
                    close,
                    round(price(row, "成交量", symbol) * LOT),
                    number(row.get("成交额")),
                    later[day] / close,
                )
            )
        return sorted(bars, key=lambda bar: bar.day)

    def _index_bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        """`stock_zh_index_daily`, which gives the whole history."""
        found = []
        for row in rows_of(self._ask("stock_zh_index_daily", symbol, symbol=symbol.lower())):
            day = day_of(row["date"])
            if first <= day <= last:
                found.append(
                    DailyBar(
                        day,
                        price(row, "open", symbol),
                        price(row, "high", symbol),
                        price(row, "low", symbol),
                        price(row, "close", symbol),
                        round(price(row, "volume", symbol)),
                    )
                )
        return found

    def quote(self, symbol: str) -> Quote:
        """`stock_bid_ask_em`: one table of items and values."""
        items = {row["item"]: row["value"] for row in rows_of(self._ask("stock_bid_ask_em", symbol, symbol=symbol))}
        lots = number(items.get("总手"))
        return Quote(
            symbol,
            price(items, "最新", symbol),
            previous_close=number(items.get("昨收")),
            volume=None if lots is None else round(lots * LOT),
            amount=number(items.get("金额")),
        )

    def reports(self, symbol: str) -> list[Report]:
        """`stock_financial_abstract`: a row a figure, a column a period."""
        rows = list(rows_of(self._ask("stock_financial_abstract", symbol, symbol=symbol)))
        periods = [name for name in (rows[0] if rows else {}) if str(name).isdigit()]
        reports = []
        for period in periods:
            figures: dict[str, Any] = {}
            for row in rows:
                figures.setdefault(str(row["指标"]), number(row[period]))
            revenue, profit, share, equity = (figures.get(name) for name in (REVENUE, NET_PROFIT, EPS, ROE))
            reports.append(Report(day_of(period), revenue, profit, share, equity, figures))
        return reports

    def news(self, symbol: str, limit: int) -> list[Article]:
        """`stock_news_em`: at most the latest hundred."""
        found = [
            Article(
                str(row["新闻标题"]).strip(),
                datetime.fromisoformat(str(row["发布时间"])).replace(tzinfo=SHANGHAI),
                str(row["新闻内容"]),
                str(row["新闻链接"]),
                str(row["文章来源"]),
            )
            for row in rows_of(self._ask("stock_news_em", symbol, symbol=symbol))
        ]
        return sorted(found, key=lambda article: article.published_at, reverse=True)[:limit]

    def _ask(self, function: str, subject: str, **arguments: Any) -> Any:
        """Call AkShare. Its functions raise whatever the page they read made go wrong."""
        try:
            return getattr(self._ak, function)(**arguments)
        except Exception as error:  # the edge to a library that reads other people's pages
            said = f"{subject}: AkShare {function}: {type(error).__name__}: {error}"
            raise AgentError(ErrorKind.UNAVAILABLE, said) from error
