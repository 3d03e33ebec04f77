"""Bring the database of DATABASE_URL to the newest schema: `python -m store.migrate`."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import SettingsError, get_settings
from store.database import connect

ROOT = Path(__file__).resolve().parents[1]
LONGEST_STATEMENT = 24 * 3600  # seconds; building an index over millions of rows takes many minutes


def _config(engine: Engine | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    config.attributes["engine"] = engine
    return config


def newest_revision() -> str | None:
    """Name the revision this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def known_revisions() -> frozenset[str]:
    """Name every revision that there is a file for, from the first to the newest.

    A process that goes on while a later version's files take the place of its own asks once, when it starts: they
    may import what its code does not have.
    """
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def is_newer(revision: str) -> bool:
    """Tell whether a later version made this revision: this code has never heard of it."""
    return revision not in known_revisions()


def current_revision(engine: Engine) -> str | None:
    """Name the revision the database is at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run what is missing. Safe to repeat."""
    command.upgrade(_config(engine), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to `revision`; `base` drops every table."""
    command.downgrade(_config(engine), revision)


def main() -> int:
    """Print what was done in one line; 0 done, 1 the database refused, 2 a setting is wrong."""
    try:
        engine = connect(get_settings().database_url, silence=LONGEST_STATEMENT)
        before = current_revision(engine)
        if before is None or not is_newer(before):
            upgrade(engine)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command speaks to its terminal
        return 2
    except SQLAlchemyError as error:
        print(f"migration failed: {getattr(error, 'orig', error)}", file=sys.stderr)  # noqa: T201
        return 1
    after = current_revision(engine)
    where = engine.url.render_as_string(hide_password=True)
    print(f"{where}: schema {after}" + (" (was up to date)" if before == after else f" (was {before or 'empty'})"))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
