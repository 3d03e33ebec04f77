"""Publishing: the broker may lose, double or refuse every message, and no run is lost or doubled."""

import os
import random
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from beat.publisher import LOST_AFTER, OTHERS_GRACE
from broker import HIGHEST, LOWEST, Sender, sendable
from config import Settings
from core.lifecycle import State
from scheduler import DatabaseScheduler
from store import runs
from store.database import autocommit
from store.runs import Sendable
from tasks import make_app
from tests.integration.conftest import NewBeat
from tests.integration.engine import Crash, Ledger, agent
from tests.integration.lanes import consumed
from tests.services import ValkeyServer

SECOND = timedelta(seconds=1)


@pytest.fixture
def beat(new_beat: NewBeat, empty_broker_url: str) -> DatabaseScheduler:
    """A beat with a broker that works; nothing is sent but by the test."""
    return new_beat(empty_broker_url)


def fired(ledger: Ledger, beat: DatabaseScheduler, count: int = 1) -> list[str]:
    """Fire so many rows; their runs are committed and handed over, and none is sent."""
    ledger.insert_many(
        {"name": f"r{n}", "crontab": "0 0 1 1 *", "task_extra_config": agent(), "run_now": 1} for n in range(count)
    )
    beat.fire_manual()
    return [run.id for run in ledger.runs()]


def messages(valkey: ValkeyServer) -> int:
    with valkey.client() as client:
        return sum(client.llen(key) for key in client.keys("*") if client.type(key) == b"list")


def of(run: Any) -> Sendable:
    return sendable(run)


# -- sending ----------------------------------------------------------------------------------------


def test_what_was_just_fired_is_sent_and_marked(ledger: Ledger, beat: DatabaseScheduler, empty_broker_url: str) -> None:
    (run,) = fired(ledger, beat)

    assert beat.publisher.publish_ready() == 1
    assert beat.publisher.publish_ready() == 0

    row = ledger.run(run)
    assert (row.state, row.attempt) == ("QUEUED", 0)
    assert abs(row.queued_at - ledger.now()) < 60 * SECOND
    assert consumed(empty_broker_url, 1) == [run]


def test_a_new_run_of_another_beat_is_left_to_it_for_a_while(
    ledger: Ledger, beat: DatabaseScheduler, new_beat: NewBeat, valkey: ValkeyServer
) -> None:
    (run,) = fired(ledger, new_beat())

    assert beat.publisher.publish_ready() == 0
    ledger.set_run(run, ready_at=ledger.now() - OTHERS_GRACE)
    assert beat.publisher.publish_ready() == 1

    assert ledger.run(run).state == "QUEUED"
    assert messages(valkey) == 1


def test_a_run_whose_beat_died_before_it_sent_it_is_sent_by_another(
    ledger: Ledger, beat: DatabaseScheduler, new_beat: NewBeat
) -> None:
    dead = new_beat()
    ids = fired(ledger, dead, 3)
    dead.close()
    for run in ids:
        ledger.set_run(run, ready_at=ledger.now() - OTHERS_GRACE)

    assert beat.publisher.publish_ready() == 3
    assert ledger.states() == {"QUEUED": 3}


def test_a_crash_between_sending_and_marking_sends_again_and_harms_nothing(
    ledger: Ledger, beat: DatabaseScheduler, new_beat: NewBeat, empty_broker_url: str
) -> None:
    (run,) = fired(ledger, beat)

    @event.listens_for(beat.engine, "before_cursor_execute")
    def _(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("UPDATE task_run"):
            raise Crash

    with pytest.raises(Crash):
        beat.publisher.publish_ready()
    assert ledger.run(run).state == "PENDING"

    ledger.set_run(run, ready_at=ledger.now() - OTHERS_GRACE)
    assert new_beat(empty_broker_url).publisher.publish_ready() == 1

    assert consumed(empty_broker_url, 2) == [run, run]
    with autocommit(ledger.engine) as connection:
        claims = [runs.claim(connection, run, 0, worker, ledger.now()) for worker in ("w1", "w2")]
    assert claims == [True, False]


def test_held_and_early_runs_are_not_sent(ledger: Ledger, beat: DatabaseScheduler) -> None:
    ledger.add_run(ready_at=None)
    ledger.add_run(ready_at=ledger.now() + 60 * SECOND)
    ledger.add_run(State.RETRY, ready_at=ledger.now() + 60 * SECOND)

    assert beat.publisher.publish_ready(grace=timedelta()) == 0


def test_a_retry_is_sent_as_soon_as_it_is_ready(ledger: Ledger, beat: DatabaseScheduler) -> None:
    run = ledger.add_run(State.RETRY, attempt=1, ready_at=ledger.now() + 60 * SECOND)
    assert beat.publisher.publish_ready() == 0

    ledger.set_run(run, ready_at=ledger.now())

    assert beat.publisher.publish_ready() == 1
    assert (ledger.run(run).state, ledger.run(run).attempt) == ("QUEUED", 1)


@pytest.mark.parametrize(
    ("state", "attempt"),
    [(State.STARTED, 1), (State.SUCCESS, 1), (State.REVOKED, 0), (State.RETRY, 1)],
    ids=["started", "ended", "revoked", "failed once"],
)
def test_a_run_that_moved_on_before_it_was_marked_stays_where_it_is(
    ledger: Ledger, beat: DatabaseScheduler, state: State, attempt: int
) -> None:
    (run,) = fired(ledger, beat)
    later = ledger.now() + 60 * SECOND
    ledger.set_run(run, state=state, attempt=attempt, worker="w1", deadline_at=later, ready_at=later)

    beat.publisher.publish_ready()

    assert (ledger.run(run).state, ledger.run(run).queued_at) == (state, None)


def test_more_than_a_batch_is_sent_in_one_pass(ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer) -> None:
    long_ago = ledger.now() - 60 * SECOND
    rows = ({"scheduled_for": long_ago + n * SECOND / 1000, "ready_at": long_ago} for n in range(2300))
    ledger.add_runs(State.PENDING, rows)

    assert beat.publisher.publish_ready() == 2300

    assert ledger.states() == {"QUEUED": 2300}
    assert messages(valkey) == 2300


def test_a_run_that_cannot_be_read_does_not_hold_up_the_others(ledger: Ledger, beat: DatabaseScheduler) -> None:
    long_ago = ledger.now() - 60 * SECOND
    for number, config in enumerate(("{}", "[", '{"task_type": "of a later version"}')):
        ledger.add_run(State.RETRY, config=config, ready_at=long_ago + number * SECOND)
    good = [ledger.add_run(State.RETRY), ledger.add_run(ready_at=long_ago)]

    beat.publisher.publish_ready()

    assert [ledger.run(run).state for run in good] == ["QUEUED", "QUEUED"]


# -- a broker that is away --------------------------------------------------------------------------


def test_a_broker_that_is_away_leaves_runs_in_the_ledger_and_firing_goes_on(ledger: Ledger, new_beat: NewBeat) -> None:
    beat = new_beat()
    fired(ledger, beat, 2)

    with pytest.raises(beat.publisher.sender.errors):
        beat.publisher.publish_ready()
    assert ledger.states() == {"PENDING": 2}
    ledger.sql("UPDATE periodic_task SET run_now = 1")
    beat.fire_manual()

    assert ledger.states() == {"PENDING": 4}


def test_everything_is_sent_when_the_broker_is_back(ledger: Ledger, new_beat: NewBeat) -> None:
    with ValkeyServer() as server:
        beat = new_beat(server.url)
        fired(ledger, beat, 5)
        server.kill()
        with pytest.raises(beat.publisher.sender.errors):
            beat.publisher.publish_ready()

        server.start()
        beat.publisher.sender.close()
        assert beat.publisher.publish_ready(grace=timedelta()) == 5
        beat.publisher.sender.close()


def test_a_pass_that_fails_pauses_the_sending_and_raises_nothing(ledger: Ledger, new_beat: NewBeat) -> None:
    beat = new_beat()
    fired(ledger, beat)

    beat.publisher._pass()

    assert beat.publisher._paused_until > 0
    assert ledger.states() == {"PENDING": 1}


# -- a broker that forgets --------------------------------------------------------------------------


def queued(ledger: Ledger, beat: DatabaseScheduler, count: int) -> list[str]:
    """Runs that were sent a while ago and that no worker took."""
    ids = fired(ledger, beat, count)
    beat.publisher.publish_ready()
    sent_long_ago(ledger, *ids)
    return ids


def sent_long_ago(ledger: Ledger, *ids: str) -> None:
    for run in ids:
        ledger.set_run(run, queued_at=ledger.now() - LOST_AFTER - SECOND)


def test_runs_of_a_broker_that_was_flushed_are_sent_again(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer, empty_broker_url: str
) -> None:
    ids = queued(ledger, beat, 3)
    with valkey.client() as client:
        client.flushall()

    assert beat.publisher.send_lost_again() == 3
    assert beat.publisher.send_lost_again() == 0

    assert sorted(consumed(empty_broker_url, 3)) == sorted(ids)
    assert ledger.states() == {"QUEUED": 3}


def test_celery_purge_delays_runs_and_loses_none(ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer) -> None:
    queued(ledger, beat, 3)

    assert beat.app.control.purge() == 3
    assert messages(valkey) == 0

    assert beat.publisher.send_lost_again() == 3
    assert messages(valkey) == 3


def test_runs_that_wait_in_the_broker_are_not_sent_again(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer
) -> None:
    queued(ledger, beat, 3)

    assert beat.publisher.send_lost_again() == 0
    assert messages(valkey) == 3


def test_only_what_was_sent_well_before_the_message_next_in_line_is_lost(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer
) -> None:
    lost, *waiting = fired(ledger, beat, 3)
    beat.publisher.publish_ready()
    with valkey.client() as client:
        (lane,) = (key for key in client.keys("priority_low*") if client.type(key) == b"list")
        assert lost.encode() in client.rpop(lane)
    assert beat.publisher.send_lost_again() == 0

    sent_long_ago(ledger, lost)
    assert beat.publisher.send_lost_again() == 1

    assert messages(valkey) == len(waiting) + 1


def test_a_run_lost_a_moment_ago_is_left_to_arrive(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer
) -> None:
    fired(ledger, beat)
    beat.publisher.publish_ready()
    with valkey.client() as client:
        client.flushall()

    assert beat.publisher.send_lost_again() == 0


def test_a_run_that_stays_in_line_is_not_sent_again_and_again(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer
) -> None:
    """Its message may be in a worker's hands; the interval doubles."""
    (run,) = queued(ledger, beat, 1)
    with valkey.client() as client:
        client.flushall()
        assert beat.publisher.send_lost_again() == 1
        client.flushall()
        sent_long_ago(ledger, run)

        assert beat.publisher.send_lost_again() == 0


def test_runs_that_ended_are_never_sent_again(ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer) -> None:
    (run,) = queued(ledger, beat, 1)
    ledger.set_run(run, state=State.REVOKED)
    with valkey.client() as client:
        client.flushall()

    assert beat.publisher.send_lost_again() == 0


def test_one_pass_arms_fires_sends_and_counts(ledger: Ledger, beat: DatabaseScheduler, empty_broker_url: str) -> None:
    task = ledger.insert("due", crontab="* * * * *", catch_up="all", overlap="allow", catch_up_window_seconds=36_000)
    ledger.insert("by hand", run_now=1)
    ledger.insert("held", overlap="buffer_all")
    waiting = ledger.add_run(periodic_task_id=7777, ready_at=None)
    lost = ledger.add_run(State.STARTED, worker="gone", config=agent(max_retries=1))
    beat.arm()
    ledger.owe_minutes(task, 150)

    counts = beat.run_once()

    assert counts["manual"] == 1
    assert counts["rescued"] == 1
    assert counts["released"] == 1
    assert counts["sent"] == 150 + 3
    assert ledger.states(task) == {"QUEUED": 150}
    assert {ledger.run(run).state for run in (waiting, lost)} == {"QUEUED"}
    assert len(consumed(empty_broker_url, 153)) == 153


# -- the order --------------------------------------------------------------------------------------


QUEUES = ("system", "priority_high", "priority_low", "gpu", "celery")


@pytest.mark.parametrize("seed", ["0", "1", "2", "random"])
def test_queues_are_served_by_rank_and_priority_9_first_whatever_the_hash_seed(
    empty_broker_url: str, seed: str
) -> None:
    lanes = [(queue, priority) for queue in QUEUES for priority in range(HIGHEST, LOWEST - 1, -1)]
    made = [(queue, priority, n) for queue, priority in lanes for n in range(2)]
    random.Random(seed).shuffle(made)
    made.sort(key=lambda run: run[2])  # a lane keeps its own order: first in, first out
    ids = {lane: runs.new_run_id() for lane in made}
    sender = Sender(make_app(Settings(_env_file=None, celery_broker_url=empty_broker_url, task_queues=("gpu",))))

    sender.send([Sendable(ids[lane], lane[0], lane[1], 0, "agent") for lane in made])
    sender.close()
    served = subprocess.run(
        [sys.executable, "-m", "tests.integration.lanes", empty_broker_url, str(len(made))],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()

    expected = [ids[(queue, priority, n)] for queue, priority in lanes for n in range(2)]
    assert served == expected


def test_celerys_own_sending_lands_in_the_same_lanes(beat: DatabaseScheduler, empty_broker_url: str) -> None:
    low = beat.app.send_task("any", task_id="low", queue="priority_low", priority=9)
    high = beat.app.send_task("any", task_id="high", queue="system", priority=0)
    default = beat.app.send_task("any", task_id="default")
    beat.app.close()

    assert consumed(empty_broker_url, 3) == [high.id, low.id, default.id]


def test_a_message_carries_the_run_id_and_nothing_of_the_row(
    ledger: Ledger, beat: DatabaseScheduler, valkey: ValkeyServer
) -> None:
    fired(ledger, beat)
    beat.publisher.publish_ready()

    with valkey.client() as client:
        texts = b"".join(b"".join(client.lrange(key, 0, -1)) for key in client.keys("priority_low*"))

    assert ledger.runs()[0].id.encode() in texts
    assert b"hello" not in texts
    assert b"r0" not in texts


def test_depth_counts_a_queue_over_all_priorities(ledger: Ledger, beat: DatabaseScheduler) -> None:
    sender = beat.publisher.sender
    sender.send([Sendable(runs.new_run_id(), "system", priority, 0, "agent") for priority in (0, 5, 9)])

    assert Counter({queue: sender.depth(queue) for queue in ("system", "celery")}) == {"system": 3, "celery": 0}


def test_a_channel_whose_connection_is_closed_fails_as_a_lost_connection(empty_broker_url: str) -> None:
    """Celery restores unacked messages after it closed the connection: any other error would end the worker."""
    app = make_app(Settings(_env_file=None, celery_broker_url=empty_broker_url))
    connection = app.connection_for_read()
    channel: Any = connection.default_channel
    connection.close()

    with pytest.raises(connection.connection_errors), channel.conn_or_acquire():
        pass
