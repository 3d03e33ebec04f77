"""When a failed run may be called again. Pure; the wait becomes a `ready_at` in the ledger."""

from datetime import timedelta
from hashlib import blake2b

from core.outcome import RESUMABLE, ErrorKind

MAX_RESUMES = 20
MAX_RETRY_AFTER = 3600.0  # a platform that asks for more than an hour is out of quota, not busy


def may_retry(kind: ErrorKind, attempt: int, max_retries: int, retry_after: float | None = None) -> bool:
    """Tell whether attempt number `attempt` (1 = first) may be followed by another."""
    too_long = retry_after is not None and retry_after > MAX_RETRY_AFTER
    return kind.retryable and attempt <= max_retries and not too_long


def may_resume(kind: ErrorKind, attempt: int, retry_after: float | None = None) -> bool:
    """Tell whether the attempt after number `attempt` may go on with the remote run, whatever `max_retries` says.

    It calls nobody again, so only its number is bounded.
    """
    too_long = retry_after is not None and retry_after > MAX_RETRY_AFTER
    return kind in RESUMABLE and attempt <= MAX_RESUMES and not too_long


def backoff(
    run_id: str, attempt: int, base: float, cap: float, retry_after: float | None = None, kind: ErrorKind | None = None
) -> timedelta:
    """Wait before the attempt that follows `attempt`: base doubled each time, at most `cap`, in seconds.

    The jitter takes off up to a half and is derived from run and attempt, so every process computes the
    same instant. A platform's Retry-After is a floor. A lost worker is no fault of the agent: no wait.
    """
    if kind is ErrorKind.WORKER_LOST:
        return timedelta()
    full = min(cap, base * 2.0 ** min(attempt - 1, 32))
    seconds = full * (1 - derived_fraction(f"{run_id}:{attempt}") / 2)
    return timedelta(seconds=max(seconds, retry_after or 0.0))


def derived_fraction(key: str) -> float:
    """Spread keys evenly over [0, 1): the same key gives the same number everywhere, always."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") / 2**32
