"""Texts into vectors by `POST /v1/embeddings`, as OpenAI and the many that speak like it have it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.outcome import AgentError, AgentRequest, ErrorKind
from providers.base import CallContext
from providers.content import decode_json
from providers.http import base_of, below_version, exchange, origin, read

LARGEST: Final = 1e18  # of a vector's numbers: squares and their sum stay within single precision


async def embed(context: CallContext, request: AgentRequest, texts: Sequence[str]) -> list[list[float]]:
    """Ask the model `request.target` for the vectors of some texts, in their order. Raises AgentError.

    The total deadline is the caller's.
    """
    url = below_version(base_of(context.endpoint), "embeddings")
    body = {"model": request.target, "input": list(texts), "encoding_format": "float", "user": request.user}
    async with exchange(context, request, "POST", url, json=body) as response:
        answer = decode_json(await read(response, context.max_bytes), origin(url))
    return _vectors(answer, len(texts), origin(url))


def _vectors(answer: Any, count: int, source: str) -> list[list[float]]:
    entries = answer.get("data") if isinstance(answer, Mapping) else None
    found: dict[int, list[float]] = {}
    for position, entry in enumerate(entries if isinstance(entries, list) else []):
        match entry:
            case {"embedding": [_, *_] as numbers} if all(map(_is_usable, numbers)):
                index = entry.get("index", position)
                found[index if isinstance(index, int) else -1] = [float(number) for number in numbers]
    if sorted(found) != list(range(count)) or len({len(vector) for vector in found.values()}) > 1:
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer with {count} vectors of one length")
    return [found[position] for position in range(count)]


def _is_usable(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < LARGEST
