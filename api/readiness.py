"""Can the whole do its work? Checks of the database, its schema, the broker, beats, workers, locks and queues."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.bounded import SingleFlight
from api.broker_look import BrokerLook, BrokerLooker
from config import Settings
from logger import redact
from store import calendar_days, notices, overview
from store.database import autocommit, in_words
from store.migrate import known_revisions, newest_revision
from store.notices import Notices
from store.overview import SignsOfLife

CHECK_SECONDS: Final = 2.0
BROKER_SECONDS: Final = 1.4  # less than its sockets' patience: a broker that hangs is one that gave no answer
BROKER_RESTS: Final = 3.0  # seconds for which such a one is asked no more; pages wait for it
TICK_GRACE: Final = timedelta(seconds=10)

MENDS: Final[Mapping[str, str]] = {
    "database": "Start the database, or correct DATABASE_URL.",
    "schema": "Run: make migrate",
    "broker": "Start Redis or Valkey, or correct CELERY_BROKER_URL or REDIS_URL. Runs wait in the database meanwhile.",
    "beat": "Start beat: python run_beat.py (or supervisorctl -c supervisord.conf start celery-beat). See logs/.",
    "worker": "Start a worker: python run_worker.py (or supervisorctl -c supervisord.conf start celery-worker). "
    "See logs/.",
    "locks": "End the transaction that is named (COMMIT or ROLLBACK there), or KILL its session.",
    "queues": "Look at the workers that are named; without any, start one that serves the queue. See logs/.",
}

UNREAD: Final = "a beat of another version tells of it, and this one cannot read it: restart with the new version"

logger = logging.getLogger("api")


class Standing(StrEnum):
    """DEGRADED: it works, and somebody should look. UNKNOWN: what the check needs has failed."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Check(BaseModel):
    """One thing that must hold, and what to do where it does not. Public.

    It names no address of ours; the database session that holds due rows is named with its user and host.
    """

    name: str
    state: Standing
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerLook:
    """What one look at the database saw; `signs` only where the schema is the one this code needs."""

    problem: str | None = None
    revision: str | None = None
    signs: SignsOfLife | None = None
    notices: Notices = field(default_factory=Notices)
    calendars: Sequence[str] = ()


def tick_limit(settings: Settings) -> timedelta:
    """Say how old the newest tick of a living beat may be."""
    return 3 * timedelta(seconds=settings.poll_seconds) + TICK_GRACE


class Readiness:
    """Looks at the database and the broker at the same time, and judges what it saw."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._looker = BrokerLooker(settings)
        self.broker = SingleFlight(self._looker.look, BROKER_SECONDS, BROKER_RESTS)
        self._ledger = SingleFlight(self._look_at_ledger, CHECK_SECONDS)
        self._engine = engine
        self._limit = tick_limit(settings)
        self._needed, self._known = newest_revision(), known_revisions()
        self._failing: list[str] = []

    async def checks(self) -> list[Check]:
        """Make every check, in the order in which they build on each other. At most CHECK_SECONDS."""
        ledger, broker = await asyncio.gather(self._ledger.ask(), self.broker.ask())
        ledger = ledger or LedgerLook(problem=f"no answer within {CHECK_SECONDS:g} s")
        broker = broker or BrokerLook(problem=f"no answer within {BROKER_SECONDS:g} s")
        found = judge(ledger, broker, self._needed, self._limit)
        self._note(found, {"database": ledger.problem, "broker": broker.problem})
        return found

    def close(self) -> None:
        """Ask no more."""
        self.broker.close()
        self._looker.close()
        self._ledger.close()

    def _look_at_ledger(self) -> LedgerLook:
        try:
            with autocommit(self._engine) as connection:
                revision = overview.schema_revision(connection)
                if revision is None or (revision != self._needed and revision in self._known):
                    return LedgerLook(revision=revision)
                signs = overview.signs_of_life(connection)
                return LedgerLook(
                    revision=revision,
                    signs=signs,
                    notices=notices.read(connection, signs.now),
                    calendars=calendar_days.read_noted(connection).remarks(signs.now.date()),
                )
        except SQLAlchemyError as error:
            return LedgerLook(problem=redact(in_words(error)))

    def _note(self, found: list[Check], problems: Mapping[str, str | None]) -> None:
        """Log a change, with the cause that the answer leaves out; probes come every few seconds."""
        failing = [check.name for check in found if check.state is not Standing.OK]
        if failing != self._failing:
            causes = [f"{c.name} {c.state}: {problems.get(c.name) or c.detail}" for c in found if c.name in failing]
            logger.warning("not ready: %s", "; ".join(causes)) if failing else logger.info("ready")
        self._failing = failing


def judge(ledger: LedgerLook, broker: BrokerLook, needed: str | None, limit: timedelta) -> list[Check]:
    """Turn what was seen into checks. `needed` is the schema's revision, `limit` the age of a living beat's tick."""
    return [
        _check("database", ledger.problem is None, "answers", "does not answer"),
        _check_schema(ledger, needed),
        _check("broker", broker.problem is None, "answers", "does not answer"),
        *(
            (*_check_life(ledger.signs, limit), _check_locks(ledger.notices), _check_queues(ledger.notices))
            if ledger.signs
            else (_unknown("beat"), _unknown("worker"), _unknown("locks"), _unknown("queues"))
        ),
        _tell_of_calendars(ledger),
    ]


def _check_schema(ledger: LedgerLook, needed: str | None) -> Check:
    if ledger.problem is not None:
        return _unknown("schema")
    found = ledger.revision or "none"
    if ledger.signs is not None and found != needed:
        told = f"revision {found} is a later version's, this one knows {needed}: restart with the new version"
        return Check(name="schema", state=Standing.DEGRADED, detail=told)
    return _check("schema", ledger.revision == needed, f"revision {found}", f"revision {found}, needed {needed}")


def _check_life(signs: SignsOfLife, limit: timedelta) -> tuple[Check, Check]:
    if signs.newest_tick is None:
        beat = _check("beat", False, "", "no beat has ticked yet")
    else:
        age = signs.now - signs.newest_tick
        told = f"newest tick {age.total_seconds():.1f} s ago, at most {limit.total_seconds():g} s allowed"
        beat = _check("beat", age < limit, told, told)
    return beat, _check("worker", signs.workers > 0, f"{signs.workers} with a lease", "no worker holds a lease")


def _check_locks(seen: Notices) -> Check:
    if seen.unread:
        return _unknown("locks", UNREAD)
    held = seen.held
    if held is None:
        return Check(name="locks", state=Standing.OK, detail="no due row is held by another session")
    return Check(name="locks", state=Standing.DEGRADED, detail=str(held), mend=MENDS["locks"])


def _check_queues(seen: Notices) -> Check:
    if seen.unread:
        return _unknown("queues", UNREAD)
    if not seen.stalled:
        return Check(name="queues", state=Standing.OK, detail="no queue stands still while a slot is free")
    told = "; ".join(str(each) for each in seen.stalled)
    return Check(name="queues", state=Standing.DEGRADED, detail=told, mend=MENDS["queues"])


def _tell_of_calendars(ledger: LedgerLook) -> Check:
    """Rows go on by weekday, so this is told and fails nothing."""
    if ledger.signs is None:
        return _unknown("calendars")
    told = "; ".join(ledger.calendars) or "no calendar in use ends soon"
    return Check(name="calendars", state=Standing.OK, detail=told)


def _check(name: str, holds: bool, detail: str, otherwise: str) -> Check:
    if holds:
        return Check(name=name, state=Standing.OK, detail=detail)
    return Check(name=name, state=Standing.FAILED, detail=otherwise, mend=MENDS[name])


def _unknown(name: str, why: str = "the database and its schema must be in order first") -> Check:
    return Check(name=name, state=Standing.UNKNOWN, detail=why)


def is_ready(checks: Iterable[Check]) -> bool:
    """True where the whole does its work; what stands still beside it only degrades it."""
    return all(check.state in (Standing.OK, Standing.DEGRADED) for check in checks)


def verdict(checks: Sequence[Check]) -> str:
    """Say `ready`, `degraded` or `not ready`."""
    if not is_ready(checks):
        return "not ready"
    return "ready" if all(check.state is Standing.OK for check in checks) else "degraded"
