"""Each fault of the catalogue ends in what the catalogue says."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.outcome import AgentError
from tests.contract import catalogue_flows, catalogue_models
from tests.contract.cases import CASES, IN_TIME, attempt
from tests.contract.catalogue_flows import BEGINNINGS
from tests.contract.catalogue_models import Row
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import Answer, answers
from tests.contract.test_background_runs import UNAVAILABLE, begins

ROWS = [*catalogue_models.ROWS, *catalogue_flows.ROWS]


def scripted(row: Row) -> Callable[[Received], Answer | None]:
    """What the platform says instead of its dialect."""
    left = [UNAVAILABLE] * 3 if row.switch == "three_503" else []
    said_in_passing = row.switch if row.switch == "error_in_200" else "ok"

    def script(received: Received) -> Answer | None:
        if row.at and re.search(row.at, received.path.partition("?")[0]):
            return row.answer
        usual = answers(received.path, received.fields, said_in_passing)
        if usual is None or usual.role != "answer":
            return row.on_cancel if usual is not None and usual.role == "cancel" else usual
        if row.begun and (begins(received) or BEGINNINGS.search(received.path)):
            return replace(usual, role="preliminary")
        return left.pop() if left else None if row.at else row.answer

    return script


async def ending(row: Row) -> str:
    case = next(case for case in CASES if case.name == row.case)
    async with FakeAgent(row.switch, script=scripted(row)) as fake:
        call = asyncio.create_task(attempt(case, fake.url, timeout=row.timeout))
        try:
            if row.ends == "cut":
                async with asyncio.timeout(IN_TIME):
                    await fake.asked.wait()
                call.cancel()
            return (await call).status
        except AgentError as error:
            return error.kind
        except asyncio.CancelledError:
            await asyncio.wait_for(fake.gone.wait(), IN_TIME)
            return "cut"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.case}: {row.fault}")
def test_a_fault_ends_in_what_the_catalogue_says(row: Row) -> None:
    assert asyncio.run(ending(row)) == row.ends


def test_the_catalogue_names_no_fault_twice() -> None:
    assert len({(row.platform, row.fault) for row in ROWS}) == len(ROWS)
