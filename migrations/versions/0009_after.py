"""Rows that start after another: which row each follows, whose ends are to be looked at, what a run followed."""

from alembic import context, op

from migrations.sql_files import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_file("0009_sqlite.sql" if context.get_context().dialect.name == "sqlite" else "0009_mysql.sql")


def downgrade() -> None:
    op.execute("DROP TABLE after_due")
    op.execute("DROP TABLE task_after")
    op.execute("UPDATE task_run SET origin = 'api' WHERE origin = 'after'")
    if context.get_context().dialect.name == "sqlite":
        run_file("0009_sqlite_down.sql")
        return
    op.execute("ALTER TABLE task_run DROP COLUMN after_run")
    origins = "CHECK (origin IN ('schedule', 'manual', 'api', 'backfill'))"
    op.execute(f"ALTER TABLE task_run ADD CONSTRAINT ck_task_run_origin {origins}")
