"""A range of past moments before it is backfilled: whether it can be, what it comes to, and entering it."""

from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from beat.backfill import looked_at
from core.arming import Surroundings, cadence_of, what_is_wrong
from core.cadence import MICROSECOND, Cadence, CadenceError
from store import backfills
from store.backfills import AlreadyOpen
from store.database import AnyRow

COUNTED: Final = 10_000  # moments that a count looks at, or as many as COUNT_SECONDS allow
COUNT_SECONDS: Final = 10.0


class CannotBackfill(Exception):
    """A range cannot be backfilled; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Range:
    """Moments of one row, both bounds inclusive, of which `first` is the first."""

    row: AnyRow
    cadence: Cadence
    since: datetime
    until: datetime
    first: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """How many moments a range has, and how many of them need no run; `is_whole` False: it has more than that."""

    moments: int
    left_out: int
    is_whole: bool


def read_range(tx: Connection, row: AnyRow, around: Surroundings, since: datetime, until: datetime) -> Range:
    """Find a sound row's first moment of a range. Raises CannotBackfill."""
    problems = what_is_wrong(row, around)
    if problems:
        raise CannotBackfill(f"row {row.id} {row.name!r} is broken, mend it first: {'; '.join(problems)}")
    unfinished = backfills.open_of(tx, row.id)
    if unfinished is not None:
        raise CannotBackfill(_is_open(f"backfill {unfinished}", row))
    cadence = cadence_of(row, around.zone, around.overrides)
    try:
        first = cadence.after(since - MICROSECOND)
    except CadenceError as error:
        raise CannotBackfill(f"row {row.id} {row.name!r} cannot be searched: {error}") from error
    if first is None or first > until:
        raise CannotBackfill(
            f"row {row.id} {row.name!r} has no moment between the two; look: "
            f"python -m scripts.preview {row.id} --from {since:%Y-%m-%d}"
        )
    return Range(row, cadence, since, until, first)


def count(tx: Connection, wanted: Range) -> Count:
    """Count a range's moments, up to COUNTED or for COUNT_SECONDS."""
    seen, needless, begin = 0, 0, monotonic()
    following: datetime | None = wanted.first
    while following is not None and following <= wanted.until:
        if seen >= COUNTED or monotonic() - begin > COUNT_SECONDS:
            return Count(seen, needless, is_whole=False)
        moments, following = looked_at(wanted.cadence, following, wanted.until)
        seen += len(moments)
        needless += len(backfills.occupied(tx, wanted.row.id, moments[0], moments[-1]) & set(moments))
    return Count(seen, needless, is_whole=True)


def enter(tx: Connection, wanted: Range, *, at_a_time: int) -> int:
    """Enter the backfill; beat carries it out. Raises CannotBackfill."""
    try:
        return backfills.create(tx, wanted.row, wanted.first, (wanted.since, wanted.until), at_a_time=at_a_time)
    except AlreadyOpen:  # another start was faster
        raise CannotBackfill(_is_open("another backfill", wanted.row)) from None


def _is_open(name: str, row: AnyRow) -> str:
    return f"{name} of row {row.id} {row.name!r} has not finished; wait for it, or cancel it"
