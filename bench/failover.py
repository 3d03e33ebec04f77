"""Failover: two beats share a steady load, and one of them is killed (-9) every ten seconds and started again.

How late each run was sent, over the whole time; and for each kill the latest run due in the ten seconds after it.
`rows` is the number of kills.
"""

import sys
import time
from datetime import timedelta
from functools import partial

from bench import command
from bench.command import Size
from bench.figures import Figures, histogram, percentiles, show
from bench.fires import fire_round
from bench.services import Bench, lateness, make_due
from tests.stack import Stack

RATE = 100  # fires a second
EVERY = 10.0  # seconds between kills
TABLE = 100_000


def measure(bench: Bench, size: Size) -> list[Figures]:
    found: list[Figures] = []
    for kills in size.rows:
        count = round(RATE * EVERY * (kills + 1))
        with bench.table(TABLE) as stack:
            beats = [stack.beat(), stack.beat()]
            fire_round(bench, stack, [1])  # they run
            begin = make_due(bench, stack, list(range(1, count + 1)), ahead=3 + count / 20_000, apart=1 / RATE)
            time.sleep(max(0.0, begin.timestamp() - time.time()))
            for kill in range(kills):
                time.sleep(max(0.0, begin.timestamp() + EVERY * (kill + 1) - time.time()))
                stack.kill(beats[kill % 2])
                beats[kill % 2] = stack.beat()
            stack.wait_for(partial(_are_sent, stack, count), "every run to be sent", 60)
            since = begin - timedelta(milliseconds=1)
            late = lateness(stack, since)
            gaps = [
                max(lateness(stack, since + timedelta(seconds=EVERY * n), since + timedelta(seconds=EVERY * (n + 1))))
                for n in range(1, kills + 1)
            ]
        if len(late) != count:
            raise AssertionError(f"{count} rows were due, {len(late)} runs were sent")
        figures = {
            "kills": kills,
            "fires": count,
            "rate": RATE,
            **percentiles(late, "_ms"),
            "histogram": histogram(late),
        }
        found.append(figures | {"latest_after_a_kill_ms": sorted(gaps)})
        show(f"failover, {kills} kills", found[-1])
    return found


def _are_sent(stack: Stack, count: int) -> bool:
    return stack.states()["QUEUED"] == count  # messages would not tell: some are sent twice


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((30,), 0.0)))
