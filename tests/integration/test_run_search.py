"""Searching the ledger: exactly what a plain filter over all rows gives, at the cost of a bounded number of them.

The pieces are made small here, so that a search goes on over many of them.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from core.lifecycle import Origin, State
from store import migrate, run_changes, run_search, runs, seed_figures
from store.database import autocommit, connect, transaction
from store.housekeeping import first_id_at
from store.run_search import Wanted
from tests.integration.engine import Ledger, agent
from tests.services import MariaDBServer

RUNS = 90
START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(seconds=1)
QUEUES, KINDS = ("system", "priority_low", "data"), ("timeout", "server_error", None)


def _filled(ledger: Ledger) -> list[dict[str, Any]]:
    """One run a second, of every sort, newest first."""
    chance = random.Random(7)
    rows = []
    for number in range(RUNS):
        moment = START + number * STEP
        state = chance.choice(list(State))
        rows.append(
            {
                "id": first_id_at(moment)[:-4] + f"{number:04x}",
                "periodic_task_id": chance.choice([1, 2, 3, None]),
                "task_name": chance.choice(["日报", "sync"]),
                "origin": chance.choice(list(Origin)).value,
                "scheduled_for": moment,
                "ready_at": None if state is State.PENDING and number % 2 else moment,
                "state": state.value,
                "queue": chance.choice(QUEUES),
                "priority": 5,
                "attempt": 1,
                "config": agent(),
                "worker": "w",
                "deadline_at": moment,
                "error": "no",
                "error_kind": chance.choice(KINDS),
            }
        )
    with transaction(ledger.engine) as tx:
        tx.execute(insert(runs.TABLE), rows)
    return rows[::-1]


def _meets(row: dict[str, Any], wanted: Wanted) -> bool:
    asked = {
        "periodic_task_id": wanted.task_id, "task_name": wanted.task_name, "origin": wanted.origin,
        "queue": wanted.queue, "error_kind": wanted.error_kind,
    }  # fmt: skip
    return (
        all(value is None or row[name] == value for name, value in asked.items())
        and (not wanted.states or row["state"] in wanted.states)
        and (wanted.since is None or row["scheduled_for"] >= wanted.since)
        and (wanted.until is None or row["scheduled_for"] < wanted.until)
    )


def _filters() -> Iterator[Wanted]:
    """Every single filter, and twenty mixtures."""
    single: dict[str, list[Any]] = {
        "states": [(state,) for state in State] + [(State.FAILURE, State.SUCCESS)],
        "task_id": [1, 9],
        "task_name": ["日报", "nobody"],
        "origin": list(Origin),
        "queue": list(QUEUES),
        "error_kind": ["timeout", "nothing"],
        "since": [START + 30 * STEP],
        "until": [START + 70 * STEP, START],
    }
    yield Wanted()
    yield from (Wanted(**{name: value}) for name, values in single.items() for value in values)
    chance = random.Random(11)
    for _ in range(20):
        names = chance.sample(sorted(single), chance.randint(2, 4))
        yield Wanted(**{name: chance.choice(single[name]) for name in names})


@pytest.fixture(
    params=[(20, 10_000, 0), (20, 5, 0), (20, 10_000, 16)], ids=["every index", "by id only", "a first look"]
)
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "PIECE", request.param[0])
    monkeypatch.setattr(run_search, "SORTABLE", request.param[1])
    monkeypatch.setattr(run_search, "FIRST_LOOK", request.param[2])


@pytest.mark.usefixtures("bounds")
def test_a_search_finds_exactly_the_runs_that_meet_the_filter_newest_first(ledger: Ledger) -> None:
    rows = _filled(ledger)

    with autocommit(ledger.engine) as connection:
        for wanted in _filters():
            expected = [row["id"] for row in rows if _meets(row, wanted)]
            assert _all_pages(connection, wanted, limit=13) == expected, wanted


@pytest.mark.usefixtures("bounds")
def test_no_run_is_lost_between_pages_of_any_length(ledger: Ledger) -> None:
    wanted = Wanted(states=(State.SUCCESS, State.FAILURE))
    expected = [row["id"] for row in _filled(ledger) if _meets(row, wanted)]

    with autocommit(ledger.engine) as connection:
        for limit in range(1, 16):
            assert _all_pages(connection, wanted, limit=limit) == expected, limit


def _all_pages(connection: Connection, wanted: Wanted, limit: int) -> list[str]:
    found: list[str] = []
    before: str | None = None
    for _ in range(RUNS):
        page = run_search.search(connection, wanted, before, limit)
        assert len(page.rows) <= limit
        found += [row.id for row in page.rows]
        before = page.resume_before
        if before is None:
            return found
    raise AssertionError(f"the search never ends: {wanted}")


def test_a_page_by_offset_and_a_count_say_the_same(ledger: Ledger) -> None:
    rows = _filled(ledger)

    with autocommit(ledger.engine) as connection:
        for wanted in _filters():
            expected = [row["id"] for row in rows if _meets(row, wanted)]
            page = run_search.newest(connection, wanted, 5, 10, [runs.R.id])
            assert [row.id for row in page] == expected[5:15], wanted
            assert run_search.count(connection, wanted, 1000) == len(expected), wanted
            assert run_search.count(connection, wanted, 3) == min(len(expected), 3), wanted


def test_facets_count_what_is_there(ledger: Ledger) -> None:
    rows = [row for row in _filled(ledger) if row["origin"] == "api"]

    with autocommit(ledger.engine) as connection:
        found = run_search.facets(connection, Wanted(origin=Origin.API))

    assert found.examined == len(rows)
    assert found.reaches_to is None
    for name in ("state", "origin", "queue", "error_kind"):
        assert found.counts[name] == Counter(row[name] for row in rows if row[name] is not None)
    tasks = Counter((row["periodic_task_id"], row["task_name"]) for row in rows)
    assert {(row.periodic_task_id, row.task_name): row.runs for row in found.tasks} == tasks


def test_facets_look_at_the_newest_piece_only_and_say_so(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "PIECE", 50)
    rows = _filled(ledger)

    with autocommit(ledger.engine) as connection:
        found = run_search.facets(connection, Wanted())

    assert found.examined == 50
    assert found.reaches_to == rows[49]["id"]
    assert found.counts["state"] == Counter(row["state"] for row in rows[:50])


def test_sums_are_the_same_whatever_the_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed_figures, "PIECE", 7)
    rows = _filled(ledger)
    ledger.sql("UPDATE task_run SET task_name = 'x.data_tasks.sync' WHERE task_name = 'sync'")
    ledger.sql("UPDATE task_run SET task_name = 'x.Data_Tasks.sync' WHERE state = 'RETRY'")
    ledger.sql("UPDATE task_run SET started_at = '2026-03-01 00:00:00', finished_at = '2026-03-01 00:00:02.5'")
    since, until = START + 10 * STEP, START + 80 * STEP

    with autocommit(ledger.engine) as connection:
        found = seed_figures.between(connection, since, until, ("data_tasks", "report_tasks"), seconds=60)
        newest = seed_figures.between(connection, since, until, ("data_tasks",), seconds=0)

    looked_at = [row for row in rows if since <= row["scheduled_for"] < until]
    runs, failed = Counter[Any](), Counter[Any]()
    for each in found:
        runs[each.module, each.queue] += each.runs
        failed[each.module, each.queue] += each.failed
        assert each.seconds == pytest.approx(2.5, abs=1e-3)
    modules = [(_module(row), row["queue"], row["state"]) for row in looked_at]
    assert runs == Counter((module, queue) for module, queue, _ in modules)
    assert +failed == Counter((module, queue) for module, queue, state in modules if state == "FAILURE")
    assert sum(each.runs for each in newest) == 7  # there was no time for a second piece


def _module(row: dict[str, Any]) -> str | None:
    return "data_tasks" if row["task_name"] == "sync" and row["state"] != "RETRY" else None


def test_the_time_of_a_run_is_in_its_id() -> None:
    assert run_search.created_at(first_id_at(START)) == START
    assert run_search.created_at("not-a-uuid") is None
    assert run_search.created_at("6fa459ea-ee8a-3ca4-894e-db77e160355e") is None  # version 3
    assert run_search.created_at("ffffffff-ffff-7000-8000-000000000000") is None  # the year 10889


#: What the API asks of the ledger: name -> the call, and how many index entries and rows it may read in LARGE runs.
ASKED: dict[str, tuple[Callable[[Connection], object], int]] = {
    "search": (lambda c: run_search.search(c, Wanted(), None, 51), 200),
    "search, a common state": (lambda c: run_search.search(c, Wanted(states=(State.SUCCESS,)), None, 51), 3_000),
    "search, a rare state": (lambda c: run_search.search(c, Wanted(states=(State.FAILURE,)), None, 51), 8_000),
    "search, a task": (lambda c: run_search.search(c, Wanted(task_id=3), None, 51), 4_000),
    "search, a queue nobody used": (lambda c: run_search.search(c, Wanted(queue="x"), None, 51), 25_000),
    "search, a queue in a rare state": (
        lambda c: run_search.search(c, Wanted(queue="x", states=(State.FAILURE,)), None, 51), 10_000,
    ),
    "search, a task and a queue": (lambda c: run_search.search(c, Wanted(task_id=3, queue="x"), None, 51), 6_000),
    "facets": (lambda c: run_search.facets(c, Wanted()), 60_000),
    "retries_of": (lambda c: run_search.retries_of(c, run_search.search(c, Wanted(), None, 1).rows[0]), 200),
    "count, all": (lambda c: run_search.count(c, Wanted(), 5_000), 5_500),
    "count, a state": (lambda c: run_search.count(c, Wanted(states=(State.SUCCESS,)), 5_000), 5_500),
    "a page by offset": (lambda c: run_search.newest(c, Wanted(), 500, 50, [runs.R.id, runs.R.state]), 1_000),
    "lanes": (lambda c: run_changes.lanes(c, 1_000), 500),
    "waiting_in": (lambda c: run_changes.waiting_in(c, "celery", 100), 500),
    "sums of the newest runs": (lambda c: seed_figures.between(c, START, None, ("a",), seconds=0), 101_000),
    "count_by_state": (lambda c: seed_figures.count_by_state(c), 250_000),
}  # fmt: skip
LARGE = 100_000


@pytest.fixture(scope="module")
def large(mariadb: MariaDBServer) -> Iterator[Any]:
    """A hundred thousand runs of a hundred tasks; one of a hundred has failed."""
    engine = connect(mariadb.create_database("run_search_plans"))
    migrate.upgrade(engine)
    with autocommit(engine) as connection:
        connection.exec_driver_sql(
            "INSERT INTO task_run (id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, "
            "error, config) SELECT CONCAT('0195', LPAD(HEX(seq), 8, '0'), '-0000-7000-8000-00000000'), MOD(seq, 100), "
            "'x', 'schedule', '2026-01-01' + INTERVAL seq SECOND, '2026-01-01' + INTERVAL seq SECOND, "
            f"IF(MOD(seq, 100) = 7, 'FAILURE', 'SUCCESS'), 'celery', 'e', '{{}}' FROM seq_1_to_{LARGE}"
        )
        connection.exec_driver_sql("ANALYZE TABLE task_run")
    yield engine
    engine.dispose()
    mariadb.drop_database("run_search_plans")


@pytest.mark.parametrize("name", ASKED)
def test_a_question_reads_a_bounded_part_of_a_large_ledger(large: Any, name: str) -> None:
    ask, allowed = ASKED[name]
    reads = "SHOW SESSION STATUS LIKE 'Handler_read_%%'"
    with autocommit(large) as connection:
        before = sum(int(row[1]) for row in connection.exec_driver_sql(reads))
        ask(connection)
        read = sum(int(row[1]) for row in connection.exec_driver_sql(reads)) - before

    assert read <= allowed
