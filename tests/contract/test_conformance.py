"""What every adapter promises, whatever its platform: the matrix of adapters and faults over real sockets."""

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from core.outcome import ErrorKind, RemoteHandle
from tests.contract.cases import (
    IN_TIME,
    KEY,
    MAX_BYTES,
    RUN_ID,
    SHORT,
    Case,
    answer_to,
    attempt,
    every_asking,
    every_case,
    every_stream,
    failure_of,
    raised,
)
from tests.contract.fake_agent import REQUEST_ID, THROTTLES, FakeAgent
from tests.contract.fake_dialects import ANSWER, INPUT_TOKENS, OLD_ANSWER, OUTPUT_TOKENS
from tests.server_process import free_port


@every_case
def test_an_answer_comes_with_its_text_tokens_and_ids(case: Case) -> None:
    result, _ = answer_to(case)

    assert (result.status, result.text) == ("succeeded", ANSWER)
    assert (result.http_status, result.request_id) == (200, REQUEST_ID)
    counted = (INPUT_TOKENS, OUTPUT_TOKENS) if case.counts_tokens else (None, None)
    assert (result.usage.input_tokens, result.usage.output_tokens) == counted


@every_case
def test_every_request_names_the_run_and_carries_the_key(case: Case) -> None:
    _, fake = answer_to(case)

    assert fake.requests
    for request in fake.requests:
        assert request.headers["idempotency-key"] == request.headers["x-request-id"] == RUN_ID
        assert [header for header in request.headers.items() if KEY in header[1]] == [case.key_header]


@every_case
def test_content_in_blocks_is_one_text(case: Case) -> None:
    assert answer_to(case, "list")[0].text == ANSWER


@every_case
def test_characters_cut_by_chunks_are_whole_again(case: Case) -> None:
    assert answer_to(case, "split")[0].text == ANSWER


@every_case
def test_an_empty_answer_is_a_failure_except_for_a_plain_http_task(case: Case) -> None:
    if case.kind == "http":
        result, _ = answer_to(replace(case, options={}), "empty")
        assert (result.status, result.text, result.http_status) == ("succeeded", "", 200)
        return

    error = failure_of(case, "empty")

    assert error.kind is ErrorKind.EMPTY
    assert error.http_status == 200


@every_case
def test_an_error_inside_http_200_is_a_failure(case: Case) -> None:
    error = failure_of(case, "error_in_200")

    assert error.kind in {ErrorKind.REMOTE_FAILED, ErrorKind.UNAVAILABLE}
    assert error.http_status == 200
    assert any(said in error.message for said in ("处理请求时出错", "工具调用失败", "模型崩溃", "下游失败"))


@every_asking
def test_a_question_for_a_human_is_neither_success_nor_failure(case: Case) -> None:
    result, _ = answer_to(case, "requires_action")

    assert result.status == "requires_action"
    assert result.data == case.asks
    assert OLD_ANSWER not in result.text


@every_case
@pytest.mark.parametrize("fault", ["no_json", "wrong_shape"])
def test_what_the_platform_does_not_speak_is_no_answer(case: Case, fault: str) -> None:
    assert failure_of(case, fault).kind in {ErrorKind.PROTOCOL, ErrorKind.EMPTY}


@every_case
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.INVALID),
        (401, ErrorKind.AUTH),
        (402, ErrorKind.QUOTA),
        (403, ErrorKind.AUTH),
        (404, ErrorKind.NOT_FOUND),
        (409, ErrorKind.BUSY),
        (422, ErrorKind.INVALID),
        (500, ErrorKind.UNAVAILABLE),
        (503, ErrorKind.UNAVAILABLE),
        (529, ErrorKind.THROTTLED),
    ],
)
def test_a_refusal_keeps_its_status_words_and_kind(case: Case, status: int, kind: ErrorKind) -> None:
    error = failure_of(case, f"status:{status}")

    expected = case.refusals.get(status, kind)
    assert (error.kind, error.http_status, error.request_id) == (expected, status, REQUEST_ID)
    assert "拒绝" in error.message
    assert str(error) == error.message


THROTTLED: list[tuple[str, ErrorKind, float | None]] = [
    ("throttled_int", ErrorKind.THROTTLED, 17),
    ("throttled_float", ErrorKind.THROTTLED, 2.5),
    ("throttled_ms", ErrorKind.THROTTLED, 1.5),
    ("throttled_date", ErrorKind.THROTTLED, 120),
    ("throttled_negative", ErrorKind.THROTTLED, None),
    ("throttled_nan", ErrorKind.THROTTLED, None),
    ("throttled_bare", ErrorKind.THROTTLED, None),
    ("throttled_absurd", ErrorKind.QUOTA, 3600),
    ("quota", ErrorKind.QUOTA, 5),
]


@every_case
@pytest.mark.parametrize(("fault", "kind", "wait"), THROTTLED)
def test_429_is_throttling_or_quota_and_says_how_long(
    case: Case, fault: str, kind: ErrorKind, wait: float | None
) -> None:
    error = failure_of(case, fault)

    expected = case.bare_429 if kind is ErrorKind.THROTTLED and wait is None else kind
    assert (error.kind, error.http_status) == (expected, 429)
    assert error.retry_after == (None if wait is None else pytest.approx(wait, abs=1))


def test_every_throttle_of_the_fake_is_in_the_matrix() -> None:
    assert set(THROTTLES) <= {row[0] for row in THROTTLED}


@every_case
def test_a_gateway_page_is_told_by_its_title(case: Case) -> None:
    error = failure_of(case, "html_502")

    assert (error.kind, error.http_status) == (ErrorKind.UNAVAILABLE, 502)
    assert "502 Bad Gateway" in error.message
    assert "<" not in error.message


@every_case
@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_an_answer_that_breaks_off_leaves_the_outcome_unknown(case: Case, fault: str) -> None:
    assert failure_of(case, fault).kind is ErrorKind.OUTCOME_UNKNOWN


@every_stream
def test_a_stream_that_ends_politely_without_its_proof_is_no_answer(case: Case) -> None:
    assert failure_of(case, "clean_cut").kind is ErrorKind.OUTCOME_UNKNOWN


@every_case
def test_whatever_the_other_side_does_the_deadline_holds(case: Case) -> None:
    async def verdict(fault: str) -> None:
        async with FakeAgent(fault) as fake:
            began = time.monotonic()
            error = await raised(attempt(case, fake.url, timeout=SHORT))
            assert SHORT <= time.monotonic() - began < SHORT + 5, fault
            assert error.kind is ErrorKind.TIMEOUT, fault
            assert f"{SHORT:g} s" in error.message

    async def scene() -> None:
        await asyncio.gather(*map(verdict, ("drip", "stall", "silent", "heartbeats")))

    asyncio.run(scene())


@every_case
def test_a_huge_answer_is_refused_long_before_its_end(case: Case) -> None:
    error = failure_of(case, "huge", max_bytes=MAX_BYTES)

    assert error.kind is ErrorKind.PROTOCOL
    assert "65,536" in error.message


@every_case
def test_a_redirect_is_refused_and_names_the_target_without_its_query(case: Case) -> None:
    error = failure_of(case, "redirect")

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, 302)
    assert "http://127.0.0.1:9/elsewhere" in error.message
    assert "tok-in-url" not in error.message


@every_case
def test_a_refused_connection_says_that_nothing_was_sent(case: Case) -> None:
    error = asyncio.run(raised(attempt(case, f"http://127.0.0.1:{free_port()}")))

    assert error.kind is ErrorKind.CONNECT
    assert "nothing was sent" in error.message


@every_case
@pytest.mark.parametrize("fault", ["ok", "echo_key", "status:401", "cut", "no_json"])
def test_the_key_shows_in_no_error_and_no_log(case: Case, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    if fault == "ok":
        answer_to(case)
    else:
        error = failure_of(case, fault)
        told = f"{error!r} {error} {error.args} {error.__cause__!r} {error.__context__!r}"
        assert KEY[:12] not in told
        assert "token" not in told

    assert KEY[:12] not in caplog.text


@every_case
def test_a_cancelled_call_ends_at_once_and_hangs_up(case: Case) -> None:
    async def scene() -> None:
        async with FakeAgent("silent") as fake:
            task = asyncio.create_task(attempt(case, fake.url))
            async with asyncio.timeout(IN_TIME):
                await fake.asked.wait()
                began = time.monotonic()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert time.monotonic() - began < 5
                await fake.gone.wait()

    asyncio.run(scene())


@every_case
@pytest.mark.parametrize(("fault", "told"), [("silent", {"at first"}), ("stall", {"at first", "in the head"})])
def test_a_handle_is_known_before_the_answer(case: Case, fault: str, told: set[str]) -> None:
    handles: list[RemoteHandle] = []
    timeout = 2.0 if case.handle == "in the head" and fault == "stall" else SHORT  # it takes more than one request
    error = failure_of(case, fault, timeout=timeout, handles=handles)

    assert error.kind is ErrorKind.TIMEOUT
    assert [handle.resumable for handle in handles] == ([case.resumable] if case.handle in told else [])
