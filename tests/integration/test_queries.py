"""Every hot query reads what it needs and no more, in a ledger of 20,000 idle rows and 20,000 finished runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert

from core.calendars import NO_OVERRIDES
from core.lifecycle import Origin, State
from store import (
    backfills,
    calendar_days,
    housekeeping,
    last_runs,
    leases,
    lookout,
    notifications,
    overview,
    pulse,
    run_batches,
    runs,
    schedules,
    tasks,
)
from store.database import autocommit, transaction
from store.runs import Claim, Ending, NewRun
from store.tasks import Selection
from tests.conftest import DATABASES, fresh_database
from tests.integration.engine import YEARLY, Ledger, agent, migrated

IDLE = 20_000
BUSY = 20
STEPS_PER_ROW = 60
PER_TABLE = ("periodic_task", "task_run")

Statement = tuple[str, Any]


@dataclass(frozen=True)
class Crowd:
    """The ledger, and the ids of a few rows and runs in each condition."""

    ledger: Ledger
    now: datetime
    due: list[int]
    run_ids: dict[str, list[str]]


@pytest.fixture(scope="module", params=DATABASES)
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    for url in fresh_database(request, tmp_path_factory.mktemp("crowd")):
        ledger = migrated(url)
        yield _fill(ledger)
        ledger.close()


def _fill(ledger: Ledger) -> Crowd:
    """Idle rows and finished runs by the thousand, and BUSY of everything that a beat or a worker looks for."""
    now = ledger.now()
    hour = timedelta(hours=1)
    idle = {"crontab": YEARLY, "task_extra_config": agent(), "run_now": 0, "next_run_at": now + 300 * 24 * hour}
    ledger.insert_many({**idle, "name": f"idle {i}"} for i in range(IDLE))
    _mark_armed(ledger)
    ledger.insert_many({**idle, "name": f"edited {i}", "next_run_at": None} for i in range(BUSY))
    ledger.sql("UPDATE periodic_task SET run_now = 1 WHERE id % 1000 = 3")
    ledger.sql("UPDATE periodic_task SET rearm_at = :past, config_error = 'x' WHERE id % 1000 = 4", past=_text(now))
    ledger.sql("UPDATE periodic_task SET next_run_at = :past WHERE id % 1000 = 5", past=_text(now - hour))
    due = [row.id for row in ledger.sql("SELECT id FROM periodic_task WHERE id % 1000 = 5")]

    made = [_run(now - 48 * hour + timedelta(seconds=i), State.SUCCESS, due[i % BUSY]) for i in range(IDLE)]
    waiting = {
        "PENDING": [_run(now, State.PENDING, due[i]) for i in range(BUSY)],
        "held": [_run(now + hour, State.PENDING, due[i], ready_at=None) for i in range(BUSY)],
        "QUEUED": [_run(now + 2 * hour, State.QUEUED, due[i], queued_at=now - hour) for i in range(BUSY)],
        "RETRY": [_run(now + 3 * hour, State.RETRY, due[i], attempt=1) for i in range(BUSY)],
        "STARTED": [
            _run(now + 4 * hour, State.STARTED, due[i], attempt=1, worker=f"w{i % 4}", deadline_at=now - hour)
            for i in range(BUSY)
        ],
    }
    with transaction(ledger.engine) as tx:
        for batch in (made, *waiting.values()):
            tx.execute(insert(runs.TABLE), batch)
        told = [*made[:BUSY], *waiting["STARTED"]]
        tx.execute(insert(notifications.DUE), [{"run_id": run["id"]} for run in told])
        for i in range(BUSY):
            tx.execute(insert(leases.LEASE).values(_lease(f"w{i}", now + (hour if i % 2 else -hour))))
    if not ledger.is_sqlite:
        ledger.sql("ANALYZE TABLE periodic_task, task_run, worker_lease")
    return Crowd(ledger, now, due, {name: [run["id"] for run in batch] for name, batch in waiting.items()})


def _mark_armed(ledger: Ledger) -> None:
    joined = "schedule_fingerprint || ':' || checked_fingerprint"
    if not ledger.is_sqlite:
        joined = "CONCAT(schedule_fingerprint, ':', checked_fingerprint)"
    ledger.sql(f"UPDATE periodic_task SET armed_for = {joined}")


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _run(moment: datetime, state: State, task_id: int, **columns: Any) -> dict[str, Any]:
    return {
        "id": runs.new_run_id(),
        "periodic_task_id": task_id,
        "task_name": "crowd",
        "origin": "schedule",
        "scheduled_for": moment,
        "ready_at": moment - timedelta(hours=5),
        "state": state,
        "queue": "priority_low",
        "priority": 5,
        "attempt": 0,
        "config": agent(),
        **columns,
    }


def _lease(worker: str, expires_at: datetime) -> dict[str, Any]:
    return {
        "id": worker,
        "pid": 1,
        "queues": "celery",
        "concurrency": 1,
        "started_at": expires_at,
        "expires_at": expires_at,
    }


def _new_run(crowd: Crowd, task_id: int, moment: datetime) -> NewRun:
    return NewRun(
        id=runs.new_run_id(),
        periodic_task_id=task_id,
        task_name="crowd",
        origin=Origin.SCHEDULE,
        scheduled_for=moment,
        ready_at=moment,
        state=State.PENDING,
        queue="priority_low",
        priority=5,
        config=agent(),
    )


ENDING = Ending(state=State.SUCCESS, result="x")
LEASE_TIME = timedelta(seconds=30)
ASKING = Selection(state=State.REQUIRES_ACTION)

#: What the engine asks of the ledger all day: name -> the call, and how many index entries and rows it may read.
HOT: dict[str, tuple[Callable[[Crowd, Connection], object], int]] = {
    "schedules.probe": (lambda c, tx: schedules.probe(tx, None), 10),
    "schedules.probe above the low-water mark": (lambda c, tx: schedules.probe(tx, c.now), 10),
    "schedules.take_unarmed": (lambda c, tx: schedules.take_unarmed(tx, 2000), 5 * BUSY),
    "schedules.set_armed": (lambda c, tx: schedules.set_armed(tx, _armed(c)), 5 * BUSY),
    "schedules.take_due": (lambda c, tx: schedules.take_due(tx, c.now, None, 1000), 5 * BUSY),
    "schedules.read_many": (lambda c, tx: schedules.read_many(tx, c.due), 5 * BUSY),
    "schedules.take_run_now": (lambda c, tx: schedules.take_run_now(tx, 1000), 5 * BUSY),
    "schedules.clear_run_now": (lambda c, tx: schedules.clear_run_now(tx, c.due, c.due, c.now), 10 * BUSY),
    "schedules.advance": (lambda c, tx: schedules.advance(tx, _advanced(c), c.now), 5 * BUSY),
    "schedules.mark_for_arming": (lambda c, tx: schedules.mark_for_arming(tx, c.due), 5 * BUSY),
    "schedules.armed_after": (lambda c, tx: schedules.armed_after(tx, c.due[0], "default_zone", limit=50), 60),
    "schedules.record_outcome": (lambda c, tx: schedules.record_outcome(tx, "", c.due[0], State.SUCCESS), 5),
    "runs.insert_runs": (
        lambda c, tx: runs.insert_runs(tx, [_new_run(c, task, c.now - LEASE_TIME) for task in c.due]),
        5 * BUSY,
    ),
    "runs.insert_runs with duplicates": (
        lambda c, tx: runs.insert_runs(tx, [_new_run(c, task, c.now) for task in c.due]),
        10 * BUSY,
    ),
    "runs.active_runs": (lambda c, tx: runs.active_runs(tx, c.due), 15 * BUSY),
    "runs.release_held": (lambda c, tx: runs.release_held(tx, 1000), 20 * BUSY),
    "runs.revoke_active": (lambda c, tx: runs.revoke_active(tx, c.due, [], "replaced"), 30 * BUSY),
    "runs.unsent": (lambda c, tx: runs.unsent(tx, older_than=c.now, limit=1000), 10 * BUSY),
    "runs.mark_queued": (lambda c, tx: runs.mark_queued(tx, [(run, 0) for run in c.run_ids["PENDING"]]), 5 * BUSY),
    "runs.queued_before": (lambda c, tx: runs.queued_before(tx, "priority_low", 5, c.now, 1000), 5 * BUSY),
    "runs.queued_lanes": (lambda c, tx: runs.queued_lanes(tx), 5 * BUSY),
    "runs.queued_at": (lambda c, tx: runs.queued_at(tx, c.run_ids["QUEUED"][0]), 5),
    "runs.touch_queued": (lambda c, tx: runs.touch_queued(tx, c.run_ids["QUEUED"]), 5 * BUSY),
    "runs.read": (lambda c, tx: runs.read(tx, c.run_ids["QUEUED"][0]), 5),
    "runs.claim": (lambda c, tx: runs.claim(tx, c.run_ids["QUEUED"][0], 0, "w", c.now), 5),
    "runs.finish": (lambda c, tx: runs.finish(tx, c.run_ids["STARTED"][0], "w0", 1, ENDING), 5),
    "runs.retry_later": (lambda c, tx: runs.retry_later(tx, c.run_ids["STARTED"][0], "w0", 1, ENDING, c.now), 5),
    "run_batches.lock_ready": (lambda c, tx: run_batches.lock_ready(tx, c.run_ids["QUEUED"]), 5 * BUSY),
    "run_batches.claim_locked": (
        lambda c, tx: run_batches.claim_locked(tx, c.run_ids["QUEUED"], 0, "w", c.now),
        5 * BUSY,
    ),
    "run_batches.lock_started": (lambda c, tx: run_batches.lock_started(tx, c.run_ids["STARTED"]), 5 * BUSY),
    "run_batches.finish_locked": (
        lambda c, tx: run_batches.finish_locked(tx, dict.fromkeys(c.run_ids["STARTED"], ENDING)),
        5 * BUSY,
    ),
    "run_batches.record_successes": (lambda c, tx: run_batches.record_successes(tx, c.due), 10 * BUSY),
    "runs.save_handle": (lambda c, tx: runs.save_handle(tx, c.run_ids["STARTED"][0], "w0", 1, "h"), 5),
    "runs.started_by": (lambda c, tx: runs.started_by(tx, "w0"), 5 * BUSY),
    "last_runs.last_conversation": (lambda c, tx: last_runs.last_conversation(tx, c.due[0]), 250),
    "last_runs.last_runs": (lambda c, tx: last_runs.last_runs(tx, _claim(c)), 250),
    "notifications.anything_due": (lambda c, tx: notifications.anything_due(tx), 5),
    "notifications.take_ended": (lambda c, tx: notifications.take_ended(tx, 500), 10 * BUSY),
    "backfills.occupied": (
        lambda c, tx: backfills.occupied(tx, c.due[0], c.now - timedelta(days=1), c.now + timedelta(days=1)),
        10 * BUSY,
    ),
    "leases.renew_worker": (lambda c, tx: leases.renew_worker(tx, "w1", LEASE_TIME), 5),
    "leases.living_workers": (lambda c, tx: leases.living_workers(tx), 5 * BUSY),
    "leases.remove_expired": (lambda c, tx: leases.remove_expired(tx, c.now), 10 * BUSY),
    "leases.orphaned_runs": (lambda c, tx: leases.orphaned_runs(tx, c.now, LEASE_TIME, 1000), 10 * BUSY),
    "lookout.cancelled_without_end": (lambda c, tx: lookout.cancelled_without_end(tx, c.now, 1000), 10),
    "lookout.end_of_piece": (lambda c, tx: lookout.end_of_piece(tx, None, 50), 120),
    "lookout.neighbours": (lambda c, tx: lookout.neighbours(tx, None, c.now, 50), 50 * BUSY),
    "lookout.silenced": (lambda c, tx: lookout.silenced(tx, 0, 50), 60),
    "lookout.without_words": (lambda c, tx: lookout.without_words(tx, "XSHG", "its data ends", 0, 50), 60),
    "calendar_days.in_use": (lambda c, tx: calendar_days.in_use(tx, NO_OVERRIDES), 10),
    "housekeeping.has_runs_before": (lambda c, tx: housekeeping.has_runs_before(tx, c.now), 5),
    "tasks.page": (lambda c, tx: tasks.page(tx, Selection(), c.due[0], 51), 250),
    "tasks.page of an owner": (lambda c, tx: tasks.page(tx, Selection(owner="nobody"), 0, 51), 10),
    "tasks.page by a part of names": (lambda c, tx: tasks.page(tx, Selection(name_contains="x"), 0, 51), 21_000),
    "tasks.page by a tag": (lambda c, tx: tasks.page(tx, Selection(tag="x"), 0, 51), 21_000),
    "tasks.page of those whose last run asks": (lambda c, tx: tasks.page(tx, ASKING, 0, 51), 21_000),
    "pulse.pulse": (lambda c, tx: pulse.pulse(tx), 5 * BUSY),
}
every_hot_query = pytest.mark.parametrize("name", HOT)


def _claim(crowd: Crowd) -> Claim:
    return Claim(crowd.run_ids["STARTED"][0], 1, "w0", crowd.due[0], "crowd", agent(), crowd.now, None)


def _armed(crowd: Crowd) -> list[dict[str, Any]]:
    row = {"next_run_at": crowd.now, "config_error": None, "hint": None, "armed_for": "x", "rearm_at": None}
    return [{"id": task, **row} for task in crowd.due]


def _advanced(crowd: Crowd) -> list[schedules.Moved]:
    return [schedules.Moved(task, crowd.now, 1) for task in crowd.due]


@contextmanager
def rolled_back(engine: Engine) -> Iterator[Connection]:
    """A transaction that leaves the crowd as it was."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection
        connection.exec_driver_sql("ROLLBACK")


@contextmanager
def recorded(engine: Engine) -> Iterator[list[Statement]]:
    """Collect the statements that reach the driver, with one set of parameters each."""
    statements: list[Statement] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool) -> None:
        statements.append((statement, parameters[0] if executemany else parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def explainable(statements: Sequence[Statement]) -> list[Statement]:
    return [item for item in statements if item[0].split()[0] in {"SELECT", "UPDATE", "DELETE"}]


@every_hot_query
def test_a_hot_query_goes_through_an_index(crowd: Crowd, name: str) -> None:
    engine = crowd.ledger.engine
    with recorded(engine) as statements, rolled_back(engine) as tx:
        HOT[name][0](crowd, tx)

    for statement, parameters in explainable(statements):
        with rolled_back(engine) as tx:
            plan = _sqlite_scans if crowd.ledger.is_sqlite else _mysql_scans
            assert plan(tx, statement, parameters) == [], statement


def _sqlite_scans(tx: Connection, statement: str, parameters: Any) -> list[str]:
    """Name the steps that walk a whole table; walking an index in its order up to a LIMIT is none."""
    steps = [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()]
    in_order = "LIMIT" in statement and not any(step.startswith("USE TEMP B-TREE") for step in steps)
    scans = [step for step in steps if step.startswith("SCAN") and any(table in step for table in PER_TABLE)]
    return [step for step in scans if not (in_order and "USING INDEX" in step)]


def _mysql_scans(tx: Connection, statement: str, parameters: Any) -> list[str]:
    rows = tx.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings().all()
    return [
        str(dict(row)) for row in rows if row["table"] in (*PER_TABLE, "t") and (row["type"] == "ALL" or not row["key"])
    ]


@every_hot_query
def test_a_hot_query_reads_what_it_needs_and_no_more(crowd: Crowd, name: str) -> None:
    call, allowed = HOT[name]

    with rolled_back(crowd.ledger.engine) as tx:
        reads = (_sqlite_reads if crowd.ledger.is_sqlite else _mysql_reads)(tx, lambda: call(crowd, tx))

    assert reads <= allowed


def _mysql_reads(tx: Connection, work: Callable[[], object]) -> int:
    """Count the index entries and rows that the session reads meanwhile."""

    def total() -> int:
        rows = tx.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_%%'").all()
        return sum(int(row[1]) for row in rows)

    before = total()
    work()
    return total() - before


def _sqlite_reads(tx: Connection, work: Callable[[], object]) -> int:
    """Tell how many rows the work is worth: SQLite counts the steps of its virtual machine, not rows."""
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return 0

    driver: Any = tx.connection.dbapi_connection
    driver.set_progress_handler(count, STEPS_PER_ROW)
    work()
    driver.set_progress_handler(None, 0)
    return calls


def test_a_tick_on_an_idle_table_is_one_query(crowd: Crowd) -> None:
    engine = crowd.ledger.engine

    with recorded(engine) as statements, autocommit(engine) as connection:
        schedules.probe(connection, None)

    assert len(explainable(statements)) == 1


def test_a_page_of_tasks_is_what_its_filter_says(crowd: Crowd) -> None:
    broken, after = Selection(broken=True, name_contains="IDLE"), 5_000
    crowd.ledger.sql("UPDATE periodic_task SET tags = 'a, night' WHERE id % 7000 = 6")

    with autocommit(crowd.ledger.engine) as connection:
        rows = tasks.page(connection, broken, after, 10)
        tagged = tasks.page(connection, Selection(tag="night"), 0, 2)

    assert [row.id for row in rows] == [after + 4 + 1000 * place for place in range(10)]
    assert {row.config_error for row in rows} == {"x"}
    assert [(row.id, row.tags) for row in tagged] == [(6, "a, night"), (7_006, "a, night")]


@pytest.mark.parametrize(("limit", "told"), [(IDLE, IDLE), (10 * IDLE, IDLE + BUSY)])
def test_tasks_are_counted_up_to_a_limit(crowd: Crowd, monkeypatch: pytest.MonkeyPatch, limit: int, told: int) -> None:
    monkeypatch.setattr(overview, "COUNT_LIMIT", limit)

    with autocommit(crowd.ledger.engine) as connection:
        assert overview.count_tasks(connection) == told


def test_moving_many_rows_on_is_one_statement(crowd: Crowd) -> None:
    engine = crowd.ledger.engine

    with recorded(engine) as statements, rolled_back(engine) as tx:
        schedules.advance(tx, _advanced(crowd), crowd.now)

    assert len(explainable(statements)) == 1
