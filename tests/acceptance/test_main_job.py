"""The main job with real processes: rows fire, the agent answers, results come back, and nothing is lost."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broken_rows import BROKEN_ROWS
from tests.services import MariaDBServer
from tests.stack import ROOT, Stack, agent

BUSY = 4  # seconds that a busy machine may add to a promised time; what breaks the promise adds far more


@pytest.fixture
def running(empty_database_url: str, empty_broker_url: str, tmp_path: Path) -> Iterator[Stack]:
    """On SQLite and MariaDB in turn."""
    with Stack(empty_database_url, empty_broker_url, tmp_path) as running:
        yield running


@pytest.fixture
def on_mariadb(mariadb: MariaDBServer, empty_broker_url: str, tmp_path: Path) -> Iterator[Stack]:
    name = f"main_{time.monotonic_ns()}"
    with Stack(mariadb.create_database(name), empty_broker_url, tmp_path) as running:
        yield running
    mariadb.drop_database(name)


def test_a_row_inserted_by_plain_sql_is_called_and_its_answer_stands_in_the_ledger(running: Stack) -> None:
    running.beat()
    running.worker()

    running.insert("every second", agent("你好"), interval_seconds=1)

    running.wait_for(lambda: running.states()["SUCCESS"] >= 3, "three answers")
    rows = running.sql("SELECT id, result, scheduled_for, worker, attempt FROM task_run WHERE state = 'SUCCESS'")
    assert {row.result for row in rows} == {"ok 你好"}
    assert {row.attempt for row in rows if row.result} == {1}
    assert all(running.calls()[row.id] == 1 for row in rows if row.result)


def test_every_kind_of_edit_takes_effect_without_a_restart(running: Stack) -> None:
    running.beat()
    running.worker()
    running.insert("edited", agent("first"), interval_seconds=1)
    running.wait_for(lambda: running.states()["SUCCESS"] >= 1, "a first answer")

    running.sql("UPDATE periodic_task SET task_extra_config = :config", config=agent("second"))
    running.wait_for(lambda: running.count("SELECT count(*) FROM task_run WHERE result = 'ok second'"), "the new text")
    running.sql("UPDATE periodic_task SET enabled = 0")
    running.wait_for(
        lambda: running.count("SELECT count(*) FROM periodic_task WHERE next_run_at IS NULL"), "disarming", 3 + BUSY
    )
    fired = running.count("SELECT count(*) FROM task_run")
    time.sleep(2.2)
    assert running.count("SELECT count(*) FROM task_run") == fired
    running.sql("UPDATE periodic_task SET enabled = 1, interval_seconds = 2")
    running.wait_for(
        lambda: running.count("SELECT count(*) FROM task_run") > fired, "runs of the re-enabled row", 5 + BUSY
    )
    running.sql("DELETE FROM periodic_task")
    fired = running.count("SELECT count(*) FROM task_run")
    time.sleep(2.2)
    assert running.count("SELECT count(*) FROM task_run") <= fired + 1


def test_a_dripping_server_is_cut_at_the_timeout_and_a_failing_one_is_retried(on_mariadb: Stack) -> None:
    on_mariadb.beat()
    on_mariadb.worker()

    on_mariadb.insert("drips", agent("drip", timeout=1.5), run_now=1, crontab="0 0 1 1 *")
    on_mariadb.insert("fails", agent("fail", max_retries=2, retry_backoff=0.2), run_now=1, crontab="0 0 1 1 *")

    on_mariadb.wait_for(lambda: on_mariadb.states()["FAILURE"] == 2, "both failures", 30)
    (drip,) = on_mariadb.sql(
        "SELECT error_kind, error, TIMESTAMPDIFF(MICROSECOND, started_at, finished_at) / 1e6 AS took "
        "FROM task_run WHERE task_name = 'drips'"
    )
    assert drip.error_kind == "timeout"
    assert 1.4 < float(drip.took) < 3 + BUSY
    (failed,) = on_mariadb.sql("SELECT id, attempt, error_kind FROM task_run WHERE task_name = 'fails'")
    assert (failed.attempt, failed.error_kind) == (3, "unavailable")
    assert on_mariadb.calls()[failed.id] == 3


def test_a_cancel_by_sql_cuts_the_running_call_within_two_seconds(running: Stack) -> None:
    running.beat()
    worker = running.worker("--concurrency", "2")
    running.insert("long", agent("wait 60"), run_now=1, crontab="0 0 1 1 *")
    running.wait_for(lambda: running.calls() if running.agent_log.exists() else None, "the call")

    running.sql("UPDATE task_run SET state = 'REVOKED' WHERE task_name = 'long'")

    out = running.folder / "worker.out"
    running.wait_for(lambda: "no longer STARTED by this worker" in out.read_text(), "the cut", 2.5 + BUSY)
    assert worker.poll() is None
    assert running.states("long") == {"REVOKED": 1}


def test_good_rows_fire_on_time_beside_every_kind_of_broken_row(on_mariadb: Stack) -> None:
    on_mariadb.beat()
    on_mariadb.worker()

    for n, broken in enumerate(BROKEN_ROWS):
        columns = {"crontab": "0 0 1 1 *", "task_extra_config": agent(), **broken.columns}
        on_mariadb.insert(f"bad{n} {broken.name}", columns.pop("task_extra_config"), **columns)
        on_mariadb.insert(f"good{n}", agent("quick"), interval_seconds=2)

    on_mariadb.wait_for(lambda: on_mariadb.states("good%")["SUCCESS"] >= 3 * len(BROKEN_ROWS), "the good ones", 30)
    late = "TIMESTAMPDIFF(MICROSECOND, scheduled_for, started_at) / 1e6"
    (worst,) = on_mariadb.sql(f"SELECT MAX({late}) AS seconds FROM task_run WHERE task_name LIKE 'good%'")
    assert float(worst.seconds) < 5  # a broken row is tried again every minute: it must not hold its neighbours so long
    errors = {row.name: row.config_error for row in on_mariadb.sql("SELECT name, config_error FROM periodic_task")}
    for n, broken in enumerate(BROKEN_ROWS):
        assert broken.says in (errors[f"bad{n} {broken.name}"] or "")
    assert on_mariadb.states("bad%") == {}


def test_purging_the_broker_delays_runs_and_loses_none(on_mariadb: Stack) -> None:
    on_mariadb.insert_many(
        [
            {"name": f"p{n}", "crontab": "0 0 1 1 *", "run_now": 1, "task_extra_config": agent("quick")}
            for n in range(50)
        ]
    )
    on_mariadb.beat()
    on_mariadb.wait_for(lambda: on_mariadb.states()["QUEUED"] == 50, "50 queued runs")

    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks.celery_app", "purge", "-f"],
        cwd=ROOT, env=on_mariadb.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    on_mariadb.worker()

    assert "Purged 50 messages" in done.stdout + done.stderr
    on_mariadb.wait_for(lambda: on_mariadb.states()["SUCCESS"] == 50, "every purged run", 40)
    assert set(on_mariadb.calls().values()) == {1}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seed", "others"), [("0", 10_000), ("1", 2_000), ("2", 2_000)])
def test_an_urgent_run_starts_within_a_second_behind_thousands_of_others(
    on_mariadb: Stack, seed: str, others: int
) -> None:
    on_mariadb.environment["PYTHONHASHSEED"] = seed
    rows = [
        {"name": f"low{n}", "run_now": 1, "crontab": "0 0 1 1 *", "task_extra_config": agent("wait 60")}
        for n in range(others)
    ]
    for first in range(0, len(rows), 1000):
        on_mariadb.insert_many(rows[first : first + 1000])
    on_mariadb.beat()
    on_mariadb.wait_for(lambda: on_mariadb.states()["QUEUED"] == others, "queued runs", 90)
    on_mariadb.worker("--concurrency", "4")
    on_mariadb.worker("--queues", "system,priority_high", "--concurrency", "2", "--name", "urgent")
    on_mariadb.wait_for(lambda: on_mariadb.states()["STARTED"] == 4, "busy ordinary slots")

    on_mariadb.insert("urgent", agent("quick", queue="system"), run_now=1, crontab="0 0 1 1 *")

    on_mariadb.wait_for(lambda: on_mariadb.states("urgent")["SUCCESS"], "the urgent run", 30)
    (row,) = on_mariadb.sql(
        "SELECT TIMESTAMPDIFF(MICROSECOND, scheduled_for, started_at) / 1e6 AS waited FROM task_run "
        "WHERE task_name = 'urgent'"
    )
    assert float(row.waited) < 1 + BUSY


def test_queues_are_drained_strictly_by_rank_and_priority_by_two_workers(on_mariadb: Stack) -> None:
    queues = ["celery", "priority_low", "priority_high", "system"]
    lanes = [(queue, priority) for queue in queues for priority in (0, 5, 9)]
    rows = [
        {"name": f"{queue}-{priority}-{n}", "run_now": 1, "crontab": "0 0 1 1 *",
         "task_extra_config": agent("wait 0.05", queue=queue, priority=priority)}
        for n in range(12) for queue, priority in lanes
    ]  # fmt: skip
    random.Random(7).shuffle(rows)
    on_mariadb.insert_many(rows)
    on_mariadb.beat()
    on_mariadb.wait_for(lambda: on_mariadb.states()["QUEUED"] == len(rows), "all queued")

    for name in ("a", "b"):
        on_mariadb.start(f"worker-{name}", "run_worker.py", "--concurrency", "1", "--name", name)

    on_mariadb.wait_for(lambda: on_mariadb.states()["SUCCESS"] == len(rows), "all done", 40)
    order = [
        (queues.index(row.queue), row.priority)
        for row in on_mariadb.sql("SELECT queue, priority FROM task_run ORDER BY started_at")
        if row.queue in queues
    ]
    # Each worker holds at most one message beyond the one it runs, so neighbours may swap at a border.
    ranks = [rank * 10 + priority for rank, priority in order]
    late = [n for n, rank in enumerate(ranks) if sum(before < rank for before in ranks[:n]) > 2]
    assert late == []


def test_kill_9_of_beat_and_worker_loses_and_doubles_nothing(on_mariadb: Stack) -> None:
    """Every due moment has exactly one run; the agent saw each run once, or again only after a lost worker."""
    on_mariadb.environment |= {"WORKER_LEASE_SECONDS": "3"}
    on_mariadb.insert_many(
        [
            {"name": f"k{n}", "interval_seconds": 1, "catch_up": "all", "overlap": "allow", "max_runs": 20,
             "task_extra_config": agent("wait 0.3", max_retries=3 if n % 2 else 0)}
            for n in range(50)
        ]
    )  # fmt: skip
    dice = random.Random(11)
    beats = [on_mariadb.beat(), on_mariadb.beat()]
    workers = [on_mariadb.worker("--concurrency", "50"), on_mariadb.worker("--concurrency", "50")]

    for _ in range(6):
        time.sleep(dice.uniform(0.5, 2.5))
        group = dice.choice([beats, workers])
        victim = dice.choice(group)
        on_mariadb.kill(victim)
        group.remove(victim)
        group.append(on_mariadb.beat() if group is beats else on_mariadb.worker("--concurrency", "50"))

    def is_over() -> bool:
        final = on_mariadb.count(
            "SELECT count(*) FROM task_run WHERE state IN ('SUCCESS', 'FAILURE') AND task_name LIKE 'k%'"
        )
        return final == 1000

    on_mariadb.wait_for(is_over, "1,000 ended runs", 90)
    moments = on_mariadb.count(
        "SELECT count(DISTINCT periodic_task_id, scheduled_for) FROM task_run WHERE task_name LIKE 'k%'"
    )
    gaps = on_mariadb.count(
        "SELECT count(*) FROM (SELECT MAX(scheduled_for) AS newest, MIN(scheduled_for) AS oldest, COUNT(*) AS n "
        "FROM task_run WHERE task_name LIKE 'k%' GROUP BY periodic_task_id) g "
        "WHERE TIMESTAMPDIFF(SECOND, oldest, newest) <> n - 1"
    )
    assert (moments, gaps) == (1000, 0)
    calls = on_mariadb.calls()
    for row in on_mariadb.sql("SELECT id, state, attempt, error_kind, config FROM task_run WHERE task_name LIKE 'k%'"):
        may_retry = '"max_retries": 3' in row.config
        assert calls[row.id] <= row.attempt
        assert row.attempt == 1 or may_retry
        assert row.state == "SUCCESS" or row.error_kind == "worker_lost"
        assert row.state == "SUCCESS" or not may_retry
