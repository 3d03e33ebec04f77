"""The whole way with the real processes: a template, an expectation that fails, a killed worker, and who is told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from store import notifications
from store.database import transaction
from tests.services import ValkeyServer
from tests.stack import agent, stack

PATIENCE = 90.0


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes what Apprise's json:// sends: its address, and what came."""
    came: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}/planted-secret-0", came
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_failed_expectation_and_a_killed_worker_are_told(
    valkey: ValkeyServer, empty_broker_url: str, inbox: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    address, came = inbox
    settings = {"OPS_NOTIFY_URL": address, "WORKER_LEASE_SECONDS": "3"}
    with stack(f"sqlite:///{tmp_path / 'ledger.db'}", empty_broker_url, tmp_path, **settings) as running:
        with transaction(running.engine) as tx:
            notifications.add_channel(tx, {"name": "ops", "url_env": "OPS_NOTIFY_URL"})
        config = agent("hello {{ task.name }}", template=True, expect={"contains": "世界"}, notify=["ops"])
        running.insert("greeting", config, run_at="2000-01-01 00:00:00", run_now=1)
        running.insert("long", agent("wait 600", notify=["ops"]), run_at="2000-01-01 00:00:00", run_now=1)
        running.beat()
        worker = running.worker()
        started = "SELECT count(*) FROM task_run WHERE task_name = 'long' AND state = 'STARTED'"
        running.wait_for(lambda: running.count(started), "the long run to start", PATIENCE)
        running.wait_for(lambda: any("greeting" in each["message"] for each in came), "the first to be told", PATIENCE)
        running.kill(worker)
        running.wait_for(lambda: any("worker_lost" in each["message"] for each in came), "the second", PATIENCE)

        run = running.sql("SELECT state, error_kind, error, result, rendered FROM task_run WHERE task_name='greeting'")[
            0
        ]
        logs = "".join(log.read_text() for log in tmp_path.glob("logs/*.log")) + running.tails()

    assert (run.state, run.error_kind, run.result) == ("FAILURE", "expectation", "ok hello greeting")
    assert "expect.contains: '世界' is missing" in run.error
    assert json.loads(run.rendered) == {"message": "hello greeting"}
    assert run.error in " ".join(each["message"] for each in came).replace("\n", " ")
    assert "planted-secret-0" not in logs
