"""Retention: final runs and entries of the audit past their time go, everything else stays."""

import json
from datetime import timedelta
from typing import Any

from core.lifecycle import FINAL, State
from scheduler import DatabaseScheduler
from store import audit
from store.bulk import moment_text
from store.database import autocommit, transaction
from store.housekeeping import BATCH, first_id_at, has_runs_before, purge_audit, purge_runs
from tests.integration.conftest import NewBeat
from tests.integration.engine import Ledger

DAYS = timedelta(days=1)
SECOND = timedelta(seconds=1)
RECENT = "2026-01-01 00:00:00"


def old_run(ledger: Ledger, state: State, age: timedelta, number: int = 0, **columns: Any) -> str:
    """A run created `age` ago: its id says so."""
    identity = first_id_at(ledger.now() - age)[:-8] + f"{number:08x}"
    return ledger.add_run(state, id=identity, **columns)


def test_final_runs_past_their_time_are_deleted_and_no_others(ledger: Ledger) -> None:
    for number, state in enumerate(State):
        old_run(ledger, state, 91 * DAYS, number)
        old_run(ledger, state, 89 * DAYS, number)
        ledger.add_run(state)

    deleted = purge_runs(ledger.engine, ledger.now() - 90 * DAYS)

    assert deleted == len(FINAL)
    assert ledger.states() == {state: 2 if state in FINAL else 3 for state in State}


def test_more_than_a_batch_is_deleted_past_runs_that_stay(ledger: Ledger) -> None:
    for number in range(3):
        old_run(ledger, State.RETRY, 91 * DAYS, number)
    many = BATCH * 2 + 7
    oldest = first_id_at(ledger.now() - 91 * DAYS)[:-8]
    now = ledger.now()
    ledger.add_runs(
        State.SUCCESS,
        ({"id": f"{oldest}{n:08x}", "scheduled_for": now + n * SECOND} for n in range(1000, 1000 + many)),
    )

    assert purge_runs(ledger.engine, ledger.now() - 90 * DAYS) == many
    assert ledger.states() == {"RETRY": 3}


def test_an_empty_ledger_has_nothing_to_delete(ledger: Ledger) -> None:
    assert purge_runs(ledger.engine, ledger.now()) == 0


def test_an_id_says_when_the_run_was_created(ledger: Ledger) -> None:
    run = ledger.add_run()

    with autocommit(ledger.engine) as connection:
        assert not has_runs_before(connection, ledger.now() - timedelta(minutes=1))
        assert has_runs_before(connection, ledger.now() + timedelta(minutes=1))
    assert first_id_at(ledger.now() - DAYS) < run < first_id_at(ledger.now() + DAYS)


def purges(ledger: Ledger) -> list[Any]:
    return [run for run in ledger.runs() if run.task_name == "tasks.purge_runs"]


def test_beats_order_one_purge_an_hour_where_there_is_something_to_delete(ledger: Ledger, new_beat: NewBeat) -> None:
    new_beat().keeper.order_purge()
    assert purges(ledger) == []

    old_run(ledger, State.SUCCESS, 91 * DAYS)
    for beat in (new_beat(), new_beat(), new_beat()):
        beat.keeper.order_purge()

    (order,) = purges(ledger)
    assert (order.queue, order.state, order.origin, order.periodic_task_id) == ("system", "PENDING", "api", None)


def test_retention_of_zero_days_keeps_all(ledger: Ledger, new_beat: NewBeat) -> None:
    old_run(ledger, State.SUCCESS, 9_000 * DAYS)

    new_beat(run_retention_days=0).keeper.order_purge()

    assert purges(ledger) == []


def test_a_purge_order_counts_as_no_run_of_any_row(ledger: Ledger, beat: DatabaseScheduler) -> None:
    old_run(ledger, State.SUCCESS, 91 * DAYS)

    beat.keeper.order_purge()

    assert ledger.value("SELECT count(*) FROM task_run WHERE active_task_id IS NOT NULL") == 0


def entered(ledger: Ledger, count: int, age: timedelta) -> None:
    """Enter changes in the audit as they would stand there after `age`."""
    with transaction(ledger.engine) as tx:
        for _ in range(count):
            audit.record(tx, audit.Actor("ann", "token"), audit.Change(action="task.update", subject=1))
    moment = moment_text(ledger.now() - age)
    ledger.sql("UPDATE audit_log SET create_time = :moment WHERE create_time > :recent", moment=moment, recent=RECENT)


def test_the_audit_past_its_time_is_deleted_in_batches_and_says_so(ledger: Ledger) -> None:
    entered(ledger, BATCH + 3, 9_000 * DAYS)
    entered(ledger, 2, timedelta())
    ledger.sql(
        "INSERT INTO bulk_change (id, actor, selection, change_to, changed, create_time) VALUES "
        "('old', 'ann', '{}', '{}', 1, '2001-01-01 00:00:00'), ('new', 'ann', '{}', '{}', 1, '2038-01-01 00:00:00')"
    )

    assert purge_audit(ledger.engine, ledger.now() - 365 * DAYS) == BATCH + 3
    assert purge_audit(ledger.engine, ledger.now() - 365 * DAYS) == 0

    left = ledger.sql("SELECT action, actor, new_value FROM audit_log ORDER BY id")
    assert [row.action for row in left] == ["task.update", "task.update", "audit.purge"]
    assert json.loads(left[-1].new_value)["entries"] == BATCH + 3
    assert [row.id for row in ledger.sql("SELECT id FROM bulk_change")] == ["new"]


def test_the_audit_alone_orders_a_purge_where_its_retention_is_set(ledger: Ledger, new_beat: NewBeat) -> None:
    entered(ledger, 1, 9_000 * DAYS)
    new_beat().keeper.order_purge()
    assert purges(ledger) == []

    new_beat(run_retention_days=0, audit_retention_days=365).keeper.order_purge()

    assert len(purges(ledger)) == 1
