"""What beats notice and every process may read: rows that are held, queues that stand still. JSON in `scheduler_state`.

A notice that no beat renewed for FRESH counts as over: the beat that wrote it may be gone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from store import leases

FRESH: Final = timedelta(seconds=30)
HELD, STALLED = "held_rows", "stalled_queues"


@dataclass(frozen=True, slots=True)
class Session:
    """A database session whose transaction holds rows. `user` None: nobody told."""

    id: int
    user: str | None
    host: str | None
    age_seconds: int
    rows_locked: int
    command: str | None

    def __str__(self) -> str:
        return (
            f"session {self.id} of {self.user or '?'}@{self.host or '?'}, open for {self.age_seconds} s, "
            f"{self.rows_locked} row locks ({self.command or '?'})"
        )


@dataclass(frozen=True, slots=True)
class HeldRows:
    """Due rows that cannot fire because of locks of other sessions. `note`: why no session is named."""

    rows: int
    oldest_seconds: float
    sessions: Sequence[Session]
    note: str = ""

    def __str__(self) -> str:
        named = "; ".join(str(session) for session in self.sessions) or self.note
        return f"{self.rows} due rows cannot fire, the oldest for {self.oldest_seconds:.0f} s: {named}"


@dataclass(frozen=True, slots=True)
class StalledQueue:
    """A queue from which nothing was taken for `seconds`. `workers`: those with a free slot; none: nobody serves it."""

    queue: str
    messages: int
    seconds: float
    workers: Sequence[str]

    def __str__(self) -> str:
        free = f"{', '.join(self.workers)} have free slots" if self.workers else "no living worker serves it"
        return f"{self.queue}: {self.messages} messages, the next one waits for {self.seconds:.0f} s, {free}"


@dataclass(frozen=True, slots=True)
class Notices:
    """What is the matter now. `unread`: a beat of another version wrote it, in words that this one does not know."""

    held: HeldRows | None = None
    stalled: Sequence[StalledQueue] = ()
    unread: bool = False


def write_held(tx: Connection, held: HeldRows | None) -> None:
    """Replace what is known of held rows; None: nothing is held. Primary key."""
    leases.write_state(tx, HELD, json.dumps(asdict(held)) if held else "")


def write_stalled(tx: Connection, stalled: Sequence[StalledQueue]) -> None:
    """Replace what is known of queues that stand still. Primary key."""
    leases.write_state(tx, STALLED, json.dumps([asdict(each) for each in stalled]) if stalled else "")


def read(connection: Connection, now: datetime) -> Notices:
    """Read what beats noticed lately. Primary key."""
    state = leases.STATE.c
    fresh = select(state.name, state.value).where(state.name.in_((HELD, STALLED)), state.update_time > now - FRESH)
    found = {row.name: row.value for row in connection.execute(fresh) if row.value}
    try:
        return _parsed({name: json.loads(value) for name, value in found.items()})
    except (KeyError, TypeError, ValueError):
        return Notices(unread=True)


def _parsed(found: Mapping[str, Any]) -> Notices:
    held = found.get(HELD)
    if held:
        held = HeldRows(**{**held, "sessions": [Session(**each) for each in held["sessions"]]})
    return Notices(held, [StalledQueue(**each) for each in found.get(STALLED, ())])
