"""What the commands share about rows: finding one, what it is judged by, and times as an operator writes them."""

from datetime import UTC, datetime
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from core.clock_change import moment_at
from store import schedules
from store.database import AnyRow

EARLIEST, LATEST = 1970, 2200


class Refused(Exception):
    """What was asked for cannot be done; the message says why, and what to do."""


def find_row(connection: Connection, text: str) -> AnyRow:
    """Find a row by its id or its name. Raises Refused with the name that was most likely meant."""
    row = schedules.read(connection, int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None
    if row is None and (found := schedules.id_of(connection, text)) is not None:
        row = schedules.read(connection, found)
    if row is not None:
        return row
    near = get_close_matches(text, schedules.names(connection), 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise Refused(f"periodic_task has no row with the id or name {text!r}{hint}")


def read_moment(option: str, text: str, zone: str) -> datetime:
    """Read a time of the zone's clocks, or one with an offset of its own; a date alone is its midnight."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{option} {text!r} is no time; write '2026-01-31' or '2026-01-31 09:00:00'") from error
    if not EARLIEST <= value.year < LATEST:
        raise Refused(f"{option} {text!r}: use a year from {EARLIEST} to {LATEST - 1}")
    return moment_at(value, ZoneInfo(zone)) if value.tzinfo is None else value.astimezone(UTC)


def shown(moment: datetime, zone: str) -> str:
    """Write a moment as the zone's clocks show it."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"
