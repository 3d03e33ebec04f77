"""One attempt at an agent, workflow or HTTP target, from its first byte to its verdict, within its deadline."""

import asyncio
from dataclasses import replace
from typing import Final

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers.base import CallContext, Provider, Resumable
from providers.content import excerpt, redacted

CANCEL_SECONDS: Final = 5.0

_SECRET_HEADERS: Final = ("auth", "key", "token", "secret", "cookie", "password")

# The loop keeps no strong reference to a task; a remote cancel must outlive the call that asked for it.
_cancelling: set[asyncio.Task[bool]] = set()


async def call(
    provider: Provider, context: CallContext, request: AgentRequest, begun: RemoteHandle | None = None
) -> AgentResult:
    """Make one attempt and return its answer. Raises AgentError for every failure, our own defects included.

    `begun` is the remote run of an earlier attempt: where the provider can, it is resumed and nothing is called anew.

    `request.timeout` bounds it in total, however busily the other side sends. At the deadline, and when the
    caller cancels, the remote run is asked to stop where it is known; that takes at most five seconds more.
    CancelledError always passes through. No message raised from here holds a credential.
    """
    handles: list[RemoteHandle] = []

    async def on_handle(handle: RemoteHandle) -> None:
        handles.append(handle)
        await context.on_handle(handle)

    watched = replace(context, on_handle=on_handle)
    try:
        return await _bounded(provider, watched, request, handles, begun)
    except asyncio.CancelledError:
        if context.stop_when_cut():
            await _stop_remote(provider, context, handles)
        raise
    except AgentError as error:
        error.message = redacted(error.message, _secrets(context, request))
        error.args = (error.message,)
        raise
    # The edge of all adapters: an answer of a shape nobody thought of must end its run, not the worker's loop.
    except Exception as error:
        reason = redacted(excerpt(f"{type(error).__name__}: {error}"), _secrets(context, request))
        raise AgentError(ErrorKind.INTERNAL, f"a defect in the adapter {provider.name!r}: {reason}") from error


async def _bounded(
    provider: Provider,
    context: CallContext,
    request: AgentRequest,
    handles: list[RemoteHandle],
    begun: RemoteHandle | None,
) -> AgentResult:
    if request.kind not in provider.kinds:
        raise AgentError(
            ErrorKind.CONFIG,
            f"provider {provider.name!r} of endpoint {context.endpoint.name!r} runs no {request.kind} tasks, "
            f"only {' and '.join(sorted(provider.kinds))}",
        )
    provider.check_options(request.kind, request.options)
    try:
        async with asyncio.timeout(request.timeout) as deadline:
            if begun is not None and begun.provider == provider.name and isinstance(provider, Resumable):
                handles.append(begun)
                return await provider.resume(context, request, begun)
            return await provider.start(context, request)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        stopped = await _stop_remote(provider, context, handles)
        state = "was told to stop" if stopped else "may still go on"
        raise AgentError(
            ErrorKind.TIMEOUT, f"no complete answer within {request.timeout:g} s; the run at {provider.name!r} {state}"
        ) from error


async def _stop_remote(provider: Provider, context: CallContext, handles: list[RemoteHandle]) -> bool:
    """Ask for a remote cancel, shielded: whoever cancels us a second time does not wait, and does not stop it."""
    if not handles:
        return False
    task = asyncio.create_task(_cancel_within_budget(provider, context, handles.pop()))
    _cancelling.add(task)
    task.add_done_callback(_cancelling.discard)
    return await asyncio.shield(task)


async def _cancel_within_budget(provider: Provider, context: CallContext, handle: RemoteHandle) -> bool:
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            return await provider.cancel(context, handle)
    except Exception:
        return False  # best effort: the verdict on the run is already made


def _secrets(context: CallContext, request: AgentRequest) -> list[str]:
    """What must not stand in a message: the endpoint's key, and what a task's own headers carry."""
    values = [value for name, value in request.headers.items() if any(word in name.lower() for word in _SECRET_HEADERS)]
    return [context.endpoint.api_key, *values, *(part for value in values for part in value.split() if len(part) > 7)]
