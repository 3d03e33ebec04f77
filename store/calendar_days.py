"""Queries on `calendar_day`: what operators say about single days, and whether they said something new."""

import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, func, select

from core.calendars import Overrides
from models import CalendarDay

TABLE: Table = CalendarDay.__table__  # type: ignore[assignment]
C = TABLE.c


def versions(connection: Connection) -> dict[str, str]:
    """Fingerprint each calendar's overrides: another text where a day was added, moved, flipped or removed.

    One short scan, so cheap enough for every few seconds; a calendar without overrides is not in it.
    """
    if connection.dialect.name == "sqlite":
        content: Any = func.max(C.update_time).concat(func.sum(func.julianday(C.day) * (C.open + 1)))
    else:  # of the content: where the trigger was refused, update_time stays behind
        content = func.sum(func.crc32(func.concat_ws("|", C.day, C.open)))
    rows = connection.execute(
        select(C.calendar, func.count().label("days"), content.label("content")).group_by(C.calendar)
    )
    return {_name(row.calendar): f"{row.days}:{row.content}" for row in rows}


def read(connection: Connection) -> Overrides:
    """Read the whole table, some hundred rows."""
    days: dict[str, dict[date, bool]] = {}
    for row in connection.execute(select(C.calendar, C.day, C.open)):
        days.setdefault(_name(row.calendar), {})[row.day] = bool(row.open)
    return Overrides(days)


def notes(connection: Connection, calendar: str) -> Mapping[date, str]:
    """Say why days of one calendar were overridden, for a preview. Primary key."""
    rows = connection.execute(select(C.day, C.note).where(C.calendar == calendar, C.note.is_not(None)))
    return {row.day: row.note for row in rows}


def _name(text: str) -> str:
    """Read the column as `periodic_task.calendar` is read."""
    return unicodedata.normalize("NFKC", text).strip().upper()
