"""A bulk import by SQL while beat runs: N rows until all are armed, and how late the rows that fire meanwhile are.

The rows come in INSERTs of 1,000 on one connection, as a mysql client feeds a dump, and need arming: nothing but the
operator's columns is in them.
"""

import sys
import time

from bench import command
from bench.command import Size
from bench.figures import Figures, histogram, percentiles, show
from bench.pulse import pulse, pulse_lateness
from bench.services import Bench, clock, insert_rows
from tests.stack import Stack

STATEMENT_ROWS = 1000
ARMED = "SELECT count(*) FROM periodic_task WHERE next_run_at IS NOT NULL AND config_error IS NULL"


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        with bench.stack() as stack, pulse(stack):
            stack.beat()
            stack.wait_for(lambda: stack.count("SELECT count(*) FROM task_run"), "the first pulse")
            since = clock(stack)
            time.sleep(3)
            calm = pulse_lateness(stack, since)
            since = clock(stack)
            begin = time.perf_counter()
            for first in range(1, rows + 1, STATEMENT_ROWS):
                insert_rows(stack, first, min(first + STATEMENT_ROWS - 1, rows))
            inserted = time.perf_counter()
            wait_until_armed(stack)
            done = time.perf_counter()
            time.sleep(0.5)
            late = pulse_lateness(stack, since)
            armed = stack.count(ARMED)
        found.append(
            {
                "rows": rows,
                "armed": armed,
                "rows_per_second": rows / (done - begin),
                "insert_s": inserted - begin,
                "all_armed_s": done - begin,
                "others_calm_p99_ms": percentiles(calm)["p99"],
                **percentiles(late, "_ms"),
                "histogram": histogram(late),
            }
        )
        show(f"import, {rows:,} rows", found[-1])
    return found


def wait_until_armed(stack: Stack) -> None:
    while stack.count("SELECT EXISTS (SELECT 1 FROM periodic_task WHERE needs_arming = 1)"):
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 0.0)))
