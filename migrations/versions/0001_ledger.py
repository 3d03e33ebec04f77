"""The first schema: rows, ledger, leases.

The statements are in migrations/sql/, one file a database, so that a DBA can read what will run.
"""

import logging

from alembic import context, op
from sqlalchemy.exc import DatabaseError

from migrations.sql_files import run_file

revision = "0001"
down_revision = None

logger = logging.getLogger("migrations")


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        run_file("0001_sqlite.sql")
        return
    run_file("0001_mysql.sql")
    try:
        run_file("0001_mysql_touch.sql")
    except DatabaseError as error:
        # MySQL with binary logging allows triggers only to SUPER or with log_bin_trust_function_creators=1.
        logger.warning(
            "periodic_task.update_time will not follow edits: the trigger in migrations/sql/0001_mysql_touch.sql "
            "was refused (%s). Scheduling is not affected; run that file with an account that may create triggers.",
            error.orig,
        )


def downgrade() -> None:
    for view in ("task_run_local", "periodic_task_local"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "agent_endpoint",
        "scheduler_state",
        "beat_heartbeat",
        "worker_lease",
        "task_run",
        "periodic_task",
    ):
        op.execute(f"DROP TABLE {table}")
