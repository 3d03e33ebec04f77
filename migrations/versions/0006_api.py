"""The API: users, tokens, sessions, audit, bulk changes, holds."""

import logging

from alembic import context, op
from sqlalchemy.exc import DatabaseError

from migrations.sql_files import run_file

revision = "0006"
down_revision = "0005"

TABLES = ("hold", "bulk_change", "audit_log", "api_request", "api_session", "api_token", "api_user")

logger = logging.getLogger("migrations")


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        run_file("0006_sqlite.sql")
        run_file("0006_sqlite_audit.sql")
        return
    run_file("0006_mysql.sql")
    try:
        run_file("0006_mysql_audit.sql")
    except DatabaseError as error:
        # MySQL with binary logging allows triggers only to SUPER or with log_bin_trust_function_creators=1.
        logger.warning(
            "edits of periodic_task by plain SQL will not be in the audit: the triggers in "
            "migrations/sql/0006_mysql_audit.sql were refused (%s). Scheduling is not affected, and what is changed by "
            "the API is in the audit; run that file with an account that may create triggers.",
            error.orig,
        )


def downgrade() -> None:
    for event in ("update", "create", "delete"):
        op.execute(f"DROP TRIGGER IF EXISTS periodic_task_audit_{event}")
    op.drop_index("ix_periodic_task_owner", "periodic_task")
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
