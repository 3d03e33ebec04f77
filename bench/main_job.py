"""The main job end to end, one beat and one worker: `python -m bench.main_job [--only NAME] [--json FILE]`.

edit       raw SQL edit to effect: 200 UPDATEs of `crontab`, until the new `next_run_at` stands (5 ms polling)
lateness   due to call: 500 rows with `run_at` 40 ms apart, until the agent has the request
in_flight  1,000 calls of 5 s at once in one worker process: wall time, memory, CPU

Real processes, everything on the same cores. The seed is fixed; a line is printed for each and, with --json FILE,
the figures are written down.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path

import psutil

from bench.command import Size
from bench.figures import Figures, percentiles, show, write
from bench.services import Bench, clock, naive
from tests.stack import Stack, agent

EDITS, FIRES, CALLS, CALL_SECONDS = 200, 500, 1000, 5.0


def measure(bench: Bench, _: Size) -> list[Figures]:
    """All of them, each over a database of its own."""
    return [measure_one(bench, name) for name in MEASUREMENTS]


def measure_one(bench: Bench, name: str) -> Figures:
    with bench.stack() as stack:
        found = {"name": name, **MEASUREMENTS[name](stack)}
    show(f"main job, {name}", found)
    return found


def edit(stack: Stack) -> Figures:
    """Milliseconds from the commit of an UPDATE to the new next moment in the row."""
    dice = random.Random(1)
    stack.insert("edited", agent(), crontab="0 0 1 1 *")
    stack.beat()
    stack.wait_for(lambda: stack.count("SELECT count(*) FROM periodic_task WHERE next_run_at IS NOT NULL"), "arming")
    took = []
    for n in range(EDITS):
        time.sleep(dice.uniform(0, 0.6))
        stack.sql("UPDATE periodic_task SET crontab = :rule", rule=f"{n % 60} {n // 60} 2 1 *")
        begin = time.perf_counter()
        while not stack.count("SELECT count(*) FROM periodic_task WHERE needs_arming = 0"):
            time.sleep(0.005)
        took.append((time.perf_counter() - begin) * 1000)
    return {"edits": EDITS, "unit": "ms", **percentiles(took)}


def lateness(stack: Stack) -> Figures:
    """Milliseconds from the due moment to the agent's receipt of the request."""
    stack.beat()
    stack.worker("--concurrency", "50")
    first = naive(clock(stack)) + timedelta(seconds=5)
    stack.insert_many(
        [
            {
                "name": f"f{n}",
                "run_at": first + timedelta(milliseconds=40 * n),
                "task_extra_config": agent(),
                "timezone": "UTC",
            }
            for n in range(FIRES)
        ]
    )
    stack.wait_for(lambda: stack.states()["SUCCESS"] == FIRES, "every fire", 60)
    received = {line.split()[1]: float(line.split()[0]) for line in stack.agent_log.read_text().splitlines()}
    late = [
        (received[row.id] - row.scheduled_for.replace(tzinfo=UTC).timestamp()) * 1000
        for row in stack.sql("SELECT id, scheduled_for FROM task_run")
    ]
    return {"fires": FIRES, "unit": "ms", **percentiles(late)}


def in_flight(stack: Stack) -> Figures:
    """Wall time and memory of one worker process with every call at once."""
    worker = stack.worker("--concurrency", str(CALLS))
    process = psutil.Process(worker.pid)
    stack.insert_many(
        [
            {"name": f"c{n}", "crontab": "0 0 1 1 *", "run_now": 1, "task_extra_config": agent(f"wait {CALL_SECONDS}")}
            for n in range(CALLS)
        ]
    )
    stack.beat()
    peak, most = 0, 0
    while stack.states()["SUCCESS"] < CALLS:
        peak = max(peak, process.memory_info().rss)
        most = max(most, stack.states()["STARTED"])
        time.sleep(0.2)
    (row,) = stack.sql("SELECT MIN(started_at) AS first, MAX(finished_at) AS last FROM task_run")
    wall = (row.last - row.first).total_seconds()
    cpu = process.cpu_times()
    return {
        "calls": CALLS,
        "most_in_flight": most,
        "wall_s": wall,
        "ideal_s": CALL_SECONDS,
        "memory_mib": peak / 2**20,
        "cpu_ms_per_call": (cpu.user + cpu.system) / CALLS * 1000,
    }


MEASUREMENTS: dict[str, Callable[[Stack], Figures]] = {"edit": edit, "lateness": lateness, "in_flight": in_flight}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="one measurement instead of all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    with Bench() as bench:
        found = [measure_one(bench, name) for name in ([options.only] if options.only else MEASUREMENTS)]
    if options.json:
        write(options.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
