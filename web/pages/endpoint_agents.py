"""`/endpoints/{id}/agents`: the limits of single agents of an endpoint, all of them in one form."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.access import Admin
from api.endpoints import change_endpoint, one_endpoint
from api.schedules import Id
from api.services import Ours
from core.refused import Refused
from edits.desk import read
from edits.endpoints import LIMITS, EndpointChange
from web.pages.endpoints import CHANGED, PAGE
from web.rendering import reader_of, rendered, toast

MOST_ROWS: Final = 500
FIELD: Final = "agents"

router = APIRouter()

Cells = Annotated[list[str], Field(max_length=MOST_ROWS)]


class Table(BaseModel):
    """The form: a list for each column, of one length. A row without an agent and limits is none."""

    model_config = ConfigDict(extra="ignore")

    agent: Cells = []
    max_concurrency: Cells = []
    requests_per_minute: Cells = []
    tokens_per_minute: Cells = []
    etag: Annotated[str, Field(max_length=200)] = ""

    def rows(self) -> list[dict[str, Any]]:
        """Say the rows as the API takes them. Raises Refused."""
        columns = [self.agent, *(getattr(self, name) for name in LIMITS)]
        if len({len(column) for column in columns}) != 1:
            raise Refused.of(FIELD, "a row of the table is not whole; open the form again")
        found = []
        for agent, *limits in zip(*columns, strict=True):
            given = {name: text.strip() or None for name, text in zip(LIMITS, limits, strict=True)}
            if not agent.strip() and any(given.values()):
                raise Refused.of(
                    FIELD, "a row has limits and names no agent; write its id, or * for each that has none"
                )
            if agent.strip():
                found.append({"agent": agent.strip(), **given})
        return found


@router.get(PAGE.path + "/{endpoint_id}/agents")
def ask_agents(ours: Ours, request: Request, _: Admin, endpoint_id: Id) -> HTMLResponse:
    """Show the dialog with the limits there are."""
    held = Response()
    endpoint = one_endpoint(ours, endpoint_id, held)
    return rendered(request, "endpoints/_agents.html", endpoint=endpoint, etag=held.headers["ETag"])


@router.post(PAGE.path + "/{endpoint_id}/agents")
def change_agents(
    ours: Ours, request: Request, caller: Admin, endpoint_id: Id, given: Annotated[Table, Form()]
) -> Response:
    """Put the table in the place of what there is, unless somebody else has changed the endpoint meanwhile."""
    rows = given.rows()
    try:
        wanted = read(EndpointChange, {FIELD: rows})
    except Refused as refused:
        raise _by_agent(refused, rows) from None
    changed = change_endpoint(ours, caller, Response(), endpoint_id, wanted, given.etag or None)
    answer = Response(status_code=204)
    toast(answer, reader_of(request).words("endpoints.agents_saved", name=changed.name), events=CHANGED)
    return answer


def _by_agent(refused: Refused, rows: list[dict[str, Any]]) -> Refused:
    """Name the agent, and not the place of its row: `agents.3.max_concurrency: …` becomes `writer, max_…: …`."""
    told = []
    for problem in refused.problems:
        _, at, *column = problem["field"].split(".")
        sentence = problem["message"].removeprefix(f"{problem['field']}: ")
        told.append({"field": FIELD, "message": f"{', '.join([rows[int(at)]['agent'], *column])}: {sentence}"})
    return Refused(told)
