"""The failure tables: complete, and right about what may be tried again."""

import asyncio
import random
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import httpx_sse
import pytest

from core.outcome import AgentError, ErrorKind
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.content import EXCERPT_CHARS, decode_json, excerpt, json_text, plain_text, redacted
from providers.failures import EXCEPTION_KINDS, classify, from_exception, kind_of, remark, remote_error, retry_after
from providers.http import Client
from tests.contract.cases import KEY, Case, endpoint_of, every_case
from tests.contract.fake_dialects import sse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HTTPX_EXCEPTIONS = [
    member
    for module in (httpx, httpx_sse)
    for member in vars(module).values()
    if isinstance(member, type) and issubclass(member, Exception)
]


def made(exception: type[Exception]) -> Exception:
    """An instance, whatever its constructor asks for."""
    error = exception.__new__(exception)
    Exception.__init__(error, "why")
    return error


@pytest.mark.parametrize("exception", HTTPX_EXCEPTIONS)
def test_every_exception_of_httpx_has_a_row_of_its_own(exception: type[Exception]) -> None:
    assert exception in EXCEPTION_KINDS

    error = from_exception(made(exception), source="http://host:80")
    assert error.kind is EXCEPTION_KINDS[exception][0]
    assert error.message.startswith("http://host:80: ")


def test_only_a_failed_connection_claims_that_nothing_was_sent() -> None:
    claims = {exception for exception, (_, words) in EXCEPTION_KINDS.items() if "nothing was sent" in words}

    assert claims == {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError}
    assert {EXCEPTION_KINDS[exception][0] for exception in claims} == {ErrorKind.CONNECT}


def test_an_untrusted_certificate_is_a_matter_of_configuration() -> None:
    cause = ssl.SSLCertVerificationError("certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("tls")
    error.__cause__ = cause

    found = from_exception(error, source="https://host:443")
    assert found.kind is ErrorKind.CONFIG
    assert "self-signed certificate" in found.message


def test_no_status_is_without_a_verdict() -> None:
    for status in [*range(100, 200), *range(300, 600)]:
        kind = kind_of(status)
        assert kind in ErrorKind
        assert kind.retryable == (status in {408, 409, 425, 429} or (status >= 500 and status != 501)), status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "17"}, 17),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, None),
        ({"retry-after": "Sun, 01 Mar 2026 12:01:30 -0000"}, 90),
        ({"retry-after": "Sun, 99 Mar 2026 12:01:30 GMT"}, None),
        (
            {
                "date": format_datetime(NOW + timedelta(hours=8), usegmt=True),
                "retry-after": format_datetime(NOW + timedelta(hours=8, seconds=5), usegmt=True),
            },
            5,
        ),
    ],
)
def test_retry_after_in_all_its_spellings(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_no_retry_after_header_can_raise() -> None:
    alphabet = "0123456789 :,+-GMTSunMar.eE/\x7f日"
    dice = random.Random(7)
    for _ in range(3000):
        value = "".join(dice.choices(alphabet, k=dice.randint(0, 30)))
        wait = retry_after({"retry-after": value, "date": value[::-1]}, NOW)
        assert wait is None or wait > 0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_request_error", ErrorKind.AUTH),
        (404, "invalid_request_error", ErrorKind.NOT_FOUND),
        (429, "tokens rate_limit_exceeded", ErrorKind.THROTTLED),
        (429, "insufficient_quota insufficient_quota", ErrorKind.QUOTA),
        (403, "insufficient_user_quota", ErrorKind.QUOTA),
        (403, "insufficient_permissions", ErrorKind.AUTH),
        (400, "conversation_locked", ErrorKind.BUSY),
        (503, "overloaded_error", ErrorKind.THROTTLED),
        (400, "throttling.ratequota", ErrorKind.THROTTLED),
    ],
)
def test_a_telling_code_refines_a_status_and_no_other_does(status: int, code: str, kind: ErrorKind) -> None:
    assert kind_of(status, code) is kind


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "m", "type": "t", "code": 429}}, "t 429", "m"),
        ({"error": "m"}, "", "m"),
        ({"error": "ValueError", "message": "m"}, "", "m"),
        ({"code": "not_found", "message": "m", "status": 404}, "not_found", "m"),
        ({"status": "error", "msg": "m", "data": None, "code": 461}, "461", "m"),
        ({"detail": "m"}, "", "m"),
        ({"detail": [{"loc": ["body", "user"], "msg": "m"}, "n"]}, "", "body.user: m; n"),
        ({"detail": {"text": "m"}}, "", "m"),
        ([1], "", "raw"),
        ("said", "", "said"),
        (None, "", "raw"),
        ({}, "", "raw"),
    ],
)
def test_code_and_sentence_are_found_in_every_usual_shape(body: object, code: str, message: str) -> None:
    assert remark(body, "raw") == (code, message)


def test_an_excerpt_is_short_and_in_one_line() -> None:
    assert len(excerpt("很长\n" * 1000)) == EXCERPT_CHARS
    assert excerpt("a\r\n\tb\x1b[31m\u202ec") == "a b [31m c"
    assert excerpt("<!DOCTYPE html><html><title>\n Bad\nGateway </title>") == "an HTML page titled “Bad Gateway”"
    error = classify(500, {}, None, "x" * 5000, source="http://host:80", now=NOW)
    assert len(error.message) < 500


@pytest.mark.parametrize("echo", [KEY, f"Bearer {KEY}", KEY[:20] + "…", f'"{KEY}"', f"x={KEY};"])
def test_a_secret_is_redacted_however_it_is_echoed(echo: str) -> None:
    assert KEY[:12] not in redacted(f"bad key {echo} given", [KEY])
    assert redacted(f"bad key {echo} given", [KEY]).endswith("given")


def test_a_short_or_quoted_secret_is_redacted_and_none_at_all_does_no_harm() -> None:
    assert redacted("key is s3", ["s3"]) == "key is [redacted]"
    assert redacted(json_text('he"y/ö'), ['he"y/ö']) == '"[redacted]"'
    assert redacted("plain words", ["", "  "]) == "plain words"


def test_content_is_text_whatever_its_shape() -> None:
    assert plain_text([{"type": "text", "text": "a"}, "b", {"type": "image"}, {"text": {"value": "c"}}, None]) == "abc"
    assert plain_text(None) == plain_text({"x": 1}) == plain_text(3) == ""


def test_what_json_decodes_can_always_be_stored() -> None:
    value = decode_json('{"a": "\\ud83d\\ude00 \\ud83d", "b": ["\\udc00"]}', "x")

    assert value == {"a": "😀 \ufffd", "b": ["\ufffd"]}
    json_text(value).encode()
    for broken in ("[" * 100_000, "NaN", "[Infinity]", '{"a": 1', ""):
        with pytest.raises(Exception, match="did not answer in JSON") as refused:
            decode_json(broken, "x")
        assert len(str(refused.value)) < 400


def odd_bodies() -> Iterator[object]:
    """Answers that are nearly right: each value of a good one replaced by something else."""
    odd: list[object] = [None, 0, -1.5, True, "", "x", [], [[]], [{}], {}, {"status": []}, {"error": {"code": []}}]
    yield from odd
    for key in ("status", "data", "choices", "messages", "usage", "error", "code", "detail", "result", "answer"):
        for value in odd:
            yield {key: value}
            yield {"status": "ok", "data": {key: value}}
            yield {"choices": [{"message": {key: value}, "delta": {key: value}, "finish_reason": value}]}
            yield {"choices": [{"delta": {"tool_calls": [{"index": value, "function": {"name": value}}]}}]}
            yield {"messages": [{"type": value, "content": value, "usage_metadata": {key: value}}, value]}
            yield {"status": "error", "code": value, "msg": value}


def odd_answers(case: Case) -> Iterator[httpx.Response]:
    for body in odd_bodies():
        text = json_text(body)
        yield httpx.Response(200, text=text, headers={"content-type": "application/json"})
        yield httpx.Response(400, text=text, headers={"content-type": "application/json"})
        if case.streams:
            frames = [sse("values", text), sse("updates", text), sse("", text), sse("end", text)]
            for stream in (b"".join(frames), sse("error", text)):
                yield httpx.Response(200, content=stream, headers={"content-type": "text/event-stream"})


async def verdict(case: Case, context: CallContext) -> str:
    try:
        return (await call(registry.get(case.provider), context, case.request("http://127.0.0.1:9"))).status
    except AgentError as error:
        return error.kind


@every_case
def test_no_answer_however_odd_is_a_defect_of_ours(case: Case) -> None:
    endpoint = endpoint_of(case, "http://127.0.0.1:9")

    async def scene() -> None:
        for answer in odd_answers(case):
            transport = httpx.MockTransport(lambda _, answer=answer: answer)
            async with Client(endpoint, transport) as client:
                context = CallContext(client, endpoint, 10_000, allowed_hosts=("127.0.0.1",))
                assert await verdict(case, context) is not ErrorKind.INTERNAL, answer.content

    asyncio.run(scene())


def test_an_error_object_that_says_nothing_is_still_an_error() -> None:
    bodies: list[object] = [{}, None, [], "x", {"error": {}}, {"error": None}]
    for body in bodies:
        assert remote_error(body, "", source="x").kind is ErrorKind.REMOTE_FAILED
