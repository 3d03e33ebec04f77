"""What one beat costs over N rows that are not due: start to first fire, memory, and CPU while nothing happens."""

import sys
import time

import psutil

from bench import command
from bench.command import Size
from bench.figures import Figures, show
from bench.fires import SEED, fire_round, wait_for_messages
from bench.meter import Meter
from bench.services import Bench, make_due

STARTS = 3
SETTLE = 5.0


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        with bench.table(rows) as stack:
            starts = []
            for row in range(1, STARTS + 1):
                make_due(bench, stack, [row], ahead=0.3)
                time.sleep(0.3)
                begin = time.perf_counter()
                beat = stack.beat()
                wait_for_messages(bench, stack, 1)
                starts.append(time.perf_counter() - begin)
                if row < STARTS:
                    stack.kill(beat)
            process, meter = psutil.Process(beat.pid), Meter({"beat": beat.pid, "database": bench.mariadb.pid})
            time.sleep(SETTLE)
            before = meter.read()
            time.sleep(size.seconds)
            spent = {role: now - before[role] for role, now in meter.read().items()}
            memory = process.memory_info().rss
            fire_round(bench, stack, list(range(SEED, min(rows, 10_000) + 1)))
            found.append(
                {
                    "rows": rows,
                    "start_to_first_fire_s": max(starts),
                    "memory_mib": memory / 2**20,
                    "memory_after_a_herd_mib": process.memory_info().rss / 2**20,
                    "idle_cpu_percent": spent["beat"] / size.seconds * 100,
                    "idle_database_cpu_percent": spent["database"] / size.seconds * 100,
                }
            )
        show(f"idle, {rows:,} rows", found[-1])
    return found


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 20.0)))
