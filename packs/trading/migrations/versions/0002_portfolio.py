"""What is held, and each symbol's latest figures."""

import sqlalchemy as sa
from alembic import op

from column_types import UtcTime
from packs.tables import OPTIONS

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Safe to repeat: MySQL commits each statement by itself."""
    op.create_table(
        "trading_position",
        sa.Column("portfolio", sa.String(64), primary_key=True),
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(100)),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("cost_price", sa.Double(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "trading_snapshot",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("close", sa.Double(), nullable=False),
        sa.Column("change_1d", sa.Double()),
        sa.Column("change_5d", sa.Double()),
        sa.Column("change_20d", sa.Double()),
        sa.Column("price", sa.Double()),
        sa.Column("price_at", UtcTime()),
        sa.Column("rsi14", sa.Double()),
        sa.Column("ma20", sa.Double()),
        sa.Column("sentiment", sa.Double()),
        sa.Column("risk_level", sa.String(8)),
        sa.Column("update_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )


def downgrade() -> None:
    """What was held is forgotten."""
    for table in ("trading_snapshot", "trading_position"):
        op.drop_table(table)
