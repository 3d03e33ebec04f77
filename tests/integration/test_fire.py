"""Firing: every due moment has exactly one run in the ledger, or a row that says why not."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, event

from beat import firing
from core.lifecycle import State
from scheduler import BUSY_PAUSE, DatabaseScheduler
from store import runs
from store.database import transaction
from tests.integration.conftest import NewBeat, on_servers
from tests.integration.engine import EVERY_MINUTE, INSERT, MINUTE, YEARLY, Crash, Ledger, agent

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def due_row(ledger: Ledger, beat: DatabaseScheduler, minutes: int = 1, **columns: Any) -> tuple[int, list[datetime]]:
    """Insert a row that owes its last `minutes` moments; name them too."""
    task = ledger.insert(crontab=EVERY_MINUTE, **columns)
    beat.arm()
    first = ledger.owe_minutes(task, minutes)
    return task, [first + n * MINUTE for n in range(minutes)]


def owe_again(ledger: Ledger, beat: DatabaseScheduler, task: int, moment: datetime) -> None:
    """Set a row back to a moment that has fired, as an operator may; beats see it within five seconds."""
    ledger.edit(task, next_run_at=moment)
    beat.low_water = None


def moments(ledger: Ledger, task: int, *states: State) -> list[datetime]:
    return [run.scheduled_for for run in ledger.runs(task) if run.state in states or not states]


def finish(ledger: Ledger, run_id: str, state: State = State.SUCCESS) -> None:
    ledger.set_run(run_id, state=state, finished_at=ledger.now())


def release(ledger: Ledger) -> list[str]:
    with transaction(ledger.engine) as tx:
        return list(runs.release_held(tx, 1000))


# -- one moment -------------------------------------------------------------------------------------


def test_a_due_moment_yields_exactly_one_run(ledger: Ledger, beat: DatabaseScheduler) -> None:
    config = agent("hello", queue="priority_high", priority=8)
    task, (moment,) = due_row(ledger, beat, task_extra_config=config)

    assert beat.fire() == 1
    assert beat.fire() == 0

    (run,) = ledger.runs()
    assert (run.periodic_task_id, run.task_name, run.origin, run.scheduled_for) == (task, "row", "schedule", moment)
    assert (run.state, run.queue, run.priority, run.attempt) == ("PENDING", "priority_high", 8, 0)
    assert run.config == config
    assert abs(run.ready_at - ledger.now()) < MINUTE
    row = ledger.task(task)
    assert row.next_run_at == moment + MINUTE
    assert row.run_count == 1
    assert abs(row.last_run_at - ledger.now()) < MINUTE


def test_rows_share_a_rule_only_where_it_gives_both_the_same_moments(ledger: Ledger, beat: DatabaseScheduler) -> None:
    begin = ledger.now().replace(microsecond=0)
    jittered = [ledger.insert(f"jittered {n}", crontab=EVERY_MINUTE, jitter_seconds=50) for n in range(3)]
    anchored = [ledger.insert(f"anchored {n}", interval_seconds=3600) for n in range(3)]
    for n, task in enumerate(anchored):
        ledger.edit(task, create_time=begin - n * MINUTE)
    beat.arm()
    armed = {task: ledger.task(task).next_run_at for task in (*jittered, *anchored)}
    for task, moment in armed.items():  # off the rule, so that the rule itself names the next moment
        ledger.edit(task, next_run_at=min(moment, begin) - SECOND)
    beat.low_water = None

    assert beat.fire() == len(armed)

    for task in jittered:
        assert ledger.task(task).next_run_at == armed[task]
    for n, task in enumerate(anchored):
        assert ledger.task(task).next_run_at == begin + HOUR - n * MINUTE


def test_a_beat_that_has_fired_nothing_yet_does_not_search_the_past_again(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    """Behind an old read view the past is full of dead entries, and every tick would read them all."""
    task = ledger.insert(crontab=YEARLY)
    beat.arm()
    assert beat.low_water is None

    beat.run_due()

    assert beat.low_water is not None
    ledger.edit(task, next_run_at=ledger.now())
    beat.run_due()
    assert len(ledger.runs(task)) == 1


def test_a_moment_that_is_not_due_does_not_fire(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE)
    beat.arm()
    ledger.owe(task, -MINUTE)

    assert beat.fire() == 0
    assert ledger.runs() == []


def test_a_run_keeps_the_config_it_fired_with(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, _ = due_row(ledger, beat)
    beat.fire()

    ledger.edit(task, task_extra_config=agent("edited"))

    assert ledger.runs()[0].config == agent()


def test_oldest_moments_fire_first_when_a_batch_is_full(
    ledger: Ledger, beat: DatabaseScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 2)
    tasks = [ledger.insert(f"r{n}") for n in range(5)]
    beat.arm()
    for late, task in enumerate(tasks, start=1):
        ledger.owe(task, late * SECOND)

    assert [beat.fire() for _ in range(4)] == [2, 2, 1, 0]

    fired = [run.task_name for run in sorted(ledger.runs(), key=lambda run: str(run.id))]
    assert [set(fired[:2]), set(fired[2:4]), set(fired[4:])] == [{"r4", "r3"}, {"r2", "r1"}, {"r0"}]


# -- duplicates -------------------------------------------------------------------------------------


def test_moments_that_have_a_run_already_do_not_discard_the_batch(
    ledger: Ledger, beat: DatabaseScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [ledger.insert(f"r{n}", crontab=EVERY_MINUTE) for n in range(50)]
    beat.arm()
    owed = {task: ledger.owe_minutes(task, 1) for task in tasks}
    for task in (tasks[0], tasks[7], tasks[8], tasks[49]):
        ledger.add_run(State.SUCCESS, periodic_task_id=task, scheduled_for=owed[task])

    with caplog.at_level(logging.WARNING, "scheduler"):
        assert beat.fire() == 50

    assert Counter(run.periodic_task_id for run in ledger.runs()) == Counter(tasks)
    assert ledger.states() == {"PENDING": 46, "SUCCESS": 4}
    assert all(ledger.task(task).next_run_at == owed[task] + MINUTE for task in tasks)
    assert "4 moments had a run already: not run twice" in caplog.text


def test_run_count_counts_runs_that_were_created(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat, max_runs=2)
    beat.fire()
    finish(ledger, ledger.runs()[0].id)

    owe_again(ledger, beat, task, moment)
    beat.fire()
    beat.arm()

    assert ledger.states(task) == {"SUCCESS": 1}
    assert ledger.task(task).run_count == 1
    assert ledger.task(task).next_run_at == moment + MINUTE


def test_a_moment_that_is_running_is_not_cancelled_for_its_own_sake(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat, overlap="cancel_other")
    beat.fire()
    owe_again(ledger, beat, task, moment)

    assert beat.fire() == 1

    assert ledger.states(task) == {"PENDING": 1}


# -- several beats ----------------------------------------------------------------------------------


def test_beats_side_by_side_fire_every_moment_exactly_once(
    ledger: Ledger, new_beat: NewBeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 20)
    beats = [new_beat() for _ in range(4)]
    ledger.insert_many({"name": f"r{n}", "crontab": YEARLY, "task_extra_config": agent()} for n in range(500))
    beats[0].arm()
    ledger.sql("UPDATE periodic_task SET run_now = 1 WHERE name LIKE '%7'")
    owed = {row.id: ledger.owe(row.id, SECOND) for row in ledger.sql("SELECT id FROM periodic_task")}
    start = Barrier(len(beats))

    def fire_what_is_due(beat: DatabaseScheduler) -> int:
        start.wait()
        while ledger.value("SELECT count(*) FROM task_run") < 550:
            beat.run_due()
        return len(beat.publisher._handed_over)

    with ThreadPoolExecutor(len(beats)) as pool:
        shares = [done.result() for done in [pool.submit(fire_what_is_due, beat) for beat in beats]]

    fired = ledger.runs()
    assert Counter(run.origin for run in fired) == {"schedule": 500, "manual": 50}
    scheduled = {run.periodic_task_id: run for run in fired if run.origin == "schedule"}
    assert all(abs(scheduled[task].scheduled_for - moment) < SECOND / 1000 for task, moment in owed.items())
    assert sum(shares) == sum(run.state == "PENDING" for run in fired)
    assert ledger.value("SELECT count(*) FROM periodic_task WHERE run_count = 1") >= 450


def test_beats_that_start_together_on_an_empty_ledger_do_not_fail(ledger: Ledger, new_beat: NewBeat) -> None:
    beats = [new_beat() for _ in range(6)]
    start = Barrier(len(beats))

    def first_tick(beat: DatabaseScheduler) -> float:
        start.wait()
        beat.keeper.keep()
        return beat.run_due()

    with ThreadPoolExecutor(len(beats)) as pool:
        pauses = [done.result() for done in [pool.submit(first_tick, beat) for beat in beats]]

    assert len(pauses) == 6
    assert ledger.value("SELECT count(*) FROM beat_heartbeat") == 6


# -- locks ------------------------------------------------------------------------------------------


@on_servers
def test_rows_an_operator_holds_are_left_out_and_follow_at_commit(ledger: Ledger, beat: DatabaseScheduler) -> None:
    held, free = due_row(ledger, beat, name="held")[0], due_row(ledger, beat, name="free")[0]
    operator = ledger.operator()
    operator.cursor().execute("UPDATE periodic_task SET description = 'x' WHERE name = 'held'")

    beat.run_due()
    assert ledger.states(held) == {}
    assert ledger.states(free) == {"PENDING": 1}

    operator.commit()
    beat.look_back()
    beat.run_due()
    assert ledger.states(held) == {"PENDING": 1}


@on_servers
def test_a_tick_that_finds_every_due_row_held_does_not_spin(ledger: Ledger, beat: DatabaseScheduler) -> None:
    due_row(ledger, beat)
    ledger.operator().cursor().execute("SELECT id FROM periodic_task FOR UPDATE")

    assert beat.run_due() == BUSY_PAUSE


def lock_waits_of_a_second(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: Any, __: Any) -> None:
        connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")


@on_servers
def test_a_lock_wait_is_tried_again(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat)
    beat.engine.dispose()
    lock_waits_of_a_second(beat.engine)
    operator = ledger.operator()
    operator.cursor().execute(INSERT_RUN, (task, moment.replace(tzinfo=None)))

    @event.listens_for(beat.engine, "handle_error")
    def _(_: Any) -> None:
        operator.rollback()

    assert beat.fire() == 1
    assert moments(ledger, task) == [moment]


INSERT_RUN = """
    INSERT INTO task_run (id, periodic_task_id, task_name, origin, scheduled_for, state, queue, config)
    VALUES ('00000000-0000-7000-8000-000000000000', %s, 'theirs', 'schedule', %s, 'SUCCESS', 'system', '{}')
"""


@on_servers
def test_a_deadlock_is_tried_again(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat)
    other = due_row(ledger, beat, name="other")[0]
    operator = ledger.operator()
    cursor = operator.cursor()
    # The transaction that changed less is the one InnoDB gives up: ours.
    cursor.executemany(INSERT, [(f"theirs {n}", YEARLY, agent()) for n in range(300)])
    cursor.execute(INSERT_RUN, (task, moment.replace(tzinfo=None)))
    errors: list[int] = []

    with ThreadPoolExecutor(1) as pool:
        blocked: list[Future[int]] = []

        @event.listens_for(beat.engine, "before_cursor_execute")
        def _(_: Any, __: Any, statement: str, *___: Any) -> None:
            if statement.startswith("INSERT INTO task_run") and not blocked:
                theirs = f"UPDATE periodic_task SET description = 'x' WHERE id = {task}"
                blocked.append(pool.submit(cursor.execute, theirs))

        @event.listens_for(beat.engine, "handle_error")
        def _(context: Any) -> None:
            errors.append(context.original_exception.args[0])
            if not operator.get_autocommit() and blocked:
                blocked[0].result()
                operator.commit()
                operator.autocommit(True)

        assert beat.fire() == 2

    assert errors[0] == 1213
    assert Counter(run.periodic_task_id for run in ledger.runs()) == {task: 1, other: 1}
    assert [run.task_name for run in ledger.runs(task)] == ["theirs"]


# -- crashes ----------------------------------------------------------------------------------------


@contextmanager
def crashing_after(engine: Engine, statements: int) -> Iterator[None]:
    """End the process, as far as the database can tell, after so many statements."""
    left = statements

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Crash

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", count)


def crash_everywhere(beat: DatabaseScheduler, step: Callable[[], int], check: Callable[[], None]) -> int:
    """Crash a step before each of its statements in turn, checking after each; return how many there were."""
    for statements in range(1, 100):
        try:
            with crashing_after(beat.engine, statements):
                step()
        except Crash:
            check()
            beat.low_water = None  # the next process knows nothing of this one
        else:
            return statements
    raise AssertionError("the step never came to its end")


def test_a_crash_anywhere_in_fire_leaves_nothing_half_done(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat)
    replaced, (second,) = due_row(ledger, beat, name="replaced", overlap="cancel_other")
    before = ledger.add_run(State.STARTED, periodic_task_id=replaced, scheduled_for=second - MINUTE)

    def nothing_happened() -> None:
        assert [run.id for run in ledger.runs()] == [before]
        assert ledger.run(before).state == "STARTED"
        assert ledger.task(task).next_run_at == moment
        assert ledger.task(replaced).run_count == 0

    points = crash_everywhere(beat, beat.fire, nothing_happened)

    assert points >= 6
    assert moments(ledger, task) == [moment]
    assert ledger.run(before).state == "REVOKED"
    assert moments(ledger, replaced, State.PENDING) == [second]


def test_a_crash_anywhere_in_fire_manual_leaves_nothing_half_done(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(run_now=1)

    def nothing_happened() -> None:
        assert ledger.runs() == []
        assert ledger.task(task).run_now == 1

    crash_everywhere(beat, beat.fire_manual, nothing_happened)

    assert ledger.states(task) == {"PENDING": 1}
    assert ledger.task(task).run_now == 0


def test_a_crash_anywhere_in_arm_leaves_the_row_to_be_armed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert()

    def nothing_happened() -> None:
        assert ledger.task(task).needs_arming == 1

    crash_everywhere(beat, beat.arm, nothing_happened)

    assert ledger.task(task).next_run_at is not None


# -- max_runs ---------------------------------------------------------------------------------------


def test_max_runs_bounds_scheduled_runs_whatever_is_owed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 5, max_runs=3, catch_up="all", overlap="allow")

    beat.fire()

    assert moments(ledger, task) == owed[:3]
    row = ledger.task(task)
    assert (row.next_run_at, row.enabled, row.run_count) == (None, 1, 3)
    assert row.hint == "finished: max_runs is reached"


def test_skipped_moments_and_manual_runs_do_not_count_to_max_runs(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 3, max_runs=2)
    beat.fire()
    ledger.edit(task, run_now=1)
    beat.fire_manual()

    assert ledger.states(task) == {"SKIPPED": 2, "PENDING": 2}
    assert ledger.task(task).run_count == 1
    assert ledger.task(task).next_run_at == owed[-1] + MINUTE


def test_a_raised_max_runs_lets_a_finished_row_go_on(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, _ = due_row(ledger, beat, max_runs=1)
    beat.fire()
    beat.arm()
    assert ledger.task(task).next_run_at is None

    ledger.edit(task, max_runs=2)
    beat.arm()

    assert ledger.task(task).next_run_at > ledger.now()
    assert ledger.task(task).hint is None


# -- run_now ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [1, 0])
def test_run_now_makes_one_manual_run_and_is_set_back(ledger: Ledger, beat: DatabaseScheduler, enabled: int) -> None:
    task = ledger.insert(enabled=enabled)
    beat.arm()
    regular = ledger.task(task).next_run_at
    ledger.edit(task, run_now=1)

    beat.run_due()
    beat.run_due()

    (run,) = ledger.runs()
    assert (run.origin, run.state, run.periodic_task_id) == ("manual", "PENDING", task)
    row = ledger.task(task)
    assert (row.run_now, row.next_run_at, row.run_count) == (0, regular, 0)


def test_run_now_on_a_row_that_was_never_armed_starts_it(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(run_now=1)

    beat.fire_manual()

    assert ledger.states(task) == {"PENDING": 1}


def test_run_now_on_a_broken_row_is_skipped_with_the_reason(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab="61 * * * *", run_now=1)

    beat.run_due()

    (run,) = ledger.runs(task)
    assert run.state == "SKIPPED"
    assert "61" in run.error
    assert run.finished_at is not None
    assert ledger.task(task).run_now == 0
    assert ledger.task(task).last_run_at is None


def test_a_manual_run_starts_beside_an_active_one_and_counts_as_active(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat)
    ledger.add_run(State.STARTED, periodic_task_id=task, scheduled_for=moment - MINUTE, origin="api")
    ledger.edit(task, run_now=1)

    beat.fire_manual()
    beat.fire()

    assert ledger.states(task) == {"STARTED": 1, "PENDING": 1, "SKIPPED": 1}


def test_run_now_asked_for_again_runs_again(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert()
    for _ in range(3):
        ledger.edit(task, run_now=1)
        beat.fire_manual()

    assert ledger.states(task) == {"PENDING": 3}


@on_servers
def test_run_now_on_a_row_an_operator_holds_waits_for_the_commit(ledger: Ledger, beat: DatabaseScheduler) -> None:
    held, free = ledger.insert("held", run_now=1), ledger.insert("free", run_now=1)
    operator = ledger.operator()
    operator.cursor().execute("UPDATE periodic_task SET description = 'x' WHERE name = 'held'")

    beat.fire_manual()
    assert (ledger.states(held), ledger.states(free)) == ({}, {"PENDING": 1})
    operator.commit()
    beat.fire_manual()

    assert ledger.states(held) == {"PENDING": 1}


# -- catch-up ---------------------------------------------------------------------------------------


def test_catch_up_latest_runs_the_newest_moment_and_says_so_of_the_others(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    task, owed = due_row(ledger, beat, 4)

    beat.fire()

    assert moments(ledger, task, State.PENDING) == owed[-1:]
    assert moments(ledger, task, State.SKIPPED) == owed[:-1]
    assert all("catch_up=latest" in run.error for run in ledger.runs(task) if run.state == "SKIPPED")


def test_catch_up_none_skips_what_is_late_and_runs_what_is_on_time(ledger: Ledger, beat: DatabaseScheduler) -> None:
    late = ledger.insert("late", catch_up="none")
    on_time = ledger.insert("on time", catch_up="none")
    beat.arm()
    ledger.owe(late, 30 * SECOND)
    ledger.owe(on_time, 3 * SECOND)

    beat.fire()

    assert ledger.states(late) == {"SKIPPED": 1}
    assert ledger.states(on_time) == {"PENDING": 1}
    assert ledger.task(late).run_count == 0


def test_catch_up_all_runs_every_moment_of_the_window(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 10, catch_up="all", overlap="allow", catch_up_window_seconds=250)

    beat.fire()

    assert len(moments(ledger, task, State.PENDING)) in (4, 5)  # by the second within the minute
    assert moments(ledger, task) == owed
    assert all("catch_up=all" in run.error for run in ledger.runs(task) if run.state == "SKIPPED")


def test_catch_up_all_of_more_than_a_pass_can_hold_goes_on_at_once(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 250, catch_up="all", overlap="allow", catch_up_window_seconds=36_000)

    while beat.fire():
        pass

    assert moments(ledger, task, State.PENDING) == owed
    assert ledger.task(task).run_count == 250


def test_a_long_outage_is_one_row_that_names_the_range(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 300)

    beat.fire()

    skipped, started = ledger.runs(task)
    assert (skipped.state, started.state) == ("SKIPPED", "PENDING")
    span = json.loads(skipped.result_data)
    assert (span["from"], span["to"]) == (owed[0].isoformat(), owed[-2].isoformat())
    assert span["count"] == 299


def test_skip_missed_owes_nothing_from_before_the_start(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 3, catch_up="all")

    beat.skip_missed()
    beat.fire()

    assert moments(ledger, task, State.SKIPPED) == owed
    assert all("--skip-missed" in run.error for run in ledger.runs(task))
    assert ledger.task(task).next_run_at == owed[-1] + MINUTE


# -- overlap ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", [State.PENDING, State.QUEUED, State.STARTED, State.RETRY])
def test_overlap_skip_leaves_a_moment_out_while_a_run_is_active(
    ledger: Ledger, beat: DatabaseScheduler, active: State
) -> None:
    task, (moment,) = due_row(ledger, beat)
    ledger.add_run(active, periodic_task_id=task, scheduled_for=moment - MINUTE)

    beat.fire()

    skipped = ledger.runs(task)[-1]
    assert (skipped.scheduled_for, skipped.state) == (moment, "SKIPPED")
    assert "overlap=skip" in skipped.error


@pytest.mark.parametrize("final", [State.SUCCESS, State.FAILURE, State.REVOKED, State.SKIPPED, State.REQUIRES_ACTION])
def test_a_run_that_has_ended_overlaps_with_nothing(ledger: Ledger, beat: DatabaseScheduler, final: State) -> None:
    task, (moment,) = due_row(ledger, beat)
    ledger.add_run(final, periodic_task_id=task, scheduled_for=moment - MINUTE)

    beat.fire()

    assert moments(ledger, task, State.PENDING) == [moment]


def test_a_backfill_overlaps_with_nothing(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, (moment,) = due_row(ledger, beat)
    ledger.add_run(State.STARTED, periodic_task_id=task, scheduled_for=moment - HOUR, origin="backfill")

    beat.fire()

    assert moments(ledger, task, State.PENDING) == [moment]


def test_overlap_allow_starts_every_moment(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 3, catch_up="all", overlap="allow")

    beat.fire()

    assert [run.ready_at is not None for run in ledger.runs(task)] == [True] * 3
    assert moments(ledger, task, State.PENDING) == owed


def test_overlap_buffer_one_holds_one_and_skips_the_rest(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 4, catch_up="all", overlap="buffer_one")

    beat.fire()

    first, held, *skipped = ledger.runs(task)
    assert (first.state, first.ready_at is None) == ("PENDING", False)
    assert (held.state, held.ready_at) == ("PENDING", None)
    assert [run.state for run in skipped] == ["SKIPPED"] * 2
    assert moments(ledger, task) == owed


def test_overlap_buffer_all_holds_up_to_a_hundred(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 30, catch_up="all", overlap="buffer_all")
    for n in range(90):
        ledger.add_run(periodic_task_id=task, scheduled_for=owed[0] - (n + 1) * MINUTE, ready_at=None)

    beat.fire()

    assert ledger.states(task) == {"PENDING": 100, "SKIPPED": 20}
    assert moments(ledger, task, State.SKIPPED) == owed[10:]


def test_held_runs_go_one_at_a_time_oldest_first(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, owed = due_row(ledger, beat, 4, catch_up="all", overlap="buffer_all")
    beat.fire()
    order = [run.id for run in ledger.runs(task)]

    for running, following in pairwise(order):
        for state in (State.QUEUED, State.RETRY):
            ledger.set_run(running, state=state)
            assert release(ledger) == []
        finish(ledger, running)
        assert release(ledger) == [following]
        assert release(ledger) == []

    assert [run.scheduled_for for run in ledger.runs(task)] == owed
    assert all(run.ready_at is not None for run in ledger.runs(task))


def test_held_runs_go_by_moment_and_not_by_id(ledger: Ledger, beat: DatabaseScheduler) -> None:
    """Ids come from the clocks of the hosts, moments do not."""
    now = ledger.now()
    later = ledger.add_run(periodic_task_id=1, scheduled_for=now, ready_at=None)
    earlier = ledger.add_run(periodic_task_id=1, scheduled_for=now - MINUTE, ready_at=None)
    assert later < earlier

    assert release(ledger) == [earlier]


def test_many_held_runs_of_busy_tasks_do_not_hold_up_another_task(ledger: Ledger) -> None:
    now = ledger.now()
    for task in range(1, 12):
        ledger.add_run(State.STARTED, periodic_task_id=task, scheduled_for=now)
    held = (
        {"periodic_task_id": 1 + n % 11, "scheduled_for": now + (n + 1) * SECOND, "ready_at": None} for n in range(1100)
    )
    ledger.add_runs(State.PENDING, held)
    free = ledger.add_run(periodic_task_id=99, ready_at=None)

    assert release(ledger) == [free]


def test_beats_that_release_at_once_let_each_run_go_once(ledger: Ledger) -> None:
    now = ledger.now()
    for task in range(20):
        for n in range(5):
            ledger.add_run(periodic_task_id=task, scheduled_for=now + n * SECOND, ready_at=None)
    start = Barrier(8)

    def release_all(_: int) -> None:
        start.wait()
        for _ in range(3):
            release(ledger)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(release_all, range(8)))

    let_go = Counter(run.periodic_task_id for run in ledger.runs() if run.ready_at is not None)
    assert let_go == dict.fromkeys(range(20), 1)


def test_overlap_cancel_other_revokes_what_runs_and_waits_and_starts_the_newest(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    task, owed = due_row(ledger, beat, 2, catch_up="all", overlap="cancel_other")
    other = ledger.add_run(State.STARTED, periodic_task_id=task + 1000)
    others = [
        ledger.add_run(state, periodic_task_id=task, scheduled_for=owed[0] - (n + 1) * MINUTE, ready_at=ready)
        for n, (state, ready) in enumerate(
            [
                (State.STARTED, owed[0]),
                (State.QUEUED, owed[0]),
                (State.RETRY, owed[0]),
                (State.PENDING, owed[0]),
                (State.PENDING, None),
            ]
        )
    ]
    ended = ledger.add_run(State.SUCCESS, periodic_task_id=task, scheduled_for=owed[0] - HOUR)

    beat.fire()

    assert {ledger.run(run).state for run in others} == {"REVOKED"}
    assert all("cancel_other" in ledger.run(run).error and ledger.run(run).finished_at for run in others)
    assert ledger.run(ended).state == "SUCCESS"
    assert ledger.run(other).state == "STARTED"
    assert moments(ledger, task, State.PENDING) == owed[1:]
    assert moments(ledger, task, State.SKIPPED) == owed[:1]


# -- the tick around it -----------------------------------------------------------------------------


def test_a_tick_says_how_long_nothing_is_due(ledger: Ledger, new_beat: NewBeat) -> None:
    beat = new_beat(beat_poll_interval=20)
    assert beat.run_due() == 20

    task = ledger.insert()
    assert beat.run_due() == 0
    ledger.owe(task, -5 * SECOND)

    assert 3 < beat.run_due() <= 5


def test_nothing_escapes_a_tick(ledger: Ledger, new_beat: NewBeat, caplog: pytest.LogCaptureFixture) -> None:
    beat = new_beat()
    ledger.insert()

    @event.listens_for(beat.engine, "before_cursor_execute")
    def _(*_: Any) -> None:
        raise MemoryError("as bad as it gets")

    assert 0 < beat.tick() <= 1
    assert "as bad as it gets" in caplog.text


def test_the_signal_that_ends_beat_is_not_swallowed_in_the_middle_of_a_statement(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    due_row(ledger, beat)

    @event.listens_for(beat.engine, "before_cursor_execute")
    def _(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO task_run"):
            raise SystemExit(0)

    with pytest.raises(SystemExit):
        beat.tick()

    assert ledger.runs() == []


def test_a_beat_is_closed_twice_without_harm(new_beat: NewBeat) -> None:
    beat = new_beat()
    beat.tick()

    beat.close()
    beat.close()


def test_entries_of_beat_schedule_are_refused_aloud(beat: DatabaseScheduler, caplog: pytest.LogCaptureFixture) -> None:
    beat.app.conf.beat_schedule = {"nightly": {"task": "x", "schedule": 1}}

    beat.setup_schedule()

    assert "'nightly' does not run: insert it into periodic_task instead" in caplog.text
