"""Alembic's entry: one engine from DATABASE_URL, or the connection that store.migrate hands over."""

from alembic import context

from config import get_settings
from models import Base
from store.database import connect


def run() -> None:
    given = context.config.attributes.get("engine")
    engine = given or connect(get_settings().database_url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    if given is None:
        engine.dispose()


run()
