"""Claims and ends of many runs at once write what one by one writes, and leave alone what takes more than that."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from celery.exceptions import Reject
from sqlalchemy import insert

import attempts
from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind, Usage
from models import TaskAfter
from store.database import AnyRow, autocommit, connect
from store.run_batches import ABANDONED_SECONDS, batch
from store.runs import Claim
from tasks import make_app
from tests.integration.engine import MINUTE, Ledger, agent, settings_for
from worker.claims import _claim_alone, _claim_together
from worker.crowd import ALONE, Carried
from worker.endings import MOST_CHARACTERS, write_together
from worker.runtime import LOCK_WAIT_SECONDS, WorkerRuntime

FINE = AgentResult("succeeded", "fine")
NASTY = [
    FINE,
    AgentResult("succeeded", "日报 ✅ 👩‍👩‍👧 \U00020bb7 é é"),
    AgentResult("succeeded", "quotes ' \" ` \\ \\' \\\\ and :names %s %(x)s {} \x00 \x1a \x08 \r\n\t  \x7f"),
    AgentResult("succeeded", "half a character \ud83d", data={"half": "\udc00", "日": [None, True, 1e308, "\\u0000"]}),
    AgentResult("succeeded", "", data=[], conversation_id="c" * 300, request_id="é" * 300, http_status=200),
    AgentResult("succeeded", "[]", data="null", usage=Usage(2**63 - 1, 0, 0.1 + 0.2, "USDX")),
    AgentResult("succeeded", " spaces ", usage=Usage(1, 2, 123456789.123456789, "eur")),
    AgentResult("succeeded", "x", usage=Usage(cost=1e-9, currency="")),
]
OTHER_THAN_PLAIN = {
    "an error": AgentError(ErrorKind.TIMEOUT, "no"),
    "a question": AgentResult("requires_action", "which?"),
    "a long answer": AgentResult("succeeded", "x" * (MOST_CHARACTERS + 1)),
    "more tokens than BIGINT holds": AgentResult("succeeded", "x", usage=Usage(2**63, 1)),
    "no number": AgentResult("succeeded", "x", usage=Usage(cost=float("nan"))),
    "more money than there is": AgentResult("succeeded", "x", usage=Usage(cost=1e12)),
    "no status": AgentResult("succeeded", "x", http_status=70_000),
}


@pytest.fixture
def worker(ledger: Ledger, tmp_path: Path) -> Iterator[WorkerRuntime]:
    running = WorkerRuntime("worker@host", ["celery"], 1, settings_for(ledger, log_dir=tmp_path))
    yield running
    running.close()


def started(ledger: Ledger, count: int = 1, **columns: Any) -> list[Claim]:
    """Runs that worker w1 carries, each of a schedule row of its own that failed before."""
    claims = []
    for _ in range(count):
        task = ledger.insert(f"row {ledger.value('SELECT count(*) FROM periodic_task')}", consecutive_failures=3)
        run = ledger.run(ledger.add_run(State.STARTED, periodic_task_id=task, **columns))
        claims.append(Claim(run.id, 1, "w1", task, run.task_name, run.config, run.scheduled_for, None))
    return claims


def ended(row: AnyRow) -> dict[str, Any]:
    own = ("id", "periodic_task_id", "active_task_id", "scheduled_for", "ready_at", "started_at", "deadline_at")
    assert row.finished_at is not None
    return {name: value for name, value in row._mapping.items() if name not in (*own, "finished_at")}


# -- ends -------------------------------------------------------------------------------------------


def test_ends_at_once_write_what_one_by_one_writes(ledger: Ledger) -> None:
    earlier = {"http_status": 503, "conversation_id": "of the attempt before", "result": "half"}
    together, alone = started(ledger, len(NASTY), **earlier), started(ledger, len(NASTY), **earlier)

    done = write_together(ledger.engine, list(zip(together, NASTY, strict=True)))
    for run, outcome in zip(alone, NASTY, strict=True):
        assert attempts.write(ledger.engine, run, outcome) is State.SUCCESS

    assert done == [Carried(is_done=True, value=State.SUCCESS)] * len(NASTY)
    for one, other in zip(together, alone, strict=True):
        assert ended(ledger.run(one.id)) == ended(ledger.run(other.id))
        shown, expected = (ledger.task(run.periodic_task_id or 0) for run in (one, other))
        assert (shown.last_run_state, shown.consecutive_failures) == ("SUCCESS", 0)
        assert (expected.last_run_state, expected.consecutive_failures) == ("SUCCESS", 0)


@pytest.mark.parametrize("outcome", OTHER_THAN_PLAIN.values(), ids=OTHER_THAN_PLAIN)
def test_what_is_more_than_an_answer_goes_alone(ledger: Ledger, outcome: AgentResult | AgentError) -> None:
    run, plain = started(ledger, 2)

    done = write_together(ledger.engine, [(run, outcome), (plain, FINE)])

    assert [each.is_done for each in done] == [False, True]
    assert ledger.run(run.id).state == "STARTED"
    assert ledger.run(plain.id).state == "SUCCESS"


def test_runs_that_are_not_ours_any_more_or_that_others_wait_for_go_alone(ledger: Ledger) -> None:
    rescued, cancelled, later, followed, backfilled, told, gone, plain = started(ledger, 8)
    ledger.set_run(rescued.id, worker="w2")
    ledger.set_run(cancelled.id, state=State.REVOKED)
    ledger.set_run(later.id, attempt=2)
    ledger.set_run(backfilled.id, origin="backfill")
    ledger.sql("DELETE FROM task_run WHERE id = :id", id=gone.id)
    edge = {"periodic_task_id": plain.periodic_task_id, "upstream_id": followed.periodic_task_id}
    with autocommit(ledger.engine) as connection:
        connection.execute(insert(TaskAfter).values(upstream_name="x", outcome="ended", **edge))
    notified = replace(told, config=agent(notify={"on": ["failure"]}))
    claims = [rescued, cancelled, later, followed, backfilled, notified, gone, plain]
    before = [ledger.runs(run.periodic_task_id) for run in claims[:-1]]

    done = write_together(ledger.engine, [(run, FINE) for run in claims])

    assert [each.is_done for each in done] == [False] * 7 + [True]
    assert [ledger.runs(run.periodic_task_id) for run in claims[:-1]] == before


def test_a_second_try_after_a_lost_reply_finds_that_the_end_stands_there(ledger: Ledger) -> None:
    (run,) = started(ledger)
    write_together(ledger.engine, [(run, FINE), (run, FINE)])
    before = ledger.run(run.id)

    assert attempts.write(ledger.engine, run, FINE) is State.SUCCESS
    assert ledger.run(run.id) == before


def test_rows_that_an_operator_holds_keep_nobody_waiting(ledger: Ledger) -> None:
    if ledger.is_sqlite:
        pytest.skip("SQLite has no row locks")
    held_run, held_task, plain = started(ledger, 3)
    operator = ledger.operator()
    operator.begin()
    with operator.cursor() as cursor:
        cursor.execute("SELECT id FROM task_run WHERE id = %s FOR UPDATE", (held_run.id,))
        cursor.execute("SELECT id FROM periodic_task WHERE id = %s FOR UPDATE", (held_task.periodic_task_id,))

    done = write_together(ledger.engine, [(run, FINE) for run in (held_run, held_task, plain)])
    operator.rollback()

    assert [each.is_done for each in done] == [False, True, True]
    assert ledger.task(held_task.periodic_task_id or 0).last_run_state is None
    assert ledger.task(plain.periodic_task_id or 0).last_run_state == "SUCCESS"
    with autocommit(ledger.engine) as connection:
        attempts.show_owed(connection)
    assert ledger.task(held_task.periodic_task_id or 0).last_run_state == "SUCCESS"


def test_a_ledger_that_is_away_sends_everybody_alone(ledger: Ledger) -> None:
    away = connect("mysql+pymysql://nobody@127.0.0.1:1/none")

    assert write_together(away, [(run, FINE) for run in started(ledger, 2)]) == [ALONE] * 2


# -- claims -----------------------------------------------------------------------------------------


def entered(worker: WorkerRuntime, *run_ids: str) -> list[str]:
    assert all(worker.enter(run_id) for run_id in run_ids)
    return list(run_ids)


def test_claims_at_once_write_what_one_by_one_writes(ledger: Ledger, worker: WorkerRuntime) -> None:
    spent = {"attempt": 2, "error": "last time", "error_kind": "timeout", "cost": 1, "currency": "USD"}
    kinds: list[tuple[State, dict[str, Any]]] = [
        (State.PENDING, {}),
        (State.PENDING, {"config": agent(timeout=7)}),
        (State.RETRY, spent),
        (State.QUEUED, {}),
    ]
    together, alone = (
        entered(worker, *(ledger.add_run(state, **columns) for state, columns in kinds)) for _ in range(2)
    )
    app = make_app(worker.settings)

    carried = _claim_together(worker, together)
    claims = [_claim_alone(worker, app, run_id, None) for run_id in alone]

    for one, other, claim in zip(carried, alone, claims, strict=True):
        assert one.is_done
        assert claim is not None
        first, second = ledger.run(one.value.id), ledger.run(other)
        assert (one.value.attempt, one.value.worker) == (first.attempt, first.worker) == (claim.attempt, claim.worker)
        differ = {name for name in first._mapping if getattr(first, name) != getattr(second, name)}
        assert differ <= {"id", "scheduled_for", "ready_at", "queued_at", "started_at", "deadline_at"}
        allowed = first.deadline_at - first.started_at
        assert abs(allowed - (second.deadline_at - second.started_at)) < timedelta(seconds=1)
        assert worker._running[first.id].claim == one.value


def test_what_is_not_ready_or_held_up_is_left_as_it_stands(ledger: Ledger, worker: WorkerRuntime) -> None:
    waits = ledger.add_run(State.PENDING, ready_at=ledger.now() + MINUTE)
    held = ledger.add_run(State.PENDING, ready_at=None)
    unreadable = ledger.add_run(State.QUEUED, config="{")
    others = [ledger.add_run(state) for state in (State.REVOKED, State.STARTED, State.SUCCESS)]
    run_ids = [waits, held, unreadable, *others]
    before = ledger.runs()

    assert _claim_together(worker, [*run_ids, "no such run"]) == [ALONE] * 7
    assert ledger.runs() == before


@pytest.mark.parametrize(
    "limit",
    [
        "INSERT INTO hold (scope, mode, reason, create_time) VALUES ('everything', 'wait', 'x', '2026-01-01')",
        "INSERT INTO agent_endpoint (name, provider, base_url, max_concurrency) "
        "VALUES ('default', 'dify', 'http://x', 1)",
    ],
    ids=["a hold", "a limit"],
)
def test_what_a_hold_or_a_limit_may_be_against_goes_alone(ledger: Ledger, worker: WorkerRuntime, limit: str) -> None:
    ledger.sql(limit)
    run_ids = [ledger.add_run(State.QUEUED) for _ in range(3)]

    assert _claim_together(worker, run_ids) == [ALONE] * 3
    assert ledger.states() == {"QUEUED": 3}


def test_a_run_that_somebody_holds_goes_alone_and_nobody_waits_for_it(ledger: Ledger, worker: WorkerRuntime) -> None:
    if ledger.is_sqlite:
        pytest.skip("SQLite has no row locks")
    held, free = entered(worker, *(ledger.add_run(State.QUEUED) for _ in range(2)))
    operator = ledger.operator()
    operator.begin()
    with operator.cursor() as cursor:
        cursor.execute("SELECT id FROM task_run WHERE id = %s FOR UPDATE", (held,))

    carried = _claim_together(worker, [held, free])
    operator.rollback()

    assert [each.is_done for each in carried] == [False, True]
    assert ledger.states() == {"QUEUED": 1, "STARTED": 1}


def test_each_run_has_one_owner_however_many_claim_at_once(ledger: Ledger, tmp_path: Path) -> None:
    settings = settings_for(ledger, log_dir=tmp_path)
    workers = [WorkerRuntime(f"worker{n}@host", ["celery"], 1, settings) for n in range(4)]
    run_ids = [ledger.add_run(State.QUEUED) for _ in range(40)]
    start = Barrier(len(workers))

    def claim(worker: WorkerRuntime) -> list[str]:
        entered(worker, *run_ids)
        start.wait(20)
        return [each.value.id for each in _claim_together(worker, run_ids) if each.is_done]

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            won = list(pool.map(claim, workers))
        for worker, ours in zip(workers, won, strict=True):
            assert {ledger.run(run_id).worker for run_id in ours} <= {worker.worker}
        claimed = list(chain.from_iterable(won))
        assert len(claimed) == len(set(claimed)) == ledger.states()["STARTED"]
        assert all(run.attempt <= 1 for run in ledger.runs())
    finally:
        for worker in workers:
            worker.close()


def test_a_claim_whose_reply_was_lost_is_found_by_the_next_try(ledger: Ledger, worker: WorkerRuntime) -> None:
    (run_id,) = entered(worker, ledger.add_run(State.QUEUED))
    (carried,) = _claim_together(worker, [run_id])
    assert carried.is_done

    claim = _claim_alone(worker, make_app(worker.settings), run_id, (worker.worker, 1))

    assert claim == carried.value
    assert ledger.run(run_id).attempt == 1


def test_a_commit_that_still_hangs_while_its_run_is_tried_alone_is_found_later(
    ledger: Ledger, worker: WorkerRuntime
) -> None:
    """A try that meets the locks of our own commit has written nothing; what was committed before it is ours."""
    if ledger.is_sqlite:
        pytest.skip("SQLite has no row locks")
    (run_id,) = entered(worker, ledger.add_run(State.QUEUED))
    hanging = ledger.operator()
    hanging.begin()
    with hanging.cursor() as cursor:
        cursor.execute(
            "UPDATE task_run SET state = 'STARTED', attempt = 1, worker = %s, started_at = UTC_TIMESTAMP(6), "
            "deadline_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR "
            "WHERE id = %s",
            (worker.worker, run_id),
        )
    with ThreadPoolExecutor(1) as pool:
        claiming = pool.submit(_claim_alone, worker, make_app(worker.settings), run_id, (worker.worker, 1))
        time.sleep(LOCK_WAIT_SECONDS + 0.5)
        hanging.commit()
        claim = claiming.result(20)

    assert claim is not None
    assert (claim.worker, claim.attempt) == (worker.worker, 1)


def test_runs_are_claimed_under_the_lease_that_holds(
    ledger: Ledger, worker: WorkerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that was lost is taken again under another id: nobody keeps runs for the old one."""
    (run_id,) = entered(worker, ledger.add_run(State.QUEUED))

    def taken_again() -> bool:
        worker._lease.take()
        return True

    if not ledger.is_sqlite:  # its one writer is the transaction that claims
        monkeypatch.setattr(worker, "owns_lease", taken_again)
    (carried,) = _claim_together(worker, [run_id])

    assert carried.is_done
    assert carried.value.worker == ledger.run(run_id).worker == worker.worker


def test_a_host_that_vanishes_in_the_middle_does_not_hold_its_rows_for_hours(ledger: Ledger) -> None:
    if ledger.is_sqlite:
        pytest.skip("SQLite has no sessions")
    with batch(ledger.engine) as tx:
        during = tx.exec_driver_sql("SELECT @@SESSION.wait_timeout").scalar_one()
        same = tx.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    with pytest.raises(ValueError), batch(ledger.engine):  # noqa: PT011 - the test's own
        raise ValueError
    with autocommit(ledger.engine) as connection:
        assert connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one() == same
        after, usual = connection.exec_driver_sql("SELECT @@SESSION.wait_timeout, @@GLOBAL.wait_timeout").one()

    assert during == ABANDONED_SECONDS
    assert after == usual  # a connection in the pool may be idle for longer than that


def test_a_worker_that_is_told_to_stop_while_a_crowd_gathers_claims_nothing(
    ledger: Ledger, worker: WorkerRuntime
) -> None:
    run_ids = entered(worker, *(ledger.add_run(State.QUEUED) for _ in range(2)))
    worker.draining.set()

    assert _claim_together(worker, run_ids) == [ALONE] * 2
    with pytest.raises(Reject, match=r"stopping.*True"):
        _claim_alone(worker, make_app(worker.settings), run_ids[0], None)

    assert ledger.states() == {"QUEUED": 2}
