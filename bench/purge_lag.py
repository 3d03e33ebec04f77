"""Ticks while a backup's read view is held open: how long one takes that finds nothing due, after so many fires.

Purge waits for the view, so every fire leaves its old index entries behind; a tick must not read them again.
"""

import sys
from time import perf_counter

import pymysql
from sqlalchemy.engine import make_url

from bench import command
from bench.command import Size
from bench.figures import Figures, percentiles, show
from bench.services import Bench
from config import Settings
from scheduler import DatabaseScheduler
from tasks import make_app

FIRES = 200_000
TICKS = 200


def measure(bench: Bench, size: Size) -> list[Figures]:
    found: list[Figures] = []
    for rows in size.rows:
        with bench.table(rows) as stack:
            settings = Settings(
                _env_file=None,
                database_url=stack.database_url,
                celery_broker_url=bench.valkey.url,
                agent_api_base_url=stack.environment["AGENT_API_BASE_URL"],
            )
            scheduler = DatabaseScheduler(make_app(settings), settings=settings)
            url = make_url(stack.database_url)
            backup = pymysql.connect(
                host=url.host,
                port=url.port or 3306,
                user=url.username,
                password=str(url.password),
                database=url.database,
            )
            try:
                before = idle_ticks(scheduler)
                with backup.cursor() as cursor:
                    cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                fired = 0
                while fired < FIRES:
                    stack.sql("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6)")
                    while fired < FIRES and (moved := scheduler.fire()):
                        fired += moved
                    scheduler.low_water = None
                after = idle_ticks(scheduler)
            finally:
                backup.close()
                scheduler.close()
        found.append({"rows": rows, "fires": fired, "before_p99_ms": before["p99_ms"], **percentiles_of(after)})
        show(f"purge lag, {rows:,} rows", found[-1])
    return found


def percentiles_of(figures: Figures) -> Figures:
    return {f"tick_{name}": value for name, value in figures.items()}


def idle_ticks(scheduler: DatabaseScheduler) -> Figures:
    """Tick until nothing is left to do, then TICKS times more: milliseconds of each."""
    while not scheduler.tick():
        pass
    took = []
    for _ in range(TICKS):
        begin = perf_counter()
        scheduler.tick()
        took.append((perf_counter() - begin) * 1000)
    return percentiles(took, "_ms")


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((20_000,), 0.0)))
