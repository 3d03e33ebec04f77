"""The port every platform adapter implements, and what it is given to work with."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import httpx

from core.outcome import AgentRequest, AgentResult, RemoteHandle


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a platform is and how to speak to it. `api_key` is never logged, shown or raised."""

    name: str
    provider: str
    base_url: str
    api_key: str = ""

    def __repr__(self) -> str:
        """Leave the key out: a repr ends up in tracebacks and error reports."""
        return f"Endpoint({self.name!r}, {self.provider!r}, {self.base_url!r})"


async def _forget(_: RemoteHandle) -> None:
    """Keep no handle."""


class OnText(Protocol):
    """Is told an answer while it arrives. Never blocks, never raises; called on the loop of the call."""

    def __call__(self, text: str, *, instead: bool = False) -> None:
        """Take the next piece; `instead`: it stands in the place of all before it. It may end in half a character."""
        ...


def unheard(text: str, *, instead: bool = False) -> None:
    """Let a piece pass that nobody listens to."""


class Sender(Protocol):
    """What requests go out by: `providers.http.Client`."""

    def stream(
        self,
        method: str,
        url: httpx.URL,
        *,
        timeout: httpx.Timeout,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request and give its unread answer, closed at the end."""
        ...


@dataclass(frozen=True, slots=True)
class CallContext:
    """What one call may use. The total deadline is the caller's (`asyncio.timeout`), not the client's."""

    client: Sender
    endpoint: Endpoint
    max_bytes: int
    """An answer larger than this is cut and fails as `protocol`."""
    on_handle: Callable[[RemoteHandle], Awaitable[None]] = _forget
    """Awaited once, as soon as the platform names the remote run and before its answer is read: then it is stored."""
    allowed_hosts: tuple[str, ...] = ()
    """HTTP_ALLOWED_HOSTS: the only hosts that requests of kind `http` may go to; none by default."""
    stop_when_cut: Callable[[], bool] = lambda: True
    """False where the next attempt is to go on with the remote run: a call that is cut then leaves it alone."""
    on_text: OnText = unheard
    """Told each piece of a streamed answer, for who watches; what the answer is says the result alone."""


class Provider(Protocol):
    """A platform. Stateless; raises AgentError and nothing else that is expected."""

    name: str
    kinds: frozenset[str]

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option this platform does not take. Sends nothing."""
        ...

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt and return its answer. Raises AgentError."""
        ...

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Ask the platform to stop a remote run; True when it says so. Never raises."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A provider whose remote runs outlive the connection. Its handles say `resumable`."""

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        """Wait for the end of a run that an earlier attempt began, and begin none. Raises AgentError."""
        ...
