"""A report as HTML and as PDF. What stands in it is data to both templates: nothing in it is ever carried out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from packs.extras import load
from packs.trading.report_charts import FONT, REQUIREMENTS, font_file
from packs.trading.report_content import Report
from packs.whole_file import remove_left_overs, whole_file

TEMPLATES: Final = Path(__file__).resolve().parent / "templates"


def html(report: Report) -> str:
    """Set a report as one HTML file that needs no other."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]), undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(report=report, font=FONT)


def pdf(report: Report) -> bytes:
    """Set a report as PDF, with the font inside."""
    typst = load("typst", REQUIREMENTS)
    made: bytes = typst.compile(
        str(TEMPLATES / "report.typ"),
        root=str(TEMPLATES),
        font_paths=[str(Path(font_file()).parent)],
        ignore_system_fonts=True,
        sys_inputs={"report": json.dumps(asdict(report), ensure_ascii=False, default=sorted)},
    )
    return made


def write(report: Report, folder: Path) -> dict[str, Any]:
    """Write both files, each at once and whole, in the place of older ones; say where and how large they are."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_left_overs(folder)
    found: dict[str, Any] = {}
    for ending, content in (("html", html(report).encode()), ("pdf", pdf(report))):
        path = folder / f"{report.name}.{ending}"
        with whole_file(path, 0o640) as file:
            file.write(content)
        found[ending] = {"path": str(path), "bytes": len(content)}
    return found
