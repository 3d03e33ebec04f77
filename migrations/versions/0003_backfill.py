"""Backfills: past moments of a row as runs, a few at a time."""

from alembic import context, op

from migrations.sql_files import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file("0003_sqlite.sql" if context.get_context().dialect.name == "sqlite" else "0003_mysql.sql")


def downgrade() -> None:
    op.execute("DROP TABLE backfill")
