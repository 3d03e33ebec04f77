"""The command line that every measurement has: `python -m bench.NAME [--rows N …] [--seconds S] [--json FILE]`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench import figures
from bench.figures import Figures
from bench.services import Bench


@dataclass(frozen=True, slots=True)
class Size:
    """How much to measure: rows of `periodic_task` (or runs), seconds of each timed part, and the rivals or not."""

    rows: tuple[int, ...]
    seconds: float = 0.0
    rivals: bool = True


Measure: TypeAlias = Callable[[Bench, Size], list[Figures]]


def run(measure: Measure, doc: str | None, default: Size, arguments: list[str] | None = None) -> int:
    """Measure once with the sizes of the command line, print and write the figures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(default.rows))
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of each timed part")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with Bench() as bench:
        found = measure(bench, Size(tuple(options.rows), options.seconds, not options.no_rivals))
    if options.json:
        figures.write(options.json, found)
    return 0
