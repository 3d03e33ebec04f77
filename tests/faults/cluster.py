"""Beats, workers, MariaDB, Valkey and the recording agent as real processes, each behind fault proxies of its own.

A supervisor thread starts again whatever ended, as supervisord would. It is the only one that starts members, and all
servers are started by threads that live as long as the cluster: Linux ends a child with the thread that made it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock, RLock, Thread
from typing import Any, Self

import pymysql
from pymysql.cursors import Cursor
from sqlalchemy import make_url

from store import migrate
from store.database import connect
from tests.faults import audit
from tests.faults.checker import Report, Row, check
from tests.faults.members import PLAIN, Agent, Member, Ports, find_faketime
from tests.faults.proxy import Mode, Proxy
from tests.server_process import HOST, dies_with_its_parent
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import ROOT, agent

LEASE_SECONDS = 4.0
POLL_SECONDS = 0.2
RESTART_PAUSE = 0.3
_ONE_MIGRATION = Lock()  # Alembic keeps its context in globals, and tests start clusters in threads


class Cluster:
    """Everything under test. `start` brings it up; `close` ends every process it started, by pid."""

    def __init__(
        self, folder: Path, *, beats: int = 2, workers: int = 2, launcher: Sequence[str] = PLAIN, **settings: str
    ) -> None:
        self.folder = folder
        self.mariadb = MariaDBServer(["--innodb-buffer-pool-size=256M"])
        self.valkey = ValkeyServer()
        self.agent = Agent(folder)
        self.proxy = Proxy()
        self.rows: list[Row] = []
        self._settings = settings
        self._sizes = (beats, workers)
        self._launcher = tuple(launcher)
        self.members: list[Member] = []
        self._stopping = Event()
        self._lock = RLock()
        self._supervisor = Thread(target=self._supervise, name="supervisor", daemon=True)

    # -- up and down ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.mariadb.start()
            self.valkey.start()
            self.agent.start()
            self.proxy.__enter__()
            url = self.mariadb.create_database("faults")
            engine = connect(url)
            with _ONE_MIGRATION:
                migrate.upgrade(engine)
            engine.dispose()
            with self.cursor() as cursor:
                audit.install(cursor)
            beats, workers = self._sizes
            self.members += [self._member(f"beat{n}", ["run_beat.py"], url) for n in range(beats)]
            self.members += [
                self._member(f"worker{n}", ["run_worker.py", "--name", f"w{n}", "--concurrency", "40"], url)
                for n in range(workers)
            ]
            self._supervisor.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stopping.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        for member in self.members:
            if member.process is not None:
                member.process.kill()
                member.process.wait()
        self.agent.kill()
        if self.members:
            self.proxy.__exit__()
        self.valkey.close()
        self.mariadb.close()

    def _member(self, name: str, command: list[str], url: str) -> Member:
        ports = Ports(*(self.proxy.port(target) for target in (self.mariadb.port, self.valkey.port, self.agent.port)))
        clock = self.folder / f"{name}.clock"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("REDIS_", "CELERY_"))},
            "DATABASE_URL": make_url(url).set(port=ports.database.number).render_as_string(hide_password=False),
            "CELERY_BROKER_URL": f"redis://{HOST}:{ports.broker.number}/0",
            "AGENT_API_BASE_URL": f"http://{HOST}:{ports.agent.number}/api",
            "LOG_DIR": str(self.folder / "logs"),
            "TIMEZONE": "UTC",
            "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
            "BEAT_POLL_INTERVAL": str(POLL_SECONDS),
            **self._settings,
        }
        member = Member(name, command, environment, ports)
        member.clock, member.always = clock, self._launcher
        return member

    def with_clock(self, member: Member) -> None:
        """Let a member's clock be set from its next start on. Monotonic time stays true, as it does when NTP steps."""
        member.set_clock("+0")
        member.environment |= {
            "LD_PRELOAD": str(find_faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(member.clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    # -- members ----------------------------------------------------------------------------------

    @property
    def beats(self) -> list[Member]:
        return [member for member in self.members if member.name.startswith("beat")]

    @property
    def workers(self) -> list[Member]:
        return [member for member in self.members if member.name.startswith("worker")]

    def _supervise(self) -> None:
        while not self._stopping.wait(0.05):
            for member in self.members:
                with self._lock:
                    self._look_after(member)

    def _look_after(self, member: Member) -> None:
        if member.process is not None and (code := member.process.poll()) is not None:
            member.exits[code] += 1
            member.process = None
            member.not_before = time.monotonic() + RESTART_PAUSE
        if member.process is None and member.wanted and time.monotonic() >= member.not_before:
            launcher, member.launcher = member.launcher or member.always, ()
            with (self.folder / f"{member.name}.out").open("ab") as out:
                member.process = subprocess.Popen(
                    [*dies_with_its_parent("KILL"), sys.executable, *launcher, *member.command],
                    cwd=ROOT,
                    env=member.environment,
                    stdout=out,
                    stderr=out,
                )
            member.starts += 1

    def kill(self, member: Member, how: signal.Signals = signal.SIGKILL) -> None:
        """End a member; the supervisor starts it again."""
        with self._lock:
            member.signal(how)

    def start_by(self, member: Member, *launcher: str) -> None:
        """Let the very next start of a member be by this launcher, and kill what runs of it now.

        Under the lock: a member that the supervisor has just started by it must not be the one that is killed.
        """
        with self._lock:
            member.launcher = launcher
            member.signal(signal.SIGKILL)

    def hold_down(self, member: Member) -> None:
        """Kill a member and keep it down until `let_up`."""
        with self._lock:
            member.wanted = False
            member.signal(signal.SIGKILL)

    def let_up(self, member: Member) -> None:
        with self._lock:
            member.wanted = True

    # -- the database, as root: past every proxy ----------------------------------------------------

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        with self.mariadb.cursor() as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00'")
            with suppress(pymysql.err.OperationalError):
                cursor.execute("USE faults")
            yield cursor

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def number(self, statement: str, *values: Any) -> int:
        return int(self.query(statement, *values)[0][0] or 0)

    def now(self) -> datetime:
        """The database's clock, naive UTC."""
        moment: datetime = self.query("SELECT UTC_TIMESTAMP(6)")[0][0]
        return moment

    # -- the load ---------------------------------------------------------------------------------

    def insert(self, rows: Sequence[tuple[Row, str]]) -> None:
        """Insert rows as an operator would: (what the checker is told, the message to the agent).

        Returns when they are armed: a new row owes nothing from before its arming.
        """
        with self.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO periodic_task (name, interval_seconds, start_time, end_time, overlap, catch_up, "
                "catch_up_window_seconds, task_extra_config) VALUES (%s, %s, %s, %s, %s, %s, 86400, %s)",
                [
                    (row.name, row.every, row.start, row.end, row.overlap, row.catch_up, _config(row, message))
                    for row, message in rows
                ],
            )
        self.rows += [row for row, _ in rows]
        self.wait_for(
            lambda: not self.number("SELECT count(*) FROM periodic_task WHERE needs_arming = 1"), "rows to be armed"
        )
        assert self.now() < min(row.start for row, _ in rows), "armed too late: the machine is too slow for this test"

    def wait_until_up(self, seconds: float = 30.0) -> None:
        """Return when every beat ticks and every worker has its lease."""
        beats, workers = self._sizes
        self.wait_for(
            lambda: (
                self.number("SELECT count(*) FROM worker_lease WHERE expires_at > UTC_TIMESTAMP(6)") >= workers
                and self.number("SELECT count(*) FROM beat_heartbeat") >= beats
            ),
            "beats and workers to be up",
            seconds,
        )

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
        give_up_at = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up_at:
                raise AssertionError(f"waited {seconds:g} s for {what}; see {self.folder}\n{self.tails()}")
            time.sleep(0.05)

    def owed(self) -> int:
        """How much is left to do: rows that are not finished, and runs that have not ended."""
        return self.number(
            "SELECT (SELECT count(*) FROM periodic_task WHERE next_run_at IS NOT NULL OR needs_arming = 1) + "
            "(SELECT count(*) FROM task_run WHERE state IN ('PENDING', 'QUEUED', 'STARTED', 'RETRY'))"
        )

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until everything owed is done: a full buffer takes its time, one run after the other.

        False: for `seconds` nothing was done though something is left, and the checker will name it.
        """
        least, give_up_at = sys.maxsize, 0.0
        while left := self.owed():
            if left < least:
                least, give_up_at = left, time.monotonic() + seconds
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.2)
        return True

    def verdict(self, **allowed: Any) -> Report:
        with self.cursor() as cursor:
            return check(cursor, self.agent.requests, self.agent.answers, self.rows, **allowed)

    def heal(self) -> None:
        """Undo every fault that this module can make."""
        self.mariadb.thaw()
        self.valkey.thaw()
        self.mariadb.start()
        self.valkey.start()
        self.agent.signal(signal.SIGCONT)
        for member in self.members:
            with self._lock:
                member.signal(signal.SIGCONT)
                member.wanted = True
                member.launcher = ()
            if member.clock.exists():
                member.set_clock("+0")
            for port in (member.ports.database, member.ports.broker, member.ports.agent):
                port.set(Mode.PASS)

    def tails(self) -> str:
        parts = []
        for out in sorted(self.folder.glob("*.out")):
            lines = out.read_text(errors="replace").splitlines()[-8:]
            parts.append(f"--- {out.name}\n" + "\n".join(lines))
        return "\n".join(parts)


def _config(row: Row, message: str) -> str:
    return agent(message, timeout=5, max_retries=row.max_retries, retry_backoff=0.2, retry_backoff_max=1)


def soon(seconds: float = 5.0) -> datetime:
    """A whole second that lies at least `seconds` ahead; naive UTC, as the database keeps it."""
    moment = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=seconds + 1)
    return moment.replace(microsecond=0)
