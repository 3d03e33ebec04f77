"""What the console asks the ledger: the right rows in the right order, at a cost that does not grow with the rest."""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import Connection

from core.lifecycle import State
from scheduler import DatabaseScheduler
from store import attention, migrate, outcomes
from store.database import autocommit, connect, read_clock
from store.housekeeping import first_id_at
from tests.integration.engine import Ledger
from tests.services import MariaDBServer
from web.outcome_history import STEPS, OutcomeHistory

HOUR = timedelta(hours=1)


def run_id(ledger: Ledger, age: timedelta, number: int = 0) -> str:
    return first_id_at(ledger.now() - age)[:-4] + f"{number:04x}"


def test_failing_rows_are_named_with_their_last_error_the_newest_in_front(ledger: Ledger) -> None:
    old, new, mended = (ledger.insert(name) for name in ("old", "new", "mended"))
    now = ledger.now()
    for age, task_id in ((5, old), (4, old), (3, mended), (2, new)):
        moment = now - age * HOUR
        failed = {
            "id": run_id(ledger, age * HOUR),
            "scheduled_for": moment,
            "ready_at": moment,
            "periodic_task_id": task_id,
        }
        ledger.add_run(State.FAILURE, **failed, error=f"{age} hours ago")
    ledger.add_run(State.FAILURE, error="of no row")
    for task_id in (old, new):
        ledger.edit(task_id, consecutive_failures=2)

    with autocommit(ledger.engine) as connection:
        found, first = attention.failing(connection, 10), attention.failing(connection, 1)

    assert [(row.name, row.error) for row in found.rows] == [("new", "2 hours ago"), ("old", "4 hours ago")]
    assert ([row.name for row in first.rows], first.found, first.is_more) == (["new"], 2, False)


def test_broken_and_paused_rows_are_those_that_arming_left_so(ledger: Ledger, beat: DatabaseScheduler) -> None:
    ledger.insert("sound")
    ledger.insert("broken", crontab="61 * * * *")
    ledger.insert("paused", enabled=0, pause_reason="new model")
    ledger.insert("finished", crontab=None, interval_seconds=60, end_time=ledger.now() - HOUR)
    beat.tick()

    with autocommit(ledger.engine) as connection:
        broken, paused = attention.broken(connection, 5), attention.paused(connection, 5)
        coming = outcomes.next_fires(connection, 5)

    assert [(row.name, "61" in row.config_error) for row in broken.rows] == [("broken", True)]
    assert [(row.name, row.pause_reason) for row in paused.rows] == [("paused", "new model")]
    assert [row.name for row in coming] == ["sound"]


def test_runs_that_ask_for_a_person_are_forgotten_after_a_while(ledger: Ledger) -> None:
    now = ledger.now()
    for age in (1, 30, 3):
        moment = now - age * HOUR
        ledger.add_run(State.REQUIRES_ACTION, task_name=f"{age}", scheduled_for=moment, ready_at=moment)

    with autocommit(ledger.engine) as connection:
        found = attention.asking(connection, now - 24 * HOUR, 5)

    assert [row.task_name for row in found.rows] == ["1", "3"]


def test_each_row_gets_its_own_last_runs_oldest_first(ledger: Ledger) -> None:
    many, few, none = (ledger.insert(name) for name in ("many", "few", "none"))
    now = ledger.now()
    moments = [now - n * HOUR for n in range(6)]
    for task_id, count in ((many, 6), (few, 2)):
        for moment in moments[:count]:
            ledger.add_run(State.SUCCESS, periodic_task_id=task_id, scheduled_for=moment)
    ledger.add_run(State.FAILURE, periodic_task_id=many, scheduled_for=now, origin="manual")

    with autocommit(ledger.engine) as connection:
        found = outcomes.last_of(connection, [many, few, none], 3)
        nothing = outcomes.last_of(connection, [], 3)

    assert [row.scheduled_for for row in found[many]] == moments[2::-1]
    assert [row.state for row in found[few]] == [State.SUCCESS] * 2
    assert none not in found
    assert nothing == {}


def test_the_history_counts_each_run_in_its_half_hour_and_keeps_what_it_counted(ledger: Ledger) -> None:
    for number in range(3):
        ledger.add_run(State.SUCCESS, id=run_id(ledger, 5 * HOUR, number))
    ledger.add_run(State.SKIPPED, id=run_id(ledger, timedelta()), ready_at=None)
    ledger.add_run(State.SUCCESS, id=run_id(ledger, 30 * HOUR))
    history = OutcomeHistory(ledger.engine)

    stretches = history.ask(ledger.now())
    while any(stretch.counts is None for stretch in stretches):  # it counts for a moment at each question
        stretches = history.ask(ledger.now())

    told = [stretch.counts for stretch in stretches if stretch.counts]
    assert len(stretches) == STEPS
    assert told == [{"SUCCESS": 3}, {"SKIPPED": 1}]
    ledger.sql("DELETE FROM task_run")
    assert {"SUCCESS": 3} in [stretch.counts for stretch in history.ask(ledger.now())]  # older ones are remembered


def test_nobody_waits_for_the_history_while_the_ledger_does_not_answer(mariadb: MariaDBServer) -> None:
    engine = connect(mariadb.create_database("history_locked"))
    migrate.upgrade(engine)
    history = OutcomeHistory(engine)
    with autocommit(engine) as connection:
        now = read_clock(connection)
        connection.exec_driver_sql("LOCK TABLES task_run WRITE")
        begun = monotonic()
        blocked = [history.ask(now) for _ in range(10)]
        took = monotonic() - begun
        waiting = connection.exec_driver_sql("SHOW PROCESSLIST").all()
        connection.exec_driver_sql("UNLOCK TABLES")

    assert {stretch.counts for stretches in blocked for stretch in stretches} == {None}
    assert took < 5  # ten times PATIENCE, on a busy machine
    assert len([row for row in waiting if "lock" in str(row).lower() and "task_run" in str(row)]) <= 2  # it, and LOCK
    while any(stretch.counts is None for stretch in history.ask(now)):
        sleep(0.01)
    engine.dispose()


def test_used_up_budgets_are_named_for_the_length_of_their_window(ledger: Ledger) -> None:
    task_id = ledger.insert("dear")
    columns = "(endpoint, periodic_task_id, amount, unit, window_seconds, at_limit, reached_at)"
    now = ledger.now().replace(tzinfo=None)
    for endpoint, task, ago in (("gpt", None, 10), (None, task_id, 20), ("old", None, 7200)):
        ledger.sql(
            f"INSERT INTO budget {columns} VALUES (:endpoint, :task, 5, 'USD', 3600, 'skip', :at)",
            endpoint=endpoint, task=task, at=str(now - timedelta(seconds=ago)),
        )  # fmt: skip

    with autocommit(ledger.engine) as connection:
        found = attention.used_up(connection, ledger.now())
    ledger.sql("DELETE FROM budget")

    assert [row.endpoint or row.name for row in found] == ["gpt", "dear"]


QUESTIONS: dict[str, Callable[[Connection], Any]] = {
    "failing": lambda connection: attention.failing(connection, 4),
    "asking": lambda connection: attention.asking(connection, read_clock(connection) - 24 * HOUR, 4),
    "broken": lambda connection: attention.broken(connection, 4),
    "paused": lambda connection: attention.paused(connection, 4),
    "next_fires": lambda connection: outcomes.next_fires(connection, 12),
    "newest": lambda connection: outcomes.newest(connection, 100),
    "last_of": lambda connection: outcomes.last_of(connection, range(1, 51), 20),
    "by_state": lambda connection: outcomes.by_state(connection, read_clock(connection) - HOUR, read_clock(connection)),
}


@pytest.fixture(scope="module")
def crowded(mariadb: MariaDBServer) -> Any:
    """30,000 rows and as many runs, none of which is what is looked for."""
    engine = connect(mariadb.create_database("attention_plans"))
    migrate.upgrade(engine)
    with autocommit(engine) as connection:
        for statement in (
            "INSERT INTO task_run "
            "(id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, config) "
            "SELECT CONCAT('0000', LPAD(seq, 32, '0')), 100000 + seq, 'x', 'schedule', NOW(6), NOW(6), 'SUCCESS', "
            "'celery', '{}' FROM seq_1_to_30000",
            "INSERT INTO periodic_task (name, task_extra_config) SELECT seq, '{}' FROM seq_1_to_30000",
            "UPDATE periodic_task SET armed_for = CONCAT(schedule_fingerprint, ':', checked_fingerprint), "
            "next_run_at = NOW(6) + INTERVAL 1 DAY",
            "ANALYZE TABLE task_run, periodic_task",
        ):
            connection.exec_driver_sql(statement)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_reads_few_rows_whatever_there_is_beside(crowded: Any, question: str) -> None:
    with autocommit(crowded) as connection:

        def reads() -> int:
            rows = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_%%'")
            return sum(int(row[1]) for row in rows)

        before = reads()
        QUESTIONS[question](connection)
        read = reads() - before

    assert read < 1000
