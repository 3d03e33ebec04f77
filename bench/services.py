"""What every measurement stands on: private servers, a table of N armed rows, and what arrived on the broker."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, Self

import redis

from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack

#: A million rows with their indexes and ledger fit into it; every commit is flushed, as in production.
DATABASE_OPTIONS = (
    "--innodb-buffer-pool-size=1G",
    "--innodb-log-file-size=512M",
    "--innodb-flush-log-at-trx-commit=1",
)
CHUNK = 50_000  # rows of one transaction of the loader

#: 180 rules with their zones, as many as could meet in one busy minute, and a fifth of the rows on an interval.
#: None names a moment within the next three months: only what a measurement makes due, fires.
FILL = """
INSERT INTO periodic_task (id, name, crontab, interval_seconds, timezone, task_extra_config)
SELECT IF(:numbered, seq, NULL), CONCAT('task ', seq),
  IF(seq MOD 5 = 0, NULL, CONCAT(seq MOD 60, ' 6 1 ', :month, ' *')),
  IF(seq MOD 5 = 0, 15552000, NULL),
  ELT(1 + seq MOD 3, 'UTC', 'Asia/Shanghai', 'America/New_York'),
  CONCAT('{"task_type": "agent", "agent_id": "agent-', seq MOD 500, '", "message": "Read the open orders of customer ',
    seq, ' and say which of them are late, and why.", "queue": "priority_low", "timeout": 300}')
FROM seq_1_to_1000000000 WHERE seq BETWEEN :first AND :last
"""
ARM = """
UPDATE periodic_task SET armed_for = CONCAT(schedule_fingerprint, ':', checked_fingerprint), next_run_at = :later
WHERE id BETWEEN :first AND :last
"""

TAKE = """
INSERT INTO bench_due
SELECT id, place FROM JSON_TABLE(:ids, '$[*]' COLUMNS (id BIGINT PATH '$', place FOR ORDINALITY)) v
"""
MAKE_DUE = """
UPDATE bench_due d STRAIGHT_JOIN periodic_task t ON t.id = d.id
SET t.next_run_at = :moment + INTERVAL (d.place - 1) * :apart MICROSECOND
"""
LATENESS = """
SELECT TIMESTAMPDIFF(MICROSECOND, scheduled_for, queued_at) FROM task_run
WHERE scheduled_for >= :since AND scheduled_for < :until AND queued_at IS NOT NULL AND task_name LIKE :names
"""


class Bench:
    """One MariaDB and one Valkey for a whole run of the suite; each measurement gets a database of its own."""

    def __init__(self) -> None:
        self.mariadb = MariaDBServer(DATABASE_OPTIONS)
        self.valkey = ValkeyServer()
        self._databases = 0
        self._kept_rows = 0
        self._kept: Stack | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.mariadb.__enter__()
        try:
            self.valkey.__enter__()
        except BaseException:
            self.mariadb.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self.valkey.close()
        self.mariadb.close()

    @contextmanager
    def table(self, rows: int) -> Iterator[Stack]:
        """Yield a stack over `rows` armed rows. The next measurement of the same size gets the same table again."""
        if self._kept is None or self._kept_rows != rows:
            self._open.close()
            self._kept, self._kept_rows = self._open.enter_context(self.stack(rows)), rows
        self.flush()
        try:
            yield self._kept
        finally:
            end_runs(self._kept)
            self._kept.close()

    @contextmanager
    def stack(self, rows: int = 0, **settings: str) -> Iterator[Stack]:
        """Yield processes over a fresh database with `rows` armed rows, and an empty broker; drop it afterwards."""
        self.flush()
        with (
            self.database() as url,
            tempfile.TemporaryDirectory() as folder,
            Stack(url, self.valkey.url, Path(folder), **settings) as made,
        ):
            fill(made, rows)
            yield made

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of an empty database; drop it afterwards."""
        self._databases += 1
        name = f"bench_{self._databases}"
        try:
            yield self.mariadb.create_database(name)
        finally:
            self.mariadb.drop_database(name)

    def flush(self) -> None:
        with self.valkey.client() as client:
            client.flushall()


def fill(stack: Stack, rows: int) -> None:
    """Insert `rows` idle rows that are armed already, in seconds for a million."""
    if not rows:
        return
    later = naive(clock(stack) + timedelta(days=180))
    for first in range(1, rows + 1, CHUNK):
        last = min(first + CHUNK - 1, rows)
        insert_rows(stack, first, last, numbered=True)
        stack.sql(ARM, first=first, last=last, later=later)
    stack.sql("ANALYZE TABLE periodic_task")
    if (armed := stack.count("SELECT count(*) FROM periodic_task WHERE needs_arming = 0")) != rows:
        raise AssertionError(f"{rows} rows were filled in, {armed} are armed")


def insert_rows(stack: Stack, first: int, last: int, *, numbered: bool = False) -> None:
    """Insert rows that are not due for months, by one statement, unarmed. `numbered`: ids without gaps."""
    stack.sql(FILL, first=first, last=last, numbered=numbered, month=(clock(stack).month + 5) % 12 + 1)


def clock(stack: Stack) -> datetime:
    """Tell the database's time, aware."""
    now: datetime = stack.sql("SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


def naive(moment: datetime) -> datetime:
    """Write a moment as the tables hold it."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def end_runs(stack: Stack) -> None:
    """Let every run have ended: no worker is measured, and a row whose last run is active would skip its next."""
    stack.sql(
        "UPDATE task_run SET state = 'SUCCESS', finished_at = UTC_TIMESTAMP(6) WHERE state IN ('QUEUED', 'PENDING')"
    )


def make_due(bench: Bench, stack: Stack, ids: Sequence[int], *, ahead: float = 1.0, apart: float = 0.0) -> datetime:
    """Make rows due, the first `ahead` seconds from now and each `apart` seconds after the one before.

    Returns the first moment. Before it every run has ended and the broker is empty.
    """
    stack.sql("CREATE TABLE IF NOT EXISTS bench_due (id BIGINT PRIMARY KEY, place INT NOT NULL)")
    stack.sql("TRUNCATE bench_due")
    stack.sql(TAKE, ids=json.dumps(ids))
    while True:
        end_runs(stack)
        bench.flush()
        moment = clock(stack) + timedelta(seconds=ahead)
        stack.sql(MAKE_DUE, moment=naive(moment), apart=round(apart * 1e6))
        if clock(stack) < moment:
            return moment
        ahead *= 2  # the update took longer than that: all of them once more, after what was due already is fired
        sleep(ahead)


def lateness(stack: Stack, since: datetime, until: datetime | None = None, names: str = "%") -> list[float]:
    """Milliseconds from due to marked as sent, of the runs due in that span."""
    found = stack.sql(LATENESS, since=naive(since), until=naive(until or clock(stack)), names=names)
    return [row[0] / 1000 for row in found]


def size_of(stack: Stack, table: str) -> int:
    """Bytes of a table and its indexes on disk."""
    stack.sql(f"ANALYZE TABLE {table}")
    size = "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE()"
    return stack.count(f"{size} AND table_name = :name", name=table)


def messages(client: "redis.Redis") -> int:
    """Count what lies on every queue of the broker."""
    keys = list(client.scan_iter(_type="list", count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.llen(key)
    lengths: list[Any] = pipeline.execute()
    return sum(lengths)
