"""Notification channels and what waits to be told; the texts that templates became."""

from alembic import context, op

from migrations.sql_files import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_file("0007_sqlite.sql" if context.get_context().dialect.name == "sqlite" else "0007_mysql.sql")


def downgrade() -> None:
    op.execute("ALTER TABLE task_run DROP COLUMN rendered")
    for table in ("notify_message", "notify_state", "notify_due", "notify_channel"):
        op.execute(f"DROP TABLE {table}")
