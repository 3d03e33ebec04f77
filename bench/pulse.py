"""Rows that fire once a second while something else is measured: their lateness says whether it disturbs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from bench.services import lateness
from tests.stack import Stack, agent

ROWS = 20


@contextmanager
def pulse(stack: Stack, rows: int = ROWS) -> Iterator[None]:
    """Have `rows` rows due every second, spread over it; they go when the block ends."""
    first = stack.sql("SELECT UTC_TIMESTAMP(6) - INTERVAL 1 DAY")[0][0]
    stack.insert_many(
        [
            {
                "name": f"pulse {n}",
                "interval_seconds": 1,
                "start_time": first.replace(microsecond=n * 1_000_000 // rows),
                "timezone": "UTC",
                "overlap": "allow",
                "task_extra_config": agent(),
            }
            for n in range(rows)
        ]
    )
    try:
        yield
    finally:
        stack.sql("DELETE FROM periodic_task WHERE name LIKE 'pulse %'")


def pulse_lateness(stack: Stack, since: datetime, until: datetime | None = None) -> list[float]:
    """Milliseconds each pulse due in that span was late."""
    return lateness(stack, since, until, names="pulse %")
