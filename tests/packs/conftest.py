"""A migrated ledger for the packs' own tables, on each kind of database."""

from collections.abc import Iterator

import pytest

from tests.conftest import DATABASES, fresh_database
from tests.integration.engine import migrated

#: For what is the same on every database.
on_sqlite = pytest.mark.parametrize("packs_url", ["sqlite"], indirect=True)
#: For what SQLite does not have: accounts, programs of its own, being away.
on_servers = pytest.mark.parametrize("packs_url", [name for name in DATABASES if name != "sqlite"], indirect=True)


@pytest.fixture(scope="session", params=DATABASES)
def packs_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database at the newest schema of the ledger; packs add their tables to it."""
    for url in fresh_database(request, tmp_path_factory.mktemp("packs")):
        migrated(url).close()
        yield url
