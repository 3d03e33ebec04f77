"""A migrated ledger on each kind of database, and beats whose steps a test calls itself."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from scheduler import DatabaseScheduler
from tests.conftest import DATABASES, KeptDatabase
from tests.integration.engine import NOWHERE, Ledger, beat_on, migrated

NewBeat: TypeAlias = Callable[..., DatabaseScheduler]

on_sqlite = pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
#: For what SQLite, with its one writer and one file, does not have: row locks, sessions with settings, accounts.
on_servers = pytest.mark.parametrize("migrated_url", [name for name in DATABASES if name != "sqlite"], indirect=True)


@pytest.fixture(scope="session", params=DATABASES)
def migrated_url(request: pytest.FixtureRequest, kept_database: KeptDatabase) -> str:
    """A database at the newest schema, on each kind of server in turn."""
    return kept_database("ledger", request.param, lambda url: migrated(url).close())


@pytest.fixture
def ledger(migrated_url: str) -> Iterator[Ledger]:
    """An empty ledger. A test that changes the schema takes `empty_database_url` instead."""
    ledger = Ledger(migrated_url)
    ledger.empty()
    yield ledger
    ledger.close()


@pytest.fixture
def new_beat(ledger: Ledger) -> Iterator[NewBeat]:
    """Makes as many beats as a test wants; by default their broker is away."""
    made: list[DatabaseScheduler] = []

    def new(broker_url: str = NOWHERE, **settings: Any) -> DatabaseScheduler:
        made.append(beat_on(ledger, broker_url, **settings))
        return made[-1]

    yield new
    for beat in made:
        beat.close()


@pytest.fixture
def beat(new_beat: NewBeat) -> DatabaseScheduler:
    """One beat whose broker is away."""
    return new_beat()
