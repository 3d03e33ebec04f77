"""Fixtures every test may use: private servers, and an empty database of each kind the product supports."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pymysql
import pytest
from sqlalchemy import make_url

from tests.distribution import Pieces, longest_first
from tests.scratch import remove_orphans, scratch_folder
from tests.server_process import Server
from tests.services import MariaDBServer, ServiceMissing, ValkeyServer, drop_database

Server.folder = scratch_folder()
remove_orphans(Server.folder)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(Server.folder))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes start, and each would compile the project
MariaDBServer.url_options += "&ssl_disabled=true"  # a connection that may use TLS first reads every CA: 25 ms of CPU
MYSQL_URL = os.environ.get("TEST_MYSQL_URL", "")
S = TypeVar("S", MariaDBServer, ValkeyServer)
KeptDatabase = Callable[[str, str, Callable[[str], object]], str]
DATABASES = ["sqlite", "mariadb", *(["mysql"] if MYSQL_URL else [])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Pieces | None:
    return Pieces(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


def missing(error: ServiceMissing) -> NoReturn:
    """Skip on a laptop; in CI a test that did not run is a failure."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def _started(build: Callable[[], S]) -> Iterator[S]:
    try:
        server = build()
    except ServiceMissing as error:
        missing(error)
    with server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """One MariaDB for the session (for each xdist worker). A test that stops or kills its server makes its own."""
    yield from _started(MariaDBServer)


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """One Valkey for the session (for each xdist worker). A test that stops or kills its server makes its own."""
    yield from _started(ValkeyServer)


@pytest.fixture
def empty_broker_url(valkey: ValkeyServer) -> str:
    """The session's Valkey with nothing in it."""
    with valkey.client() as client:
        client.flushall()
    return valkey.url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database without tables, gone after the test, on each kind of server in turn."""
    yield from fresh_database(request, tmp_path)


@pytest.fixture(scope="session")
def kept_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptDatabase]:
    """Gives the database of a kind for a purpose, made and prepared once in the session.

    A fixture with parameters ends whenever its parameter changes, and so twice in each file of tests.
    """
    urls: dict[tuple[str, str], str] = {}
    to_drop: list[Iterator[str]] = []  # other servers end with the session

    def keep(purpose: str, kind: str, prepare: Callable[[str], object]) -> str:
        if (purpose, kind) not in urls:
            made = fresh_database(request, tmp_path_factory.mktemp(purpose), kind)
            url = next(made)
            if kind == "mysql":
                to_drop.append(made)
            prepare(url)
            urls[purpose, kind] = url
        return urls[purpose, kind]

    yield keep
    for made in to_drop:
        next(made, None)


def fresh_database(request: pytest.FixtureRequest, folder: Path, kind: str = "") -> Iterator[str]:
    """Make a database of a kind; without one for a fixture that is parametrised over DATABASES, whatever its scope."""
    kind = kind or request.param
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'scheduler.db'}"
        return
    name = f"test_{uuid.uuid4().hex[:12]}"
    if kind == "mysql":
        yield from _on_mysql(name)
        return
    server: MariaDBServer = request.getfixturevalue("mariadb")
    yield server.create_database(name)
    server.drop_database(name)


def _on_mysql(name: str) -> Iterator[str]:
    """The same on the server of TEST_MYSQL_URL, whose account may create and drop databases named test_*."""
    url = make_url(MYSQL_URL)
    server: dict[str, Any] = {
        "host": url.host,
        "port": url.port or 3306,
        "user": url.username,
        "password": str(url.password or ""),
    }
    with closing(pymysql.connect(**server, autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    yield url.set(drivername="mysql+pymysql", database=name, query={"charset": "utf8mb4"}).render_as_string(False)
    with closing(pymysql.connect(**server, autocommit=True)) as connection, connection.cursor() as cursor:
        drop_database(cursor, name)
