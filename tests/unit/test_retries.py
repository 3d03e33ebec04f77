"""When a failed run may be called again, and how long it waits."""

from datetime import timedelta

import pytest

from core.outcome import RESUMABLE, RETRYABLE, ErrorKind
from core.retries import MAX_RESUMES, MAX_RETRY_AFTER, backoff, derived_fraction, may_resume, may_retry

RUN = "0190b6a0-0000-7000-8000-000000000001"


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_what_may_end_differently_is_called_again(kind: ErrorKind) -> None:
    assert may_retry(kind, 1, 5) == kind.retryable == (kind in RETRYABLE)


@pytest.mark.parametrize(
    "kind",
    [ErrorKind.CONFIG, ErrorKind.AUTH, ErrorKind.NOT_FOUND, ErrorKind.INVALID, ErrorKind.QUOTA, ErrorKind.PROTOCOL,
     ErrorKind.CANCELLED, ErrorKind.INTERNAL],
)  # fmt: skip
def test_what_calling_again_cannot_mend_is_never_retried(kind: ErrorKind) -> None:
    assert not may_retry(kind, 1, 100)


@pytest.mark.parametrize(
    ("attempt", "max_retries", "allowed"), [(1, 0, False), (1, 1, True), (2, 1, False), (3, 3, True), (4, 3, False)]
)
def test_max_retries_counts_the_calls_after_the_first(attempt: int, max_retries: int, *, allowed: bool) -> None:
    assert may_retry(ErrorKind.TIMEOUT, attempt, max_retries) is allowed


@pytest.mark.parametrize("kind", ErrorKind)
def test_a_remote_run_is_resumed_twenty_times_after_what_says_nothing_of_its_end(kind: ErrorKind) -> None:
    assert may_resume(kind, MAX_RESUMES) == (kind in RESUMABLE)
    assert not may_resume(kind, MAX_RESUMES + 1)
    assert not may_resume(kind, 1, retry_after=MAX_RETRY_AFTER + 1)


def test_a_platform_that_asks_for_more_than_an_hour_is_not_called_again() -> None:
    assert may_retry(ErrorKind.THROTTLED, 1, 3, retry_after=MAX_RETRY_AFTER)
    assert not may_retry(ErrorKind.THROTTLED, 1, 3, retry_after=MAX_RETRY_AFTER + 0.001)
    assert not may_retry(ErrorKind.THROTTLED, 1, 3, retry_after=float("inf"))


def test_the_wait_doubles_up_to_its_cap_less_at_most_a_half() -> None:
    for attempt, full in enumerate([2, 4, 8, 16, 32, 60, 60, 60], start=1):
        wait = backoff(RUN, attempt, base=2, cap=60).total_seconds()
        assert full / 2 <= wait <= full


def test_a_lost_worker_costs_no_wait_whatever_else_is_asked() -> None:
    assert backoff(RUN, 9, 60, 600, retry_after=30, kind=ErrorKind.WORKER_LOST) == timedelta()


def test_retry_after_is_a_floor_above_the_cap_too() -> None:
    assert backoff(RUN, 1, 2, 10, retry_after=120) == timedelta(seconds=120)
    assert backoff(RUN, 9, 2, 600, retry_after=1) >= timedelta(seconds=256)


def test_without_a_base_there_is_no_wait() -> None:
    assert backoff(RUN, 50, base=0, cap=600) == timedelta()


@pytest.mark.parametrize("attempt", [33, 100, 10**6])
def test_a_great_many_attempts_do_not_overflow(attempt: int) -> None:
    assert backoff(RUN, attempt, 86400, 86400) <= timedelta(days=1)


def test_the_wait_is_pinned_so_that_another_version_computes_the_same() -> None:
    waits = [round(backoff(RUN, attempt, 2, 600).total_seconds(), 6) for attempt in (1, 2, 3)]

    assert waits == [1.941034, 2.757316, 4.842336]
    assert derived_fraction("") == 0.07204908994026482
