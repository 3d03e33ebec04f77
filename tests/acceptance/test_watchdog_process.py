"""`python -m missed_fires` as a process of its own: it names what does not fire, whatever the beats do."""

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.api_process import Api, prepared
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack, agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 60.0  # what is promised, from the moment on


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address for ALERT_URLS, and what arrives there."""
    arrived: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"json://127.0.0.1:{server.server_address[1]}/", arrived
    server.shutdown()
    thread.join()
    server.server_close()


def told(arrived: list[dict[str, Any]], title: str) -> list[str]:
    """What the watchdog sent under a title; beats that are thawed may have their own to say."""
    return [each["message"] for each in arrived if each["title"] == title]


def log_of(stack: Stack) -> str:
    return "".join(file.read_text(errors="replace") for file in (stack.folder / "logs").glob("*.log"))


def test_with_every_beat_frozen_the_overdue_row_is_named_in_log_alert_and_metrics(
    mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path: Path, inbox: tuple[str, list[dict[str, Any]]]
) -> None:
    address, arrived = inbox
    stack = prepared(mariadb.create_database("missed"), valkey.url, tmp_path)
    api = Api(stack, valkey.url, ALERT_URLS=address)
    try:
        watchdog = stack.start("watchdog", "-m", "missed_fires")
        beats = [stack.beat(), stack.beat()]
        api.add_task("每秒一次", crontab="* * * * * *", overlap="allow")
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM task_run") > 2, "the row to fire")
        stack.wait_for(lambda: "watching for schedules" in log_of(stack), "the watchdog", PATIENCE)
        assert "overdue: " not in log_of(stack)

        for beat in beats:
            beat.send_signal(signal.SIGSTOP)
        stack.wait_for(lambda: "overdue: '每秒一次'" in log_of(stack), "the log to name the row", PATIENCE)
        stack.wait_for(lambda: told(arrived, "Schedules do not fire"), "the alert", PATIENCE)

        (message,) = told(arrived, "Schedules do not fire")
        assert "每秒一次" in message
        assert "a beat last ticked" in message
        figures = api.metrics()
        assert figures["scheduler_missed_fires"] == 1
        assert figures["scheduler_missed_fire_seconds:每秒一次:1"] > 30
        assert figures["scheduler_missed_fires_look_age_seconds"] < 30

        for beat in beats:
            beat.send_signal(signal.SIGCONT)
        stack.wait_for(lambda: "every schedule fires again" in log_of(stack), "the end of the alarm", PATIENCE)
        stack.wait_for(lambda: told(arrived, "Schedules fire again"), "the all-clear", PATIENCE)

        watchdog.send_signal(signal.SIGTERM)
        assert watchdog.wait(60) == 0
    finally:
        api.close()
        mariadb.drop_database("missed")


def test_without_any_beat_the_worst_rows_are_named_and_the_rest_are_counted(tmp_path: Path) -> None:
    stack = prepared(f"sqlite:///{tmp_path}/s.db", "redis://127.0.0.1:1/0", tmp_path)
    api = Api(stack, "redis://127.0.0.1:1/0")
    try:
        for number in range(13):
            api.add_task(f"row {number}", crontab="0 0 1 1 *", task_extra_config=agent())
            api.arm(f"row {number}", api.now() - timedelta(seconds=1000 - number))
        api.add_task("in time", crontab="0 0 1 1 *")
        api.arm("in time", api.now() - timedelta(seconds=1))
        api.add_task("paused", crontab="0 0 1 1 *", enabled=0)
        api.arm("paused", api.now() - timedelta(days=1))

        stack.start("watchdog", "-m", "missed_fires")  # without a broker

        stack.wait_for(lambda: "overdue: 'row 0' (id 1) for" in log_of(stack), "the alarm", PATIENCE)
        (line,) = [line for line in log_of(stack).splitlines() if "overdue: " in line][:1]
        assert " and 3 more; no beat has ever ticked" in line
        assert "row 9" in line
        assert "row 10" not in line
        stack.wait_for(lambda: api.metrics().get("scheduler_missed_fires") == 13, "the figures", PATIENCE)
        labelled = [name for name in api.metrics() if name.startswith("scheduler_missed_fire_seconds:")]
        assert len(labelled) == 10
    finally:
        api.close()


def test_it_does_not_start_on_a_database_without_its_schema(tmp_path: Path) -> None:
    stack = Stack(f"sqlite:///{tmp_path}/s.db", "redis://127.0.0.1:1/0", tmp_path)
    try:
        assert stack.start("watchdog", "-m", "missed_fires").wait(60) == 2
    finally:
        stack.close()
    assert "run: make migrate" in (tmp_path / "watchdog.out").read_text()
