"""Positions as people keep them, in a CSV file. Pure.

symbol,name,quantity,cost_price        or        代码,名称,数量,成本价
600519,贵州茅台,100,1688.50
"""

import csv
import math
from io import StringIO
from typing import Final

from packs.trading.report_figures import Position

COLUMNS: Final = {
    "symbol": ("symbol", "代码", "股票代码", "证券代码"),
    "name": ("name", "名称", "股票名称", "证券名称"),
    "quantity": ("quantity", "数量", "持仓数量", "股份余额"),
    "cost_price": ("cost_price", "成本价", "持仓成本"),
}
REQUIRED: Final = ("symbol", "quantity", "cost_price")
MAX_SYMBOL, MAX_NAME, MAX_PORTFOLIO = 32, 100, 64


class PositionsFault(ValueError):
    """A file that cannot be taken; the message names the line and what to write instead."""


def read_csv(text: str) -> list[Position]:
    """Read positions, in the order of the file. Raises PositionsFault; then nothing of it is to be taken."""
    try:
        return _read(text)
    except csv.Error as error:
        raise PositionsFault(f"it is no CSV file: {error}") from error


def check_portfolio(name: str) -> None:
    """Check a portfolio's name, which reports have in the names of their files. Raises PositionsFault."""
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or len(name) > MAX_PORTFOLIO:
        raise PositionsFault(f"portfolio is {name!r}; use up to {MAX_PORTFOLIO} letters, digits, '-' and '_'")


def _read(text: str) -> list[Position]:
    reader = csv.DictReader(StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    names = {name.strip(): name for name in reader.fieldnames or []}
    columns = {key: names[other] for key, known in COLUMNS.items() for other in known if other in names}
    if lacking := [key for key in REQUIRED if key not in columns]:
        raise PositionsFault(f"line 1: there is no column {', '.join(lacking)}; the first line names the columns")
    found: dict[str, Position] = {}
    for row in reader:
        if any(cell.strip() for cell in row.get(None, ())):
            what = "more cells than line 1 names; quote a number with commas in it"
            raise PositionsFault(f"line {reader.line_num}: {what}")
        position = _position(reader.line_num, {key: (row[name] or "").strip() for key, name in columns.items()})
        if position.symbol in found:
            raise PositionsFault(f"line {reader.line_num}: {position.symbol} stands in the file twice; add the two up")
        found[position.symbol] = position
    return list(found.values())


def _position(line: int, cells: dict[str, str]) -> Position:
    symbol, name = cells["symbol"], cells.get("name", "")
    if not symbol or len(symbol) > MAX_SYMBOL or len(name) > MAX_NAME:
        raise PositionsFault(f"line {line}: symbol takes 1 to {MAX_SYMBOL} characters, name up to {MAX_NAME}")
    quantity, cost = (_number(line, key, cells[key]) for key in ("quantity", "cost_price"))
    return Position(symbol, quantity, cost, name or None)


def _number(line: int, key: str, text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise PositionsFault(f"line {line}: {key} is {text!r}; write a number such as 1688.50")
    return value
