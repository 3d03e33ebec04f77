"""One worker process with a queue full of runs, ours and Celery's own: calls a second, memory, calls at once."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from bench.figures import Figures
from bench.meter import Meter
from bench.services import Bench
from tests.stack import ROOT, Stack, agent

FILL_CHUNK = 1000
PATIENCE = 60.0


def ours(bench: Bench, stack: Stack, message: str, calls: int, concurrency: int, seconds: float) -> Figures:
    """Let beat fire `calls` manual runs, and a worker carry them; `seconds` is what one call takes at the least."""
    rows = [
        {"name": f"call {n}", "crontab": "0 0 1 1 *", "run_now": 1, "task_extra_config": agent(message, timeout=600)}
        for n in range(calls)
    ]
    beat = stack.beat()
    for first in range(0, calls, FILL_CHUNK):
        stack.insert_many(rows[first : first + FILL_CHUNK])
    stack.wait_for(lambda: stack.states()["QUEUED"] == calls, "every run to be queued", 300)
    stack.kill(beat)
    process = psutil.Process(stack.worker("--concurrency", str(concurrency)).pid)
    meter = Meter({"worker": process.pid, "database": bench.mariadb.pid, "broker": bench.valkey.pid})
    before = meter.read()
    figures = watch(stack, [process], calls, seconds)
    stack.wait_for(lambda: stack.states()["SUCCESS"] == calls, "every run to be recorded", 120)
    meter.add(before, calls)
    (row,) = stack.sql(
        "SELECT MIN(started_at) AS first, MAX(finished_at) AS last, MAX(attempt) AS attempts FROM task_run"
    )
    wall = (row.last - row.first).total_seconds()
    return figures | {
        "calls": calls,
        "concurrency": concurrency,
        "wall_s": wall,
        "calls_per_second": calls / wall,
        "cpu_ms_per_run": meter.cpu_ms_per_unit(),
    }


def celery_alone(
    bench: Bench, stack: Stack, message: str, calls: int, pool: str, concurrency: int, seconds: float
) -> Figures:
    """The same calls by a Celery worker without a ledger."""
    environment = stack.environment | {
        "BENCH_BROKER": bench.valkey.url,
        "BENCH_AGENT": f"http://127.0.0.1:{stack.agent_port}/api",
    }
    sender: Any = Celery("sender", broker=bench.valkey.url)
    with sender.connection_for_write() as connection, sender.amqp.Producer(connection) as producer:
        for _ in range(calls):
            sender.send_task("bare.call", (message,), producer=producer, ignore_result=True)
    command = ["-m", "celery", "-A", "bench.bare_worker", "worker", "--pool", pool, "--concurrency", str(concurrency)]
    with (stack.folder / "bare.out").open("ab") as out:
        worker = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=out)
    stack.processes.append(worker)
    parent = psutil.Process(worker.pid)
    figures = watch(stack, [parent], calls, seconds)
    times = arrivals(stack)
    wall = times[-1] - times[0] + seconds
    for child in parent.children(recursive=True):
        child.kill()
    stack.kill(worker)
    return figures | {
        "rival": f"Celery {pool}",
        "calls": calls,
        "concurrency": concurrency,
        "wall_s": wall,
        "calls_per_second": calls / wall,
        "records": "nothing",
    }


def watch(stack: Stack, processes: list[psutil.Process], calls: int, seconds: float) -> Figures:
    """Follow the agent's log until it saw every call and had the time to answer the last."""
    peak, most = 0.0, 0
    quiet_since, seen = time.monotonic(), 0
    while (count := len(times := arrivals(stack))) < calls or time.time() < times[-1] + seconds:
        if count > seen:
            seen, quiet_since = count, time.monotonic()
        if time.monotonic() > quiet_since + seconds + PATIENCE:
            raise AssertionError(f"{count} of {calls} calls came\n{stack.tails()}")
        family = [member for process in processes for member in (process, *process.children(recursive=True))]
        peak = max(peak, sum(private_bytes(member) for member in family))
        now = time.time()
        most = max(most, sum(1 for moment in times if moment > now - seconds))
        time.sleep(0.5)
    return {"memory_mib": peak / 2**20, "most_in_flight": most}


def private_bytes(process: psutil.Process) -> float:
    """Memory with shared pages counted once in all (PSS): forked children share most of theirs."""
    try:
        return float(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0.0


def arrivals(stack: Stack) -> list[float]:
    """When each request reached the agent."""
    log = Path(stack.agent_log)
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted(float(line.split(" ", 1)[0]) for line in lines)
