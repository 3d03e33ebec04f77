"""Holds where they bite: at the claim, and where due moments become runs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from core.lifecycle import State
from core.task_config import readable_config
from scheduler import DatabaseScheduler
from store import holds, runs
from store.database import autocommit
from tests.integration.engine import Ledger, agent
from worker.hold_gate import LOOK_AGAIN, HoldGate


def hold(ledger: Ledger, **columns: Any) -> int:
    values = {"scope": "everything", "name": None, "mode": "wait", "reason": "maintenance"} | columns
    with autocommit(ledger.engine) as connection:
        return int(holds.add(connection, **values).id)


def is_turned_away(ledger: Ledger, run_id: str, gate: HoldGate | None = None) -> bool:
    """Ask as a worker does that has the run's message."""
    with autocommit(ledger.engine) as connection:
        row = runs.read(connection, run_id)
        assert row is not None
        return (gate or HoldGate()).turns_away(connection, row, readable_config(row.config))


CONCERNED = [
    {"scope": "everything"},
    {"scope": "queue", "name": "system"},
    {"scope": "endpoint", "name": "default"},
    {"scope": "tag", "name": "news"},
]
UNCONCERNED = [
    {"scope": "queue", "name": "priority_low"},
    {"scope": "endpoint", "name": "other"},
    {"scope": "tag", "name": "new"},
]


@pytest.mark.parametrize("columns", CONCERNED, ids=lambda columns: columns["scope"])
@pytest.mark.parametrize("state", [State.PENDING, State.QUEUED, State.RETRY])
def test_a_held_run_waits_off_the_broker_without_an_attempt(
    ledger: Ledger, columns: dict[str, Any], state: State
) -> None:
    task = ledger.insert(tags="x, news")
    run = ledger.add_run(state, periodic_task_id=task, queue="system", config=agent(queue="system"))
    attempt = ledger.run(run).attempt
    hold_id = hold(ledger, **columns)

    assert is_turned_away(ledger, run)

    row = ledger.run(run)
    assert row.state == (State.RETRY if state is State.RETRY else State.PENDING)
    assert row.attempt == attempt
    assert timedelta() < row.ready_at - ledger.now() <= LOOK_AGAIN
    if attempt == 0:
        assert f"hold {hold_id} " in row.error
        assert "maintenance" in row.error


@pytest.mark.parametrize("columns", UNCONCERNED, ids=lambda columns: columns["scope"])
def test_a_hold_concerns_nothing_else(ledger: Ledger, columns: dict[str, Any]) -> None:
    task = ledger.insert(tags="x, news")
    run = ledger.add_run(State.QUEUED, periodic_task_id=task, queue="system", config=agent(queue="system"))
    hold(ledger, **columns)

    assert not is_turned_away(ledger, run)
    assert ledger.run(run).state == State.QUEUED


def test_an_http_run_has_no_endpoint_where_it_names_none(ledger: Ledger) -> None:
    run = ledger.add_run(State.QUEUED, config='{"task_type": "http", "url": "http://a.example/"}')
    hold(ledger, scope="endpoint", name="default")

    assert not is_turned_away(ledger, run)


def test_a_run_without_a_row_has_no_tags(ledger: Ledger) -> None:
    run = ledger.add_run(State.QUEUED, periodic_task_id=None)
    hold(ledger, scope="tag", name="news")

    assert not is_turned_away(ledger, run)


def test_a_hold_that_skips_ends_what_never_started_and_lets_the_rest_wait(ledger: Ledger) -> None:
    new, begun = ledger.add_run(State.QUEUED), ledger.add_run(State.RETRY, attempt=1)
    hold(ledger, mode="skip")

    assert is_turned_away(ledger, new)
    assert is_turned_away(ledger, begun)

    assert (ledger.run(new).state, ledger.run(begun).state) == (State.SKIPPED, State.RETRY)
    assert "maintenance" in ledger.run(new).error
    assert ledger.run(begun).ready_at > ledger.now()


def test_a_hold_ends_by_itself_and_its_runs_wait_no_longer(ledger: Ledger) -> None:
    run = ledger.add_run(State.QUEUED)
    ends = ledger.now() + timedelta(seconds=30)
    hold(ledger, ends_at=ends)
    hold(ledger, ends_at=ledger.now() - timedelta(seconds=1))
    hold(ledger, ended_at=ledger.now())

    assert is_turned_away(ledger, run)

    assert ledger.run(run).ready_at == ends
    ledger.sql("UPDATE hold SET ends_at = :past", past=str(ledger.now() - timedelta(seconds=1))[:19])
    assert not is_turned_away(ledger, run)


def test_the_runs_of_a_hold_are_woken_and_no_others(ledger: Ledger) -> None:
    first, eleventh = hold(ledger, scope="queue", name="system"), None
    while eleventh != int(f"{first}1") and (eleventh or 0) < first + 12:  # an id that begins with the first one's
        eleventh = hold(ledger, scope="queue", name="celery")
    mine = ledger.add_run(State.QUEUED, queue="system", config=agent(queue="system"))
    other = ledger.add_run(State.QUEUED, queue="celery", config=agent(queue="celery"))
    retry = ledger.add_run(State.RETRY, ready_at=ledger.now() + timedelta(hours=1))
    assert is_turned_away(ledger, mine)
    assert is_turned_away(ledger, other)

    with autocommit(ledger.engine) as connection:
        assert holds.wake(connection, first) == 1

    assert ledger.run(mine).ready_at <= ledger.now()
    assert ledger.run(other).ready_at > ledger.now()
    assert ledger.run(retry).ready_at > ledger.now()


def test_the_gate_looks_again_after_a_second_and_not_before(ledger: Ledger) -> None:
    gate, run = HoldGate(), ledger.add_run(State.QUEUED)
    assert not is_turned_away(ledger, run, gate)
    hold(ledger)

    assert not is_turned_away(ledger, run, gate)
    gate._next_look = 0.0
    assert is_turned_away(ledger, run, gate)


def test_runs_that_come_at_once_to_a_new_gate_are_all_turned_away(ledger: Ledger) -> None:
    """A worker that starts during a hold knows nothing yet."""
    hold(ledger)
    waiting = [ledger.add_run(State.PENDING) for _ in range(6)]
    gate, start = HoldGate(), Barrier(len(waiting))

    def ask(run_id: str) -> bool:
        start.wait()
        return is_turned_away(ledger, run_id, gate)

    with ThreadPoolExecutor(len(waiting)) as pool:
        assert list(pool.map(ask, waiting)) == [True] * len(waiting)


def test_a_long_reason_fits_into_a_skipped_runs_error(ledger: Ledger, beat: DatabaseScheduler) -> None:
    hold(ledger, mode="skip", reason="原因" * 250)
    task = ledger.insert(crontab="* * * * *")
    beat.arm()
    ledger.owe_minutes(task, 1)
    beat.run_due()

    (run,) = ledger.runs(task)
    assert run.state == State.SKIPPED
    assert run.error.startswith("held by hold ")
    assert len(run.error) == 500


@pytest.mark.parametrize("columns", CONCERNED, ids=lambda columns: columns["scope"])
def test_due_moments_of_a_hold_that_skips_are_skipped_with_its_reason(
    ledger: Ledger, beat: DatabaseScheduler, columns: dict[str, Any]
) -> None:
    held = ledger.insert("held", crontab="* * * * *", tags="news", task_extra_config=agent(queue="system"))
    hold(ledger, mode="skip", **columns)
    beat.arm()
    ledger.owe(held)

    assert beat.fire() == 1

    (run,) = ledger.runs(held)
    assert run.state == State.SKIPPED
    assert "maintenance" in run.error
    assert ledger.task(held).next_run_at > ledger.now()
    assert ledger.task(held).run_count == 0


def test_due_moments_fire_where_no_hold_concerns_them(ledger: Ledger, beat: DatabaseScheduler) -> None:
    free = ledger.insert("free", crontab="* * * * *", tags="news")
    for columns in ({"mode": "wait"}, *({"mode": "skip", **each} for each in UNCONCERNED[1:])):
        hold(ledger, **columns)
    beat.arm()
    ledger.owe(free)

    beat.fire()

    assert [run.state for run in ledger.runs(free)] == [State.PENDING]


def test_a_hold_entered_by_hand_with_spaces_is_one(ledger: Ledger) -> None:
    if ledger.is_sqlite:
        pytest.skip("SQLite's CHECK refuses it")
    ledger.sql("INSERT INTO hold (scope, name, mode, reason) VALUES ('queue ', 'priority_low', 'wait ', 'by hand')")

    assert is_turned_away(ledger, ledger.add_run(State.QUEUED))
