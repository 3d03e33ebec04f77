"""Limits, budgets and cancel with real workers against servers that count."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Event, Thread

import pytest

from core.lifecycle import State
from models import Base
from store.runs import new_run_id
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import Answer
from tests.services import MariaDBServer, free_port
from tests.stack import Stack, agent

RUNS = 200
AT_ONCE = 20
A_MINUTE = 150
CANCELS = 50
KEY = "sk-planted-7e1c94d2a85b"


@pytest.fixture
def database_url(mariadb: MariaDBServer) -> Iterator[str]:
    name = "endpoint_limits"
    yield mariadb.create_database(name)
    mariadb.drop_database(name)


def add_runs(stack: Stack, messages: Sequence[str], **config: object) -> list[str]:
    """Put PENDING runs into the ledger; beat sends them."""
    ids = [new_run_id() for _ in messages]
    for run_id, message in zip(ids, messages, strict=True):
        stack.sql(
            "INSERT INTO task_run (id, task_name, origin, scheduled_for, ready_at, queue, config) VALUES "
            "(:id, 'row', 'manual', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), 'priority_low', :config)",
            id=run_id, config=json.dumps(config) if "task_type" in config else agent(message, **config),
        )  # fmt: skip
    return ids


def add_endpoint(stack: Stack, name: str, url: str, **limits: int) -> None:
    columns = {"name": name, "provider": "agent_platform", "base_url": url, **limits}
    names, marks = ", ".join(columns), ", ".join(f":{column}" for column in columns)
    stack.sql(f"INSERT INTO agent_endpoint ({names}) VALUES ({marks})", **columns)


def times(log: Path) -> list[float]:
    return sorted(float(line.split(" ", 1)[0]) for line in log.read_text().splitlines())


def most_at_once(begun: list[float], ended: list[float]) -> int:
    steps = sorted([(moment, -1) for moment in ended] + [(moment, 1) for moment in begun])
    return max(accumulate(change for _, change in steps))


def most_in_a_minute(begun: list[float]) -> int:
    return max(sum(1 for other in begun if first <= other < first + 60) for first in begun)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_200_runs_of_three_workers_keep_to_the_limits_by_the_servers_count(
    database_url: str, empty_broker_url: str, tmp_path: Path
) -> None:
    port, log, answers = free_port(), tmp_path / "counted.log", tmp_path / "answers.log"
    with Stack(database_url, empty_broker_url, tmp_path, WORKER_CONCURRENCY="100") as stack:
        stack.start("counted", "-m", "tests.recording_agent", str(port), str(log), str(answers))
        add_endpoint(
            stack, "counted", f"http://127.0.0.1:{port}/api", max_concurrency=AT_ONCE, requests_per_minute=A_MINUTE
        )
        for _ in range(3):
            stack.worker()
        ids = add_runs(stack, ["work 0.5"] * RUNS, endpoint="counted")
        stack.beat()

        stack.wait_for(lambda: stack.states()[State.SUCCESS] == RUNS, f"{RUNS} answers", 300)

        begun, ended = times(log), times(answers)
        attempts = stack.sql("SELECT attempt FROM task_run WHERE attempt <> 1")
    assert (len(begun), len(ended), len(set(ids)), attempts) == (RUNS, RUNS, RUNS, [])
    assert most_at_once(begun, ended) <= AT_ONCE
    assert most_in_a_minute(begun) <= A_MINUTE
    assert begun[-1] - begun[0] < 150, "runs that wait are to be sent when there is room"


@pytest.mark.slow
def test_a_killed_worker_leaves_neither_slots_nor_reservations(
    database_url: str, empty_broker_url: str, tmp_path: Path
) -> None:
    with Stack(database_url, empty_broker_url, tmp_path, WORKER_LEASE_SECONDS="3") as stack:
        add_endpoint(stack, "small", stack.environment["AGENT_API_BASE_URL"], max_concurrency=2)
        stack.sql("INSERT INTO budget (endpoint, amount, reserve) VALUES ('small', 1000, 400)")
        worker = stack.worker()
        stack.beat()
        add_runs(stack, ["wait 600"] * 2, endpoint="small")
        stack.wait_for(lambda: stack.states()[State.STARTED] == 2, "both calls", 60)
        add_runs(stack, ["hello"] * 4, endpoint="small")
        stack.wait_for(
            lambda: stack.count("SELECT count(*) FROM task_run WHERE error LIKE 'waits%'") == 4, "waiting", 60
        )

        stack.kill(worker)
        stack.worker()

        stack.wait_for(lambda: stack.states()[State.SUCCESS] == 4, "the others", 100)
        lost = stack.sql("SELECT error_kind FROM task_run WHERE state = 'FAILURE'")
        still = stack.count(
            "SELECT count(*) FROM budget_use u JOIN task_run r ON r.id = u.run_id AND r.state = 'STARTED'"
        )
    assert [row.error_kind for row in lost] == ["worker_lost"] * 2
    assert still == 0


@pytest.fixture
def platform() -> Iterator[FakeAgent]:
    """A platform whose runs never end by themselves, and that counts the stops it is asked for."""
    loop, ready, fake = asyncio.new_event_loop(), Event(), FakeAgent(fault="heartbeats")
    ended = asyncio.Event()

    async def serve() -> None:
        async with fake:
            ready.set()
            await ended.wait()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield fake
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    assert not thread.is_alive()
    loop.close()


@pytest.mark.slow
def test_50_cancels_by_sql_cut_the_calls_and_stop_the_remote_runs(
    database_url: str, empty_broker_url: str, tmp_path: Path, platform: FakeAgent
) -> None:
    with Stack(database_url, empty_broker_url, tmp_path, AGENT_API_BASE_URL=f"{platform.url}/api") as stack:
        stack.worker()
        stack.beat()
        ids = add_runs(stack, ["for ever"] * CANCELS, options={"dialect": "legacy"}, timeout=600)
        stack.wait_for(lambda: len(_asked(platform)) == CANCELS, "the calls", 100)

        cancelled_at = time.monotonic()
        stack.sql("UPDATE task_run SET state = 'REVOKED' WHERE state = 'STARTED'")
        stack.wait_for(lambda: len(platform.cancelled) == CANCELS, "the remote stops", 30)
        took = time.monotonic() - cancelled_at
        stack.wait_for(
            lambda: stack.count("SELECT count(*) FROM task_run WHERE finished_at IS NOT NULL") == CANCELS,
            "the ends",
            30,
        )

        assert stack.states() == {State.REVOKED: CANCELS}
        stopped = [one.headers["idempotency-key"] for one in platform.requests if one.path.endswith("/runs/cancel")]
        assert sorted(stopped) == sorted(ids)
        assert took < 10, "two seconds on a machine that is not busy"


@pytest.mark.slow
def test_a_stored_key_is_found_nowhere_and_a_lost_secret_key_fails_its_endpoint_only(
    database_url: str, empty_broker_url: str, tmp_path: Path, platform: FakeAgent
) -> None:
    def echo(received: Received) -> Answer:
        return Answer("application/json", [json.dumps({"you sent": received.headers}).encode()])

    platform.fault, platform.script = "ok", echo
    settings = {"SECRET_KEY": "of this test", "HTTP_ALLOWED_HOSTS": "127.0.0.1", "CELERY_LOG_LEVEL": "DEBUG"}
    with Stack(database_url, empty_broker_url, tmp_path, **settings, PLANTED=KEY) as stack:
        options = ("--provider", "http_json", "--base-url", platform.url, "--key-from", "PLANTED")
        entered = stack.start("enter", "-m", "scripts.endpoints", "add", "secret", *options)
        assert entered.wait(60) == 0, stack.tails()
        del stack.environment["PLANTED"]
        worker = stack.worker()
        stack.beat()
        called = {"task_type": "http", "url": f"{platform.url}/echo", "endpoint": "secret"}
        add_runs(stack, [""], **called)
        stack.wait_for(lambda: stack.states()[State.SUCCESS] == 1, "the echo", 60)
        stack.kill(worker)
        stack.environment["SECRET_KEY"] = "another"
        stack.worker()
        add_runs(stack, [""], **called)
        add_runs(stack, ["hello"])
        stack.wait_for(lambda: stack.states() == {State.SUCCESS: 2, State.FAILURE: 1}, "the runs", 60)

        (lost,) = stack.sql("SELECT error_kind, error FROM task_run WHERE error LIKE '%SECRET_KEY%'")
        dump = str([stack.sql(f"SELECT * FROM {table}") for table in Base.metadata.tables])
        dump += str(stack.sql("SELECT credential FROM agent_endpoint"))
    written = "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())
    assert KEY in platform.requests[0].headers["authorization"]
    assert (lost.error_kind, "'secret'" in lost.error) == ("config", True)
    for secret in (KEY, KEY[8:], b64encode(KEY.encode()).decode()):
        assert secret not in dump
        assert secret not in written
    assert "you sent" in dump


def _asked(platform: FakeAgent) -> list[str]:
    return [one.path for one in platform.requests if one.path.endswith("/runs/stream")]
