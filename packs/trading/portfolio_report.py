"""The weekly portfolio report, and the one on chosen symbols: what they say. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from packs.trading import report_charts as charts
from packs.trading.report_content import Report, Section, Table, file_name, money, number, percent, share
from packs.trading.report_figures import (
    Day,
    Holding,
    Performance,
    Position,
    holdings,
    performance,
    value_by_day,
)

LEVELS = {"low": "低", "medium": "中", "high": "高"}


def weekly(
    portfolio: str,
    week: tuple[date, date],
    positions: Sequence[Position],
    bars: Mapping[str, Sequence[Day]],
    risks: Mapping[str, Any],
) -> tuple[Report, dict[str, Any]]:
    """Write the report of a week (first and last day), and the figures in it. `bars` end in that week."""
    held, without = holdings(positions, bars, week[0])
    figures = _figures(portfolio, week, held, without)
    by_day = value_by_day(positions, bars)
    parts = {holding.position.label: holding.value for holding in held if holding.value}
    drawn = [charts.shares("持仓占比", parts)] if parts else []
    weekly_changes = {holding.position.label: holding.weekly for holding in held if holding.weekly is not None}
    if weekly_changes:
        drawn.append(charts.changes("本周涨跌幅", weekly_changes))
    if len(by_day) > 1:
        drawn.append(charts.lines("组合市值（按现有持仓）", {"组合市值": by_day}, "元"))
    sections = [
        Section("组合概况", _in_words(figures), charts=drawn),
        Section("持仓明细", table=_holdings(held)),
        *_risk(held, risks),
        *_without(without),
    ]
    span = f"{week[0]:%Y年%m月%d日} 至 {week[1]:%Y年%m月%d日}"
    name = f"weekly-portfolio-{portfolio}-{week[0]}"
    return Report(name, "每周投资组合报告", f"{span} · 组合 {portfolio} · Weekly portfolio report", sections), figures


def _figures(
    portfolio: str, week: tuple[date, date], held: Sequence[Holding], without: Sequence[Position]
) -> dict[str, Any]:
    value = sum(holding.value for holding in held)
    profit = sum(holding.profit for holding in held)
    moved = [holding.weekly_profit for holding in held if holding.weekly_profit is not None]
    before = value - sum(moved)
    return {
        "portfolio": portfolio,
        "week_start": week[0].isoformat(),
        "week_end": week[1].isoformat(),
        "total_value": round(value, 2),
        "total_profit": round(profit, 2),
        "total_profit_rate": round(profit / (value - profit), 6) if value != profit else None,
        "weekly_profit": round(sum(moved), 2) if moved else None,
        "weekly_return": round(sum(moved) / before, 6) if moved and before else None,
        "positions": [
            {
                "symbol": holding.position.symbol,
                "name": holding.position.name,
                "quantity": holding.position.quantity,
                "close": holding.close,
                "value": round(holding.value, 2),
                "weight": round(holding.weight, 6),
                "profit": round(holding.profit, 2),
                "weekly_return": None if holding.weekly is None else round(holding.weekly, 6),
            }
            for holding in held
        ],
        "without_prices": [position.symbol for position in without],
    }


def _in_words(figures: Mapping[str, Any]) -> list[str]:
    return [
        f"组合市值 {money(figures['total_value'])} 元；本周盈亏 {money(figures['weekly_profit'])} 元"
        f"（{percent(figures['weekly_return'])}），累计盈亏 {money(figures['total_profit'])} 元"
        f"（{percent(figures['total_profit_rate'])}）。",
        f"共持有 {len(figures['positions'])} 只股票。",
    ]


def _holdings(held: Sequence[Holding]) -> Table:
    heads = ["股票", "数量", "成本价", "收盘价", "市值", "占比", "本周", "累计盈亏", "盈亏率"]
    rows = [
        [
            holding.position.label,
            f"{holding.position.quantity:,g}",
            money(holding.position.cost_price),
            money(holding.close),
            money(holding.value),
            share(holding.weight),
            percent(holding.weekly),
            money(holding.profit),
            percent(holding.profit_rate),
        ]
        for holding in held
    ]
    return Table(heads, rows, frozenset(range(1, len(heads))))


def _risk(held: Sequence[Holding], risks: Mapping[str, Any]) -> list[Section]:
    rows = [
        [
            holding.position.label,
            share(row.volatility),
            share(row.max_drawdown),
            share(row.var_95),
            number(row.beta),
            LEVELS.get(row.level, row.level),
        ]
        for holding in held
        if (row := risks.get(holding.position.symbol)) is not None
    ]
    heads = ["股票", "年化波动率", "最大回撤", "VaR(95%)", "贝塔", "风险"]
    return [Section("风险", table=Table(heads, rows, frozenset(range(1, 5))))] if rows else []


def _without(without: Sequence[Position]) -> list[Section]:
    if not without:
        return []
    named = "、".join(position.label for position in without)
    return [Section("没有行情的持仓", [f"{named}：没有日线数据，未计入市值。"])]


def of_symbols(first: date, last: date, bars: Mapping[str, Sequence[Day]]) -> tuple[Report, dict[str, Any]]:
    """Write the report on chosen symbols over a span of days, and the figures in it."""
    found = {symbol: done for symbol, days in sorted(bars.items()) if (done := performance(days)) is not None}
    figures = {
        "first": first.isoformat(),
        "last": last.isoformat(),
        "performance": {symbol: _as_result(done) for symbol, done in found.items()},
    }
    relative = {
        symbol: {day.day: day.adjusted / done.first.adjusted * 100 for day in bars[symbol]}
        for symbol, done in found.items()
    }
    heads = ["代码", "期初", "期末", "涨跌幅", "年化波动率", "最大回撤"]
    rows = [
        [
            symbol,
            money(done.first.close),
            money(done.last.close),
            percent(done.total),
            share(done.volatility),
            share(done.drawdown),
        ]
        for symbol, done in found.items()
    ]
    drawn = [charts.lines("相对走势（期初 = 100）", relative, "指数")] if relative else []
    sections = [Section("区间表现", table=Table(heads, rows, frozenset(range(1, len(heads)))), charts=drawn)]
    name = file_name(f"symbols-{first}-{last}", sorted(found))
    return Report(name, "自定义报告", f"{first:%Y年%m月%d日} 至 {last:%Y年%m月%d日} · Custom report", sections), figures


def _as_result(done: Performance) -> dict[str, Any]:
    return {
        "return": round(done.total, 6),
        "volatility": None if done.volatility is None else round(done.volatility, 6),
        "max_drawdown": round(done.drawdown, 6),
        "first_close": done.first.close,
        "last_close": done.last.close,
    }
