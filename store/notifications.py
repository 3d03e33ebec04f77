"""Queries on notifications: runs to be told, what channels know, and what waits to be sent.

A run is entered in `notify_due` before its end is written, so no end can be missed: at worst a run is entered that goes
on, and is looked at again. What is read and what is entered in `notify_message` is one transaction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, exists, func, insert, or_, select, update

from core.lifecycle import FINAL
from core.notifications import MAX_A_MINUTE, NAMED, Event, Group, Known, Told, digest, next_gap
from models import NotifyChannel, NotifyDue, NotifyMessage, NotifyState
from store import leases
from store.database import AnyRow, insert_once
from store.runs import TABLE as RUN
from store.runs import R

CHANNEL: Table = NotifyChannel.__table__  # type: ignore[assignment]
DUE: Table = NotifyDue.__table__  # type: ignore[assignment]
KNOWN: Table = NotifyState.__table__  # type: ignore[assignment]
MESSAGE: Table = NotifyMessage.__table__  # type: ignore[assignment]
M = MESSAGE.c

TURN: Final = "notifications"
TEXT_CHARS: Final = 1000
MINUTE: Final = timedelta(minutes=1)


# -- runs that are to be told -------------------------------------------------------------------------


def enter(connection: Connection, run_id: str) -> None:
    """Note that a run's end is to be told; twice is once. Primary key."""
    insert_once(connection, insert(DUE).values(run_id=run_id))


def anything_due(connection: Connection) -> bool:
    """Tell whether any run is to be told. Reads one row."""
    return connection.execute(select(DUE.c.run_id).limit(1)).first() is not None


def take_turn(tx: Connection) -> bool:
    """Let one beat at a time work runs in: True where nobody else is at it. Primary key."""
    return leases.hold_turn(tx, TURN)


def take_ended(tx: Connection, limit: int) -> Sequence[AnyRow]:
    """Name runs that are to be told and have ended, or are gone (`id` None), in the order of their ends.

    Primary keys: `notify_due` holds no more than a few that go on.
    """
    columns = (
        DUE.c.run_id, R.id, R.periodic_task_id, R.task_name, R.origin, R.state, R.finished_at, R.config, R.error_kind,
        R.error,
    )  # fmt: skip
    return tx.execute(
        select(*columns)
        .select_from(DUE.outerjoin(RUN, R.id == DUE.c.run_id))
        .where(or_(R.id.is_(None), R.state.in_(sorted(FINAL))))
        .order_by(R.finished_at, DUE.c.run_id)
        .limit(limit)
    ).all()


def answer_of(tx: Connection, run_id: str) -> str:
    """Read a run's answer, which may be long. Primary key."""
    return tx.execute(select(R.result).where(R.id == run_id)).scalar_one_or_none() or ""


def leave(tx: Connection, run_ids: Iterable[str]) -> None:
    """These are worked in. Primary key."""
    for run_id in run_ids:
        tx.execute(delete(DUE).where(DUE.c.run_id == run_id))


# -- what channels know -------------------------------------------------------------------------------


def known(tx: Connection, subjects: Iterable[str]) -> dict[tuple[str, str], Known]:
    """Read what every channel knows of these, by (channel, subject)."""
    found = tx.execute(select(KNOWN).where(KNOWN.c.subject.in_(list(subjects))))
    return {(row.channel, row.subject): Known(bool(row.failing), row.answer) for row in found}


def alarms(tx: Connection, channel: str) -> set[str]:
    """Name the alarms that a channel was told and that are not over. Primary key."""
    mine = (KNOWN.c.channel == channel, KNOWN.c.subject.startswith("alarm:"), KNOWN.c.failing == 1)
    return set(tx.execute(select(KNOWN.c.subject).where(*mine)).scalars())


def learn(tx: Connection, channel: str, subject: str, now: datetime, what: Known) -> None:
    """Keep what a channel knows of a subject. Primary key."""
    values = {"failing": int(what.failing), "answer": what.answer, "update_time": now}
    mine = (KNOWN.c.channel == channel, KNOWN.c.subject == subject)
    if tx.execute(select(KNOWN.c.channel).where(*mine)).first() is None:
        tx.execute(insert(KNOWN).values(channel=channel, subject=subject, **values))
    else:
        tx.execute(update(KNOWN).where(*mine).values(values))


# -- what waits to be sent ----------------------------------------------------------------------------


@dataclass(slots=True)
class Pending:
    """What one pass adds to one cause."""

    told: Told
    count: int
    first_at: datetime
    last_at: datetime
    tasks: list[str]
    run_id: str | None

    def add(self, told: Told, at: datetime, task: str, run_id: str | None) -> None:
        """Count one more, the newest."""
        self.told, self.count, self.last_at, self.run_id = told, self.count + 1, at, run_id
        if task not in self.tasks and len(self.tasks) <= NAMED:
            self.tasks.append(task)


def add_message(tx: Connection, channel: str, pending: Pending, now: datetime) -> None:
    """Add to what waits of a cause; a new cause is due at once. Index uq_notify_message."""
    told, cause = pending.told, digest(pending.told.cause)
    mine = (M.channel == channel, M.event == told.event, M.cause == cause)
    row = tx.execute(select(M.id, M.pending, M.tasks).where(*mine).with_for_update()).one_or_none()
    values: dict[str, Any] = {"text": told.text[:TEXT_CHARS], "last_at": pending.last_at, "run_id": pending.run_id}
    names = list(dict.fromkeys([*(json.loads(row.tasks) if row and row.pending else []), *pending.tasks]))
    values["tasks"] = json.dumps(names[: NAMED + 1], ensure_ascii=False)
    if row is None:
        values |= {"channel": channel, "event": told.event, "cause": cause, "due_at": now}
        tx.execute(insert(MESSAGE).values(pending=pending.count, first_at=pending.first_at, **values))
        return
    if not row.pending:
        values["first_at"] = pending.first_at
    tx.execute(update(MESSAGE).where(M.id == row.id).values(pending=row.pending + pending.count, **values))


def channels_with_messages(connection: Connection, now: datetime) -> Sequence[AnyRow]:
    """Name the channels that something is due for; `id` None: there is no such channel."""
    due = select(M.channel.label("name"), func.min(M.first_at).label("oldest")).where(M.pending > 0, M.due_at <= now)
    each = due.group_by(M.channel).subquery()
    free = or_(CHANNEL.c.id.is_(None), and_(CHANNEL.c.enabled == 1, _is_free(now)))
    return connection.execute(
        select(each.c.name, each.c.oldest, CHANNEL.c.id)
        .select_from(each.outerjoin(CHANNEL, CHANNEL.c.name == each.c.name))
        .where(free)
        .order_by(each.c.oldest)
    ).all()


def _is_free(now: datetime) -> Any:
    return or_(CHANNEL.c.ready_at.is_(None), CHANNEL.c.ready_at <= now)


def reserve(tx: Connection, name: str, now: datetime, lease: timedelta) -> AnyRow | None:
    """Take a channel for one sending, counted before it begins: a crash never makes it one more a minute.

    None: another beat has it, or it had ten within the last minute. Index uq_notify_channel_name.
    """
    row = tx.execute(
        select(CHANNEL)
        .where(CHANNEL.c.name == name, CHANNEL.c.enabled == 1, _is_free(now))
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    sent = [moment for moment in json.loads(row.sent) if datetime.fromisoformat(moment) > now - MINUTE]
    if len(sent) >= MAX_A_MINUTE:
        free_at = datetime.fromisoformat(sent[0]) + MINUTE
        tx.execute(update(CHANNEL).where(CHANNEL.c.id == row.id).values(ready_at=free_at))
        return None
    values = {"sent": json.dumps([*sent, now.isoformat()]), "ready_at": now + lease}
    tx.execute(update(CHANNEL).where(CHANNEL.c.id == row.id).values(values))
    return row


def waiting(tx: Connection, channel: str, limit: int) -> list[tuple[AnyRow, Group]]:
    """Read what waits for a channel, what is due longest first. Where something is sent, what is not due goes along.

    Index uq_notify_message.
    """
    rows = tx.execute(select(MESSAGE).where(M.channel == channel, M.pending > 0).order_by(M.due_at, M.id).limit(limit))
    return [(row, _group(row)) for row in rows]


def _group(row: AnyRow) -> Group:
    names = json.loads(row.tasks)
    return Group(
        Event(row.event),
        row.text,
        row.pending,
        row.first_at,
        row.last_at,
        names[:NAMED],
        len(names) > NAMED,
        row.run_id,
    )


def settle(tx: Connection, channel_id: int, told: Sequence[AnyRow], now: datetime) -> None:
    """Take what was sent off what waits; its causes stay quiet for a while. Primary keys."""
    for row in told:
        gap = next_gap(None if row.gap_seconds is None else timedelta(seconds=row.gap_seconds))
        quiet = {"gap_seconds": int(gap.total_seconds()), "due_at": now + gap}
        if row.event not in (Event.FAILURE, Event.ALARM):  # each of those is news
            quiet = {"gap_seconds": 0, "due_at": now}
        tx.execute(update(MESSAGE).where(M.id == row.id).values(pending=M.pending - row.pending, **quiet))
    done = {"ready_at": None, "failures": 0, "last_error": None, "last_sent_at": now}
    tx.execute(update(CHANNEL).where(CHANNEL.c.id == channel_id).values(done))


def put_off(tx: Connection, channel: AnyRow, error: str, until: datetime) -> None:
    """Note that a channel could not be sent to; all that waits for it is kept. Primary key."""
    values = {"ready_at": until, "failures": channel.failures + 1, "last_error": error[:500]}
    tx.execute(update(CHANNEL).where(CHANNEL.c.id == channel.id).values(values))


def forget(tx: Connection, now: datetime, unknown_before: datetime) -> int:
    """Delete causes that stayed quiet, and what waited in vain for a channel that does not exist; count the latter."""
    told = select(M.id, M.due_at, M.gap_seconds).where(M.pending <= 0, M.due_at <= now)
    for row in tx.execute(told).all():
        if row.due_at + timedelta(seconds=row.gap_seconds or 0) <= now:
            tx.execute(delete(MESSAGE).where(M.id == row.id, M.pending <= 0))
    lost = and_(M.first_at < unknown_before, ~exists(select(CHANNEL.c.id).where(CHANNEL.c.name == M.channel)))
    return tx.execute(delete(MESSAGE).where(lost)).rowcount


# -- channels -----------------------------------------------------------------------------------------


def channels(connection: Connection) -> Sequence[AnyRow]:
    """Read every channel with how many events wait for it, by name."""
    waits = select(M.channel, func.sum(M.pending).label("waiting")).group_by(M.channel).subquery()
    joined = CHANNEL.outerjoin(waits, waits.c.channel == CHANNEL.c.name)
    return connection.execute(select(CHANNEL, waits.c.waiting).select_from(joined).order_by(CHANNEL.c.name)).all()


def channel(connection: Connection, name: str) -> AnyRow | None:
    """Read one channel. Index uq_notify_channel_name."""
    return connection.execute(select(CHANNEL).where(CHANNEL.c.name == name)).one_or_none()


def channel_by_id(connection: Connection, channel_id: int, *, lock: bool = False) -> AnyRow | None:
    """Read one channel by its id. Primary key."""
    query = select(CHANNEL).where(CHANNEL.c.id == channel_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def channel_names(connection: Connection) -> frozenset[str]:
    """Name every channel. Index uq_notify_channel_name."""
    return frozenset(connection.execute(select(CHANNEL.c.name)).scalars())


def waiting_for(connection: Connection, name: str) -> int:
    """Count the events that wait for a channel. Index uq_notify_message."""
    return int(connection.execute(select(func.sum(M.pending)).where(M.channel == name)).scalar_one() or 0)


def add_channel(tx: Connection, values: Mapping[str, Any]) -> int:
    """Enter a channel; return its id. Raises IntegrityError where its name is taken."""
    key = tx.execute(insert(CHANNEL).values(**values)).inserted_primary_key
    return int(key[0])  # type: ignore[index]


def change_channel(tx: Connection, channel_id: int, values: Mapping[str, Any]) -> None:
    """Change what operators own; another address (`url_env`, `url`) is tried at once. Primary key."""
    anew = {"ready_at": None, "failures": 0, "last_error": None} if {"url", "url_env"} & values.keys() else {}
    tx.execute(update(CHANNEL).where(CHANNEL.c.id == channel_id).values(**values, **anew))


def replace_url(connection: Connection, name: str, old: str, new: str) -> bool:
    """Store an address that was encrypted anew, where it is still the old one. Index uq_notify_channel_name."""
    mine = (CHANNEL.c.name == name, CHANNEL.c.url == old)
    return connection.execute(update(CHANNEL).where(*mine).values(url=new)).rowcount == 1


def remove_channel(tx: Connection, name: str) -> bool:
    """Delete a channel with what it knows and what waits for it. False: there was none."""
    tx.execute(delete(MESSAGE).where(M.channel == name))
    tx.execute(delete(KNOWN).where(KNOWN.c.channel == name))
    return tx.execute(delete(CHANNEL).where(CHANNEL.c.name == name)).rowcount == 1
