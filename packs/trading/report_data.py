"""What reports read: bars, indicators, sentiment, trends, news and positions. All SQL of reports."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, Table, delete, func, insert, select

from packs.trading.portfolio_tables import Position as PositionRow
from packs.trading.portfolio_tables import Snapshot
from packs.trading.report_figures import Day, Position
from packs.trading.tables import Bar, Indicator, News, Risk, Sentiment, Trend
from store.database import AnyRow, utc_now

POSITION: Table = PositionRow.__table__  # type: ignore[assignment]
SNAPSHOT: Table = Snapshot.__table__  # type: ignore[assignment]


def last_day(connection: Connection, symbols: Sequence[str], until: date) -> date | None:
    """Name the newest day up to `until` that one of the symbols has a bar of. Primary key."""
    query = select(func.max(Bar.day)).where(Bar.symbol.in_(symbols), Bar.day <= until)
    found: date | None = connection.execute(query).scalar_one()
    return found


def bars(connection: Connection, symbols: Iterable[str], first: date, last: date) -> dict[str, list[Day]]:
    """Read the bars of symbols, the oldest first. Primary key."""
    query = (
        select(Bar.symbol, Bar.day, Bar.close, Bar.adj_factor, Bar.volume, Bar.amount)
        .where(Bar.symbol.in_(list(symbols)), Bar.day.between(first, last))
        .order_by(Bar.symbol, Bar.day)
    )
    found: dict[str, list[Day]] = {}
    for row in connection.execute(query):
        found.setdefault(row.symbol, []).append(Day(row.day, row.close, row.adj_factor, row.volume, row.amount))
    return found


def indicators(connection: Connection, symbols: Sequence[str], day: date) -> Mapping[str, AnyRow]:
    """Read the indicators of a day, by symbol. Primary key."""
    query = select(Indicator.__table__).where(Indicator.symbol.in_(symbols), Indicator.day == day)
    return {row.symbol: row for row in connection.execute(query)}


def sentiments(connection: Connection, day: date) -> Mapping[str, AnyRow]:
    """Read how a day's news speak, by symbol and for the market (`*`). Primary key."""
    return {row.symbol: row for row in connection.execute(select(Sentiment.__table__).where(Sentiment.day == day))}


def risks(connection: Connection, symbols: Sequence[str], until: date) -> Mapping[str, AnyRow]:
    """Read the newest risk of each symbol. Primary key."""
    query = select(Risk.__table__).where(Risk.symbol.in_(symbols), Risk.day <= until).order_by(Risk.day)
    return {row.symbol: row for row in connection.execute(query)}  # the newest comes last, and stays


def trends(connection: Connection, day: date, limit: int) -> Sequence[AnyRow]:
    """Read the symbols that stood out on a day, the first one most. Primary key."""
    query = select(Trend.__table__).where(Trend.day == day).order_by(Trend.position).limit(limit)
    return connection.execute(query).all()


def headlines(connection: Connection, first: datetime, until: datetime, limit: int) -> Sequence[AnyRow]:
    """Read the newest articles of a span. Index ix_trading_news_published."""
    query = select(News.symbol, News.title, News.sentiment, News.publisher, News.published_at).where(
        News.published_at >= first, News.published_at < until
    )
    return connection.execute(query.order_by(News.published_at.desc(), News.digest).limit(limit)).all()


def positions(connection: Connection, portfolio: str) -> list[Position]:
    """Read what a portfolio holds, by symbol. Primary key."""
    rows = connection.execute(select(POSITION).where(POSITION.c.portfolio == portfolio).order_by(POSITION.c.symbol))
    return [Position(row.symbol, row.quantity, row.cost_price, row.name) for row in rows]


def replace_positions(tx: Connection, portfolio: str, held: Sequence[Position]) -> None:
    """Put positions in the place of those a portfolio had. Primary key."""
    tx.execute(delete(POSITION).where(POSITION.c.portfolio == portfolio))
    rows = [
        {
            "portfolio": portfolio,
            "symbol": position.symbol,
            "name": position.name,
            "quantity": position.quantity,
            "cost_price": position.cost_price,
            "update_time": utc_now(),
        }
        for position in held
    ]
    for row in rows:
        tx.execute(insert(POSITION).values(**row))
