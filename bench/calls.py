"""Agent calls in flight in one worker process: 2,000 at once, of 30 s and of 10 s, against the ideal.

Ideal is concurrency / latency: every slot busy all the time. Two full rounds are queued before the worker starts; the
clock runs from the first claim to the last result in the ledger. Celery's own pools get calls of 10 s.
"""

import sys

from bench import command
from bench.command import Size
from bench.figures import Figures, show
from bench.services import Bench
from bench.workers import celery_alone, ours

LATENCIES = (30.0, 10.0)
WAVES = 2
PREFORK = 8


def measure(bench: Bench, size: Size) -> list[Figures]:
    """`rows` are slots here; `seconds`, where not 0, replaces the latencies."""
    found = []
    for slots in size.rows:
        for latency in (size.seconds,) if size.seconds else LATENCIES:
            calls = slots * WAVES
            with bench.stack(WORKER_LEASE_SECONDS="60") as stack:
                figures = ours(bench, stack, f"wait {latency:g}", calls, slots, latency)
            found.append(against_ideal(figures, latency))
            show(f"calls of {latency:g} s", found[-1])
        for pool, concurrency in (("threads", slots), ("prefork", PREFORK)) if size.rivals else ():
            with bench.stack() as stack:
                figures = celery_alone(
                    bench, stack, f"wait {latency:g}", concurrency * WAVES, pool, concurrency, latency
                )
            found.append(against_ideal(figures, latency))
            show(f"  Celery {pool}", found[-1])
    return found


def against_ideal(figures: Figures, latency: float) -> Figures:
    ideal = figures["concurrency"] / latency
    return {"latency_s": latency, **figures, "ideal_per_second": ideal, "of_ideal": figures["calls_per_second"] / ideal}


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((2_000,), 0.0)))
