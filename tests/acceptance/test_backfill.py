"""Backfill with real processes: the command enters it, beats carry it out, and a beat that is killed loses nothing."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from uuid import UUID

import pytest

from column_types import read_time
from tests.stack import Stack, agent

MOMENTS = 21
AT_A_TIME = 3


@pytest.fixture
def running(empty_database_url: str, empty_broker_url: str, tmp_path: Path) -> Iterator[Stack]:
    """On SQLite and MariaDB in turn."""
    with Stack(empty_database_url, empty_broker_url, tmp_path) as running:
        yield running


def has_runs(stack: Stack, count: int) -> bool:
    return stack.states().total() >= count


def most_at_once(stack: Stack) -> int:
    """Count, at each start and end of a run, how many had been made and not ended. A UUIDv7 begins with its time."""
    steps = []
    for run in stack.sql("SELECT id, finished_at FROM task_run"):
        finished = read_time(run.finished_at).replace(tzinfo=None)
        since_epoch = (finished - finished.fromisoformat("1970-01-01")) // timedelta(milliseconds=1)
        steps += [(UUID(run.id).int >> 80, 1), (since_epoch, -1)]
    return max(accumulate(change for _, change in sorted(steps)))


@pytest.mark.slow
def test_a_killed_beat_costs_a_backfill_nothing(running: Stack) -> None:
    running.insert("paused", agent("wait 0.3"), crontab="* * * * *", enabled=0)
    running.worker()
    beat = running.beat()
    day = ("--from", "2026-01-05 09:00", "--until", f"2026-01-05 09:{MOMENTS - 1}")

    started = running.start("start", "-m", "scripts.backfill", "start", "paused", *day, "--at-a-time", str(AT_A_TIME))
    assert started.wait(20) == 0, running.tails()
    for before in (4, 12):
        running.wait_for(partial(has_runs, running, before), f"{before} runs")
        running.kill(beat)
        beat = running.beat()
    done = "SELECT count(*) FROM backfill WHERE state = 'DONE'"
    running.wait_for(lambda: running.count(done), "the backfill to end", 50)

    runs = running.sql("SELECT id, scheduled_for, state, origin, priority FROM task_run ORDER BY scheduled_for")
    assert {(run.state, run.origin, run.priority) for run in runs} == {("SUCCESS", "backfill", 0)}
    assert [read_time(run.scheduled_for).minute for run in runs] == list(range(MOMENTS))
    assert running.calls() == Counter(run.id for run in runs)
    assert most_at_once(running) <= AT_A_TIME
    assert running.count("SELECT created FROM backfill") == MOMENTS
