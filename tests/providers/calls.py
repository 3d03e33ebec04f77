"""One attempt at a real server, as a worker makes it."""

from typing import Any

from core.outcome import AgentError, AgentRequest, AgentResult, RemoteHandle
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for

MAX_BYTES = 1024 * 1024


async def attempt(
    provider: str,
    url: str,
    message: str = "",
    *,
    begun: RemoteHandle | None = None,
    handles: list[RemoteHandle] | None = None,
    stop_when_cut: bool = True,
    **fields: Any,
) -> AgentResult:
    """Make one attempt; `begun` goes on with a run. Raises AgentError."""
    endpoint = Endpoint("real", provider, url)

    async def keep(handle: RemoteHandle) -> None:
        if handles is not None:
            handles.append(handle)

    defaults: dict[str, Any] = {"kind": "agent", "target": "talk", "timeout": 120.0, "message": message}
    async with client_for(endpoint) as client:
        context = CallContext(client, endpoint, MAX_BYTES, keep, stop_when_cut=lambda: stop_when_cut)
        return await call(registry.get(provider), context, AgentRequest(**{**defaults, **fields}), begun)


async def failure(*arguments: Any, **fields: Any) -> AgentError:
    """The error of an attempt that must fail."""
    try:
        result = await attempt(*arguments, **fields)
    except AgentError as error:
        return error
    raise AssertionError(f"this call should have failed and gave {result!r}")
