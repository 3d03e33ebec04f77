"""The lookout: what no tick sees. One beat at a time looks at it, in a thread, in small pieces with rests between.

It writes hints about rows beside each other and about calendars whose data ends, sends rows back to arming whose
`next_run_at` was emptied by hand, and completes runs cancelled by hand. It waits for no lock: what somebody holds is
left for the next look.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import Final, TypeVar

from sqlalchemy import Engine

from core.calendars import Overrides, data_ends_on, ends_soon
from core.hints import crowd_hint, twin_hint, with_neighbours
from store import calendar_days, leases, lookout, runs, schedules
from store.database import AnyRow, autocommit, read_clock, transaction

logger = logging.getLogger("lookout")

EVERY: Final = timedelta(minutes=10)
ALARM_EVERY: Final = timedelta(days=1)
PIECE: Final = 5000  # rows of one read
BATCH: Final = 200  # rows of one write
REST: Final = 0.05  # seconds between pieces, for those who work
ROWS_A_LOOK: Final = 200_000  # further rows have their turn at the next look
WRITES_A_LOOK: Final = 5000
CANCELLED: Final = 2000
CANCELLED_FOR: Final = timedelta(days=7)

T = TypeVar("T")


class Lookout:
    """Looks around in a thread of its own; `look` is one look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopping = Event()
        self._seen_until: datetime | None = None
        self._silent_until = 0

    def close(self) -> None:
        """Look no further."""
        self._stopping.set()

    def look(self, overrides: Overrides) -> None:
        """Complete cancelled runs; where it is this beat's turn, look at all the rest too."""
        self.complete_cancelled()
        with transaction(self._engine) as tx:
            is_ours = leases.take_turn(tx, "lookout", EVERY)
        for step in (self.wake_silenced, partial(self.warn_of_calendars, overrides), self.compare_rows):
            if is_ours and not self._stopping.is_set():
                step()

    def complete_cancelled(self) -> int:
        """Give runs their end that were set to REVOKED by hand before a worker met them."""
        with autocommit(self._engine) as connection:
            since = read_clock(connection) - CANCELLED_FOR
            found = lookout.cancelled_without_end(connection, since, CANCELLED)
            return sum(runs.complete_cancelled(connection, run_id) for run_id in found)

    def wake_silenced(self) -> int:
        """Send enabled rows back to arming that have neither a next moment nor a reason to have none."""
        woken = 0
        for _ in range(ROWS_A_LOOK // PIECE):
            with autocommit(self._engine) as connection:
                piece = lookout.silenced(connection, self._silent_until, PIECE)
            for ids in _batches(piece.ids):
                with transaction(self._engine) as tx:
                    free = lookout.still_silenced(tx, ids)
                    schedules.mark_for_arming(tx, free)
                woken += len(free)
                if free:
                    logger.warning("next_run_at was emptied by hand in rows %s: they are armed again", _listed(free))
            self._silent_until = piece.last or 0
            if piece.last is None or self._rest():
                break
        return woken

    def warn_of_calendars(self, overrides: Overrides) -> None:
        """Say which calendars' data ends soon and which days have no calendar: in hints, to the API, in the log."""
        with autocommit(self._engine) as connection:
            today, used = read_clock(connection).date(), calendar_days.in_use(connection, overrides)
        for each in used:
            if ends_soon(each.end, today):
                self._check_rows_of(each.value, data_ends_on(each.end))
        noted = calendar_days.Noted({each.name: each.end for each in used}, calendar_days.unknown(overrides))
        remarks = noted.remarks(today)
        with transaction(self._engine) as tx:
            is_new = calendar_days.read_noted(tx).remarks(today) != remarks
            is_time = leases.take_turn(tx, "calendar_alarm", ALARM_EVERY)
            calendar_days.write_noted(tx, noted)
        for remark in remarks if is_new or is_time else ():
            logger.warning("calendars: %s", remark)

    def _check_rows_of(self, calendar: str, words: str) -> None:
        last: int | None = 0
        while last is not None:
            with autocommit(self._engine) as connection:
                ids, last = lookout.without_words(connection, calendar, words, last, PIECE)
            for some in _batches(ids):
                with transaction(self._engine) as tx:
                    schedules.mark_for_checking(tx, lookout.unlocked(tx, some))
            if self._rest():
                return

    def compare_rows(self) -> int:
        """Write and remove the hints about crowds and twins; return how many rows were written."""
        written = 0
        for _ in range(ROWS_A_LOOK // PIECE):
            with autocommit(self._engine) as connection:
                until = lookout.end_of_piece(connection, self._seen_until, PIECE)
                rows = [] if until is None else lookout.neighbours(connection, self._seen_until, until, PIECE)
            wanted = {row.id: _words(row) for row in rows}
            differing = [row for row in rows if with_neighbours(row.hint, wanted[row.id]) != row.hint]
            for some in _batches(differing):
                written += self._write(some, wanted)
            self._seen_until = until
            if until is None or written >= WRITES_A_LOOK or self._rest():
                break
        if written:
            logger.info("%d rows got or lost a hint about other rows", written)
        return written

    def _write(self, rows: Sequence[AnyRow], words: Mapping[int, list[str]]) -> int:
        with transaction(self._engine) as tx:
            free = lookout.lock_hints(tx, {row.id: row.next_run_at for row in rows})
            hints = [{"id": row.id, "hint": with_neighbours(row.hint, words[row.id])} for row in free]
            schedules.set_hints(tx, hints)
        return len(hints)

    def _rest(self) -> bool:
        """True: stop."""
        return self._stopping.wait(REST)


def _words(row: AnyRow) -> list[str]:
    crowd = [crowd_hint(row.crowd)] if row.crowd is not None else []
    return crowd + ([twin_hint(row.twin)] if row.twin is not None else [])


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _listed(ids: Sequence[int]) -> str:
    """Name the first few."""
    more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
    return ", ".join(map(str, ids[:10])) + more
