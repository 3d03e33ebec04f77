"""Is there anybody at an endpoint's address?"""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from core.outcome import AgentError, ErrorKind
from providers.base import Endpoint
from providers.http import base_of, client_for, origin

REACH_SECONDS: Final = 10.0


async def reach(endpoint: Endpoint, allowed_networks: Sequence[str], seconds: float = REACH_SECONDS) -> str:
    """Ask for the base address and say what answered, within `seconds` in total. Raises AgentError.

    Any answer proves that somebody is there: its body is not read. A key is judged by a real call only.
    """
    url = base_of(endpoint)
    async with client_for(endpoint, allowed_networks=allowed_networks) as client:
        try:
            async with asyncio.timeout(seconds), client.stream("GET", url, timeout=httpx.Timeout(seconds)) as answer:
                pass
        except TimeoutError as error:
            told = f"{origin(url)} did not answer within {seconds:g} seconds"
            raise AgentError(ErrorKind.TIMEOUT, told) from error
        except httpx.HTTPError as error:
            raise AgentError(ErrorKind.CONNECT, f"{origin(url)} cannot be reached: {error}") from error
    key = f"a key of {len(endpoint.api_key)} characters was sent" if endpoint.api_key else "no key is set"
    if answer.status_code in (401, 403):
        told = f"{origin(url)} refuses the key: HTTP {answer.status_code}; {key}"
        raise AgentError(ErrorKind.AUTH, told, http_status=answer.status_code)
    return f"{origin(url)} answers (HTTP {answer.status_code}); {key}"
