"""The SQL of the trading pack: bars, prices, figures, news, and what was computed from them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select, update

from packs.trading.sources.base import Article, DailyBar, Quote, Report
from packs.trading.tables import Analysis, Bar, Financial, News, Price, Sentiment, Trend
from packs.upsert import in_transaction, upsert, upsert_in
from store.database import AnyRow, autocommit, read_clock

MAX_TITLE, MAX_URL, MAX_PUBLISHER = 500, 1000, 200


def clock(engine: Engine) -> datetime:
    """Ask the database for its time."""
    with autocommit(engine) as connection:
        return read_clock(connection)


def factors(engine: Engine, symbol: str, first: date, last: date) -> dict[date, float]:
    """Read which days are stored, with their adjustment. Primary key."""
    query = select(Bar.day, Bar.adj_factor).where(Bar.symbol == symbol, Bar.day.between(first, last))
    with autocommit(engine) as connection:
        return {row.day: row.adj_factor for row in connection.execute(query)}


def first_day(engine: Engine, symbol: str) -> date | None:
    """Read since when a symbol is stored. Primary key."""
    with autocommit(engine) as connection:
        return connection.execute(select(func.min(Bar.day)).where(Bar.symbol == symbol)).scalar_one()


def write_bars(engine: Engine, symbol: str, source: str, bars: Sequence[DailyBar]) -> None:
    """Write days of a symbol, all or none."""
    if not bars:
        return
    now = clock(engine)
    rows = [{"symbol": symbol, **asdict(bar), "source": source, "update_time": now} for bar in bars]
    upsert(engine, Bar, rows)


def write_quote(engine: Engine, source: str, quote: Quote, at: datetime) -> None:
    """Write a price."""
    row = {**asdict(quote), "at": quote.at or at, "source": source}
    upsert(engine, Price, [row])


def write_reports(engine: Engine, symbol: str, source: str, reports: Sequence[Report]) -> None:
    """Write what a company reported, all or none."""
    if not reports:
        return
    now = clock(engine)
    rows = [
        {
            "symbol": symbol,
            **asdict(report),
            "figures": json.dumps(report.figures, ensure_ascii=False),
            "source": source,
            "update_time": now,
        }
        for report in reports
    ]
    upsert(engine, Financial, rows)


def write_news(engine: Engine, symbol: str, source: str, articles: Sequence[Article]) -> int:
    """Write articles, all or none, and say how many are new. A sentiment that is there stays."""
    by_digest = {digest_of(article): article for article in articles}
    if not by_digest:
        return 0
    with autocommit(engine) as connection:
        now = read_clock(connection)
        known = set(
            connection.execute(select(News.digest).where(News.symbol == symbol, News.digest.in_(by_digest))).scalars()
        )
    rows = [
        {
            "digest": digest,
            "symbol": symbol,
            "title": article.title[:MAX_TITLE],
            "content": article.content,
            "url": article.url[:MAX_URL] if article.url else None,
            "publisher": article.publisher[:MAX_PUBLISHER] if article.publisher else None,
            "published_at": article.published_at,
            "language": article.language,
            "source": source,
            "fetched_at": now,
        }
        for digest, article in by_digest.items()
    ]
    upsert(engine, News, rows)
    return len(by_digest.keys() - known)


def digest_of(article: Article) -> str:
    """Name an article, however often it is fetched."""
    return sha256((article.url or f"{article.title}\n{article.published_at.isoformat()}").encode()).hexdigest()


def bars(connection: Connection, symbol: str, last: date, limit: int) -> Sequence[AnyRow]:
    """Read the latest `limit` days up to `last`, oldest first. Primary key."""
    query = select(Bar).where(Bar.symbol == symbol, Bar.day <= last).order_by(Bar.day.desc()).limit(limit)
    return list(reversed(connection.execute(query).all()))


def news_between(connection: Connection, first: datetime, until: datetime, symbols: Sequence[str]) -> Sequence[AnyRow]:
    """Read the news of [first, until). Index ix_trading_news_published."""
    query = select(News.digest, News.symbol, News.title, News.content, News.language, News.sentiment).where(
        News.published_at >= first, News.published_at < until, News.symbol.in_(symbols)
    )
    return connection.execute(query.order_by(News.published_at, News.digest)).all()


def write_sentiments(engine: Engine, scores: Mapping[str, float], rows: Sequence[dict[str, Any]]) -> None:
    """Note how articles speak, by digest, and what the day comes to, all or none. Primary keys."""

    def write(tx: Connection) -> None:
        for digest, score in scores.items():
            tx.execute(update(News).where(News.digest == digest).values(sentiment=score))
        upsert_in(tx, Sentiment, rows)

    in_transaction(engine, write)


def count_news(connection: Connection, symbol: str, first: datetime, until: datetime) -> int:
    """Count a symbol's news of [first, until). Index ix_trading_news_published."""
    query = select(func.count()).where(News.symbol == symbol, News.published_at >= first, News.published_at < until)
    return connection.execute(query).scalar_one()


def newest(connection: Connection, model: Any, symbol: str) -> AnyRow | None:
    """Read the latest row of a symbol in a table that has days. Primary key."""
    query = select(model.__table__).where(model.symbol == symbol).order_by(model.day.desc()).limit(1)
    return connection.execute(query).one_or_none()


def replace_trends(engine: Engine, day: date, rows: Sequence[dict[str, Any]]) -> None:
    """Put a day's ranking in the place of an earlier one, all or none."""

    def replace(tx: Connection) -> None:
        tx.execute(delete(Trend).where(Trend.day == day))
        upsert_in(tx, Trend, rows)

    in_transaction(engine, replace)


def headlines(connection: Connection, symbol: str, limit: int) -> Sequence[AnyRow]:
    """Read the latest titles about a symbol, newest first. Index ix_trading_news_published, backwards."""
    query = select(News.title, News.published_at).where(News.symbol == symbol)
    return connection.execute(query.order_by(News.published_at.desc()).limit(limit)).all()


def opinions(connection: Connection, batch: str, symbol: str | None = None) -> Sequence[AnyRow]:
    """Read what a model said in a batch. Primary key."""
    query = select(Analysis.__table__).where(Analysis.batch == batch)
    return connection.execute(query if symbol is None else query.where(Analysis.symbol == symbol)).all()


def last_opinion(connection: Connection, symbol: str) -> str | None:
    """Read what was last said of a symbol. Index ix_trading_analysis_symbol."""
    query = select(Analysis.summary).where(Analysis.symbol == symbol).order_by(Analysis.create_time.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()
