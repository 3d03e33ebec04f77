"""Limits that stop a Celery task: in a process of a prefork worker, where the task has the main thread."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from celery.exceptions import SoftTimeLimitExceeded

logger = logging.getLogger("worker")

OVER_TIME = 75  # EX_TEMPFAIL; the pool starts another process


@contextmanager
def time_limits(name: str, soft: float | None, hard: float) -> Iterator[None]:
    """After `soft` seconds raise SoftTimeLimitExceeded in the body; after `hard` seconds end the process.

    The ledger then gives the run its end or another attempt, as for any lost worker. In a thread nothing can be
    stopped: there the deadline ends the run in the ledger, and not the code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_over = False

    def stop(_: int, __: FrameType | None) -> None:
        if not is_over:
            raise SoftTimeLimitExceeded(soft)

    def end() -> None:
        logger.error("%s is not over after %g s: its process ends", name, hard)
        os._exit(OVER_TIME)  # nothing less ends code that waits inside a library

    ender = threading.Timer(hard, end)
    ender.daemon = True
    before = signal.signal(signal.SIGALRM, stop)
    ender.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, soft or 0)
        try:
            yield
        finally:
            is_over = True
    finally:  # the alarm, which may ring in the line above, rings once: nothing keeps this from being done
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        ender.cancel()
