"""Only the program can silence the triggers of the audit: by a row that operators may not write."""

import logging

from alembic import context
from sqlalchemy.exc import DatabaseError

from migrations.sql_files import make_triggers_anew

revision = "0010"
down_revision = "0009"

FILES = ("0006_mysql_audit.sql", "0008_mysql_audit.sql")
BEFORE = "@audited_by_the_program IS NULL"
# A row of this session's own transaction, which nobody else ever sees. A day: one that was left over silences nobody.
# It is looked for only where the session claims it: at REPEATABLE READ a trigger that finds no row locks the gap where
# it would be, so that every open edit by hand would hold up the program's own.
AFTER = (
    "(@audited_by_the_program IS NULL OR NOT EXISTS (SELECT 1 FROM scheduler_state "
    "WHERE name = CONCAT('audited_by_the_program:', CONNECTION_ID()) "
    "AND update_time > UTC_TIMESTAMP(6) - INTERVAL 1 DAY))"
)

logger = logging.getLogger("migrations")


def upgrade() -> None:
    _make_anew(AFTER)


def downgrade() -> None:
    _make_anew(BEFORE)


def _make_anew(silenced: str) -> None:
    if context.get_context().dialect.name == "sqlite":  # there it is a row already
        return
    try:
        for name in FILES:
            make_triggers_anew(name, BEFORE, silenced)
    except DatabaseError as error:
        # MySQL with binary logging allows triggers only to SUPER or with log_bin_trust_function_creators=1.
        logger.warning(
            "changes by plain SQL will not be in the audit: its triggers were refused (%s). Scheduling is not "
            "affected, and what is changed by the API is in the audit.",
            error.orig,
        )
