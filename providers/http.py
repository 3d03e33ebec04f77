"""The HTTP core that all adapters share: one client a call, one exchange, bounded bodies, event streams.

    exchange()  sends one request and gives the answer's head; only a 2xx comes through, all else is an AgentError
    read()      its body, at most `max_bytes`
    events()    its server-sent events, each at most `max_bytes`

There are no retries here: only a connection that could not be made is tried once more, by `providers.transport`.
The total deadline is `providers.call`'s; the timeouts of an exchange only notice silence.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Self
from urllib.parse import quote

import certifi
import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from core.outcome import AgentError, AgentRequest, ErrorKind
from providers import failures, registry
from providers.base import CallContext, Endpoint
from providers.content import decode_json, encode_json
from providers.transport import GuardedTransport

CONNECT_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 30.0
ERROR_BODY_BYTES: Final = 64 * 1024
ERROR_BODY_SECONDS: Final = 5.0
STREAM_FACTOR: Final = 16  # a stream repeats its growing state: its sum may be that many answers long

_OUR_HEADERS: Final = frozenset(
    {"idempotency-key", "x-request-id", "host", "content-length", "transfer-encoding", "connection"}
)
# An address is shown to whoever may see endpoints; a key has a place of its own.
_SECRET_PARAMETERS: Final = ("key", "token", "secret", "password", "credential", "signature")
_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-tt-logid", "x-trace-id", "cf-ray")

_DEFAULT_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "agent-scheduler"}

# At INFO httpx logs whole URLs, which can hold credentials.
logging.getLogger("httpx").setLevel(logging.WARNING)


@lru_cache(maxsize=1)
def shared_ssl_context() -> ssl.SSLContext:
    """The one trust store of this process: the machine's (`SSL_CERT_FILE` too) and certifi's. Costs 20 ms once."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Client:
    """What one call goes out by; close it with `async with`. It gives the endpoint's key to no other origin.

    Not httpx's own client: what that does beside sending (cookies, redirects, authentication, merging of defaults)
    is nothing that a call may use, and costs as much as the sending.
    """

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport) -> None:
        self._key, self._base_url = endpoint.api_key.strip(), endpoint.base_url.strip()
        self._header = registry.key_header(endpoint.provider)
        self._transport = transport

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.aclose()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: httpx.URL,
        *,
        timeout: httpx.Timeout,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its unread answer, closed at the end. Raises what its transport does."""
        request = httpx.Request(
            method,
            url,
            headers={**_DEFAULT_HEADERS, **(headers or {})},
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        if self._key and self._base_url and origin(url) == origin(_parsed(self._base_url)):
            presented = f"Bearer {self._key}" if self._header == registry.BEARER_HEADER else self._key
            request.headers.setdefault(self._header, presented)
        response = await self._transport.handle_async_request(request)
        response.request = request
        try:
            yield response
        finally:
            await response.aclose()


def client_for(
    endpoint: Endpoint, ssl_context: ssl.SSLContext | None = None, *, allowed_networks: Sequence[str] = ()
) -> Client:
    """A client for one call.

    `allowed_networks`: ENDPOINT_ALLOWED_NETWORKS, open though `providers.addresses` refuses them otherwise.
    """
    return Client(endpoint, GuardedTransport(ssl_context or shared_ssl_context(), allowed_networks))


def origin(url: httpx.URL) -> str:
    """Scheme, host and port: what a key belongs to, and what an error message may show of a URL."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{port}"


def base_of(endpoint: Endpoint) -> httpx.URL:
    """The endpoint's base_url, checked. Raises AgentError CONFIG with the mend."""
    name = f"endpoint {endpoint.name!r}"
    if not endpoint.base_url:
        raise AgentError(ErrorKind.CONFIG, f"{name} has no base_url (for the default one: AGENT_API_BASE_URL)")
    try:
        base = _parsed(endpoint.base_url.strip())
    except httpx.InvalidURL as error:
        raise AgentError(ErrorKind.CONFIG, f"the base_url of {name} is not a URL") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise AgentError(ErrorKind.CONFIG, f"the base_url of {name} must begin with http:// or https://")
    if base.userinfo or any(word in key.lower() for key in base.params for word in _SECRET_PARAMETERS):
        raise AgentError(ErrorKind.CONFIG, f"{name}: put the credential into its key, not into its base_url")
    if base.port is not None and not 0 < base.port < 2**16:
        raise AgentError(ErrorKind.CONFIG, f"the base_url of {name} has the port {base.port}; use one from 1 to 65535")
    return base


@lru_cache(maxsize=256)
def _parsed(address: str) -> httpx.URL:
    return httpx.URL(address)


def below(base: httpx.URL, *segments: str) -> httpx.URL:
    """The URL of a path below a base; each segment is quoted, so an id can never leave its place in the path."""
    for segment in segments:
        if segment.strip() in {"", ".", ".."}:
            raise AgentError(ErrorKind.CONFIG, f"{segment!r} cannot stand in an address; check the ids of the task")
    path, _, query = base.raw_path.decode("ascii").partition("?")
    path = path.rstrip("/") + "".join(f"/{quote(segment, safe='')}" for segment in segments)
    return base.copy_with(raw_path=(f"{path}?{query}" if query else path).encode("ascii"))


def below_version(base: httpx.URL, *segments: str) -> httpx.URL:
    """The URL of a path below a base's `/v1`, or below the version that the base already ends in."""
    last = base.path.rstrip("/").rpartition("/")[2]
    is_versioned = last[:1] == "v" and last[1:].isdecimal()
    return below(base, *([] if is_versioned else ["v1"]), *segments)


@asynccontextmanager
async def exchange(
    context: CallContext,
    request: AgentRequest,
    method: str,
    url: httpx.URL,
    *,
    json: object = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    idle: float | None = None,
    judge: failures.Judge | None = None,
) -> AsyncIterator[httpx.Response]:
    """Send one request of a run; give the unread answer if its status is 2xx. Raises AgentError, and only that.

    `idle` is the longest silence to bear, by default the whole timeout: a blocking call is silent all the time.
    `judge` is the platform's own rule for what is no success; the usual table decides what it leaves open.
    """
    source = origin(url)
    response: httpx.Response | None = None
    sent = {name.lower(): value for name, value in _checked(headers or {}, context.endpoint).items()}
    if json is not None:
        content = encode_json(json)
        sent["content-type"] = "application/json"
    sent["idempotency-key"] = sent["x-request-id"] = request.run_id
    silence = min(idle or request.timeout, request.timeout)
    timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS, write=WRITE_SECONDS)
    try:
        async with context.client.stream(method, url, content=content, headers=sent, timeout=timeout) as response:
            if not response.is_success:
                raise await _refusal(response, source, judge)
            yield response
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
        raise _annotated(failures.from_exception(error, source=source), response, request) from error
    except AgentError as error:
        _annotated(error, response, request)
        raise


def is_event_stream(response: httpx.Response) -> bool:
    """True where the answer says so itself: a platform asked for a stream may answer an error in JSON."""
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


async def read(response: httpx.Response, max_bytes: int) -> str:
    """The whole body as text. Raises AgentError PROTOCOL beyond `max_bytes`, at once where the head tells."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(response, max_bytes)
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(response, max_bytes)
    return _decoded(response, body)


async def events(response: httpx.Response, max_bytes: int) -> AsyncGenerator[ServerSentEvent, None]:
    """The events of a stream, until it ends; whether that end is a success is the adapter's to know.

    Raises AgentError PROTOCOL for an event beyond `max_bytes` or a stream beyond sixteen times that.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise SSEError("the event stream is compressed, though we asked for none")
    response.encoding = "utf-8"  # the standard knows no other for event streams
    response.stream = metered = _Metered(response, max_bytes)
    source = EventSource(response).aiter_sse()
    try:
        async for event in source:
            metered.since_event = 0
            yield event
    finally:
        # The six generators inside `source` come to their ends: one that is dropped half way costs a task to end it.
        metered.is_over = True
        async for _ in source:
            pass


class _Metered(httpx.AsyncByteStream):
    """An answer's bytes, counted while they pass: httpx-sse buffers an endless line without a limit."""

    def __init__(self, response: httpx.Response, max_bytes: int) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy; ours comes over the network
        self._response, self._stream, self._max_bytes = response, response.stream, max_bytes
        self._pieces, self._rest = aiter(response.stream), b""
        self._most = max(max_bytes // 8, 1)  # at once: many short events may arrive as one long piece
        self.since_event = self._in_all = 0
        self.is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self.is_over:
            raise StopAsyncIteration
        arrived = self._rest or await anext(self._pieces)
        piece, self._rest = arrived[: self._most], arrived[self._most :]
        self.since_event += len(piece)
        self._in_all += len(piece)
        if self.since_event > self._max_bytes or self._in_all > self._max_bytes * STREAM_FACTOR:
            raise _too_large(self._response, self._max_bytes)
        return piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def request_id(response: httpx.Response, request: AgentRequest) -> str | None:
    """The platform's own id of this call, for its support desk; an echo of ours is none."""
    found = (response.headers.get(name, "") for name in _REQUEST_ID_HEADERS)
    return next((value[:200] for value in found if value and value != request.run_id), None)


async def _refusal(response: httpx.Response, source: str, judge: failures.Judge | None) -> AgentError:
    """Make the AgentError of a status that is no success. The body helps; a slow or broken one must not hide it."""
    body = bytearray()
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ERROR_BODY_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    text = _decoded(response, body[:ERROR_BODY_BYTES])
    try:
        parsed = decode_json(text, source)
    except AgentError:
        parsed = None
    now = datetime.now(UTC)
    return failures.classify(response.status_code, response.headers, parsed, text, source=source, now=now, judge=judge)


def _checked(headers: Mapping[str, str], endpoint: Endpoint) -> dict[str, str]:
    """Refuse what HTTP cannot carry before httpx does: its complaint would quote the value."""
    for name, value in {**headers, f"the key of endpoint {endpoint.name!r}": endpoint.api_key.strip()}.items():
        if not (value.isascii() and (value.isprintable() or not value)):
            raise AgentError(ErrorKind.CONFIG, f"{name} holds a line break or a character that HTTP cannot carry")
    for name in headers:
        if name.lower() in _OUR_HEADERS:
            raise AgentError(ErrorKind.CONFIG, f"the header {name!r} is set by the scheduler; take it out of the task")
    return dict(headers)


def _annotated(error: AgentError, response: httpx.Response | None, request: AgentRequest) -> AgentError:
    if response is not None:
        error.http_status = error.http_status or response.status_code
        error.request_id = error.request_id or request_id(response, request)
    return error


def _too_large(response: httpx.Response, max_bytes: int) -> AgentError:
    return AgentError(
        ErrorKind.PROTOCOL,
        f"{origin(response.url)} answered with more than {max_bytes:,} bytes, the limit set by RESULT_MAX_BYTES",
    )


def _decoded(response: httpx.Response, body: bytes | bytearray) -> str:
    try:
        text = body.decode(response.encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):  # Python also knows codecs that are no charsets, such as hex
        text = body.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")
