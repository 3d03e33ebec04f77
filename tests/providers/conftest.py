"""The real servers, one of each for the session. Not part of `make test`: run by `make test-providers`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.providers.environments import WEIGHTS, is_ready
from tests.providers.real_servers import A2AAgent, HTTPServer, LangGraphServer, LlamaServer, LLMock

READY_SECONDS = 120.0  # a model and a graph server load for a while on a busy machine

S = TypeVar("S", bound=HTTPServer)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out unless the command line names it."""
    return None if any("tests/providers" in argument for argument in config.args) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A first answer may take a model a minute."""
    for item in items:
        if "tests/providers" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(300))


def _started(server: S, *needed: str) -> Iterator[S]:
    missing = [name for name in needed if not is_ready(name)]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}; run: make test-providers", pytrace=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.server_process.READY_SECONDS", READY_SECONDS)
        with server:
            yield server


@pytest.fixture(scope="session")
def langgraph() -> Iterator[LangGraphServer]:
    yield from _started(LangGraphServer(), "langgraph")


@pytest.fixture(scope="session")
def a2a_agent() -> Iterator[A2AAgent]:
    yield from _started(A2AAgent(), "a2a")


@pytest.fixture(scope="session")
def llama() -> Iterator[LlamaServer]:
    yield from _started(LlamaServer(), "llama", WEIGHTS)


@pytest.fixture(scope="session")
def llmock() -> Iterator[LLMock]:
    yield from _started(LLMock(), "llmock")
