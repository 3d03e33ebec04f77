"""Room for the selection of a bulk change that names 10,000 rows."""

from alembic import context

from migrations.sql_files import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if context.get_context().dialect.name != "sqlite":  # there a TEXT has no end
        run_file("0011_mysql.sql")


def downgrade() -> None:
    """Leave the room: a selection that needs it would not fit any more, and the older program does without."""
