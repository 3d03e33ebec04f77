"""Workers as real processes under faults: no finished call is lost, none is made twice, and every stop is bounded."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import make_url

from store.database import connect
from tests.faults.proxy import Mode, Proxy
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import ROOT, Stack, agent

NEVER = "0 0 1 1 *"
LEASE = {"WORKER_LEASE_SECONDS": "3"}
AGENT_KEY = "sk-only-in-the-environment"
BUSY = 5  # seconds that a busy machine may add to a promised time; what breaks the promise adds far more

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def database() -> Iterator[MariaDBServer]:
    """A server of this test's own: it is stopped, frozen and reconfigured."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def new_stack(database: MariaDBServer, broker: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes the stack of a test, with settings of its own, on an account without rights over the server."""
    made: list[Stack] = []

    def new(broker_url: str = broker.url, port: int = database.port, **settings: str) -> Stack:
        url = make_url(database.create_database("ledger"))
        with database.cursor() as cursor:
            cursor.execute("CREATE USER plain@'%' IDENTIFIED BY 'plain'")
            cursor.execute("GRANT ALL ON ledger.* TO plain@'%'")
        url = url.set(username="plain", password="plain", port=port)
        stack = Stack(url.render_as_string(False), broker_url, tmp_path, AGENT_API_KEY=AGENT_KEY, **settings)
        made.append(stack)
        return stack.__enter__()

    yield new
    for stack in made:
        stack.close()


def ask(stack: Stack, name: str, message: str, **config: Any) -> None:
    """Insert a row that runs once, now."""
    stack.insert(name, agent(message, **config), run_now=1, crontab=NEVER)


def wait_for_calls(stack: Stack, count: int) -> None:
    stack.wait_for(lambda: stack.agent_log.exists() and sum(stack.calls().values()) >= count, f"{count} calls")


def run_of(stack: Stack, name: str) -> Any:
    (row,) = stack.sql("SELECT * FROM task_run WHERE task_name = :name", name=name)
    return row


def kept_files(stack: Stack) -> list[Path]:
    return list((stack.folder / "logs" / "unwritten").glob("*"))


def output(stack: Stack, name: str = "worker") -> str:
    return (stack.folder / f"{name}.out").read_text(errors="replace")


def wait_for_end(process: "subprocess.Popen[bytes]", seconds: float) -> float:
    """Wait until a process has ended; return how long that took."""
    started = time.monotonic()
    process.wait(seconds)
    return time.monotonic() - started


def children_of(pid: int) -> list[Path]:
    """The folders in /proc of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(stat.parent)
    return found


# -- outcomes that cannot be written ----------------------------------------------------------------


@pytest.mark.slow
def test_an_answer_that_came_during_an_outage_is_written_by_the_next_process(
    database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack()
    stack.beat()
    worker = stack.worker()
    ask(stack, "kept", "wait 2")
    wait_for_calls(stack, 1)

    database.kill()
    stack.wait_for(lambda: kept_files(stack), "the answer on disk")
    stack.kill(worker)
    (file,) = kept_files(stack)
    assert file.stat().st_mode & 0o777 == 0o600
    assert AGENT_KEY not in file.read_text()
    assert "plain:plain" not in file.read_text()
    database.start()
    stack.worker()

    stack.wait_for(lambda: stack.states() == {"SUCCESS": 1}, "the answer in the ledger")
    assert (run_of(stack, "kept").result, run_of(stack, "kept").attempt) == ("ok wait 2", 1)
    assert set(stack.calls().values()) == {1}
    stack.wait_for(lambda: not kept_files(stack), "the file to go")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["read-only", "locked"])
def test_an_answer_waits_while_the_ledger_refuses_it_and_is_written_then(
    fault: str, database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack()
    stack.beat()
    stack.worker()
    ask(stack, "waits", "wait 1.5")
    wait_for_calls(stack, 1)

    with database.cursor() as cursor:
        if fault == "read-only":
            cursor.execute("SET GLOBAL read_only = 1")
        else:
            cursor.execute("BEGIN")
            cursor.execute("SELECT id FROM ledger.task_run FOR UPDATE")
        stack.wait_for(lambda: kept_files(stack), "the answer on disk")
        cursor.execute("SET GLOBAL read_only = 0" if fault == "read-only" else "ROLLBACK")

    stack.wait_for(lambda: stack.states() == {"SUCCESS": 1}, "the answer in the ledger")
    assert set(stack.calls().values()) == {1}
    stack.wait_for(lambda: not kept_files(stack), "the file to go")


@contextmanager
def server_that_answers(body: bytes) -> Iterator[str]:
    """An HTTP server whose every answer is `body`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.slow
def test_an_answer_larger_than_a_packet_may_be_fails_and_says_what_to_change(
    database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack(HTTP_ALLOWED_HOSTS="127.0.0.1")
    with database.cursor() as cursor:
        cursor.execute("SET GLOBAL max_allowed_packet = 1048576")
    stack.beat()
    stack.worker()

    with server_that_answers(b"x" * 3_000_000) as url:
        config = json.dumps({"task_type": "http", "url": url, "method": "GET", "max_retries": 3})
        stack.insert("large", config, run_now=1, crontab=NEVER)
        stack.wait_for(lambda: stack.states() == {"FAILURE": 1}, "an honest end")

    run = run_of(stack, "large")
    assert run.error_kind == "config"
    assert "max_allowed_packet" in run.error
    assert "RESULT_MAX_BYTES" in run.error
    stack.wait_for(lambda: not kept_files(stack), "the file to go")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["frozen", "stopped"])
def test_an_outage_longer_than_a_lease_and_the_calls_fails_no_healthy_run(
    fault: str, database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack(**LEASE)
    stack.beat()
    stack.beat()
    stack.worker()
    for n in range(20):
        ask(stack, f"n{n}", "wait 4", timeout=5)
    wait_for_calls(stack, 20)

    if fault == "frozen":
        database.freeze()
    else:
        database.kill()
    time.sleep(7 if fault == "frozen" else 24)  # longer than a lease; and than rescue's grace after the deadline
    if fault == "frozen":
        database.thaw()
    else:
        database.start()

    stack.wait_for(lambda: stack.states() == {"SUCCESS": 20}, "every answer", 30)
    assert set(stack.calls().values()) == {1}
    assert {row.attempt for row in stack.sql("SELECT attempt FROM task_run")} == {1}


@pytest.mark.slow
def test_a_half_open_database_connection_costs_no_run(database: MariaDBServer, new_stack: Callable[..., Stack]) -> None:
    with Proxy() as proxy:
        port = proxy.port(database.port)
        stack = new_stack(port=port.number, WORKER_LEASE_SECONDS="10")
        direct = make_url(stack.database_url).set(port=database.port).render_as_string(False)
        stack.environment["DATABASE_URL"] = direct
        stack.beat()
        stack.environment["DATABASE_URL"] = stack.database_url
        stack.worker()
        ask(stack, "kept", "wait 2")
        wait_for_calls(stack, 1)

        time.sleep(1)
        port.set(Mode.BLACK_HOLE)  # the lease is renewed and the answer written into the void
        time.sleep(2)
        port.set(Mode.PASS)  # what is half-open stays so, new connections get through

        with connect(direct).connect() as connection:  # the stack's own connection is half-open too
            answered = "SELECT count(*) FROM task_run WHERE state = 'SUCCESS'"
            leased = "SELECT count(*) FROM worker_lease WHERE expires_at > UTC_TIMESTAMP(6)"
            stack.wait_for(lambda: connection.exec_driver_sql(answered).scalar_one(), "the answer", 30)
            stack.wait_for(lambda: connection.exec_driver_sql(leased).scalar_one(), "the lease", 5)
        assert set(stack.calls().values()) == {1}
        assert "judged dead" not in output(stack)


# -- a worker that comes back -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_late_answer_of_a_worker_that_was_frozen_is_refused(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(**LEASE)
    stack.beat()
    frozen = stack.worker("--concurrency", "1", "--name", "frozen")
    ask(stack, "late", "wait 1", max_retries=1)
    wait_for_calls(stack, 1)

    frozen.send_signal(signal.SIGSTOP)
    healthy = stack.start("other", "run_worker.py", "--name", "other")
    stack.wait_for(lambda: stack.states() == {"SUCCESS": 1}, "the second attempt", 40)
    before = run_of(stack, "late")
    frozen.send_signal(signal.SIGCONT)

    stack.wait_for(lambda: "was judged dead" in output(stack), "the first worker to notice")
    new_lease = "SELECT count(*) FROM worker_lease WHERE pid = :pid"
    stack.wait_for(lambda: stack.count(new_lease, pid=frozen.pid), "its new id")
    stack.wait_for(lambda: "is refused" in output(stack) or " cut " in output(stack), "the late end")
    assert run_of(stack, "late") == before
    assert (before.attempt, set(stack.calls().values())) == (2, {2})
    ask(stack, "next", "quick")
    stack.kill(healthy)
    stack.wait_for(lambda: stack.states("next") == {"SUCCESS": 1}, "the first worker at work again", 40)


# -- the end of a worker ----------------------------------------------------------------------------


@pytest.mark.slow
def test_sigterm_lets_calls_end_hands_over_the_rest_and_leaves_nothing_behind(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(DRAIN_SECONDS="3")
    stack.beat()
    worker = stack.worker()
    ask(stack, "short", "wait 2")
    ask(stack, "long", "wait 600", timeout=900)
    ask(stack, "again", "wait 601", timeout=900, max_retries=1)
    wait_for_calls(stack, 3)

    worker.send_signal(signal.SIGTERM)
    took = wait_for_end(worker, 40)

    assert 3 <= took < 12 + BUSY
    assert stack.states("short") == {"SUCCESS": 1}
    assert stack.states("long") == {"FAILURE": 1}
    assert run_of(stack, "long").error_kind == "worker_lost"
    assert stack.states("again") in ({"RETRY": 1}, {"QUEUED": 1})
    assert stack.count("SELECT count(*) FROM worker_lease") == 0


@pytest.mark.slow
def test_a_stop_waits_a_moment_for_the_ledger_to_hand_over(
    database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack(DRAIN_SECONDS="2")
    stack.beat()
    worker = stack.worker()
    ask(stack, "long", "wait 600", timeout=900)
    wait_for_calls(stack, 1)

    database.kill()
    worker.send_signal(signal.SIGTERM)
    time.sleep(3.5)
    database.start()
    took = wait_for_end(worker, 40)

    assert took < 11 + BUSY
    assert "its worker was stopped" in run_of(stack, "long").error


@pytest.mark.slow
@pytest.mark.parametrize("ledger", ["there", "frozen"])
def test_a_second_sigterm_ends_a_worker_within_two_seconds(
    ledger: str, database: MariaDBServer, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack()
    stack.beat()
    worker = stack.worker()
    for n in range(5):
        ask(stack, f"long{n}", "wait 600", timeout=900)
    wait_for_calls(stack, 5)

    worker.send_signal(signal.SIGTERM)
    stack.wait_for(lambda: "Warm shutdown" in output(stack), "the first signal to arrive")
    time.sleep(0.5)
    if ledger == "frozen":
        database.freeze()
    worker.send_signal(signal.SIGTERM)
    took = wait_for_end(worker, 40)
    database.thaw()

    assert took < 2 + BUSY
    if ledger == "there":
        assert stack.states() == {"FAILURE": 5}


@pytest.mark.slow
def test_a_stop_does_not_wait_for_code_that_nothing_can_stop(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    module = (
        "import time\nfrom celery import shared_task\n\n@shared_task(name='stuck')\ndef stuck():\n    time.sleep(600)\n"
    )
    (tmp_path / "stuck_tasks.py").write_text(module)
    stack = new_stack(TASK_MODULES="stuck_tasks", PYTHONPATH=str(tmp_path), DRAIN_SECONDS="1")
    stack.beat()
    worker = stack.worker()
    stack.insert("stuck", json.dumps({"task_type": "celery", "task": "stuck"}), run_now=1, crontab=NEVER)
    stack.wait_for(lambda: stack.states() == {"STARTED": 1}, "the run to start")

    worker.send_signal(signal.SIGTERM)
    took = wait_for_end(worker, 40)

    assert took < 11 + BUSY
    assert run_of(stack, "stuck").error_kind == "worker_lost"


# -- memory -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_out_of_memory_leaves_no_run_started_for_ever(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    module = (
        "import resource\nfrom celery import shared_task\n\n@shared_task(name='greedy')\ndef greedy():\n"
        "    return len('x' * 2_000_000_000)\n"
    )
    (tmp_path / "greedy_tasks.py").write_text(module)
    stack = new_stack(TASK_MODULES="greedy_tasks", PYTHONPATH=str(tmp_path), **LEASE)
    stack.beat()
    worker = stack.worker("--concurrency", "8")
    size = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    subprocess.run(["prlimit", f"--pid={worker.pid}", f"--as={size + 300_000_000}"], check=True)

    stack.insert("greedy", json.dumps({"task_type": "celery", "task": "greedy"}), run_now=1, crontab=NEVER)
    stack.wait_for(lambda: stack.states("greedy") == {"FAILURE": 1}, "an end")
    subprocess.run(["prlimit", f"--pid={worker.pid}", f"--as={size // 2}"], check=True)
    for n in range(30):
        ask(stack, f"n{n}", "wait 0.1", timeout=5)

    def is_over() -> bool:
        if worker.poll() is not None and len(stack.processes) == 3:
            stack.start("worker2", "run_worker.py")
        return stack.count("SELECT count(*) FROM task_run WHERE state NOT IN ('SUCCESS', 'FAILURE')") == 0

    stack.wait_for(is_over, "every run to end", 60)


# -- the broker -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["half-open", "partition", "restart", "reset in reply"])
def test_a_worker_consumes_again_by_itself_after_the_broker_was_away(
    fault: str, broker: ValkeyServer, new_stack: Callable[..., Stack]
) -> None:
    with Proxy() as proxy:
        port = proxy.port(broker.port)
        stack = new_stack(f"redis://127.0.0.1:{port.number}/0")
        stack.environment["CELERY_BROKER_URL"] = broker.url
        stack.beat()
        stack.environment["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{port.number}/0"
        stack.worker()
        ask(stack, "before", "quick")
        stack.wait_for(lambda: stack.states("before") == {"SUCCESS": 1}, "a first run")

        match fault:
            case "half-open":
                port.set(Mode.BLACK_HOLE)
                time.sleep(1.5)
            case "partition":
                port.set(Mode.BLACK_HOLE)
                time.sleep(15)
            case "restart":
                broker.kill()
                time.sleep(15)
                broker.start()
            case _:
                port.set(Mode.RESET_IN_REPLY)
                time.sleep(3)
        port.set(Mode.PASS)
        started = time.monotonic()
        ask(stack, "after", "quick")

        stack.wait_for(lambda: stack.states("after") == {"SUCCESS": 1}, "a run after the fault", 60)
        assert time.monotonic() - started < 15 + BUSY


@pytest.mark.slow
def test_a_worker_that_receives_nothing_is_noticed_even_where_celery_does_not(
    broker: ValkeyServer, new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    """kombu's own check for half-open connections is switched off here: the last resort must do."""
    module = (
        "from kombu.transport.redis import MultiChannelPoller\n"
        "MultiChannelPoller.maybe_check_brpop_health = lambda self: None\n"
    )
    (tmp_path / "deaf_tasks.py").write_text(module)
    with Proxy() as proxy:
        port = proxy.port(broker.port)
        stack = new_stack(broker.url, PYTHONPATH=str(tmp_path))
        stack.beat()
        stack.environment |= {"CELERY_BROKER_URL": f"redis://127.0.0.1:{port.number}/0", "TASK_MODULES": "deaf_tasks"}
        stack.worker()

        port.set(Mode.BLACK_HOLE)
        time.sleep(1.5)
        port.set(Mode.PASS)
        ask(stack, "after", "quick")

        stack.wait_for(lambda: stack.states("after") == {"SUCCESS": 1}, "a run after the fault", 40)
        assert "connects to the broker again" in output(stack)


@pytest.mark.slow
def test_a_stop_by_remote_control_is_bounded_too(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(DRAIN_SECONDS="1")
    stack.beat()
    worker = stack.worker()
    ask(stack, "long", "wait 600", timeout=900)
    wait_for_calls(stack, 1)

    command = [sys.executable, "-m", "celery", "-A", "tasks.celery_app", "control", "shutdown"]
    subprocess.run(command, cwd=ROOT, env=stack.environment, check=False, capture_output=True)
    wait_for_end(worker, 25)

    assert run_of(stack, "long").error_kind == "worker_lost"


@pytest.mark.slow
def test_a_second_signal_leaves_no_child_of_a_prefork_worker_behind(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack()
    stack.beat()
    worker = stack.worker("--pool", "prefork", "--concurrency", "2")
    ask(stack, "long", "wait 600", timeout=900)
    wait_for_calls(stack, 1)
    children = children_of(worker.pid)

    worker.send_signal(signal.SIGTERM)
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    wait_for_end(worker, 20)

    assert len(children) >= 2
    stack.wait_for(lambda: not any(child.exists() for child in children), "the children to end", 5)


# -- remote runs ------------------------------------------------------------------------------------

PROVIDER = """
from core.outcome import AgentResult, RemoteHandle
from providers import registry
from providers.http import base_of, below, exchange, read

class Patient:
    name, kinds = "patient", frozenset({"agent"})

    def check_options(self, kind, options): pass

    async def start(self, context, request):
        async with exchange(context, request, "POST", below(base_of(context.endpoint), "runs"), json={}) as response:
            handle = RemoteHandle(self.name, {"id": await read(response, 1000)}, resumable=True)
        await context.on_handle(handle)
        return await self.resume(context, request, handle)

    async def resume(self, context, request, handle):
        url = below(base_of(context.endpoint), "runs", handle.ids["id"])
        async with exchange(context, request, "GET", url) as response:
            return AgentResult("succeeded", await read(response, 1000))

    async def cancel(self, context, handle):
        return False

registry.PROVIDERS["patient"] = registry.Entry("patient_provider", "Patient", Patient.kinds)
"""


@contextmanager
def patient_server() -> Iterator[tuple[int, list[str], Event]]:
    """A platform that names a run at once and answers when told to; yields its port, what it was asked, and the go."""
    asked: list[str] = []
    go = Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(b"r-1")

        def do_GET(self) -> None:
            go.wait(60)
            self.answer(b"the answer")

        def answer(self, body: bytes) -> None:
            asked.append(f"{self.command} {self.headers['idempotency-key']}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked, go
        go.set()
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_attempt_goes_on_with_a_remote_run_and_begins_none(
    end: signal.Signals, new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    (tmp_path / "patient_provider.py").write_text(PROVIDER)
    with patient_server() as (port, asked, go):
        stack = new_stack(
            TASK_MODULES="patient_provider", PYTHONPATH=str(tmp_path), DRAIN_SECONDS="0", **LEASE,
            AGENT_API_PROVIDER="patient", AGENT_API_BASE_URL=f"http://127.0.0.1:{port}",
        )  # fmt: skip
        stack.start("beat", "-c", "import patient_provider, sys, run_beat; sys.argv = ['run_beat.py']; run_beat.main()")
        worker = stack.worker()
        ask(stack, "resumed", "anything", timeout=60)
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM task_run WHERE remote_handle IS NOT NULL"), "a handle")

        worker.send_signal(end)
        wait_for_end(worker, 20)
        stack.start("worker2", "run_worker.py")
        stack.wait_for(lambda: "goes on with" in output(stack, "worker2"), "the second attempt")
        go.set()

        stack.wait_for(lambda: stack.states() == {"SUCCESS": 1}, "the answer")
        run = run_of(stack, "resumed")
        assert (run.result, run.attempt) == ("the answer", 2)
        assert asked.count(f"POST {run.id}") == 1
        assert set(asked) == {f"POST {run.id}", f"GET {run.id}"}
