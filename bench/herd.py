"""A herd: 10,000 rows due at the same moment. Seconds until all are on the queue, and how late each was sent."""

import random
import sys

from bench import command
from bench.command import Size
from bench.figures import Figures, histogram, percentiles, show
from bench.fires import SEED, fire_round
from bench.services import Bench, clock, lateness

HERD = 10_000
TIMES = 5


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        dice = random.Random(SEED)
        with bench.table(rows) as stack:
            stack.beat()
            fire_round(bench, stack, [1])  # it runs
            since = clock(stack)
            count = min(HERD, rows)
            took = [fire_round(bench, stack, dice.sample(range(1, rows + 1), count)) for _ in range(TIMES)]
            late = lateness(stack, since)
        found.append(
            {
                "rows": rows,
                "herd": count,
                "all_queued_s": max(took),
                "all_queued_median_s": sorted(took)[TIMES // 2],
                **percentiles(late, "_ms"),
                "histogram": histogram(late),
            }
        )
        show(f"herd, {rows:,} rows", found[-1])
    return found


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 0.0)))
