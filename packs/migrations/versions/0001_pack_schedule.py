"""What packs have installed."""

import sqlalchemy as sa
from alembic import op

from column_types import LongText, UtcTime
from packs.tables import OPTIONS

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Safe to repeat: MySQL commits each statement by itself."""
    op.create_table(
        "pack_schedule",
        sa.Column("pack", sa.String(32), primary_key=True),
        sa.Column("entry", sa.String(100), primary_key=True),
        sa.Column("periodic_task_id", sa.BigInteger(), nullable=False),
        sa.Column("installed", LongText, nullable=False),
        sa.Column("install_time", UtcTime(), nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )


def downgrade() -> None:
    """What was installed is forgotten; the rows of `periodic_task` stay."""
    op.drop_table("pack_schedule")
