"""What it costs to plan a row after an outage: `python -m bench.planning [--json FILE]`. No server, one process.

A minute of downtime against a week, a year and ten years of it, for each kind of row and each catch_up, with
overlap=allow and a window longer than a year: the most that can be owed. Processor time in microseconds, the median
of rows that share nothing: each has a time zone of its own, so that no answer is remembered from the row before.
`warm` is a row like the one before. After a minute one moment is owed; after the others up to 100 are fired
(core.planning.LIMIT) or listed (LISTED_SKIPS), which is what the first ratio is made of. The second must stay flat.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any
from zoneinfo import available_timezones

from core.cadence import Cadence, Interval, Jittered, parse_crontab
from core.on_calendar import Roll, on_calendar
from core.planning import CatchUp, Overlap, Policy, plan
from core.recurrence import parse_rrule

NOW = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)
OUTAGES = {
    "1 minute": timedelta(minutes=1),
    "1 week": timedelta(days=7),
    "1 year": timedelta(days=365),
    "10 years": timedelta(days=3650),
}
WINDOW = timedelta(days=400)
ZONES = sorted(zone for zone in available_timezones() if zone.startswith(("America/", "Europe/")))
ROWS = 15

KINDS: dict[str, Callable[[str], Cadence]] = {
    "crontab * * * * *": lambda zone: parse_crontab("* * * * *", zone),
    "crontab 30 2 * * *": lambda zone: parse_crontab("30 2 * * *", zone),
    "interval 60 s": lambda zone: Interval(NOW - timedelta(days=4000, seconds=len(zone)), timedelta(minutes=1), True),
    "interval 60 s, jitter": lambda zone: Jittered(KINDS["interval 60 s"](zone), timedelta(seconds=30), zone),
    "rrule HOURLY": lambda zone: parse_rrule("FREQ=HOURLY", zone, NOW - timedelta(days=4000)),
    "rrule DAILY": lambda zone: parse_rrule("FREQ=DAILY", zone, NOW - timedelta(days=4000)),
    "XNYS, 30 16 * * *": lambda zone: on_calendar(parse_crontab("30 16 * * *", zone), "XNYS", Roll.SKIP, zone),
    "XNYS:open, every 5 min": lambda zone: on_calendar(
        parse_crontab("*/5 * * * *", zone), "XNYS:open", Roll.SKIP, zone
    ),
    "CN next, 0 9 * * *": lambda zone: on_calendar(parse_crontab("0 9 * * *", zone), "CN", Roll.NEXT, zone),
}


def microseconds(cadence: Cadence, outage: timedelta, catch_up: CatchUp) -> float:
    due_at = cadence.after(NOW - outage)
    if due_at is None or due_at > NOW:  # a daily row owes nothing after a minute: let it be due now
        due_at = NOW - timedelta(seconds=30)
    begin = process_time()
    plan(due_at, NOW, cadence, Policy(catch_up, WINDOW, Overlap.ALLOW))
    return (process_time() - begin) * 1e6


def measure() -> list[dict[str, Any]]:
    found = []
    for kind, build in KINDS.items():
        for number, catch_up in enumerate(CatchUp):
            figures: dict[str, Any] = {"kind": kind, "catch_up": str(catch_up)}
            for place, (name, outage) in enumerate(OUTAGES.items()):
                # A zone for each measurement: what one has searched for, no other finds remembered.
                mine = ZONES[(number * len(OUTAGES) + place) :: len(CatchUp) * len(OUTAGES)][:ROWS]
                rows = [build(zone) for zone in mine]
                figures[name] = statistics.median(microseconds(row, outage, catch_up) for row in rows)
                figures[f"{name}, warm"] = statistics.median(microseconds(row, outage, catch_up) for row in rows)
            figures["year/minute"] = figures["1 year"] / figures["1 minute"]
            figures["10 years/year"] = figures["10 years"] / figures["1 year"]
            found.append(figures)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    figures = measure()
    columns = [key for key in figures[0] if key not in ("kind", "catch_up")]
    print(f"{'microseconds':26}{'catch_up':10}" + "".join(f"{column:>16}" for column in columns))
    for row in figures:
        print(f"{row['kind']:26}{row['catch_up']:10}" + "".join(f"{row[column]:>16,.1f}" for column in columns))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
