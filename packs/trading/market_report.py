"""The daily market report: what it says, from what was stored. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import fmean
from typing import Any, Final

from packs.trading import report_charts as charts
from packs.trading.report_content import Report, Section, Table, money, number, percent
from packs.trading.report_figures import Day, change, volume_ratio
from packs.trading.tables import MARKET

SHOWN: Final = 5
POSITIVE, NEGATIVE = 0.05, -0.05
WEEKDAYS: Final = "一二三四五六日"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What is known of a day. `bars` end on that day; symbols without a bar of it are left out."""

    day: date
    bars: Mapping[str, Sequence[Day]]
    benchmark: str = ""
    benchmark_bars: Sequence[Day] = ()
    indicators: Mapping[str, Any] = field(default_factory=dict)
    sentiments: Mapping[str, Any] = field(default_factory=dict)
    trends: Sequence[Any] = ()
    headlines: Sequence[Any] = ()


def daily(market: Market) -> tuple[Report, dict[str, Any]]:
    """Write the report, and the figures in it for the task's result."""
    changes = {symbol: found for symbol, days in market.bars.items() if (found := change(days, 1)) is not None}
    ranked = sorted(changes.items(), key=lambda item: -item[1])
    gainers = [(symbol, value) for symbol, value in ranked if value > 0][:SHOWN]
    losers = [(symbol, value) for symbol, value in reversed(ranked) if value < 0][:SHOWN]
    figures: dict[str, Any] = {
        "date": market.day.isoformat(),
        "market_summary": _summary(market, changes),
        "top_gainers": [{"symbol": symbol, "change": round(value, 6)} for symbol, value in gainers],
        "top_losers": [{"symbol": symbol, "change": round(value, 6)} for symbol, value in losers],
        "trending": [row.symbol for row in market.trends],
    }
    sections = [
        Section("市场概况", _in_words(market, figures["market_summary"]), charts=_charts(market, changes)),
        Section("个股表现", table=_symbols(market)),
        *_sentiment(market),
        *_trends(market),
        *_news(market),
    ]
    day = f"{market.day:%Y年%m月%d日}（星期{WEEKDAYS[market.day.weekday()]}）"
    report = Report(f"daily-market-{market.day}", "每日市场报告", f"{day} · Daily market report", sections)
    return report, figures


def _summary(market: Market, changes: Mapping[str, float]) -> dict[str, Any]:
    amounts = [days[-1].amount for days in market.bars.values() if days[-1].amount is not None]
    mood = market.sentiments.get(MARKET)
    index = change(market.benchmark_bars, 1) if market.benchmark_bars else None
    return {
        "symbols": len(market.bars),
        "up": sum(value > 0 for value in changes.values()),
        "down": sum(value < 0 for value in changes.values()),
        "unchanged": sum(value == 0 for value in changes.values()),
        "average_change": round(fmean(changes.values()), 6) if changes else None,
        "total_amount": round(sum(amounts), 2) if amounts else None,
        "benchmark": market.benchmark or None,
        "benchmark_change": None if index is None else round(index, 6),
        "sentiment": None if mood is None else mood.score,
    }


def _in_words(market: Market, summary: Mapping[str, Any]) -> list[str]:
    said = [
        f"共跟踪 {summary['symbols']} 只股票：上涨 {summary['up']} 只，下跌 {summary['down']} 只，"
        f"平盘 {summary['unchanged']} 只；平均涨跌幅 {percent(summary['average_change'])}。"
    ]
    if summary["benchmark_change"] is not None:
        close = market.benchmark_bars[-1].close
        said.append(f"基准 {market.benchmark} 收于 {money(close)}，涨跌幅 {percent(summary['benchmark_change'])}。")
    if summary["total_amount"] is not None:
        said.append(f"合计成交额 {money(summary['total_amount'])} 元。")
    return said


def _charts(market: Market, changes: Mapping[str, float]) -> list[str]:
    drawn = [charts.changes("各股当日涨跌幅", changes)] if changes else []
    if len(market.benchmark_bars) > 1:
        closes = {day.day: day.close for day in market.benchmark_bars}
        drawn.append(charts.lines(f"基准 {market.benchmark} 走势", {market.benchmark: closes}, "收盘价"))
    return drawn


def _symbols(market: Market) -> Table:
    rows = []
    for symbol, days in sorted(market.bars.items()):
        row = market.indicators.get(symbol)
        rows.append(
            [
                symbol,
                money(days[-1].close),
                percent(change(days, 1)),
                percent(change(days, 5)),
                percent(change(days, 20)),
                number(volume_ratio(days)),
                number(None if row is None else row.rsi14, 1),
                money(None if row is None else row.ma20),
            ]
        )
    heads = ["代码", "收盘价", "当日", "5 日", "20 日", "量比", "RSI(14)", "20 日均线"]
    return Table(heads, rows, frozenset(range(1, len(heads))))


def _sentiment(market: Market) -> list[Section]:
    if not market.sentiments:
        return []
    rows = [
        ["全市场" if symbol == MARKET else symbol, mood_of(row.score), number(row.score), str(row.articles)]
        for symbol, row in sorted(market.sentiments.items())
    ]
    return [Section("新闻情绪", table=Table(["范围", "情绪", "得分（−1 到 1）", "文章数"], rows, frozenset({2, 3})))]


def mood_of(score: float) -> str:
    """Say how a score speaks."""
    return "偏多" if score > POSITIVE else "偏空" if score < NEGATIVE else "中性"


def _trends(market: Market) -> list[Section]:
    if not market.trends:
        return []
    rows = [
        [str(row.position), row.symbol, number(row.score, 1), percent(row.change_1d), number(row.volume_ratio)]
        for row in market.trends
    ]
    return [Section("热门股票", table=Table(["名次", "代码", "热度", "当日", "量比"], rows, frozenset({0, 2, 3, 4})))]


def _news(market: Market) -> list[Section]:
    if not market.headlines:
        return []
    rows = [
        [row.symbol, row.title, "—" if row.sentiment is None else mood_of(row.sentiment)] for row in market.headlines
    ]
    return [Section("要闻", table=Table(["代码", "标题", "情绪"], rows))]
