"""Which resource is full first at 10 and 100 million schedules: `python -m bench.simulate [FIGURES.json] [--help]`.

Plain arithmetic on the costs that one run measured: CPU for each fire and each run, bytes for each row, memory for
each call. Demand grows in a straight line with the number of schedules; what a bigger machine or a network between
the servers changes is not in it. So it names the order in which things fill up, not the day on which they do.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import Figures

SCHEDULES: Final = (1_000_000, 10_000_000, 100_000_000)
RETENTION_DAYS: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the measurements cannot know."""

    fires_per_day: float = 24.0
    peak: float = 10.0
    """The busiest minute against the mean of the day."""
    call_seconds: float = 10.0
    database_cores: int = 32
    database_bytes: float = 20e12
    worker_calls: int = 2_000


@dataclass(frozen=True, slots=True)
class Costs:
    """What one run measured, a unit each."""

    fires_per_second: float
    database_ms_per_fire: float
    database_ms_per_run: float
    broker_ms: float
    worker_ms_per_run: float
    bytes_per_row: float
    bytes_per_run: float
    mib_per_call: float


@dataclass(frozen=True, slots=True)
class Resource:
    """`load` tells how many units so many schedules need. Some grow by one more process, others by another design."""

    name: str
    unit: str
    load: Callable[[float], float]
    remedy: str
    is_fixed: bool = False


def costs_of(results: Mapping[str, Any]) -> Costs | None:
    """Read the costs; None where a measurement is missing."""
    found = {name: _ours(results, name) for name in ("fires", "runs", "history", "calls")}
    if not all(found.values()):
        return None
    fires, runs, history, calls = (found[name] or {} for name in ("fires", "runs", "history", "calls"))
    return Costs(
        fires_per_second=fires["fires_per_second"],
        database_ms_per_fire=fires["cpu_ms_per_fire"]["database"],
        database_ms_per_run=runs["cpu_ms_per_run"]["database"],
        broker_ms=fires["cpu_ms_per_fire"]["broker"] + runs["cpu_ms_per_run"]["broker"],
        worker_ms_per_run=runs["cpu_ms_per_run"]["worker"],
        bytes_per_row=fires["bytes_per_row"],
        bytes_per_run=history["bytes_per_run"],
        mib_per_call=calls["memory_mib"] / max(calls["most_in_flight"], 1),
    )


def _ours(results: Mapping[str, Any], name: str) -> Figures | None:
    ours = [figures for figures in results.get(name, ()) if "rival" not in figures]
    return ours[-1] if ours else None


def resources(costs: Costs, world: World) -> tuple[Resource, ...]:
    def peak(schedules: float) -> float:
        return schedules * world.fires_per_day / 86_400 * world.peak

    database_ms = costs.database_ms_per_fire + costs.database_ms_per_run
    return (
        Resource(
            "database, CPU",
            f"one server of {world.database_cores} cores",
            lambda n: peak(n) * database_ms / 1000 / world.database_cores,
            "a distributed MySQL, or schedules split over several databases",
            is_fixed=True,
        ),
        Resource(
            "database, disk",
            f"{world.database_bytes / 1e12:g} TB",
            lambda n: (
                (n * costs.bytes_per_row + n * world.fires_per_day * RETENTION_DAYS * costs.bytes_per_run)
                / world.database_bytes
            ),
            "a lower RUN_RETENTION_DAYS",
            is_fixed=True,
        ),
        Resource(
            "broker, CPU",
            "one Redis (one core)",
            lambda n: peak(n) * costs.broker_ms / 1000,
            "a broker for each group of queues",
            is_fixed=True,
        ),
        Resource(
            "beats", "one beat process", lambda n: peak(n) / costs.fires_per_second, "more beats: they share rows"
        ),
        Resource(
            "workers, calls at once",
            f"one worker process of {world.worker_calls:,} calls, "
            f"{world.worker_calls * costs.mib_per_call / 1024:.1f} GiB",
            lambda n: peak(n) * world.call_seconds / world.worker_calls,
            "more workers, by the age of the queue",
        ),
        Resource(
            "workers, CPU",
            "one core",
            lambda n: peak(n) * costs.worker_ms_per_run / 1000,
            "more workers",
        ),
    )


def table(results: Mapping[str, Any], world: World | None = None) -> str:
    """Write how many units of each resource so many schedules need; first those that one more process does not mend."""
    costs, world = costs_of(results), world or World()
    if costs is None:
        return "_No figures to reckon with._"
    head = ["resource", "one unit", *(f"{n:,} schedules" for n in SCHEDULES), "full at", "then"]
    rows = [head, ["---"] * len(head)]
    ranked = sorted(resources(costs, world), key=lambda one: (not one.is_fixed, -one.load(1)))
    for resource in ranked:
        loads = [resource.load(n) for n in SCHEDULES]
        texts = [f"{load:.0%}" if load < 1 else f"**{load:,.1f}**" for load in loads]
        rows.append([resource.name, resource.unit, *texts, millions(1 / resource.load(1)), resource.remedy])
    first = ranked[0]
    said = (
        f"{world.fires_per_day:g} fires a day for each schedule, {world.peak:g} times the mean in the busiest minute, "
        f"calls of {world.call_seconds:g} s, runs kept {RETENTION_DAYS} days. Shown are the units needed, below "
        f"one the share of it. Of what one more process does not mend, the first to be full is the **{first.name}**, "
        f"at {millions(1 / first.load(1))} schedules."
    )
    return said + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def millions(schedules: float) -> str:
    return f"{schedules / 1e6:,.1f} million" if schedules >= 1e5 else f"{schedules:,.0f}"


def main(arguments: list[str] | None = None) -> int:
    default = World()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, nargs="?", default=Path(__file__).parent / "out" / "figures.json")
    parser.add_argument("--fires-per-day", type=float, default=default.fires_per_day)
    parser.add_argument("--peak", type=float, default=default.peak, help="the busiest minute against the mean")
    parser.add_argument("--call-seconds", type=float, default=default.call_seconds)
    parser.add_argument("--database-cores", type=int, default=default.database_cores)
    options = vars(parser.parse_args(arguments))
    print(table(json.loads(options.pop("figures").read_text()), World(**options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
