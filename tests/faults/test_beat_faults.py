"""What hits beat: other people's locks, frozen and dying beats, a database and a broker in every kind of trouble.

Each test makes the fault itself, on a server of its own, and asks afterwards: is every due moment in the ledger once?
"""

import asyncio
import logging
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import pymysql
import pytest
from fastapi import FastAPI
from pymysql.cursors import Cursor
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from api.app import create_app
from beat.blocked import NO_RIGHT, HeldRowsWatch
from beat.publisher import LOST_AFTER, OTHERS_GRACE
from beat.watchdog import STALLED_SECONDS, Watchdog
from broker import Sender
from core.lifecycle import State
from scheduler import OUTAGE_PAUSE, DatabaseScheduler
from store import leases, notices
from store.database import connect, transaction
from store.notices import HeldRows, StalledQueue
from tasks import make_app
from tests.faults.proxy import Mode, Proxy
from tests.integration.engine import YEARLY, Ledger, agent, beat_on, migrated, settings_for
from tests.services import HOST, MariaDBServer, ValkeyServer
from tests.stack import Stack, stack

SECOND = timedelta(seconds=1)
figures = logging.getLogger("figures")  # pytest -o log_cli=true --log-cli-level=INFO shows them
HELD_ROWS = int(os.environ.get("FAULT_HELD_ROWS", "2000"))
HELD_SECONDS = float(os.environ.get("FAULT_HELD_SECONDS", "9"))
FAILOVER_KILLS = int(os.environ.get("FAULT_KILLS", "2"))
FAILOVER_EVERY = float(os.environ.get("FAULT_KILL_EVERY", "3"))


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        with server.cursor() as cursor:
            cursor.execute(f"CREATE USER plain@'{HOST}' IDENTIFIED BY 'plain'")
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO plain@'{HOST}'")
        migrated(server.create_database("faults")).close()
        yield server


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    with ValkeyServer() as broker:
        yield broker


@pytest.fixture
def ledger(server: MariaDBServer) -> Iterator[Ledger]:
    ledger = Ledger(server.database_url("faults"))
    ledger.empty()
    yield ledger
    ledger.close()


@pytest.fixture
def plain_url(server: MariaDBServer) -> str:
    """The same database by an account without any global privilege."""
    return f"mysql+pymysql://plain:plain@{HOST}:{server.port}/faults?charset=utf8mb4"


@pytest.fixture
def plain(plain_url: str, ledger: Ledger) -> Iterator[DatabaseScheduler]:
    """A beat that works by that account, and whose broker is away."""
    beat = beat_on(Ledger(plain_url))
    yield beat
    beat.close()


@pytest.fixture
def beat(ledger: Ledger) -> Iterator[DatabaseScheduler]:
    beat = beat_on(ledger)
    yield beat
    beat.close()


@contextmanager
def ticking(beat: DatabaseScheduler) -> Iterator[None]:
    """Tick in a thread, as Celery Beat does."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            stop.wait(beat.tick())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


def moments(ledger: Ledger) -> None:
    """Every row of one second's interval has each second once, from its first to its last."""
    by_task: dict[int, list[Any]] = {}
    for run in ledger.runs():
        by_task.setdefault(run.periodic_task_id, []).append(run.scheduled_for)
    for fired in by_task.values():
        steps = [later - earlier for earlier, later in pairwise(fired)]
        assert steps == [SECOND] * (len(fired) - 1)


def each_second(ledger: Ledger, count: int) -> None:
    every: dict[str, Any] = {"interval_seconds": 1, "overlap": "allow", "catch_up": "all"}
    ledger.insert_many({"name": f"s{n}", "task_extra_config": agent(), **every} for n in range(count))


def ask(api: FastAPI, path: str) -> httpx.Response:
    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as client:
            return await client.get(path)

    return asyncio.run(get())


def session_of(operator: "pymysql.Connection[Any]") -> int:
    return int(operator.thread_id())  # type: ignore[no-untyped-call]


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


# -- an operator's open transaction -------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_in_an_open_transaction_are_told_with_its_session_and_follow_at_commit(
    server: MariaDBServer, ledger: Ledger, broker: ValkeyServer, tmp_path: Path
) -> None:
    names = [f"held {n}" for n in range(HELD_ROWS)] + [f"free {n}" for n in range(200)]
    with stack(ledger.url, broker.url, tmp_path) as running:
        running.beat()
        ledger.insert_many({"name": name, "crontab": YEARLY, "task_extra_config": agent()} for name in names)
        running.wait_for(lambda: not ledger.value("SELECT count(*) FROM periodic_task WHERE needs_arming"), "arming")
        due = (ledger.now() + 4 * SECOND).replace(microsecond=0, tzinfo=None)
        ledger.sql("UPDATE periodic_task SET next_run_at = :due", due=due)
        spread = "UPDATE periodic_task SET next_run_at = next_run_at + INTERVAL id % :seconds SECOND"
        ledger.sql(f"{spread} WHERE name LIKE 'free%'", seconds=int(HELD_SECONDS))
        # At REPEATABLE READ this UPDATE would lock rows beside those it changes.
        operator = ledger.operator("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        operator.cursor().execute("UPDATE periodic_task SET description = 'x' WHERE name LIKE 'held%'")
        api = create_app(settings_for(ledger, broker.url))

        def locks() -> dict[str, Any]:
            checks = ask(api, "/health/ready").json()["checks"]
            return next(check for check in checks if check["name"] == "locks")

        running.wait_for(lambda: locks()["state"] == "degraded", "the session to be named", 15)
        named_after = (ledger.now().replace(tzinfo=None) - due).total_seconds()
        name = f"session {session_of(operator)} of {MariaDBServer.USER}@{HOST}"
        assert name in locks()["detail"]
        assert f"{HELD_ROWS} due rows" in locks()["detail"]
        metrics = ask(api, "/metrics").text
        assert f"scheduler_tasks_held {float(HELD_ROWS)}" in metrics
        assert f'session="{session_of(operator)}",user="{MariaDBServer.USER}"' in metrics
        log = "\n".join(path.read_text() for path in (tmp_path / "logs").glob("*.log"))
        assert name in log
        assert "KILL the session" in log

        time.sleep(max(0.0, HELD_SECONDS - named_after))
        assert ledger.value("SELECT count(*) FROM task_run WHERE task_name LIKE 'free%'") == 200
        assert ledger.value("SELECT count(*) FROM task_run WHERE task_name LIKE 'held%'") == 0
        committed = ledger.now()
        operator.commit()
        owed = "SELECT count(*) FROM task_run WHERE task_name LIKE 'held%'"
        running.wait_for(lambda: ledger.value(owed) == HELD_ROWS, "what was owed", 30)
        followed = (ledger.now() - committed).total_seconds()
        running.wait_for(lambda: locks()["state"] == "ok", "the end to be told")

    late = sorted(
        (run.ready_at - run.scheduled_for).total_seconds() for run in ledger.runs() if run.task_name.startswith("free")
    )
    figures.info(
        f"\nheld {HELD_ROWS} rows for {HELD_SECONDS:g} s: named {named_after:.1f} s after they were due, all owed "
        f"{followed:.1f} s after the commit; lateness of the rest p50 {late[100]:.2f}, max {late[-1]:.2f} s"
    )
    assert named_after <= 20
    assert late[-1] < 10
    assert Counter(run.periodic_task_id for run in ledger.runs()).most_common(1)[0][1] == 1


def found(watch: HeldRowsWatch) -> HeldRows:
    """Look until something is found: the transaction of a test is too young to be told at first."""
    until = time.monotonic() + 20
    while (held := watch.find()) is None:
        assert time.monotonic() < until
        time.sleep(0.2)
    return held


@pytest.fixture
def watch(ledger: Ledger) -> Iterator[HeldRowsWatch]:
    engine = connect(ledger.url, lock_wait=1)
    yield HeldRowsWatch(engine)
    engine.dispose()


def test_one_held_row_among_rows_that_fire_is_told(
    ledger: Ledger, beat: DatabaseScheduler, watch: HeldRowsWatch
) -> None:
    tasks = [ledger.insert(f"r{n}") for n in range(5)]
    beat.arm()
    for task in tasks:
        ledger.owe(task, 10 * SECOND)
    operator = ledger.operator()
    operator.cursor().execute(f"SELECT * FROM periodic_task WHERE id = {tasks[2]} FOR UPDATE")
    assert beat.fire() == 4
    held = found(watch)

    assert (held.rows, [session.id for session in held.sessions]) == (1, [session_of(operator)])
    assert held.oldest_seconds > 10
    operator.rollback()
    assert watch.find() is None


def test_an_operator_who_locks_a_gap_of_the_ledger_is_told(
    ledger: Ledger, beat: DatabaseScheduler, watch: HeldRowsWatch
) -> None:
    """No due row is locked then: each INSERT of a run waits and fails."""
    task = ledger.insert()
    beat.arm()
    operator = ledger.operator()
    operator.cursor().execute("SELECT * FROM task_run WHERE state = 'PENDING' FOR UPDATE")
    ledger.owe(task)

    with ticking(beat):
        held = found(watch)
        assert [session.id for session in held.sessions] == [session_of(operator)]

        operator.rollback()
        wait_for(lambda: ledger.states() == {"PENDING": 1}, "the run")


def test_without_the_privilege_the_message_says_how_to_grant_it(
    ledger: Ledger, plain_url: str, beat: DatabaseScheduler
) -> None:
    task = ledger.insert()
    beat.arm()
    ledger.owe(task, 10 * SECOND)
    ledger.operator().cursor().execute("UPDATE periodic_task SET description = 'x'")
    engine = connect(plain_url, lock_wait=1)

    held = found(HeldRowsWatch(engine))

    assert (held.rows, held.sessions, held.note) == (1, [], NO_RIGHT)
    engine.dispose()


def test_due_rows_that_nobody_holds_are_no_held_rows(
    ledger: Ledger, beat: DatabaseScheduler, watch: HeldRowsWatch
) -> None:
    tasks = [ledger.insert(f"r{n}") for n in range(3)]
    beat.arm()
    for task in tasks:
        ledger.owe(task, 10 * SECOND)

    assert [watch.find(), watch.find()] == [None, None]


def test_locks_on_heartbeats_and_lost_runs_hold_up_no_fire(ledger: Ledger, beat: DatabaseScheduler) -> None:
    with ticking(beat):
        wait_for(lambda: ledger.sql("SELECT id FROM beat_heartbeat"), "the heartbeat")
        ledger.add_runs(State.STARTED, ({"periodic_task_id": n} for n in range(20)))
        cursor = ledger.operator("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").cursor()
        cursor.execute("SELECT * FROM beat_heartbeat FOR UPDATE")
        cursor.execute("SELECT * FROM task_run FOR UPDATE")
        for n in range(16):  # whoever waited for the locks in between would wait for 3 s
            ledger.insert(f"r{n}", run_now=1)
            time.sleep(0.25)
        wait_for(lambda: ledger.states()["PENDING"] == 16, "the runs")

    late = "TIMESTAMPDIFF(MICROSECOND, create_time, ready_at)"
    assert ledger.value(f"SELECT max({late}) FROM task_run JOIN periodic_task ON name = task_name") < 2_500_000


def test_runs_that_an_operator_holds_are_not_sent_again_and_again(ledger: Ledger, broker: ValkeyServer) -> None:
    beat = beat_on(ledger, broker.url)
    _, held = ledger.add_runs(State.PENDING, ({"ready_at": ledger.now() - OTHERS_GRACE} for _ in range(2)))
    operator = ledger.operator()
    operator.cursor().execute("UPDATE task_run SET request_id = 'x' WHERE id = %s", (held,))

    assert beat.publisher.publish_ready() == 1
    assert beat.publisher.publish_ready() == 0
    operator.commit()
    assert beat.publisher.publish_ready() == 1

    assert ledger.states() == {"QUEUED": 2}
    beat.close()


# -- beats that freeze, die and share -----------------------------------------------------------------------

FREEZES = """
import os, signal
from tests.faults.launch import replace, run_program
def freeze_once(advance):
    def after(*args):
        advance(*args)
        if not os.path.exists({mark!r}):
            open({mark!r}, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)
    return after
replace("store.schedules:advance", freeze_once)
run_program(["run_beat.py"])
"""


@pytest.mark.slow
def test_a_beat_frozen_before_its_commit_frees_its_rows_and_its_late_commit_is_refused(
    ledger: Ledger, beat: DatabaseScheduler, broker: ValkeyServer, tmp_path: Path
) -> None:
    mark = tmp_path / "frozen"
    with stack(ledger.url, broker.url, tmp_path) as running:
        frozen = running.start("beat", "-c", FREEZES.format(mark=str(mark)))
        tasks = [ledger.insert(f"r{n}") for n in range(20)]
        running.wait_for(lambda: not ledger.value("SELECT count(*) FROM periodic_task WHERE needs_arming"), "arming")
        ledger.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6)")
        running.wait_for(mark.exists, "the first beat to stop itself")
        stopped_at = ledger.now()

        with ticking(beat):
            running.wait_for(lambda: len(ledger.runs()) == len(tasks), "the other beat to fire the rows")
        freed_after = (min(run.ready_at for run in ledger.runs()) - stopped_at).total_seconds()
        frozen.send_signal(signal.SIGCONT)
        log = running.folder / "logs"
        running.wait_for(
            lambda: any("connection to the database was lost" in path.read_text() for path in log.glob("*.log")),
            "the late commit to be refused",
        )
        time.sleep(1)

        assert Counter(run.periodic_task_id for run in ledger.runs()) == dict.fromkeys(tasks, 1)
        assert {row.run_count for row in ledger.sql("SELECT run_count FROM periodic_task")} == {1}
        figures.info(f"\nrows of a frozen beat were fired by another {freed_after:.1f} s after it froze")
        assert freed_after < 15  # on a busy machine; a beat that waits for the frozen one never does


def beat_of(running: Stack, number: int) -> "subprocess.Popen[bytes]":
    """Start a beat and return when it ticks."""
    process = running.start(f"beat{number}", "run_beat.py")
    ticks = "SELECT count(*) FROM beat_heartbeat WHERE id LIKE :id"
    running.wait_for(lambda: running.count(ticks, id=f"%:{process.pid}:%"), "the beat to tick", 40)
    return process


@pytest.mark.slow
def test_killing_one_of_two_beats_again_and_again_costs_no_fire(
    ledger: Ledger, broker: ValkeyServer, tmp_path: Path
) -> None:
    with stack(ledger.url, broker.url, tmp_path) as running:
        beats = [beat_of(running, n) for n in range(2)]
        each_second(ledger, 100)
        running.wait_for(lambda: len(ledger.runs()) >= 300, "fires")
        for n in range(FAILOVER_KILLS):
            running.kill(beats[n % 2])
            time.sleep(FAILOVER_EVERY)
            beats[n % 2] = beat_of(running, n % 2)
        running.wait_for(
            lambda: not ledger.value("SELECT count(*) FROM task_run WHERE state = 'PENDING'"), "all to be sent"
        )

    moments(ledger)
    fired = ledger.sql(
        "SELECT TIMESTAMPDIFF(MICROSECOND, scheduled_for, ready_at) / 1e6 AS fired, "
        "TIMESTAMPDIFF(MICROSECOND, scheduled_for, queued_at) / 1e6 AS sent FROM task_run "
        "WHERE scheduled_for > (SELECT min(scheduled_for) FROM task_run) + INTERVAL 3 SECOND"
    )
    for name in ("fired", "sent"):
        late = sorted(float(getattr(run, name)) for run in fired)
        cuts = quantiles(late, n=100)
        figures.info(f"\n{name}: {len(late)} runs, late p50 {cuts[49]:.3f}, p99 {cuts[98]:.3f}, max {late[-1]:.3f} s")
        assert late[-1] < 10


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_connection_lost_at_commit_neither_loses_nor_doubles(
    ledger: Ledger, beat: DatabaseScheduler, is_committed: bool
) -> None:
    tasks = [ledger.insert(f"r{n}") for n in range(5)]
    beat.arm()
    for task in tasks:
        ledger.owe(task)
    inserting: list[Any] = []
    cuts: list[int] = []

    @event.listens_for(beat.engine, "before_cursor_execute")
    def _(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if statement.startswith("INSERT INTO task_run"):
            inserting.append(cursor.connection)
        if statement == "COMMIT" and cursor.connection in inserting and not cuts:
            cuts.append(1)
            if is_committed:
                cursor.connection.query("COMMIT")
            cursor.connection._force_close()

    assert beat.tick() <= OUTAGE_PAUSE
    assert len(ledger.runs()) == (5 if is_committed else 0)
    beat.tick()

    assert Counter(run.periodic_task_id for run in ledger.runs()) == dict.fromkeys(tasks, 1)
    assert cuts


# -- the database -------------------------------------------------------------------------------------------


@contextmanager
def read_only(server: MariaDBServer) -> Iterator[None]:
    with server.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL read_only = 0")


@contextmanager
def stopped(server: MariaDBServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


def kill(cursor: Cursor, session: int) -> None:
    with suppress(pymysql.err.MySQLError):  # it ended by itself
        cursor.execute(f"KILL {session}")


def take_a_connection(server: MariaDBServer, others: list[Any]) -> bool:
    try:
        others.append(pymysql.connect(host=HOST, port=server.port, user="plain", password="plain"))
    except pymysql.err.OperationalError:
        return False
    return True


@contextmanager
def no_more_connections(server: MariaDBServer) -> Iterator[None]:
    """Others take every place, and beat is thrown out until it finds none."""
    others: list[Any] = []
    with server.cursor() as cursor:
        cursor.execute("SET GLOBAL max_connections = 10")
        try:
            for _ in range(20):
                while take_a_connection(server, others):
                    pass
                ours = {session_of(other) for other in others}
                cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'plain'")
                theirs = [session for (session,) in cursor.fetchall() if session not in ours]
                for session in theirs:
                    kill(cursor, session)
                time.sleep(0.1 if theirs else 0)
            yield
        finally:
            for other in others:
                other.close()
            cursor.execute("SET GLOBAL max_connections = 400")


OUTAGES = {
    "read-only": (read_only, "the database is read-only"),
    "stopped": (stopped, "the database"),
    "no more connections": (no_more_connections, "takes no more connections"),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_the_database_is_told_once_and_what_it_owes_follows(
    server: MariaDBServer, ledger: Ledger, plain: DatabaseScheduler, caplog: pytest.LogCaptureFixture, outage: str
) -> None:
    make, words = OUTAGES[outage]
    caplog.set_level(logging.INFO)
    each_second(ledger, 20)
    with ticking(plain):
        wait_for(lambda: len(ledger.runs()) >= 20, "fires")
        ledger.engine.dispose()
        with make(server):
            time.sleep(4)
            assert 1 <= told(caplog, "the ledger cannot be used and nothing fires") <= 3
            assert told(caplog, words)
        ledger.engine.dispose()
        began = ledger.now()
        wait_for(lambda: any(run.scheduled_for > began for run in ledger.runs()), "fires after the outage")
        wait_for(lambda: told(caplog, "the ledger can be used again") == 1, "the end to be told")

    moments(ledger)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) <= 5, [record.getMessage() for record in errors]


def test_connections_killed_at_random_cost_no_moment(
    server: MariaDBServer, ledger: Ledger, plain: DatabaseScheduler
) -> None:
    each_second(ledger, 50)
    with ticking(plain), server.cursor() as cursor:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'plain' ORDER BY RAND() LIMIT 1")
            for (session,) in cursor.fetchall():
                kill(cursor, session)
            time.sleep(0.1)
        began = ledger.now()
        wait_for(lambda: any(run.scheduled_for > began for run in ledger.runs()), "fires afterwards")

    moments(ledger)


class SmallServer(MariaDBServer):
    """Its one file may grow to so many megabytes: beyond, InnoDB fails as it does on a full disk."""

    megabytes = 30

    def command(self) -> list[str]:
        file = f"--innodb-data-file-path=ibdata1:12M:autoextend:max:{self.megabytes}M"
        return [*super().command(), "--innodb-file-per-table=0", file]


def fill(ledger: Ledger, size: int) -> bool:
    try:
        ledger.sql("INSERT INTO filler (text) VALUES (REPEAT('x', :size))", size=size)
    except OperationalError:
        return False
    return True


def test_a_full_disk_fires_nothing_and_all_is_owed(caplog: pytest.LogCaptureFixture) -> None:
    with SmallServer() as small:
        ledger = migrated(small.create_database("full"))
        beat = beat_on(ledger)
        tasks = [ledger.insert(f"r{n}", task_extra_config=agent("x" * 60_000)) for n in range(100)]
        ledger.sql("CREATE TABLE filler (id INT AUTO_INCREMENT PRIMARY KEY, text LONGTEXT)")
        beat.arm()
        ledger.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6)")
        for size in (100_000, 10_000):
            while fill(ledger, size):
                pass

        for _ in range(3):
            assert beat.tick() <= OUTAGE_PAUSE
        assert told(caplog, "the ledger cannot be used and nothing fires")

        small.stop()  # where it has not died of the full disk by itself, as MariaDB 10.11 often does
        small.megabytes = 200
        small.start()
        ledger.engine.dispose()
        assert ledger.runs() == []
        wait_for(lambda: beat.tick() is not None and ledger.runs(), "what was owed")
        assert Counter(run.periodic_task_id for run in ledger.runs()) == dict.fromkeys(tasks, 1)
        beat.close()
        ledger.close()


@pytest.fixture
def small_packets(server: MariaDBServer) -> Iterator[None]:
    with server.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_allowed_packet = 65536")
        yield
        cursor.execute(f"SET GLOBAL max_allowed_packet = {before}")


def test_a_batch_far_beyond_a_packet_is_armed_fired_and_sent(
    ledger: Ledger, plain_url: str, small_packets: None, broker: ValkeyServer
) -> None:
    ledger.insert_many(
        {"name": f"row {n} {'名' * 100}", "crontab": "0 0 1 1 *", "task_extra_config": agent('"' * 15_000)}
        for n in range(100)
    )
    ledger.insert_many({"name": f"wrong {n}", "crontab": "很" * 80} | {"task_extra_config": "{"} for n in range(100))
    beat = beat_on(Ledger(plain_url), broker.url)

    beat.arm()
    assert ledger.value("SELECT count(*) FROM periodic_task WHERE config_error IS NOT NULL") == 100
    ledger.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6), run_now = 1 WHERE config_error IS NULL")
    beat.fire()
    beat.fire_manual()
    beat.publisher.publish_ready()

    assert ledger.states() == {"QUEUED": 200}
    assert {run.config for run in ledger.runs()} == {agent('"' * 15_000)}
    beat.close()


def test_a_run_that_the_ledger_cannot_take_is_skipped_aloud_and_its_neighbours_run(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    tasks = {name: ledger.insert(name, run_now=1) for name in ("a", "b", "poison", "c", "d")}
    beat.arm()
    ledger.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6)")
    ledger.sql("ALTER TABLE task_run ADD CONSTRAINT ck_test CHECK (task_name <> 'poison')")
    try:
        assert (beat.fire(), beat.fire_manual()) == (5, 5)
        assert (beat.fire(), beat.fire_manual()) == (0, 0)
    finally:
        ledger.sql("ALTER TABLE task_run DROP CONSTRAINT ck_test")

    assert ledger.states() == {"PENDING": 8, "SKIPPED": 2}
    for run in ledger.runs(tasks["poison"]):
        assert run.state == "SKIPPED"
        assert "this run cannot be stored" in run.error
        assert "ck_test" in run.error
    assert ledger.task(tasks["poison"]).run_count == 0


def test_a_name_that_is_no_text_holds_up_no_row_of_sqlite(tmp_path: Path) -> None:
    ledger = migrated(f"sqlite:///{tmp_path / 'scheduler.db'}")
    beat = beat_on(ledger)
    ledger.insert("good")
    ledger.insert("bad")
    ledger.sql("UPDATE periodic_task SET name = CAST(x'c328' AS TEXT), run_now = 1 WHERE name = 'bad'")
    ledger.sql("UPDATE periodic_task SET run_now = 1")

    beat.tick()

    assert ledger.states() == {"PENDING": 2}
    beat.close()
    ledger.close()


# -- the broker ---------------------------------------------------------------------------------------------


def refuse_by_memory(broker: ValkeyServer) -> None:
    with broker.client() as client:
        client.config_set("maxmemory", "1")


def refuse_as_replica(broker: ValkeyServer) -> None:
    with broker.client() as client:
        client.replicaof(HOST, 1)


def accept_again(broker: ValkeyServer) -> None:
    with broker.client() as client:
        client.config_set("maxmemory", "0")
        client.replicaof("NO", "ONE")


@pytest.mark.parametrize("refuse", [refuse_by_memory, refuse_as_replica])
def test_a_broker_that_refuses_delays_runs_and_is_told_once(
    ledger: Ledger, broker: ValkeyServer, caplog: pytest.LogCaptureFixture, refuse: Callable[[ValkeyServer], None]
) -> None:
    beat = beat_on(ledger, broker.url)
    with ticking(beat):
        first = ledger.insert("first", run_now=1)
        wait_for(lambda: ledger.states(first) == {"QUEUED": 1}, "a run on the broker")
        refuse(broker)
        during = ledger.insert("during", run_now=1)
        time.sleep(4)
        assert ledger.states(during) == {"PENDING": 1}
        assert told(caplog, "the broker is away or refuses") == 1
        accept_again(broker)
        wait_for(lambda: ledger.states(during) == {"QUEUED": 1}, "the run on the broker")
        wait_for(lambda: told(caplog, "runs are sent again") == 1, "the end to be told")
    beat.close()


def evict(broker: ValkeyServer) -> None:
    with broker.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "1")
        wait_for(lambda: not client.keys("priority*"), "the eviction")
        client.config_set("maxmemory", "0")


def empty(broker: ValkeyServer) -> None:
    with broker.client() as client:
        client.flushall()


def restart(broker: ValkeyServer) -> None:
    broker.kill()
    broker.start()


@pytest.mark.parametrize("lose", [evict, empty, restart])
def test_what_the_broker_lost_is_sent_again(
    ledger: Ledger, broker: ValkeyServer, lose: Callable[[ValkeyServer], None]
) -> None:
    beat = beat_on(ledger, broker.url)
    ledger.add_runs(State.PENDING, ({"ready_at": ledger.now() - OTHERS_GRACE, "priority": n} for n in range(10)))
    assert beat.publisher.publish_ready() == 10
    lose(broker)
    ledger.sql(f"UPDATE task_run SET queued_at = queued_at - INTERVAL {LOST_AFTER.seconds + 1} SECOND")

    wait_for(lambda: sent_again(beat) == 10, "the broker", 20)

    with broker.client() as client:
        assert sum(client.llen(key) for key in client.keys("priority*")) == 10
    beat.close()


def sent_again(beat: DatabaseScheduler) -> int:
    try:
        return beat.publisher.send_lost_again()
    except beat.publisher.sender.errors:
        beat.publisher.sender.close()
        return 0


def test_a_half_open_broker_holds_up_neither_a_fire_nor_the_end(ledger: Ledger, broker: ValkeyServer) -> None:
    with Proxy() as proxy:
        port = proxy.port(broker.port)
        beat = beat_on(ledger, f"redis://{HOST}:{port.number}/0")
        with ticking(beat):
            first = ledger.insert("first", run_now=1)
            wait_for(lambda: ledger.states(first) == {"QUEUED": 1}, "a run on the broker")
            port.set(Mode.BLACK_HOLE)
            task = ledger.insert("during", run_now=1)
            wait_for(lambda: ledger.runs(task), "the fire", 10)
            time.sleep(1)  # the publisher waits for an answer that never comes
        began = time.monotonic()
        beat.close()
        assert time.monotonic() - began < 10
        assert ledger.states(task) == {"PENDING": 1}


# -- what stands still --------------------------------------------------------------------------------------


def serve(ledger: Ledger, queues: str, concurrency: int) -> None:
    with transaction(ledger.engine) as tx:
        leases.register_worker(tx, "w1", pid=1, queues=queues, concurrency=concurrency, lease=timedelta(minutes=5))


def test_a_queue_that_nobody_takes_from_is_told_with_its_workers(
    ledger: Ledger, broker: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    beat = beat_on(ledger, broker.url)
    ledger.add_runs(State.PENDING, [{"ready_at": ledger.now() - OTHERS_GRACE}])
    beat.publisher.publish_ready()
    watchdog = Watchdog(beat.settings, Sender(make_app(beat.settings)))
    now = time.monotonic()
    assert watchdog.find_stalled(now) == []
    later = now + STALLED_SECONDS + 1

    [alone] = watchdog.find_stalled(later)
    assert (alone.queue, alone.messages, alone.workers) == ("priority_low", 1, [])
    serve(ledger, "system,priority_low", 1)
    [idle] = watchdog.find_stalled(later)
    assert idle.workers == ["w1"]
    ledger.add_run(State.STARTED, worker="w1")
    assert watchdog.find_stalled(later) == []
    ledger.sql("DELETE FROM task_run WHERE state = 'STARTED'")
    ledger.add_runs(State.PENDING, [{"ready_at": ledger.now() - OTHERS_GRACE}])
    beat.publisher.publish_ready()
    with broker.client() as client:
        client.rpop(next(key for key in client.keys("priority_low*")))
    assert watchdog.find_stalled(later) == []  # a message was taken: another one is in front
    watchdog.close()
    beat.close()


def test_what_stands_still_degrades_readiness_until_it_is_told_no_more(ledger: Ledger, broker: ValkeyServer) -> None:
    api = create_app(settings_for(ledger, broker.url))
    serve(ledger, "system", 1)
    with transaction(ledger.engine) as tx:
        leases.beat_alive(tx, "b1")
        notices.write_stalled(tx, [StalledQueue("data", 3, 20.0, ["w1"])])

    ready = ask(api, "/health/ready")

    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    queues = next(check for check in ready.json()["checks"] if check["name"] == "queues")
    assert "data: 3 messages" in queues["detail"]
    assert "w1 have free slots" in queues["detail"]
    assert 'scheduler_queue_stalled_seconds{queue="data"} 20.0' in ask(api, "/metrics").text
    ledger.sql("UPDATE scheduler_state SET update_time = update_time - INTERVAL 31 SECOND")  # its beat died
    assert ask(api, "/health/ready").json()["status"] == "ready"


# -- clocks -------------------------------------------------------------------------------------------------

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed; run: sudo apt-get install -y faketime")
@pytest.mark.parametrize("skew", ["-1h", "+1h"])
def test_a_skewed_clock_of_beat_and_worker_moves_no_fire(
    ledger: Ledger, broker: ValkeyServer, tmp_path: Path, skew: str
) -> None:
    with stack(ledger.url, broker.url, tmp_path) as running:
        running.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        running.start("beat", "-m", "tests.faults.launch", "run_beat.py")
        running.start("worker", "-m", "tests.faults.launch", "run_worker.py")
        running.wait_for(lambda: ledger.sql("SELECT id FROM worker_lease"), "the worker")
        each_second(ledger, 5)
        running.wait_for(lambda: ledger.states()["SUCCESS"] >= 20, "runs")

    moments(ledger)
    late = [(run.ready_at - run.scheduled_for).total_seconds() for run in ledger.runs()]
    assert 0 <= min(late) <= max(late) < 10
