"""How much work a question about moments may cost: a bound on all that is searched on the way to its answer.

Pure code has no clock to go by, so it counts steps: one is what a step of an RRULE's walk costs, about 3 µs. Bounds
nest, and whichever is used up first ends the search.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from core.cadence import CadenceError

QUESTION: Final = 20  # steps that a question to a crontab counts as: 25 to 95 µs


class TooLong(CadenceError):
    """A search took more steps than it may; useful rules need far fewer."""


@dataclass(slots=True)
class Bound:
    """The steps that are left. Below 0 it is this bound, or one around it, that ended the search."""

    left: int
    outer: "Bound | None"


_innermost: ContextVar[Bound | None] = ContextVar("bound", default=None)


@contextmanager
def at_most(steps: int) -> Iterator[Bound]:
    """Bound what is searched within: beyond it TooLong is raised there."""
    bound = Bound(steps, _innermost.get())
    token = _innermost.set(bound)
    try:
        yield bound
    finally:
        _innermost.reset(token)


def spend(steps: int = 1) -> None:
    """Count steps of a search. Raises TooLong where a bound is used up."""
    bound, used_up = _innermost.get(), False
    while bound is not None:
        bound.left -= steps
        used_up = used_up or bound.left < 0
        bound = bound.outer
    if used_up:
        raise TooLong("the search for its moments takes too many steps; write the schedule more simply")
