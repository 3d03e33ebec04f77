"""The trading pack's analyses: indicators, sentiment, risk, trends, a model's opinion. Results are rows to query."""

from collections.abc import Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any, Final
from zoneinfo import ZoneInfo

from config import get_settings
from core.calendars import local_day
from core.outcome import AgentError, AgentResult, ErrorKind
from packs.database import engine
from packs.schedule import MARKET_ZONE
from packs.task import AnyTask, pack_task
from packs.trading import market, risk, sentiment, trends
from packs.trading.data_tasks import Gathered, day_given, symbols_given
from packs.trading.indicators import KEPT, LEAST_BARS, WARM_UP, adjusted_closes, indicators_of
from packs.trading.opinions import Desk
from packs.trading.tables import MARKET, Indicator, Risk
from packs.upsert import upsert
from store.database import autocommit

QUEUE: Final = "analysis"
RISK_DAYS: Final = 250  # about a trading year
LIMIT: Final = 20


@pack_task(
    "packs.trading.analysis_tasks.calculate_technical_indicators",
    queue=QUEUE,
    aliases=("tasks.analysis_tasks.calculate_technical_indicators",),
    time_limit=1800,
    max_retries=2,
)
def calculate_technical_indicators(
    self: AnyTask, symbols: Sequence[str] | None = None, date: str | None = None
) -> dict[str, Any]:
    """Compute the indicators of the latest year up to a day (default: today) and store them in trading_indicator."""
    ours, last = engine(), _day(date)
    latest: dict[str, dict[str, Any]] = {}

    def calculate(symbol: str) -> None:
        with autocommit(ours) as connection:
            bars = market.bars(connection, symbol, last, WARM_UP + KEPT)
        if len(bars) < LEAST_BARS:
            raise _too_few(symbol, len(bars), LEAST_BARS)
        now = market.clock(ours)
        rows = [{"symbol": symbol, **row, "update_time": now} for row in indicators_of(bars)[-KEPT:]]
        upsert(ours, Indicator, rows)
        latest[symbol] = {name: value for name, value in rows[-1].items() if name != "update_time"}

    gathered = Gathered(self, symbols_given(symbols, get_settings().trading_symbols), "indicators of")
    gathered.each(calculate)
    return {
        **gathered.counts(),
        "indicators": {symbol: {**row, "day": row["day"].isoformat()} for symbol, row in latest.items()},
        "calculation_time": market.clock(ours).isoformat(),
    }


@pack_task(
    "packs.trading.analysis_tasks.analyze_market_sentiment",
    queue=QUEUE,
    aliases=("tasks.analysis_tasks.analyze_market_sentiment",),
    time_limit=1800,
    max_retries=2,
)
def analyze_market_sentiment(self: AnyTask, date: str | None = None) -> dict[str, Any]:
    """Judge the news of a day in Shanghai, each article, each symbol and the market.

    Default: today, and yesterday once more, with what was published after yesterday's run.
    """
    day = _day(date)
    if date is None:
        _judge_news(self, day - timedelta(days=1))
    return _judge_news(self, day)


def _judge_news(task: AnyTask, day: Date) -> dict[str, Any]:
    ours = engine()
    first = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(MARKET_ZONE))
    with autocommit(ours) as connection:
        articles = market.news_between(connection, first, first + timedelta(days=1), get_settings().trading_symbols)
    scores: dict[str, float] = {}
    by_symbol: dict[str, list[float]] = {}
    for position, article in enumerate(articles):
        if position % 50 == 0:
            task.update_state(state="PROGRESS", meta={"current": position, "total": len(articles)})
        if article.digest not in scores:
            scores[article.digest] = sentiment.score_of(article.title, article.content, article.language)
        by_symbol.setdefault(article.symbol, []).append(scores[article.digest])
    now = market.clock(ours)
    said = {MARKET: list(scores.values()), **by_symbol} if scores else {}
    rows = [{"day": day, "symbol": symbol, **_tally(found), "update_time": now} for symbol, found in said.items()]
    market.write_sentiments(ours, scores, rows)
    shown = {row["symbol"]: {name: row[name] for name in ("score", *_COUNTS)} for row in rows}
    return {
        "date": day.isoformat(),
        "articles": len(scores),
        "market": shown.pop(MARKET, None),
        "symbols": shown,
        "analysis_time": now.isoformat(),
    }


@pack_task(
    "packs.trading.analysis_tasks.update_risk_assessment",
    queue=QUEUE,
    aliases=("tasks.analysis_tasks.update_risk_assessment",),
    time_limit=1800,
    max_retries=2,
)
def update_risk_assessment(
    self: AnyTask, symbols: Sequence[str] | None = None, date: str | None = None
) -> dict[str, Any]:
    """Compute volatility, drawdown, VaR and beta over the latest trading year; store them in trading_risk."""
    ours, last, benchmark = engine(), _day(date), get_settings().trading_benchmark
    with autocommit(ours) as connection:
        index = market.bars(connection, benchmark, last, RISK_DAYS + 1)
    index_closes = dict(zip((bar.day for bar in index), adjusted_closes(index), strict=True))
    found: dict[str, dict[str, Any]] = {}

    def assess(symbol: str) -> None:
        with autocommit(ours) as connection:
            bars = market.bars(connection, symbol, last, RISK_DAYS + 1)
        closes = adjusted_closes(bars)
        figures = risk.figures_of(closes)
        if figures is None:
            raise _too_few(symbol, len(bars), risk.LEAST_RETURNS + 1)
        common = [bar.day for bar in bars if bar.day in index_closes]
        own = dict(zip((bar.day for bar in bars), closes, strict=True))
        row = {
            "symbol": symbol,
            "day": bars[-1].day,
            "days": figures.days,
            "volatility": figures.volatility,
            "max_drawdown": figures.max_drawdown,
            "var_95": figures.var_95,
            "var_99": figures.var_99,
            "cvar_95": figures.cvar_95,
            "beta": risk.beta(
                risk.returns_of([own[day] for day in common]), risk.returns_of([index_closes[day] for day in common])
            ),
            "benchmark": benchmark,
            "level": figures.level,
        }
        upsert(ours, Risk, [{**row, "update_time": market.clock(ours)}])
        found[symbol] = {**row, "day": bars[-1].day.isoformat()}

    gathered = Gathered(self, symbols_given(symbols, get_settings().trading_symbols), "risk of")
    gathered.each(assess)
    counts = gathered.counts()
    return {**counts, "risk": found, "assessment_time": market.clock(ours).isoformat()}


@pack_task(
    "packs.trading.analysis_tasks.analyze_trending_stocks",
    queue=QUEUE,
    aliases=("tasks.analysis_tasks.analyze_trending_stocks",),
    time_limit=1800,
    max_retries=2,
)
def analyze_trending_stocks(self: AnyTask, limit: int = LIMIT, date: str | None = None) -> dict[str, Any]:
    """Rank the symbols by how far they stand out on the last day up to `date` (default: today), in trading_trend."""
    ours, last = engine(), _day(date)
    found: dict[Date, list[trends.Standing]] = {}

    def judge(symbol: str) -> None:
        with autocommit(ours) as connection:
            bars = market.bars(connection, symbol, last, trends.LEAST_BARS)
            if not bars:
                raise _too_few(symbol, 0, trends.LEAST_BARS)
            day = bars[-1].day
            first = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(MARKET_ZONE))
            articles = market.count_news(connection, symbol, first, first + timedelta(days=1))
        volumes = [bar.volume / bar.adj_factor for bar in bars]  # a split multiplies shares as it divides prices
        standing = trends.standing_of(symbol, adjusted_closes(bars), volumes, articles)
        if standing is None:
            raise _too_few(symbol, len(bars), trends.LEAST_BARS)
        found.setdefault(day, []).append(standing)

    gathered = Gathered(self, get_settings().trading_symbols, "trend of")
    gathered.each(judge)
    day = max(found)  # a symbol without a bar of that day was not traded
    ranked = sorted(found[day], key=lambda each: (-each.score, each.symbol))[:limit]
    now = market.clock(ours)
    rows = [
        {
            "day": day,
            "symbol": each.symbol,
            "position": position,
            "score": each.score,
            "change_1d": each.change_1d,
            "change_5d": each.change_5d,
            "volume_ratio": each.volume_ratio,
            "articles": each.articles,
            "update_time": now,
        }
        for position, each in enumerate(ranked, 1)
    ]
    market.replace_trends(ours, day, rows)
    return {
        **gathered.counts(),
        "date": day.isoformat(),
        "trending_stocks": [{k: v for k, v in row.items() if k not in {"day", "update_time"}} for row in rows],
        "analysis_time": now.isoformat(),
    }


@pack_task(
    "packs.trading.analysis_tasks.batch_stock_analysis",
    queue=QUEUE,
    aliases=("tasks.analysis_tasks.batch_stock_analysis",),
    time_limit=3600,
    max_retries=2,
)
def batch_stock_analysis(
    self: AnyTask, symbols: Sequence[str], analysis_config: dict[str, Any] | None = None
) -> AgentResult:
    """Ask a model for its opinion of each symbol, with what is stored about it; store it in trading_analysis.

    `analysis_config`: llm_provider (`dashscope`, `deepseek`, `default`, or a row of agent_endpoint), model_version,
    research_depth (1 to 5), enable_memory (true: the model is told what it said the last time).
    """
    asked = symbols_given(symbols, ())
    if not asked:
        raise AgentError(ErrorKind.INVALID, "symbols is empty; name at least one")
    desk = Desk(self, engine(), analysis_config or {})
    gathered = Gathered(self, asked, "opinion of")
    gathered.each(desk.judge)
    results = desk.results()
    answer = {
        "analysis_results": results,
        "total_analyzed": len(results),
        "total_requested": len(asked),
        "success_rate": len(results) / len(asked),
        "errors": gathered.counts()["errors"],
        "batch_time": market.clock(engine()).isoformat(),
    }
    said = "; ".join(f"{each['symbol']}: {each['action']}" for each in results)
    return AgentResult("succeeded", said, answer, usage=desk.usage())


_COUNTS: Final = ("articles", "positive", "negative", "neutral")


def _tally(scores: Sequence[float]) -> dict[str, Any]:
    labels = [sentiment.label_of(score) for score in scores]
    counts = {name: labels.count(name) for name in ("positive", "negative", "neutral")}
    return {"score": fmean(scores), "articles": len(scores), **counts}


def _day(date: str | None) -> Date:
    """A task's `date`, else today in Shanghai."""
    return day_given(date) or local_day(market.clock(engine()), ZoneInfo(MARKET_ZONE))


def _too_few(symbol: str, found: int, needed: int) -> AgentError:
    return AgentError(ErrorKind.INVALID, f"{symbol}: {found} daily bars are stored, and {needed} are needed")
