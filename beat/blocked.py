"""Due rows that never fire because another session holds them: which session, for how long, and how many rows.

SKIP LOCKED passes over such rows without a word. On SQLite, which has no row locks, there is nothing to find.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Thread
from time import monotonic, sleep
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from store import blocking, notices
from store.database import ACCESS_DENIED, autocommit, error_code, is_contention, read_clock, transaction
from store.notices import HeldRows, Session
from trouble import Trouble

logger = logging.getLogger("blocked")

LATE: Final = timedelta(seconds=2.5)
HOLDER_AGE: Final = 5  # seconds; the server drops the session of a frozen beat before
SAMPLES: Final = 3  # rows whose holder is looked for: the oldest, the newest and one between
NAME_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.35  # the server renews its list of locks only where nobody read it for 0.1 s
NO_RIGHT: Final = (
    "to name the session, grant the account of DATABASE_URL the PROCESS privilege as in deploy/mysql/grants.sql"
)


class HeldRowsWatch:
    """Looks every few seconds and remembers what it saw the last time. `engine`: five connections, lock wait 1 s."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._seen: dict[int, datetime] = {}
        self._published = False
        self._trouble = Trouble(logger, "no due row is held by another session any more")

    def look(self) -> None:
        """Find held rows, and tell of them in the log and in `scheduler_state`."""
        held = self.find()
        if held is not None:
            mend = "; COMMIT or ROLLBACK there, or KILL the session" if held.sessions else ""
            self._trouble.goes_on(f"{held}{mend}", frozenset(session.id for session in held.sessions))
        else:
            self._trouble.is_over()
        if held is not None or self._published:
            with transaction(self.engine) as tx:
                notices.write_held(tx, held)
            self._published = held is not None

    def find(self) -> HeldRows | None:
        """Name who holds due rows, or keeps their runs from being written; None where nobody does."""
        with autocommit(self.engine) as connection:
            now = read_clock(connection)
            overdue = blocking.overdue(connection, now - LATE)
            # Rows that moved on since the last look are being worked off.
            stuck = [task for task, moment in overdue.items() if self._seen.get(task) == moment]
            self._seen = overdue
            if not stuck:
                return None
            free = blocking.lockable(connection, stuck)
            held = [task for task in stuck if task not in free]
            sessions, note = self._name(held)
            if not sessions and not note:
                return None
            rows = held or stuck
            oldest = (now - overdue[rows[0]]).total_seconds()
            return HeldRows(len(rows), oldest, sessions, note)

    def _name(self, held: Sequence[int]) -> tuple[list[Session], str]:
        """Wait for a few of the rows, so that the server lists their locks, and read the list meanwhile.

        Where no row is held, the fires that fail wait themselves, for another lock: an INSERT for a gap, say.
        """
        samples = sorted({held[0], held[len(held) // 2], held[-1]})[:SAMPLES] if held else []
        in_vain: list[int] = []
        waiters = [Thread(target=self._wait_for, args=(task, in_vain), daemon=True) for task in samples]
        for waiter in waiters:
            waiter.start()
        found: dict[int, Session] = {}
        note, until = "", monotonic() + NAME_SECONDS
        with autocommit(self.engine) as connection:
            while monotonic() < until and (any(waiter.is_alive() for waiter in waiters) or not (waiters or found)):
                sleep(LOOK_SECONDS)
                try:
                    found |= {each.id: each for each in blocking.holders(connection, HOLDER_AGE)}
                except DBAPIError as error:
                    if error_code(error) not in ACCESS_DENIED:
                        raise
                    note = NO_RIGHT
                    break
        for waiter in waiters:
            waiter.join(NAME_SECONDS)
        return list(found.values()), note if in_vain and not found else ""

    def _wait_for(self, task: int, in_vain: list[int]) -> None:
        try:
            with autocommit(self.engine) as connection:
                blocking.wait_for(connection, task)
        except DBAPIError as error:
            if is_contention(error):
                in_vain.append(task)
