"""How the whole stands: what needs somebody first, then how it goes. Judges nothing: it gathers what others judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from api.masking import Mask
from api.readiness import Check, Standing
from core.holds import Hold
from core.lifecycle import Origin, State
from store import attention, holds, missed_fires
from store.attention import Some
from store.database import AnyRow

SHOWN: Final = 4  # of each kind
ASKED_WITHIN: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Matter:
    """Something to look at. `kind` names its words; `tone` its colour."""

    kind: str
    tone: str
    name: str = ""
    told: str = ""
    href: str = ""
    at: datetime | None = None
    more: str = ""
    """So many more of the kind are behind `href`; the other fields are empty then."""


def matters(connection: Connection, checks: Sequence[Check], mask: Mask, now: datetime) -> list[Matter]:
    """Name what needs somebody, the worst first."""
    return [
        *(Matter("check", _tone(check), check.name) for check in checks if check.state is not Standing.OK),
        *_overdue(connection, now),
        *_broken(attention.broken(connection, SHOWN), mask),
        *_failing(attention.failing(connection, SHOWN), mask),
        *_budgets(attention.used_up(connection, now)),
        *_held(holds.in_force(connection)),
        *_asking(attention.asking(connection, now - ASKED_WITHIN, SHOWN)),
        *_paused(attention.paused(connection, SHOWN)),
    ]


def _tone(check: Check) -> str:
    return {Standing.FAILED: "bad", Standing.DEGRADED: "warn"}.get(check.state, "idle")


def _overdue(connection: Connection, now: datetime) -> Iterator[Matter]:
    sight = missed_fires.look(connection, missed_fires.OVERDUE, SHOWN)
    for each in sight.worst:
        yield Matter("overdue", "bad", each.name, "", f"/tasks/{each.id}", now - timedelta(seconds=each.seconds))
    if sight.rows > len(sight.worst):
        yield Matter(
            "overdue",
            "bad",
            more=_more(sight.rows - len(sight.worst), sight.rows >= missed_fires.COUNTED),
            href="/tasks",
        )


def _broken(found: Some, mask: Mask) -> Iterator[Matter]:
    for row in found.rows:
        told = mask.prose(row.config_error) or ""
        yield Matter("broken", "bad", row.name, told, f"/tasks/{row.id}", _moment(row.update_time))
    yield from _rest("broken", "bad", found, "/tasks?broken=true")


def _failing(found: Some, mask: Mask) -> Iterator[Matter]:
    for row in found.rows:
        told = mask.prose(row.error) or row.error_kind or ""
        yield Matter("failing", "bad", row.name, told, f"/runs/{row.run_id}", _moment(row.finished_at))
    yield from _rest("failing", "bad", found, "/tasks?state=FAILURE")


def _budgets(rows: Sequence[AnyRow]) -> Iterator[Matter]:
    for row in rows[:SHOWN]:
        told = f"{row.amount.normalize():f} {row.unit}"
        yield Matter("budget", "warn", row.name or row.endpoint or "", told, "/budgets", _moment(row.reached_at))
    if len(rows) > SHOWN:
        yield Matter("budget", "warn", more=_more(len(rows) - SHOWN), href="/budgets")


def _held(found: Sequence[Hold]) -> Iterator[Matter]:
    for hold in found[:SHOWN]:
        yield Matter("held", "warn", hold.name or hold.scope, hold.reason, "/queues")
    if len(found) > SHOWN:
        yield Matter("held", "warn", more=_more(len(found) - SHOWN), href="/queues")


def _asking(found: Some) -> Iterator[Matter]:
    for row in found.rows:
        yield Matter("asking", "ask", row.task_name, "", f"/runs/{row.id}", _moment(row.finished_at))
    yield from _rest("asking", "ask", found, "/runs?state=REQUIRES_ACTION")


def _paused(found: Some) -> Iterator[Matter]:
    for row in found.rows:
        yield Matter("paused", "idle", row.name, row.pause_reason or "", f"/tasks/{row.id}", _moment(row.update_time))
    yield from _rest("paused", "idle", found, "/tasks?enabled=false")


def _rest(kind: str, tone: str, found: Some, href: str) -> Iterator[Matter]:
    if found.found > len(found.rows):
        yield Matter(kind, tone, more=_more(found.found - len(found.rows), found.is_more), href=href)


def _more(count: int, is_least: bool = False) -> str:
    return f"{count:,}+" if is_least else f"{count:,}"


def _moment(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How late the newest runs were, in seconds; None: there were none to tell by."""

    sent_late: tuple[float, float] | None
    """From due to sent: in the middle, and at the 95th of a hundred."""
    waited: tuple[float, float] | None
    """From ready to started."""


def pace(rows: Sequence[AnyRow]) -> Pace:
    """Judge the first attempts of runs."""
    first = [row for row in rows if row.attempt <= 1 and row.state != State.SKIPPED]
    sent = [_apart(row.scheduled_for, row.queued_at) for row in first if row.origin == Origin.SCHEDULE]
    started = [_apart(row.ready_at, row.started_at) for row in first]
    return Pace(_middle_and_tail(sent), _middle_and_tail(started))


def _apart(begin: Any, end: Any) -> float | None:
    if not (isinstance(begin, datetime) and isinstance(end, datetime)):
        return None
    return max((end - begin).total_seconds(), 0.0)


def _middle_and_tail(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return known[len(known) // 2], known[min(len(known) * 95 // 100, len(known) - 1)]
