"""Endpoints: a stored credential, limits and prices; limits of single agents; budgets."""

from alembic import context, op

from migrations.sql_files import run_file

revision = "0005"
down_revision = "0004"

COLUMNS = (
    "credential", "max_concurrency", "requests_per_minute", "tokens_per_minute", "input_price", "output_price",
    "currency",
)  # fmt: skip


def upgrade() -> None:
    run_file("0005_sqlite.sql" if context.get_context().dialect.name == "sqlite" else "0005_mysql.sql")


def downgrade() -> None:
    for table in ("budget_slice", "budget_use", "budget", "agent_limit"):
        op.execute(f"DROP TABLE {table}")
    if context.get_context().dialect.name == "sqlite":
        for column in COLUMNS:
            op.execute(f"ALTER TABLE agent_endpoint DROP COLUMN {column}")
        return
    # Not the whole table: MySQL drops no column that a CHECK names.
    checks = (f"DROP CONSTRAINT ck_agent_endpoint_{name}" for name in ("limits", "prices", "currency"))
    op.execute(f"ALTER TABLE agent_endpoint {', '.join(checks)}")
    op.execute(f"ALTER TABLE agent_endpoint {', '.join(f'DROP COLUMN {column}' for column in COLUMNS)}")
