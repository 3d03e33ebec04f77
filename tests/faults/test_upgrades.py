"""Deploying a new version loses nothing: migrations with data and under load, and processes replaced one by one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from core.lifecycle import State
from store import migrate
from store.database import connect
from tests.integration.engine import Ledger, agent
from tests.services import MariaDBServer
from tests.stack import ROOT, Stack

SCRIPTS: Final = ScriptDirectory.from_config(migrate._config())
STEPS: Final = [  # the newest first
    (str(script.down_revision), script.revision) for script in SCRIPTS.walk_revisions() if script.down_revision
]
#: A row of each table that no Ledger method fills, in order; a table that a migration adds gets its line here.
ROWS: Final = {
    "agent_endpoint": "(name, provider, base_url) VALUES ('主', 'agent_platform', 'http://127.0.0.1:1/api')",
    "beat_heartbeat": "(id, started_at, last_tick_at) VALUES ('b1', '2026-01-01', '2026-01-02')",
    "worker_lease": "(id, pid, queues, concurrency, expires_at, started_at) "
    "VALUES ('w1', 1, 'system', 1, '2026-01-01', '2026-01-01')",
    "scheduler_state": "(name, value, update_time) VALUES ('a', 'b', '2026-01-01')",
    "calendar_day": "(calendar, day, open, note) VALUES ('CN', '2026-02-14', 1, '调休')",
    "backfill": "(periodic_task_id, task_name, from_moment, until_moment) VALUES (1, 'r', '2026-01-01', '2026-01-02')",
    "agent_limit": "(endpoint, agent, max_concurrency) VALUES ('主', '*', 1)",
    "budget": "(id, endpoint, amount) VALUES (1, '主', 5)",
    "budget_use": "(budget_id, run_id, attempt) VALUES (1, 'r1', 1)",
    "budget_slice": "(budget_id, unit, starts_at, amount, dearest, answers, unknown) "
    "VALUES (1, 'tokens', '2026-01-01', 1, 1, 1, 0)",
    "api_user": "(name, role, password_hash) VALUES ('王芳', 'admin', 'x')",
    "api_token": "(name, digest, role) VALUES ('脚本', 'd', 'viewer')",
    "api_session": "(digest, user_id, expires_at) VALUES ('d', 1, '2026-01-01')",
    "api_request": "(digest, body_digest) VALUES ('d', 'e')",
    "audit_log": "(actor, via, action, subject_kind, subject) VALUES ('王芳', 'sql', 'task.update', 'task', '1')",
    "bulk_change": "(id, actor, selection, change_to, changed) VALUES ('b', '王芳', '{}', '{}', 1)",
    "hold": "(scope, reason) VALUES ('everything', '停机')",
    "notify_channel": "(name, url_env) VALUES ('ops', 'OPS_URL')",
    "task_after": "(periodic_task_id, upstream_id, upstream_name, outcome) VALUES (2, 1, '载入', 'ended')",
    "after_due": "(run_id) VALUES ('r1')",
    "notify_due": "(run_id) VALUES ('r1')",
    "notify_state": "(channel, subject) VALUES ('ops', '1')",
    "notify_message": "(channel, event, cause, text, pending, first_at, last_at, tasks, due_at) "
    "VALUES ('ops', 'failure', 'c', '失败', 1, '2026-01-01', '2026-01-01', '[]', '2026-01-01')",
}
BLOCKED_AT_MOST: Final = 2.0
SLACK: Final = 3.0  # for a busy machine
OPEN_FOR: Final = BLOCKED_AT_MOST + SLACK + 3


@pytest.fixture
def on_mariadb(mariadb: MariaDBServer, empty_broker_url: str, tmp_path: Path) -> Iterator[Stack]:
    name = f"upgrade_{time.monotonic_ns()}"
    with Stack(mariadb.create_database(name), empty_broker_url, tmp_path) as running:
        yield running
    mariadb.drop_database(name)


# -- migrations ------------------------------------------------------------------------------------


def content(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, by column; on servers the columns that `SELECT *` hides too."""
    ledger.engine.dispose()  # a connection may have prepared its statements for the columns of before
    schema = inspect(ledger.engine)
    found = {}
    for table in set(schema.get_table_names()) - {"alembic_version"}:
        names = "*" if ledger.is_sqlite else ", ".join(column["name"] for column in schema.get_columns(table))
        found[table] = [dict(row._mapping) for row in ledger.sql(f"SELECT {names} FROM {table} ORDER BY 1")]
    return found


def fill(ledger: Ledger) -> None:
    ledger.insert("日报", crontab="0 9 * * 1-5", timezone="Asia/Shanghai", tags="a,b", max_runs=3, jitter_seconds=7)
    ledger.insert("rule", rrule="FREQ=MONTHLY;BYMONTHDAY=-1", start_time=ledger.now().replace(tzinfo=None))
    ledger.insert("paused", enabled=0, pause_reason="假期", owner="王芳")
    for task, state in enumerate(State):
        ledger.add_run(state, task_name=f"日报 {state}", periodic_task_id=task)
    tables = inspect(ledger.engine).get_table_names()
    for table in (name for name in ROWS if name in tables):  # in this order: some refer to rows of others
        ledger.sql(f"INSERT INTO {table} {ROWS[table]}")


@pytest.mark.parametrize(("older", "newer"), STEPS, ids=[newer for _, newer in STEPS])
def test_a_step_up_and_a_step_down_keep_every_value(empty_database_url: str, older: str, newer: str) -> None:
    ledger = Ledger(empty_database_url)
    migrate.upgrade(ledger.engine, older)
    fill(ledger)
    before = content(ledger)
    assert all(before.values()), "a table without a row shows nothing"

    migrate.upgrade(ledger.engine, newer)
    after = content(ledger)
    kept = {
        table: [{name: row.get(name, "missing") for name in rows[0]} for row in after[table]]
        for table, rows in before.items()
    }
    assert kept == before

    migrate.downgrade(ledger.engine, older)
    assert content(ledger) == before
    ledger.close()


def fire_as_the_older_release(url: str, stop: Event) -> float:
    """Claim, record and advance 50 rows a second with columns of the first schema; return the longest standstill."""
    engine = connect(url, pool_size=1)
    longest, last = 0.0, time.monotonic()
    try:
        while not stop.is_set():
            with suppress(Exception), engine.begin() as tx:  # a lock wait that ends counts as standing still
                tx.exec_driver_sql("START TRANSACTION")
                due = tx.exec_driver_sql(
                    "SELECT id, next_run_at FROM periodic_task WHERE enabled AND next_run_at <= UTC_TIMESTAMP(6) "
                    "ORDER BY next_run_at LIMIT 50 FOR UPDATE SKIP LOCKED"
                ).all()
                for task, moment in due:
                    tx.exec_driver_sql(
                        "INSERT INTO task_run (id, periodic_task_id, task_name, origin, scheduled_for, ready_at, "
                        "state, queue, priority, attempt, config) "
                        "VALUES (UUID(), %s, 'r', 'schedule', %s, %s, 'PENDING', 'celery', 5, 0, '{}')",
                        (task, moment, moment),
                    )
                    tx.exec_driver_sql(
                        "UPDATE periodic_task SET next_run_at = next_run_at + INTERVAL 1 SECOND WHERE id = %s", (task,)
                    )
                tx.exec_driver_sql("COMMIT")
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            stop.wait(0.02)
    finally:
        engine.dispose()
    return max(longest, time.monotonic() - last)


def many_rows(ledger: Ledger) -> None:
    """20,000 rows and as many runs; 50 rows fall due each second."""
    ledger.insert_many(
        [{"name": f"row {n}", "crontab": "0 0 1 1 *", "task_extra_config": agent()} for n in range(20_000)]
    )
    ledger.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6) WHERE id <= 50")
    now = ledger.now()
    ledger.add_runs(State.SUCCESS, [{"scheduled_for": now, "task_name": f"old {n}"} for n in range(20_000)])


@pytest.mark.slow
@pytest.mark.parametrize("empty_database_url", ["mariadb"], indirect=True)
def test_the_newest_migration_blocks_fires_for_two_seconds_at_most(empty_database_url: str) -> None:
    older, newer = STEPS[0]
    ledger = Ledger(empty_database_url)
    migrate.upgrade(ledger.engine, older)
    many_rows(ledger)
    operator = ledger.operator()
    with ThreadPoolExecutor(1) as pool:
        stop = Event()
        firing = pool.submit(fire_as_the_older_release, ledger.url, stop)
        try:
            with operator.cursor() as cursor:  # a transaction that somebody left open holds the tables' metadata
                cursor.execute("SELECT count(*) FROM periodic_task, task_run WHERE task_run.id = 'x'")
            with ThreadPoolExecutor(1) as other:
                migrating = other.submit(migrate.upgrade, ledger.engine, newer)
                time.sleep(OPEN_FOR)
                operator.commit()
                migrating.result(40)
            time.sleep(1)
        finally:
            stop.set()
        standstill = firing.result(20)

    assert migrate.current_revision(ledger.engine) == newer
    assert standstill < BLOCKED_AT_MOST + SLACK
    fired = ledger.sql(
        "SELECT count(*) AS n, count(DISTINCT periodic_task_id) AS tasks FROM task_run WHERE task_name = 'r'"
    )
    assert fired[0].n > 50
    assert fired[0].tasks == 50
    ledger.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_this_release_works_on_the_schema_of_the_next(on_mariadb: Stack) -> None:
    """Its processes go on while columns and tables that they do not know appear, and can be started again."""
    insert_rows(on_mariadb, 50, agent("quick"))
    beat, worker = on_mariadb.beat(), on_mariadb.worker("--concurrency", "20")
    on_mariadb.wait_for(lambda: on_mariadb.states()["SUCCESS"] >= 50, "first answers")

    for table in inspect(on_mariadb.engine).get_table_names():
        if table != "alembic_version":
            on_mariadb.sql(f"ALTER TABLE {table} ADD COLUMN of_the_next VARCHAR(64) NULL")
    on_mariadb.sql("ALTER TABLE task_run ADD INDEX ix_of_the_next (of_the_next)")
    on_mariadb.sql("CREATE TABLE of_the_next (id INT PRIMARY KEY)")
    on_mariadb.sql("UPDATE alembic_version SET version_num = '9999'")
    on_mariadb.wait_for(lambda: on_mariadb.states()["SUCCESS"] >= 200, "answers on the new schema")
    end(on_mariadb, beat)
    end(on_mariadb, worker)
    beat, worker = on_mariadb.beat(), on_mariadb.worker("--concurrency", "20")
    on_mariadb.sql("UPDATE periodic_task SET max_runs = run_count + 5")

    on_mariadb.wait_for(lambda: not active(on_mariadb) and finished(on_mariadb, 50), "the last runs", 40)
    assert_every_moment_has_one_run(on_mariadb, 50)


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
def test_an_older_schema_is_refused_and_a_newer_one_left_alone(empty_database_url: str) -> None:
    ledger = Ledger(empty_database_url)
    migrate.upgrade(ledger.engine, STEPS[0][0])
    environment = {"PATH": os.defpath, "DATABASE_URL": empty_database_url}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50
        )

    refused = run("run_beat.py", "--once")
    assert refused.returncode == 2
    assert f"at schema {STEPS[0][0]}, this version needs {STEPS[0][1]}; run: make migrate" in refused.stderr

    ledger.sql("UPDATE alembic_version SET version_num = '9999'")
    left = run("-m", "store.migrate")
    assert (left.returncode, migrate.current_revision(ledger.engine)) == (0, "9999"), left.stderr
    ledger.close()


# -- processes -------------------------------------------------------------------------------------


def insert_rows(stack: Stack, count: int, config: str, **more: Any) -> None:
    """Rows that fire every second and owe every moment."""
    policy = {"interval_seconds": 1, "overlap": "allow", "catch_up": "all", "task_extra_config": config, **more}
    stack.insert_many([{"name": f"r{n}", **policy} for n in range(count)])


def end(stack: Stack, process: "subprocess.Popen[bytes]", seconds: float = 40) -> None:
    """Stop a process as supervisor does, and wait until it is gone."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(seconds) == 0, stack.tails()
    stack.processes.remove(process)


def active(stack: Stack) -> int:
    return stack.count("SELECT count(*) FROM task_run WHERE state NOT IN ('SUCCESS', 'FAILURE', 'SKIPPED')")


def finished(stack: Stack, rows: int) -> bool:
    return stack.count("SELECT count(*) FROM periodic_task WHERE next_run_at IS NULL") == rows


def assert_every_moment_has_one_run(stack: Stack, rows: int) -> None:
    """From a row's first moment to its last there is a run each second, it succeeded, and the agent saw it once."""
    per_row = stack.sql(
        "SELECT count(*) AS n, count(DISTINCT scheduled_for) AS moments, max(t.run_count) AS counted, "
        "TIMESTAMPDIFF(SECOND, MIN(scheduled_for), MAX(scheduled_for)) AS seconds "
        "FROM task_run JOIN periodic_task t ON t.id = periodic_task_id GROUP BY periodic_task_id"
    )
    assert len(per_row) == rows
    assert [row for row in per_row if not row.n == row.moments == row.counted == row.seconds + 1] == []
    assert set(stack.states()) == {"SUCCESS"}, stack.tails()
    calls = stack.calls()
    assert set(calls.values()) == {1}
    assert len(calls) == sum(row.n for row in per_row)


def of_this_stack(stack: Stack) -> set[int]:
    """Every process, children included, that has this stack's log folder in its environment."""
    mark = f"LOG_DIR={stack.environment['LOG_DIR']}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_rolling_restart_under_load_loses_and_doubles_nothing(on_mariadb: Stack) -> None:
    """100 rows fire each second while two beats and two workers are replaced, one after the other."""
    insert_rows(on_mariadb, 100, agent("wait 0.3"), max_runs=20)

    def start_worker() -> "subprocess.Popen[bytes]":
        return on_mariadb.worker("--concurrency", "60")

    starts: list[Callable[[], subprocess.Popen[bytes]]] = [on_mariadb.beat] * 2 + [start_worker] * 2
    running = [(start, start()) for start in starts]
    on_mariadb.wait_for(lambda: on_mariadb.states()["SUCCESS"] >= 100, "first answers")

    for start, process in running:
        start()
        end(on_mariadb, process)

    on_mariadb.wait_for(lambda: not active(on_mariadb) and finished(on_mariadb, 100), "the last runs", 120)
    assert_every_moment_has_one_run(on_mariadb, 100)
    assert on_mariadb.states() == {"SUCCESS": 2000}
    assert of_this_stack(on_mariadb) == {process.pid for process in on_mariadb.processes}


@pytest.mark.slow
def test_a_second_sigterm_ends_a_draining_worker_at_once(on_mariadb: Stack) -> None:
    on_mariadb.beat()
    worker = on_mariadb.worker("--concurrency", "2")
    on_mariadb.insert("long", agent("wait 60", max_retries=1), run_now=1, crontab="0 0 1 1 *")
    on_mariadb.wait_for(lambda: on_mariadb.states("long")["STARTED"], "the call")

    worker.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert worker.poll() is None, "the first signal lets calls go on"
    worker.send_signal(signal.SIGTERM)

    worker.wait(2 + SLACK)
    on_mariadb.processes.remove(worker)
    on_mariadb.wait_for(lambda: set(on_mariadb.states("long")) & {"RETRY", "QUEUED"}, "the run given back", 5)
    assert on_mariadb.count("SELECT count(*) FROM worker_lease") == 0


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_takes_nothing_new_and_lets_its_call_end(on_mariadb: Stack) -> None:
    on_mariadb.beat()
    worker = on_mariadb.worker("--concurrency", "4")
    on_mariadb.insert("long", agent("wait 3"), run_now=1, crontab="0 0 1 1 *")
    on_mariadb.wait_for(lambda: on_mariadb.states("long")["STARTED"], "the call")

    worker.send_signal(signal.SIGTERM)
    time.sleep(1)
    on_mariadb.insert("later", agent("quick"), run_now=1, crontab="0 0 1 1 *")

    assert worker.wait(20) == 0
    on_mariadb.processes.remove(worker)
    assert on_mariadb.states("long") == {"SUCCESS": 1}
    on_mariadb.wait_for(lambda: on_mariadb.states("later")["QUEUED"], "the later run on the queue")
    on_mariadb.worker()
    on_mariadb.wait_for(lambda: on_mariadb.states("later")["SUCCESS"], "the later run")
