"""The lookout: rows beside each other, calendars that end, rows silenced by hand, runs cancelled by hand."""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from beat import lookout as looking
from beat.lookout import Lookout
from core.calendars import NO_OVERRIDES, data_end
from core.lifecycle import State
from scheduler import DatabaseScheduler
from store import calendar_days, leases, lookout, schedules
from store.database import autocommit, transaction
from tests.integration.conftest import NewBeat, on_servers
from tests.integration.engine import MINUTE, YEARLY, Ledger, agent

TWINS = "does the same at the same times"
CROWD = "rows fire in this same second"


@pytest.fixture
def look(ledger: Ledger) -> Callable[[], Lookout]:
    """Makes a whole look, as a beat does whose turn it is, and returns who looked."""

    def once() -> Lookout:
        ledger.sql("DELETE FROM scheduler_state WHERE name IN ('lookout', 'calendar_alarm')")
        with autocommit(ledger.engine) as connection:
            overrides = calendar_days.read(connection)
        found = Lookout(ledger.engine)
        found.look(overrides)
        return found

    return once


def hints(ledger: Ledger) -> dict[str, str | None]:
    return {row.name: row.hint for row in ledger.sql("SELECT name, hint FROM periodic_task")}


def armed_crowd(ledger: Ledger, beat: DatabaseScheduler, count: int, **columns: Any) -> None:
    values = {"crontab": YEARLY, **columns}
    ledger.insert_many({**values, "name": f"row {i}", "task_extra_config": agent(f"{i}")} for i in range(count))
    while beat.arm():
        pass


# -- crowds and twins ---------------------------------------------------------------------------------


def test_the_first_twenty_of_a_crowd_get_a_hint_that_goes_with_the_crowd(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    armed_crowd(ledger, beat, 120)
    ledger.insert("alone", crontab="0 5 * * *")
    beat.arm()

    look()
    told = hints(ledger)

    assert sum(CROWD in (hint or "") for hint in told.values()) == 20
    assert told["row 0"] == (
        "beside other rows: 100 or more rows fire in this same second, set jitter_seconds to spread them"
    )
    assert told["alone"] is None

    ledger.sql("UPDATE periodic_task SET enabled = 0 WHERE name LIKE 'row 11%' OR name LIKE 'row 10%'")
    beat.arm()
    look()

    assert set(hints(ledger).values()) == {None}


def test_one_row_less_than_a_crowd_is_none(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    armed_crowd(ledger, beat, 99)
    look()

    assert set(hints(ledger).values()) == {None}


def test_a_second_look_writes_nothing_where_nothing_changed(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    armed_crowd(ledger, beat, 130)
    look()
    before = ledger.sql("SELECT id, hint, update_time, armed_for, needs_arming FROM periodic_task ORDER BY id")

    assert look().compare_rows() == 0
    assert ledger.sql("SELECT id, hint, update_time, armed_for, needs_arming FROM periodic_task ORDER BY id") == before


def test_hints_leave_update_time_and_the_schedule_alone(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    armed_crowd(ledger, beat, 110)
    columns = "id, update_time, next_run_at, armed_for, needs_arming"
    before = ledger.sql(f"SELECT {columns} FROM periodic_task ORDER BY id")

    look()

    assert ledger.sql(f"SELECT {columns} FROM periodic_task ORDER BY id") == before
    assert CROWD in str(hints(ledger)["row 0"])


def test_a_newer_row_that_does_the_same_names_the_older(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    first = ledger.insert("first", crontab="0 0 9 * * 2")
    ledger.insert("second", crontab="0 0 9 * * 2")
    ledger.insert("other words", crontab="0 0 9 * * 2", task_extra_config=agent("other"))
    ledger.insert("other time", crontab="0 0 10 * * 2")
    ledger.insert("off", crontab="0 0 9 * * 2", enabled=0)
    beat.arm()

    look()
    told = hints(ledger)

    assert [name for name, hint in told.items() if TWINS in (hint or "")] == ["second"]
    assert f"row {first} {TWINS}" in str(told["second"])
    assert "Quartz would mean MON; write TUE; beside other rows: row" in str(told["second"])

    ledger.sql("UPDATE periodic_task SET enabled = 0 WHERE name = 'first'")
    beat.arm()
    look()

    assert hints(ledger)["second"] == told["first"]


def test_intervals_are_twins_only_where_they_count_from_the_same_time(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    created = ledger.now() - timedelta(days=1)
    for kind in ({"interval_seconds": 3600}, {"rrule": "FREQ=HOURLY;INTERVAL=2"}):
        name = next(iter(kind))
        ledger.insert(f"{name} a", **kind, create_time=created)
        ledger.insert(f"{name} elsewhere", **kind, create_time=created + timedelta(minutes=7))
        ledger.insert(f"{name} same", **kind, create_time=created)
        start = datetime(2026, 1, 1)  # noqa: DTZ001 - the operator's clock
        ledger.insert(f"{name} from", **kind, start_time=start, jitter_seconds=60)
        ledger.insert(f"{name} from too", **kind, start_time=start, jitter_seconds=60, create_time=created)
    ledger.insert("spread a", crontab="0 9 * * *", jitter_seconds=600)
    ledger.insert("spread b", crontab="0 9 * * *", jitter_seconds=600)
    beat.arm()

    look()

    twins = {name for name, hint in hints(ledger).items() if TWINS in (hint or "")}
    assert twins == {f"{kind} {which}" for kind in ("interval_seconds", "rrule") for which in ("same", "from too")} | {
        "spread b"
    }


def test_arming_drops_the_words_about_others_and_firing_keeps_them(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    ledger.insert("first", crontab="* * * * *", overlap="allow")
    second = ledger.insert("second", crontab="* * * * *", overlap="allow")
    beat.arm()
    look()
    whole = str(ledger.task(second).hint)
    assert whole.startswith("fires every 60 s")
    assert TWINS in whole

    ledger.owe(second)
    assert beat.fire() == 1
    assert ledger.task(second).hint == whole

    ledger.edit(second, catch_up="none")
    beat.arm()
    assert ledger.task(second).hint == whole.partition("; beside")[0]


def test_pieces_cut_no_crowd_and_every_row_has_its_turn(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout], monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(5):
        values = {"crontab": f"0 {hour} 1 1 *", "task_extra_config": agent()}
        ledger.insert_many({**values, "name": f"{hour} {i}"} for i in range(110))
    while beat.arm():
        pass
    monkeypatch.setattr(looking, "PIECE", 130)
    monkeypatch.setattr(looking, "ROWS_A_LOOK", 260)

    found = look()
    halfway = sum(CROWD in (hint or "") for hint in hints(ledger).values())
    while found.compare_rows():
        pass

    assert halfway == 40
    assert sum(CROWD in (hint or "") for hint in hints(ledger).values()) == 100


def test_a_moment_with_more_rows_than_a_piece_is_passed(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout], monkeypatch: pytest.MonkeyPatch
) -> None:
    armed_crowd(ledger, beat, 250)
    ledger.insert("late", crontab="0 7 1 1 *")
    ledger.insert("late twin", crontab="0 7 1 1 *")
    beat.arm()
    monkeypatch.setattr(looking, "PIECE", 120)

    look()

    assert sum(CROWD in (hint or "") for hint in hints(ledger).values()) == 20
    assert TWINS in str(hints(ledger)["late twin"])


@on_servers
def test_a_row_that_somebody_holds_is_left_for_the_next_look(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    ledger.insert("first")
    ledger.insert("held")
    ledger.insert("free")
    beat.arm()
    operator = ledger.operator()
    with operator.cursor() as cursor:
        cursor.execute("SELECT * FROM periodic_task WHERE name = 'held' FOR UPDATE")

    look()
    assert (hints(ledger)["held"], TWINS in str(hints(ledger)["free"])) == (None, True)

    operator.rollback()
    look()
    assert TWINS in str(hints(ledger)["held"])


def test_a_row_edited_between_the_read_and_the_write_is_left_alone(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert("row", crontab="0 9 * * *")
    beat.arm()
    read = ledger.task(task).next_run_at

    with transaction(ledger.engine) as tx:
        assert len(lookout.lock_hints(tx, {task: read})) == 1
        assert lookout.lock_hints(tx, {task: read + MINUTE}) == []
    ledger.edit(task, crontab="0 10 * * *")
    with transaction(ledger.engine) as tx:
        assert lookout.lock_hints(tx, {task: read}) == []


def test_one_beat_looks_and_the_others_do_not(ledger: Ledger, new_beat: NewBeat, look: Callable[[], Lookout]) -> None:
    one, other = new_beat(), new_beat()
    one.keeper.lookout.look(NO_OVERRIDES)
    task = ledger.insert()
    one.arm()
    ledger.edit(task, next_run_at=None)

    one.keeper.lookout.look(NO_OVERRIDES)
    other.keeper.lookout.look(NO_OVERRIDES)
    assert ledger.task(task).needs_arming == 0

    look()
    assert ledger.task(task).needs_arming == 1


# -- rows silenced by hand ----------------------------------------------------------------------------


def test_a_row_whose_next_moment_was_emptied_by_hand_runs_again(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout], caplog: pytest.LogCaptureFixture
) -> None:
    task = ledger.insert("silent")
    beat.arm()
    due = ledger.task(task).next_run_at
    ledger.sql("UPDATE periodic_task SET next_run_at = NULL")
    beat.arm()
    assert ledger.task(task).next_run_at is None

    with caplog.at_level(logging.WARNING):
        look()
    beat.arm()

    assert ledger.task(task).next_run_at == due
    assert f"next_run_at was emptied by hand in rows {task}:" in caplog.text


def test_rows_with_a_reason_to_have_no_next_moment_are_left_alone(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout]
) -> None:
    ledger.insert("off", enabled=0)
    ledger.insert("broken", crontab="x")
    ledger.insert("finished", end_time=datetime(2020, 1, 1))  # noqa: DTZ001 - the operator's clock
    finished = ledger.insert("fired out", crontab="* * * * *", max_runs=1)
    beat.arm()
    ledger.owe(finished)
    beat.fire()
    assert str(ledger.task(finished).hint).startswith("finished")

    look()

    assert ledger.value("SELECT COUNT(*) FROM periodic_task WHERE needs_arming = 1") == 0


def test_silenced_rows_are_found_behind_many_paused_ones(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout], monkeypatch: pytest.MonkeyPatch
) -> None:
    armed_crowd(ledger, beat, 50, enabled=0)
    task = ledger.insert("silent")
    beat.arm()
    ledger.sql("UPDATE periodic_task SET next_run_at = NULL")
    monkeypatch.setattr(looking, "PIECE", 10)
    monkeypatch.setattr(looking, "ROWS_A_LOOK", 20)

    found = look()
    assert ledger.task(task).needs_arming == 0
    while not found.wake_silenced():
        pass

    assert ledger.task(task).needs_arming == 1


# -- calendars ----------------------------------------------------------------------------------------


@pytest.fixture
def ending(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> str:
    """Words on a calendar whose data ends soon, whatever day it is: the alarm comes years ahead."""
    monkeypatch.setattr("core.calendars.ALARM_AHEAD", data_end("XSHG") - ledger.now().date() + timedelta(days=1))
    return f"XSHG: its data ends on {data_end('XSHG')}"


def test_rows_armed_long_ago_are_told_when_their_calendar_ends(
    ledger: Ledger, beat: DatabaseScheduler, look: Callable[[], Lookout], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as early:
        early.setattr("core.calendars.ALARM_AHEAD", timedelta(days=-10_000))
        task = ledger.insert("trading", crontab="0 10 * * *", calendar="XSHG:open", timezone="Asia/Shanghai")
        beat.arm()
        look()
        assert ledger.task(task).needs_arming == 0
    by_hand = ledger.now() + timedelta(days=3)
    ledger.edit(task, next_run_at=by_hand)
    monkeypatch.setattr("core.calendars.ALARM_AHEAD", timedelta(days=10_000))

    look()
    assert ledger.task(task).needs_arming == 1
    beat.arm()

    assert str(ledger.task(task).hint).startswith(f"calendar XSHG: its data ends on {data_end('XSHG')}")
    assert ledger.task(task).next_run_at == by_hand
    look()
    assert ledger.task(task).needs_arming == 0


def test_a_look_at_its_calendar_hides_no_edit_of_a_row(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert("trading", calendar="XSHG")
    beat.arm()
    ledger.edit(task, crontab="0 5 * * *", calendar=None)

    with transaction(ledger.engine) as tx:
        schedules.mark_for_checking(tx, [task])
    beat.arm()

    assert (ledger.task(task).next_run_at - ledger.now()).days < 2


def test_the_alarm_is_logged_once_a_day_and_by_one_beat(
    ledger: Ledger, ending: str, new_beat: NewBeat, caplog: pytest.LogCaptureFixture
) -> None:
    for name, calendar in (("a", "XSHG"), ("b", "xshg:open"), ("c", "US"), ("d", "XSHH"), ("e", None)):
        ledger.insert(name, calendar=calendar)

    with caplog.at_level(logging.WARNING, logger="lookout"):
        for beat in (new_beat(), new_beat()):
            beat.keeper.lookout.warn_of_calendars(NO_OVERRIDES)

    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [f"calendars: {ending}"]

    ledger.sql("UPDATE scheduler_state SET update_time = :past", past="2020-01-01 00:00:00.000000")
    new_beat().keeper.lookout.warn_of_calendars(NO_OVERRIDES)
    assert caplog.text.count(ending) == 2


def test_the_api_is_told_of_the_calendars_that_rows_name(ledger: Ledger, ending: str) -> None:
    for name, calendar in (("a", "XSHG"), ("b", "xshg:open"), ("c", "US"), ("d", "XSHH"), ("e", None)):
        ledger.insert(name, calendar=calendar)
    ledger.sql("INSERT INTO calendar_day (calendar, day, open) VALUES ('XSHH', '2026-09-08', 0)")
    today = ledger.now().date()
    with autocommit(ledger.engine) as connection:
        assert calendar_days.read_noted(connection) == calendar_days.Noted()
        overrides = calendar_days.read(connection)

    Lookout(ledger.engine).warn_of_calendars(overrides)

    with autocommit(ledger.engine) as connection:
        noted = calendar_days.read_noted(connection)
    assert noted.days_left(today) == {name: (data_end(name) - today).days for name in ("XSHG", "US")}
    told, wrong = noted.remarks(today)
    assert told.startswith(f"{ending},")
    assert wrong.startswith("calendar_day: calendar 'XSHH' is unknown; did you mean 'XSHG'?")


def test_a_year_filled_in_by_the_operator_ends_the_alarm(ledger: Ledger, beat: DatabaseScheduler) -> None:
    year = data_end("XSHG").year
    task = ledger.insert("trading", calendar="XSHG", crontab="0 9 15 3 *", timezone="Asia/Shanghai")
    beat._read_surroundings()
    beat.keeper.rearming.look()
    beat.arm()
    for each in range(year + 1, max(year, ledger.now().year) + 3):
        for day in (date(each, 2, 8), date(each, 12, 31)):
            ledger.sql("INSERT INTO calendar_day (calendar, day, open) VALUES ('XSHG', :day, 0)", day=day.isoformat())

    beat._read_surroundings()
    beat.keeper.rearming.look()
    beat.arm()

    assert ledger.task(task).hint is None


# -- runs cancelled by hand ---------------------------------------------------------------------------


def test_a_run_cancelled_by_hand_gets_its_end(ledger: Ledger, beat: DatabaseScheduler) -> None:
    now = ledger.now()
    waiting = ledger.add_run(State.RETRY, ready_at=now + timedelta(hours=1))
    held = ledger.add_run(State.PENDING, ready_at=None, scheduled_for=now - MINUTE)
    told = ledger.add_run(State.PENDING, error="no longer wanted", scheduled_for=now - 2 * MINUTE)
    long_ago = now - timedelta(days=30)
    ended = ledger.add_run(State.REVOKED, error="x", finished_at=long_ago, scheduled_for=now - 3 * MINUTE)
    for run in (waiting, held, told):
        ledger.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=run)

    assert beat.keeper.lookout.complete_cancelled() == 3

    found = {run: ledger.run(run) for run in (waiting, held, told, ended)}
    assert [found[run].error for run in found] == ["cancelled", "cancelled", "no longer wanted", "x"]
    assert all(found[run].finished_at >= now for run in (waiting, held, told))
    assert found[ended].finished_at == long_ago
    assert beat.keeper.lookout.complete_cancelled() == 0


# -- in beat ------------------------------------------------------------------------------------------


def test_one_pass_looks_out_too(ledger: Ledger, new_beat: NewBeat) -> None:
    task = ledger.insert("silent")
    with transaction(ledger.engine) as tx:
        assert leases.take_turn(tx, "lookout", timedelta(days=1))
    beat = new_beat()
    beat.arm()
    ledger.edit(task, next_run_at=None)
    ledger.sql("DELETE FROM scheduler_state WHERE name = 'lookout'")

    beat.run_once()

    assert ledger.task(task).next_run_at.tzinfo is UTC


def test_the_words_of_a_hint_survive_the_columns_type(ledger: Ledger) -> None:
    task = ledger.insert()
    for text in ("字" * 500, "😀" * 500, None):
        with transaction(ledger.engine) as tx:
            schedules.set_hints(tx, [{"id": task, "hint": text}])
            row = {"next_run_at": None, "config_error": None, "armed_for": "x", "rearm_at": None}
            schedules.set_armed(tx, [{"id": task, "hint": text, **row}])
        assert ledger.task(task).hint == text
