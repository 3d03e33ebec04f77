"""Alembic's entry for this tree."""

from packs.schema import run_migrations

run_migrations()
