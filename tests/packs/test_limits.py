"""What a task in a process of its own is promised: limits that stop it, and progress that others see."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.server_process import dies_with_its_parent
from tests.services import ValkeyServer
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PATIENCE = 60.0


@pytest.fixture(scope="module")
def stack(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("limits")
    with valkey.client() as client:
        client.flushall()
    settings = {
        "TASK_PACKS": "trading",
        "TASK_MODULES": "tests.packs.limit_tasks",
        "WORKER_LEASE_SECONDS": "3",
        "PYTHONPATH": str(ROOT),
    }
    with Stack(f"sqlite:///{folder / 'scheduler.db'}", valkey.url, folder, **settings) as running:
        running.beat()
        worker = running.worker("--serve", "packs", "--concurrency", "2")
        yield running
        left = psutil.Process(worker.pid).children(recursive=True) if worker.poll() is None else []
        for child in left:
            child.kill()


def start(stack: Stack, name: str, **more: Any) -> None:
    config = {"task_type": "celery", "task": f"tests.limits.{name}", "queue": "data", **more}
    stack.insert(name, json.dumps(config), crontab="0 0 1 1 *", run_now=1)


def latest(stack: Stack, name: str) -> Any:
    rows = stack.sql("SELECT * FROM task_run WHERE task_name = :name ORDER BY id DESC", name=name)
    return rows[0] if rows else None


def ended(stack: Stack, name: str) -> Any:
    stack.wait_for(
        lambda: (run := latest(stack, name)) and run.state in ("SUCCESS", "FAILURE"), f"{name} to end", PATIENCE
    )
    return latest(stack, name)


def test_a_soft_limit_is_an_exception_that_the_task_may_use_to_keep_what_it_has(stack: Stack) -> None:
    start(stack, "yielding")

    run = ended(stack, "yielding")

    assert (run.state, json.loads(run.result_data)) == ("SUCCESS", {"kept": True})


def test_a_task_that_does_not_know_its_soft_limit_ends_as_timeout(stack: Stack) -> None:
    start(stack, "unaware")

    run = ended(stack, "unaware")

    assert (run.state, run.error_kind) == ("FAILURE", "timeout")
    assert "soft limit" in run.error


def test_a_task_that_ignores_everything_is_ended_with_its_process_and_tried_again(stack: Stack, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    start(stack, "stubborn", kwargs={"pid_file": str(pid_file)}, timeout=1, max_retries=1, retry_backoff=0)
    stack.wait_for(pid_file.exists, "the task to start", PATIENCE)
    first = int(pid_file.read_text())

    run = ended(stack, "stubborn")

    assert (run.state, run.attempt) == ("FAILURE", 2)
    assert run.error_kind in ("worker_lost", "timeout")
    assert int(pid_file.read_text()) != first
    stack.wait_for(lambda: not psutil.pid_exists(int(pid_file.read_text())), "its process to be gone")


def test_progress_is_seen_while_the_task_runs_under_its_older_name_too(stack: Stack, tmp_path: Path) -> None:
    go = tmp_path / "go"
    start(stack, "telling", task="tests.older.telling", kwargs={"go_file": str(go)})
    stack.wait_for(lambda: (run := latest(stack, "telling")) and run.result_data, "its progress", PATIENCE)
    run = latest(stack, "telling")

    with asking(stack, run.id) as client:
        assert json.loads(client.readline()) == ["PROGRESS", {"current": 1, "total": 2, "status": "进行中"}]
        go.touch()
        assert json.loads(client.readline()) == ["SUCCESS", {"run": run.id, "retries": 0}]
    assert json.loads(ended(stack, "telling").result_data) == {"run": run.id, "retries": 0}


def test_a_worker_that_is_told_to_stop_lets_its_tasks_finish(stack: Stack, tmp_path: Path) -> None:
    go = tmp_path / "go"
    start(stack, "finishing", task="tests.limits.telling", kwargs={"go_file": str(go)}, max_retries=1)
    stack.wait_for(lambda: (run := latest(stack, "finishing")) and run.result_data, "its progress", PATIENCE)
    worker = stack.processes[-1]
    children = psutil.Process(worker.pid).children(recursive=True)

    worker.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert latest(stack, "finishing").state == "STARTED"
    go.touch()

    run = ended(stack, "finishing")
    assert (run.state, run.attempt) == ("SUCCESS", 1)
    assert worker.wait(timeout=PATIENCE) == 0
    psutil.wait_procs(children, timeout=PATIENCE)
    assert not any(child.is_running() for child in children)


def test_supervisord_tells_only_the_worker_to_stop_and_not_its_processes() -> None:
    for file in ("conf/celery_worker.conf", "deploy/supervisor/supervisord.conf"):
        conf = RawConfigParser()
        conf.read(ROOT / file)
        assert conf["program:celery-worker-packs"]["stopasgroup"] == "false", file
        assert conf["program:celery-worker-packs"]["killasgroup"] == "true", file


@contextmanager
def asking(stack: Stack, run_id: str) -> Iterator[IO[str]]:
    """Ask as a Celery client does, in a process of its own: now, and once the result is there."""
    script = (
        "import json, sys; from tasks import celery_app\n"
        "found = celery_app.AsyncResult(sys.argv[1])\n"
        "print(json.dumps([found.status, found.info]), flush=True)\n"
        f"found.get(timeout={PATIENCE})\n"
        "print(json.dumps([found.status, found.info]))"
    )
    command = [*dies_with_its_parent("KILL"), sys.executable, "-c", script, run_id]
    with subprocess.Popen(command, cwd=ROOT, env=stack.environment, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        yield client.stdout
    assert client.returncode == 0
