"""Waiting for a remote run by asking: how often, and what is ridden out."""

import asyncio

import pytest

from core.outcome import RESUMABLE, AgentError, ErrorKind
from providers import polling
from providers.polling import until

IN_TIME = 5.0


class Platform:
    """Gives one after the other of what it was told, as long as there is something; then the answer."""

    def __init__(self, *told: AgentError | None) -> None:
        self.told = list(told)
        self.asked = 0

    async def look(self) -> str | None:
        self.asked += 1
        if not self.told:
            return "done"
        found = self.told.pop(0)
        if found is not None:
            raise found
        return None


def trouble(kind: ErrorKind = ErrorKind.UNAVAILABLE, retry_after: float | None = None) -> AgentError:
    return AgentError(kind, "no", retry_after=retry_after)


def waits_for(platform: Platform, monkeypatch: pytest.MonkeyPatch, *, at_once: bool = False) -> list[float]:
    """How long each wait was until the answer, with the product's own constants."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.undo()
    monkeypatch.setattr(asyncio, "sleep", note)
    assert asyncio.run(until(platform.look, at_once=at_once)) == "done"
    return waits


def test_the_waits_grow_from_one_second_to_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = waits_for(Platform(*[None] * 9), monkeypatch)

    assert waits == [1, 1, 1.5, 2.25, 3.375, 5.0625, 7.59375, 10, 10, 10]


def test_a_run_that_an_earlier_attempt_began_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits_for(Platform(), monkeypatch, at_once=True) == []


def test_a_wait_that_the_platform_asks_for_is_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits_for(Platform(trouble(retry_after=7)), monkeypatch, at_once=True) == [7]


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_what_says_nothing_of_the_run_is_ridden_out(kind: ErrorKind) -> None:
    platform = Platform(trouble(kind))

    if kind in RESUMABLE:
        assert asyncio.run(until(platform.look)) == "done"
    else:
        with pytest.raises(AgentError):
            asyncio.run(until(platform.look))
        assert platform.asked == 1


def test_a_run_that_is_over_is_not_asked_for_again() -> None:
    platform = Platform(AgentError(ErrorKind.UNAVAILABLE, "it failed", over=True))

    with pytest.raises(AgentError, match="it failed"):
        asyncio.run(until(platform.look))
    assert platform.asked == 1


def test_three_failures_in_a_row_are_ridden_out_again_and_again() -> None:
    three = [trouble()] * 3
    platform = Platform(*three, None, *three, None)

    assert asyncio.run(until(platform.look)) == "done"


def test_the_fourth_failure_in_a_row_passes_through() -> None:
    platform = Platform(*[trouble()] * 4)

    with pytest.raises(AgentError) as raised:
        asyncio.run(until(platform.look))
    assert (raised.value.kind, platform.asked) == (ErrorKind.UNAVAILABLE, 4)


def test_a_wait_longer_than_ours_is_left_to_the_ledger() -> None:
    platform = Platform(trouble(ErrorKind.THROTTLED, retry_after=polling.LONGEST_SECONDS + 0.1))

    with pytest.raises(AgentError) as raised:
        asyncio.run(until(platform.look))
    assert (raised.value.kind, platform.asked) == (ErrorKind.THROTTLED, 1)


def test_a_question_that_is_never_answered_is_given_up_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "LOOK_SECONDS", 0.05)
    asked = 0

    async def look() -> str | None:
        nonlocal asked
        asked += 1
        if asked < 3:
            await asyncio.Event().wait()
        return "done"

    async def scene() -> None:
        async with asyncio.timeout(IN_TIME):
            assert await until(look) == "done"

    asyncio.run(scene())


def test_the_callers_deadline_is_not_taken_for_a_question_without_an_answer() -> None:
    async def scene() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await until(asyncio.Event().wait)

    asyncio.run(scene())
