"""A ledger with a pack's tables, and the pack's tasks called in this process with settings of the test's own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config import get_settings
from packs import database, schema
from packs.tables import PackBase
from tests.integration.engine import Ledger


@contextmanager
def pack_ledger(url: str, pack: str) -> Iterator[Ledger]:
    """Add a pack's tables to a migrated database, all of its tables empty."""
    ledger = Ledger(url)
    if not schema.is_current(ledger.engine, pack):
        schema.upgrade(ledger.engine, pack)
    ledger.empty()
    there = {row[0] for row in ledger.sql(_TABLES[ledger.is_sqlite])}
    for table in there & set(PackBase.metadata.tables):
        ledger.sql(f"DELETE FROM {table}")
    yield ledger
    ledger.close()


_TABLES = {
    True: "SELECT name FROM sqlite_master WHERE type = 'table'",
    False: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
}


@contextmanager
def settings_of(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[None]:
    """Let this process's settings be these."""
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), str(value))
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()
    for engine in database._engines.values():
        engine.dispose()
    database._engines.clear()


def command(module: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run one of the project's commands to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


ROOT = Path(__file__).resolve().parents[2]
