"""Rows that start after others: once for each end, whoever dies where; circles, and what is edited meanwhile."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import attempts
from beat.chains import ENDED, in_circles
from core.after import MAX_DEPTH, MAX_FOLLOWERS
from core.lifecycle import Origin, State
from core.outcome import AgentError, AgentResult, ErrorKind
from scheduler import DatabaseScheduler
from store import chains
from store.database import AnyRow, autocommit
from tests.integration.conftest import NewBeat, on_servers
from tests.integration.engine import Crash, Ledger, agent
from tests.stack import ROOT

INSERT = (
    "INSERT INTO periodic_task (name, task_extra_config, overlap, max_runs) VALUES (:name, :config, :overlap, :most)"
)


def follower(ledger: Ledger, name: str, after: Any = "load", *, overlap: str = "allow", most: int | None = None) -> int:
    """Insert a row as an operator does who gives it no moments."""
    ledger.sql(INSERT, name=name, config=agent(after=after), overlap=overlap, most=most)
    return int(ledger.value("SELECT id FROM periodic_task WHERE name = :name", name=name))


def set_after(ledger: Ledger, task: int, after: Any) -> None:
    ledger.edit(task, task_extra_config=agent(after=after), crontab=None)


def begun(ledger: Ledger, task: int, **columns: Any) -> AnyRow:
    """A run of a row that a worker carries."""
    return ledger.run(ledger.add_run(State.STARTED, periodic_task_id=task, task_name="load", **columns))


def end(ledger: Ledger, run: AnyRow, outcome: AgentResult | AgentError | None = None) -> AnyRow:
    """Write a run's end as its worker does."""
    attempts.write(ledger.engine, run, outcome or AgentResult("succeeded", "42 rows"))
    return ledger.run(run.id)


def failure(kind: ErrorKind = ErrorKind.REMOTE_FAILED) -> AgentError:
    return AgentError(kind, "it broke")


@pytest.fixture
def load(ledger: Ledger) -> int:
    return ledger.insert("load")


def look(beat: DatabaseScheduler) -> int:
    return beat.keeper.chains.look()


# -- once for each end --------------------------------------------------------------------------------


def test_a_row_starts_once_when_the_other_has_succeeded(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report")
    beat.arm()
    assert ledger.task(report).hint == "starts after 'load' has succeeded"
    ended = end(ledger, begun(ledger, load))

    assert [look(beat), look(beat)] == [1, 0]

    (run,) = ledger.runs(report)
    assert (run.state, run.origin, run.after_run) == (State.PENDING, Origin.AFTER, ended.id)
    assert run.scheduled_for == ended.finished_at
    row = ledger.task(report)
    assert (row.run_count, row.last_run_at is not None, row.next_run_at) == (1, True, None)
    assert ledger.value("SELECT COUNT(*) FROM after_due") == 0


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "ended"])
def test_the_outcome_that_is_asked_for_starts_the_row(
    ledger: Ledger, beat: DatabaseScheduler, load: int, outcome: str
) -> None:
    report = follower(ledger, "report", {"task": "load", "outcome": outcome})
    beat.arm()
    ends = {
        "succeeded": end(ledger, begun(ledger, load)),
        "failed": end(ledger, begun(ledger, load, scheduled_for=ledger.now()), failure()),
        "asks": end(ledger, begun(ledger, load, scheduled_for=ledger.now()), AgentResult("requires_action", "?")),
    }

    look(beat)

    started = {name for name, run in ends.items() if run.id in {each.after_run for each in ledger.runs(report)}}
    assert started == ({outcome} if outcome != "ended" else set(ends))


def test_an_attempt_that_is_made_again_is_no_end(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report", {"task": "load", "outcome": "ended"})
    beat.arm()
    run = begun(ledger, load, config=agent(max_retries=1))

    assert end(ledger, run, failure(ErrorKind.CONNECT)).state == State.RETRY
    assert look(beat) == 0
    ledger.set_run(run.id, state=State.STARTED, attempt=2)
    assert end(ledger, ledger.run(run.id), failure(ErrorKind.CONNECT)).state == State.FAILURE
    assert look(beat) == 1

    assert len(ledger.runs(report)) == 1


@pytest.mark.parametrize(
    ("origin", "starts"),
    [("schedule", 1), ("manual", 1), ("api", 1), ("after", 1), ("backfill", 0)],
)
def test_which_runs_of_the_other_row_count(
    ledger: Ledger, beat: DatabaseScheduler, load: int, origin: str, starts: int
) -> None:
    follower(ledger, "report")
    beat.arm()

    end(ledger, begun(ledger, load, origin=origin))

    assert look(beat) == starts
    assert not chains_due(ledger)


def test_a_cancelled_run_starts_nothing(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report", {"task": "load", "outcome": "ended"})
    beat.arm()
    run = begun(ledger, load)
    with autocommit(ledger.engine) as connection:
        chains.enter(connection, run.id, load)  # its worker was about to write the end when it was cancelled
    ledger.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=run.id)

    assert (look(beat), ledger.runs(report), chains_due(ledger)) == (0, [], 0)


def test_an_end_that_is_entered_again_starts_nothing_and_cancels_nothing(
    ledger: Ledger, beat: DatabaseScheduler, load: int
) -> None:
    report = follower(ledger, "report", overlap="cancel_other")
    beat.arm()
    run = end(ledger, begun(ledger, load))
    look(beat)

    with autocommit(ledger.engine) as connection:
        chains.enter(connection, run.id, load)
        chains.enter(connection, run.id, load)
    look(beat)

    assert [each.state for each in ledger.runs(report)] == [State.PENDING]
    assert ledger.task(report).run_count == 1


def test_an_end_that_is_entered_again_takes_no_room_from_a_new_one(
    ledger: Ledger, beat: DatabaseScheduler, load: int
) -> None:
    report = follower(ledger, "report", overlap="skip")
    beat.arm()
    old = end(ledger, begun(ledger, load))
    look(beat)
    ledger.sql("UPDATE task_run SET state = 'SUCCESS' WHERE periodic_task_id = :id", id=report)

    with autocommit(ledger.engine) as connection:
        chains.enter(connection, old.id, load)
    end(ledger, begun(ledger, load, scheduled_for=ledger.now() - timedelta(hours=1)))
    look(beat)

    assert [run.state for run in ledger.runs(report)] == [State.SUCCESS, State.PENDING]


def test_ends_of_one_moment_start_a_run_each(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report")
    beat.arm()
    at = ledger.now()
    for number in range(3):
        run = end(ledger, begun(ledger, load, scheduled_for=at - timedelta(hours=number)))
        ledger.set_run(run.id, finished_at=at)

    assert look(beat) == 3

    assert [run.scheduled_for - at for run in ledger.runs(report)] == [timedelta(microseconds=n) for n in range(3)]


def test_overlap_decides_about_a_row_that_runs_still(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    rows = {name: follower(ledger, name, overlap=name) for name in ("skip", "buffer_one", "allow")}
    beat.arm()
    for number in range(3):
        end(ledger, begun(ledger, load, scheduled_for=ledger.now() - timedelta(hours=number)))

    look(beat)

    def seen(name: str) -> list[str]:
        return [run.state if run.ready_at or run.state == State.SKIPPED else "held" for run in ledger.runs(rows[name])]

    assert seen("skip") == ["PENDING", "SKIPPED", "SKIPPED"]
    assert seen("buffer_one") == ["PENDING", "held", "SKIPPED"]
    assert seen("allow") == ["PENDING", "PENDING", "PENDING"]
    assert all(run.after_run for run in ledger.runs(rows["skip"]))


def test_max_runs_counts_the_runs_that_follow(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report", most=1)
    beat.arm()
    for number in range(2):
        end(ledger, begun(ledger, load, scheduled_for=ledger.now() - timedelta(hours=number)))

    look(beat)

    assert len(ledger.runs(report)) == 1
    assert ledger.task(report).hint == "finished: max_runs is reached"


def test_a_hold_that_skips_says_so_in_the_run(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report")
    beat.arm()
    ledger.sql("INSERT INTO hold (scope, mode, reason) VALUES ('everything', 'skip', 'stocktaking')")
    beat._read_surroundings()
    end(ledger, begun(ledger, load))

    look(beat)

    (run,) = ledger.runs(report)
    assert run.state == State.SKIPPED
    assert "stocktaking" in run.error


def test_a_line_of_rows_runs_one_after_the_other(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    second = follower(ledger, "second")
    third = follower(ledger, "third", "second")
    beat.arm()
    end(ledger, begun(ledger, load))
    look(beat)
    assert ledger.runs(third) == []

    (run,) = ledger.runs(second)
    ledger.set_run(run.id, state=State.STARTED, worker="w1", attempt=1, deadline_at=ledger.now())
    end(ledger, ledger.run(run.id))
    look(beat)

    assert [each.after_run for each in ledger.runs(third)] == [run.id]


# -- whoever dies, and whoever holds ------------------------------------------------------------------

KILLED = """
import os, signal, sys
from store import chains
from tests.integration.engine import Ledger, beat_on
leave = chains.leave
def die(tx, run_ids):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
chains.leave = die
beat = beat_on(Ledger(sys.argv[1]))
beat.keeper.chains.look()
"""


@pytest.mark.parametrize("before", ["pass", "leave(tx, run_ids)", "leave(tx, run_ids); tx.exec_driver_sql('COMMIT')"])
def test_a_beat_killed_in_the_middle_leaves_one_run(ledger: Ledger, new_beat: NewBeat, load: int, before: str) -> None:
    report = follower(ledger, "report")
    beat = new_beat()
    beat.arm()
    ended = end(ledger, begun(ledger, load))

    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(before=before), ledger.url],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    look(new_beat())

    assert [run.after_run for run in ledger.runs(report)] == [ended.id]
    assert ledger.task(report).run_count == 1


def test_a_worker_that_dies_before_it_writes_the_end_starts_nothing_until_there_is_one(
    ledger: Ledger, beat: DatabaseScheduler, load: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = follower(ledger, "report")
    beat.arm()
    run = begun(ledger, load)
    with monkeypatch.context() as patch:
        patch.setattr("store.runs.finish", _crash)
        with pytest.raises(Crash):
            end(ledger, run)
    assert chains_due(ledger) == 1
    assert look(beat) == 0

    end(ledger, run)  # the attempt that its rescue led to

    assert look(beat) == 1
    assert len(ledger.runs(report)) == 1


def _crash(*_: object) -> None:
    raise Crash


def test_an_end_whose_follower_cannot_be_entered_is_not_written(
    ledger: Ledger, beat: DatabaseScheduler, load: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower(ledger, "report")
    beat.arm()
    run = begun(ledger, load)
    with monkeypatch.context() as patch:
        patch.setattr("store.chains.enter", _crash)
        with pytest.raises(Crash):
            end(ledger, run)

    assert ledger.run(run.id).state == State.STARTED


def test_two_beats_start_it_once(ledger: Ledger, new_beat: NewBeat, load: int) -> None:
    report = follower(ledger, "report")
    first, second = new_beat(), new_beat()
    first.arm()
    end(ledger, begun(ledger, load))

    assert look(first) + look(second) == 1
    assert len(ledger.runs(report)) == 1


@on_servers
def test_rows_that_somebody_holds_do_not_hold_up_others(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    held, free = follower(ledger, "held"), follower(ledger, "free")
    other = ledger.insert("other")
    after_other = follower(ledger, "after other", "other")
    beat.arm()
    now = ledger.now()
    for number in range(ENDED + 5):
        end(ledger, begun(ledger, load, scheduled_for=now - timedelta(minutes=number)))
    end(ledger, begun(ledger, other))
    operator = ledger.operator()
    with operator.cursor() as cursor:
        cursor.execute("SELECT id FROM periodic_task WHERE id = %s FOR UPDATE", (held,))

    look(beat)

    assert (len(ledger.runs(held)), len(ledger.runs(free)), len(ledger.runs(after_other))) == (0, ENDED + 5, 1)
    operator.rollback()
    look(beat)
    assert (len(ledger.runs(held)), len(ledger.runs(free)), chains_due(ledger)) == (ENDED + 5, ENDED + 5, 0)


# -- what is edited -----------------------------------------------------------------------------------


def test_an_edit_by_plain_sql_begins_and_ends_it(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = ledger.insert("report")
    beat.arm()
    set_after(ledger, report, "load")
    beat.arm()
    end(ledger, begun(ledger, load))
    assert look(beat) == 1

    ledger.edit(report, task_extra_config=agent(), crontab="0 0 1 1 *")
    beat.arm()
    end(ledger, begun(ledger, load, scheduled_for=ledger.now()))

    assert (look(beat), chains_due(ledger)) == (0, 0)
    assert ledger.task(report).next_run_at is not None


def test_an_edit_that_is_not_armed_yet_is_waited_for(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    report = follower(ledger, "report")
    beat.arm()
    end(ledger, begun(ledger, load))
    ledger.edit(report, task_extra_config=agent("new", after="load"))

    assert (look(beat), chains_due(ledger)) == (0, 1)
    beat.arm()
    assert look(beat) == 1

    assert json.loads(ledger.runs(report)[0].config)["message"] == "new"


@pytest.mark.parametrize(
    "edit", ["UPDATE periodic_task SET enabled = 0 WHERE id = :id", "DELETE FROM periodic_task WHERE id = :id"]
)
def test_a_row_that_is_disabled_or_deleted_follows_no_longer(
    ledger: Ledger, beat: DatabaseScheduler, load: int, edit: str
) -> None:
    report = follower(ledger, "report")
    beat.arm()
    end(ledger, begun(ledger, load))
    ledger.sql(edit, id=report)
    beat.arm()

    look(beat)
    look(beat)

    assert (ledger.runs(report), chains_due(ledger), ledger.value("SELECT COUNT(*) FROM task_after")) == ([], 0, 0)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("UPDATE periodic_task SET name = 'load2' WHERE id = :id", "there is none; did you mean 'load2'?"),
        ("DELETE FROM periodic_task WHERE id = :id", "there is none; name a row that is there"),
    ],
)
def test_a_row_whose_upstream_is_renamed_or_gone_says_so(
    ledger: Ledger, beat: DatabaseScheduler, load: int, edit: str, told: str
) -> None:
    report = follower(ledger, "report")
    beat.arm()
    ledger.sql(edit, id=load)

    assert beat.keeper.chains.check_again() == 1
    beat.arm()

    assert ledger.task(report).config_error == f"after names the row 'load', and {told}"
    ledger.sql("UPDATE periodic_task SET rearm_at = NULL WHERE id = :id", id=report)
    assert beat.keeper.chains.check_again() == 0


def test_a_row_whose_queue_is_no_longer_served_is_told_and_holds_nothing(
    ledger: Ledger, new_beat: NewBeat, load: int
) -> None:
    ledger.sql(INSERT, name="report", config=agent(after="load", queue="data"), overlap="allow", most=None)
    new_beat(task_queues=("data",)).arm()
    end(ledger, begun(ledger, load))
    beat = new_beat()

    look(beat)
    beat.arm()
    look(beat)

    row = ledger.sql("SELECT config_error FROM periodic_task WHERE name = 'report'")[0]
    assert "queue 'data' is unknown" in row.config_error
    assert chains_due(ledger) == 0


# -- circles and bounds -------------------------------------------------------------------------------


def test_a_row_cannot_follow_itself(ledger: Ledger, beat: DatabaseScheduler) -> None:
    me = follower(ledger, "me", "me")
    beat.arm()

    assert ledger.task(me).config_error == "after names the row itself; name another"


def test_the_row_that_closes_a_circle_says_which(ledger: Ledger, beat: DatabaseScheduler) -> None:
    a = ledger.insert("a")
    follower(ledger, "b", "a")
    follower(ledger, "c", "b")
    beat.arm()

    set_after(ledger, a, "c")
    beat.arm()

    told = "after makes a loop: 'a' after 'c' after 'b' after 'a'; take one of them out of it"
    assert ledger.task(a).config_error == told
    assert ledger.value("SELECT COUNT(*) FROM task_after") == 2


def test_a_circle_of_one_batch_is_found(ledger: Ledger, beat: DatabaseScheduler) -> None:
    a, b = ledger.insert("a"), ledger.insert("b")
    set_after(ledger, a, "b")
    set_after(ledger, b, "a")

    beat.arm()

    assert [ledger.task(each).config_error is None for each in (a, b)].count(True) == 1


def test_a_circle_that_two_beats_made_at_once_is_taken_apart(ledger: Ledger, beat: DatabaseScheduler) -> None:
    rows = {name: ledger.insert(name) for name in ("a", "b")}
    set_after(ledger, rows["b"], "a")
    beat.arm()
    set_after(ledger, rows["a"], "b")
    ledger.sql("DELETE FROM task_after")  # the other's row, which this beat cannot see yet
    beat.arm()
    ledger.sql("INSERT INTO task_after VALUES (:b, :a, 'a', 'succeeded')", **rows)

    assert beat.keeper.chains.check_again() == 2
    beat.arm()

    errors = [ledger.task(each).config_error for each in rows.values()]
    assert any(error and error.startswith("after makes a loop") for error in errors)
    assert beat.keeper.chains.check_again() == 0


@pytest.mark.parametrize(
    ("upstream", "found"),
    [
        ({}, set()),
        ({1: 2, 2: 3}, set()),
        ({1: 2, 2: 1}, {1, 2}),
        ({5: 1, 1: 2, 2: 3, 3: 1, 9: 5}, {1, 2, 3}),
        ({1: 2, 2: 1, 3: 4, 4: 3, 5: 3}, {1, 2, 3, 4}),
    ],
)
def test_circles(upstream: dict[int, int], found: set[int]) -> None:
    assert in_circles(upstream) == found


def test_a_line_may_be_so_long_and_no_longer(ledger: Ledger, beat: DatabaseScheduler) -> None:
    ledger.insert("0")
    names = [str(number) for number in range(1, MAX_DEPTH + 2)]
    rows = [follower(ledger, name, str(int(name) - 1)) for name in names]

    beat.arm()

    broken = [ledger.task(row).config_error for row in rows if ledger.task(row).config_error]
    assert broken == [f"after: more than {MAX_DEPTH} rows would stand one after the other; make the line shorter"]


def test_one_end_starts_so_many_rows_and_no_more(ledger: Ledger, beat: DatabaseScheduler, load: int) -> None:
    config = agent(after="load")
    names = [f"report {number}" for number in range(MAX_FOLLOWERS + 1)]
    ledger.insert_many([{"name": name, "task_extra_config": config} for name in names])
    beat.arm()
    (broken,) = ledger.sql("SELECT config_error FROM periodic_task WHERE config_error IS NOT NULL")
    assert broken.config_error.startswith(f"after: {MAX_FOLLOWERS} rows start after 'load' already")

    end(ledger, begun(ledger, load))

    assert look(beat) == MAX_FOLLOWERS


# -- what it costs ------------------------------------------------------------------------------------


@on_servers
def test_whether_a_row_is_followed_is_asked_of_an_index(ledger: Ledger) -> None:
    ledger.sql(
        "INSERT INTO task_after SELECT n, 100000 + n, 'x', 'ended' FROM "
        "(WITH RECURSIVE s AS (SELECT 1 n UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT n FROM s) s"
    )
    with autocommit(ledger.engine) as connection:
        asked = chains._FOLLOWED.params(task=100_007).compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.execute(text(f"EXPLAIN {asked}")).one()

    assert (plan.key, int(plan.rows)) == ("ix_task_after_upstream", 1)
    assert "Using index" in plan.Extra


def chains_due(ledger: Ledger) -> int:
    return int(ledger.value("SELECT COUNT(*) FROM after_due"))


def test_the_migration_keeps_the_runs_that_are_there(empty_database_url: str, tmp_path: Path) -> None:
    from store import migrate

    ledger = Ledger(empty_database_url)
    migrate.upgrade(ledger.engine, "0008")
    ledger.sql(
        "INSERT INTO task_run (id, task_name, origin, scheduled_for, state, queue, config, rendered, result) "
        "VALUES ('r1', 'x', 'manual', '2026-01-01 00:00:00', 'SUCCESS', 'system', '{}', '{}', '好')"
    )

    migrate.upgrade(ledger.engine)
    ledger.sql("UPDATE task_run SET origin = 'after', after_run = 'r0'")
    migrate.downgrade(ledger.engine, "0008")

    (run,) = ledger.sql("SELECT id, origin, rendered, result, queue FROM task_run")
    assert tuple(run) == ("r1", "api", "{}", "好", "system")
    ledger.close()
