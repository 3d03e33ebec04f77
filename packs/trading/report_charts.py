"""Charts as SVG, their words as text: the same figures give the same bytes. In China red is up and green is down."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from io import StringIO
from threading import Lock
from typing import Any, Final

from packs.extras import load

REQUIREMENTS: Final = "requirements-trading.txt"
FONT: Final = "Noto Sans CJK SC"
UP, DOWN, LINE = "#c23531", "#2f7d4f", "#31507c"
WIDTH: Final = 7.2  # inches
MAX_BARS: Final = 20

_one_at_a_time: Final = Lock()  # matplotlib's settings are the whole process's


def changes(title: str, values: Mapping[str, float]) -> str:
    """Draw the change of each symbol as a bar, in per cent; the outermost where they are many."""
    ranked = sorted(values.items(), key=lambda item: item[1])
    if len(ranked) > MAX_BARS:
        ranked = ranked[: MAX_BARS // 2] + ranked[-MAX_BARS // 2 :]
    with _figure(title, 0.9 + 0.3 * len(ranked)) as (axes, svg):
        names, heights = [name for name, _ in ranked], [value * 100 for _, value in ranked]
        bars = axes.barh(names, heights, color=[UP if height >= 0 else DOWN for height in heights])
        axes.bar_label(bars, fmt="%+.2f%%", padding=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.margins(x=0.18)
        axes.set_xlabel("涨跌幅（%）")
    return svg.getvalue()


def lines(title: str, series: Mapping[str, Mapping[date, float]], unit: str) -> str:
    """Draw values over days, one line a name."""
    with _figure(title, 3.0) as (axes, svg):
        for name, values in series.items():
            days = sorted(values)
            color = {"color": LINE} if len(series) == 1 else {}
            axes.plot(days, [values[day] for day in days], label=name, linewidth=1.4, **color)
        axes.set_ylabel(unit)
        axes.grid(visible=True, alpha=0.25)
        axes.tick_params(axis="x", rotation=20)
        if len(series) > 1:
            axes.legend()
    return svg.getvalue()


def shares(title: str, parts: Mapping[str, float]) -> str:
    """Draw parts of a whole."""
    with _figure(title, 3.4) as (axes, svg):
        axes.pie(list(parts.values()), labels=list(parts), autopct="%.1f%%", startangle=90, counterclock=False)
        axes.axis("equal")
    return svg.getvalue()


@contextmanager
def _figure(title: str, height: float) -> Iterator[tuple[Any, StringIO]]:
    """Give axes to draw on; what is drawn stands in the text afterwards."""
    matplotlib = load("matplotlib", REQUIREMENTS)
    figures = load("matplotlib.figure", REQUIREMENTS)
    managers = load("matplotlib.font_manager", REQUIREMENTS)
    svg = StringIO()
    wanted = {
        "font.family": [FONT],
        "svg.fonttype": "none",  # words, not outlines: they can be found, and copied
        "svg.hashsalt": "report",
        "axes.unicode_minus": False,
        "text.parse_math": False,  # a name with $ signs is a name
    }
    with _one_at_a_time:
        known: Sequence[Any] = managers.fontManager.ttflist
        path = font_file()
        if not any(entry.fname == path for entry in known):
            managers.fontManager.addfont(path)
        with matplotlib.rc_context(wanted):
            figure = figures.Figure(figsize=(WIDTH, height), layout="constrained")
            axes = figure.subplots()
            axes.set_title(title)
            yield axes, svg
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})


def font_file() -> str:
    """Find the font that has Chinese: this machine needs none of its own."""
    return str(load("noto_cjk_sans_otc", REQUIREMENTS).FONT_PATH)
