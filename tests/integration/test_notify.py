"""Notifications on a ledger: from a run's end to what a channel is told. Time is moved in the rows."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

import attempts
import notify
from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind
from notify import ChannelFault, Notifications
from scheduler import DatabaseScheduler
from store import notices, notifications
from store.database import AnyRow, autocommit, transaction
from store.notices import StalledQueue
from tests.integration.conftest import NewBeat, on_servers, on_sqlite
from tests.integration.engine import Ledger, agent, settings_for

URL = "json://channel.example/planted-secret-0"


class Recorder:
    """Stands where a message leaves the process; `fault` is what the other side answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.fault: str | None = None

    def __call__(self, url: str, title: str, body: str, kind: str = "info") -> None:
        if self.fault is not None:
            raise ChannelFault(self.fault)
        self.sent.append((title, body, kind))

    @property
    def titles(self) -> list[str]:
        return [title.removeprefix("Agent scheduler: ") for title, _, _ in self.sent]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(notify, "deliver", recorder)
    monkeypatch.setenv("OPS_NOTIFY_URL", URL)
    return recorder


@pytest.fixture
def job(ledger: Ledger, told: Recorder) -> Notifications:
    with transaction(ledger.engine) as tx:
        notifications.add_channel(tx, {"name": "ops", "url_env": "OPS_NOTIFY_URL"})
    return Notifications(ledger.engine, settings_for(ledger))


def end(ledger: Ledger, outcome: AgentResult | str, task: int | None = 1, name: str = "日报", **config: Any) -> str:
    """End a run through the code of workers and of rescue."""
    text = agent(**{"notify": ["ops"], **config})
    run_id = ledger.add_run(State.STARTED, periodic_task_id=task, task_name=name, config=text)
    error = AgentError(ErrorKind.UNAVAILABLE, outcome) if isinstance(outcome, str) else outcome
    assert attempts.write(ledger.engine, ledger.run(run_id), error) is not None
    return run_id


def good(text: str = "fine") -> AgentResult:
    return AgentResult("succeeded", text)


def later(ledger: Ledger, **by: float) -> None:
    """Move what was sent and what waits into the past."""
    with transaction(ledger.engine) as tx:
        for row in tx.execute(notifications.MESSAGE.select()).all():
            values = {"due_at": row.due_at - timedelta(**by)}
            tx.execute(notifications.MESSAGE.update().where(notifications.M.id == row.id).values(values))
        for row in tx.execute(notifications.CHANNEL.select()).all():
            values = {"sent": "[]", "ready_at": row.ready_at and row.ready_at - timedelta(**by)}
            tx.execute(notifications.CHANNEL.update().where(notifications.CHANNEL.c.id == row.id).values(values))


def channel(ledger: Ledger, name: str = "ops") -> AnyRow:
    with autocommit(ledger.engine) as connection:
        found = notifications.channel(connection, name)
    assert found is not None
    return found


def test_a_failure_is_told_and_its_recovery_once(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    run = end(ledger, "HTTP 503")
    job.look()
    end(ledger, good())
    end(ledger, good())
    job.look()
    job.look()

    assert told.titles == ["1 failed", "1 recovered"]
    assert "日报\nunavailable: HTTP 503" in told.sent[0][1]
    assert run in told.sent[0][1]
    assert [kind for _, _, kind in told.sent] == ["failure", "info"]
    assert ledger.value("SELECT count(*) FROM notify_due") == 0


def test_a_thousand_failures_of_one_cause_are_few_messages_that_count_them(
    job: Notifications, ledger: Ledger, told: Recorder
) -> None:
    now = ledger.now()
    ids = ledger.add_runs(
        State.FAILURE,
        [
            {"task_name": f"task {i}", "periodic_task_id": i, "config": agent(notify=["ops"]), "finished_at": now,
             "error_kind": "connect", "error": f"cannot reach agent {i}", "scheduled_for": now + timedelta(seconds=i)}
            for i in range(1000)
        ],
    )  # fmt: skip
    with transaction(ledger.engine) as tx:
        tx.execute(notifications.DUE.insert(), [{"run_id": run_id} for run_id in ids])

    job.look()
    job.look()

    assert told.titles == ["1000 failed"]
    assert "and others" in told.sent[0][1]
    assert "1000 times" in told.sent[0][1]


def test_a_cause_that_goes_on_stays_quiet_for_a_while_and_is_then_counted(
    job: Notifications, ledger: Ledger, told: Recorder
) -> None:
    end(ledger, "HTTP 503")
    job.look()
    for _ in range(3):
        end(ledger, "HTTP 503")
    job.look()
    assert told.titles == ["1 failed"]

    later(ledger, minutes=1)
    job.look()
    assert told.titles == ["1 failed", "3 failed"]

    end(ledger, "HTTP 503")
    later(ledger, minutes=1)  # now it takes two
    job.look()
    end(ledger, "no such model", name="另一个")  # another cause goes out at once, and takes along what waits
    job.look()
    assert told.titles == ["1 failed", "3 failed", "2 failed"]


def test_what_was_quiet_for_long_is_told_at_once_again(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    end(ledger, "HTTP 503")
    job.look()
    later(ledger, minutes=3)
    job.look()
    end(ledger, "HTTP 503")
    job.look()

    assert told.titles == ["1 failed", "1 failed"]


def test_a_channel_gets_ten_messages_a_minute_at_most(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    for word in "abcdefghijklmnop":
        end(ledger, f"cause {word}")
        job.look()
    assert len(told.sent) == 10

    with transaction(ledger.engine) as tx:
        row = channel(ledger)
        minute_ago = [str(moment) for moment in json.loads(row.sent)]
        shifted = [moment.replace("+00:00", "+01:00") for moment in minute_ago]  # the same clock, an hour earlier
        tx.execute(notifications.CHANNEL.update().values(sent=json.dumps(shifted), ready_at=None))
    job.look()

    assert told.titles[10:] == ["6 failed"]


def test_nothing_is_lost_while_a_channel_fails(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    told.fault = "refuses: 45009"
    end(ledger, "HTTP 503")
    job.look()
    job.look()
    row = channel(ledger)
    assert (row.failures, row.last_error) == (1, "refuses: 45009")

    told.fault = None
    later(ledger, seconds=11)
    job.look()
    assert told.titles == ["1 failed"]
    assert (channel(ledger).failures, channel(ledger).last_error) == (0, None)


def test_a_beat_that_died_while_it_sent_leaves_the_message_to_the_next(
    job: Notifications, ledger: Ledger, told: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    end(ledger, "HTTP 503")
    monkeypatch.setattr(notify, "deliver", die)
    job.work_in()
    with pytest.raises(Killed):
        job._send_to("ops")
    monkeypatch.setattr(notify, "deliver", told)
    other = Notifications(ledger.engine, job.settings)
    other.look()
    assert told.sent == []  # the dead one's lease

    later(ledger, seconds=61)
    other.look()
    assert told.titles == ["1 failed"]


def test_an_end_that_could_not_be_told_of_is_not_written(
    job: Notifications, ledger: Ledger, told: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the two: the run goes on, and what comes of it in the end is told."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> bool:
        raise Killed

    run_id = ledger.add_run(State.STARTED, periodic_task_id=1, config=agent(notify=["ops"]))
    with monkeypatch.context() as patch:
        patch.setattr("store.runs.finish", die)
        with pytest.raises(Killed):
            attempts.write(ledger.engine, ledger.run(run_id), good())
    job.look()
    assert ledger.value("SELECT count(*) FROM notify_due") == 1

    lost = attempts.lost(ledger.run(run_id), "its worker was lost")
    assert attempts.write(ledger.engine, ledger.run(run_id), lost) is State.FAILURE
    job.look()
    assert told.titles == ["1 failed"]
    assert ledger.value("SELECT count(*) FROM notify_due") == 0


def test_two_beats_at_once_tell_each_end_once(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    beats = [Notifications(ledger.engine, job.settings) for _ in range(4)]
    for i in range(20):
        end(ledger, f"cause {'abcdefghijklmnopqrst'[i]}", task=i, name=f"task {i}")

    threads = [threading.Thread(target=beat.look) for beat in beats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):
        job.look()

    assert sum(int(title.split()[0]) for title in told.titles) == 20


@on_servers
def test_while_one_beat_works_runs_in_another_leaves_them_alone(
    job: Notifications, ledger: Ledger, told: Recorder
) -> None:
    with transaction(ledger.engine) as tx:
        assert notifications.take_turn(tx)  # enters the row that the turn is
    end(ledger, "HTTP 503")
    with transaction(ledger.engine) as tx:
        assert notifications.take_turn(tx)
        assert job.work_in() == 0
    job.look()

    assert told.titles == ["1 failed"]


def test_a_changed_answer_is_told_and_an_equal_one_is_not(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    for answer in ("甲", "甲", "乙", "乙"):
        end(ledger, good(answer), notify={"change": ["ops"]})
        job.look()

    assert told.titles == ["1 changed"]
    assert "the answer is now: 乙" in told.sent[0][1]


def test_runs_of_a_backfill_tell_nothing(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    run_id = ledger.add_run(State.STARTED, periodic_task_id=1, config=agent(notify=["ops"]), origin="backfill")
    attempts.write(ledger.engine, ledger.run(run_id), AgentError(ErrorKind.AUTH, "no"))
    job.look()

    assert told.sent == []
    assert ledger.value("SELECT count(*) FROM notify_due") == 0


def test_a_run_that_was_purged_before_it_was_told_is_forgotten(job: Notifications, ledger: Ledger) -> None:
    end(ledger, "HTTP 503")
    ledger.sql("DELETE FROM task_run")
    job.look()

    assert ledger.value("SELECT count(*) FROM notify_due") == 0


@on_sqlite
def test_a_channel_that_does_not_exist_is_named_in_the_log_and_may_be_added_later(
    job: Notifications, ledger: Ledger, told: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    end(ledger, "HTTP 503", notify=["opps"])
    job.look()
    assert "channels that do not exist: opps" in caplog.text
    assert told.sent == []

    with transaction(ledger.engine) as tx:
        notifications.add_channel(tx, {"name": "opps", "url_env": "OPS_NOTIFY_URL"})
    job.look()
    assert told.titles == ["1 failed"]


@on_sqlite
def test_what_waits_for_a_channel_that_never_comes_is_given_up_after_a_day(job: Notifications, ledger: Ledger) -> None:
    end(ledger, "HTTP 503", notify=["opps"])
    job.look()
    long_ago = ledger.now() - timedelta(days=2)
    with transaction(ledger.engine) as tx:
        tx.execute(notifications.MESSAGE.update().values(first_at=long_ago))
    job.look()

    assert ledger.value("SELECT count(*) FROM notify_message") == 0


@on_sqlite
def test_a_channel_that_is_off_keeps_what_it_is_told(job: Notifications, ledger: Ledger, told: Recorder) -> None:
    ledger.sql("UPDATE notify_channel SET enabled = 0")
    end(ledger, "HTTP 503")
    job.look()
    assert told.sent == []

    ledger.sql("UPDATE notify_channel SET enabled = 1")
    job.look()
    assert told.titles == ["1 failed"]


@on_sqlite
def test_a_row_without_notify_costs_no_statement(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a row without notify was entered")

    monkeypatch.setattr(notifications, "enter", never)
    run_id = ledger.add_run(State.STARTED, periodic_task_id=1)

    assert attempts.write(ledger.engine, ledger.run(run_id), good()) is State.SUCCESS


def test_alert_urls_hear_of_a_queue_that_stands_still_and_of_its_end(ledger: Ledger, told: Recorder) -> None:
    job = Notifications(ledger.engine, settings_for(ledger, alert_urls=URL))
    stalled = StalledQueue("priority_low", 7, 20.0, ["w1"])
    with transaction(ledger.engine) as tx:
        notices.write_stalled(tx, [stalled])
    job.look()
    job.look()
    with transaction(ledger.engine) as tx:
        notices.write_stalled(tx, [])
    job.look()

    assert told.titles == ["alarm", "alarm"]
    assert "priority_low: 7 messages" in told.sent[0][1]
    assert "it is over" in told.sent[1][1]


@on_sqlite
def test_without_alert_urls_nobody_hears_of_it(ledger: Ledger, told: Recorder) -> None:
    with transaction(ledger.engine) as tx:
        notices.write_stalled(tx, [StalledQueue("priority_low", 7, 20.0, [])])
    Notifications(ledger.engine, settings_for(ledger)).look()

    assert told.sent == []
    assert ledger.value("SELECT count(*) FROM notify_message") == 0


def test_beat_makes_a_job_of_it(ledger: Ledger, new_beat: Any) -> None:
    assert "notifications" in [job.name for job in new_beat().jobs]


# -- channels that there are not --------------------------------------------------------------------


def looked(beat: DatabaseScheduler) -> None:
    beat.keeper.rearming.look()
    beat.arm()


def test_a_row_that_names_no_channel_gets_a_hint_that_goes_and_comes_with_the_channel(
    ledger: Ledger, new_beat: NewBeat
) -> None:
    beat = new_beat()
    ledger.sql("INSERT INTO notify_channel (name, url_env) VALUES ('ops', 'OPS_NOTIFY_URL')")
    deaf = ledger.insert("deaf", task_extra_config=agent(notify=["opps"]))
    heard = ledger.insert("heard", task_extra_config=agent(notify={"failure": ["ops"]}))
    beat.arm()
    armed = ledger.task(deaf)
    assert armed.hint == "notify names no channel: 'opps'; did you mean 'ops'?"
    assert (armed.config_error, ledger.task(heard).hint) == (None, None)
    looked(beat)

    ledger.sql("INSERT INTO notify_channel (name, url_env) VALUES ('opps', 'OPPS_NOTIFY_URL')")
    looked(beat)
    assert (ledger.task(deaf).hint, ledger.task(deaf).next_run_at) == (None, armed.next_run_at)

    ledger.sql("DELETE FROM notify_channel WHERE name = 'ops'")
    looked(new_beat())
    assert "'ops'" in ledger.task(heard).hint
    assert ledger.task(deaf).hint is None


def test_one_pass_for_cron_tells_what_is_due(
    job: Notifications, ledger: Ledger, told: Recorder, new_beat: NewBeat
) -> None:
    end(ledger, "HTTP 503")

    new_beat().run_once()

    assert told.titles == ["1 failed"]
