"""Market data from real files into each kind of database: whole, once, with gaps filled and adjustments followed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy.exc import OperationalError

import tasks  # noqa: F401 - the app whose tasks these are
from config import get_settings
from core.calendars import load
from core.outcome import AgentError, ErrorKind
from packs.trading import data_tasks, market
from packs.trading.analysis_tasks import analyze_market_sentiment, batch_stock_analysis
from packs.trading.data_tasks import (
    fetch_news_data,
    in_session,
    last_closed,
    sync_daily_stock_data,
    sync_financial_data,
    update_realtime_prices,
)
from packs.trading.sources.base import DailyBar, Quote
from tests.integration.engine import Ledger
from tests.packs.market_files import INDEX, NEWS, STOCKS, prices, write_folder, write_news
from tests.packs.pack_ledger import pack_ledger, settings_of

LAST = "2013-02-28"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "files")


@pytest.fixture
def ledger(packs_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    with (
        settings_of(
            monkeypatch,
            database_url=packs_url,
            trading_source="files",
            trading_data_dir=folder,
            trading_symbols=",".join(STOCKS),
            trading_benchmark=INDEX,
        ),
        pack_ledger(packs_url, "trading") as ledger,
    ):
        yield ledger


def stored(ledger: Ledger, symbol: str) -> list[tuple[str, float, float, int]]:
    rows = ledger.sql("SELECT day, close, adj_factor, volume FROM trading_bar WHERE symbol = :s ORDER BY day", s=symbol)
    return [(str(row.day), row.close, row.close * row.adj_factor, row.volume) for row in rows]


def in_package(symbol: str) -> list[tuple[str, float, float, int]]:
    table = prices()[symbol]
    columns = (table[name].tolist() for name in ("date", "close", "adj_close", "volume"))
    return [
        (str(day)[:10], close, adjusted, int(volume)) for day, close, adjusted, volume in zip(*columns, strict=True)
    ]


def assert_same(found: list[tuple[str, float, float, int]], wanted: list[tuple[str, float, float, int]]) -> None:
    assert [row[0] for row in found] == [row[0] for row in wanted]
    assert [row[1:] for row in found] == [pytest.approx(row[1:]) for row in wanted]


def test_every_bar_of_the_source_is_stored_as_it_was_traded_and_adjusted(ledger: Ledger) -> None:
    result = sync_daily_stock_data(date=LAST)

    assert (result["date"], result["total_symbols"], result["success_count"], result["errors"]) == (LAST, 4, 4, [])
    for symbol in (*STOCKS, INDEX):
        assert_same(stored(ledger, symbol), in_package(symbol))
    assert result["bars_written"] == sum(len(table) for table in prices().values())
    assert result["missing"] == {}


def test_a_second_sync_writes_the_end_again_and_changes_nothing(ledger: Ledger) -> None:
    sync_daily_stock_data(date=LAST)
    before = stored(ledger, "AAPL")

    result = sync_daily_stock_data(date=LAST)

    assert stored(ledger, "AAPL") == before
    assert (result["gaps_filled"], result["readjusted"]) == (0, [])
    assert result["bars_written"] <= 4 * 9  # ten days


def test_days_that_are_missing_in_the_middle_are_found_by_the_calendar_and_filled(ledger: Ledger) -> None:
    sync_daily_stock_data(date=LAST)
    ledger.sql("DELETE FROM trading_bar WHERE symbol = 'IBM' AND day BETWEEN '2012-06-04' AND '2012-06-08'")

    result = sync_daily_stock_data(symbols=["IBM"], date=LAST)

    assert result["gaps_filled"] == 5
    assert_same(stored(ledger, "IBM"), in_package("IBM"))


def test_a_day_that_the_source_does_not_have_is_told_as_missing(ledger: Ledger, folder: Path) -> None:
    table = prices()["IBM"]
    table[table["date"].astype(str) != "2012-06-06"].to_csv(folder / "bars" / "IBM.csv", index=False)

    assert sync_daily_stock_data(symbols=["IBM"], date=LAST)["missing"] == {"IBM": ["2012-06-06"]}


def test_a_dividend_that_changes_the_adjustment_of_the_past_is_followed_into_the_past(
    ledger: Ledger, folder: Path
) -> None:
    sync_daily_stock_data(date=LAST)
    table = prices()["MSFT"].copy()
    table["adj_close"] = table["adj_close"] * 0.99
    table.to_csv(folder / "bars" / "MSFT.csv", index=False)

    result = sync_daily_stock_data(date=LAST)

    assert result["readjusted"] == ["MSFT"]
    first = prices()["MSFT"]["adj_close"].iloc[0]
    assert stored(ledger, "MSFT")[0][2] == pytest.approx(first * 0.99)


def test_a_dividend_during_a_pause_of_weeks_is_followed_too(ledger: Ledger, folder: Path) -> None:
    sync_daily_stock_data(symbols=["MSFT"], date="2012-12-31")
    table = prices()["MSFT"].copy()
    table["adj_close"] = table["adj_close"] * 0.99
    table.to_csv(folder / "bars" / "MSFT.csv", index=False)

    result = sync_daily_stock_data(symbols=["MSFT"], date=LAST)

    assert result["readjusted"] == ["MSFT"]
    assert [row[2] for row in stored(ledger, "MSFT")] == pytest.approx(table["adj_close"].tolist())


class Odd:
    """A source that raises, and answers, what no source should."""

    name = "odd"

    def bars(self, symbol: str, first: date, last: date) -> list[DailyBar]:
        if symbol == "RAISES":
            raise KeyError("日期")
        good = DailyBar(last, 1.0, 1.0, 1.0, 1.0, 100)
        return [good, good, replace(good, day=date(2099, 1, 1)), replace(good, day=date(2013, 2, 27), volume=10**20)]

    def quote(self, symbol: str) -> Quote:
        return Quote(symbol, 0.0 if symbol == "HALTED" else 10.0, volume=10**20 if symbol == "HUGE" else 1)


def test_odd_answers_cost_their_symbol_and_no_other(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_tasks, "configured", lambda _: Odd())

    bars = sync_daily_stock_data(symbols=["RAISES", "ODD"], date=LAST)
    quotes = update_realtime_prices(symbols=["HALTED", "HUGE", "GOOD"], outside_session=True)

    assert bars["errors"] == [
        {"symbol": "RAISES", "error": "RAISES: KeyError: '日期'"},
        {"symbol": "ODD", "error": f"2099-01-01: asked for days up to {LAST}; 2013-02-27: the volume is {10**20}"},
    ]
    assert stored(ledger, "ODD") == [(LAST, 1.0, 1.0, 100)]
    assert [error["symbol"] for error in quotes["errors"]] == ["HALTED", "HUGE"]
    assert [row.symbol for row in ledger.sql("SELECT symbol FROM trading_price")] == ["GOOD"]


def test_a_database_that_is_away_in_the_middle_is_no_defect_but_tried_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, pymysql.err.OperationalError(2013, "Lost connection"))

    monkeypatch.setattr(market, "write_news", away)

    with pytest.raises(AgentError, match="the connection to the database was lost") as failed:
        fetch_news_data()
    assert failed.value.kind.retryable


def test_one_symbol_that_fails_holds_no_other_up(ledger: Ledger, folder: Path) -> None:
    (folder / "bars" / "IBM.csv").write_bytes(b"\xff\xfe garbage")

    result = sync_daily_stock_data(symbols=["IBM", "NOSUCH", "AAPL"], date=LAST)

    assert (result["success_count"], result["error_count"]) == (1, 2)
    assert [error["symbol"] for error in result["errors"]] == ["IBM", "NOSUCH"]
    assert "cannot be read" in result["errors"][0]["error"]
    assert len(stored(ledger, "AAPL")) == len(prices()["AAPL"])


def test_a_bar_that_cannot_be_true_is_left_out_and_told(ledger: Ledger, folder: Path) -> None:
    table = prices()["IBM"].copy()
    table.loc[3, "low"] = table.loc[3, "high"] + 1
    table.to_csv(folder / "bars" / "IBM.csv", index=False)

    result = sync_daily_stock_data(symbols=["IBM"], date=LAST)

    assert result["errors"][0]["symbol"] == "IBM"
    assert "outside low" in result["errors"][0]["error"]
    assert len(stored(ledger, "IBM")) == len(table) - 1


def test_a_run_in_which_nothing_succeeded_fails(ledger: Ledger) -> None:
    with pytest.raises(AgentError, match=r"no symbol succeeded: .*NOSUCH") as failed:
        sync_daily_stock_data(symbols=["NOSUCH"], date=LAST)

    assert failed.value.kind is ErrorKind.NOT_FOUND


@pytest.mark.parametrize("symbol", ["../../etc/passwd", "a/b", "", 600519, "x" * 33])
def test_what_is_no_symbol_is_refused_before_any_file_is_opened(ledger: Ledger, symbol: Any) -> None:
    with pytest.raises(AgentError, match="is no symbol"):
        sync_daily_stock_data(symbols=[symbol], date=LAST)


def test_the_benchmark_of_the_settings_has_to_be_a_symbol_too(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_BENCHMARK", "../INDEX")
    get_settings.cache_clear()

    with pytest.raises(AgentError, match=r"'\.\./INDEX' is no symbol"):
        sync_daily_stock_data(date=LAST)


def test_a_symbol_where_a_list_should_be_is_not_taken_letter_by_letter(ledger: Ledger) -> None:
    for task in (sync_daily_stock_data, update_realtime_prices, batch_stock_analysis):
        with pytest.raises(AgentError, match="symbols is 'AAPL'; write a list"):
            task(symbols="AAPL")


def test_a_date_that_is_none_is_refused(ledger: Ledger) -> None:
    with pytest.raises(AgentError, match="write one such as 2025-01-20"):
        sync_daily_stock_data(date="yesterday")


def test_the_latest_price_of_each_symbol_is_stored_under_its_own_moment(ledger: Ledger) -> None:
    for _ in range(2):
        result = update_realtime_prices(symbols=["AAPL", "IBM", "GOOG"], outside_session=True)

    rows = ledger.sql("SELECT symbol, at, price, previous_close, volume FROM trading_price ORDER BY symbol")
    assert [(row.symbol, str(row.at)[:19], row.price, row.previous_close, row.volume) for row in rows] == [
        ("AAPL", "2013-02-28 21:00:00", 441.4, 444.57, 11518400),
        ("IBM", "2013-02-28 21:00:00", 200.83, 202.33, 4700000),
    ]
    assert (result["updated_count"], [error["symbol"] for error in result["errors"]]) == (2, ["GOOG"])


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2025-01-20 01:29", False),  # 09:29 in Shanghai
        ("2025-01-20 01:30", True),
        ("2025-01-20 03:30", True),
        ("2025-01-20 04:15", False),  # lunch
        ("2025-01-20 05:00", True),
        ("2025-01-20 07:00", True),
        ("2025-01-20 07:01", False),
        ("2025-01-19 02:00", False),  # Sunday
        ("2025-01-29 02:00", False),  # New Year
    ],
)
def test_prices_are_asked_for_in_the_exchanges_session_only(at: str, is_open: bool) -> None:
    assert in_session(load("XSHG"), datetime.fromisoformat(at).replace(tzinfo=UTC)) is is_open


def test_the_price_at_the_close_is_stored_though_its_run_arrives_seconds_later(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_tasks, "configured", lambda _: Odd())
    for seconds, is_stored in ((59, True), (60, False)):
        at = datetime(2025, 1, 20, 7, 0, tzinfo=UTC) + timedelta(seconds=seconds)
        monkeypatch.setattr(market, "clock", lambda _, at=at: at)

        assert ("updated_count" in update_realtime_prices(symbols=["600519"])) is is_stored


def test_outside_the_session_the_task_says_that_it_did_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_tasks, "in_session", lambda *_: False)

    result = update_realtime_prices()

    assert result["status"] == "skipped"
    assert "no exchange of these symbols is open" in result["reason"]
    assert ledger.value("SELECT count(*) FROM trading_price") == 0


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2025-01-20 06:59", date(2025, 1, 17)),  # Monday before the close
        ("2025-01-20 07:00", date(2025, 1, 20)),
        ("2025-01-19 12:00", date(2025, 1, 17)),
        ("2025-02-03 12:00", date(2025, 1, 27)),  # New Year's week
    ],
)
def test_the_default_day_is_the_last_one_whose_session_is_over(now: str, day: date) -> None:
    assert last_closed(load("XSHG"), datetime.fromisoformat(now).replace(tzinfo=UTC)) == day


def test_reported_figures_are_stored_by_period(ledger: Ledger) -> None:
    for _ in range(2):
        result = sync_financial_data(symbols=["IBM"])

    rows = ledger.sql("SELECT period_end, revenue, net_profit, earnings_per_share FROM trading_financial ORDER BY 1")
    assert [(str(row[0]), *row[1:]) for row in rows] == [
        ("2011-12-31", 106916e6, 15855e6, 13.06),
        ("2012-12-31", 104507e6, 16604e6, 14.37),
    ]
    assert result["periods"] == {"IBM": 2}


def test_an_article_is_stored_once_and_its_sentiment_outlives_the_next_fetch(ledger: Ledger, folder: Path) -> None:
    first = fetch_news_data()
    ledger.sql("UPDATE trading_news SET sentiment = 0.5 WHERE symbol = 'AAPL'")
    write_news(folder, [*NEWS, ("AAPL", "2013-02-28T09:00:00Z", "Apple adds a director", 0)])
    second = fetch_news_data()

    assert (first["total_news"], first["new_news"]) == (6, 6)
    assert (second["total_news"], second["new_news"], second["symbols_count"]) == (7, 1, 3)
    rows = ledger.sql("SELECT symbol, title, language, sentiment FROM trading_news ORDER BY published_at, symbol")
    assert len(rows) == 7
    assert [(row.language, row.sentiment) for row in rows if row.symbol == "AAPL"] == [
        ("en", 0.5),
        ("en", 0.5),
        ("en", None),
    ]
    assert {row.language for row in rows if row.symbol == "GOOG"} == {"zh"}


def test_news_of_the_evening_are_judged_on_the_next_day(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_news_data()
    monkeypatch.setattr(market, "clock", lambda _: datetime(2013, 2, 28, 10, 0, tzinfo=UTC))

    result = analyze_market_sentiment()

    assert (result["date"], result["articles"]) == ("2013-02-28", 5)
    judged = ledger.sql("SELECT day, articles FROM trading_sentiment WHERE symbol = '*' ORDER BY day")
    assert [(str(row.day), row.articles) for row in judged] == [("2013-02-27", 1), ("2013-02-28", 5)]
    assert ledger.value("SELECT count(*) FROM trading_news WHERE sentiment IS NULL") == 0
