"""The packs' own tables: an Alembic tree for each pack and one they share, apart from the ledger's.

Each tree has a version table of its own (`pack_schema_trading`), so that a pack may be added, and upgraded, without the
ledger's schema taking notice. `python -m packs install` runs them. Safe to repeat.
"""

import time
from pathlib import Path
from typing import Final

from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from packs import HERE
from store.database import transaction

SHARED: Final = "shared"
TRIES: Final = 5
PAUSE: Final = 1.0  # seconds


def upgrade(engine: Engine, pack: str) -> None:
    """Bring the shared tables and those of a pack to the newest schema. Needs the right to CREATE."""
    for tree in (SHARED, pack):
        for attempt in range(1, TRIES + 1):
            if not _has_to_add(tree, engine):
                break
            try:
                command.upgrade(_config(tree, engine), "head")
            except SQLAlchemyError:  # another process does the same at this moment: its tables, its row are there
                if attempt == TRIES:
                    raise
                time.sleep(PAUSE)


def is_current(engine: Engine, pack: str) -> bool:
    """True where this code has nothing to add to the tables, which a later version may have made."""
    return not any(_has_to_add(tree, engine) for tree in (SHARED, pack))


def _has_to_add(tree: str, engine: Engine) -> bool:
    if not _folder(tree).is_dir():
        return False
    known = ScriptDirectory.from_config(_config(tree, engine))
    with engine.connect() as connection:
        found = MigrationContext.configure(connection, opts={"version_table": _version_table(tree)})
        revision = found.get_current_revision()
    return revision is None or revision in {each.revision for each in known.walk_revisions()} - {
        known.get_current_head()
    }


def run_migrations() -> None:
    """Carry out what Alembic asks for: the body of each tree's env.py."""
    given = context.config.attributes
    with transaction(given["engine"]) as connection:
        context.configure(connection=connection, version_table=_version_table(given["tree"]))
        context.run_migrations()


def add_index(name: str, table: str, columns: list[str]) -> None:
    """Create an index unless it is there: for migrations, which a killed process may have left half done."""
    if name not in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)


def _folder(tree: str) -> Path:
    return HERE / "migrations" if tree == SHARED else HERE / tree / "migrations"


def _version_table(tree: str) -> str:
    return f"pack_schema_{tree}"


def _config(tree: str, engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder(tree)).replace("%", "%%"))
    config.attributes.update(engine=engine, tree=tree)
    return config
