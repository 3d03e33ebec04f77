"""Each fault of the catalogue ends in what the catalogue says."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.outcome import AgentError
from tests.contract.app_scenes import case_of
from tests.contract.cases import IN_TIME, attempt
from tests.contract.catalogue_apps import ROWS, Row
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import Answer, answers


def scripted(row: Row) -> Callable[[Received], Answer | None]:
    """What the platform says instead of its dialect."""
    first = [row.answer]

    def script(received: Received) -> Answer | None:
        usual = answers(received.path, received.fields, "ok")
        if usual is not None and usual.role == "cancel":
            return row.on_cancel
        return first.pop() if first else None

    return script


async def ending(row: Row) -> tuple[str, int | None, str]:
    async with FakeAgent(row.switch, script=scripted(row)) as fake:
        changes: dict[str, Any] = {} if row.timeout is None else {"timeout": row.timeout}
        call = asyncio.create_task(attempt(case_of(row.case), fake.url, **changes))
        try:
            if row.ends == "cut":
                async with asyncio.timeout(IN_TIME):
                    await fake.asked.wait()
                call.cancel()
            result = await call
            return result.status, result.http_status, ""
        except AgentError as error:
            return error.kind, error.http_status, error.message
        except asyncio.CancelledError:
            await asyncio.wait_for(fake.gone.wait(), IN_TIME)
            return "cut", None, ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.case}: {row.fault}")
def test_a_fault_ends_in_what_the_catalogue_says(row: Row) -> None:
    ends, status, message = asyncio.run(ending(row))

    assert (ends, status) == (row.ends, row.status)
    if row.told_to_stop is not None:
        assert ("was told to stop" in message) is row.told_to_stop


def test_the_catalogue_names_no_fault_twice() -> None:
    assert len({(row.platform, row.fault) for row in ROWS}) == len(ROWS)
