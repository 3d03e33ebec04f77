"""`/api/v2/calendars`: which there are, when their data ends, and what operators say about single days."""

from datetime import date, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError

from api.access import Caller, Operator
from api.editing import require
from api.problems import documented
from api.schedules import IfMatch
from api.services import Ours, Services
from core.calendars import Overrides, data_end, load
from edits import calendars as edits
from edits.calendars import Day as NewDay
from edits.calendars import DayChange
from edits.desk import Desk
from store import calendar_days
from store.database import AnyRow, autocommit, read_clock, transaction

PATH: Final = "/api/v2/calendars"
MOST_SHOWN: Final = timedelta(days=400)

router = APIRouter(prefix=PATH, tags=["calendars"], responses=documented(401, 422, 503))

Name = Annotated[str, Path(min_length=1, max_length=64, description="such as XSHG, CN, DE-BY; 24/7 is written 24-7")]


class CalendarInUse(BaseModel):
    """A calendar that rows name."""

    name: str
    data_ends_on: date
    """Later days go by weekday."""
    days_left: int


class Calendars(BaseModel):
    """The calendars that rows name, as a beat noted them within ten minutes."""

    items: list[CalendarInUse]
    remarks: list[str]


class CalendarKnown(BaseModel):
    """A calendar that rows may name; countries also by part, such as DE-BY."""

    name: str
    kind: Literal["exchange", "country"]
    data_ends_on: date


class CalendarsKnown(BaseModel):
    """Every calendar, by name."""

    items: list[CalendarKnown]


class Day(BaseModel):
    """A day: open or closed, and what it would be without the operators' word."""

    day: date
    open: bool
    published: bool
    overridden: bool
    note: str | None


class Calendar(BaseModel):
    """A calendar, and the operators' days of it."""

    name: str
    data_ends_on: date
    """The last day that is known, the operators' filled years included."""
    overrides: list[Day]


class Days(BaseModel):
    """What days are."""

    items: list[Day]


class DayRange(BaseModel):
    """Which days are asked for; at most 400."""

    model_config = ConfigDict(extra="forbid")

    first: Annotated[date | None, Field(description="default: today")] = None
    last: Annotated[date | None, Field(description="default: 30 days later")] = None


class NewDays(BaseModel):
    """Days to enter or to change, all or none."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[NewDay], Field(min_length=1, max_length=edits.MOST_DAYS)]


class Entered(BaseModel):
    """So many days are another than before."""

    changed: int


@router.get("")
def list_calendars(ours: Ours) -> Calendars:
    """Show the calendars that rows name, and until when their data reaches."""
    with autocommit(ours.engine) as connection:
        today = read_clock(connection).date()
        noted = calendar_days.read_noted(connection)
    left = sorted(noted.days_left(today).items())
    ends = [CalendarInUse(name=name, data_ends_on=today + timedelta(days=days), days_left=days) for name, days in left]
    return Calendars(items=ends, remarks=noted.remarks(today))


@router.get("/known")
def list_known_calendars() -> CalendarsKnown:
    """Name every calendar there is, and until when its published data reaches."""
    return CalendarsKnown(items=[CalendarKnown.model_validate(each, from_attributes=True) for each in edits.known()])


@router.get("/{calendar}")
def one_calendar(ours: Ours, calendar: Name, response: Response) -> Calendar:
    """Show a calendar with the operators' days; its ETag goes into If-Match of an edit of its days."""
    name = edits.base_of(calendar)
    with autocommit(ours.engine) as connection:
        rows = edits.overrides_of(connection, name)
    response.headers["ETag"] = edits.etag_of(rows)
    shown = [_shown(name, day, rows) for day in sorted(rows)]
    return Calendar(name=name, data_ends_on=data_end(name, _overrides(name, rows)), overrides=shown)


@router.get("/{calendar}/days")
def list_days(ours: Ours, calendar: Name, wanted: Annotated[DayRange, Query()]) -> Days:
    """Show which days are open."""
    name = edits.base_of(calendar)
    with autocommit(ours.engine) as connection:
        rows = edits.overrides_of(connection, name)
        first = wanted.first or read_clock(connection).date()
    last = wanted.last or first + min(timedelta(days=30), date.max - first)
    if not timedelta() <= last - first <= MOST_SHOWN:
        raise HTTPException(422, f"Ask for 1 to {MOST_SHOWN.days} days: last must not lie before first.")
    return Days(items=[_shown(name, first + timedelta(days=n), rows) for n in range((last - first).days + 1)])


@router.post("/{calendar}/days", responses=documented(403, 409, 412))
def enter_days(ours: Ours, caller: Operator, calendar: Name, given: NewDays, if_match: IfMatch = None) -> Entered:
    """Say what many days are, such as a year's holidays. A year counts as filled in with a row for its 31 December."""
    days: dict[date, DayChange] = {each.day: each for each in given.items}
    return Entered(changed=_put(ours, caller, edits.base_of(calendar), days, if_match))


@router.put("/{calendar}/days/{day}", responses=documented(403, 409, 412))
def enter_day(
    ours: Ours, caller: Operator, calendar: Name, day: date, given: DayChange, if_match: IfMatch = None
) -> Entered:
    """Say what one day is; beats arm the rows of the calendar anew within seconds."""
    return Entered(changed=_put(ours, caller, edits.base_of(calendar), {day: given}, if_match))


@router.delete("/{calendar}/days/{day}", status_code=204, responses=documented(403, 404, 412))
def delete_day(ours: Ours, caller: Operator, calendar: Name, day: date, if_match: IfMatch = None) -> None:
    """Let the published data say again what a day is."""
    name = edits.base_of(calendar)
    with transaction(ours.engine) as tx:
        require(edits.etag_of(edits.overrides_of(tx, name, lock=True)), if_match, f"Calendar {name}")
        if not edits.remove(Desk(tx, caller.actor, ours.settings), name, day):
            raise HTTPException(
                404, f"calendar_day says nothing about {day} in {name}; GET {PATH}/{calendar} lists it."
            )


def _put(ours: Services, caller: Caller, name: str, days: dict[date, DayChange], if_match: str | None) -> int:
    try:
        with transaction(ours.engine) as tx:
            require(edits.etag_of(edits.overrides_of(tx, name, lock=True)), if_match, f"Calendar {name}")
            return edits.put(Desk(tx, caller.actor, ours.settings), name, days)
    except IntegrityError as error:
        raise HTTPException(409, f"Somebody else enters days of {name} at this moment; try again.") from error


def _overrides(name: str, rows: dict[date, AnyRow]) -> Overrides:
    return Overrides({name: {day: bool(row.open) for day, row in rows.items()}})


def _shown(name: str, day: date, rows: dict[date, AnyRow]) -> Day:
    published, row = load(name).is_open(day), rows.get(day)
    return Day(
        day=day,
        open=published if row is None else bool(row.open),
        published=published,
        overridden=row is not None,
        note=None if row is None else row.note,
    )
