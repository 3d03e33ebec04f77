"""Every line of the operators' guide, in its order, as a user who is not root, in a folder with a space."""

import os
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.acceptance.workplace import Done, Workplace, as_ordinary_user, workplace
from tests.services import HOST, MariaDBServer, ValkeyServer, free_port

PROGRAMS = ("api", "celery-beat", "celery-worker", "celery-worker-urgent", "flower")
MAIN_LOG = Path("/tmp/supervisord.log")
CTL = "supervisorctl -c supervisord.conf"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def main_log_free() -> Iterator[None]:
    """Set the machine's main log aside if it belongs to somebody else."""
    aside = None
    if MAIN_LOG.exists() and as_ordinary_user():
        aside = MAIN_LOG.rename(f"{MAIN_LOG}.{os.getpid()}")
    try:
        yield
    finally:
        if aside:
            MAIN_LOG.unlink(missing_ok=True)
            aside.rename(MAIN_LOG)


@pytest.fixture(scope="module")
def place(mariadb: MariaDBServer, valkey: ValkeyServer) -> Iterator[Workplace]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    settings = {
        "DATABASE_URL": mariadb.create_database(name),
        "CELERY_BROKER_URL": valkey.url,
        "API_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
    }
    with main_log_free(), workplace(settings) as place:
        migrated = place.run("python -m store.migrate")
        assert migrated.status == 0, migrated.output
        yield place
        place.run(f"{CTL} shutdown", limit=100)
        wait_until_gone(place)
    mariadb.drop_database(name)


def wait_until_gone(place: Workplace) -> None:
    place.run("while [ -e logs/supervisord.pid ]; do sleep 0.1; done", limit=100)


def states(place: Workplace) -> dict[str, str]:
    """Ask for the status; {} while supervisord is down."""
    output = place.run(f"{CTL} status").output
    return dict(re.findall(r"^([\w-]+) +([A-Z]+)\b", output, re.MULTILINE))


def wait_for(place: Workplace, state: str, *programs: str) -> None:
    wanted = " ".join(programs)
    count = len(programs)
    line = f"until [ $({CTL} status {wanted} | grep -c ' {state}') = {count} ]; do sleep 0.3; done"
    try:
        place.run(line, limit=60)
    except subprocess.TimeoutExpired:
        logs = "\n".join(
            f"--- {log.name}\n{log.read_text()[-2000:]}" for log in sorted(place.folder.glob("logs/*.log"))
        )
        pytest.fail(f"not {state} in 60 s: {states(place)}\n{logs}", pytrace=False)


def ok(done: Done) -> str:
    assert done.status == 0, f"$ {done.line}\n{done.output}[exit {done.status}]"
    return done.output


def test_every_supervisor_line_of_the_guide_works_in_its_order(place: Workplace) -> None:
    ok(place.run("pip install -r requirements.txt", limit=200))
    ok(place.run("supervisord -c supervisord.conf"))
    assert set(states(place)) >= set(PROGRAMS)
    ok(place.run(f"{CTL} start all"))
    wait_for(place, "RUNNING", *PROGRAMS)

    ok(place.run(f"{CTL} stop all", limit=100))
    assert {states(place)[name] for name in PROGRAMS} == {"STOPPED"}
    assert "celery-beat: started" in ok(place.run(f"{CTL} start celery-beat"))
    assert "celery-worker: started" in ok(place.run(f"{CTL} start celery-worker"))
    ok(place.run(f"{CTL} start all"))
    wait_for(place, "RUNNING", *PROGRAMS)

    assert "celery-beat: started" in ok(place.run(f"{CTL} restart all", limit=200))
    assert "celery-beat: started" in ok(place.run(f"{CTL} restart celery-beat", limit=100))
    for program in ("celery-beat", "celery-worker"):
        tail = place.run(f"timeout -s INT 2 {CTL} tail -f {program}").output
        assert len(tail.splitlines()) > 1, tail

    assert list(place.folder.glob("logs/celery_????????.log"))
    assert place.read("logs/supervisor_beat.log")
    assert place.read("logs/supervisor_worker.log")
    assert "spawned: 'celery-beat'" in MAIN_LOG.read_text()

    assert "Shut down" in ok(place.run(f"{CTL} shutdown"))
    wait_until_gone(place)
    assert processes_in(place) == []


def test_both_programs_run_by_hand_and_stop_on_a_signal(place: Workplace) -> None:
    for program in ("run_worker.py", "run_beat.py"):
        process = place.start(f"python {program}")
        try:
            with pytest.raises(subprocess.TimeoutExpired):  # it goes on: no preflight failure, no crash
                process.communicate(timeout=6)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, output


def test_the_supervisor_uses_its_own_python_when_nothing_is_activated(place: Workplace) -> None:
    python = shlex.quote(f"{place.environment['VIRTUAL_ENV']}/bin/python")

    ok(place.run(f"{python} -m supervisor.supervisord -c supervisord.conf", PATH="/usr/bin:/bin", VIRTUAL_ENV=""))
    wait_for(place, "RUNNING", *PROGRAMS)

    ok(place.run(f"{CTL} shutdown"))
    wait_until_gone(place)


def test_a_failing_preflight_is_tried_again_ever_more_slowly(place: Workplace) -> None:
    nobody_there = f"mysql+pymysql://nobody:x@{HOST}:{free_port()}/none"
    log = place.folder / "logs" / "supervisor_beat.log"
    before = log.stat().st_size if log.exists() else 0

    ok(place.run("supervisord -c supervisord.conf", DATABASE_URL=nobody_there))
    wait_for(place, "BACKOFF", "celery-beat")
    place.run("sleep 12")

    said = log.read_text()[before:]
    lines = [line for line in said.splitlines() if "DATABASE_URL" in line or "database" in line.lower()]
    assert 1 <= len(lines) <= 6, said
    assert states(place)["celery-beat"] in {"BACKOFF", "STARTING"}
    ok(place.run(f"{CTL} shutdown"))
    wait_until_gone(place)


def processes_in(place: Workplace) -> list[list[str]]:
    """List what still runs with the workplace as its working directory."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process.info["cmdline"] for process in found if process.info["cwd"] == str(place.folder)]
