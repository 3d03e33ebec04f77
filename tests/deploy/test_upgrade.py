"""From the release before to this one under load: the schema first, then one process after the other."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config import BASE_DIR
from store import leases, migrate, notices
from store.database import transaction
from tests.acceptance.api_process import NOWHERE
from tests.faults.test_upgrades import active, assert_every_moment_has_one_run, end, finished, insert_rows
from tests.project_copy import copy_project
from tests.server_process import dies_with_its_parent, free_port
from tests.services import MariaDBServer
from tests.stack import Stack, agent

ROWS, MOMENTS = 40, 20


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", BASE_DIR, *arguments], check=True, capture_output=True).stdout


def commit_before_this_schema() -> str:
    """Name the newest commit without the newest migration."""
    revision = migrate.newest_revision()
    (newest,) = [file.name for file in (BASE_DIR / "migrations" / "versions").glob(f"{revision}*.py")]
    added = git("log", "-1", "--diff-filter=A", "--format=%H", "--", f"migrations/versions/{newest}").decode().strip()
    return f"{added}^" if added else "HEAD"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release before, as files."""
    folder = tmp_path_factory.mktemp("older")
    try:
        packed = git("archive", commit_before_this_schema())
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy has no history: no release before to upgrade from")
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture
def stack(mariadb: MariaDBServer, empty_broker_url: str, older: Path, tmp_path: Path) -> Iterator[Stack]:
    """A stack on the older schema, made by the older release."""
    stack = Stack(mariadb.create_database("upgraded"), empty_broker_url, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "store.migrate"],
        cwd=older,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with stack:
        yield stack
    mariadb.drop_database("upgraded")


def start_older(stack: Stack, older: Path, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    with (stack.folder / f"older-{name}.out").open("ab") as out:
        process = subprocess.Popen(
            [*dies_with_its_parent("KILL"), sys.executable, *arguments],
            cwd=older, env=stack.environment, stdout=out, stderr=out,
        )  # fmt: skip
    stack.processes.append(process)
    return process


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_upgrade_under_load_loses_and_doubles_nothing(stack: Stack, older: Path) -> None:
    """Old and new run side by side on the new schema, as the page says they may."""
    insert_rows(stack, ROWS, agent("wait 0.3"), max_runs=MOMENTS)
    beat = start_older(stack, older, "beat", "run_beat.py")
    worker = start_older(stack, older, "worker", "run_worker.py", "--concurrency", "40")
    stack.wait_for(lambda: stack.states()["SUCCESS"] >= ROWS, "answers of the release before", 90)
    before = migrate.current_revision(stack.engine)

    migrated = stack.start("migrate", "-m", "store.migrate")
    assert migrated.wait(150) == 0, stack.tails()
    stack.processes.remove(migrated)
    assert migrate.current_revision(stack.engine) == migrate.newest_revision() != before
    done = stack.states()["SUCCESS"]
    stack.wait_for(lambda: stack.states()["SUCCESS"] > done + ROWS, "answers of it on the new schema", 60)
    stack.beat()
    end(stack, beat)
    stack.worker("--concurrency", "40")
    end(stack, worker)

    stack.wait_for(lambda: not active(stack) and finished(stack, ROWS), "the last runs", 120)
    assert_every_moment_has_one_run(stack, ROWS)
    assert stack.states() == {"SUCCESS": ROWS * MOMENTS}


@pytest.mark.timeout(60)
def test_an_api_goes_on_while_a_later_versions_files_take_the_place_of_its_own(tmp_path: Path) -> None:
    """A later migration imports what this version's running code does not have."""
    folder = copy_project(tmp_path / "project", "store", "migrations")
    stack = Stack(f"sqlite:///{tmp_path}/s.db", NOWHERE, tmp_path)
    migrate.upgrade(stack.engine)
    port = free_port()
    stack.environment |= {"API_PORT": str(port), "PYTHONPATH": str(folder)}
    with stack:
        start_older(stack, folder, "api", "-m", "api")
        stack.wait_for(lambda: standing(port, "schema") == "ok", "the API", 40)

        (folder / "migrations" / "versions" / "9999_later.py").write_text("from column_types import Later\n")
        stack.sql("UPDATE alembic_version SET version_num = '9999'")
        assert standing(port, "schema") == "degraded"

        with transaction(stack.engine) as tx:
            leases.write_state(tx, notices.HELD, '{"rows": 1, "in_later_words": true}')
        assert standing(port, "locks") == "unknown"


def standing(port: int, name: str) -> str | None:
    """Say how a check of `/health/ready` stands; None while nobody listens."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=10)
    except httpx.TransportError:
        return None
    assert answer.status_code == 503, answer.text  # for want of a broker
    return str(next(check for check in answer.json()["checks"] if check["name"] == name)["state"])
