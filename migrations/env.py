"""Alembic's entry: one engine from DATABASE_URL, or the connection that store.migrate hands over."""

from alembic import context

from config import get_settings
from models import Base
from store.database import connect, transaction


def run() -> None:
    given = context.config.attributes.get("engine")
    engine = given or connect(get_settings().database_url)
    with transaction(engine) as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        context.run_migrations()
    if given is None:
        engine.dispose()


run()
