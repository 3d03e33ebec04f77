"""Tables of what is held, and of each symbol's latest figures."""

from datetime import date, datetime

from sqlalchemy import Date, Double, String
from sqlalchemy.orm import Mapped, mapped_column

from column_types import UtcTime
from packs.tables import PackBase

SYMBOL = String(32)


class Position(PackBase):
    """Shares of a symbol in a portfolio. `cost_price`: what one of them cost, fees included."""

    __tablename__ = "trading_position"

    portfolio: Mapped[str] = mapped_column(String(64), primary_key=True)
    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    name: Mapped[str | None] = mapped_column(String(100))
    quantity: Mapped[float] = mapped_column(Double)
    cost_price: Mapped[float] = mapped_column(Double)
    update_time: Mapped[datetime] = mapped_column(UtcTime)


class Snapshot(PackBase):
    """The latest that is known of a symbol: a cache that `refresh_cache` makes anew. Changes are fractions."""

    __tablename__ = "trading_snapshot"

    symbol: Mapped[str] = mapped_column(SYMBOL, primary_key=True)
    day: Mapped[date] = mapped_column(Date)
    close: Mapped[float] = mapped_column(Double)
    change_1d: Mapped[float | None] = mapped_column(Double)
    change_5d: Mapped[float | None] = mapped_column(Double)
    change_20d: Mapped[float | None] = mapped_column(Double)
    price: Mapped[float | None] = mapped_column(Double)
    price_at: Mapped[datetime | None] = mapped_column(UtcTime)
    rsi14: Mapped[float | None] = mapped_column(Double)
    ma20: Mapped[float | None] = mapped_column(Double)
    sentiment: Mapped[float | None] = mapped_column(Double)
    risk_level: Mapped[str | None] = mapped_column(String(8))
    update_time: Mapped[datetime] = mapped_column(UtcTime)
