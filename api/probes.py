"""What machines ask without a token: `/health/live`, `/health/ready`, `/metrics`."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from api.readiness import Check, is_ready, verdict
from api.services import Ours

router = APIRouter(tags=["probes"])


class Alive(BaseModel):
    """The answer of `/health/live`."""

    status: str


class Report(BaseModel):
    """The answer of `/health/ready`: `ready`, `degraded` or `not ready`, with every check."""

    status: str
    checks: list[Check]


@router.get("/health/live")
async def live() -> Alive:
    """Say that the process is up. Looks at nothing else."""
    return Alive(status="ok")


@router.get("/health/ready", responses={503: {"model": Report, "description": "A check failed"}})
async def ready(ours: Ours, response: Response) -> Report:
    """Say whether the whole can do its work, check by check."""
    checks = await ours.readiness.checks()
    response.status_code = 200 if is_ready(checks) else 503
    return Report(status=verdict(checks), checks=checks)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(ours: Ours) -> Response:
    """Give Prometheus the figures."""
    return Response(await ours.exposition.text(), media_type=CONTENT_TYPE_LATEST)
