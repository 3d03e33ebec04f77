"""`/runs/compare`: in what two runs differ, their answers line by line."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.access import Viewer
from api.run_query import RunId
from api.runs import compare_two
from api.services import Ours
from store.database import autocommit, read_clock
from web.pages.runs_detail import written
from web.rendering import rendered

ABSENT: Final = "–"
KINDS: Final = {"+": "added", "-": "removed", "@": "place"}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of the diff; `kind`: added, removed, place, or nothing for one that both have."""

    kind: str
    text: str


@router.get("/runs/compare")
def compare(
    ours: Ours, request: Request, _: Viewer, a: Annotated[RunId, Query()], b: Annotated[RunId, Query()]
) -> HTMLResponse:
    """Show two runs beside each other: `a` as before, `b` as after."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
    found = compare_two(ours, a, b)
    return rendered(
        request,
        "runs/compare.html",
        now=now,
        a=found.a,
        b=found.b,
        seconds=found.seconds,
        differences=[(each.field, _shown(each.a), _shown(each.b)) for each in found.differences],
        same_answer=found.same_answer,
        diff=diff_lines(found.answer_diff),
    )


def diff_lines(unified: list[str]) -> list[DiffLine]:
    """Sort a unified diff's lines, without the two that name the runs."""
    return [DiffLine(KINDS.get(line[:1], ""), line) for line in unified[2:]]


def _shown(value: Any) -> str:
    return written(value if not isinstance(value, int | float | bool) else str(value)) or ABSENT
