"""What Coze's calls have in common: the envelope around every answer, its codes, and usage."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx

from core.outcome import AgentError, AgentRequest, ErrorKind, Usage
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, excerpt, json_text, read_usage, unless_zero
from providers.failures import Refusal
from providers.http import exchange, origin, read, request_id

NAME: Final = "coze"

T = TypeVar("T")

_CODES: Final = {
    "4000": ErrorKind.INVALID,
    "4011": ErrorKind.QUOTA,
    "4013": ErrorKind.THROTTLED,
    "4015": ErrorKind.NOT_FOUND,  # the bot is not published to the API channel
    "4016": ErrorKind.BUSY,  # a conversation takes one chat at a time
    "4028": ErrorKind.QUOTA,
    "4100": ErrorKind.AUTH,
    "4101": ErrorKind.AUTH,
    "4200": ErrorKind.NOT_FOUND,  # the workflow is not published
    "5000": ErrorKind.UNAVAILABLE,
    "700012006": ErrorKind.AUTH,
}
_INTERNAL: Final = re.compile("7[0-9][0-9]")


def judge(refusal: Refusal) -> ErrorKind | None:
    """Read Coze's own codes; None where the status says enough."""
    internal = ErrorKind.UNAVAILABLE if _INTERNAL.fullmatch(refusal.code) else None
    return _CODES.get(refusal.code, internal)


def failure(code: object, said: object, source: str, *, over: bool = False) -> AgentError:
    """Make the AgentError of a code inside a 200 or a stream; `over` where it ends a run that has a handle."""
    body = {"code": code, "msg": said}
    remark = failures.remark(body)
    kind = judge(Refusal(200, remark.code, remark.message, None)) or failures.kind_of(None, remark.code)
    error = failures.remote_error(body, json_text(body), source=source, kinds={remark.code: kind})
    error.over = over
    return error


def opened(body: Any, source: str) -> Mapping[str, Any]:
    """The envelope of a success. Raises AgentError for `{"code": 4000, "msg": …}`, which comes with HTTP 200 too."""
    match body:
        case {"code": 0}:
            envelope: Mapping[str, Any] = body
            return envelope
        case {"code": int() | str() as code}:
            raise failure(code, body.get("msg"), source)
    raise AgentError(
        ErrorKind.PROTOCOL, f"{source} did not answer in Coze's envelope; it began: {excerpt(json_text(body))}"
    )


async def ask(
    context: CallContext, request: AgentRequest, url: httpx.URL, then: Callable[[Any, dict[str, Any]], T]
) -> T:
    """GET what Coze knows; give what `then` makes of the envelope's `data` and of how it came. Raises AgentError."""
    async with exchange(context, request, "GET", url, judge=judge) as response:
        body = decode_json(await read(response, context.max_bytes), origin(url))
        return then(opened(body, origin(url)).get("data"), came(response, request))


def came(response: httpx.Response, request: AgentRequest) -> dict[str, Any]:
    """The fields of a result that tell of the exchange."""
    return {"http_status": response.status_code, "request_id": request_id(response, request)}


def usage_of(report: Any) -> Usage:
    """The tokens of `{"input_count": …, "output_count": …}`."""
    counts = report if isinstance(report, Mapping) else {}
    return unless_zero(read_usage(counts, given="input_count", made="output_count"))


def forgotten(source: str, error: AgentError) -> AgentError:
    """Make the AgentError of a run that Coze does not know any more."""
    why = f"{source} does not know the run any more; what became of it is unknown ({error.message})"
    return AgentError(
        ErrorKind.OUTCOME_UNKNOWN,
        why,
        http_status=error.http_status,
        request_id=error.request_id,
        conversation_id=error.conversation_id,
        over=True,
    )
