"""Tushare: A-share data from its service, with a token (TUSHARE_TOKEN). Columns are those of its documentation."""

from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from config import put_into_environment
from core.outcome import AgentError, ErrorKind
from packs.extras import load
from packs.trading.sources.base import Article, DailyBar, Quote, Report, day_of, index_code, number, price, rows_of

LOT: Final = 100  # shares: `vol` is told in lots
THOUSAND: Final = 1000  # `amount` is told in thousands
SECONDS: Final = 30
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
NEWS_SOURCE: Final = "sina"
MOMENT: Final = "%Y-%m-%d %H:%M:%S"


class Tushare:
    """`ts`: the module, or what stands in for it. Raises AgentError CONFIG without a token."""

    name = "tushare"

    def __init__(self, token: str, ts: Any = None) -> None:
        if not token:
            raise AgentError(ErrorKind.CONFIG, "TRADING_SOURCE=tushare needs TUSHARE_TOKEN")
        self._token = token
        self._ts = load("tushare", "requirements-trading-sources.txt") if ts is None else ts
        self._pro = self._ts.pro_api(token, timeout=SECONDS)
        put_into_environment(
            "TS_TOKEN", token
        )  # realtime_quote looks for it nowhere else, but in a file of the home folder
        self._news: list[dict[str, Any]] | None = None

    def bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        """`daily` with `adj_factor`; an index by `index_daily`, which has no factor."""
        asked = {"ts_code": ts_code(symbol), "start_date": f"{first:%Y%m%d}", "end_date": f"{last:%Y%m%d}"}
        if index_code(symbol):
            rows, factors = self._ask("index_daily", symbol, **asked), None
        else:
            rows = self._ask("daily", symbol, **asked)
            factors = {
                row["trade_date"]: price(row, "adj_factor", symbol) for row in self._ask("adj_factor", symbol, **asked)
            }
        bars = []
        for row in rows:
            factor = 1.0 if factors is None else factors.get(row["trade_date"])
            if factor is None:
                raise AgentError(ErrorKind.PROTOCOL, f"{symbol}: {row['trade_date']} has no adj_factor")
            amount = number(row.get("amount"))
            bars.append(
                DailyBar(
                    day_of(row["trade_date"]),
                    price(row, "open", symbol),
                    price(row, "high", symbol),
                    price(row, "low", symbol),
                    price(row, "close", symbol),
                    round(price(row, "vol", symbol) * LOT),
                    None if amount is None else amount * THOUSAND,
                    factor,
                )
            )
        return sorted(bars, key=lambda bar: bar.day)

    def quote(self, symbol: str) -> Quote:
        """`realtime_quote`."""
        rows = list(rows_of(self._call(symbol, "realtime_quote", self._ts.realtime_quote, ts_code=ts_code(symbol))))
        if not rows:
            raise AgentError(ErrorKind.EMPTY, f"{symbol}: Tushare has no price")
        row = rows[0]
        at = datetime.strptime(f"{row['DATE']} {row['TIME']}", "%Y%m%d %H:%M:%S").replace(tzinfo=SHANGHAI)
        volume = number(row.get("VOLUME"))
        return Quote(
            symbol,
            price(row, "PRICE", symbol),
            at,
            number(row.get("PRE_CLOSE")),
            None if volume is None else round(volume),
            number(row.get("AMOUNT")),
        )

    def reports(self, symbol: str) -> list[Report]:
        """`fina_indicator` for the ratios, `income` for revenue and profit."""
        code = ts_code(symbol)
        income = {row["end_date"]: row for row in self._ask("income", symbol, ts_code=code)}
        reports = {}
        for row in self._ask("fina_indicator", symbol, ts_code=code):
            earned = income.get(row["end_date"], {})
            figures = {name: value for name, value in {**earned, **row}.items() if number(value) is not None}
            reports[row["end_date"]] = Report(
                day_of(row["end_date"]),
                number(earned.get("total_revenue")),
                number(earned.get("n_income_attr_p")),
                number(row.get("eps")),
                number(row.get("roe")),
                {name: number(value) for name, value in figures.items() if name not in {"ann_date", "end_date"}},
            )
        return list(reports.values())

    def news(self, symbol: str, limit: int) -> list[Article]:
        """`news` of the last day, asked for once, of which those count that name the company."""
        company = self._name_of(symbol)
        if self._news is None:
            now = datetime.now(SHANGHAI)
            window = {"start_date": f"{now - timedelta(days=1):{MOMENT}}", "end_date": f"{now:{MOMENT}}"}
            self._news = self._ask("news", symbol, src=NEWS_SOURCE, **window)
        found = []
        for row in self._news:
            title, content = str(row.get("title") or ""), str(row.get("content") or "")
            if company in title or company in content or symbol in content:
                at = datetime.fromisoformat(str(row["datetime"])).replace(tzinfo=SHANGHAI)
                found.append(Article((title or content)[:500], at, content, publisher=NEWS_SOURCE))
        return sorted(found, key=lambda article: article.published_at, reverse=True)[:limit]

    def _name_of(self, symbol: str) -> str:
        rows = self._ask("stock_basic", symbol, ts_code=ts_code(symbol), fields="ts_code,name")
        if not rows:
            raise AgentError(ErrorKind.NOT_FOUND, f"{symbol}: Tushare knows no such stock")
        return str(rows[0]["name"])

    def _ask(self, interface: str, symbol: str, **arguments: Any) -> list[dict[str, Any]]:
        return list(rows_of(self._call(symbol, interface, getattr(self._pro, interface), **arguments)))

    def _call(self, symbol: str, interface: str, function: Any, **arguments: Any) -> Any:
        try:
            return function(**arguments)
        except Exception as error:  # the edge: its client raises bare Exception with the service's words
            words = str(error).replace(self._token, "***")
            if "最多访问" in words:  # so many calls a minute; the sentence goes on about rights (权限)
                kind = ErrorKind.THROTTLED
            else:
                kind = ErrorKind.AUTH if "token" in words.lower() or "权限" in words else ErrorKind.UNAVAILABLE
            raise AgentError(kind, f"{symbol}: Tushare {interface}: {words}") from None


def ts_code(symbol: str) -> str:
    """Write a symbol as Tushare does: 600519.SH, 000858.SZ, 830799.BJ, 000300.SH for sh000300."""
    if (index := index_code(symbol)) is not None:
        return f"{index[1]}.{index[0].upper()}"
    exchange = "SH" if symbol.startswith("6") else "BJ" if symbol.startswith(("4", "8", "92")) else "SZ"
    return f"{symbol}.{exchange}"
