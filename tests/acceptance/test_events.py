"""A worker's task events, which Flower lives on: each arrives once, soon, and many of them in one message."""

import signal
import subprocess
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from celery import Celery

from tests.services import MariaDBServer
from tests.stack import Stack, agent

RUNS = 40


@pytest.fixture
def stack(mariadb: MariaDBServer, empty_broker_url: str, tmp_path: Path) -> Iterator[Stack]:
    with Stack(mariadb.create_database("events"), empty_broker_url, tmp_path) as running:
        yield running
    mariadb.drop_database("events")


def test_every_event_of_a_run_arrives_once_even_where_the_worker_is_stopped_at_once(
    stack: Stack, empty_broker_url: str
) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    listener: Any = Celery(broker=empty_broker_url)
    handlers = {"*": lambda event: seen.update([(event["type"], event.get("uuid", ""))])}
    worker = stack.worker()
    with listener.connection() as connection:
        receiver = listener.events.Receiver(connection, handlers=handlers)
        listening = Thread(target=lambda: deque(receiver.itercapture(limit=None, timeout=None, wakeup=False)))
        listening.start()
        try:
            _run_some(stack, worker, seen)
        finally:
            receiver.should_stop = True
            listening.join()


def _run_some(stack: Stack, worker: "subprocess.Popen[bytes]", seen: Counter[tuple[str, str]]) -> None:
    stack.wait_for(lambda: ("worker-heartbeat", "") in seen, "the listener to hear the worker")
    rows = [{"name": f"r{n}", "crontab": "0 0 1 1 *", "run_now": 1, "task_extra_config": agent()} for n in range(RUNS)]
    stack.insert_many(rows)
    stack.beat("--once")
    stack.wait_for(lambda: stack.states()["SUCCESS"] == RUNS, "every run to end", 60)
    worker.send_signal(signal.SIGTERM)

    kinds = ("task-received", "task-started", "task-succeeded")
    told = [(kind, run.id) for run in stack.sql("SELECT id FROM task_run") for kind in kinds]
    stack.wait_for(lambda: all(seen[event] for event in told), "every event")
    assert {seen[event] for event in told} == {1}
