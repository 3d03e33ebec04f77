"""The page made from the figures of one run: `python -m bench.report [FIGURES.json]` writes docs/PERFORMANCE.md.

What stands between the markers in docs/PERFORMANCE.md is replaced; the words around it are kept.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench import plots, simulate
from bench.figures import Figures
from tests.stack import ROOT

DOCS: Final = ROOT / "docs"
PAGE: Final = "PERFORMANCE.md"
PLOTS: Final = "performance"
BEATS: Final = ("celery beat", "django-celery-beat", "sqlalchemy-celery-beat", "celery-redbeat")
POOLS: Final = ("Celery threads", "Celery prefork")
MILLION: Final = 1_000_000

Results: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the table. `met` None: the size of the goal was not measured."""

    what: str
    goal: str
    ours: str
    met: bool | None = None
    limit: str = ""
    ratio: str = ""
    rivals: Mapping[str, str] = field(default_factory=dict)


def write(figures: Path, folder: Path) -> Path:
    """Make the page and its plots in a folder; return the page."""
    results = json.loads(figures.read_text())
    pictures = plots.draw(results, folder / PLOTS)
    blocks = {
        "about": about(results["about"]),
        "table": table(beat_lines(results), BEATS) + "\n" + table(worker_lines(results), POOLS),
        "plots": "\n\n".join(f"![{title}]({PLOTS}/{name})" for name, title in pictures.items()),
        "simulation": simulate.table(results),
    }
    template = DOCS / PAGE
    page = template.read_text() if template.exists() else "".join(marked(name, "") for name in blocks)
    for name, text in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{text.strip()}\n{end}{tail}"
    target = folder / PAGE
    target.write_text(page)
    return target


def marked(name: str, text: str) -> str:
    return f"<!-- {name} -->\n{text}\n<!-- /{name} -->\n\n"


def about(run: Figures) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"{run['date']}, {run['form']} form, {run['minutes']:.0f} minutes on {run['cores']} cores, "
        f"{run['memory_gib']} GiB, {run['system']} (load before: {run['load_before']:.1f}). {versions}."
    )


def table(lines: Sequence[Line], rivals: Iterable[str]) -> str:
    """Write lines as a Markdown table; columns of rivals without a figure are left out."""
    columns = [name for name in rivals if any(line.rivals.get(name) for line in lines)]
    rows = [["what", "goal", "ours", "", "limit", "ours / limit", *columns]]
    rows.append(["---"] * len(rows[0]))
    for line in lines:
        met = {True: "✓", False: "**missed**", None: ""}[line.met]
        rows.append(
            [line.what, line.goal, line.ours, met, line.limit, line.ratio, *(line.rivals.get(n, "") for n in columns)]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


# -- beat -------------------------------------------------------------------------------------------


def beat_lines(results: Results) -> list[Line]:
    sections: tuple[tuple[str, Callable[[Results], list[Line]]], ...] = (
        ("fires", fire_lines),
        ("edits", edit_lines),
        ("herd", herd_lines),
        ("steady", steady_lines),
        ("idle", idle_lines),
        ("imports", import_lines),
    )
    return [line for name, lines in sections if results.get(name) for line in lines(results)]


def fire_lines(results: Results) -> list[Line]:
    found = []
    base = ours_of(results, "fires", rows=10_000)
    for figures in all_ours(results, "fires"):
        rows, rate = figures["rows"], figures["fires_per_second"]
        goal, met = "", None
        if rows == 100_000:
            goal, met = "≥ 10,000, ≥ 80 % of the limit", rate >= 10_000 and figures["of_the_limit"] >= 0.8
        if rows == MILLION and base:
            goal, met = "within 20 % of 10,000 rows", rate >= 0.8 * base["fires_per_second"]
        rivals = {
            other["rival"]: f"{other['fires_per_second']:,.0f}" if "fires_per_second" in other else other["note"]
            for other in results["fires"]
            if other["rows"] == rows and "rival" in other
        }
        found.append(
            Line(
                what=f"fires/s, recorded and sent, {rows:,} rows",
                goal=goal,
                ours=f"{rate:,.0f}",
                met=met,
                limit=f"{figures['limit_per_second']:,.0f}",
                ratio=f"{figures['of_the_limit']:.0%}",
                rivals=rivals,
            )
        )
    return found


def edit_lines(results: Results) -> list[Line]:
    found = []
    for figures in all_ours(results, "edits"):
        rows = figures["rows"]
        others = [other for other in results["edits"] if other["rows"] == rows and "rival" in other]
        late = figures["others_edited_p99_ms"] - figures["others_quiet_p99_ms"]
        found.append(
            Line(
                what=f"raw SQL edit to effect, {rows:,} rows, p50 / p99",
                goal="p99 ≤ 1 s" if rows == MILLION else "",
                ours=f"{seconds(figures['p50_ms'])} / {seconds(figures['p99_ms'])}",
                met=figures["p99_ms"] <= 1000 if rows == MILLION else None,
                rivals={other["rival"]: edit_of_rival(other) for other in others},
            )
        )
        found.append(
            Line(
                what=f"other rows late because of an edit, {rows:,} rows",
                goal="none" if rows == MILLION else "",
                ours=f"{seconds(max(late, 0))} (p99)",
                met=late <= 50 if rows == MILLION else None,
                rivals={other["rival"]: stall_of_rival(other) for other in others},
            )
        )
    return found


def edit_of_rival(other: Figures) -> str:
    if "note" in other:
        return str(other["note"])
    if "edit_effect_s" in other:
        return seconds(other["edit_effect_s"] * 1000)
    if "announce_effect_s" in other:
        return f"{other['edit_effect']}; by its own models {seconds(other['announce_effect_s'] * 1000)}"
    return str(other.get("edit", other.get("edit_effect", "")))


def stall_of_rival(other: Figures) -> str:
    late = [other[key] for key in ("announce_others_late_s", "edit_others_late_s") if key in other]
    return seconds(late[0] * 1000) if late else ""


def herd_lines(results: Results) -> list[Line]:
    figures = all_ours(results, "herd")[-1]
    rates = {
        other["rival"]: f"{figures['herd'] / other['fires_per_second']:,.0f} s (from its rate)"
        for other in results.get("fires", ())
        if other["rows"] == 10_000 and "fires_per_second" in other and "rival" in other
    }
    return [
        Line(
            what=f"herd: {figures['herd']:,} of {figures['rows']:,} rows due at once, until all are queued, worst of 5",
            goal="≤ 2 s",
            ours=f"{figures['all_queued_s']:.2f} s",
            met=figures["all_queued_s"] <= 2,
            rivals=rates,
        ),
        Line(
            what="herd: lateness p99",
            goal="≤ 2 s",
            ours=seconds(figures["p99_ms"]),
            met=figures["p99_ms"] <= 2000,
        ),
    ]


def steady_lines(results: Results) -> list[Line]:
    return [
        Line(
            what=f"steady {figures['rate']} fires/s over {figures['rows']:,} rows, lateness p50 / p99",
            goal="p99 ≤ 100 ms" if figures["rows"] == MILLION else "",
            ours=f"{seconds(figures['p50_ms'])} / {seconds(figures['p99_ms'])}",
            met=figures["p99_ms"] <= 100 if figures["rows"] == MILLION else None,
        )
        for figures in all_ours(results, "steady")
    ]


def idle_lines(results: Results) -> list[Line]:
    figures = all_ours(results, "idle")[-1]
    is_goal = figures["rows"] == MILLION
    rows = max((other["rows"] for other in results.get("edits", ()) if "rival" in other), default=0)
    others = [other for other in results.get("edits", ()) if other["rows"] == rows and "rival" in other]
    if is_goal:
        others += [other for other in results["fires"] if other["rows"] == MILLION and "rival" in other]

    def of(key: str, form: Callable[[float], str]) -> dict[str, str]:
        texts: dict[str, list[str]] = {}
        for other in others:
            if key in other:
                texts.setdefault(other["rival"], []).append(f"{form(other[key])} ({other['rows']:,})")
        return {name: ", ".join(parts) for name, parts in texts.items()}

    return [
        Line(
            what=f"beat's memory, {figures['rows']:,} rows (after a herd)",
            goal="≤ 150 MB" if is_goal else "",
            ours=f"{figures['memory_mib']:.0f} MiB ({figures['memory_after_a_herd_mib']:.0f})",
            met=figures["memory_mib"] <= 150 if is_goal else None,
            rivals=of("memory_mib", "{:.0f} MiB".format),
        ),
        Line(
            what=f"beat's idle CPU, {figures['rows']:,} rows",
            goal="≤ 3 % of a core" if is_goal else "",
            ours=f"{figures['idle_cpu_percent']:.1f} %",
            met=figures["idle_cpu_percent"] <= 3 if is_goal else None,
            rivals=of("cpu_percent", "{:.1f} %".format),
        ),
        Line(
            what=f"start to first fire, {figures['rows']:,} rows",
            goal="≤ 3 s" if is_goal else "",
            ours=f"{figures['start_to_first_fire_s']:.1f} s",
            met=figures["start_to_first_fire_s"] <= 3 if is_goal else None,
            rivals=of("start_to_first_fire_s", "{:.1f} s".format),
        ),
    ]


def import_lines(results: Results) -> list[Line]:
    figures = all_ours(results, "imports")[-1]
    is_goal = figures["rows"] == MILLION
    return [
        Line(
            what=f"bulk import by SQL, {figures['rows']:,} rows, until all are armed",
            goal="≥ 10,000 rows/s" if is_goal else "",
            ours=f"{figures['rows_per_second']:,.0f} rows/s",
            met=figures["rows_per_second"] >= 10_000 if is_goal else None,
        ),
        Line(
            what="rows due meanwhile: lateness p99 (before)",
            goal="on time (≤ 1 s)",
            ours=f"{seconds(figures['p99_ms'])} ({seconds(figures['others_calm_p99_ms'])})",
            met=figures["p99_ms"] <= 1000,
        ),
    ]


# -- workers and the ledger -------------------------------------------------------------------------


def worker_lines(results: Results) -> list[Line]:
    sections: tuple[tuple[str, Callable[[Results], list[Line]]], ...] = (
        ("calls", call_lines),
        ("runs", run_lines),
        ("history", history_lines),
    )
    return [line for name, lines in sections if results.get(name) for line in lines(results)]


def call_lines(results: Results) -> list[Line]:
    found = []
    for figures in all_ours(results, "calls"):
        latency, slots = figures["latency_s"], figures["concurrency"]
        others = [other for other in results["calls"] if "rival" in other and other["latency_s"] == latency]
        share = {30: 0.85, 10: 0.6}.get(latency)
        found.append(
            Line(
                what=f"calls of {latency:g} s in flight in one worker process, memory",
                goal="≥ 2,000 in ≤ 300 MB" if slots == 2_000 else "",
                ours=f"{figures['most_in_flight']:,} in {figures['memory_mib']:.0f} MiB",
                met=figures["most_in_flight"] >= 2_000 and figures["memory_mib"] <= 300 if slots == 2_000 else None,
                rivals={o["rival"]: f"{o['most_in_flight']:,} in {o['memory_mib']:.0f} MiB" for o in others},
            )
        )
        found.append(
            Line(
                what=f"calls of {latency:g} s, a second",
                goal=f"≥ {share:.0%} of the ideal" if share else "",
                ours=f"{figures['calls_per_second']:.0f}",
                met=figures["of_ideal"] >= share if share else None,
                limit=f"{figures['ideal_per_second']:.0f}",
                ratio=f"{figures['of_ideal']:.0%}",
                rivals={o["rival"]: f"{o['calls_per_second']:.1f} ({o['of_ideal']:.0%})" for o in others},
            )
        )
    return found


def run_lines(results: Results) -> list[Line]:
    figures = all_ours(results, "runs")[-1]
    bare = next(other for other in results["runs"] if "rival" in other)
    return [
        Line(
            what="runs/s through one worker process, 10 ms agent, every run recorded",
            goal="≥ 60 % of bare Celery",
            ours=f"{figures['calls_per_second']:.0f}",
            met=figures["of_bare_celery"] >= 0.6,
            limit=f"{bare['calls_per_second']:.0f}",
            ratio=f"{figures['of_bare_celery']:.0%}",
            rivals={bare["rival"]: f"{bare['calls_per_second']:.0f}, nothing recorded"},
        )
    ]


def history_lines(results: Results) -> list[Line]:
    figures = all_ours(results, "history")[-1]
    name, worst = max(figures["queries"].items(), key=lambda item: float(item[1]["p95"]))
    more = figures["deleting_p99_ms"] - figures["calm_p99_ms"]
    return [
        Line(
            what=f"lists and filters over {figures['runs']:,} runs, the slowest p95 of {len(figures['queries'])}",
            goal="≤ 100 ms",
            ours=f"{worst['p95']:.0f} ms ({name})",
            met=worst["p95"] <= 100,
        ),
        Line(
            what="retention deletes, runs/s; fires' lateness p99 meanwhile (before)",
            goal="fires undisturbed",
            ours=f"{figures['deleted_per_second']:,.0f}; {seconds(figures['deleting_p99_ms'])} "
            f"({seconds(figures['calm_p99_ms'])})",
            met=more <= 100,
        ),
    ]


# -- reading the figures ----------------------------------------------------------------------------


def all_ours(results: Results, name: str) -> list[Figures]:
    return [figures for figures in results.get(name, ()) if "rival" not in figures]


def ours_of(results: Results, name: str, **values: Any) -> Figures | None:
    matching = (figures for figures in all_ours(results, name) if values.items() <= figures.items())
    return next(matching, None)


def seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "out" / "figures.json", DOCS))
