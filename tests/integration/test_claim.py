"""Claiming and finishing by compare-and-set: one owner, and a final state never changes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection

import attempts
from beat.rescue import rescue
from core.lifecycle import FINAL, NEXT, WAITING, State
from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle, Usage
from store import runs
from store.database import autocommit, connect, transaction
from store.runs import Ending
from tests.integration.engine import MINUTE, Ledger, agent

SUCCEEDED = Ending(state=State.SUCCESS, result="answer")
FAILED = Ending(state=State.FAILURE, error="no", error_kind="timeout")
by_name: Callable[[State], str] = lambda state: state.value  # noqa: E731


def claim(ledger: Ledger, run: str, *, worker: str = "w1", attempt: int = 0) -> bool:
    deadline = ledger.now() + MINUTE
    with autocommit(ledger.engine) as connection:
        return runs.claim(connection, run, attempt, worker, deadline)


def finish(ledger: Ledger, run: str, worker: str, attempt: int, ending: Ending = SUCCEEDED) -> bool:
    with autocommit(ledger.engine) as connection:
        return runs.finish(connection, run, worker, attempt, ending)


# -- the claim --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(WAITING), ids=by_name)
def test_of_twenty_workers_exactly_one_gets_the_run(ledger: Ledger, state: State) -> None:
    run = ledger.add_run(state)
    start = Barrier(20)

    def try_to_claim(number: int) -> bool:
        start.wait()
        return claim(ledger, run, worker=f"w{number}")

    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(try_to_claim, range(20)))

    assert won.count(True) == 1
    row = ledger.run(run)
    assert (row.state, row.worker, row.attempt) == ("STARTED", f"w{won.index(True)}", 1)


def test_a_claim_counts_the_attempt_and_sets_who_when_and_until(ledger: Ledger) -> None:
    run = ledger.add_run(State.RETRY, attempt=2, error="last time", error_kind="timeout")

    assert claim(ledger, run, attempt=2)

    row = ledger.run(run)
    assert (row.state, row.worker, row.attempt) == ("STARTED", "w1", 3)
    assert abs(row.started_at - ledger.now()) < MINUTE
    assert row.deadline_at > row.started_at
    assert (row.error, row.error_kind) == (None, None)


def test_a_run_is_not_claimed_before_it_is_ready(ledger: Ledger) -> None:
    for state in WAITING:
        run = ledger.add_run(state, ready_at=ledger.now() + MINUTE, scheduled_for=ledger.now())
        assert not claim(ledger, run)
        ledger.set_run(run, ready_at=ledger.now())
        assert claim(ledger, run)


def test_a_held_run_is_not_claimed(ledger: Ledger) -> None:
    run = ledger.add_run(ready_at=None)

    assert not claim(ledger, run)


def test_a_claim_for_another_attempt_is_refused(ledger: Ledger) -> None:
    run = ledger.add_run(State.RETRY, attempt=1)

    assert not claim(ledger, run, attempt=0)
    assert not claim(ledger, run, attempt=2)
    assert claim(ledger, run, attempt=1)


@pytest.mark.parametrize("state", sorted(set(State) - WAITING), ids=by_name)
def test_a_run_that_started_or_ended_is_not_claimed(ledger: Ledger, state: State) -> None:
    run = ledger.add_run(state, attempt=1)
    before = ledger.run(run)

    assert not claim(ledger, run, worker="w2", attempt=1)

    assert ledger.run(run) == before


@pytest.mark.parametrize("state", sorted(WAITING), ids=by_name)
def test_a_waiting_run_revoked_by_sql_never_starts(ledger: Ledger, state: State) -> None:
    run = ledger.add_run(state)

    ledger.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=run)

    assert not claim(ledger, run)
    assert ledger.run(run).state == "REVOKED"


# -- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("worker", "attempt"), [("w2", 1), ("w1", 0), ("w1", 2), ("w2", 2)])
def test_the_end_of_an_attempt_that_is_not_ours_is_refused(ledger: Ledger, worker: str, attempt: int) -> None:
    run = ledger.add_run(State.STARTED)
    before = ledger.run(run)

    assert not finish(ledger, run, worker, attempt)
    with autocommit(ledger.engine) as connection:
        assert not runs.retry_later(connection, run, worker, attempt, FAILED, ledger.now())
        assert not runs.save_handle(connection, run, worker, attempt, "handle")

    assert ledger.run(run) == before


def test_the_late_result_of_a_worker_that_was_given_up_is_refused(ledger: Ledger) -> None:
    run = ledger.add_run(config=agent(max_retries=1))
    claim(ledger, run, worker="frozen")
    rescue(ledger.engine, judge_leases=False)
    claim(ledger, run, worker="other", attempt=1)

    assert not finish(ledger, run, "frozen", 1)
    assert not finish(ledger, run, "frozen", 2)
    assert finish(ledger, run, "other", 2)


def test_the_result_of_a_run_revoked_meanwhile_is_refused(ledger: Ledger) -> None:
    run = ledger.add_run(State.STARTED)
    ledger.sql("UPDATE task_run SET state = 'REVOKED'")

    assert not finish(ledger, run, "w1", 1)
    assert ledger.run(run).state == "REVOKED"


#: Every function that writes runs, called so that it would match if state did not forbid it.
WRITES: dict[str, Callable[[Connection, str, Ledger], object]] = {
    "claim": lambda c, run, ledger: runs.claim(c, run, 1, "w2", ledger.now()),
    "finish": lambda c, run, _: runs.finish(c, run, "w1", 1, SUCCEEDED),
    "fail": lambda c, run, _: runs.finish(c, run, "w1", 1, FAILED),
    "retry_later": lambda c, run, ledger: runs.retry_later(c, run, "w1", 1, FAILED, ledger.now()),
    "save_handle": lambda c, run, _: runs.save_handle(c, run, "w1", 1, "handle"),
    "mark_queued": lambda c, run, _: runs.mark_queued(c, [(run, 1)]),
    "touch_queued": lambda c, run, _: runs.touch_queued(c, [run]),
    "revoke_active": lambda c, _, __: runs.revoke_active(c, [7], [], "replaced"),
    "release_held": lambda c, _, __: runs.release_held(c, 1000),
}
every_write = pytest.mark.parametrize("write", WRITES)


def any_run(ledger: Ledger, state: State, **columns: Any) -> str:
    """A run that every function of WRITES names, and that rescue would take if it were STARTED."""
    past = ledger.now() - timedelta(hours=1)
    values = {"worker": "w1", "attempt": 1, "deadline_at": past, "ready_at": past, "periodic_task_id": 7, **columns}
    return ledger.add_run(state, **values)


@every_write
def test_a_final_state_never_changes(ledger: Ledger, write: str) -> None:
    finals = {state: any_run(ledger, state, scheduled_for=ledger.now() + n * MINUTE) for n, state in enumerate(FINAL)}
    before = {run: ledger.run(run) for run in finals.values()}

    for run in finals.values():
        with transaction(ledger.engine) as tx:
            WRITES[write](tx, run, ledger)
    rescue(ledger.engine, judge_leases=True)

    assert {run: ledger.run(run) for run in finals.values()} == before


@every_write
@pytest.mark.parametrize("held", [False, True], ids=["ready", "held"])
def test_no_step_is_taken_that_the_state_machine_does_not_have(ledger: Ledger, write: str, held: bool) -> None:
    for state in (State.PENDING, State.QUEUED, State.RETRY, State.STARTED):
        run = any_run(ledger, state, **({"ready_at": None} if held else {}))

        with transaction(ledger.engine) as tx:
            WRITES[write](tx, run, ledger)

        after = State(ledger.run(run).state)
        assert after is state or after in NEXT[state], f"{state} -> {after}"
        ledger.sql("DELETE FROM task_run")


# -- what an attempt makes of the run ---------------------------------------------------------------


def started(ledger: Ledger, **columns: Any) -> Any:
    run = ledger.add_run(State.STARTED, **columns)
    with autocommit(ledger.engine) as connection:
        return runs.started_by(connection, "w1")[run]


def test_an_answer_is_recorded_with_all_the_agent_told(ledger: Ledger) -> None:
    task = ledger.insert(consecutive_failures=3)
    run = started(ledger, periodic_task_id=task)
    usage = Usage(input_tokens=10, output_tokens=20, cost=0.125, currency="USD")
    answer = AgentResult("succeeded", "你好 🚀", {"k": "值"}, "c-1", usage, 200, "req-1")

    with autocommit(ledger.engine) as connection:
        assert attempts.succeed(connection, run, answer) is State.SUCCESS

    row = ledger.run(run.id)
    assert (row.state, row.result, row.result_data) == ("SUCCESS", "你好 🚀", '{"k": "值"}')
    assert (row.conversation_id, row.http_status, row.request_id) == ("c-1", 200, "req-1")
    assert (row.input_tokens, row.output_tokens, float(row.cost), row.currency) == (10, 20, 0.125, "USD")
    assert abs(row.finished_at - ledger.now()) < MINUTE
    assert (ledger.task(task).last_run_state, ledger.task(task).consecutive_failures) == ("SUCCESS", 0)


def test_an_agent_that_asks_for_a_human_is_no_success(ledger: Ledger) -> None:
    run = started(ledger)

    with autocommit(ledger.engine) as connection:
        attempts.succeed(connection, run, AgentResult("requires_action", "", {"question": "sure?"}))

    row = ledger.run(run.id)
    assert (row.state, row.result_data) == ("REQUIRES_ACTION", '{"question": "sure?"}')


def test_a_retryable_failure_waits_for_its_back_off_while_attempts_are_left(ledger: Ledger) -> None:
    run = started(ledger, config=agent(max_retries=1, retry_backoff=100))

    with autocommit(ledger.engine) as connection:
        error = AgentError(ErrorKind.UNAVAILABLE, "502 from the gateway", http_status=502)
        assert attempts.fail(connection, run, error) is State.RETRY

    row = ledger.run(run.id)
    assert (row.state, row.error_kind, row.http_status) == ("RETRY", "unavailable", 502)
    assert row.error == "502 from the gateway"
    assert 49 < (row.ready_at - ledger.now()).total_seconds() <= 100
    assert row.finished_at is None


def test_the_last_attempts_failure_is_final_and_counted(ledger: Ledger) -> None:
    task = ledger.insert()
    run = started(ledger, periodic_task_id=task, attempt=2, config=agent(max_retries=1))

    with autocommit(ledger.engine) as connection:
        assert attempts.fail(connection, run, AgentError(ErrorKind.TIMEOUT, "too slow")) is State.FAILURE

    assert (ledger.run(run.id).state, ledger.run(run.id).error) == ("FAILURE", "too slow")
    assert (ledger.task(task).last_run_state, ledger.task(task).consecutive_failures) == ("FAILURE", 1)


def test_a_failure_that_waiting_cannot_mend_is_not_retried(ledger: Ledger) -> None:
    run = started(ledger, config=agent(max_retries=5))

    with autocommit(ledger.engine) as connection:
        assert attempts.fail(connection, run, AgentError(ErrorKind.AUTH, "401")) is State.FAILURE


def test_a_very_long_answer_is_stored_whole(ledger: Ledger) -> None:
    run = started(ledger)
    text = "答" * 1_000_000

    with autocommit(ledger.engine) as connection:
        attempts.succeed(connection, run, AgentResult("succeeded", text))

    assert ledger.run(run.id).result == text


def test_a_run_whose_config_this_version_cannot_read_still_ends(ledger: Ledger) -> None:
    run = started(ledger, config='{"task_type": "agent", "key_of_a_later_version": 1}')

    with autocommit(ledger.engine) as connection:
        assert attempts.fail(connection, run, AgentError(ErrorKind.TIMEOUT, "too slow")) is State.FAILURE


@pytest.mark.parametrize(
    ("resumable", "kind", "attempt", "state", "is_kept"),
    [
        (True, ErrorKind.WORKER_LOST, 20, State.RETRY, True),
        (True, ErrorKind.WORKER_LOST, 21, State.FAILURE, True),
        (True, ErrorKind.REMOTE_FAILED, 1, State.RETRY, False),
        (False, ErrorKind.WORKER_LOST, 1, State.RETRY, False),
        (False, ErrorKind.WORKER_LOST, 2, State.FAILURE, True),
    ],
)
def test_a_remote_run_that_can_be_resumed_leaves_an_attempt_whatever_max_retries(
    ledger: Ledger, resumable: bool, kind: ErrorKind, attempt: int, state: State, is_kept: bool
) -> None:
    handle = RemoteHandle("p", {"id": "r-1"}, resumable=resumable).as_text()
    run = started(ledger, config=agent(max_retries=1), attempt=attempt, remote_handle=handle)

    with autocommit(ledger.engine) as connection:
        assert attempts.fail(connection, run, AgentError(kind, "no")) is state

    assert (ledger.run(run.id).remote_handle is not None) is is_kept


@pytest.mark.parametrize(("max_retries", "state"), [(0, State.FAILURE), (1, State.RETRY)])
def test_a_remote_run_that_is_over_is_not_gone_on_with_whatever_it_ended_of(
    ledger: Ledger, max_retries: int, state: State
) -> None:
    handle = RemoteHandle("p", {"id": "r-1"}, resumable=True).as_text()
    run = started(ledger, config=agent(max_retries=max_retries), attempt=1, remote_handle=handle)

    with autocommit(ledger.engine) as connection:
        assert attempts.fail(connection, run, AgentError(ErrorKind.UNAVAILABLE, "no", over=True)) is state

    assert (ledger.run(run.id).remote_handle is None) is (state is State.RETRY)


# -- what the ledger does not take ------------------------------------------------------------------


def test_an_answer_that_a_column_refuses_fails_with_the_reason(ledger: Ledger) -> None:
    run = started(ledger)

    answer = AgentResult("succeeded", "fine", usage=Usage(input_tokens=10**30))
    assert attempts.write(ledger.engine, run, answer) is State.FAILURE

    assert "cannot be stored" in ledger.run(run.id).error


def test_an_answer_that_was_written_and_whose_reply_was_lost_is_no_late_one(ledger: Ledger) -> None:
    task = ledger.insert()
    run = started(ledger, periodic_task_id=task)
    answer = AgentResult("succeeded", "fine")
    assert finish(ledger, run.id, "w1", 1)

    assert attempts.write(ledger.engine, run, answer) is State.SUCCESS

    assert ledger.task(task).last_run_state == "SUCCESS"


def test_a_ledger_that_is_away_takes_the_outcome_later(ledger: Ledger) -> None:
    run = started(ledger)
    nowhere = connect("mysql+pymysql://nobody@127.0.0.1:1/none")

    with pytest.raises(attempts.LedgerAway):
        attempts.write(nowhere, run, AgentResult("succeeded", "fine"))
    with pytest.raises(attempts.LedgerAway):
        attempts.write(nowhere, run, AgentError(ErrorKind.TIMEOUT, "slow"))
