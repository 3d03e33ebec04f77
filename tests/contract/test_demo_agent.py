"""The demo agent does what its docstring says, seen through the real adapters."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.outcome import AgentResult, ErrorKind
from tests.contract.cases import CASES, IN_TIME, Case, attempt, raised
from tests.server_process import free_port

ROOT = Path(__file__).resolve().parents[2]
SPOKEN = [
    replace(case, options={}) if case.kind == "http" else case
    for case in CASES
    if case.provider in {"agent_platform", "openai_chat", "http_json"}
    and case.name != "platform-legacy"
    and not case.name.startswith("json")
]
LABEL = "demo agent"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = free_port(), tmp_path_factory.mktemp("demo") / "demo.log"
    command = [sys.executable, "scripts/demo_agent.py", "--port", str(port), "--delay", "0.02"]
    with log.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)
    assert len(log.read_text().splitlines()) == 1, "faults that were asked for are no news for the log"


def _wait_until_up(url: str, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + 15
    while time.monotonic() < limit and process.poll() is None:
        try:
            assert httpx.get(url, trust_env=False).json()["demo"] is True
        except httpx.ConnectError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the demo agent did not start")


def told(message: str) -> dict[str, Any]:
    """Say this to the demo agent, wherever an adapter looks for it."""
    return {"message": message, "inputs": {"day": message}, "body": {"message": message}}


def answer(case: Case, demo: str, message: str = "写日报") -> AgentResult:
    return asyncio.run(attempt(case, demo, key="", **told(message)))


spoken = pytest.mark.parametrize("case", SPOKEN, ids=lambda case: case.name)


@spoken
def test_every_dialect_answers_and_says_that_it_is_no_model(case: Case, demo: str) -> None:
    result = answer(case, demo)

    assert result.status == "succeeded"
    assert LABEL in result.text or result.data["demo"] is True
    if case.counts_tokens and case.kind == "agent":
        assert result.usage.input_tokens == len("写日报")


@spoken
@pytest.mark.parametrize(
    ("message", "kinds"),
    [
        ("fail", {ErrorKind.REMOTE_FAILED, ErrorKind.UNAVAILABLE}),
        ("unauthorized", {ErrorKind.AUTH}),
        ("missing", {ErrorKind.NOT_FOUND}),
        ("invalid", {ErrorKind.INVALID}),
        ("throttled", {ErrorKind.THROTTLED}),
        ("quota", {ErrorKind.QUOTA}),
        ("gateway", {ErrorKind.UNAVAILABLE}),
        ("cut", {ErrorKind.OUTCOME_UNKNOWN}),
        ("huge", {ErrorKind.PROTOCOL}),
    ],
)
def test_every_failure_can_be_tried(case: Case, demo: str, message: str, kinds: set[ErrorKind]) -> None:
    error = asyncio.run(raised(attempt(case, demo, key="", **told(message))))

    assert error.kind in kinds


@pytest.mark.parametrize("message", ["drip", "stall", "slow 30"])
def test_slowness_can_be_tried_and_leaves_nothing_running(demo: str, message: str) -> None:
    async def scene() -> None:
        cut = (raised(attempt(case, demo, key="", timeout=0.3, **told(message))) for case in SPOKEN)
        assert {error.kind for error in await asyncio.gather(*cut)} == {ErrorKind.TIMEOUT}

    asyncio.run(scene())

    limit = time.monotonic() + IN_TIME
    while time.monotonic() < limit and httpx.get(f"{demo}/health", trust_env=False).json()["running"]:
        time.sleep(0.02)
    assert httpx.get(f"{demo}/health", trust_env=False).json()["running"] == 0


@spoken
def test_an_empty_answer_and_a_question_can_be_tried(case: Case, demo: str) -> None:
    if case.kind == "http":
        assert answer(case, demo, "empty").http_status == 204
        return

    assert asyncio.run(raised(attempt(case, demo, key="", **told("empty")))).kind is ErrorKind.EMPTY
    assert answer(case, demo, "ask").status == "requires_action"


def test_a_thousand_slow_answers_run_at_once(demo: str) -> None:
    async def scene() -> None:
        slow = (attempt(SPOKEN[0], demo, key="", timeout=30, message="slow 1") for _ in range(1000))
        results = await asyncio.gather(*slow)
        assert {result.status for result in results} == {"succeeded"}

    began = time.monotonic()
    asyncio.run(scene())
    assert time.monotonic() - began < 20
