"""Runs that go on at the platform without us: their name is kept before they end, and a later attempt only asks."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import RESUMABLE, AgentError, AgentResult, ErrorKind, RemoteHandle, resumable_handle
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, IN_TIME, KEY, MAX_BYTES, RUN_ID, Case, attempt, endpoint_of, raised
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, Answer, answers

every_background = pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.provider in {"openai_responses", "a2a"} and case.resumable],
    ids=lambda case: case.name,
)

ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too
UNAVAILABLE = Answer("application/json", [b"{}"], status=503)


def after_the_start(fault: str, *told: Answer) -> FakeAgent:
    """A platform that begins a run as it should; asked for it, it gives the answers `told`, and then misbehaves."""
    waiting = list(told)

    def script(received: Received) -> Answer | None:
        usual = answers(received.path, received.fields, "ok")
        if usual is None or usual.role != "answer":
            return usual
        if begins(received):
            return replace(usual, role="preliminary")
        return waiting.pop(0) if waiting else None

    return FakeAgent(fault, script=script)


def begins(received: Received) -> bool:
    starts = received.method == "POST" and received.path.endswith("/responses")
    return starts or received.fields.get("method") in {"SendMessage", "message/send"}


def failure_after(case: Case, fault: str, **changes: Any) -> AgentError:
    async def scene() -> AgentError:
        async with after_the_start(fault) as fake:
            return await raised(attempt(case, fake.url, **changes))

    return asyncio.run(scene())


async def left_behind(case: Case) -> RemoteHandle:
    """The handle of a run whose worker died while it waited, as the ledger gives it to the next attempt."""
    handles: list[RemoteHandle] = []
    async with after_the_start("silent") as fake:
        task = asyncio.create_task(attempt(case, fake.url, handles=handles))
        async with asyncio.timeout(IN_TIME):
            await fake.asked.wait()
        task.cancel()
        await asyncio.wait([task])
    (handle,) = handles
    kept = resumable_handle(handle.as_text())
    assert kept == handle
    return handle


async def resumed(case: Case, fake: FakeAgent, handle: RemoteHandle) -> AgentResult:
    endpoint = endpoint_of(case, fake.url)
    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, MAX_BYTES)
        return await call(registry.get(case.provider), context, case.request(fake.url), handle)


def on_resuming(case: Case, act: Callable[[FakeAgent, RemoteHandle], Any], **fake: Any) -> Any:
    async def scene() -> Any:
        handle = await left_behind(case)
        async with FakeAgent(**fake) as platform:
            return await act(platform, handle)

    return asyncio.run(scene())


@every_background
def test_the_next_attempt_asks_for_the_run_and_begins_none(case: Case) -> None:
    async def act(fake: FakeAgent, handle: RemoteHandle) -> None:
        result = await resumed(case, fake, handle)

        assert (result.status, result.text) == ("succeeded", ANSWER)
        (asked,) = fake.requests
        assert not begins(asked)
        assert asked.headers["idempotency-key"] == RUN_ID
        assert asked.headers["authorization"] == f"Bearer {KEY}"

    on_resuming(case, act)


@every_background
@pytest.mark.parametrize("fault", ["error_in_200", "empty", "no_json", "status:401", "huge"])
def test_a_resumed_run_that_cannot_be_gone_on_with_is_not_resumed_again(case: Case, fault: str) -> None:
    async def act(fake: FakeAgent, handle: RemoteHandle) -> None:
        error = await raised(resumed(case, fake, handle))

        assert error.over or error.kind not in RESUMABLE
        assert not any(begins(received) for received in fake.requests)

    on_resuming(case, act, fault=fault)


@every_background
def test_a_resumed_run_may_wait_for_a_human(case: Case) -> None:
    async def act(fake: FakeAgent, handle: RemoteHandle) -> None:
        result = await resumed(case, fake, handle)

        assert (result.status, result.data) == ("requires_action", case.asks)

    on_resuming(case, act, fault="requires_action")


@every_background
def test_whatever_happens_after_the_start_the_deadline_holds_and_the_run_is_stopped_once(case: Case) -> None:
    async def verdict(fault: str) -> None:
        handles: list[RemoteHandle] = []
        async with after_the_start(fault) as fake:
            began = time.monotonic()
            error = await raised(attempt(case, fake.url, timeout=ENOUGH, handles=handles))
            assert ENOUGH <= time.monotonic() - began < ENOUGH + 5, fault
            assert (error.kind, len(fake.cancelled)) == (ErrorKind.TIMEOUT, 1), fault
            assert "was told to stop" in error.message
        assert [handle.resumable for handle in handles] == [True], fault

    async def scene() -> None:
        await asyncio.gather(*map(verdict, ("drip", "stall", "silent", "heartbeats")))

    asyncio.run(scene())


@every_background
def test_a_few_failed_questions_are_ridden_out(case: Case) -> None:
    async def scene() -> None:
        async with after_the_start("ok", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE) as fake:
            assert (await attempt(case, fake.url)).text == ANSWER
            assert sum(begins(received) for received in fake.requests) == 1

    asyncio.run(scene())


@every_background
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("cut", ErrorKind.OUTCOME_UNKNOWN),
        ("reset", ErrorKind.OUTCOME_UNKNOWN),
        ("status:503", ErrorKind.UNAVAILABLE),
        ("html_502", ErrorKind.UNAVAILABLE),
        ("throttled_int", ErrorKind.THROTTLED),
    ],
)
def test_a_lasting_trouble_ends_the_attempt_and_leaves_the_run_to_the_next(
    case: Case, fault: str, kind: ErrorKind
) -> None:
    error = failure_after(case, fault)

    assert (error.kind, error.over) == (kind, False)
    assert error.kind in RESUMABLE


@every_background
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("status:401", ErrorKind.AUTH), ("huge", ErrorKind.PROTOCOL), ("redirect", ErrorKind.CONFIG)],
)
def test_what_asking_again_cannot_mend_ends_the_run(case: Case, fault: str, kind: ErrorKind) -> None:
    assert failure_after(case, fault).kind is kind


@every_background
def test_a_question_that_echoes_the_key_shows_it_to_nobody(case: Case) -> None:
    error = failure_after(case, "echo_key")

    assert "bad credential" in error.message
    assert KEY[:12] not in f"{error!r} {error} {error.args} {error.__cause__!r} {error.__context__!r}"


@every_background
def test_an_answer_to_the_start_that_breaks_off_leaves_the_outcome_unknown_and_no_handle(case: Case) -> None:
    async def scene() -> None:
        handles: list[RemoteHandle] = []
        async with FakeAgent("cut") as fake:
            error = await raised(attempt(case, fake.url, handles=handles))
        assert (error.kind, handles) == (ErrorKind.OUTCOME_UNKNOWN, [])

    asyncio.run(scene())
