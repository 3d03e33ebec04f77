"""Rows read as JSON arrays, and values written as literals: no text in them means anything on the way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from core.lifecycle import State
from scheduler import DatabaseScheduler
from store import runs, schedules
from store.database import autocommit, transaction
from tests.integration.engine import EVERY_MINUTE, Ledger, agent

CONTROL = "".join(map(chr, range(1, 32)))
TEXTS = {
    "quotes": """'"`\\'\\"\\\\""",
    "parameters": "%s %(x)s %% :rows ? {}",
    "json": '",null],[{"a":1}',
    "escapes": r"\u0000 \n \x00 \\",
    "beyond ASCII": "é错误🚀\u2028\u2029\x7f\x85\xa0\ufeff",
    "no text": "",
    **{f"control characters from {n}": CONTROL[n : n + 10] for n in range(0, len(CONTROL), 10)},
}
WALL = datetime(2027, 3, 4, 5, 6, 7, 8)  # noqa: DTZ001 - wall clock


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_arming_reads_every_column_as_it_stands(ledger: Ledger, text: str) -> None:
    texts = ("crontab", "rrule", "timezone", "dst_policy", "calendar", "task_extra_config", "config_error")
    short = {column: text[:16] for column in ("calendar_roll", "catch_up", "overlap")}
    times = {column: WALL + timedelta(days=n) for n, column in enumerate(("run_at", "start_time", "end_time"))}
    numbers = {"enabled": 0, "interval_seconds": -3, "max_runs": 2**31 - 1, "jitter_seconds": 7, "run_count": 2**53 + 1}
    task = ledger.insert(f"row {text}", **dict.fromkeys(texts, text), **short, **times, **numbers)
    ledger.edit(task, next_run_at=WALL.replace(tzinfo=UTC))
    plain = ledger.insert("row with nothing", crontab=None, task_extra_config=None)

    with transaction(ledger.engine) as tx:
        read = {row.id: row for row in schedules.take_unarmed(tx, 10)}
        for row_id in (task, plain):
            (row,) = tx.execute(select(schedules.TABLE).where(schedules.T.id == row_id))
            assert as_it_stands(read[row_id]) == {name: row._mapping[name] for name in read[row_id]._fields} | anchor(
                row
            )


def as_it_stands(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = row._asdict()
    return found


def anchor(row: Any) -> dict[str, Any]:
    """What create_time is read as: it matters to rules that count from it alone."""
    return {"create_time": row.create_time if row.crontab is None and row.start_time is None else None}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_firing_reads_a_name_and_a_message_as_they_stand(ledger: Ledger, beat: DatabaseScheduler, text: str) -> None:
    config = agent(f"say {text}")
    task = ledger.insert(f"row {text}", crontab=EVERY_MINUTE, task_extra_config=config)
    beat.arm()
    ledger.owe(task)

    assert beat.fire() == 1

    (run,) = ledger.runs(task)
    assert (run.task_name, run.config) == (f"row {text}", config)


@pytest.mark.parametrize("text", ["' OR 1=1 -- ", "\\' OR 1=1 -- ", "%s", "%(ids_1)s", ":ids"])
def test_an_id_that_somebody_made_up_marks_no_other_run(ledger: Ledger, text: str) -> None:
    made_up, other = ledger.add_run(id=text), ledger.add_run()

    with autocommit(ledger.engine) as connection:
        runs.mark_queued(connection, [(made_up, 0)])

    assert (ledger.run(made_up).state, ledger.run(other).state) == (State.QUEUED, State.PENDING)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_is_written_of_many_rows_comes_back_as_it_was(ledger: Ledger, text: str) -> None:
    tasks = [ledger.insert(f"row {n}") for n in range(2)]
    said = {"next_run_at": None, "config_error": f"x{text}", "hint": f"y{text}", "armed_for": "", "rearm_at": None}

    with transaction(ledger.engine) as tx:
        schedules.set_armed(tx, [{"id": task, **said} for task in tasks])

    for row in map(ledger.task, tasks):
        assert (row.config_error, row.hint) == (f"x{text}", f"y{text}")
