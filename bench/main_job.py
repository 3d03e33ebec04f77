"""Measure the main job on private MariaDB and Valkey servers: `python -m bench.main_job [--only NAME] [--json FILE]`.

edit       raw SQL edit to effect: 200 UPDATEs of `crontab`, until the new `next_run_at` stands (5 ms polling)
lateness   due to call: 500 rows with `run_at` 40 ms apart, until the agent has the request
in_flight  1,000 calls of 5 s at once in one worker process: wall time, memory, CPU

One beat and one worker, real processes, everything on the same cores. The seed is fixed; the result is printed
as a table and, with --json FILE, written down.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack, agent

EDITS, FIRES, CALLS, CALL_SECONDS = 200, 500, 1000, 5.0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}


def edit(stack: Stack) -> dict[str, Any]:
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


def lateness(stack: Stack) -> dict[str, Any]:
    """Milliseconds from the due moment to the agent's receipt of the request."""
    stack.beat()
    stack.worker("--concurrency", "50")
    first: datetime = stack.sql("SELECT UTC_TIMESTAMP(6)")[0][0] + timedelta(seconds=5)
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


def in_flight(stack: Stack) -> dict[str, Any]:
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


MEASUREMENTS = {"edit": edit, "lateness": lateness, "in_flight": in_flight}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="one measurement instead of all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    figures = {}
    with MariaDBServer() as mariadb, ValkeyServer() as valkey:
        for name in [options.only] if options.only else MEASUREMENTS:
            url = mariadb.create_database(name)
            with valkey.client() as client:
                client.flushall()
            with tempfile.TemporaryDirectory() as folder, Stack(url, valkey.url, Path(folder)) as stack:
                figures[name] = MEASUREMENTS[name](stack)
            values = ", ".join(
                f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in figures[name].items()
            )
            print(f"{name:10} {values}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
