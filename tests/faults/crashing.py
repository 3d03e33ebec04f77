"""Crash points: `python -m tests.faults.crashing after_claim:3 run_beat.py` dies at the third claim, without a word.

`os._exit` runs no handler, flushes nothing and closes no transaction: to the others it looks like SIGKILL at exactly
this line. With `after_claim:3:freeze` the process stops itself there instead (SIGSTOP), with all that it holds.
A name that the product no longer has ends the process with exit code 3 at its start.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from itertools import count
from typing import Any, Final

from tests.faults.launch import replace, run_program

CRASHED: Final = 137
UNKNOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """Die before or after the n-th call of a function, named "module:name" as its callers find it."""

    target: str
    after: bool


TICK: Final = {
    "before_claim": Point("store.schedules:take_due", after=False),
    "in_rescue": Point("attempts:fail", after=True),
    "after_judging": Point("store.leases:remove_expired", after=True),
    "after_claim": Point("store.schedules:take_due", after=True),
    "after_insert": Point("beat.firing:_move_on", after=False),
    "before_commit": Point("beat.firing:_move_on", after=True),
    "after_commit": Point("beat.publisher:Publisher.hand_over", after=False),
    "after_hand_over": Point("beat.publisher:Publisher.hand_over", after=True),
    "before_send": Point("broker:Sender.send", after=False),
    "after_send": Point("broker:Sender.send", after=True),
    "after_mark": Point("store.runs:mark_queued", after=True),
    "before_arming": Point("store.schedules:set_armed", after=False),
    "after_arming": Point("store.schedules:set_armed", after=True),
}
RUN: Final = {
    "before_run_claim": Point("store.runs:claim", after=False),
    "after_run_claim": Point("store.runs:claim", after=True),
    "before_claims": Point("store.run_batches:claim_locked", after=False),
    "after_claims": Point("store.run_batches:claim_locked", after=True),
    "before_call": Point("worker.runtime:WorkerRuntime.call", after=False),
    "after_answer": Point("worker.runtime:WorkerRuntime.call", after=True),
    "before_finish": Point("store.runs:finish", after=False),
    "after_finish": Point("store.runs:finish", after=True),
    "before_ends": Point("store.run_batches:finish_locked", after=False),
    "after_ends": Point("store.run_batches:finish_locked", after=True),
    "after_outcome": Point("store.schedules:record_outcome", after=True),
    "before_retry": Point("store.runs:retry_later", after=False),
    "after_retry": Point("store.runs:retry_later", after=True),
    "before_renewal": Point("store.leases:renew_worker", after=False),
    "after_renewal": Point("store.leases:renew_worker", after=True),
}
POINTS: Final = TICK | RUN


def dying(point: Point, nth: int, die: Callable[[], None]) -> Callable[[Any], Any]:
    """Make a wrapper that ends the process before or after the nth call."""
    calls = count(1)

    def wrap(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            is_last = next(calls) == nth
            if is_last and not point.after:
                die()
            try:
                return function(*args, **kwargs)
            finally:  # a call that raises has been made too
                if is_last and point.after:
                    die()

        return call

    return wrap


def crash() -> None:
    os._exit(CRASHED)


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def main(arguments: list[str]) -> None:
    name, nth, how = (*arguments[0].split(":"), "1", "")[:3]
    point = POINTS[name]
    try:
        replace(point.target, dying(point, int(nth), freeze if how == "freeze" else crash))
    except AttributeError as error:
        sys.stderr.write(f"crash point {name}: {error}\n")
        sys.exit(UNKNOWN)
    run_program(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
