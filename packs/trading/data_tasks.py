"""The trading pack's data: daily bars, prices in session, reported figures, news. Their runs live in the ledger.

Each symbol is written whole or not at all, so a run that was killed goes on where it stopped. A symbol that fails is
told in `errors` and the others go on; a run fails where nothing succeeded.
"""

import logging
import re
from collections.abc import Callable, Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import SYMBOL_NAME, get_settings
from core.calendars import Calendar, load, local_day, previous_open
from core.outcome import AgentError, ErrorKind
from packs.database import engine
from packs.task import AnyTask, pack_task
from packs.trading import market
from packs.trading.sources import configured
from packs.trading.sources.base import exchange_of
from packs.trading.syncing import Synced, sync_symbol
from store.calendar_days import read as read_overrides
from store.database import autocommit, in_words, is_refused

logger = logging.getLogger("trading")

QUEUE: Final = "data"
SHOWN_ERRORS: Final = 20
NEWS_LIMIT: Final = 50


class Gathered:
    """Work on symbol after symbol: progress shown, errors collected. Not to be used twice."""

    def __init__(self, task: AnyTask, symbols: Sequence[str], doing: str) -> None:
        self._task, self._symbols, self._doing = task, symbols, doing
        self.succeeded = 0
        self.errors: list[dict[str, str]] = []
        self._kinds: list[ErrorKind] = []

    def each(self, work: Callable[[str], None]) -> None:
        """Do the work for every symbol. Raises AgentError where none succeeded, or none ever can."""
        for position, symbol in enumerate(self._symbols):
            self._show(position, symbol)
            try:
                work(symbol)
            except AgentError as error:
                if error.kind in (ErrorKind.CONFIG, ErrorKind.AUTH):
                    raise
                self._failed(symbol, error.kind, error.message)
            except SQLAlchemyError as error:
                if not is_refused(error):
                    raise
                self._failed(symbol, ErrorKind.INVALID, f"{symbol}: {in_words(error)}")
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                logger.exception("%s %s failed unexpectedly", self._doing, symbol)  # as odd answers of a source do
                self._failed(symbol, ErrorKind.INTERNAL, f"{symbol}: {type(error).__name__}: {error}")
            else:
                self.succeeded += 1
        if self._kinds and not self.succeeded:
            kind = next((kind for kind in self._kinds if kind.retryable), self._kinds[0])
            raise AgentError(kind, "no symbol succeeded: " + "; ".join(e["error"] for e in self.errors[:3]))

    def _failed(self, symbol: str, kind: ErrorKind, error: str) -> None:
        self._kinds.append(kind)
        self.note(symbol, error)

    def note(self, symbol: str, error: str) -> None:
        """Keep what went wrong with a symbol."""
        self.errors.append({"symbol": symbol, "error": error})

    def counts(self) -> dict[str, Any]:
        """The counts that every data task answers with."""
        return {
            "total_symbols": len(self._symbols),
            "success_count": self.succeeded,
            "error_count": len({error["symbol"] for error in self.errors}),
            "errors": self.errors[:SHOWN_ERRORS],
        }

    def _show(self, position: int, symbol: str) -> None:
        meta = {
            "current": position,
            "total": len(self._symbols),
            "status": f"{self._doing} {symbol}",
            "success": self.succeeded,
            "errors": len(self.errors),
        }
        self._task.update_state(state="PROGRESS", meta=meta)


@pack_task(
    "packs.trading.data_tasks.sync_daily_stock_data",
    queue=QUEUE,
    aliases=("tasks.data_tasks.sync_daily_stock_data",),
    time_limit=1800,
    max_retries=2,
)
def sync_daily_stock_data(
    self: AnyTask, symbols: Sequence[str] | None = None, date: str | None = None
) -> dict[str, Any]:
    """Bring the daily bars of the symbols (default: TRADING_SYMBOLS and the benchmark) up to a day.

    `date`: 2025-01-20; default: the last day whose session is over. Gaps in the exchange's calendar are filled.
    """
    ours, source = engine(), configured(get_settings())
    calendar_of, now = calendars(ours), market.clock(ours)
    wanted = day_given(date)
    done: dict[str, Synced] = {}
    last_days: dict[str, Date] = {}

    def sync(symbol: str) -> None:
        calendar = calendar_of(symbol)
        last = wanted or last_closed(calendar, now)
        last_days[symbol] = last
        done[symbol] = sync_symbol(ours, source, calendar, symbol, last)
        if done[symbol].faults:
            gathered.note(symbol, "; ".join(done[symbol].faults[:3]))

    gathered = Gathered(self, symbols_given(symbols, with_benchmark()), "daily bars of")
    gathered.each(sync)
    return {
        "date": max(last_days.values()).isoformat(),
        **gathered.counts(),
        "bars_written": sum(each.written for each in done.values()),
        "gaps_filled": sum(each.gaps_filled for each in done.values()),
        "readjusted": sorted(symbol for symbol, each in done.items() if each.readjusted),
        "missing": {symbol: [f"{day}" for day in each.missing[:10]] for symbol, each in done.items() if each.missing},
        "completion_time": market.clock(ours).isoformat(),
    }


@pack_task(
    "packs.trading.data_tasks.update_realtime_prices",
    queue=QUEUE,
    aliases=("tasks.data_tasks.update_realtime_prices",),
    time_limit=240,
    max_retries=1,
)
def update_realtime_prices(
    self: AnyTask, symbols: Sequence[str] | None = None, outside_session: bool = False
) -> dict[str, Any]:
    """Store what each symbol costs now, where its exchange is open. `outside_session`: the last price at any time."""
    ours = engine()
    now = market.clock(ours)
    minute = now.replace(second=0, microsecond=0)  # the fire of 15:00 arrives after it; a retry writes the same row
    asked = symbols_given(symbols, get_settings().trading_symbols)
    calendar_of = calendars(ours)
    trading = [symbol for symbol in asked if outside_session or in_session(calendar_of(symbol), minute)]
    if not trading:
        return {"status": "skipped", "reason": f"no exchange of these symbols is open at {now:%Y-%m-%d %H:%M} UTC"}
    source = configured(get_settings())

    def update(symbol: str) -> None:
        quote = source.quote(symbol)
        if quote.price <= 0:  # so some tell of a stock that is not traded today
            raise AgentError(ErrorKind.EMPTY, f"{symbol}: its price is {quote.price:g}")
        market.write_quote(ours, source.name, quote, minute)

    gathered = Gathered(self, trading, "price of")
    gathered.each(update)
    return {"updated_count": gathered.succeeded, **gathered.counts(), "update_time": now.isoformat()}


@pack_task(
    "packs.trading.data_tasks.sync_financial_data",
    queue=QUEUE,
    aliases=("tasks.data_tasks.sync_financial_data",),
    time_limit=1800,
    max_retries=2,
)
def sync_financial_data(self: AnyTask, symbols: Sequence[str] | None = None) -> dict[str, Any]:
    """Store what the companies reported, every period that the source knows."""
    ours, source = engine(), configured(get_settings())
    periods: dict[str, int] = {}

    def sync(symbol: str) -> None:
        reports = source.reports(symbol)
        market.write_reports(ours, symbol, source.name, reports)
        periods[symbol] = len(reports)

    gathered = Gathered(self, symbols_given(symbols, get_settings().trading_symbols), "reported figures of")
    gathered.each(sync)
    counts = gathered.counts()
    return {**counts, "periods": periods, "completion_time": market.clock(ours).isoformat()}


@pack_task(
    "packs.trading.data_tasks.fetch_news_data",
    queue=QUEUE,
    aliases=("tasks.data_tasks.fetch_news_data",),
    time_limit=1800,
    max_retries=2,
)
def fetch_news_data(self: AnyTask, symbols: Sequence[str] | None = None, limit: int = NEWS_LIMIT) -> dict[str, Any]:
    """Store the latest `limit` articles of each symbol. One that is there already is not stored twice."""
    ours, source = engine(), configured(get_settings())
    fetched = new = 0

    def fetch(symbol: str) -> None:
        nonlocal fetched, new
        articles = source.news(symbol, limit)
        new += market.write_news(ours, symbol, source.name, articles)
        fetched += len(articles)

    asked = symbols_given(symbols, get_settings().trading_symbols)
    gathered = Gathered(self, asked, "news of")
    gathered.each(fetch)
    return {
        "total_news": fetched,
        "new_news": new,
        "symbols_count": len(asked),
        **gathered.counts(),
        "fetch_time": market.clock(ours).isoformat(),
    }


def with_benchmark() -> Sequence[str]:
    """TRADING_SYMBOLS and what their beta is measured against."""
    settings = get_settings()
    return tuple(dict.fromkeys((*settings.trading_symbols, settings.trading_benchmark)))


def calendars(ours: Engine) -> Callable[[str], Calendar]:
    """Find the days and sessions of a symbol's exchange, `calendar_day` included as it is now."""
    with autocommit(ours) as connection:
        overrides = read_overrides(connection)
    return lambda symbol: load(exchange_of(symbol), overrides)


def in_session(calendar: Calendar, now: datetime) -> bool:
    """Tell whether an exchange is open now, lunch break out, both ends of a session in."""
    today = local_day(now, ZoneInfo(calendar.zone or "UTC"))
    return any(start <= now <= end for start, end in calendar.sessions(today))


def last_closed(calendar: Calendar, now: datetime) -> Date:
    """Name the last day whose session is over."""
    today = local_day(now, ZoneInfo(calendar.zone or "UTC"))
    sessions = calendar.sessions(today)
    over = today if sessions and now >= sessions[-1][1] else today - timedelta(days=1)
    return previous_open(calendar, over) or over


def symbols_given(symbols: Sequence[str] | None, otherwise: Sequence[str]) -> list[str]:
    """Read a task's `symbols`, each once; none: the others.

    Raises AgentError INVALID for what is no list, and for what is no symbol: it becomes a file's name, and part of an
    address.
    """
    if symbols is not None and not isinstance(symbols, list | tuple):
        raise AgentError(ErrorKind.INVALID, f'symbols is {symbols!r}; write a list such as ["600519"]')
    asked = symbols or otherwise
    for symbol in asked:
        if not isinstance(symbol, str) or not re.fullmatch(SYMBOL_NAME, symbol):
            mend = "use up to 32 letters, digits, '.' and '-'"
            raise AgentError(ErrorKind.INVALID, f"{symbol!r} is no symbol; {mend}")
    return list(dict.fromkeys(asked))


def day_given(text: str | None) -> Date | None:
    """Read a task's `date`. Raises AgentError INVALID."""
    try:
        return None if text is None else Date.fromisoformat(text)
    except (TypeError, ValueError):
        raise AgentError(ErrorKind.INVALID, f"date is {text!r}; write one such as 2025-01-20") from None
