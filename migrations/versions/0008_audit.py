"""Edits of endpoints, limits, budgets, holds, calendar days and channels by plain SQL, in the audit."""

import logging

from alembic import context, op
from sqlalchemy.exc import DatabaseError

from migrations.sql_files import run_file

revision = "0008"
down_revision = "0007"

TABLES = ("agent_endpoint", "agent_limit", "budget", "hold", "calendar_day", "notify_channel")

logger = logging.getLogger("migrations")


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        run_file("0008_sqlite_audit.sql")
        return
    try:
        run_file("0008_mysql_audit.sql")
    except DatabaseError as error:
        # MySQL with binary logging allows triggers only to SUPER or with log_bin_trust_function_creators=1.
        logger.warning(
            "edits of endpoints, limits, budgets, holds, calendar days and channels by plain SQL will not be in the "
            "audit: the triggers in migrations/sql/0008_mysql_audit.sql were refused (%s). What is changed by the API "
            "and the commands is in the audit; run that file with an account that may create triggers.",
            error.orig,
        )


def downgrade() -> None:
    for table in TABLES:
        for event in ("update", "create", "delete"):
            op.execute(f"DROP TRIGGER IF EXISTS {table}_audit_{event}")
