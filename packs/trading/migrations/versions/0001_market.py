"""Market data and what is computed from it."""

import sqlalchemy as sa
from alembic import op

from column_types import LongText, UtcTime
from packs.schema import add_index
from packs.tables import OPTIONS

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Safe to repeat: MySQL commits each statement by itself."""
    op.create_table(
        "trading_analysis",
        sa.Column("batch", sa.String(36), primary_key=True),
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("risk_score", sa.Double(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("answer", LongText, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.String(191), nullable=False),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("create_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    add_index("ix_trading_analysis_symbol", "trading_analysis", ["symbol", "create_time"])
    op.create_table(
        "trading_bar",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("open", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("close", sa.Double(), nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Double()),
        sa.Column("adj_factor", sa.Double(), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_financial",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("period_end", sa.Date(), primary_key=True),
        sa.Column("revenue", sa.Double()),
        sa.Column("net_profit", sa.Double()),
        sa.Column("earnings_per_share", sa.Double()),
        sa.Column("return_on_equity", sa.Double()),
        sa.Column("figures", LongText, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_indicator",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("close", sa.Double(), nullable=False),
        sa.Column("ma5", sa.Double()),
        sa.Column("ma10", sa.Double()),
        sa.Column("ma20", sa.Double()),
        sa.Column("ma60", sa.Double()),
        sa.Column("ema12", sa.Double()),
        sa.Column("ema26", sa.Double()),
        sa.Column("macd", sa.Double()),
        sa.Column("macd_signal", sa.Double()),
        sa.Column("macd_hist", sa.Double()),
        sa.Column("rsi14", sa.Double()),
        sa.Column("boll_upper", sa.Double()),
        sa.Column("boll_middle", sa.Double()),
        sa.Column("boll_lower", sa.Double()),
        sa.Column("atr14", sa.Double()),
        sa.Column("stoch_k", sa.Double()),
        sa.Column("stoch_d", sa.Double()),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_news",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("content", LongText, nullable=False),
        sa.Column("url", sa.String(1000)),
        sa.Column("publisher", sa.String(200)),
        sa.Column("published_at", UtcTime(), nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("sentiment", sa.Double()),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("fetched_at", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    add_index("ix_trading_news_published", "trading_news", ["published_at"])
    op.create_table(
        "trading_price",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("at", UtcTime(), primary_key=True),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("previous_close", sa.Double()),
        sa.Column("volume", sa.BigInteger()),
        sa.Column("amount", sa.Double()),
        sa.Column("source", sa.String(32), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_risk",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("volatility", sa.Double(), nullable=False),
        sa.Column("max_drawdown", sa.Double(), nullable=False),
        sa.Column("var_95", sa.Double(), nullable=False),
        sa.Column("var_99", sa.Double(), nullable=False),
        sa.Column("cvar_95", sa.Double(), nullable=False),
        sa.Column("beta", sa.Double()),
        sa.Column("benchmark", sa.String(32)),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_sentiment",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("articles", sa.Integer(), nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("neutral", sa.Integer(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_trend",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("change_1d", sa.Double(), nullable=False),
        sa.Column("change_5d", sa.Double(), nullable=False),
        sa.Column("volume_ratio", sa.Double(), nullable=False),
        sa.Column("articles", sa.Integer(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )


def downgrade() -> None:
    """All that was collected is gone."""
    for table in (
        "trading_trend",
        "trading_sentiment",
        "trading_risk",
        "trading_price",
        "trading_news",
        "trading_indicator",
        "trading_financial",
        "trading_bar",
        "trading_analysis",
    ):
        op.drop_table(table)
