"""A route of the API leaves the event loop while its function waits, and is else what FastAPI makes of it."""

import asyncio
from threading import current_thread

import httpx
from fastapi import APIRouter, FastAPI, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.off_loop import OffLoop


class Told(BaseModel):
    """Where a function ran."""

    thread: str


def application(route_class: type[APIRoute]) -> FastAPI:
    router = APIRouter(route_class=route_class)

    @router.get("/waits/{number}", status_code=201)
    def waits(number: int, response: Response) -> Told:
        """Wait for a database."""
        response.headers["ETag"] = str(number)
        return Told(thread=current_thread().name)

    @router.get("/computes")
    async def computes() -> Told:
        return Told(thread=current_thread().name)

    app = FastAPI()
    app.include_router(router)
    return app


async def ask(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        return await client.get(path)


def test_a_plain_function_runs_beside_the_loop_and_a_coroutine_on_it() -> None:
    app = application(OffLoop)

    waited = asyncio.run(ask(app, "/waits/7"))
    computed = asyncio.run(ask(app, "/computes"))

    assert waited.json()["thread"] != current_thread().name
    assert (waited.status_code, waited.headers["etag"]) == (201, "7")
    assert computed.json() == {"thread": current_thread().name}
    assert asyncio.run(ask(app, "/waits/x")).status_code == 422


def test_it_is_described_as_any_other_route() -> None:
    assert application(OffLoop).openapi() == application(APIRoute).openapi()
