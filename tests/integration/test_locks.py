"""A session that holds one row holds up that row and nothing else, in small tables too."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

import attempts
from beat.rescue import rescue
from core.lifecycle import Origin, State
from core.outcome import AgentResult
from scheduler import DatabaseScheduler
from store import housekeeping, runs, schedules
from store.database import autocommit, transaction
from store.runs import Ending, NewRun
from tests.integration.conftest import on_servers
from tests.integration.engine import MINUTE, Ledger, agent

pytestmark = on_servers


@pytest.fixture(autouse=True)
def _impatience(ledger: Ledger) -> None:
    """A lock that is waited for is an error after one second."""

    @event.listens_for(ledger.engine, "connect")
    def _(connection: Any, __: Any) -> None:
        connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")

    ledger.engine.dispose()


ROWS = 6
SUCCEEDED = Ending(state=State.SUCCESS, result="x")


def armed(task: int) -> dict[str, Any]:
    return {"id": task, "config_error": None, "hint": None, "armed_for": "x", "rearm_at": None, "next_run_at": None}


def advanced(task: int, ledger: Ledger) -> schedules.Moved:
    return schedules.Moved(task, ledger.now(), 1)


SCHEDULE_WRITES: dict[str, Callable[[Connection, list[int], Ledger], object]] = {
    "set_armed": lambda tx, tasks, _: schedules.set_armed(tx, [armed(task) for task in tasks]),
    "advance": lambda tx, tasks, ledger: schedules.advance(
        tx, [advanced(task, ledger) for task in tasks], ledger.now()
    ),
    "clear_run_now": lambda tx, tasks, ledger: schedules.clear_run_now(tx, tasks, tasks, ledger.now()),
    "mark_for_arming": lambda tx, tasks, _: schedules.mark_for_arming(tx, tasks),
    "record_outcome": lambda tx, tasks, _: schedules.record_outcome(tx, "", tasks[0], State.FAILURE),
}


@pytest.mark.parametrize("write", SCHEDULE_WRITES)
def test_a_write_to_some_schedule_rows_does_not_wait_for_another(ledger: Ledger, write: str) -> None:
    tasks = [ledger.insert(f"r{n}", run_now=1) for n in range(ROWS)]
    held = tasks.pop(ROWS // 2)
    ledger.operator().cursor().execute(f"UPDATE periodic_task SET description = 'x' WHERE id = {held}")

    with transaction(ledger.engine) as tx:
        SCHEDULE_WRITES[write](tx, tasks, ledger)


def new_run(task: int, ledger: Ledger) -> NewRun:
    now = ledger.now() + timedelta(days=1)
    return NewRun(
        id=runs.new_run_id(),
        periodic_task_id=task,
        task_name="row",
        origin=Origin.SCHEDULE,
        scheduled_for=now,
        ready_at=now,
        state=State.PENDING,
        queue="system",
        priority=5,
        config=agent(),
    )


RUN_WRITES: dict[str, tuple[State, Callable[[Connection, list[str], Ledger], object]]] = {
    "mark_queued": (State.PENDING, lambda tx, ids, _: runs.mark_queued(tx, [(run, 0) for run in ids])),
    "touch_queued": (State.QUEUED, lambda tx, ids, _: runs.touch_queued(tx, ids)),
    "revoke_active": (State.STARTED, lambda tx, ids, ledger: runs.revoke_active(tx, tasks_of(ledger, ids), [], "x")),
    "claim": (State.QUEUED, lambda tx, ids, ledger: runs.claim(tx, ids[0], 0, "w", ledger.now())),
    "finish": (State.STARTED, lambda tx, ids, _: runs.finish(tx, ids[0], "w1", 1, SUCCEEDED)),
    "retry_later": (
        State.STARTED,
        lambda tx, ids, ledger: runs.retry_later(tx, ids[0], "w1", 1, SUCCEEDED, ledger.now()),
    ),
    "save_handle": (State.STARTED, lambda tx, ids, _: runs.save_handle(tx, ids[0], "w1", 1, "h")),
    "insert_runs": (
        State.PENDING,
        lambda tx, ids, ledger: runs.insert_runs(tx, [new_run(task, ledger) for task in tasks_of(ledger, ids)]),
    ),
}


def tasks_of(ledger: Ledger, run_ids: list[str]) -> list[int]:
    return [ledger.run(run).periodic_task_id for run in run_ids]


@pytest.mark.parametrize("write", RUN_WRITES)
def test_a_write_to_some_runs_does_not_wait_for_another(ledger: Ledger, write: str) -> None:
    state, work = RUN_WRITES[write]
    ids = [ledger.add_run(state, periodic_task_id=n) for n in range(ROWS)]
    held = ids.pop(ROWS // 2)
    ledger.operator().cursor().execute(f"UPDATE task_run SET request_id = 'x' WHERE id = '{held}'")

    with transaction(ledger.engine) as tx:
        work(tx, ids, ledger)


def test_held_runs_that_nobody_locks_are_released(ledger: Ledger) -> None:
    ids = [ledger.add_run(periodic_task_id=n, ready_at=None) for n in range(ROWS)]
    locked = ids.pop(ROWS // 2)
    operator = ledger.operator()
    operator.cursor().execute(f"UPDATE task_run SET state = 'REVOKED' WHERE id = '{locked}'")

    with transaction(ledger.engine) as tx:
        released = runs.release_held(tx, 1000)
    operator.commit()

    assert set(released) == set(ids)
    assert ledger.run(locked).ready_at is None


def test_lost_runs_that_nobody_locks_are_rescued(ledger: Ledger) -> None:
    ids = [ledger.add_run(State.STARTED, periodic_task_id=n) for n in range(ROWS)]
    locked = ids.pop(0)
    operator = ledger.operator()
    operator.cursor().execute(f"UPDATE task_run SET request_id = 'x' WHERE id = '{locked}'")

    assert rescue(ledger.engine, judge_leases=False) == len(ids)
    operator.commit()
    assert rescue(ledger.engine, judge_leases=False) == 1

    assert ledger.states() == {"FAILURE": ROWS}


def test_a_purge_leaves_a_locked_run_for_later_and_deletes_the_others(ledger: Ledger) -> None:
    ids = ledger.add_runs(State.SUCCESS, ({"periodic_task_id": n} for n in range(600)))
    operator = ledger.operator()
    operator.cursor().execute(f"UPDATE task_run SET request_id = 'x' WHERE id = '{ids[2]}'")

    assert housekeeping.purge_runs(ledger.engine, ledger.now() + MINUTE) == len(ids) - 1
    operator.commit()
    assert housekeeping.purge_runs(ledger.engine, ledger.now() + MINUTE) == 1


def test_a_result_is_written_while_an_operator_holds_the_schedule_row(ledger: Ledger) -> None:
    task = ledger.insert()
    run = ledger.add_run(State.STARTED, periodic_task_id=task)
    ledger.operator().cursor().execute("UPDATE periodic_task SET description = 'x'")
    with autocommit(ledger.engine) as connection:
        claimed = runs.started_by(connection, "w1")[run]

        assert attempts.succeed(connection, claimed, AgentResult("succeeded", "answer")) is State.SUCCESS

    assert (ledger.run(run).state, ledger.run(run).result) == ("SUCCESS", "answer")


def test_arming_waits_for_no_row(ledger: Ledger, beat: DatabaseScheduler) -> None:
    tasks = [ledger.insert(f"r{n}") for n in range(ROWS)]
    operator = ledger.operator()
    operator.cursor().execute(f"UPDATE periodic_task SET description = 'x' WHERE id = {tasks.pop(2)}")

    @event.listens_for(beat.engine, "connect")
    def _(connection: Any, __: Any) -> None:
        connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")  # a wait is an error

    assert beat.arm() == len(tasks)
    assert beat.arm() == 0
    operator.commit()
    assert beat.arm() == 1


def test_a_tick_fires_while_an_operator_holds_other_rows_of_every_table(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    tasks = [ledger.insert(f"r{n}") for n in range(3)]
    beat.arm()
    run = ledger.add_run(State.RETRY, periodic_task_id=tasks[0])
    for task in tasks:
        ledger.owe(task)
    cursor = ledger.operator().cursor()
    cursor.execute(f"UPDATE periodic_task SET description = 'x' WHERE id = {tasks[0]}")
    cursor.execute(f"UPDATE task_run SET request_id = 'x' WHERE id = '{run}'")

    beat.run_due()

    assert {run.periodic_task_id for run in ledger.runs() if run.state == "PENDING"} == set(tasks[1:])
