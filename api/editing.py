"""Pages by id, and edits that overwrite nobody's: what small resources share."""

from decimal import Decimal
from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from api.task_edit import matches
from core.budget import shown

#: A decimal, shown as text: exact, and without the zeros that a DECIMAL column adds.
Exact = Annotated[Decimal, PlainSerializer(shown, return_type=str)]


class Page(BaseModel):
    """Which rows are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most")] = 50
    after: Annotated[int, Field(ge=0, lt=2**63, description="Only rows with a higher id")] = 0


def following(path: str, page: Page, ids: list[int]) -> str | None:
    """Name the next page, where one more row than asked for was found."""
    if len(ids) <= page.limit:
        return None
    return f"{path}?{urlencode({'limit': page.limit, 'after': ids[page.limit - 1]})}"


def require(etag: str, if_match: str | None, what: str) -> None:
    """Let only the state be edited that the client saw. Raises HTTPException 412."""
    if not matches(etag, if_match):
        told = f"{what} was edited meanwhile; read it again, and send its new ETag in If-Match."
        raise HTTPException(412, told, {"ETag": etag})
