"""Reports as HTML and PDF in REPORT_DIR. A report that is made again takes the place of the one before."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from config import BASE_DIR, SYMBOL_NAME, get_settings
from core.outcome import AgentError, ErrorKind
from packs.database import engine
from packs.schedule import MARKET_ZONE
from packs.task import AnyTask, pack_task
from packs.trading import report_data as stored
from packs.trading.market_report import Market, daily
from packs.trading.portfolio_report import of_symbols, weekly
from packs.trading.positions import PositionsFault, check_portfolio
from packs.trading.report_content import Report, file_name
from packs.trading.report_rendering import write
from store.database import autocommit, read_clock

HERE: Final = "packs.trading.report_tasks"
OLD: Final = "tasks.report_tasks"
QUEUE: Final = "analysis"
HISTORY: Final = timedelta(days=120)  # of the charts; 20 trading days are a month
HEADLINES: Final = 15
TRENDS: Final = 10
TYPES: Final = ("symbols", "market", "portfolio")


@pack_task(
    f"{HERE}.generate_daily_market_report",
    queue=QUEUE,
    aliases=(f"{OLD}.generate_daily_market_report",),
    time_limit=1800,
    max_retries=2,
    retry_backoff=300,
)
def generate_daily_market_report(self: AnyTask, date: str | None = None) -> dict[str, Any]:
    """Write the report of a trading day of TRADING_SYMBOLS; without a date: the newest that has data.

    Fails, and may be tried again, where the day has no bars yet.
    """
    wanted = None if date is None else _day(date, "date")
    return _finished(*_daily(wanted, get_settings().trading_symbols))


@pack_task(
    f"{HERE}.generate_weekly_portfolio_report",
    queue=QUEUE,
    aliases=(f"{OLD}.generate_weekly_portfolio_report",),
    time_limit=1800,
    max_retries=2,
    retry_backoff=300,
)
def generate_weekly_portfolio_report(
    self: AnyTask, week_start: str | None = None, portfolio: str = "default"
) -> dict[str, Any]:
    """Write the report of a portfolio for the week that a day is in; without one: the week of today."""
    return _finished(*_weekly(None if week_start is None else _day(week_start, "week_start"), portfolio))


@pack_task(
    f"{HERE}.generate_custom_report",
    queue=QUEUE,
    aliases=(f"{OLD}.generate_custom_report",),
    time_limit=1800,
    max_retries=1,
    retry_backoff=60,
)
def generate_custom_report(self: AnyTask, report_config: dict[str, Any]) -> dict[str, Any]:
    """Write a report that `report_config` describes: {type, symbols, date_range: [first, last], portfolio}.

    `symbols` compares symbols over the days of date_range; `market` and `portfolio` are the daily and weekly reports
    for its last day.
    """
    if not isinstance(report_config, dict):
        raise AgentError(ErrorKind.INVALID, 'report_config is an object, such as {"type": "market"}')
    kind, symbols = report_config.get("type", TYPES[0]), report_config.get("symbols") or []
    unknown = sorted(report_config.keys() - {"type", "symbols", "date_range", "portfolio"})
    if unknown or kind not in TYPES or not isinstance(symbols, list):
        raise AgentError(
            ErrorKind.INVALID,
            f"report_config takes type ({', '.join(TYPES)}), symbols, date_range [first, last] and portfolio"
            + (f", and not {', '.join(unknown)}" if unknown else ""),
        )
    if not all(isinstance(symbol, str) and re.fullmatch(SYMBOL_NAME, symbol) for symbol in symbols):
        raise AgentError(ErrorKind.INVALID, "symbols: a list of names such as 600519")
    first, last = _span(report_config.get("date_range"))
    if kind == "market":
        report, figures = _daily(last, tuple(symbols) or get_settings().trading_symbols)
        if symbols:  # the files of the daily report stay what they are
            report = replace(report, name=file_name(f"market-{last}", sorted(set(symbols))))
        return _finished(report, figures)
    if kind == "portfolio":
        return _finished(*_weekly(last, report_config.get("portfolio") or "default"))
    if not symbols:
        raise AgentError(ErrorKind.INVALID, "symbols: name one or more, such as 600519")
    with autocommit(engine()) as connection:
        bars = stored.bars(connection, symbols, first, last)
    if lacking := sorted(set(symbols) - bars.keys()):
        raise AgentError(ErrorKind.NOT_FOUND, f"there are no bars of {', '.join(lacking)} from {first} to {last}")
    return _finished(*of_symbols(first, last, bars))


def _daily(wanted: date | None, symbols: Sequence[str]) -> tuple[Report, dict[str, Any]]:
    settings = get_settings()
    with autocommit(engine()) as connection:
        day = stored.last_day(connection, symbols, wanted or _today(connection))
        if day is None or wanted not in (None, day):
            what = f"of {wanted}" if wanted else "yet"
            raise AgentError(ErrorKind.UNAVAILABLE, f"there are no bars {what}; sync_daily_stock_data brings them")
        bars = stored.bars(connection, [*symbols, settings.trading_benchmark], day - HISTORY, day)
        benchmark = bars.pop(settings.trading_benchmark, [])
        zone = ZoneInfo(MARKET_ZONE)
        midnight = datetime.combine(day, time.min, zone)
        market = Market(
            day=day,
            bars={symbol: days for symbol, days in bars.items() if days[-1].day == day},
            benchmark=settings.trading_benchmark,
            benchmark_bars=benchmark if benchmark and benchmark[-1].day == day else [],
            indicators=stored.indicators(connection, symbols, day),
            sentiments=stored.sentiments(connection, day),
            trends=stored.trends(connection, day, TRENDS),
            headlines=stored.headlines(
                connection, midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC), HEADLINES
            ),
        )
    return daily(market)


def _weekly(wanted: date | None, portfolio: str) -> tuple[Report, dict[str, Any]]:
    try:
        check_portfolio(portfolio)
    except PositionsFault as fault:
        raise AgentError(ErrorKind.INVALID, str(fault)) from None
    with autocommit(engine()) as connection:
        day = wanted or _today(connection)
        monday = day - timedelta(days=day.weekday())
        sunday = monday + timedelta(days=6)
        positions = stored.positions(connection, portfolio)
        if not positions:
            raise AgentError(
                ErrorKind.NOT_FOUND,
                f"portfolio {portfolio!r} holds nothing; enter it: python -m scripts.positions import FILE",
            )
        symbols = [position.symbol for position in positions]
        bars = stored.bars(connection, symbols, monday - HISTORY, sunday)
        risks = stored.risks(connection, symbols, sunday)
    if not bars:
        raise AgentError(ErrorKind.UNAVAILABLE, "no position has bars yet; sync_daily_stock_data brings them")
    return weekly(portfolio, (monday, sunday), positions, bars, risks)


def _finished(report: Report, figures: dict[str, Any]) -> dict[str, Any]:
    """Write the files, and the result."""
    files = write(report, BASE_DIR / get_settings().report_dir)
    with autocommit(engine()) as connection:
        now = read_clock(connection)
    generated = now.astimezone(ZoneInfo(get_settings().timezone)).isoformat(timespec="seconds")
    return {"report_data": {**figures, "files": files}, "generation_time": generated, "success": True}


def _today(connection: Connection) -> date:
    return read_clock(connection).astimezone(ZoneInfo(MARKET_ZONE)).date()


def _day(text: Any, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise AgentError(ErrorKind.INVALID, f"{name} is {text!r}; write a day such as 2025-01-20") from None


def _span(given: Any) -> tuple[date, date]:
    """Read date_range: [first, last], or {start, end}."""
    if isinstance(given, dict):
        given = [given.get("start"), given.get("end")]
    if not isinstance(given, list) or len(given) != 2:
        raise AgentError(ErrorKind.INVALID, 'date_range takes two days, such as ["2025-01-01", "2025-01-31"]')
    first, last = (_day(each, "date_range") for each in given)
    if first > last:
        raise AgentError(ErrorKind.INVALID, f"date_range begins on {first}, after its end on {last}")
    return first, last
