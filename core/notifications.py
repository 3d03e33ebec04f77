"""What is told of a run's end, to which channel, and in which words. Pure: rows and channels are elsewhere.

A channel is named, never addressed: addresses hold secrets, and rows are read by many.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from core.lifecycle import State
from core.strict_json import shown

CHANNEL_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
MAX_CHANNELS: Final = 20
EXAMPLE: Final = '["ops"] or {"failure": ["ops"], "change": ["team"]}'

NAMED: Final = 5
BODY_BYTES: Final = 1800
"""WeCom takes 2,048 bytes of text; a Chinese character has three."""
EXCERPT_CHARS: Final = 300

MAX_A_MINUTE: Final = 10
FIRST_GAP: Final = timedelta(minutes=1)
LAST_GAP: Final = timedelta(hours=1)


class NotifyFault(ValueError):
    """`notify` cannot be read; the message says why and the mend."""


class Event(StrEnum):
    """What may be told. `alarm` is about the system itself and goes to ALERT_URLS."""

    FAILURE = "failure"  #: FAILURE, or REQUIRES_ACTION: nobody has an answer
    RECOVERY = "recovery"  #: SUCCESS after a failure that was told
    CHANGE = "change"  #: SUCCESS with another answer than the SUCCESS before
    ALARM = "alarm"


ROW_EVENTS: Final = (Event.FAILURE, Event.RECOVERY, Event.CHANGE)


def read_notify(raw: object) -> Mapping[Event, tuple[str, ...]]:
    """Read the value of `notify`: names alone mean failure and recovery. Raises NotifyFault."""
    if not isinstance(raw, dict):
        names = _names("notify", raw)
        return {Event.FAILURE: names, Event.RECOVERY: names}
    known = [str(event) for event in ROW_EVENTS]
    found = {}
    for event, names in raw.items():
        if event not in known:
            near = get_close_matches(event[:64], known, 1, 0.5)
            mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise NotifyFault(f"notify has the unknown event {shown(event)}; {mend}")
        found[Event(event)] = _names(f"notify.{event}", names)
    if not found:
        raise NotifyFault(f"notify is empty; use {EXAMPLE}, or leave the key out")
    return found


def _names(key: str, raw: object) -> tuple[str, ...]:
    names = raw if isinstance(raw, list) else [raw]
    if any(isinstance(name, str) and "://" in name for name in names):
        raise NotifyFault(f"{key} holds an address; use the name of a channel, which scripts.channels keeps")
    if not 0 < len(names) <= MAX_CHANNELS or not all(isinstance(n, str) and CHANNEL_NAME.fullmatch(n) for n in names):
        raise NotifyFault(
            f"{key} is {shown(raw)}; use names of channels (letters, digits, '_', '.', '-'), such as {EXAMPLE}"
        )
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended, as far as it is told."""

    run_id: str
    task: str
    state: State
    at: datetime
    error_kind: str | None = None
    error: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a channel knows of a task: whether it fails, and which answer it gave (as a digest)."""

    failing: bool = False
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One thing to tell a channel. What has the same event and cause is told together, and counted."""

    event: Event
    cause: str
    text: str


def tell(run: Ended, events: Iterable[Event], known: Known) -> tuple[list[Told], Known]:
    """Decide what a channel that wants `events` is told of a run, and what it knows then."""
    wanted = frozenset(events)
    if run.state in (State.FAILURE, State.REQUIRES_ACTION):
        kind = run.error_kind or "requires_action"
        why = f"{kind}: {_line(run.error or '')}"
        told = [Told(Event.FAILURE, cause_of(kind, run.error or ""), why)] if Event.FAILURE in wanted else []
        return told, Known(True, known.answer)
    if run.state is not State.SUCCESS:  # cancelled or skipped: that says nothing about the task
        return [], known
    told = []
    if known.failing and Event.RECOVERY in wanted:
        told.append(Told(Event.RECOVERY, "", "works again"))
    answer = digest(run.answer or "") if Event.CHANGE in wanted else known.answer
    if Event.CHANGE in wanted and known.answer not in (None, answer):
        told.append(Told(Event.CHANGE, run.task, f"the answer is now: {_line(run.answer or '') or '(nothing)'}"))
    return told, Known(False, answer)


_VARYING: Final = re.compile(
    r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|\b0x[0-9a-fA-F]+|\d+(?:[.,:]\d+)*"
)
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")


def cause_of(kind: str, error: str) -> str:
    """Name what made a run fail, without what differs from run to run: ids, numbers, quotations."""
    return f"{kind}: {_VARYING.sub('#', _QUOTED.sub('…', _line(error)))}"


def digest(text: str) -> str:
    """Shorten a text to what tells it from others."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _line(text: str) -> str:
    line = " ".join(text[: 2 * EXCERPT_CHARS].split())
    return line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"


def next_gap(gap: timedelta | None) -> timedelta:
    """Say how long a cause that was just told stays quiet: a minute, doubled each time, at most an hour."""
    return FIRST_GAP if gap is None else min(2 * gap, LAST_GAP)


@dataclass(frozen=True, slots=True)
class Group:
    """What is to be told of one cause: how often, since when, of which tasks, and the newest example."""

    event: Event
    text: str
    count: int
    first_at: datetime
    last_at: datetime
    tasks: Sequence[str]
    more_tasks: bool
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out. `groups`: how many of those given stand in it; the others are for the next one."""

    title: str
    body: str
    groups: int


WORDS: Final = {Event.FAILURE: "failed", Event.RECOVERY: "recovered", Event.CHANGE: "changed", Event.ALARM: "alarm"}


def compose(groups: Sequence[Group], zone: str, shown_at: Mapping[datetime, str]) -> Message:
    """Put as many groups into one message as fit, at least one. `shown_at` writes moments as clocks of `zone` do."""
    parts: list[str] = []
    size = 0
    for group in groups:
        part = _part(group, zone, shown_at)
        size += len(part.encode()) + 2
        if parts and size > BODY_BYTES:
            break
        parts.append(part if len(part.encode()) <= BODY_BYTES else _cut(part))
    counts: dict[Event, int] = {}
    for group in groups[: len(parts)]:
        counts[group.event] = counts.get(group.event, 0) + group.count
    title = ", ".join(
        f"{count} {WORDS[event]}" if event in ROW_EVENTS else WORDS[event] for event, count in counts.items()
    )
    return Message(f"Agent scheduler: {title}", "\n\n".join(parts), len(parts))


def _part(group: Group, zone: str, shown_at: Mapping[datetime, str]) -> str:
    who = ", ".join(group.tasks) + (" and others" if group.more_tasks else "")
    when = f"{shown_at[group.first_at]}"
    if group.count > 1:
        when += f" to {shown_at[group.last_at]}"
    times = f"{group.count} times, " if group.count > 1 and group.event in ROW_EVENTS else ""
    lines = [f"[{WORDS[group.event]}] {who}", group.text, f"{times}{when} {zone}"]
    if group.run_id is not None:
        lines.append(f"newest run: {group.run_id}")
    return "\n".join(line for line in lines if line)


def _cut(text: str) -> str:
    return text.encode()[: BODY_BYTES - 3].decode("utf-8", "ignore") + "…"
