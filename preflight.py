"""What must hold before a process starts: each failure is one clear line, and the exit code is 2."""

import logging
import sys
from typing import NoReturn

from sqlalchemy.exc import SQLAlchemyError

from config import Settings, SettingsError, get_settings
from logger import redact

FAILED = 2


def check() -> Settings:
    """Check settings, database, schema and broker; return the settings, or end the process."""
    settings = read_settings()
    for notice in settings.notices():
        logging.getLogger("config").warning(notice)
    check_database(settings)
    check_broker(settings)
    return settings


def read_settings() -> Settings:
    """Return the settings, or end the process where one is wrong."""
    try:
        return get_settings()
    except SettingsError as error:
        fail(str(error))


def check_database(settings: Settings) -> None:
    """End the process where the database is away or its schema is older than this code's."""
    from store.database import connect
    from store.migrate import current_revision, is_newer, newest_revision

    engine = connect(settings.database_url, pool_size=1)
    where = engine.url.render_as_string(hide_password=True)
    try:
        revision = current_revision(engine)
    except SQLAlchemyError as error:
        fail(f"DATABASE_URL: {where} cannot be reached: {getattr(error, 'orig', error)}")
    finally:
        engine.dispose()
    if revision is None:
        fail(f"DATABASE_URL: {where} has no schema yet; run: make migrate")
    if is_newer(revision):  # an upgrade is under way: a version works on the schema of the next one
        logging.getLogger("preflight").warning(
            "%s is at schema %s, which is newer than this version; deploy the newer one here too", where, revision
        )
    elif revision != newest_revision():
        fail(
            f"DATABASE_URL: {where} is at schema {revision}, this version needs {newest_revision()}; run: make migrate"
        )


def check_broker(settings: Settings) -> None:
    """End the process where the broker does not answer within three seconds."""
    from tasks import celery_app

    connection = celery_app.connection_for_write()
    try:
        connection.ensure_connection(max_retries=1, timeout=3)
    except Exception as error:  # the edge of start-up: whatever kombu's transports raise, the answer is the same
        name = "CELERY_BROKER_URL" if settings.celery_broker_url else "REDIS_URL" if settings.redis_url else "broker"
        fail(f"{name}: {redact(settings.broker_url)} cannot be reached: {error}; is it started?")
    finally:
        connection.release()


def fail(message: str) -> NoReturn:
    """Print the line and end with exit code 2; supervisor tries again with growing pauses, and gives up in the end."""
    print(f"preflight: {redact(message)}", file=sys.stderr)  # noqa: T201 - before logging may work at all
    sys.exit(FAILED)
