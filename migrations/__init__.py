"""Schema migrations: Alembic revisions in `versions/`, their statements in `sql/`."""
