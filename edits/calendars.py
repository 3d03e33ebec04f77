"""Single days of calendars: what an operator says about them goes before the published data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection

from core.calendar_data import CalendarError, calendar_names, published
from core.calendars import parse_name
from core.refused import Refused
from edits.desk import Desk, Given, fingerprint
from store import audit, calendar_days
from store.audit import Change
from store.database import AnyRow

EARLIEST, LATEST = 1970, 2199
MOST_DAYS: Final = 1000


class DayChange(Given):
    """What one day is."""

    open: Annotated[bool, Field(description="true: open, with the regular hours; false: closed")]
    note: Annotated[str | None, Field(max_length=500)] = None


class Day(DayChange):
    """A day and what it is."""

    day: date


@dataclass(frozen=True, slots=True)
class Known:
    """A calendar that there is."""

    name: str
    kind: str
    """exchange, country."""
    data_ends_on: date
    """Of the published data; `calendar_day` may go further."""


@lru_cache(maxsize=1)
def known() -> tuple[Known, ...]:
    """Name every calendar, by its name; reads all of the published data, which takes a second or two once."""
    every = ((name, published(name)) for name in calendar_names())
    return tuple(Known(name, "exchange" if data.zone else "country", data.known_until) for name, data in every)


def base_of(text: str) -> str:
    """Read a calendar's name as an address has it, where `24/7` is written `24-7`. Raises Refused."""
    if ":" in text:
        raise Refused.of("calendar", f"calendar {text!r}: days are of the calendar itself; leave out what follows ':'")
    try:
        return parse_name(text).base
    except CalendarError as error:
        slashed = text.replace("-", "/").upper()
        if "-" in text and any(each == slashed for each in calendar_names()):
            return slashed
        raise Refused.of("calendar", str(error)) from None


def put(desk: Desk, calendar: str, days: Mapping[date, DayChange]) -> int:
    """Say what days are, one by one or a year of them; return how many differ from before. Raises Refused.

    Raises IntegrityError where somebody else enters the same day at this moment.
    """
    wrong = [day for day in days if not EARLIEST <= day.year <= LATEST]
    if wrong:
        raise Refused.of("day", f"{wrong[0]}: use a year from {EARLIEST} to {LATEST}")
    rows = calendar_days.of_calendar(desk.tx, calendar, lock=True)
    changes = []
    with audit.silence_triggers(desk.tx):
        for day, given in days.items():
            old, new = rows.get(day), {"open": int(given.open), "note": given.note}
            before = None if old is None else _audited(old)
            if before == new:
                continue
            if old is None:
                calendar_days.add(desk.tx, calendar, day, new)
            else:
                calendar_days.change(desk.tx, old, new)
            verb = "create" if old is None else "update"
            changes.append(Change(action=f"calendar_day.{verb}", subject=f"{calendar}/{day}", before=before, after=new))
    audit.record(desk.tx, desk.actor, *changes)
    return len(changes)


def remove(desk: Desk, calendar: str, day: date) -> bool:
    """Let the published data say again what a day is. False: it did already."""
    row = calendar_days.of_calendar(desk.tx, calendar, lock=True).get(day)
    if row is None:
        return False
    with audit.silence_triggers(desk.tx):
        calendar_days.remove(desk.tx, row)
    desk.enter(Change(action="calendar_day.delete", subject=f"{calendar}/{day}", before=_audited(row)))
    return True


def etag_of(rows: Mapping[date, AnyRow]) -> str:
    """Fingerprint what operators say about a calendar."""
    return fingerprint({str(day): _audited(row) for day, row in sorted(rows.items())})


def overrides_of(connection: Connection, calendar: str, *, lock: bool = False) -> dict[date, AnyRow]:
    """Read what operators say about a calendar's days."""
    return calendar_days.of_calendar(connection, calendar, lock=lock)


def _audited(row: AnyRow) -> dict[str, Any]:
    return {"open": int(row.open), "note": row.note}
