"""AkShare and Tushare, by answers built from their documented columns: nothing here was recorded from either.

AkShare's are those that the source text of akshare 1.19.5 names; Tushare's those of its interface documentation.
"""

import os
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from config import Settings
from core.outcome import AgentError, ErrorKind
from packs.extras import load
from packs.trading.sources import configured
from packs.trading.sources.base import DailyBar, exchange_of
from packs.trading.sources.from_akshare import AkShare
from packs.trading.sources.from_tushare import Tushare, ts_code

FIRST, LAST = date(2025, 1, 17), date(2025, 1, 20)
TOKEN = "0123456789abcdef0123456789abcdef"


# -- AkShare --------------------------------------------------------------------------------------


def hist(symbol: str, period: str, start_date: str, end_date: str, adjust: str, timeout: float) -> "pd.DataFrame":
    assert (symbol, period, start_date, end_date) == ("600519", "daily", "20250117", "20250120")
    assert timeout > 0
    scale = {"": 1.0, "hfq": 8.0}[adjust]
    columns = (
        "日期", "股票代码", "开盘", "收盘", "最高", "最低", "成交量", "成交额", "振幅", "涨跌幅", "涨跌额", "换手率",
    )  # fmt: skip
    rows = [
        (date(2025, 1, 17), symbol, 1460.0, 1450.0, 1470.0, 1440.0, 30000, 4.4e9, 2.0, -0.5, -7.0, 0.24),
        (date(2025, 1, 20), symbol, 1455.0, 1480.0, 1485.0, 1450.0, 35000, 5.1e9, 2.4, 2.07, 30.0, 0.28),
    ]
    scaled = [(*row[:2], *(price * scale for price in row[2:6]), *row[6:]) for row in rows]
    return pd.DataFrame(scaled, columns=columns)


def akshare(**functions: Any) -> AkShare:
    return AkShare(SimpleNamespace(**functions))


def test_akshare_bars_are_in_shares_and_adjusted_backwards() -> None:
    bars = akshare(stock_zh_a_hist=hist).bars("600519", FIRST, LAST)

    assert bars[0] == DailyBar(date(2025, 1, 17), 1460.0, 1470.0, 1440.0, 1450.0, 3_000_000, 4.4e9, 8.0)
    assert [bar.day for bar in bars] == [FIRST, LAST]


def test_akshare_knows_an_index_by_its_exchange() -> None:
    def index(symbol: str) -> "pd.DataFrame":
        assert symbol == "sh000300"
        columns = ("date", "open", "high", "low", "close", "volume")
        days = (date(2025, 1, 16), FIRST, LAST, date(2025, 1, 21))
        return pd.DataFrame([(day, 3800.0, 3850.0, 3790.0, 3840.0, 1.2e10) for day in days], columns=columns)

    bars = akshare(stock_zh_index_daily=index).bars("SH000300", FIRST, LAST)

    assert bars == [DailyBar(day, 3800.0, 3850.0, 3790.0, 3840.0, 12_000_000_000) for day in (FIRST, LAST)]


def test_akshare_quote() -> None:
    items = [
        ("sell_1", 1481.0),
        ("最新", 1480.0),
        ("总手", 35000.0),
        ("金额", 5.1e9),
        ("昨收", 1450.0),
        ("涨停", 1595.0),
    ]
    table = pd.DataFrame(items, columns=["item", "value"])

    quote = akshare(stock_bid_ask_em=lambda symbol: table).quote("600519")

    assert (quote.price, quote.previous_close, quote.volume, quote.amount) == (1480.0, 1450.0, 3_500_000, 5.1e9)


def test_akshare_reports_are_turned_from_columns_into_periods() -> None:
    table = pd.DataFrame(
        [
            ("常用指标", "归母净利润", 608.28e8, 416.96e8),
            ("常用指标", "营业总收入", 1231.23e8, 834.51e8),
            ("常用指标", "基本每股收益", 48.42, 33.19),
            ("常用指标", "净资产收益率(ROE)", 26.09, 17.63),
            ("每股指标", "每股净资产_最新股数", float("nan"), 173.6),
            ("每股指标", "归母净利润", 1.0, 1.0),  # a name that comes twice: the first is the company's
        ],
        columns=["选项", "指标", "20240930", "20240630"],
    )

    latest, before = akshare(stock_financial_abstract=lambda symbol: table).reports("600519")

    assert latest.period_end == date(2024, 9, 30)
    assert (latest.revenue, latest.net_profit) == (1231.23e8, 608.28e8)
    assert (latest.earnings_per_share, latest.return_on_equity) == (48.42, 26.09)
    assert latest.figures["每股净资产_最新股数"] is None
    assert before.period_end == date(2024, 6, 30)


def test_akshare_news_are_in_utc_and_the_latest_first() -> None:
    columns = ("关键词", "新闻标题", "新闻内容", "发布时间", "文章来源", "新闻链接")
    rows = [
        ("600519", "白酒股走强", "……", "2025-01-20 09:31:00", "证券时报", "http://finance.example/1.html"),
        ("600519", "贵州茅台股价上涨", "……", "2025-01-20 14:05:00", "新华网", "http://finance.example/2.html"),
    ]
    source = akshare(stock_news_em=lambda symbol: pd.DataFrame(rows, columns=columns))

    (latest,) = source.news("600519", 1)

    assert (latest.title, latest.publisher, latest.language) == ("贵州茅台股价上涨", "新华网", "zh")
    assert latest.published_at == datetime(2025, 1, 20, 6, 5, tzinfo=UTC)


def test_what_akshare_raises_concerns_the_symbol_and_may_be_tried_again() -> None:
    def broken(symbol: str) -> Any:
        raise KeyError("data")

    with pytest.raises(AgentError, match="600519: AkShare stock_bid_ask_em: KeyError") as failed:
        akshare(stock_bid_ask_em=broken).quote("600519")
    assert failed.value.kind.retryable


def test_a_column_that_is_gone_is_named() -> None:
    table = pd.DataFrame([("最新价", 1480.0)], columns=["item", "value"])

    with pytest.raises(AgentError, match="no column '最新'") as failed:
        akshare(stock_bid_ask_em=lambda symbol: table).quote("600519")
    assert failed.value.kind is ErrorKind.PROTOCOL


# -- Tushare --------------------------------------------------------------------------------------


def tushare(**interfaces: Any) -> Tushare:
    realtime = interfaces.pop("realtime_quote", None)
    pro = SimpleNamespace(**interfaces)
    return Tushare(TOKEN, SimpleNamespace(pro_api=lambda token, timeout: pro, realtime_quote=realtime))


def daily(ts_code: str, start_date: str, end_date: str) -> "pd.DataFrame":
    assert (ts_code, start_date, end_date) == ("000858.SZ", "20250117", "20250120")
    columns = (
        "ts_code", "trade_date", "open", "high", "low", "close", "pre_close", "change", "pct_chg", "vol", "amount",
    )  # fmt: skip
    rows = [
        (ts_code, "20250120", 131.0, 133.0, 130.0, 132.5, 131.2, 1.3, 0.99, 150000.0, 1987500.0),
        (ts_code, "20250117", 130.0, 132.0, 129.5, 131.2, 130.1, 1.1, 0.85, 120000.0, 1574400.0),
    ]
    return pd.DataFrame(rows, columns=columns)


def adj_factor(ts_code: str, start_date: str, end_date: str) -> "pd.DataFrame":
    rows = [(ts_code, "20250120", 25.5), (ts_code, "20250117", 25.5)]
    return pd.DataFrame(rows, columns=["ts_code", "trade_date", "adj_factor"])


def test_tushare_bars_are_in_shares_and_yuan_with_their_factor() -> None:
    bars = tushare(daily=daily, adj_factor=adj_factor).bars("000858", FIRST, LAST)

    assert bars[0] == DailyBar(FIRST, 130.0, 132.0, 129.5, 131.2, 12_000_000, 1_574_400_000.0, 25.5)
    assert [bar.day for bar in bars] == [FIRST, LAST]


@pytest.mark.parametrize(
    ("symbol", "code"),
    [
        ("600519", "600519.SH"),
        ("000858", "000858.SZ"),
        ("300750", "300750.SZ"),
        ("830799", "830799.BJ"),
        ("920799", "920799.BJ"),
        ("sh000300", "000300.SH"),
    ],
)
def test_tushare_codes_name_the_exchange(symbol: str, code: str) -> None:
    assert ts_code(symbol) == code


def test_tushare_quote_has_its_own_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("NAME", "TS_CODE", "DATE", "TIME", "OPEN", "PRE_CLOSE", "PRICE", "HIGH", "LOW", "VOLUME", "AMOUNT")
    row = ("五粮液", "000858.SZ", "20250120", "14:05:03", 131.0, 131.2, 132.5, 133.0, 130.0, 15000000, 1.98e9)
    monkeypatch.setenv("TS_TOKEN", "")

    def realtime_quote(ts_code: str) -> "pd.DataFrame":
        assert os.environ["TS_TOKEN"] == TOKEN  # as the package does, whose other functions are told it
        return pd.DataFrame([row], columns=columns)

    source = tushare(realtime_quote=realtime_quote)

    quote = source.quote("000858")

    assert (quote.price, quote.previous_close, quote.volume) == (132.5, 131.2, 15_000_000)
    assert quote.at == datetime(2025, 1, 20, 6, 5, 3, tzinfo=UTC)


def test_tushare_reports_join_ratios_and_income() -> None:
    ratios = pd.DataFrame(
        [("000858.SZ", "20241031", "20240930", 6.42, 18.5)], columns=["ts_code", "ann_date", "end_date", "eps", "roe"]
    )
    income = pd.DataFrame(
        [("000858.SZ", "20240930", 679.16e8, 249.31e8)],
        columns=["ts_code", "end_date", "total_revenue", "n_income_attr_p"],
    )
    source = tushare(fina_indicator=lambda ts_code: ratios, income=lambda ts_code: income)

    (report,) = source.reports("000858")

    assert (report.revenue, report.net_profit) == (679.16e8, 249.31e8)
    assert (report.earnings_per_share, report.return_on_equity) == (6.42, 18.5)


def test_tushare_news_are_those_that_name_the_company() -> None:
    names = pd.DataFrame([("000858.SZ", "五粮液")], columns=["ts_code", "name"])
    news = pd.DataFrame(
        [
            ("2025-01-20 10:00:00", "五粮液发布业绩预告，净利润增长。", ""),
            ("2025-01-20 11:00:00", "央行开展逆回购操作。", ""),
        ],
        columns=["datetime", "content", "title"],
    )
    asked = []

    def of_the_day(src: str, start_date: str, end_date: str) -> "pd.DataFrame":
        asked.append(datetime.fromisoformat(end_date) - datetime.fromisoformat(start_date))
        return news

    source = tushare(stock_basic=lambda ts_code, fields: names, news=of_the_day)

    (article,) = source.news("000858", 10)

    assert source.news("600519", 10) == [article]
    assert asked == [timedelta(days=1)]  # once for all of them: calls are counted
    assert article.title == "五粮液发布业绩预告，净利润增长。"
    assert article.published_at == datetime(2025, 1, 20, 2, 0, tzinfo=UTC)


def test_no_error_of_tushare_holds_the_token() -> None:
    def refuse(**_: Any) -> Any:
        raise Exception(f"抱歉，您的token {TOKEN} 不对，请确认。")

    with pytest.raises(AgentError) as failed:
        tushare(stock_basic=refuse).news("000858", 10)
    assert TOKEN not in failed.value.message
    assert failed.value.__cause__ is None
    assert failed.value.kind is ErrorKind.AUTH


def test_too_many_calls_are_tried_again_and_missing_rights_are_not() -> None:
    def kind_of(words: str) -> ErrorKind:
        def refuse(**_: Any) -> Any:
            raise Exception(words)

        with pytest.raises(AgentError) as failed:
            tushare(stock_basic=refuse).news("000858", 10)
        return failed.value.kind

    assert kind_of("抱歉，您每分钟最多访问该接口80次，权限的具体详情访问：https://tushare.pro/") is ErrorKind.THROTTLED
    assert kind_of("抱歉，您没有访问该接口的权限，权限的具体详情访问：https://tushare.pro/") is ErrorKind.AUTH


# -- which source ---------------------------------------------------------------------------------


def test_tushare_without_a_token_says_what_to_set() -> None:
    with pytest.raises(AgentError, match="TUSHARE_TOKEN") as failed:
        configured(Settings(_env_file=None, trading_source="tushare"))
    assert failed.value.kind is ErrorKind.CONFIG


def test_a_missing_package_names_the_file_that_brings_it() -> None:
    with pytest.raises(AgentError, match=r"pip install -r requirements-trading-sources\.txt") as failed:
        load("no_such_market_package", "requirements-trading-sources.txt")
    assert failed.value.kind is ErrorKind.CONFIG


@pytest.mark.parametrize(
    ("symbol", "exchange"), [("600519", "XSHG"), ("sh000300", "XSHG"), ("bj830799", "XSHG"), ("AAPL", "XNYS")]
)
def test_a_symbol_says_where_it_is_traded(symbol: str, exchange: str) -> None:
    assert exchange_of(symbol) == exchange
