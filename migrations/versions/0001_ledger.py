"""The first schema: rows, ledger, leases.

The statements are in migrations/sql/, one file a database, so that a DBA can read what will run.
"""

import logging
from pathlib import Path

from alembic import context, op
from sqlalchemy.exc import DatabaseError

revision = "0001"
down_revision = None

SQL = Path(__file__).resolve().parents[1] / "sql"
logger = logging.getLogger("migrations")


def _run(file: str) -> None:
    for statement in (SQL / file).read_text(encoding="utf-8").split(";\n\n"):
        lines = [line for line in statement.strip().rstrip(";").splitlines() if not line.startswith("--")]
        if "".join(lines).strip():
            end = "; END" if lines[-1].endswith("; END") else ""
            op.get_bind().exec_driver_sql("\n".join(lines).removesuffix(end) + end)


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        _run("0001_sqlite.sql")
        return
    _run("0001_mysql.sql")
    try:
        _run("0001_mysql_touch.sql")
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
