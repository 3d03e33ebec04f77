"""What a measurement hands back: plain figures, printed and written as JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]


def percentiles(values: Sequence[float], suffix: str = "") -> dict[str, float]:
    """Name p50, p95, p99 and the greatest."""
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else [*values] * 99
    return {f"p50{suffix}": cuts[49], f"p95{suffix}": cuts[94], f"p99{suffix}": cuts[98], f"max{suffix}": max(values)}


def histogram(values: Sequence[float], per_decade: int = 10) -> dict[str, list[float]]:
    """Count values in logarithmic bins; `edges` has one more than `counts`. What is below 0.1 is in the first."""
    steps = [0.1 * 10 ** (n / per_decade) for n in range(6 * per_decade + 1)]
    counts = [0.0] * (len(steps) - 1)
    for value in values:
        place = next((n for n, edge in enumerate(steps[1:]) if value < edge), len(counts) - 1)
        counts[place] += 1
    return {"edges": steps, "counts": counts}


def show(name: str, figures: Mapping[str, Any]) -> None:
    """Print one line of single values; lists and nested figures are for the JSON file."""
    words = []
    for key, value in figures.items():
        if isinstance(value, float):
            words.append(f"{key} {value:,.3g}" if abs(value) < 10 else f"{key} {value:,.0f}")
        elif isinstance(value, int):
            words.append(f"{key} {value:,}")
        elif isinstance(value, str) and key != "rival":
            words.append(f"{key}: {value}")
    print(f"{name:32} {', '.join(words)}", flush=True)


def write(path: Path, figures: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
