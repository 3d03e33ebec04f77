"""Answers of Dify, Coze and FastGPT that are right but for one value: no value there is a defect of ours."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.outcome import AgentError, ErrorKind, RemoteHandle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import Client
from tests.contract.cases import CASES, Case, endpoint_of
from tests.contract.fake_dialects import Answer, answers
from tests.contract.test_coze import ASYNC, CHAT_HANDLE, POLLING, RUN_HANDLE
from tests.contract.test_dify import HANDLE, WORKFLOW

URL = "http://127.0.0.1:9"
ODD: list[Any] = [None, True, 0, -1.5, "", "x", [], [[]], [{}], {}, {"x": []}]
APPS = [case for case in CASES if case.provider in {"dify", "coze", "fastgpt"}]
BEGUN = [(WORKFLOW, HANDLE), (POLLING, CHAT_HANDLE), (ASYNC, RUN_HANDLE)]


def spoiled(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced, one at a time, and with each part missing."""
    yield from ODD
    parts = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, part in parts:
        for odd in spoiled(part):
            copy = value.copy()
            copy[key] = odd
            yield copy
        if isinstance(value, dict):
            yield {name: kept for name, kept in value.items() if name != key}


def spoiled_frames(answer: Answer) -> Iterator[bytes]:
    """Whole answers in which one frame holds something odd."""
    for index, frame in enumerate(answer.frames):
        head, found, text = frame.partition(b"data:") if b"data:" in frame else (b"", b"", frame)
        if not text.strip().startswith((b"{", b"[{")):
            continue
        for odd in spoiled(json.loads(text)):
            body = head + found + json.dumps(odd).encode() + (b"\n\n" if found else b"")
            yield b"".join([*answer.frames[:index], body, *answer.frames[index + 1 :]])


def usual(request: httpx.Request) -> Answer:
    sent = json.loads(request.content or b"{}")
    return answers(request.url.path, sent, "ok") or Answer("application/json", [b"{}"], status=404)


async def ending(case: Case, handle: RemoteHandle | None, spoils: dict[str, bytes], seen: dict[str, Answer]) -> str:
    def respond(request: httpx.Request) -> httpx.Response:
        answer = seen.setdefault(request.url.path, usual(request))
        content = spoils.get(request.url.path, b"".join(answer.frames))
        return httpx.Response(answer.status, content=content, headers={"content-type": answer.content_type})

    endpoint = endpoint_of(case, URL)
    async with Client(endpoint, httpx.MockTransport(respond)) as client:
        context = CallContext(client, endpoint, 100_000)
        try:
            return (await call(registry.get(case.provider), context, case.request(URL), handle)).status
        except AgentError as error:
            return error.kind


@pytest.mark.parametrize(
    ("case", "handle"),
    [*((case, None) for case in APPS), *BEGUN],
    ids=lambda value: value.name if isinstance(value, Case) else "resumed" if value else "begun",
)
def test_one_odd_value_in_a_native_answer_is_no_defect_of_ours(case: Case, handle: RemoteHandle | None) -> None:
    async def scene() -> int:
        seen: dict[str, Answer] = {}
        assert await ending(case, handle, {}, seen) == "succeeded"
        tried = 0
        path, answer = next(iter(seen.items()))  # what is asked for later is met by the runs that are resumed
        for body in spoiled_frames(answer):
            assert await ending(case, handle, {path: body}, {}) is not ErrorKind.INTERNAL, body.decode()
            tried += 1
        return tried

    assert asyncio.run(scene()) > 50
