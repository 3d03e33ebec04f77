"""The plots of docs/PERFORMANCE.md: cost against N, and how late things are."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from bench.figures import Figures

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
OURS: Final = "#0b69a3"
COLOURS: Final = {
    "celery beat": "#c46210",
    "django-celery-beat": "#2d7d46",
    "sqlalchemy-celery-beat": "#8a3ab9",
    "celery-redbeat": "#c22f3d",
}
STYLE: Final[Any] = {  # Any: the same check with and without matplotlib installed
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
}

Series = Mapping[str, Sequence[tuple[float, float]]]


def draw(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw what the figures allow; return file names with their titles."""
    folder.mkdir(parents=True, exist_ok=True)
    plots: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Figure | None]], ...] = (
        ("fires.png", "Fires a second against the number of rows", fires),
        ("footprint.png", "Memory and start against the number of rows", footprint),
        ("lateness.png", "How late: steady load, herd, edits, import", lateness),
    )
    drawn = {}
    with mpl.rc_context(STYLE):
        for name, title, make in plots:
            figure = make(results)
            if figure is not None:
                figure.savefig(folder / name)
                drawn[name] = title
    return drawn


def fires(results: Mapping[str, Any]) -> Figure | None:
    found = results.get("fires", ())
    if not found:
        return None
    series = by_beat(found, "fires_per_second")
    series["limit"] = points(found, "limit_per_second", None)
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    lines(axes, series)
    axes.set_title("Fires a second of one beat")
    axes.set_ylabel("fires / s")
    return figure


def footprint(results: Mapping[str, Any]) -> Figure | None:
    found = results.get("fires", ())
    starts = [*found, *results.get("idle", ())]
    if not found:
        return None
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines(left, by_beat(found, "memory_mib"), room=0.85)
    left.set_title("Memory of the beat process, MiB")
    lines(right, by_beat(starts, "start_to_first_fire_s"), room=0.85)
    right.set_title("Start to first fire, s")
    return figure


def lateness(results: Mapping[str, Any]) -> Figure | None:
    panels = [(f"Steady {figures['rate']} fires/s", figures, 100.0) for figures in last(results, "steady")]
    panels += [(f"{figures['herd']:,} due at once", figures, 2000.0) for figures in last(results, "herd")]
    panels += [("SQL edit to effect", figures, 1000.0) for figures in last(results, "edits")]
    panels += [("Rows due during an import", figures, 1000.0) for figures in last(results, "imports")]
    if not panels:
        return None
    figure = Figure(figsize=(7.2, 1.45 * len(panels) + 0.5), layout="constrained")
    for axes, (title, figures, goal) in zip(
        figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True
    ):
        bars(axes, figures, goal)
        axes.set_title(f"{title} ({figures['rows']:,} rows)")
    axes.set_xlabel("milliseconds late")
    return figure


# -- the marks --------------------------------------------------------------------------------------


def lines(axes: Any, series: Series, room: float = 0.4) -> None:
    """Draw lines over N on logarithmic axes, each named at its end."""
    ends = []
    for name, values in series.items():
        if not values:
            continue
        x, y = zip(*sorted(values), strict=True)
        colour = OURS if name == "ours" else COLOURS.get(name, MUTED)
        style: dict[str, Any] = {"color": colour, "linewidth": 1.3, "marker": "o", "markersize": 3.5}
        if name == "ours":
            style |= {"linewidth": 2.4, "markersize": 5, "zorder": 5}
        if name == "limit":
            style |= {"linestyle": (0, (4, 2)), "marker": None}
        axes.plot(x, y, **style)
        ends.append((y[-1], x[-1], name, colour))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(short))
        axis.set_minor_formatter(NullFormatter())
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("rows")
    name_ends(axes, ends, room)


def name_ends(axes: Any, ends: Sequence[tuple[float, float, str, str]], room: float) -> None:
    """Write each line's name beside its last point, moved apart where two would touch.

    `room` is the width for the names, as a part of the width of the data.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high / low) ** 0.07
    right = max(x for _, x, _, _ in ends)
    first = min(x for line in axes.get_lines() for x in line.get_xdata())
    placed = 0.0
    for y, x, name, colour in sorted(ends):
        at = max(y, placed * gap)
        placed = at
        axes.annotate(
            name,
            (x, y),
            xytext=(right * (right / first) ** 0.05, at),
            textcoords="data",
            va="center",
            color=colour,
            fontsize=8,
            fontweight="bold" if name == "ours" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.5}
            if at > y or x < right
            else None,
        )
    axes.set_xlim(first * 0.8, right * (right / first) ** room)
    axes.spines["bottom"].set_bounds(first, right)
    axes.set_ylim(low, max(high, placed * 1.3))
    axes.set_xticks([10.0**n for n in range(2, 8) if first * 0.99 <= 10.0**n <= right * 1.01] or [first, right])


def bars(axes: Any, figures: Figures, goal: float) -> None:
    """Draw a histogram of milliseconds on a logarithmic axis with its p50, its p99 and the goal."""
    edges, counts = figures["histogram"]["edges"], figures["histogram"]["counts"]
    total = sum(counts) or 1
    axes.bar(
        edges[:-1],
        [count / total * 100 for count in counts],
        width=[after - before for before, after in pairwise(edges)],
        align="edge",
        color=OURS,
        edgecolor="white",
        linewidth=0.6,
    )
    axes.set_xscale("log")
    axes.set_xlim(1, 20_000)
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    top = axes.get_ylim()[1] * 1.25
    axes.set_ylim(0, top)
    for name, align in (("p50", "right"), ("p99", "left")):
        value = figures[f"{name}_ms"]
        axes.axvline(value, color=INK, linewidth=0.9)
        axes.text(value, top * 0.98, f" {name} ", color=INK, fontsize=8, ha=align, va="top")
    goal_colour = COLOURS["celery-redbeat"]
    axes.axvline(goal, color=goal_colour, linewidth=1.1, linestyle=(0, (3, 2)))
    said = f"p50 {figures['p50_ms']:,.0f} ms, p99 {figures['p99_ms']:,.0f} ms"
    axes.set_title(f"{said}, goal {goal:,.0f} ms", loc="right", fontsize=8, fontweight="normal", color=INK)


# -- reading the figures ----------------------------------------------------------------------------


def by_beat(found: Sequence[Figures], key: str) -> dict[str, list[tuple[float, float]]]:
    """Pair rows with a figure, for ours and for each rival."""
    return {"ours": points(found, key, None), **{name: points(found, key, name) for name in COLOURS}}


def points(found: Sequence[Figures], key: str, rival: str | None) -> list[tuple[float, float]]:
    return [(one["rows"], one[key]) for one in found if key in one and one.get("rival") == rival]


def last(results: Mapping[str, Any], name: str) -> list[Figures]:
    """Name our figures over the most rows."""
    ours = [one for one in results.get(name, ()) if "rival" not in one]
    return ours[-1:]


def short(value: float, _: object = None) -> str:
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"
