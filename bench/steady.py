"""A steady load: 500 fires a second over N rows, each row due 2 ms after the one before. How late each was sent."""

import random
import sys
import time
from datetime import timedelta

from bench import command
from bench.command import Size
from bench.figures import Figures, histogram, percentiles, show
from bench.fires import SEED, fire_round, wait_for_messages
from bench.services import Bench, lateness, make_due

RATE = 500


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        dice = random.Random(SEED)
        count = min(round(RATE * size.seconds), rows)
        with bench.table(rows) as stack:
            stack.beat()
            fire_round(bench, stack, [1])  # it runs
            begin = make_due(
                bench, stack, dice.sample(range(1, rows + 1), count), ahead=2 + count / 20_000, apart=1 / RATE
            )
            time.sleep(max(0.0, begin.timestamp() - time.time()) + count / RATE)
            wait_for_messages(bench, stack, count)
            stack.wait_for(lambda: not stack.count("SELECT count(*) FROM task_run WHERE state = 'PENDING'"), "marks")
            late = lateness(stack, begin - timedelta(milliseconds=1))
        if len(late) != count:
            raise AssertionError(f"{count} rows were due, {len(late)} runs were sent")
        found.append(
            {"rows": rows, "fires": count, "rate": RATE, **percentiles(late, "_ms"), "histogram": histogram(late)}
        )
        show(f"steady, {rows:,} rows", found[-1])
    return found


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 20.0)))
