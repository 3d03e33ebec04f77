"""scripts/start-scheduler.sh: from nothing to seven running programs and fifteen rows, as often as it is called."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import BASE_DIR
from tests.acceptance.test_supervisor import main_log_free
from tests.acceptance.workplace import LEFT_OUT
from tests.integration.engine import Ledger
from tests.services import ValkeyServer, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("s") / "a desk"
    shutil.copytree(BASE_DIR, folder, ignore=LEFT_OUT)
    (folder / ".venv").symlink_to(sys.prefix)
    with main_log_free():
        yield folder


def run(project: Path, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": str(project), "LANG": "C.UTF-8", **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_it_starts_everything_and_may_be_called_again(project: Path, valkey: ValkeyServer) -> None:
    settings = {
        "DATABASE_URL": database_of(project),
        "REDIS_URL": valkey.url,
        "API_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
    }
    script = str(project / "scripts" / "start-scheduler.sh")
    try:
        first = run(project, script, **settings)
        second = run(project, script, **settings)

        assert first.returncode == 0, first.stdout + first.stderr
        assert "trading: 15 " in first.stdout
        assert first.stdout.count("RUNNING") == 7
        assert f":{settings['API_PORT']}/" in first.stdout
        assert second.returncode == 0, second.stdout + second.stderr
        assert "supervisord is running already" in second.stdout
        assert "trading: 15 unchanged" in second.stdout
        ledger = Ledger(settings["DATABASE_URL"])
        rows = ledger.sql("SELECT task_extra_config, config_error FROM periodic_task WHERE next_run_at IS NOT NULL")
        served = {name for row in ledger.sql("SELECT queues FROM worker_lease") for name in row.queues.split(",")}
        ledger.close()
        assert [row.config_error for row in rows] == [None] * 15
        assert {json.loads(row.task_extra_config)["queue"] for row in rows} <= served
    finally:
        supervisorctl = ("-m", "supervisor.supervisorctl", "-c", str(project / "supervisord.conf"))
        run(project, sys.executable, *supervisorctl, "shutdown")
        wait_until_gone(project / "logs" / "supervisord.pid")


def wait_until_gone(file: Path) -> None:
    give_up_at = time.monotonic() + 60
    while file.exists():
        assert time.monotonic() < give_up_at, f"{file} is still there"
        time.sleep(0.1)


def database_of(project: Path) -> str:
    """Name the database of both tests: whichever comes first makes it."""
    return f"sqlite:///{project}/data/desk.db"


def test_a_broker_that_is_away_is_told_before_anything_starts(project: Path) -> None:
    done = run(
        project,
        str(project / "scripts" / "start-scheduler.sh"),
        DATABASE_URL=database_of(project),
        REDIS_URL="redis://127.0.0.1:9/0",
    )

    assert done.returncode == 2
    assert "REDIS_URL: redis://127.0.0.1:9/0 cannot be reached" in done.stderr
    assert "trading: 15 " in done.stdout
    assert not (project / "logs" / "supervisord.pid").exists()
