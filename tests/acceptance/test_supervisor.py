"""Every line of the operators' guide, in its order, as a user who is not root, in a folder with a space."""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import psutil
import pytest

from tests.acceptance.workplace import Done, Workplace, as_ordinary_user, workplace
from tests.services import HOST, MariaDBServer, ValkeyServer, free_port

PROGRAMS = (
    "api",
    "celery-beat",
    "celery-worker",
    "celery-worker-packs",
    "celery-worker-urgent",
    "flower",
    "missed-fires",
)
MAIN_LOG = Path("/tmp/supervisord.log")
CTL = "supervisorctl -c supervisord.conf"
BEAT_IS_UP, WORKER_IS_UP = "beat: Starting", " ready."

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def main_log_free() -> Iterator[None]:
    """Have the machine's one main log to oneself; set it aside if it belongs to somebody else."""
    lock = os.open(f"{MAIN_LOG}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        aside = MAIN_LOG.rename(f"{MAIN_LOG}.aside") if MAIN_LOG.exists() and as_ordinary_user() else None
        try:
            yield
        finally:
            if aside:
                MAIN_LOG.unlink(missing_ok=True)
                aside.rename(MAIN_LOG)
    finally:
        os.close(lock)


@pytest.fixture(scope="module")
def copy(mariadb: MariaDBServer, valkey: ValkeyServer) -> Iterator[Workplace]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    settings = {
        "DATABASE_URL": mariadb.create_database(name),
        "CELERY_BROKER_URL": valkey.url,
        "API_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
    }
    with main_log_free(), workplace(settings) as place:
        ok(place.run("python -m store.migrate"))
        yield place
    mariadb.drop_database(name)


@pytest.fixture
def place(copy: Workplace) -> Iterator[Workplace]:
    """The copy with nothing running in it, before the test and after."""
    yield copy
    copy.run(f"{CTL} shutdown", limit=100)
    wait_until_gone(copy)


def wait_until_gone(place: Workplace) -> None:
    """Wait until supervisord and every program have ended."""
    left = [process for process in psutil.process_iter() if works_in(process, place)]
    assert psutil.wait_procs(left, timeout=100)[1] == []


def works_in(process: psutil.Process, place: Workplace) -> bool:
    try:
        return bool(process.cwd() == str(place.folder))
    except psutil.Error:
        return False


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
    for program, log, sign in (
        ("celery-beat", "logs/supervisor_beat.log", BEAT_IS_UP),
        ("celery-worker", "logs/supervisor_worker.log", WORKER_IS_UP),
    ):
        place.run(f"until grep -q '{sign}' {log}; do sleep 0.2; done")
        assert sign in place.run(f"timeout -s INT 3 {CTL} tail -f {program}").output
    assert list(place.folder.glob("logs/celery_????????.log"))
    assert "spawned: 'celery-beat'" in MAIN_LOG.read_text()

    assert "Shut down" in ok(place.run(f"{CTL} shutdown"))
    wait_until_gone(place)


@pytest.mark.parametrize(("program", "sign"), [("run_worker.py", WORKER_IS_UP), ("run_beat.py", BEAT_IS_UP)])
def test_a_program_run_by_hand_says_that_it_is_up_and_stops_on_a_signal(
    place: Workplace, program: str, sign: str
) -> None:
    process = place.start(f"python {program}")
    try:
        assert process.stdout
        said = list(takewhile(lambda line: sign not in line, process.stdout))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, "".join(said) + output


def test_the_supervisor_uses_its_own_python_when_nothing_is_activated(place: Workplace) -> None:
    python = shlex.quote(f"{place.environment['VIRTUAL_ENV']}/bin/python")

    ok(place.run(f"{python} -m supervisor.supervisord -c supervisord.conf", PATH="/usr/bin:/bin", VIRTUAL_ENV=""))
    wait_for(place, "RUNNING", *PROGRAMS)


def test_a_failing_preflight_is_tried_again_ever_more_slowly(place: Workplace) -> None:
    nobody_there = f"mysql+pymysql://nobody:x@{HOST}:{free_port()}/none"
    log = place.folder / "logs" / "supervisor_beat.log"
    before = log.stat().st_size if log.exists() else 0

    ok(place.run("supervisord -c supervisord.conf", DATABASE_URL=nobody_there))
    said = f"tail -c +{before + 1} logs/supervisor_beat.log | grep -c DATABASE_URL"
    place.run(f"until [ $({said}) -ge 2 ]; do sleep 0.2; done; sleep 10")

    tries = log.read_text()[before:].count("DATABASE_URL")
    assert tries <= 6, log.read_text()[before:]
    assert states(place)["celery-beat"] in {"BACKOFF", "STARTING"}
