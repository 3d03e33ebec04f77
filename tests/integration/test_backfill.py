"""Backfill: each moment of a range once, a few at a time, whoever crashes and however many beats there are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Barrier
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from core.arming import cadence_of
from core.lifecycle import FINAL, State
from scheduler import DatabaseScheduler
from store import backfills
from store.backfills import AlreadyOpen, BackfillState
from store.database import AnyRow, autocommit, transaction
from tests.integration.conftest import NewBeat, on_servers
from tests.integration.engine import EVERY_MINUTE, MINUTE, Crash, Ledger, agent

HOUR = timedelta(hours=1)


def paused_row(ledger: Ledger, **columns: Any) -> int:
    """A row with a moment every minute that the schedule itself does not run."""
    return ledger.insert(**{"crontab": EVERY_MINUTE, "enabled": 0, **columns})


def last_minutes(ledger: Ledger, count: int) -> list[datetime]:
    now = ledger.now().replace(second=0, microsecond=0)
    return [now - n * MINUTE for n in reversed(range(count))]


def start(ledger: Ledger, task: int, moments: list[datetime], at_a_time: int = 1) -> int:
    with transaction(ledger.engine) as tx:
        bounds = (moments[0], moments[-1])
        return backfills.create(tx, ledger.task(task), moments[0], bounds, at_a_time=at_a_time)


def read(ledger: Ledger, backfill: int) -> AnyRow:
    with autocommit(ledger.engine) as connection:
        found = backfills.read(connection, backfill)
    assert found is not None
    return found


def unfinished(ledger: Ledger) -> list[AnyRow]:
    return [run for run in ledger.runs() if run.state not in FINAL]


def end_runs(ledger: Ledger, state: State = State.SUCCESS) -> None:
    for run in unfinished(ledger):
        ledger.set_run(run.id, state=state, error="as the test says")


def carry_on(ledger: Ledger, beat: DatabaseScheduler, backfill: int, at_a_time: int) -> None:
    """Step and end runs in turn until the backfill has finished."""
    for _ in range(200):
        if read(ledger, backfill).finished_at is not None:
            return
        beat.keeper.backfill()
        assert len(unfinished(ledger)) <= at_a_time
        end_runs(ledger)
    raise AssertionError(f"no end: {read(ledger, backfill)}")


def made(ledger: Ledger, task: int) -> list[datetime]:
    return [run.scheduled_for for run in ledger.runs(task) if run.origin == "backfill"]


# -- moments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_every_moment_of_the_range_gets_one_run_and_never_too_many_at_once(
    ledger: Ledger, beat: DatabaseScheduler, at_a_time: int
) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 7)
    backfill = start(ledger, task, moments, at_a_time)

    carry_on(ledger, beat, backfill, at_a_time)

    assert made(ledger, task) == moments
    ended = read(ledger, backfill)
    assert (ended.state, ended.created, ended.left_out, ended.next_moment) == ("DONE", 7, 0, None)
    assert ledger.task(task).run_count == 0


def test_one_step_makes_no_more_than_there_is_room_for(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 7)
    backfill = start(ledger, task, moments, at_a_time=3)

    assert [beat.keeper.backfill() for _ in range(3)] == [3, 0, 0]
    ledger.set_run(ledger.runs(task)[1].id, state=State.FAILURE, error="x")

    assert [beat.keeper.backfill() for _ in range(3)] == [1, 0, 0]
    assert made(ledger, task) == moments[:4]
    assert read(ledger, backfill).next_moment == moments[4]


def test_moments_that_need_no_run_are_left_out_and_counted(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 6)
    for state, origin, moment in (
        (State.SUCCESS, "schedule", moments[0]),
        (State.FAILURE, "schedule", moments[1]),
        (State.SKIPPED, "schedule", moments[2]),
        (State.QUEUED, "schedule", moments[3]),
        (State.FAILURE, "backfill", moments[4]),
    ):
        ledger.add_run(state, origin=origin, scheduled_for=moment, periodic_task_id=task)
    backfill = start(ledger, task, moments, at_a_time=10)

    assert beat.keeper.backfill() == 3

    new = [run.scheduled_for for run in ledger.runs(task) if run.state == "PENDING"]
    assert new == [moments[1], moments[2], moments[5]]
    assert (read(ledger, backfill).created, read(ledger, backfill).left_out) == (3, 3)


def test_calendar_jitter_and_bounds_of_the_row_hold(ledger: Ledger, beat: DatabaseScheduler) -> None:
    columns = {"crontab": "30 16 * * *", "timezone": "Asia/Shanghai", "calendar": "XSHG", "jitter_seconds": 600}
    task = paused_row(ledger, **columns, end_time=datetime.fromisoformat("2026-10-09 18:00"))
    holiday = [datetime.fromisoformat(f"2026-{day}T00:00+08:00") for day in ("09-30", "10-11")]
    backfill = start(ledger, task, holiday, at_a_time=10)

    beat.keeper.backfill()

    local = [moment + 8 * HOUR for moment in made(ledger, task)]
    assert [f"{moment:%m-%d}" for moment in local] == ["09-30", "10-08", "10-09"]
    assert all(timedelta() <= moment - moment.replace(hour=16, minute=30, second=0) < 10 * MINUTE for moment in local)
    assert len({moment.second for moment in local}) > 1
    assert read(ledger, backfill).next_moment is None


def test_a_moment_put_off_by_jitter_is_known_again(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, moments = paused_row(ledger, jitter_seconds=40), last_minutes(ledger, 6)
    cadence = cadence_of(ledger.task(task), "UTC")
    ran = [cadence.after(moment - MINUTE) for moment in moments[1:4]]
    done = {"origin": "schedule", "periodic_task_id": task}
    ledger.add_runs(State.SUCCESS, [{**done, "scheduled_for": moment} for moment in ran])
    backfill = start(ledger, task, [moments[0], moments[3]], at_a_time=10)

    beat.keeper.backfill()

    assert read(ledger, backfill).left_out >= 2
    assert not set(made(ledger, task)) & set(ran)


def test_what_the_schedule_itself_still_owes_is_left_to_it(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, moments = ledger.insert(crontab=EVERY_MINUTE, catch_up="all", overlap="allow"), last_minutes(ledger, 4)
    beat.arm()
    ledger.edit(task, next_run_at=moments[2])
    start(ledger, task, moments, at_a_time=10)

    assert beat.keeper.backfill() == 2
    beat.fire()
    assert beat.keeper.backfill() == 0

    assert [(run.origin, run.scheduled_for) for run in ledger.runs(task)][:4] == [
        ("backfill", moments[0]), ("backfill", moments[1]), ("schedule", moments[2]), ("schedule", moments[3]),
    ]  # fmt: skip


def test_a_long_stretch_without_work_is_passed_over_in_bounded_steps(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 1201)
    done = {"origin": "schedule", "periodic_task_id": task}
    ledger.add_runs(State.SUCCESS, [{**done, "scheduled_for": moment} for moment in moments[:-1]])
    backfill = start(ledger, task, moments)

    seen = []
    while not made(ledger, task):
        beat.keeper.backfill()
        seen.append(read(ledger, backfill).left_out)

    assert seen[-1] == 1200
    assert all(after - before <= 500 for before, after in zip([0, *seen], seen, strict=False))


# -- its own lane -----------------------------------------------------------------------------------


def test_its_runs_go_last_in_the_rows_queue_with_the_config_of_their_making(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    task, moments = (
        paused_row(ledger, task_extra_config=agent("old", queue="priority_high", priority=9)),
        last_minutes(ledger, 2),
    )
    start(ledger, task, moments)

    beat.keeper.backfill()
    ledger.edit(task, task_extra_config=agent("new"))
    end_runs(ledger)
    beat.keeper.backfill()

    first, second = ledger.runs(task)
    assert (first.queue, first.priority, second.queue, second.priority) == ("priority_high", 0, "priority_low", 0)
    assert ("old" in first.config, "new" in second.config) == (True, True)


def test_an_active_backfill_run_holds_no_moment_of_the_schedule(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE, overlap="skip")
    beat.arm()
    start(ledger, task, last_minutes(ledger, 2))
    beat.keeper.backfill()

    moment = ledger.owe(task)
    beat.fire()

    assert {run.origin: run.state for run in ledger.runs(task)} == {"backfill": "PENDING", "schedule": "PENDING"}
    assert moment in [run.scheduled_for for run in ledger.runs(task)]


def test_new_runs_are_handed_to_the_publisher(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = paused_row(ledger)
    start(ledger, task, last_minutes(ledger, 3), at_a_time=2)

    beat.keeper.backfill()

    assert [run.id for run in beat.publisher._handed_over] == [run.id for run in ledger.runs(task)]


def test_a_tick_takes_backfills_on_beside_itself(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = paused_row(ledger)
    start(ledger, task, last_minutes(ledger, 1))

    beat.tick()

    give_up_at = monotonic() + 20
    while not made(ledger, task):
        assert monotonic() < give_up_at
        sleep(0.05)


# -- crashes and several beats ----------------------------------------------------------------------


@contextmanager
def crashing_at(beat: DatabaseScheduler, statement: str) -> Iterator[None]:
    def crash(_: Any, __: Any, text: str, *___: Any) -> None:
        if text.startswith(statement):
            raise Crash

    event.listen(beat.engine, "before_cursor_execute", crash)
    try:
        yield
    finally:
        event.remove(beat.engine, "before_cursor_execute", crash)


@pytest.mark.parametrize("statement", ["INSERT INTO task_run", "UPDATE backfill", "COMMIT"])
def test_a_crash_in_mid_step_leaves_nothing_half_done_and_another_beat_goes_on(
    ledger: Ledger, new_beat: NewBeat, statement: str
) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 4)
    backfill = start(ledger, task, moments, at_a_time=2)
    first, second = new_beat(), new_beat()

    with crashing_at(first, statement), pytest.raises(Crash):
        first.keeper.backfill()
    assert ledger.runs(task) == []

    carry_on(ledger, second, backfill, 2)
    assert made(ledger, task) == moments


def test_two_beats_never_double_a_moment_nor_exceed_the_throttle(ledger: Ledger, new_beat: NewBeat) -> None:
    task, moments = paused_row(ledger), last_minutes(ledger, 12)
    backfill = start(ledger, task, moments, at_a_time=3)
    beats = [new_beat() for _ in range(3)]
    together = Barrier(len(beats))

    def go_on(beat: DatabaseScheduler) -> int:
        together.wait(20)
        return beat.keeper.backfill()

    with ThreadPoolExecutor(len(beats)) as pool:
        for _ in range(40):
            list(pool.map(go_on, beats))
            assert len(unfinished(ledger)) <= 3
            end_runs(ledger)
            if read(ledger, backfill).finished_at is not None:
                break

    assert made(ledger, task) == moments
    assert read(ledger, backfill).created == 12


@on_servers
def test_a_beat_passes_over_a_backfill_that_another_one_holds(ledger: Ledger, new_beat: NewBeat) -> None:
    start(ledger, paused_row(ledger), last_minutes(ledger, 12), at_a_time=3)
    first, second = new_beat(), new_beat()
    meanwhile: list[int] = []

    @event.listens_for(first.engine, "before_cursor_execute")
    def _(_: Any, __: Any, text: str, *___: Any) -> None:
        if text.startswith("INSERT INTO task_run") and not meanwhile:
            meanwhile.append(second.keeper.backfill())

    assert (first.keeper.backfill(), meanwhile) == (3, [0])
    assert len(ledger.runs()) == 3


# -- steering ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cut", "started"), [(False, "STARTED"), (True, "REVOKED")])
def test_cancelling_revokes_what_waits_and_with_cut_what_runs(
    ledger: Ledger, beat: DatabaseScheduler, cut: bool, started: str
) -> None:
    task = paused_row(ledger)
    other = ledger.add_run(State.QUEUED, periodic_task_id=task)
    backfill = start(ledger, task, last_minutes(ledger, 9), at_a_time=3)
    beat.keeper.backfill()
    running, *_ = made_runs = [run for run in ledger.runs(task) if run.origin == "backfill"]
    ledger.set_run(running.id, state=State.STARTED, worker="w", deadline_at=ledger.now() + HOUR)

    with transaction(ledger.engine) as tx:
        one = backfills.take(tx, backfill)
        assert one is not None
        backfills.cancel(tx, one, cut=cut)

    assert [ledger.run(run.id).state for run in made_runs] == [started, "REVOKED", "REVOKED"]
    assert ledger.run(other).state == "QUEUED"
    assert (beat.keeper.backfill(), len(made(ledger, task))) == (0, 3)
    assert read(ledger, backfill).state == "CANCELLED"


def test_states_written_by_sql_are_obeyed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = paused_row(ledger)
    backfill = start(ledger, task, last_minutes(ledger, 5))

    ledger.sql("UPDATE backfill SET state = 'PAUSED'")
    assert beat.keeper.backfill() == 0
    ledger.sql("UPDATE backfill SET state = 'RUNNING', at_a_time = 2")
    assert beat.keeper.backfill() == 2
    ledger.sql("UPDATE backfill SET state = 'CANCELLED'")
    assert beat.keeper.backfill() == 0

    assert ledger.states(task) == {"REVOKED": 2}
    assert read(ledger, backfill).finished_at is not None


def test_a_row_has_one_unfinished_backfill_at_most(ledger: Ledger) -> None:
    task, other = paused_row(ledger), paused_row(ledger, name="other")
    start(ledger, task, last_minutes(ledger, 5))
    start(ledger, other, last_minutes(ledger, 5))

    with pytest.raises(AlreadyOpen):
        start(ledger, task, [moment - HOUR for moment in last_minutes(ledger, 5)])

    ledger.sql("UPDATE backfill SET state = 'CANCELLED', finished_at = create_time")
    start(ledger, task, last_minutes(ledger, 5))


@pytest.mark.parametrize(
    "wrong", ["state = 'STOPPED'", "at_a_time = 0", "at_a_time = 101", "finished_at = create_time"]
)
def test_the_schema_refuses_what_no_backfill_is(ledger: Ledger, wrong: str) -> None:
    start(ledger, paused_row(ledger), last_minutes(ledger, 5))

    with pytest.raises(DBAPIError):
        ledger.sql(f"UPDATE backfill SET {wrong}")


def test_a_deleted_row_ends_its_backfill(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = paused_row(ledger)
    backfill = start(ledger, task, last_minutes(ledger, 5))
    beat.keeper.backfill()

    ledger.sql("DELETE FROM periodic_task")
    end_runs(ledger)
    beat.keeper.backfill()

    ended = read(ledger, backfill)
    assert (ended.state, ended.reason, len(ledger.runs(task))) == ("CANCELLED", "its row was deleted", 1)


def test_a_broken_row_holds_its_backfill_until_it_is_mended_and_no_other(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    broken, sound = paused_row(ledger), paused_row(ledger, name="sound")
    backfill = start(ledger, broken, last_minutes(ledger, 1))
    start(ledger, sound, last_minutes(ledger, 1))
    ledger.edit(broken, task_extra_config="{broken")

    assert beat.keeper.backfill() == 1
    assert made(ledger, sound)
    reason = read(ledger, backfill).reason
    assert reason.startswith("waits, the row is broken: task_extra_config")

    ledger.edit(broken, task_extra_config=agent())
    carry_on(ledger, beat, backfill, 2)
    assert (len(made(ledger, broken)), read(ledger, backfill).state) == (1, "DONE")


def test_a_finished_backfill_is_not_touched_again(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = paused_row(ledger)
    backfill = start(ledger, task, last_minutes(ledger, 1))
    carry_on(ledger, beat, backfill, 1)
    before = read(ledger, backfill)

    beat.keeper.backfill()

    assert read(ledger, backfill) == before
    assert before.state == BackfillState.DONE
