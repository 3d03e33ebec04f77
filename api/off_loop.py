"""Routes whose functions wait for the database: a thread runs them, and the event loop answers what they return."""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool


class OffLoop(APIRoute):
    """A route that leaves the event loop once a request.

    FastAPI would take a second thread to check what a plain function returns, which here is a model already.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint if iscoroutinefunction(endpoint) else _in_a_thread(endpoint), **options)


def _in_a_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        return await run_in_threadpool(endpoint, **values)

    return call
