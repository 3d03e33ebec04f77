"""A long history: pages and counts over N runs (p95), and retention deletes beside a steady load of fires.

The runs are spread over 90 days and 100,000 tasks, newest last as they come in life; 94 % succeeded. Each query is
asked with random parameters, its first answer included. Retention deletes the oldest tenth while 100 rows a second
fall due.
"""

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Thread
from typing import Any

from sqlalchemy import Connection

from bench import command
from bench.command import Size
from bench.figures import Figures, percentiles, show
from bench.fires import SEED, fire_round
from bench.services import Bench, clock, lateness, make_due, naive, size_of
from core.lifecycle import State
from store import overview, run_search
from store.database import autocommit
from store.housekeeping import first_id_at, purge_runs
from store.run_search import Wanted
from tests.stack import Stack

TASKS = 100_000
DAYS = 90
CHUNK = 50_000
ASKED = 60
RATE = 100

FILL = """
INSERT INTO task_run (id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, priority, attempt,
  config, worker, queued_at, started_at, deadline_at, finished_at, result, error_kind, error, http_status)
SELECT LOWER(CONCAT(INSERT(LPAD(HEX(ms), 12, '0'), 9, 0, '-'), '-7', LPAD(HEX(seq MOD 4096), 3, '0'), '-8',
    LPAD(HEX(seq DIV 4096 MOD 4096), 3, '0'), '-', LPAD(HEX(seq), 12, '0'))),
  1 + seq MOD :tasks, CONCAT('task ', 1 + seq MOD :tasks), 'schedule', moment, moment,
  ELT(kind, 'FAILURE', 'SKIPPED', 'REVOKED', 'SUCCESS'), 'priority_low', 5, IF(kind = 2, 0, 1),
  '{"task_type": "agent", "agent_id": "agent-7", "message": "Read the open orders of customer 7.", "timeout": 300}',
  'worker-a@host', moment, moment, moment + INTERVAL 300 SECOND, moment + INTERVAL 5 SECOND,
  IF(kind = 4, REPEAT('All orders are on time. ', 8), NULL), IF(kind = 1, 'timeout', NULL),
  IF(kind < 3, 'no answer within 300 s', NULL), IF(kind = 4, 200, NULL)
FROM (
  SELECT seq, CAST(:first_ms + seq * :step_ms AS UNSIGNED) AS ms,
    :begin + INTERVAL ROUND(seq * :step_ms * 1000) MICROSECOND AS moment,
    CASE WHEN CRC32(seq) MOD 100 < 3 THEN 1 WHEN CRC32(seq) MOD 100 < 5 THEN 2 WHEN CRC32(seq) MOD 100 < 6 THEN 3
      ELSE 4 END AS kind
  FROM seq_1_to_1000000000 WHERE seq BETWEEN :first AND :last
) made
"""


def measure(bench: Bench, size: Size) -> list[Figures]:
    """`rows` are runs here."""
    found = []
    for runs in size.rows:
        tasks = min(TASKS, runs)
        with bench.stack(tasks) as stack:
            begin = time.perf_counter()
            oldest = fill(stack, runs, tasks)
            filled = time.perf_counter() - begin
            asked = {name: ask(stack, query) for name, query in queries(runs, tasks, oldest).items()}
            figures = {
                "runs": runs,
                "fill_s": filled,
                "bytes_per_run": size_of(stack, "task_run") / runs,
                "p95_ms": max(times["p95"] for times in asked.values()),
            }
            found.append(figures | {"queries": asked} | retention(bench, stack, oldest, tasks, size.seconds))
        show(f"history, {runs:,} runs", found[-1])
        for name, times in asked.items():
            show(f"  {name}", times)
    return found


def fill(stack: Stack, runs: int, tasks: int) -> datetime:
    """Insert the runs; return when the oldest was."""
    oldest = clock(stack) - timedelta(days=DAYS)
    step = DAYS * 86_400_000 / runs
    for first in range(1, runs + 1, CHUNK):
        stack.sql(
            FILL,
            first=first,
            last=min(first + CHUNK - 1, runs),
            tasks=tasks,
            begin=naive(oldest),
            first_ms=round(oldest.timestamp() * 1000),
            step_ms=step,
        )
    stack.sql("ANALYZE TABLE task_run")
    return oldest


def queries(runs: int, tasks: int, oldest: datetime) -> dict[str, Callable[[Connection], Any]]:
    """What the console and the API ask."""
    dice = random.Random(SEED)

    def anywhere() -> str:
        return first_id_at(oldest + timedelta(days=dice.uniform(0, DAYS)))

    return {
        "newest runs": lambda c: run_search.search(c, Wanted(), None, 100),
        "a page of runs, anywhere": lambda c: run_search.search(c, Wanted(), anywhere(), 100),
        "one run": lambda c: overview.run_detail(c, run_search.search(c, Wanted(), anywhere(), 1).rows[0].id),
        "failures, anywhere": lambda c: run_search.search(c, Wanted(states=[State.FAILURE]), anywhere(), 100),
        "runs of one task": lambda c: run_search.search(c, Wanted(task_id=dice.randint(1, tasks)), None, 100),
        "facets": lambda c: run_search.facets(c, Wanted()),
        "a page of tasks": lambda c: overview.tasks_after(c, dice.randint(0, tasks), 100),
        "figures of /metrics": lambda c: overview.figures(c, heads=(), beat_age=timedelta(seconds=30)),
    }


def ask(stack: Stack, query: Callable[[Connection], Any]) -> dict[str, float]:
    """Milliseconds of each answer."""
    took = []
    with autocommit(stack.engine) as connection:
        for _ in range(ASKED):
            begin = time.perf_counter()
            query(connection)
            took.append((time.perf_counter() - begin) * 1000)
    return percentiles(took)


def retention(bench: Bench, stack: Stack, oldest: datetime, tasks: int, seconds: float) -> Figures:
    """Lateness of due rows without and with the deletes, and runs deleted a second."""
    dice = random.Random(SEED)
    stack.beat()
    fire_round(bench, stack, [1])  # it runs
    calm = steady(bench, stack, dice.sample(range(1, tasks + 1), round(RATE * seconds)))
    deleted: list[int] = []
    took: list[float] = []

    def purge() -> None:
        begin = time.perf_counter()
        deleted.append(purge_runs(stack.engine, oldest + timedelta(days=DAYS / 10)))
        took.append(time.perf_counter() - begin)

    deleting = Thread(target=purge)
    deleting.start()
    late: list[float] = []
    while deleting.is_alive():
        late += steady(bench, stack, dice.sample(range(1, tasks + 1), round(RATE * seconds)))
    return {
        "calm_p99_ms": percentiles(calm)["p99"],
        "deleting_p99_ms": percentiles(late)["p99"],
        "deleted": deleted[0],
        "deleted_per_second": deleted[0] / took[0],
    }


def steady(bench: Bench, stack: Stack, ids: list[int]) -> list[float]:
    begin = make_due(bench, stack, ids, apart=1 / RATE)
    time.sleep(1 + len(ids) / RATE)
    stack.wait_for(lambda: not stack.count("SELECT count(*) FROM task_run WHERE state = 'PENDING'"), "marks")
    return lateness(stack, begin - timedelta(milliseconds=1))


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((1_000_000,), 10.0)))
