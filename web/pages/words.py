"""The words box of the task form: a schedule in words, read as one types, with the next fires to confirm."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from api.access import Viewer
from api.phrases import parsed
from api.services import Ours
from core.phrases.scanning import MOST_CHARACTERS
from core.zones import zone_names
from web.rendering import rendered

router = APIRouter()


class Typed(BaseModel):
    """What stands in the box, and the zone that the form has so far."""

    model_config = ConfigDict(extra="ignore")

    phrase: Annotated[str, Field(max_length=MOST_CHARACTERS)] = ""
    timezone: Annotated[str, Field(max_length=64)] = ""


@router.get("/words/read")
def read_words(ours: Ours, request: Request, _: Viewer, typed: Annotated[Typed, Query()]) -> HTMLResponse:
    """Show how the words are read; nothing for an empty box. A zone that is none yet is left out of account."""
    phrase, zone = typed.phrase.strip(), typed.timezone.strip()
    found = parsed(ours, phrase, zone if zone in zone_names() else None) if phrase else None
    return rendered(request, "words/_readings.html", found=found)
