"""`python -m scripts.health`: what a container's health check is told, and by which exit code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from config import BASE_DIR, get_settings
from scripts import health
from store import leases, migrate, missed_fires
from store.database import transaction
from store.missed_fires import Sight
from tests.integration.engine import Ledger
from tests.services import free_port


@pytest.fixture
def ledger(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    ledger = Ledger(empty_database_url)
    migrate.upgrade(ledger.engine)
    with transaction(ledger.engine) as tx:
        for node in ("worker-0a1b2c@h1#x1", "urgent-0a1b2c@h2#x2"):
            leases.register_worker(tx, node, pid=1, queues="system", concurrency=1, lease=timedelta(seconds=30))
        leases.beat_alive(tx, "h1:7:abc")
        missed_fires.note(tx, Sight(0, [], None))
    settings = get_settings().model_copy(update={"database_url": empty_database_url})
    monkeypatch.setattr(health, "get_settings", lambda: settings)
    yield ledger
    ledger.close()


WELL: Final = {
    "worker --host h1": True,
    "worker --host h2": True,
    "worker --host h2 --name urgent": True,
    "worker --host h1 --name urgent": False,
    "worker --host h": False,
    "beat --host h1": True,
    "beat --host h2": False,
    "missed-fires": True,
}


def test_each_process_is_judged_by_what_the_database_knows_of_its_host(ledger: Ledger) -> None:
    assert {given: health.main(given.split()) == 0 for given in WELL} == WELL


def test_a_sign_of_life_that_is_too_old_is_none(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    before = ledger.now().replace(tzinfo=None) - timedelta(seconds=70)
    for change in ("worker_lease SET expires_at", "beat_heartbeat SET last_tick_at", "scheduler_state SET update_time"):
        ledger.sql(f"UPDATE {change} = :before", before=before)

    for given in ("worker --host h1", "beat --host h1", "missed-fires"):
        assert health.main([*given.split(), "--live"]) == 1  # the database answers: this is the process's fault
        assert capsys.readouterr().err.startswith("not well: "), given


def test_the_newest_of_several_beats_of_a_host_counts(ledger: Ledger) -> None:
    with transaction(ledger.engine) as tx:
        leases.beat_alive(tx, "h1:8:def")
    ledger.sql("UPDATE beat_heartbeat SET last_tick_at = '2026-01-01' WHERE id = 'h1:7:abc'")

    assert health.main(["beat", "--host", "h1"]) == 0


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "scripts.health", *arguments],
        cwd=BASE_DIR, env={"PATH": os.defpath, **settings}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_database_that_is_away_fails_a_check_and_no_liveness_probe() -> None:
    away = {"DATABASE_URL": f"mysql://agent_run:s3cret@127.0.0.1:{free_port()}/agent_scheduler"}

    strict, live = run("worker", **away), run("worker", "--live", **away)

    assert (strict.returncode, live.returncode) == (1, 0)
    assert strict.stderr.startswith("unknown: the database cannot be reached")
    assert "s3cret" not in strict.stderr + live.stderr


def test_a_wrong_setting_is_said_and_no_check_is_well(tmp_path: Path) -> None:
    done = run("beat", "--live", DATABASE_URL_FILE=str(tmp_path / "none"))

    assert done.returncode == 1
    assert "DATABASE_URL_FILE: its file cannot be read" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_server_is_asked_over_http_without_any_proxy(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        settings = get_settings().model_copy(update={"api_host": "0.0.0.0", "api_port": server.server_address[1]})
        monkeypatch.setattr(health, "get_settings", lambda: settings)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        try:
            assert health.main(["api"]) == code
        finally:
            server.shutdown()
            thread.join()


def test_nobody_listening_is_not_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = get_settings().model_copy(update={"api_host": "::", "api_port": free_port()})
    monkeypatch.setattr(health, "get_settings", lambda: settings)

    assert health.main(["api"]) == 1
    assert "not well: http://[::1]:" in capsys.readouterr().err
