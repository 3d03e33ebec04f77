"""Rescue: no run stays STARTED for ever, and no healthy one is taken from its worker."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

import attempts
from beat.rescue import OVERDUE_BY, rescue
from core.lifecycle import State
from store import leases, runs
from store.database import autocommit, transaction
from tests.integration.conftest import NewBeat
from tests.integration.engine import MINUTE, Ledger, agent

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def worker(ledger: Ledger, name: str = "w1", *, lease: timedelta = HOUR) -> str:
    """A worker whose lease runs for `lease`; below zero, one that stopped renewing."""
    with transaction(ledger.engine) as tx:
        leases.register_worker(tx, name, pid=1, queues="celery", concurrency=1, lease=lease)
    return name


def started(ledger: Ledger, retries: int = 0, **columns: Any) -> str:
    return ledger.add_run(State.STARTED, config=agent(max_retries=retries), **columns)


def test_a_run_of_a_worker_whose_lease_ran_out_starts_again_where_the_policy_leaves_an_attempt(ledger: Ledger) -> None:
    worker(ledger, lease=-SECOND)
    run = started(ledger, retries=1)

    assert rescue(ledger.engine, judge_leases=True) == 1

    row = ledger.run(run)
    assert (row.state, row.error_kind, row.attempt) == ("RETRY", "worker_lost", 1)
    assert "w1" in row.error
    assert row.ready_at <= ledger.now()


def test_a_run_of_a_lost_worker_fails_where_the_policy_leaves_none(ledger: Ledger) -> None:
    worker(ledger, lease=-SECOND)
    never, no_more = started(ledger), started(ledger, retries=1, attempt=2)

    assert rescue(ledger.engine, judge_leases=True) == 2

    for run in (never, no_more):
        assert (ledger.run(run).state, ledger.run(run).error_kind) == ("FAILURE", "worker_lost")
        assert ledger.run(run).finished_at is not None


def test_a_lost_worker_cannot_renew(ledger: Ledger) -> None:
    worker(ledger, lease=-SECOND)

    rescue(ledger.engine, judge_leases=True)

    with autocommit(ledger.engine) as connection:
        assert not leases.renew_worker(connection, "w1", HOUR)
        assert leases.living_workers(connection) == []


def test_a_beat_that_may_not_judge_leaves_expired_leases_alone(ledger: Ledger) -> None:
    worker(ledger, lease=-SECOND)
    run = started(ledger, retries=1)

    assert rescue(ledger.engine, judge_leases=False) == 0

    assert ledger.run(run).state == "STARTED"


def test_a_worker_that_renews_after_an_outage_before_it_is_judged_keeps_its_runs(ledger: Ledger) -> None:
    worker(ledger, lease=-MINUTE)
    run = started(ledger)

    with autocommit(ledger.engine) as connection:
        assert leases.renew_worker(connection, "w1", HOUR)
    assert rescue(ledger.engine, judge_leases=True) == 0

    assert ledger.run(run).state == "STARTED"


def test_a_run_whose_worker_left_no_lease_is_rescued_at_once(ledger: Ledger) -> None:
    run = started(ledger, retries=1, worker="gone")

    assert rescue(ledger.engine, judge_leases=False) == 1

    assert ledger.run(run).state == "RETRY"


def test_runs_of_living_workers_stay_theirs(ledger: Ledger) -> None:
    worker(ledger, "alive")
    worker(ledger, "dead", lease=-SECOND)
    safe = started(ledger, worker="alive")
    lost = started(ledger, worker="dead")

    assert rescue(ledger.engine, judge_leases=True) == 1

    assert ledger.run(safe).state == "STARTED"
    assert ledger.run(lost).state == "FAILURE"


def test_a_run_past_its_deadline_is_ended_after_a_grace(ledger: Ledger) -> None:
    worker(ledger)
    now = ledger.now()
    in_grace = started(ledger, deadline_at=now - OVERDUE_BY + 10 * SECOND)
    overdue = started(ledger, deadline_at=now - OVERDUE_BY - SECOND)
    again = started(ledger, retries=1, deadline_at=now - OVERDUE_BY - SECOND)

    assert rescue(ledger.engine, judge_leases=False) == 0  # after an outage their answers may wait to be written
    assert rescue(ledger.engine, judge_leases=True) == 2

    assert ledger.run(in_grace).state == "STARTED"
    assert (ledger.run(overdue).state, ledger.run(overdue).error_kind) == ("FAILURE", "timeout")
    assert (ledger.run(again).state, ledger.run(again).error_kind) == ("RETRY", "timeout")


def test_beats_that_rescue_at_once_move_each_run_once(ledger: Ledger) -> None:
    task = ledger.insert()
    lost = [started(ledger, periodic_task_id=task, scheduled_for=ledger.now() + n * SECOND) for n in range(20)]
    start = Barrier(4)

    def one_pass(_: int) -> int:
        start.wait()
        return rescue(ledger.engine, judge_leases=True)

    with ThreadPoolExecutor(4) as pool:
        moved = sum(pool.map(one_pass, range(4)))

    assert moved == len(lost)
    assert ledger.states() == {"FAILURE": 20}
    assert ledger.task(task).consecutive_failures == 20


def test_an_outcome_shows_on_the_schedule_row(ledger: Ledger) -> None:
    task = ledger.insert()
    started(ledger, periodic_task_id=task)

    rescue(ledger.engine, judge_leases=False)

    assert (ledger.task(task).last_run_state, ledger.task(task).consecutive_failures) == ("FAILURE", 1)


def test_the_outcome_of_a_backfill_does_not_show_on_the_schedule_row(ledger: Ledger) -> None:
    task = ledger.insert()
    started(ledger, periodic_task_id=task, origin="backfill")

    assert rescue(ledger.engine, judge_leases=False) == 1

    assert (ledger.task(task).last_run_state, ledger.task(task).consecutive_failures) == (None, 0)


def test_a_run_that_cannot_be_read_does_not_hold_up_the_others(ledger: Ledger) -> None:
    ledger.add_run(State.STARTED, config="{}")
    readable = started(ledger)
    ledger.add_run(State.STARTED, config="[")

    rescue(ledger.engine, judge_leases=False)

    assert ledger.run(readable).state == "FAILURE"


def test_a_beat_judges_leases_only_after_one_whole_lease_of_its_own(ledger: Ledger, new_beat: NewBeat) -> None:
    worker(ledger, lease=-SECOND)
    run = started(ledger)
    beat = new_beat(worker_lease_seconds=30)

    beat.run_due()
    beat.keeper.keep()
    assert ledger.run(run).state == "STARTED"

    assert beat.keeper._contact_since is not None
    beat.keeper._contact_since -= 31
    beat.run_due()
    beat.keeper.keep()
    assert ledger.run(run).state == "FAILURE"


def test_a_beat_that_lost_the_database_for_a_moment_judges_nobody(ledger: Ledger, new_beat: NewBeat) -> None:
    worker(ledger, lease=-SECOND)
    run = started(ledger)
    beat = new_beat(worker_lease_seconds=30)
    beat.run_due()
    assert beat.keeper._contact_since is not None
    beat.keeper._contact_since -= 31
    beat.keeper._begun_at -= 60  # frozen, or waiting for a dead database

    beat.run_due()
    beat.keeper.keep()

    assert ledger.run(run).state == "STARTED"


# -- what beats share -------------------------------------------------------------------------------


def test_one_beat_of_many_takes_the_turn(ledger: Ledger) -> None:
    start = Barrier(8)

    def take(_: int) -> bool:
        start.wait()
        with transaction(ledger.engine) as tx:
            return leases.take_turn(tx, "purge", HOUR)

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(take, range(8)))
        ledger.sql("UPDATE scheduler_state SET update_time = '2026-01-01 00:00:00'")
        second = list(pool.map(take, range(8)))

    assert Counter(first) == Counter(second) == {True: 1, False: 7}


def test_a_shared_value_entered_by_two_beats_at_once_stands(ledger: Ledger) -> None:
    start = Barrier(8)

    def write(number: int) -> None:
        start.wait()
        with transaction(ledger.engine) as tx:
            leases.write_state(tx, "zone", f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    with autocommit(ledger.engine) as connection:
        assert leases.read_state(connection, "zone") in {f"v{number}" for number in range(8)}


def test_a_worker_that_stops_in_order_leaves_no_lease(ledger: Ledger) -> None:
    worker(ledger)

    with autocommit(ledger.engine) as connection:
        leases.remove_worker(connection, "w1")
        assert leases.living_workers(connection) == []


def test_heartbeats_of_beats_gone_for_a_day_are_removed(ledger: Ledger) -> None:
    with transaction(ledger.engine) as tx:
        leases.beat_alive(tx, "old")
    ledger.sql("UPDATE beat_heartbeat SET last_tick_at = '2026-01-01 00:00:00'")

    with transaction(ledger.engine) as tx:
        leases.beat_alive(tx, "new")
        leases.beat_alive(tx, "new")

    assert [row.id for row in ledger.sql("SELECT id FROM beat_heartbeat")] == ["new"]
    with autocommit(ledger.engine) as connection:
        newest = leases.newest_tick(connection)
    assert newest is not None
    assert abs(newest - ledger.now()) < MINUTE


@pytest.mark.parametrize("expired", [True, False])
def test_an_expired_lease_is_removed_by_one_judge_only(ledger: Ledger, expired: bool) -> None:
    worker(ledger, lease=-SECOND if expired else HOUR)

    with autocommit(ledger.engine) as connection:
        assert leases.remove_expired(connection, ledger.now()) == (["w1"] if expired else [])
        assert leases.remove_expired(connection, ledger.now()) == []


@pytest.mark.parametrize(("retries", "state"), [(1, "RETRY"), (0, "FAILURE")])
def test_a_run_that_a_stopping_worker_gives_back_goes_the_way_of_its_policy(
    ledger: Ledger, retries: int, state: str
) -> None:
    run = started(ledger, retries=retries)

    with autocommit(ledger.engine) as connection:
        ours = runs.started_by(connection, "w1")[run]
        attempts.fail(connection, ours, attempts.lost(ours, "its worker was stopped"))

    row = ledger.run(run)
    assert (row.state, row.error_kind) == (state, "worker_lost")
    assert "its worker was stopped" in row.error
    assert row.ready_at <= ledger.now()
