"""A worker process's runtime on a ledger, without Celery: its lease, its calls, and outcomes that wait."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from celery.exceptions import Reject

from agent_tasks import execute_agent_periodic_task
from broker import Connection
from core.lifecycle import State
from core.outcome import AgentResult
from store import leases
from store.database import autocommit, connect
from store.runs import Claim
from tests.integration.engine import Ledger, settings_for
from worker.runtime import CallCancelled, WorkerRuntime

ANSWER = AgentResult("succeeded", "fine")


@pytest.fixture
def worker(ledger: Ledger, tmp_path: Path) -> Iterator[WorkerRuntime]:
    settings = settings_for(ledger, log_dir=tmp_path, worker_lease_seconds=3)
    running = WorkerRuntime("worker@host", ["celery"], 1, settings)
    yield running
    running.close()


def started(ledger: Ledger, worker: WorkerRuntime) -> Claim:
    """A run that this worker has claimed and carries."""
    run_id = ledger.add_run(State.PENDING)
    assert worker.enter(run_id)
    ledger.set_run(run_id, state=State.STARTED, worker=worker.worker, attempt=1, deadline_at=ledger.now())
    run = ledger.run(run_id)
    claim = Claim(
        run.id, 1, worker.worker, run.periodic_task_id, run.task_name, run.config, run.scheduled_for, run.remote_handle
    )
    worker.claimed(claim)
    return claim


async def answer() -> str:
    return "answered"


def test_a_call_waits_for_the_lease_to_be_renewed_and_then_goes_out(ledger: Ledger, worker: WorkerRuntime) -> None:
    run = started(ledger, worker)
    worker._lease._renewed_at -= 60
    assert not worker.owns_lease()

    assert worker.call(run.id, answer(), 5) == "answered"


def test_a_call_never_goes_out_after_the_lease_was_lost(ledger: Ledger, worker: WorkerRuntime) -> None:
    run = started(ledger, worker)
    before = worker.worker
    worker._lease._renewed_at -= 60
    with autocommit(ledger.engine) as connection:
        leases.remove_worker(connection, before)

    with pytest.raises(CallCancelled, match="lease"):
        worker.call(run.id, answer(), 5)

    deadline = monotonic() + 10  # calls are cut first: none may wait for the new lease
    while worker.worker == before and monotonic() < deadline:
        sleep(0.05)
    assert worker.worker != before


def test_an_outcome_that_waits_is_neither_given_back_nor_left_to_rescue(
    ledger: Ledger, worker: WorkerRuntime, tmp_path: Path
) -> None:
    run = started(ledger, worker)
    ledger_engine, worker.engine = worker.engine, connect("mysql+pymysql://nobody@127.0.0.1:1/none")
    raised: list[BaseException] = []

    def write() -> None:
        try:
            worker.write(run, ANSWER)
        except CallCancelled as error:
            raised.append(error)

    writing = Thread(target=write)
    writing.start()
    while not list(tmp_path.glob("unwritten/*.json")):
        writing.join(0.05)
    worker._giving_up.set()  # the process ends
    writing.join(10)
    worker.engine = ledger_engine
    worker.leave(run.id)
    worker._compare_with_ledger()
    worker._remove_lease()

    assert len(raised) == 1
    assert ledger.run(run.id).state == "STARTED"
    assert ledger.value("SELECT count(*) FROM worker_lease WHERE id = :id", id=run.worker) == 1


def test_an_outcome_that_is_written_leaves_no_file_and_no_lease(
    ledger: Ledger, worker: WorkerRuntime, tmp_path: Path
) -> None:
    run = started(ledger, worker)

    assert worker.write(run, ANSWER) is State.SUCCESS
    worker.leave(run.id)
    worker.close()

    assert list(tmp_path.glob("unwritten/*")) == []
    assert ledger.value("SELECT count(*) FROM worker_lease") == 0


def test_a_message_that_comes_while_the_worker_stops_goes_back_to_the_queue(
    worker: WorkerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime._runtime", worker)
    worker.draining.set()

    with pytest.raises(Reject) as rejected:
        execute_agent_periodic_task("0190b6a0-0000-7000-8000-000000000001")

    assert vars(rejected.value)["requeue"] is True


class Enough(Exception):
    """The test has seen what it wanted."""


def test_a_broker_that_was_away_for_long_is_tried_every_few_seconds() -> None:
    pauses: list[float] = []

    def note(_: Any, pause: float) -> None:
        pauses.append(pause)
        if pause:
            raise Enough

    connection = Connection("redis://127.0.0.1:1/0")
    with pytest.raises(Enough):
        connection.ensure_connection(note, max_retries=9, interval_start=60)

    assert max(pauses) <= 4
