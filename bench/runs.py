"""Runs a second through one worker process where the agent answers after 10 ms, every run recorded in the ledger.

Beside it Celery's thread pool alone: the same HTTP call, the same number of threads, nothing recorded. Both queues are
full before the worker starts, and no beat runs. The rate is from the first call to the last result.
"""

import sys

from bench import command
from bench.command import Size
from bench.figures import Figures, show
from bench.services import Bench
from bench.workers import celery_alone, ours

LATENCY = 0.01
SLOTS = 100  # the default of WORKER_CONCURRENCY


def measure(bench: Bench, size: Size) -> list[Figures]:
    """`rows` are runs here."""
    found = []
    for runs in size.rows:
        with bench.stack() as stack:
            figures = ours(bench, stack, f"wait {LATENCY}", runs, SLOTS, LATENCY)
        with bench.stack() as stack:
            bare = celery_alone(bench, stack, f"wait {LATENCY}", runs, "threads", SLOTS, LATENCY)
        found += [figures | {"of_bare_celery": figures["calls_per_second"] / bare["calls_per_second"]}, bare]
        show("runs", found[-2])
        show("  Celery threads", found[-1])
    return found


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((5_000,), 0.0)))
