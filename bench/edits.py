"""A raw SQL edit to its effect over N rows, and whether other rows are late because of it.

One UPDATE of `crontab` on a random row, by the primary key, as an operator would; its effect is there when the row's
new `next_run_at` stands (looked at every 2 ms). Nothing else is due, so beat sleeps its poll interval between looks.
Then the same beside 20 rows that fire every second: how late are they without edits, with them, and when one UPDATE
edits 10,000 rows at once.
"""

import random
import sys
import time

from bench import command, rivals
from bench.command import Size
from bench.figures import Figures, histogram, percentiles, show
from bench.fires import SEED
from bench.pulse import pulse, pulse_lateness
from bench.services import Bench, clock
from tests.stack import Stack

MANY = 10_000
TICKS = "SELECT count(*) FROM beat_heartbeat WHERE last_tick_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND"
PAUSE = 0.6  # above the poll interval: an edit falls anywhere between two looks
RIVALS_UP_TO = 100_000


def measure(bench: Bench, size: Size) -> list[Figures]:
    found = []
    for rows in size.rows:
        with bench.table(rows) as stack:
            found.append({"rows": rows, **edits_of(stack, rows, size.seconds)})
        show(f"edits, {rows:,} rows", found[-1])
        for name in rivals.NAMES if size.rivals and rows <= RIVALS_UP_TO else ():
            found.append(rivals.edits_and_idle(bench, name, rows))
            show(f"  {name}", found[-1])
    return found


def edits_of(stack: Stack, rows: int, seconds: float) -> Figures:
    dice = random.Random(SEED)
    stack.beat()
    stack.wait_for(lambda: stack.count(TICKS), "a tick")
    alone = edit_for(stack, rows, seconds, dice)
    with pulse(stack):
        quiet = clock(stack)
        stack.wait_for(lambda: pulse_lateness(stack, quiet), "the first pulse")
        time.sleep(seconds / 2)
        edited = clock(stack)
        edit_for(stack, rows, seconds / 2, dice)
        many = clock(stack)
        all_armed = edit_many(stack, rows)
        time.sleep(1)
        late = {
            name: percentiles(pulse_lateness(stack, *span))["p99"]
            for name, span in {"quiet": (quiet, edited), "edited": (edited, many), "bulk": (many, None)}.items()
        }
    return {
        "edits": len(alone),
        **percentiles(alone, "_ms"),
        "others_quiet_p99_ms": late["quiet"],
        "others_edited_p99_ms": late["edited"],
        "others_bulk_p99_ms": late["bulk"],
        "bulk_rows": min(MANY, rows),
        "bulk_all_armed_s": all_armed,
        "histogram": histogram(alone),
    }


def edit_for(stack: Stack, rows: int, seconds: float, dice: random.Random) -> list[float]:
    """Edit random rows, a fraction of a second apart; milliseconds each took."""
    end, took = time.monotonic() + seconds, []
    while time.monotonic() < end:
        time.sleep(dice.uniform(0, PAUSE))
        took.append(edit_one(stack, dice.randint(1, rows)))
    return took


def edit_one(stack: Stack, row: int) -> float:
    """Milliseconds from the commit of an UPDATE until its new next moment stands."""
    stack.sql("UPDATE periodic_task SET crontab = IF(crontab = '1 2 1 * *', '2 2 1 * *', '1 2 1 * *'), "
              "interval_seconds = NULL WHERE id = :row", row=row)  # fmt: skip
    begin = time.perf_counter()
    while stack.count("SELECT needs_arming FROM periodic_task WHERE id = :row", row=row):
        time.sleep(0.002)
    return (time.perf_counter() - begin) * 1000


def edit_many(stack: Stack, rows: int) -> float:
    """Seconds from the commit of one UPDATE of many rows until each is armed."""
    stack.sql("UPDATE periodic_task SET timezone = 'Europe/Berlin' WHERE id <= :last", last=min(MANY, rows))
    begin = time.perf_counter()
    while stack.count("SELECT EXISTS (SELECT 1 FROM periodic_task WHERE needs_arming = 1)"):
        time.sleep(0.01)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 30.0)))
