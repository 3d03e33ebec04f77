"""The trading pack's tables. Days are the exchange's; moments are UTC. Prices are in the exchange's currency."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, Double, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from column_types import LongText, UtcTime
from packs.tables import PackBase

SYMBOL = String(32)
#: In trading_sentiment and trading_analysis: the whole market.
MARKET = "*"


class Bar(PackBase):
    """A trading day of a symbol as it was traded. `close * adj_factor` compares across splits and dividends."""

    __tablename__ = "trading_bar"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    open: Mapped[float] = mapped_column(Double)
    high: Mapped[float] = mapped_column(Double)
    low: Mapped[float] = mapped_column(Double)
    close: Mapped[float] = mapped_column(Double)
    volume: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[float | None] = mapped_column(Double)
    adj_factor: Mapped[float] = mapped_column(Double)
    source: Mapped[str] = mapped_column(String(32))
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Price(PackBase):
    """What a symbol cost at a moment within the session."""

    __tablename__ = "trading_price"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime, primary_key=True)
    price: Mapped[float] = mapped_column(Double)
    previous_close: Mapped[float | None] = mapped_column(Double)
    volume: Mapped[int | None] = mapped_column(BigInteger)
    amount: Mapped[float | None] = mapped_column(Double)
    source: Mapped[str] = mapped_column(String(32))


class Financial(PackBase):
    """Figures that a company reported for a period. `figures`: all of them as JSON, by the source's names."""

    __tablename__ = "trading_financial"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    period_end: Mapped[date] = mapped_column(Date, primary_key=True)
    revenue: Mapped[float | None] = mapped_column(Double)
    net_profit: Mapped[float | None] = mapped_column(Double)
    earnings_per_share: Mapped[float | None] = mapped_column(Double)
    return_on_equity: Mapped[float | None] = mapped_column(Double)
    figures: Mapped[str] = mapped_column(LongText)
    source: Mapped[str] = mapped_column(String(32))
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class News(PackBase):
    """An article about a symbol. `digest`: SHA-256 of its address, or of title and time.

    `sentiment`: -1 to 1, NULL until it is analysed.
    """

    __tablename__ = "trading_news"
    __table_args__ = (Index("ix_trading_news_published", "published_at"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    title: Mapped[str] = mapped_column(String(500))
    content: Mapped[str] = mapped_column(LongText)
    url: Mapped[str | None] = mapped_column(String(1000))
    publisher: Mapped[str | None] = mapped_column(String(200))
    published_at: Mapped[datetime] = mapped_column(UtcTime)
    language: Mapped[str] = mapped_column(String(8))
    sentiment: Mapped[float | None] = mapped_column(Double)
    source: Mapped[str] = mapped_column(String(32))
    fetched_at: Mapped[datetime] = mapped_column(UtcTime)


class Indicator(PackBase):
    """Technical indicators of a symbol on a day, from adjusted prices; NULL while the history is too short."""

    __tablename__ = "trading_indicator"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    close: Mapped[float] = mapped_column(Double)
    ma5: Mapped[float | None] = mapped_column(Double)
    ma10: Mapped[float | None] = mapped_column(Double)
    ma20: Mapped[float | None] = mapped_column(Double)
    ma60: Mapped[float | None] = mapped_column(Double)
    ema12: Mapped[float | None] = mapped_column(Double)
    ema26: Mapped[float | None] = mapped_column(Double)
    macd: Mapped[float | None] = mapped_column(Double)
    macd_signal: Mapped[float | None] = mapped_column(Double)
    macd_hist: Mapped[float | None] = mapped_column(Double)
    rsi14: Mapped[float | None] = mapped_column(Double)
    boll_upper: Mapped[float | None] = mapped_column(Double)
    boll_middle: Mapped[float | None] = mapped_column(Double)
    boll_lower: Mapped[float | None] = mapped_column(Double)
    atr14: Mapped[float | None] = mapped_column(Double)
    stoch_k: Mapped[float | None] = mapped_column(Double)
    stoch_d: Mapped[float | None] = mapped_column(Double)
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Sentiment(PackBase):
    """How the news of a day speak of a symbol, or (`*`) of the market: the mean of -1 to 1, and how many say what."""

    __tablename__ = "trading_sentiment"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    score: Mapped[float] = mapped_column(Double)
    articles: Mapped[int] = mapped_column(Integer)
    positive: Mapped[int] = mapped_column(Integer)
    negative: Mapped[int] = mapped_column(Integer)
    neutral: Mapped[int] = mapped_column(Integer)
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Risk(PackBase):
    """Risk of a symbol over the `days` up to a day. Fractions, not per cent; VaR and CVaR are losses, above zero."""

    __tablename__ = "trading_risk"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    days: Mapped[int] = mapped_column(Integer)
    volatility: Mapped[float] = mapped_column(Double)
    max_drawdown: Mapped[float] = mapped_column(Double)
    var_95: Mapped[float] = mapped_column(Double)
    var_99: Mapped[float] = mapped_column(Double)
    cvar_95: Mapped[float] = mapped_column(Double)
    beta: Mapped[float | None] = mapped_column(Double)
    benchmark: Mapped[str | None] = mapped_column(SYMBOL)
    level: Mapped[str] = mapped_column(String(8))
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Trend(PackBase):
    """The stocks that stood out on a day, the first one most."""

    __tablename__ = "trading_trend"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    score: Mapped[float] = mapped_column(Double)
    change_1d: Mapped[float] = mapped_column(Double)
    change_5d: Mapped[float] = mapped_column(Double)
    volume_ratio: Mapped[float] = mapped_column(Double)
    articles: Mapped[int] = mapped_column(Integer)
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Analysis(PackBase):
    """What a model said of a symbol. `batch`: the run's id, so that a retry asks only for what is missing."""

    __tablename__ = "trading_analysis"
    __table_args__ = (Index("ix_trading_analysis_symbol", "symbol", "create_time"),)

    batch: Mapped[str] = mapped_column(String(36), primary_key=True)
    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    action: Mapped[str] = mapped_column(String(8))
    confidence: Mapped[float] = mapped_column(Double)
    risk_score: Mapped[float] = mapped_column(Double)
    summary: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(LongText)
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(191))
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    create_time: Mapped[datetime] = mapped_column(UtcTime)
