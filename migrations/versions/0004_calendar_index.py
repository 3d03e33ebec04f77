"""Which calendars rows name, without reading the rows."""

from alembic import op

from migrations.sql_files import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_file("0004.sql")


def downgrade() -> None:
    op.drop_index("ix_periodic_task_calendar", "periodic_task")
