"""Why a call failed: one table for HTTP answers, one for what httpx raises, one for a platform's own codes.

Adapters ask their platform's rules first and these tables after. Nothing here sends anything.
"""

import math
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import httpx
from httpx_sse import SSEError

from core.outcome import AgentError, ErrorKind
from providers.content import excerpt, plain_text

LONGEST_WAIT: Final = 3600.0  # a platform that names a longer one is not throttling us but out of quota

STATUS_KINDS: Final = {
    400: ErrorKind.INVALID,
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA,
    403: ErrorKind.AUTH,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.NOT_FOUND,
    407: ErrorKind.CONFIG,
    408: ErrorKind.UNAVAILABLE,
    409: ErrorKind.BUSY,
    410: ErrorKind.NOT_FOUND,
    421: ErrorKind.CONFIG,
    425: ErrorKind.UNAVAILABLE,
    429: ErrorKind.THROTTLED,
    501: ErrorKind.INVALID,
    529: ErrorKind.THROTTLED,
}

#: Codes and types that say more than any status, quota above all: the first match counts.
_TELLING_CODES: Final = (
    (
        re.compile(
            r"insufficient_\w*(quota|balance|credit|fund)|credit_balance|spend_limit|billing|arrear|quota_exceeded"
        ),
        ErrorKind.QUOTA,
    ),
    (re.compile(r"conversation_locked|already_running"), ErrorKind.BUSY),
    (re.compile(r"rate_limit|too_many_requests|slow_down|overloaded|throttl"), ErrorKind.THROTTLED),
)

#: Codes and types that count where no status speaks: error objects inside a 200 or a stream.
_CODES_ALONE: Final = (
    (re.compile(r"authentication|invalid_api_key|unauthori[sz]ed|permission"), ErrorKind.AUTH),
    (re.compile(r"not_found"), ErrorKind.NOT_FOUND),
    (re.compile(r"invalid_request|context_length|context_size|content_filter|content_policy"), ErrorKind.INVALID),
    (re.compile(r"server_error|unavailable|api_error|timeout"), ErrorKind.UNAVAILABLE),
)

_WORDS: Final = {
    ErrorKind.CONFIG: "the address or the way there is set up wrongly",
    ErrorKind.AUTH: "our credential is not accepted; check the endpoint's key",
    ErrorKind.NOT_FOUND: "no such agent, model, workflow or path there",
    ErrorKind.INVALID: "the request is not accepted as it stands",
    ErrorKind.QUOTA: "the quota or balance is used up; waiting does not help",
    ErrorKind.THROTTLED: "too many requests; it asks us to slow down",
    ErrorKind.BUSY: "it is busy with another run of this conversation",
    ErrorKind.UNAVAILABLE: "not available; the run may have begun there",
    ErrorKind.REMOTE_FAILED: "the run failed there",
    ErrorKind.PROTOCOL: "not an answer this platform gives",
    ErrorKind.OUTCOME_UNKNOWN: "it gave up waiting; the run may go on there",
}

#: Every exception of httpx. After a connection stands we cannot know what ran, so silence is OUTCOME_UNKNOWN.
EXCEPTION_KINDS: Final[Mapping[type[Exception], tuple[ErrorKind, str]]] = {
    httpx.ConnectError: (ErrorKind.CONNECT, "no connection; nothing was sent"),
    httpx.ConnectTimeout: (ErrorKind.CONNECT, "no connection in time; nothing was sent"),
    httpx.PoolTimeout: (ErrorKind.CONNECT, "no free connection; nothing was sent"),
    httpx.ProxyError: (ErrorKind.CONNECT, "the proxy gave no connection; nothing was sent"),
    httpx.ReadTimeout: (ErrorKind.OUTCOME_UNKNOWN, "silence after the request was sent; it may have run"),
    httpx.WriteTimeout: (ErrorKind.OUTCOME_UNKNOWN, "the request got stuck on its way; it may have run"),
    httpx.TimeoutException: (ErrorKind.OUTCOME_UNKNOWN, "too slow; it may have run"),
    httpx.ReadError: (ErrorKind.OUTCOME_UNKNOWN, "the connection broke before the whole answer; it may have run"),
    httpx.WriteError: (ErrorKind.OUTCOME_UNKNOWN, "the connection broke while sending; it may have run"),
    httpx.CloseError: (ErrorKind.OUTCOME_UNKNOWN, "the connection broke while closing; it may have run"),
    httpx.NetworkError: (ErrorKind.OUTCOME_UNKNOWN, "the connection broke; it may have run"),
    httpx.RemoteProtocolError: (ErrorKind.OUTCOME_UNKNOWN, "the answer was cut or is not HTTP; it may have run"),
    httpx.ProtocolError: (ErrorKind.OUTCOME_UNKNOWN, "the exchange broke HTTP's rules; it may have run"),
    httpx.TransportError: (ErrorKind.OUTCOME_UNKNOWN, "the exchange broke; it may have run"),
    httpx.LocalProtocolError: (ErrorKind.CONFIG, "the request cannot be sent over HTTP; check headers and address"),
    httpx.UnsupportedProtocol: (ErrorKind.CONFIG, "only http:// and https:// addresses can be called"),
    httpx.InvalidURL: (ErrorKind.CONFIG, "the address is not a URL"),
    httpx.TooManyRedirects: (ErrorKind.CONFIG, "it redirects in circles"),
    httpx.DecodingError: (ErrorKind.PROTOCOL, "the answer's compression is broken"),
    httpx.HTTPStatusError: (ErrorKind.PROTOCOL, "an unexpected status"),
    httpx.RequestError: (ErrorKind.OUTCOME_UNKNOWN, "the exchange broke; it may have run"),
    httpx.HTTPError: (ErrorKind.OUTCOME_UNKNOWN, "the exchange broke; it may have run"),
    httpx.CookieConflict: (ErrorKind.PROTOCOL, "its cookies contradict each other"),
    httpx.StreamConsumed: (ErrorKind.INTERNAL, "the answer was read twice"),
    httpx.StreamClosed: (ErrorKind.INTERNAL, "the answer was read after its end"),
    httpx.ResponseNotRead: (ErrorKind.INTERNAL, "the answer was used before it was read"),
    httpx.RequestNotRead: (ErrorKind.INTERNAL, "the request was used before it was read"),
    httpx.StreamError: (ErrorKind.INTERNAL, "the answer was read in the wrong way"),
    SSEError: (ErrorKind.PROTOCOL, "the answer is no event stream"),
}


class Remark(NamedTuple):
    """What an error body says: the platform's code or type, and its sentence."""

    code: str
    message: str


class Refusal(NamedTuple):
    """What an HTTP answer that is no success shows to a platform's own rule."""

    status: int
    code: str
    message: str
    retry_after: float | None


#: A platform's own rule: the kind of a refusal, or None where the table decides.
Judge = Callable[[Refusal], ErrorKind | None]


def remark(body: Any, text: str = "") -> Remark:
    """Find code and sentence in the shapes that platforms use; else the raw text is the sentence."""
    if not isinstance(body, Mapping):
        return Remark("", excerpt(body if isinstance(body, str) else text))
    inner = body.get("error")
    if isinstance(inner, Mapping):
        body = inner
    elif isinstance(inner, str) and inner:
        body = {"message": inner, **body}
    code = " ".join(str(body[key]) for key in ("type", "code") if body.get(key) not in (None, ""))
    for key in ("message", "msg", "detail", "error"):
        said = body.get(key)
        if isinstance(said, list):
            said = "; ".join(_complaint(item) for item in said)
        if sentence := plain_text(said).strip():
            return Remark(code.lower(), excerpt(sentence))
    return Remark(code.lower(), excerpt(text))


def kind_of(status: int | None, code: str = "") -> ErrorKind:
    """The one default table: a telling code, then the status, then the status's hundred."""
    for pattern, kind in _TELLING_CODES if status else _TELLING_CODES + _CODES_ALONE:
        if pattern.search(code):
            return kind
    if status is None:
        status = next((int(word) for word in code.split() if re.fullmatch("[45][0-9][0-9]", word)), None)
        return kind_of(status) if status else ErrorKind.REMOTE_FAILED
    hundreds = {3: ErrorKind.CONFIG, 4: ErrorKind.INVALID, 5: ErrorKind.UNAVAILABLE}
    return STATUS_KINDS.get(status) or hundreds.get(status // 100, ErrorKind.PROTOCOL)


def classify(
    status: int,
    headers: Mapping[str, str],
    body: Any,
    text: str,
    *,
    source: str,
    now: datetime,
    judge: Judge | None = None,
) -> AgentError:
    """Make the AgentError of an HTTP answer that is no success. `body` is its JSON, or None."""
    said = remark(body, text)
    wait = retry_after(headers, now)
    kind = (judge and judge(Refusal(status, said.code, said.message, wait))) or kind_of(status, said.code)
    words = _WORDS[kind]
    if wait is not None and wait > LONGEST_WAIT:
        words += f"; it asks for a wait of {wait:.0f} s"
        kind, wait = (ErrorKind.QUOTA if kind is ErrorKind.THROTTLED else kind), LONGEST_WAIT
    if status // 100 == 3:
        target = headers.get("location", "nowhere").partition("?")[0]
        words = f"it redirects to {excerpt(target)}, which is not followed; put the final address there"
    sentence = f"{source} answered HTTP {status}: {words}"
    message = f"{sentence}. It said: {said.message}" if said.message else sentence
    return AgentError(kind, message, http_status=status, retry_after=wait)


def remote_error(body: Any, text: str, *, source: str, kinds: Mapping[str, ErrorKind] | None = None) -> AgentError:
    """Make the AgentError of an error object inside a 200 or a stream; `kinds` are the platform's own codes."""
    said = remark(body, text)
    kind = (kinds or {}).get(said.code) or kind_of(None, said.code)
    return AgentError(kind, f"{source}: {_WORDS[kind]}. It said: {said.message or 'nothing more'}")


def from_exception(error: Exception, *, source: str) -> AgentError:
    """Make the AgentError of an exception of httpx or httpx-sse."""
    kind, words = next(EXCEPTION_KINDS[base] for base in type(error).__mro__ if base in EXCEPTION_KINDS)
    if kind is ErrorKind.CONNECT and (untrusted := _certificate_fault(error)):
        kind, words = ErrorKind.CONFIG, f"its TLS certificate is not trusted ({untrusted}); nothing was sent"
    reason = excerpt(str(error))
    return AgentError(kind, f"{source}: {words} ({reason})" if reason else f"{source}: {words}")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the platform asks us to wait, or None: absent, in the past, or no number."""
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    seconds = _seconds(value)
    if seconds is not None or not value:
        return seconds
    try:
        until = parsedate_to_datetime(value)
        # Measured on the platform's own clock where it shows it: ours may differ by minutes.
        start = parsedate_to_datetime(headers["date"]) if "date" in headers else now
        wait = (_aware(until) - _aware(start)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _complaint(item: Any) -> str:
    """One line of FastAPI's 422: `{"loc": ["body", "agent_id"], "msg": "Field required"}`."""
    match item:
        case {"loc": list() as where, "msg": str() as what}:
            return f"{'.'.join(map(str, where))}: {what}"
        case _:
            return plain_text(item)


def _certificate_fault(error: BaseException) -> str:
    return next(
        (cause.verify_message for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), ""
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
