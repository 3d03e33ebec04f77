"""The packs' own tables: an Alembic tree for each pack and one they share, apart from the ledger's.

Each tree has a version table of its own (`pack_schema_trading`), so that a pack may be added, and upgraded, without the
ledger's schema taking notice. `python -m packs install` runs them. Safe to repeat.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from packs import HERE
from store.database import connect, transaction

SHARED: Final = "shared"
LOCK_NAME: Final = 64  # characters that MySQL takes
PATIENCE: Final = 50  # seconds; below those that a connection waits for an answer


def upgrade(engine: Engine, pack: str) -> None:
    """Bring the shared tables and those of a pack to the newest schema. Needs the right to CREATE."""
    for tree in (SHARED, pack):
        with _alone(engine):
            if _has_to_add(tree, engine):
                command.upgrade(_config(tree, engine), "head")


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Keep other processes from the same: two that enter the first version at once leave two, which is an error.

    SQLite's transactions do; MySQL commits before each DDL statement. The server drops the lock with its session.
    """
    if engine.dialect.name == "sqlite":
        yield
        return
    apart = connect(engine.url.render_as_string(hide_password=False), pool_size=1)  # theirs may have one only
    try:
        with apart.connect() as connection:
            name = f"packs of {engine.url.database}"[:LOCK_NAME]
            if connection.execute(select(func.get_lock(name, PATIENCE))).scalar_one() != 1:
                raise SQLAlchemyError(f"another process has been at the packs' tables for {PATIENCE} s; try again")
            yield
    finally:
        apart.dispose()


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
