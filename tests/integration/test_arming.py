"""Arming: every edit by SQL is noticed, none is overwritten, and what the system writes is no edit."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url

from beat.rearm import rearm_after_changes
from core.lifecycle import State
from scheduler import ARM_BATCH, BROKEN_RETRY, DatabaseScheduler
from store import schedules
from store.database import autocommit, transaction
from tests.integration.conftest import NewBeat, on_servers
from tests.integration.engine import EVERY_MINUTE, INSERT, MINUTE, YEARLY, Ledger, agent

WHEN_EDITS: list[dict[str, Any]] = [
    {"enabled": 0},
    {"crontab": "5 0 1 1 *"},
    {"crontab": "0 0 1 jan *"},
    {"crontab": YEARLY + " "},
    {"crontab": ""},
    {"crontab": None},
    {"crontab": None, "interval_seconds": 60},
    {"interval_seconds": 60},
    {"rrule": "FREQ=DAILY"},
    {"rrule": ""},
    {"run_at": "2030-01-01 00:00:00"},
    {"timezone": "Asia/Tokyo"},
    {"timezone": ""},
    {"dst_policy": "skip"},
    {"calendar": "XSHG"},
    {"calendar_roll": "next"},
    {"start_time": "2020-01-01 00:00:00"},
    {"end_time": "2030-01-01 00:00:00.000001"},
    {"max_runs": 3},
    {"jitter_seconds": 1},
]
WHAT_EDITS: list[dict[str, Any]] = [
    {"task_extra_config": agent("Hello")},
    {"task_extra_config": agent("hello ")},
    {"task_extra_config": agent("héllo")},
    {"task_extra_config": agent() + " "},
    {"task_extra_config": ""},
    {"task_extra_config": None},
    {"catch_up": "all"},
    {"catch_up": "Latest"},
    {"catch_up_window_seconds": 3601},
    {"overlap": "allow"},
]
OTHER_EDITS: list[dict[str, Any]] = [
    {"name": "other"},
    {"description": "what it is for"},
    {"owner": "ops"},
    {"tags": "a,b"},
    {"pause_reason": "holiday"},
    {"update_by": "me"},
    {"run_now": 1},
    {"next_run_at": "2026-12-31 00:00:00"},
]
SESSIONS = {
    "latin1": ("latin1", ()),
    "gbk": ("gbk", ()),
    "utf16 collation": ("utf8mb4", ("SET collation_connection = utf16_general_ci",)),
    "western zone": ("utf8mb4", ("SET time_zone = '-11:00'",)),
    "eastern zone": ("utf8mb4", ("SET time_zone = '+13:00'",)),
    "no strictness": ("utf8mb4", ("SET sql_mode = ''",)),
    "ansi": ("utf8mb4", ("SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'",)),
    "padded": ("utf8mb4", ("SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'",)),
}


def change(ledger: Ledger, columns: dict[str, Any], name: str = "%") -> None:
    """Edit one row, or every row, as an operator does."""
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    ledger.sql(f"UPDATE periodic_task SET {assignments} WHERE name LIKE :where_name", **columns, where_name=name)


def insert_one_for_each(ledger: Ledger, edits: Iterable[str]) -> None:
    bounds = {"start_time": datetime(2019, 1, 1), "end_time": datetime(2030, 1, 1)}  # noqa: DTZ001 - wall clock
    ledger.insert_many({"name": name, "crontab": YEARLY, "task_extra_config": agent(), **bounds} for name in edits)


def needs_arming(ledger: Ledger) -> int:
    return int(ledger.value("SELECT sum(needs_arming) FROM periodic_task"))


def numbered(edits: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"edit {number}": edit for number, edit in enumerate(edits)}


def test_a_bare_insert_is_enough(ledger: Ledger, beat: DatabaseScheduler) -> None:
    statement = "INSERT INTO periodic_task (name, crontab, task_extra_config) VALUES (:name, :crontab, :config)"
    ledger.sql(statement, name="bare", crontab="*/5 * * * *", config=agent())

    assert beat.arm() == 1

    (row,) = ledger.sql("SELECT id FROM periodic_task")
    task = ledger.task(row.id)
    assert task.config_error is None
    assert ledger.now() < task.next_run_at <= ledger.now() + 5 * MINUTE
    assert task.next_run_at.minute % 5 == task.next_run_at.second == 0
    assert abs(task.create_time - ledger.now()) < MINUTE
    assert (task.enabled, task.run_now, task.run_count, task.catch_up, task.overlap) == (1, 0, 0, "latest", "skip")


def test_every_edit_of_what_a_row_is_armed_for_is_noticed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    edits = numbered([*WHEN_EDITS, *WHAT_EDITS])
    insert_one_for_each(ledger, edits)
    beat.arm()
    assert needs_arming(ledger) == 0

    for name, edit in edits.items():
        change(ledger, edit, name)

    unnoticed = ledger.sql("SELECT name FROM periodic_task WHERE needs_arming = 0")
    assert [edits[row.name] for row in unnoticed] == []
    assert beat.arm() == len(edits)
    assert needs_arming(ledger) == 0
    assert beat.arm() == 0


def test_an_edit_of_anything_else_is_no_edit_of_the_schedule(ledger: Ledger, beat: DatabaseScheduler) -> None:
    ledger.insert("row")
    beat.arm()

    for edit in OTHER_EDITS:
        change(ledger, edit)

    assert needs_arming(ledger) == 0


def test_an_edit_that_is_taken_back_leaves_the_next_moment_alone(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(interval_seconds=3600)
    beat.arm()
    due = ledger.owe(task, -MINUTE)

    change(ledger, {"interval_seconds": 7})
    change(ledger, {"interval_seconds": 3600})
    change(ledger, {"enabled": 0})
    change(ledger, {"enabled": 1})

    assert beat.arm() == 0
    assert abs(ledger.task(task).next_run_at - due) < timedelta(milliseconds=1)


def test_an_edit_of_what_the_row_does_leaves_the_next_moment_alone(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(interval_seconds=3600)
    beat.arm()
    due = ledger.owe(task, -MINUTE)

    change(ledger, {"task_extra_config": agent("new"), "catch_up": "all", "overlap": "allow"})
    assert beat.arm() == 1

    assert abs(ledger.task(task).next_run_at - due) < timedelta(milliseconds=1)


def test_an_edited_row_counts_on_from_the_moment_it_owes(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE)
    beat.arm()
    owed = ledger.owe_minutes(task, 5)

    change(ledger, {"crontab": "*/1 * * * *"})
    beat.arm()

    assert ledger.task(task).next_run_at == owed


def test_a_disabled_row_is_disarmed_and_owes_nothing_when_it_comes_back(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE)
    beat.arm()
    ledger.owe_minutes(task, 5)

    change(ledger, {"enabled": 0})
    beat.run_due()
    assert ledger.task(task).next_run_at is None

    change(ledger, {"enabled": 1})
    beat.run_due()

    assert ledger.runs() == []
    assert ledger.task(task).next_run_at > ledger.now()


def test_a_row_disabled_or_deleted_while_due_does_not_fire(ledger: Ledger, beat: DatabaseScheduler) -> None:
    for name in ("disabled", "deleted", "kept"):
        ledger.insert(name)
    beat.arm()
    ledger.sql("UPDATE periodic_task SET next_run_at = '2026-01-01'")
    ledger.sql("UPDATE periodic_task SET enabled = 0 WHERE name = 'disabled'")
    ledger.sql("DELETE FROM periodic_task WHERE name = 'deleted'")

    beat.fire()

    assert [run.task_name for run in ledger.runs()] == ["kept"]


def test_a_moment_set_by_hand_is_owed_and_then_the_schedule_goes_on(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab="0 0 1 1 *")
    beat.arm()
    regular = ledger.task(task).next_run_at

    by_hand = ledger.owe(task, timedelta(seconds=1))
    beat.run_due()

    (run,) = ledger.runs()
    assert abs(run.scheduled_for - by_hand) < timedelta(milliseconds=1)
    assert run.state == "PENDING"
    assert ledger.task(task).next_run_at == regular


def test_a_schedule_edit_wins_over_a_moment_set_in_the_same_statement(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE)
    beat.arm()

    change(ledger, {"crontab": YEARLY, "next_run_at": "2100-01-01 00:00:00"})
    beat.arm()

    assert ledger.task(task).next_run_at < datetime(2100, 1, 1, tzinfo=UTC)


def test_run_at_in_the_past_is_armed_and_left_to_catch_up(ledger: Ledger, beat: DatabaseScheduler) -> None:
    past = ledger.now() - timedelta(minutes=10)
    task = ledger.insert(crontab=None, run_at=past.replace(tzinfo=None))

    beat.run_due()
    beat.run_due()

    assert [run.scheduled_for for run in ledger.runs(task)] == [past]
    assert ledger.states(task) == {"PENDING": 1}
    assert ledger.task(task).next_run_at is None
    assert ledger.task(task).hint.startswith("finished")


def test_wall_clock_columns_are_read_in_the_zone_of_the_row(ledger: Ledger, new_beat: NewBeat) -> None:
    named_zone = ledger.insert("named", crontab="0 9 * * *", timezone="Asia/Tokyo")
    default_zone = ledger.insert("default", crontab="0 9 * * *")

    new_beat(timezone="Asia/Shanghai").arm()

    assert ledger.task(named_zone).next_run_at.hour == 0
    assert ledger.task(default_zone).next_run_at.hour == 1


def test_a_changed_default_zone_arms_again_the_rows_it_concerns(ledger: Ledger, new_beat: NewBeat) -> None:
    named_zone = ledger.insert("named", crontab="0 9 * * *", timezone="Asia/Tokyo")
    default_zone = ledger.insert("default", crontab="0 9 * * *")
    rearm_after_changes(ledger.engine, "Asia/Shanghai")
    new_beat(timezone="Asia/Shanghai").arm()
    before = ledger.task(named_zone).armed_for

    assert rearm_after_changes(ledger.engine, "Asia/Tokyo") == 1
    assert rearm_after_changes(ledger.engine, "Asia/Tokyo") == 0
    assert new_beat(timezone="Asia/Tokyo").arm() == 1

    assert ledger.task(named_zone).armed_for == before
    assert ledger.task(named_zone).next_run_at.hour == ledger.task(default_zone).next_run_at.hour == 0


def test_a_big_import_is_armed_in_batches_and_does_not_starve_due_rows(ledger: Ledger, beat: DatabaseScheduler) -> None:
    due = ledger.insert("due")
    beat.arm()
    ledger.owe(due)
    ledger.insert_many(
        {"name": f"imported {i}", "crontab": YEARLY, "task_extra_config": agent()} for i in range(ARM_BATCH + 500)
    )

    beat.run_due()

    assert ledger.states(due) == {"PENDING": 1}
    assert needs_arming(ledger) == 500
    assert beat.arm() == 500


def test_a_row_whose_arming_raises_is_marked_and_not_picked_for_ever(ledger: Ledger, beat: DatabaseScheduler) -> None:
    end_of_time = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - wall clock
    edge = ledger.insert("edge", crontab=None, interval_seconds=300_000_000, start_time=end_of_time)
    good = ledger.insert("good", crontab=EVERY_MINUTE)

    beat.arm()

    assert beat.arm() == 0
    assert ledger.task(edge).armed_for is not None
    assert ledger.task(good).next_run_at is not None


# -- edits in between -------------------------------------------------------------------------------


def edit_at_once(ledger: Ledger) -> None:
    """Try an edit from another session without waiting for a lock."""
    statement = "UPDATE periodic_task SET crontab = '5 5 5 5 *'"
    if ledger.is_sqlite:
        with closing(sqlite3.connect(str(make_url(ledger.url).database), timeout=0)) as file:
            file.execute(statement)
            file.commit()
        return
    other = ledger.operator("SET innodb_lock_wait_timeout = 1")
    other.cursor().execute(statement)
    other.commit()


def test_an_edit_waits_while_a_beat_arms_the_row(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert()

    with transaction(ledger.engine) as tx:
        assert len(schedules.take_unarmed(tx, 10)) == 1
        with pytest.raises((sqlite3.OperationalError, pymysql.err.OperationalError)):
            edit_at_once(ledger)

    edit_at_once(ledger)
    beat.arm()
    assert (ledger.task(task).next_run_at.month, ledger.task(task).next_run_at.minute) == (5, 5)


def test_an_edit_between_reading_and_writing_shows_at_once(ledger: Ledger, beat: DatabaseScheduler) -> None:
    """Even without the row lock nothing would be lost: armed_for is the fingerprint that was read."""
    task = ledger.insert()
    with transaction(ledger.engine) as tx:
        (row,) = schedules.take_unarmed(tx, 10)
        tx.exec_driver_sql("UPDATE periodic_task SET crontab = '5 5 5 5 *'")
        armed_for = f"{row.schedule_fingerprint}:{row.checked_fingerprint}"
        armed = {"next_run_at": ledger.task(task).create_time, "config_error": None, "hint": None, "rearm_at": None}
        schedules.set_armed(tx, [{"id": task, "armed_for": armed_for, **armed}])

    assert needs_arming(ledger) == 1
    assert beat.fire() == 0
    beat.arm()
    assert ledger.task(task).next_run_at.month == 5


@on_servers
def test_rows_in_an_operators_open_transaction_are_left_out_and_follow_at_commit(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    ledger.insert_many({"name": f"r{i}", "crontab": YEARLY, "task_extra_config": agent()} for i in range(10))
    operator = ledger.operator()
    cursor = operator.cursor()
    cursor.execute("UPDATE periodic_task SET crontab = '5 5 5 5 *' WHERE name = 'r3'")
    cursor.execute("SELECT id FROM periodic_task WHERE name = 'r4' FOR UPDATE")
    cursor.execute("DELETE FROM periodic_task WHERE name = 'r5'")
    cursor.execute(INSERT, ("new", YEARLY, agent()))

    assert beat.arm() == 7

    operator.commit()
    assert beat.arm() == 3
    assert {row.name for row in ledger.sql("SELECT name FROM periodic_task")} >= {"new", "r3", "r4"}
    assert ledger.value("SELECT month(next_run_at) FROM periodic_task WHERE name = 'r3'") == 5


@on_servers
def test_an_operators_old_read_view_hides_nothing(ledger: Ledger, beat: DatabaseScheduler) -> None:
    ledger.operator().cursor().execute("SELECT count(*) FROM periodic_task")

    task = ledger.insert()
    beat.arm()
    ledger.owe(task)
    beat.fire()

    assert ledger.states(task) == {"PENDING": 1}


# -- other sessions ---------------------------------------------------------------------------------


@on_servers
@pytest.mark.parametrize("session", SESSIONS)
def test_edits_are_noticed_exactly_from_any_kind_of_session(
    ledger: Ledger, beat: DatabaseScheduler, session: str
) -> None:
    charset, settings = SESSIONS[session]
    cursor = ledger.operator("SET autocommit = 1", *settings, charset=charset).cursor()
    cursor.execute(INSERT, ("café", "0 9 * * *", agent("é")))
    assert beat.arm() == 1
    assert needs_arming(ledger) == 0

    for edit in (
        "timezone = 'Asia/Tokyo'",
        "start_time = '2020-01-01'",
        "max_runs = 7",
        "enabled = 0",
        "overlap = 'x'",
    ):
        cursor.execute(f"UPDATE periodic_task SET {edit}")
        assert beat.arm() == 1, edit
        assert needs_arming(ledger) == 0, edit
    cursor.execute("UPDATE periodic_task SET description = 'é', run_count = run_count + 1")
    assert beat.arm() == 0

    (row,) = ledger.sql("SELECT name, task_extra_config FROM periodic_task")
    assert (row.name, row.task_extra_config) == ("café", agent("é"))


@on_servers
def test_a_gbk_session_writes_chinese_that_is_read_back(ledger: Ledger, beat: DatabaseScheduler) -> None:
    operator = ledger.operator(charset="gbk")
    operator.cursor().execute(INSERT, ("日报", YEARLY, agent("生成日报")))
    operator.commit()

    beat.arm()

    (row,) = ledger.sql("SELECT name, config_error, task_extra_config FROM periodic_task")
    assert tuple(row) == ("日报", None, agent("生成日报"))


# -- update_time ------------------------------------------------------------------------------------


def test_what_the_system_writes_leaves_update_time_alone(ledger: Ledger, beat: DatabaseScheduler) -> None:
    written = datetime(2026, 1, 1, tzinfo=UTC)
    task = ledger.insert(crontab=EVERY_MINUTE, update_time=written)
    beat.arm()
    ledger.owe_minutes(task, 2)
    ledger.sql("UPDATE periodic_task SET run_now = 1")
    beat.fire()
    beat.fire_manual()
    with autocommit(ledger.engine) as connection:
        schedules.record_outcome(connection, "", task, State.FAILURE)
    with transaction(ledger.engine) as tx:
        schedules.mark_for_arming(tx, [task])
    beat.arm()

    row = ledger.task(task)
    assert (row.run_now, row.last_run_state, row.consecutive_failures) == (0, "FAILURE", 1)
    assert row.update_time == written


def test_every_edit_of_an_operator_moves_update_time(ledger: Ledger) -> None:
    edits = numbered([*WHEN_EDITS, *WHAT_EDITS, *OTHER_EDITS[1:5]])
    insert_one_for_each(ledger, edits)
    ledger.sql("UPDATE periodic_task SET update_time = '2026-01-01 00:00:00'")

    for name, edit in edits.items():
        change(ledger, edit, name)

    assert len(ledger.sql("SELECT id FROM periodic_task")) == len(edits)
    unmoved = ledger.sql("SELECT name FROM periodic_task WHERE update_time < '2026-01-02'")
    assert [edits[row.name] for row in unmoved] == []


@on_servers
def test_times_are_utc_whatever_the_zone_of_the_session(ledger: Ledger) -> None:
    operator = ledger.operator("SET time_zone = '+08:00'")
    operator.cursor().execute(INSERT, ("row", YEARLY, agent()))
    operator.cursor().execute("UPDATE periodic_task SET crontab = '1 * * * *'")
    operator.commit()

    (row,) = ledger.sql("SELECT id FROM periodic_task")
    task = ledger.task(row.id)
    assert abs(task.create_time - ledger.now()) < MINUTE
    assert abs(task.update_time - ledger.now()) < MINUTE
    assert task.update_time > task.create_time


def test_a_long_error_is_stored_cut_and_not_lost(ledger: Ledger) -> None:
    task = ledger.insert()
    error = "错误🚀" * 2000
    row = {"id": task, "next_run_at": None, "hint": None, "armed_for": "x", "rearm_at": None}

    with transaction(ledger.engine) as tx:
        schedules.set_armed(tx, [{**row, "config_error": error}])

    stored = ledger.task(task).config_error
    assert len(stored) >= 1000
    assert error.startswith(stored)


def test_sound_and_broken_rows_of_one_batch_are_each_written_whole(ledger: Ledger, beat: DatabaseScheduler) -> None:
    sound, hinted = ledger.insert("sound", crontab=YEARLY), ledger.insert("hinted", crontab="*/7 * * * *")
    broken, mended = ledger.insert("broken", crontab="x"), ledger.insert("mended", crontab="x")
    assert beat.arm() == 4
    ledger.edit(mended, crontab=YEARLY)
    ledger.edit(hinted, crontab=YEARLY)
    ledger.edit(broken, crontab="y")
    ledger.edit(sound, crontab="*/7 * * * *")

    assert beat.arm() == 4

    written = {task: ledger.task(task) for task in (sound, hinted, broken, mended)}
    is_set = {
        task: (row.next_run_at is not None, bool(row.config_error), bool(row.hint), row.rearm_at is not None)
        for task, row in written.items()
    }
    assert is_set == {
        sound: (True, False, True, False),
        hinted: (True, False, False, False),
        broken: (False, True, False, True),
        mended: (True, False, False, False),
    }


def test_due_rows_do_not_wait_for_an_import_to_be_armed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    due = ledger.insert("due", crontab=EVERY_MINUTE)
    beat.arm()
    ledger.owe(due)
    imported = ledger.insert("imported", crontab="x")

    beat.run_due()

    (run,) = ledger.runs(due)
    armed_at = ledger.task(imported).rearm_at - BROKEN_RETRY
    assert run.ready_at < armed_at
