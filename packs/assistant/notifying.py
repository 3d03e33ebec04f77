"""Notifications to a user: the inbox of the system, and e-mail, push and SMS through Apprise.

E-mail, push and SMS go through the channel of that name (`python -m scripts.channels add email`). Where its address has
`{address}` in it, the user's own from `assistant_contact` is put there; else everybody's messages go to one place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine

from config import Settings
from core.outcome import AgentError, ErrorKind
from notify import ChannelFault, address_of, deliver
from packs.assistant import store
from packs.assistant.turns import in_turn
from store import notifications
from store.database import autocommit

SYSTEM: Final = "system"
CHANNELS: Final = ("email", "push", "sms", SYSTEM)
ADDRESS: Final = "{address}"
TITLE_CHARS: Final = 500


class NotSetUp(Exception):
    """A channel, or a user's address on it, is missing: the same call fails again until somebody enters it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a user is told."""

    user_id: str
    notification_type: str
    title: str
    message: str
    data: Any = None


def check_channels(channels: Sequence[str]) -> list[str]:
    """Return the channels, each once. Raises AgentError INVALID that names the unknown ones."""
    unknown = [str(channel) for channel in channels if channel not in CHANNELS]
    if unknown or not channels:
        what = f"unknown channel {', '.join(map(repr, unknown))}" if unknown else "no channel"
        raise AgentError(ErrorKind.INVALID, f"channels: {what}; use {', '.join(CHANNELS)}")
    return list(dict.fromkeys(channels))


def tell(note: Notification, channels: Sequence[str], engine: Engine, settings: Settings, run_id: str) -> list[Any]:
    """Tell a user on each channel, and say what became of it: {channel, status, error}.

    A channel that an earlier attempt of the run has told is not told again. `error` speaks of no secret, and `status`
    is `sent`, `failed` (may succeed later) or `not_set_up`.
    """
    with autocommit(engine) as connection:
        done = store.delivered(connection, run_id)
    results = []
    for channel in channels:
        status, error = ("sent", None) if channel in done else _tell(note, channel, engine, settings, run_id)
        results.append({"channel": channel, "status": status, "error": error})
    return results


def _tell(note: Notification, channel: str, engine: Engine, settings: Settings, run_id: str) -> tuple[str, str | None]:
    try:
        if channel != SYSTEM:
            deliver(_address(note.user_id, channel, engine, settings), note.title, note.message)
        in_turn(engine, lambda tx: _note(tx, note, channel, run_id))
    except NotSetUp as fault:
        return "not_set_up", str(fault)
    except ChannelFault as fault:
        return "failed", str(fault)
    return "sent", None


def _note(tx: Connection, note: Notification, channel: str, run_id: str) -> None:
    """Note that a channel was told; of the inbox, the message is that."""
    if channel == SYSTEM:
        store.put_in_inbox(
            tx,
            note.user_id,
            run_id,
            notification_type=note.notification_type,
            title=note.title[:TITLE_CHARS],
            message=note.message,
            data=note.data,
        )
    store.note_delivery(tx, run_id, channel)


def _address(user_id: str, channel: str, engine: Engine, settings: Settings) -> str:
    with autocommit(engine) as connection:
        row = notifications.channel(connection, channel)
        theirs = store.contact(connection, user_id, channel)
    if row is None or not row.enabled:
        state = "not set up" if row is None else "switched off"
        raise NotSetUp(f"the channel {channel!r} is {state}: python -m scripts.channels add {channel}")
    try:
        url = address_of(row, settings)
    except ChannelFault as fault:
        raise NotSetUp(f"the channel {channel!r}: {fault}") from None
    if ADDRESS not in url:
        return url
    if theirs is None:
        raise NotSetUp(f"user {user_id!r} has no address for {channel!r}; enter it in the table assistant_contact")
    return url.replace(ADDRESS, quote(theirs, safe=""))
