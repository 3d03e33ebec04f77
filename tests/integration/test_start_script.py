"""scripts/start_scheduled_tasks.sh as cron and people call it: from anywhere, in a folder with a space."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import BASE_DIR
from tests.acceptance.workplace import LEFT_OUT
from tests.integration.engine import ENDPOINT, Ledger, migrated


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    shutil.copytree(BASE_DIR, folder, ignore=LEFT_OUT)
    return folder


@pytest.fixture
def installed(project: Path) -> Path:
    (project / ".venv").symlink_to(sys.prefix)
    return project


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = migrated(f"sqlite:///{tmp_path / 'scheduler.db'}")
    yield ledger
    ledger.close()


def environment(ledger: Ledger | None = None, broker_url: str = "", **more: str) -> dict[str, str]:
    places = {"DATABASE_URL": ledger.url, "CELERY_BROKER_URL": broker_url} if ledger else {}
    return {"PATH": os.environ["PATH"], "AGENT_API_BASE_URL": ENDPOINT, "TIMEZONE": "UTC", **places, **more}


def run(project: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    done = subprocess.run(
        [project / "scripts" / "start_scheduled_tasks.sh", *arguments],
        cwd="/",
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("arguments", [("once",), ()])
def test_once_makes_one_pass(installed: Path, ledger: Ledger, empty_broker_url: str, arguments: tuple[str]) -> None:
    task = ledger.insert(run_now=1)

    status, output = run(installed, *arguments, **environment(ledger, empty_broker_url))

    assert (status, ledger.states(task)) == (0, {"QUEUED": 1}), output
    assert "manual 1" in output


def test_daemon_goes_on_until_it_is_told_to_stop(installed: Path, ledger: Ledger, empty_broker_url: str) -> None:
    script = installed / "scripts" / "start_scheduled_tasks.sh"
    with (installed / "out").open("wb") as out:
        daemon = subprocess.Popen(
            [script, "daemon", "0.2"], cwd="/", env=environment(ledger, empty_broker_url), stdout=out, stderr=out
        )
    try:
        for name in ("first", "second"):
            task = ledger.insert(name, run_now=1)
            give_up_at = time.monotonic() + 30
            while not ledger.runs(task):
                assert daemon.poll() is None, (installed / "out").read_text()
                assert time.monotonic() < give_up_at, (installed / "out").read_text()
                time.sleep(0.05)
        command = Path(f"/proc/{daemon.pid}/cmdline").read_bytes().split(b"\0")
        assert command[1:4] == [b"run_beat.py", b"--interval", b"0.2"]  # one process: the signal reaches beat
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_the_exit_code_of_a_failed_check_is_passed_on(installed: Path) -> None:
    status, output = run(installed, "once", **environment(BEAT_POLL_INTERVAL="soon"))

    assert status == 2
    assert "BEAT_POLL_INTERVAL" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("twice",), "'twice' is neither once nor daemon"),
        (("once", "30"), "once takes no further argument, and got: 30"),
        (("daemon", "soon"), "'soon' is no number of seconds"),
        (("daemon", "0"), "'0' is no number of seconds"),
        (("daemon", "-5"), "'-5' is no number of seconds"),
        (("daemon", ""), "'' is no number of seconds"),
        (("daemon", "30", "60"), "daemon takes one number of seconds, and got: 30 60"),
    ],
)
def test_a_wrong_argument_is_told_in_plain_words(project: Path, arguments: tuple[str], words: str) -> None:
    status, output = run(project, *arguments, **environment())

    assert status == 2
    assert words in output
    assert "daemon [seconds]" in output
    assert not (project / ".venv").exists()


def test_a_missing_virtual_environment_is_made_first(project: Path) -> None:
    status, output = run(project, "once", **environment(PYTHON="no-such-python"))

    assert status == 1
    assert "PYTHON=no-such-python was not found" in output
