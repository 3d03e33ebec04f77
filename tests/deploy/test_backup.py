"""docs/operate/backup.md: a dump goes into an empty database, and the scheduler goes on from it in both ways."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from config import BASE_DIR
from core.lifecycle import State
from store import migrate
from tests.integration.engine import Ledger, agent, beat_on
from tests.services import MariaDBServer

PAGE: Final = (BASE_DIR / "docs" / "operate" / "backup.md").read_text(encoding="utf-8")
GAP: Final = timedelta(minutes=5)  # between the backup and the restore; rows run each minute
DUMP: Final = "mariadb-dump --single-transaction --quick --routines --triggers --hex-blob agent_scheduler"


@pytest.fixture
def dump(mariadb: MariaDBServer, tmp_path: Path) -> Path:
    """A backup made GAP ago: a row of each catch_up, one run done and one active."""
    ledger = Ledger(mariadb.create_database("backed_up"))
    migrate.upgrade(ledger.engine)
    ledger.insert("日报", crontab="* * * * *", catch_up="all", overlap="allow", task_extra_config=agent("写日报"))
    ledger.insert("latest", crontab="* * * * *", catch_up="latest", task_extra_config=agent())
    ledger.insert("none", crontab="* * * * *", catch_up="none", task_extra_config=agent())
    arm(ledger)
    ledger.sql("UPDATE periodic_task SET next_run_at = :then", then=ledger.now().replace(second=0, microsecond=0) - GAP)
    ledger.add_run(State.SUCCESS, task_name="done", periodic_task_id=None, result="已完成")
    ledger.add_run(State.QUEUED, task_name="waits", periodic_task_id=None)
    file = tmp_path / "backup.sql"
    with file.open("wb") as out:
        client = [f"--socket={mariadb.socket}", "--user=root"]
        program, *options = DUMP.replace("agent_scheduler", "backed_up").split()
        subprocess.run([program, "--no-defaults", *client, *options], stdout=out, check=True)
    ledger.close()
    mariadb.drop_database("backed_up")
    return file


def arm(ledger: Ledger) -> None:
    beat = beat_on(ledger)
    while beat.arm():
        pass
    beat.close()


@pytest.fixture
def restored(mariadb: MariaDBServer, dump: Path) -> Iterator[Ledger]:
    ledger = Ledger(mariadb.create_database("restored"))
    with dump.open("rb") as backup:
        client = ["mariadb", "--no-defaults", f"--socket={mariadb.socket}", "--user=root", "restored"]
        subprocess.run(client, stdin=backup, check=True)
    yield ledger
    ledger.close()
    mariadb.drop_database("restored")


def one_pass(ledger: Ledger, broker_url: str, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "run_beat.py", "--once", *options],
        cwd=BASE_DIR,
        env={
            "PATH": os.defpath, "DATABASE_URL": ledger.url, "CELERY_BROKER_URL": broker_url,
            "LOG_DIR": str(folder), "TIMEZONE": "UTC",
        },
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(ledger: Ledger, name: str) -> dict[str, int]:
    """How often a row's runs are in each state, a row of many skipped moments counted as those it names."""
    found: dict[str, int] = {}
    for run in ledger.sql("SELECT state, result_data FROM task_run WHERE task_name = :name", name=name):
        found[run.state] = found.get(run.state, 0) + 1
    return found


@pytest.mark.slow
def test_without_skip_missed_each_row_owes_what_its_catch_up_says(
    restored: Ledger, empty_broker_url: str, tmp_path: Path
) -> None:
    one_pass(restored, empty_broker_url, tmp_path)

    assert told(restored, "日报").keys() == {"QUEUED"}
    assert told(restored, "日报")["QUEUED"] in (6, 7, 8)  # each minute of the gap, both ends included
    assert told(restored, "latest")["QUEUED"] == 1
    assert told(restored, "none").get("QUEUED", 0) <= 1  # the last one may be on time
    assert told(restored, "latest")["SKIPPED"] >= 5
    goes_on(restored, empty_broker_url, tmp_path)


@pytest.mark.slow
def test_with_skip_missed_nothing_of_the_gap_runs_and_each_moment_says_why(
    restored: Ledger, empty_broker_url: str, tmp_path: Path
) -> None:
    one_pass(restored, empty_broker_url, tmp_path, "--skip-missed")

    for name in ("日报", "latest", "none"):
        assert told(restored, name).keys() == {"SKIPPED"}
        assert told(restored, name)["SKIPPED"] in (6, 7, 8)
    reasons = restored.sql("SELECT DISTINCT error FROM task_run WHERE state = 'SKIPPED'")
    assert [row.error for row in reasons] == ["--skip-missed: due before beat started"]
    goes_on(restored, empty_broker_url, tmp_path)


def goes_on(ledger: Ledger, broker_url: str, folder: Path) -> None:
    """The history is there, what waited is sent, edits are noticed, and the next moment fires."""
    assert ledger.value("SELECT result FROM task_run WHERE task_name = 'done'") == "已完成"
    assert ledger.value("SELECT count(*) FROM periodic_task WHERE next_run_at > UTC_TIMESTAMP(6)") == 3
    before = ledger.value("SELECT update_time FROM periodic_task WHERE name = '日报'")
    ledger.sql("UPDATE periodic_task SET description = '恢复' WHERE name = '日报'")
    assert ledger.value("SELECT update_time FROM periodic_task WHERE name = '日报'") > before, "the trigger is gone"
    assert ledger.value("SELECT count(*) FROM periodic_task_local") == 3

    due = ledger.now().replace(microsecond=0) - timedelta(seconds=1)  # counted alone: a whole minute may pass meanwhile
    ledger.sql("UPDATE periodic_task SET next_run_at = :due WHERE name = '日报'", due=due)
    one_pass(ledger, broker_url, folder)
    fired = "SELECT count(*) FROM task_run WHERE task_name = '日报' AND state = 'QUEUED' AND scheduled_for = :due"
    assert ledger.value(fired, due=due) == 1


def test_the_page_names_the_dump_that_is_tested() -> None:
    assert DUMP.removesuffix(" agent_scheduler") in PAGE
