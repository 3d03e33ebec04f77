"""What every operators' command does around its work: the terminal, the settings, the database, a refusal."""

import getpass
import io
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import preflight
from config import Settings, get_settings
from logger import redact
from store.audit import Actor
from store.database import connect


def speak_any_text() -> None:
    """Let a terminal that has no Chinese not end the answer."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def ledger() -> Iterator[tuple[Settings, Engine]]:
    """Give the settings and a connection to their database, both checked. Raises SettingsError, SQLAlchemyError."""
    settings = get_settings()
    preflight.check_database(settings)
    engine = connect(settings.database_url, pool_size=1)
    try:
        yield settings, engine
    finally:
        engine.dispose()


def actor() -> Actor:
    """Name who runs the command, for the audit: the account and the machine."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        account = "?"
    return Actor(f"{account}@{socket.gethostname()}", "command")


def unusable(error: SQLAlchemyError) -> str:
    """Say in a sentence that the database refuses."""
    return f"DATABASE_URL cannot be used: {getattr(error, 'orig', error)}"


def complain(message: str) -> None:
    """Tell the terminal why nothing was done, without secrets."""
    print(redact(message), file=sys.stderr)
