"""The fault catalogue as a page: `python -m tests.contract.catalogue` writes its part of docs/PROVIDERS.md.

The rows are what `test_catalogue_models` (with `catalogue_flows`) and `test_catalogue_apps` make happen.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from config import BASE_DIR
from tests.contract import catalogue_apps, catalogue_flows, catalogue_models

PAGE = BASE_DIR / "docs" / "PROVIDERS.md"
BEGIN, END = "<!-- catalogue -->", "<!-- /catalogue -->"
SHARED_BY = 3  # platforms; a fault of fewer stands with the platform
ABREAST = 9  # columns of a table
COLUMN_OF = 10  # shared faults; a platform or mode with fewer has no column


class Known(NamedTuple):
    """One row of either catalogue."""

    platform: str
    fault: str
    ends: str


def rows() -> list[Known]:
    models = [Known(row.platform, row.fault, str(row.ends)) for row in (*catalogue_models.ROWS, *catalogue_flows.ROWS)]
    return [*models, *(Known(row.platform, row.fault, str(row.ends)) for row in catalogue_apps.ROWS)]


def pages_part(known: Sequence[Known]) -> str:
    """Write the table of faults that many platforms have, then each platform's own."""
    platforms = list(dict.fromkeys(row.platform for row in known))
    ends: dict[str, dict[str, str]] = defaultdict(dict)
    for row in known:
        ends[row.fault][row.platform] = row.ends
    shared = [fault for fault, by in ends.items() if len(by) >= SHARED_BY]
    wide = [platform for platform in platforms if sum(platform in ends[fault] for fault in shared) >= COLUMN_OF]
    lines = [
        f"{len(known)} faults of {len(platforms)} platforms and modes; tests make each happen over a real socket.",
    ]
    for begin in range(0, len(wide), ABREAST):
        columns = wide[begin : begin + ABREAST]
        here = [fault for fault in shared if not ends[fault].keys().isdisjoint(columns)]
        lines += ["", *_table(["fault", *columns], ([fault, *_cells(ends[fault], columns)] for fault in here))]
    for platform in platforms:
        own = [fault for fault in ends if platform in ends[fault] and (fault not in shared or platform not in wide)]
        if own:
            lines += ["", f"**{platform}**", ""]
            lines += _table(["fault", "ends as"], ([fault, ends[fault][platform]] for fault in own))
    return "\n".join(lines)


def with_catalogue(page: str) -> str:
    """Put the newest catalogue into the page's text."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{pages_part(rows())}\n{END}{tail}"


def _cells(ends: Mapping[str, str], columns: Iterable[str]) -> Iterator[str]:
    return (ends.get(name, "") for name in columns)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *body):
        yield f"| {' | '.join(line)} |"


if __name__ == "__main__":
    PAGE.write_text(with_catalogue(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
