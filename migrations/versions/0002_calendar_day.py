"""Days an operator opens or closes in a calendar: typhoons, 调休."""

import logging

from alembic import context, op
from sqlalchemy.exc import DatabaseError

from migrations.sql_files import run_file

revision = "0002"
down_revision = "0001"

logger = logging.getLogger("migrations")


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        run_file("0002_sqlite.sql")
        return
    run_file("0002_mysql.sql")
    try:
        run_file("0002_mysql_touch.sql")
    except DatabaseError as error:
        logger.warning(
            "calendar_day.update_time will not follow edits: the trigger in migrations/sql/0002_mysql_touch.sql "
            "was refused (%s). Scheduling is not affected; run that file with an account that may create triggers.",
            error.orig,
        )


def downgrade() -> None:
    op.execute("DROP TABLE calendar_day")
