"""Every error answer is a problem document (RFC 9457) that says what to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from core.refused import Refused as Refused

MEDIA_TYPE: Final = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457; `errors` names the parameters that were refused."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, errors: list[dict[str, str]] | None = None
) -> JSONResponse:
    """Answer with a problem; its title is the status in words."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(content.model_dump(exclude_none=True), status, dict(headers or {}), MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these error answers for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    if 401 in statuses:  # whoever guesses tokens is slowed
        statuses = (*statuses, 429)
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
