"""Queries on calendars: what operators say about single days (`calendar_day`), and which calendars rows name."""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from core.calendar_data import CalendarError
from core.calendars import Overrides, data_end, data_ends_on, ends_soon, parse_name
from models import CalendarDay
from store import leases
from store.database import AnyRow, utc_now
from store.schedules import T

TABLE: Table = CalendarDay.__table__  # type: ignore[assignment]
C = TABLE.c
NOTED: Final = "calendar_data"
MOST_CALENDARS: Final = 500  # there are fewer; a fleet of wrong names must not make a look long


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


def of_calendar(connection: Connection, calendar: str, *, lock: bool = False) -> dict[date, AnyRow]:
    """Read the rows of one calendar, however its name is spelt in them; of the table, some hundred rows."""
    query = select(TABLE).order_by(C.day)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {row.day: row for row in rows if _name(row.calendar) == calendar}


def add(tx: Connection, calendar: str, day: date, values: Mapping[str, Any]) -> None:
    """Enter a day. Raises IntegrityError where it is there."""
    tx.execute(insert(TABLE).values(calendar=calendar, day=day, **values))


def change(tx: Connection, row: AnyRow, values: Mapping[str, Any]) -> None:
    """Change a day. Primary key."""
    mine = (C.calendar == row.calendar, C.day == row.day)
    tx.execute(update(TABLE).where(*mine).values(**values, update_time=utc_now()))


def remove(tx: Connection, row: AnyRow) -> None:
    """Delete a day. Primary key."""
    tx.execute(delete(TABLE).where(C.calendar == row.calendar, C.day == row.day))


class InUse(NamedTuple):
    """A calendar that rows name, enabled or not."""

    value: str
    """The column, with its suffix, as one of the rows has it."""
    name: str
    end: date
    """The last day of its data."""


def in_use(connection: Connection, overrides: Overrides) -> list[InUse]:
    """Name the calendars of all rows; wrong names are left out, as config_error tells them.

    Index ix_periodic_task_calendar.
    """
    found = []
    for value in _values(connection):
        with suppress(CalendarError):
            found.append(InUse(value, parse_name(value).base, data_end(value, overrides)))
    return found


def _values(connection: Connection) -> Iterator[str]:
    beyond: Any = T.calendar.is_not(None)
    for _ in range(MOST_CALENDARS):  # a jump for each value: DISTINCT reads every entry of the index
        value = connection.execute(select(func.min(T.calendar)).where(beyond)).scalar()
        if value is None:
            return
        yield value
        beyond = T.calendar > value


def unknown(overrides: Overrides) -> list[str]:
    """Say what is wrong with the names in the table that no calendar has: their days change nothing."""
    found = []
    for name in overrides.days:
        try:
            parse_name(name)
        except CalendarError as error:
            found.append(str(error))
    return found


@dataclass(frozen=True, slots=True)
class Noted:
    """What a beat last found out about the calendars, for processes that read no calendar themselves."""

    ends: Mapping[str, date] = field(default_factory=dict)
    """The last day of the data of each calendar that rows name."""
    unknown: Sequence[str] = ()

    def days_left(self, today: date) -> dict[str, int]:
        """Count from today; below 0 the data has ended."""
        return {name: (end - today).days for name, end in self.ends.items()}

    def remarks(self, today: date) -> list[str]:
        """Name the calendars whose data ends soon, and the wrong names in the table."""
        soon = {name: end for name, end in sorted(self.ends.items()) if ends_soon(end, today)}
        return [
            *(f"{name}: {data_ends_on(end)}, install newer data or fill in calendar_day" for name, end in soon.items()),
            *(f"calendar_day: {problem}" for problem in self.unknown),
        ]


def write_noted(tx: Connection, noted: Noted) -> None:
    """Replace what is known. Primary key of scheduler_state."""
    ends = {name: end.isoformat() for name, end in noted.ends.items()}
    leases.write_state(tx, NOTED, json.dumps({"ends": ends, "unknown": noted.unknown}, ensure_ascii=False))


def read_noted(connection: Connection) -> Noted:
    """Nothing until a beat has looked. Primary key of scheduler_state."""
    found = json.loads(leases.read_state(connection, NOTED) or "{}")
    ends = {name: date.fromisoformat(end) for name, end in found.get("ends", {}).items()}
    return Noted(ends, found.get("unknown", ()))


def _name(text: str) -> str:
    """Read the column as `periodic_task.calendar` is read."""
    return unicodedata.normalize("NFKC", text).strip().upper()
