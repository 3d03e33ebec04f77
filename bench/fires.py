"""Fires a second, recorded and sent, of one beat over N rows, beside the machine's limit and the rivals.

Ours is a real `run_beat.py`. A round makes some thousand rows, picked at random, due at one moment. It is over when
each has its message on the broker and its run is QUEUED in the ledger; the clock runs from the due moment. The limit
(bench/limit.py) gets the same rounds on the same table, before ours and after. No worker runs. A rival is a `celery
beat` over N entries that are always due; its rate is what arrives on the broker after its first fire.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from bench import command, rivals
from bench.command import Size
from bench.figures import Figures, show
from bench.meter import Meter
from bench.services import Bench, make_due, messages, size_of
from tests.stack import ROOT, Stack

SEED = 5
ROUND = 20_000  # two seconds' work
ROUNDS_MAX = 8
PATIENCE = 120.0
RIVALS_UP_TO = 100_000


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        found.append(measure_one(bench, rows, size.seconds))
        show(f"fires, {rows:,} rows", found[-1])
        for name in rivals.NAMES if size.rivals and rows <= RIVALS_UP_TO else ():
            found.append(rivals.fires(bench, name, rows, size.seconds))
            show(f"  {name}", found[-1])
    return found


def measure_one(bench: Bench, rows: int, seconds: float) -> Figures:
    """Ours and the limit over one table of `rows` rows."""
    dice = random.Random(SEED)
    with bench.table(rows) as stack:
        limit = rounds(lambda ids: limit_round(bench, stack, ids), rows, seconds / 2, dice)
        beat = stack.beat()
        meter = Meter({"beat": beat.pid, "database": bench.mariadb.pid, "broker": bench.valkey.pid})
        ours = rounds(lambda ids: fire_round(bench, stack, ids, meter), rows, seconds, dice)
        memory = psutil.Process(beat.pid).memory_info().rss
        stack.kill(beat)
        limit += rounds(lambda ids: limit_round(bench, stack, ids), rows, seconds / 2, dice)
        bytes_per_row = size_of(stack, "periodic_task") / rows
    ours_rate, limit_rate = overall(ours), overall(limit)
    return {
        "rows": rows,
        "fires_per_second": ours_rate,
        "limit_per_second": limit_rate,
        "of_the_limit": ours_rate / limit_rate,
        "memory_mib": memory / 2**20,
        "bytes_per_row": bytes_per_row,
        "cpu_ms_per_fire": meter.cpu_ms_per_unit(),
        "rounds": ours,
        "limit_rounds": limit,
    }


def rounds(fire: Callable[[list[int]], float], rows: int, seconds: float, dice: random.Random) -> list[float]:
    """Fires a second of each round: one to warm up, then as many as fill `seconds`."""
    size = min(rows, ROUND)
    fire(dice.sample(range(1, rows + 1), size))
    rates: list[float] = []
    spent = 0.0
    while not rates or (spent < seconds and len(rates) < ROUNDS_MAX):
        took = fire(dice.sample(range(1, rows + 1), size))
        rates.append(size / took)
        spent += took
    return rates


def overall(rates: list[float]) -> float:
    """All fires over all seconds: every round has as many fires."""
    return len(rates) / sum(1 / rate for rate in rates)


def fire_round(bench: Bench, stack: Stack, ids: list[int], meter: Meter | None = None) -> float:
    """Seconds from the due moment until every row is sent and marked."""
    begin = make_due(bench, stack, ids, ahead=0.6 + len(ids) / 20_000).timestamp()
    time.sleep(max(0.0, begin - time.time()))
    before = meter.read() if meter else None
    wait_for_messages(bench, stack, len(ids))
    while stack.count("SELECT count(*) FROM task_run WHERE state = 'PENDING'"):
        time.sleep(0.002)
    seconds = time.time() - begin
    if meter and before:
        meter.add(before, len(ids))
    recorded = stack.count("SELECT count(*) FROM task_run WHERE state = 'QUEUED'")
    if recorded != len(ids):
        raise AssertionError(f"{len(ids)} rows were due, {recorded} runs are queued: {stack.states()}")
    return seconds


def wait_for_messages(bench: Bench, stack: Stack, count: int) -> None:
    give_up_at = time.monotonic() + PATIENCE
    with bench.valkey.client() as client:
        while (missing := count - messages(client)) > 0:
            if time.monotonic() > give_up_at or any(process.poll() is not None for process in stack.processes):
                raise AssertionError(f"{missing} of {count} messages did not come\n{stack.tails()}")
            time.sleep(0.005 if missing <= 1000 else 0.02)  # looking costs CPU that beat would have


def limit_round(bench: Bench, stack: Stack, ids: list[int]) -> float:
    """Seconds of the bare loop for the same work."""
    make_due(bench, stack, ids, ahead=2 + len(ids) / 20_000)
    done = subprocess.run(
        [sys.executable, "-m", "bench.limit", stack.database_url, bench.valkey.url],
        cwd=ROOT, env=stack.environment, capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    result = json.loads(done.stdout)
    if result["fires"] != len(ids):
        raise AssertionError(f"{len(ids)} rows were due, the loop fired {result['fires']}")
    return float(result["seconds"])


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((1_000, 10_000, 100_000), 10.0)))
