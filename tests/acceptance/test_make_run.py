"""The two commands a newcomer types first, in a folder with a space, as a user who is not root."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pymysql
import pytest

from config import EMBEDDED_BROKER_PORT
from tests.acceptance.workplace import Done, Workplace, as_ordinary_user, ordinary_python, workplace
from tests.services import HOST, MariaDBServer, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[Workplace]:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, EMBEDDED_BROKER_PORT)) == 0:
            pytest.fail(f"port {EMBEDDED_BROKER_PORT} is taken: is a `make run` going on here? `make stop` ends it")
    settings = {"API_PORT": str(free_port()), "DEMO_AGENT_PORT": str(free_port())}
    with workplace(settings) as place:
        yield place
        place.run("make stop", limit=150)
        assert processes_in(place) == []


def processes_in(place: Workplace) -> list[list[str]]:
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process.info["cmdline"] for process in found if process.info["cwd"] == str(place.folder)]


def ok(done: Done) -> str:
    assert done.status == 0, f"$ {done.line}\n{done.output}[exit {done.status}]"
    return done.output


@contextmanager
def listening(port: int) -> Iterator[int]:
    """Somebody else's program on that port; its pid."""
    program = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); s.accept()"
    command = [*as_ordinary_user(), ordinary_python(), "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_make_run_shows_real_results_and_make_stop_leaves_nothing(place: Workplace) -> None:
    first = ok(place.run("make run", limit=150))
    for task in ("sample agent", "sample workflow", "sample http"):
        assert re.search(rf"^ *{task} +SUCCESS +\d+\.\d s +\S", first, re.MULTILINE), first
    assert "\x1b" not in first
    assert "\r" not in first
    assert f"Console   http://127.0.0.1:{place.settings['API_PORT']}/" in first
    assert re.search(r"^Login     admin, password \S{20,}$", first, re.MULTILINE)

    curl = re.search(r"^API +(curl .*)$", first, re.MULTILINE)
    assert curl
    assert "sample" in ok(place.run(f"{curl[1]} --fail --silent"))

    again = ok(place.run("make run", limit=150))
    assert "Already running" in again
    assert again.count("SUCCESS") == 3
    assert ok(place.run("make status")).count("RUNNING") == 6

    assert "Stopped." in ok(place.run("make stop", limit=150))
    assert processes_in(place) == []
    assert "Nothing was running." in ok(place.run("make stop"))

    assert ok(place.run("make run", limit=150)).count("SUCCESS") == 3


def test_make_stop_ends_what_a_killed_supervisord_left_behind(place: Workplace) -> None:
    ok(place.run("make run", limit=150))

    psutil.Process(int(place.read("data/embedded/supervisord.pid"))).kill()
    assert processes_in(place) != []

    ok(place.run("make stop", limit=150))
    assert processes_in(place) == []


@pytest.mark.parametrize("name", ["API_PORT", "DEMO_AGENT_PORT"])
def test_whoever_holds_a_port_is_named_and_nothing_is_started(place: Workplace, name: str) -> None:
    port = place.settings[name]
    with listening(int(port)) as pid:
        done = place.run("make run")

    assert done.status != 0
    assert re.search(rf"Port {port} .* is held by python\S* .*\(pid {pid}\)", done.output), done.output
    assert f"make run {name}={int(port) + 1}" in done.output
    assert processes_in(place) == []


def test_a_database_of_ones_own_is_neither_migrated_nor_given_sample_rows(
    place: Workplace, mariadb: MariaDBServer
) -> None:
    place.settings["DATABASE_URL"] = mariadb.create_database("untouched")

    done = place.run("make run", limit=100)

    assert done.status != 0
    assert "make migrate" in done.output
    assert processes_in(place) == []
    with pymysql.connect(unix_socket=str(mariadb.socket), user="root", database="untouched") as connection:
        assert connection.cursor().execute("SHOW TABLES") == 0

    ok(place.run("make migrate"))
    assert "sample" not in ok(place.run("make run", limit=100))
    mariadb.drop_database("untouched")
