"""The SQL of maintenance: what is old goes, and each symbol's latest figures stand in one row."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, delete, func, select

from packs.trading import report_data as stored
from packs.trading.portfolio_tables import Position, Snapshot
from packs.trading.report_figures import Day, change
from packs.trading.tables import Analysis, Bar, Indicator, News, Price, Risk, Sentiment, Trend
from packs.upsert import in_transaction, upsert_in
from store.database import AnyRow, read_clock

LOOK_BACK: Final = timedelta(days=60)  # holds 20 trading days, long holidays too
SNAPSHOT: Table = Snapshot.__table__  # type: ignore[assignment]


def delete_before(connection: Connection, moment: datetime, day: date) -> dict[str, int]:
    """Delete prices within the day, news, moods, rankings and opinions from before a moment; return how many of each.

    Daily bars, reported figures, indicators and risks stay: everything else is computed from them. By primary keys and
    the indexes on times; each statement is committed by itself.
    """
    counts = {"realtime_prices": 0, "analyses": 0}
    for symbol in connection.execute(select(Price.symbol).distinct()).scalars().all():
        old = delete(Price).where(Price.symbol == symbol, Price.at < moment)
        counts["realtime_prices"] += connection.execute(old).rowcount
    for symbol in connection.execute(select(Analysis.symbol).distinct()).scalars().all():
        past = delete(Analysis).where(Analysis.symbol == symbol, Analysis.create_time < moment)
        counts["analyses"] += connection.execute(past).rowcount
    counts["news"] = connection.execute(delete(News).where(News.published_at < moment)).rowcount
    counts["sentiments"] = connection.execute(delete(Sentiment).where(Sentiment.day < day)).rowcount
    counts["trends"] = connection.execute(delete(Trend).where(Trend.day < day)).rowcount
    return counts


def refresh_snapshots(engine: Engine, followed: Sequence[str], today: date) -> tuple[int, int]:
    """Make the row of each symbol that is followed or held anew, all or none; return how many, and how many went."""

    def refresh(tx: Connection) -> tuple[int, int]:
        symbols = sorted({*followed, *tx.execute(select(Position.symbol).distinct()).scalars()})
        now = read_clock(tx)
        bars = stored.bars(tx, symbols, today - LOOK_BACK, today)
        rows = [_snapshot(symbol, days, _beside(tx, symbol), now) for symbol, days in bars.items()]
        gone = tx.execute(delete(SNAPSHOT).where(SNAPSHOT.c.symbol.not_in(list(bars)))).rowcount
        upsert_in(tx, Snapshot, rows)
        return len(rows), gone

    return in_transaction(engine, refresh)


def _beside(tx: Connection, symbol: str) -> Mapping[str, AnyRow | None]:
    """Read the newest of everything that is known of a symbol beside its bars. Primary keys."""
    newest = {
        "price": select(Price.price, Price.at).where(Price.symbol == symbol).order_by(Price.at.desc()),
        "indicator": select(Indicator.rsi14, Indicator.ma20)
        .where(Indicator.symbol == symbol)
        .order_by(Indicator.day.desc()),
        "sentiment": select(Sentiment.score).where(Sentiment.symbol == symbol).order_by(Sentiment.day.desc()),
        "risk": select(Risk.level).where(Risk.symbol == symbol).order_by(Risk.day.desc()),
    }
    return {name: tx.execute(query.limit(1)).one_or_none() for name, query in newest.items()}


def _snapshot(symbol: str, days: Sequence[Day], beside: Mapping[str, AnyRow | None], now: datetime) -> dict[str, Any]:
    price, indicator = beside["price"], beside["indicator"]
    sentiment, risk = beside["sentiment"], beside["risk"]
    return {
        "symbol": symbol,
        "day": days[-1].day,
        "close": days[-1].close,
        "change_1d": change(days, 1),
        "change_5d": change(days, 5),
        "change_20d": change(days, 20),
        "price": None if price is None else price.price,
        "price_at": None if price is None else price.at,
        "rsi14": None if indicator is None else indicator.rsi14,
        "ma20": None if indicator is None else indicator.ma20,
        "sentiment": None if sentiment is None else sentiment.score,
        "risk_level": None if risk is None else risk.level,
        "update_time": now,
    }


def newest_bar(connection: Connection, symbols: Sequence[str]) -> date | None:
    """Name the newest day that any of the symbols has a bar of. Primary key."""
    found: date | None = connection.execute(select(func.max(Bar.day)).where(Bar.symbol.in_(symbols))).scalar_one()
    return found
