"""What the fault harness needs beside the project itself."""

import pytest

from tests.conftest import missing
from tests.faults.members import find_faketime
from tests.services import MariaDBServer, ServiceMissing, find_program, find_valkey


@pytest.fixture(scope="session")
def services() -> None:
    """For a test that starts a cluster: skip, or fail in CI, where a program of it is not installed."""
    try:
        find_program("mariadbd", "mysqld", install=MariaDBServer.INSTALL)
        find_valkey()
        find_faketime()
    except ServiceMissing as error:
        missing(error)
