"""From what was said to what it means: one choice of every piece, put together.

Pure and total: every kind of piece is used, or refused by name.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.cadence import CadenceError, parse_crontab
from core.calendar_data import CalendarError
from core.calendars import parse_name
from core.phrases.days import Choice, Said, days_of, month_days_of, months_of, weekdays_of
from core.phrases.meaning import DAY_MINUTES, Meaning, Unit, Unsayable, columns_of
from core.phrases.pieces import ASKED_COUNTRIES, ASKED_EXCHANGES, HOME, Kind
from core.recurrence import parse_rrule

THROUGH_THE_DAY: Final = frozenset({Unit.SECOND, Unit.MINUTE, Unit.HOUR})
MONTH_LENGTHS: Final = (31, 0, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # February ends on two days
#: What may be said beside each unit; anything else contradicts it.
ALWAYS: Final = frozenset({Kind.EVERY, Kind.ZONE, Kind.START, Kind.END, Kind.COUNT, Kind.ONCE, Kind.CALENDAR})
BESIDE: Final[dict[Unit, frozenset[Kind]]] = {
    Unit.SECOND: ALWAYS,
    Unit.MINUTE: ALWAYS | {Kind.WEEKDAYS, Kind.MONTH_DAYS, Kind.MONTHS, Kind.WINDOW, Kind.SESSION},
    Unit.HOUR: ALWAYS | {Kind.WEEKDAYS, Kind.MONTH_DAYS, Kind.MONTHS, Kind.WINDOW, Kind.SESSION, Kind.MINUTE},
    Unit.DAY: ALWAYS | {Kind.TIMES, Kind.PERIOD, Kind.MONTHS},
    Unit.WEEK: ALWAYS | {Kind.TIMES, Kind.PERIOD, Kind.MONTHS, Kind.WEEKDAYS},
    Unit.MONTH: ALWAYS | {Kind.TIMES, Kind.PERIOD, Kind.MONTHS, Kind.MONTH_DAYS, Kind.NTH, Kind.OPEN_DAY, Kind.DATE},
    Unit.YEAR: ALWAYS | {Kind.TIMES, Kind.PERIOD, Kind.MONTHS, Kind.MONTH_DAYS, Kind.NTH, Kind.DATE},
    Unit.ONCE: frozenset(
        {Kind.ZONE, Kind.ONCE, Kind.TIMES, Kind.PERIOD, Kind.DATE, Kind.RELATIVE, Kind.WEEKDAYS, Kind.MONTH_DAYS}
    ),
}


def meanings_of(said: Said, now: datetime, zone: str) -> list[Choice]:
    """Name every meaning, the likeliest first. Raises Unsayable."""
    named = said.one(Kind.ZONE)
    local = now.astimezone(ZoneInfo(named or zone)).replace(tzinfo=None)
    home = named or zone
    if Kind.AFTER in said.values:
        said.only(frozenset({Kind.AFTER, Kind.ZONE, Kind.ONCE}))
        moment = local.replace(microsecond=0) + timedelta(seconds=said.one(Kind.AFTER))
        return [Choice(Meaning(unit=Unit.ONCE, moment=moment, zone=named))]
    found: list[Choice] = []
    once, again = _readable_as(said)
    question = ("once_or_again",) if once and again else ()
    if again:
        for choice in _again(said, local, home):
            found.append(replace(choice, questions=(*question, *choice.questions)))
    if once:
        found.append(Choice(_once(said, local), questions=question))
    return [replace(choice, meaning=_zoned(choice.meaning, named, local, home)) for choice in found]


def _zoned(meaning: Meaning, named: str | None, local: datetime, home: str) -> Meaning:
    zone = meaning.zone or named
    there = local.replace(tzinfo=ZoneInfo(home)).astimezone(ZoneInfo(zone or home)).replace(tzinfo=None)
    return _checked(replace(meaning, zone=zone), there, zone or home)


def _readable_as(said: Said) -> tuple[bool, bool]:
    """Tell whether it may be meant once, and whether it may be meant again and again."""
    values = said.values
    if said.one(Kind.ONCE) == "only" and (said.repeats or Kind.EVERY in values):
        raise Unsayable("combination")
    if Kind.RELATIVE in values or (Kind.DATE in values and said.one(Kind.DATE)[0] is not None):
        if said.repeats:
            raise Unsayable("combination")
        return True, False
    if said.repeats or values.keys() & {Kind.EVERY, Kind.START, Kind.END, Kind.COUNT, Kind.WINDOW, Kind.SESSION}:
        return False, True
    if said.one(Kind.ONCE) is not None:
        return True, False
    several = any(len(values.get(kind, ())) > 1 for kind in (Kind.WEEKDAYS, Kind.MONTH_DAYS, Kind.TIMES))
    return not several, True


def _once(said: Said, local: datetime) -> Meaning:
    said.only(BESIDE[Unit.ONCE])
    times = said.values.get(Kind.TIMES, [])
    if len(times) != 1:
        raise Unsayable("time_missing" if not times else "two_rules")
    minute: int = times[0]
    at = timedelta(minutes=minute)
    days = [kind for kind in (Kind.RELATIVE, Kind.DATE, Kind.WEEKDAYS, Kind.MONTH_DAYS) if kind in said.values]
    if len(days) > 1:
        raise Unsayable("combination")
    day = _the_day(said, days[0] if days else None, local, at)
    if datetime.combine(day, time.min) + at <= local:
        raise Unsayable("past")
    if minute == DAY_MINUTES:
        day, minute = day + timedelta(days=1), 0
    return Meaning(unit=Unit.ONCE, day=day, times=(minute,))


def _the_day(said: Said, kind: Kind | None, local: datetime, at: timedelta) -> date:
    today = local.date()
    if kind is Kind.RELATIVE:
        return _relative(said.one(kind), today)
    if kind is Kind.DATE:
        return _date(said.one(kind), local, at)
    candidates = (today + timedelta(days=ahead) for ahead in range(400))
    if kind is Kind.WEEKDAYS:
        ((wanted,), step) = said.one(kind)
        if step != 1:
            raise Unsayable("combination")
        fits = (day for day in candidates if day.weekday() == wanted)
    elif kind is Kind.MONTH_DAYS:
        ((wanted,), months) = said.one(kind)
        if months or not 1 <= wanted <= 31:
            raise Unsayable("no_such_date")
        fits = (day for day in candidates if day.day == wanted)
    else:
        fits = iter(candidates)
    return next(day for day in fits if datetime.combine(day, time.min) + at > local)


def _relative(value: Any, today: date) -> date:
    """Read days from today, the coming weekday, or a weekday of this week or a later one."""
    if isinstance(value, int):
        return today + timedelta(days=value)
    how, weeks, weekday = value
    if how == "month":
        months = today.month - 1 + weeks
        try:
            return date(today.year + months // 12, months % 12 + 1, weekday)
        except ValueError:
            raise Unsayable("no_such_date") from None
    if how == "weekday" and weeks == 0:
        return today + timedelta(days=(weekday - today.weekday()) % 7)
    return today + timedelta(days=7 * weeks + weekday - today.weekday())


def _date(value: tuple[int | None, int, int], local: datetime, at: timedelta = timedelta(days=1)) -> date:
    """Read a date; without a year the next one that is not over."""
    year, month, day = value
    for candidate in [year] if year is not None else range(local.year, local.year + 9):
        try:
            found = date(candidate, month, day)
        except ValueError:
            continue
        if year is not None or datetime.combine(found, time.min) + at > local:
            return found
    raise Unsayable("no_such_date")


def _bound(value: Any, local: datetime) -> date | None:
    if value is None:
        return None
    return _relative(value[1], local.date()) if value[0] == "relative" else _date(value, local)


def _again(said: Said, local: datetime, home: str) -> list[Choice]:
    unit, step = _unit(said)
    said.only(BESIDE[unit] | ({Kind.WEEKDAYS} if unit is Unit.DAY and step == 1 else set()))
    base = Meaning(
        unit=unit,
        step=step,
        start=_bound(said.one(Kind.START), local),
        end=_bound(said.one(Kind.END), local),
        max_runs=said.one(Kind.COUNT),
    )
    if base.max_runs == 0 or (base.start and base.end and base.end < base.start):
        raise Unsayable("combination")
    if base.end and base.end < local.date():
        raise Unsayable("past")
    if unit in THROUGH_THE_DAY:
        choices = _through_the_day(said, base)
    else:
        choices = [_at_times(said, choice) for choice in days_of(said, base)]
    return [chosen for choice in choices for chosen in _on_calendar(said, choice, home)]


def _unit(said: Said) -> tuple[Unit, int]:
    every = said.one(Kind.EVERY)
    if every is None:
        return _implied_unit(said)
    unit, step = every
    if unit == "twice":
        return (Unit.WEEK if step == "week" else Unit.MONTH), 1
    if step < 1:
        raise Unsayable("combination")
    if unit == "quarter":
        return Unit.MONTH, 1 if step == 1 else 3 * step
    if step == 1 and unit == "day" and Kind.WEEKDAYS in said.values:
        return Unit.WEEK, 1
    if step == 1 and unit == "week" and Kind.CALENDAR in said.values and Kind.WEEKDAYS not in said.values:
        return Unit.DAY, 1
    if step == 1 and unit == "year":
        return Unit.MONTH, 1
    return Unit(unit), step


def _implied_unit(said: Said) -> tuple[Unit, int]:
    """Tell from the days how often it is, where no "every" says so."""
    values = said.values
    if values.keys() & {Kind.WINDOW, Kind.SESSION}:
        raise Unsayable("how_often")
    if Kind.WEEKDAYS in values:
        return Unit.WEEK, 1
    if values.keys() & {Kind.NTH, Kind.MONTH_DAYS, Kind.OPEN_DAY, Kind.DATE}:
        return Unit.MONTH, 1
    if Kind.MONTHS in values:
        raise Unsayable("day_missing")
    if values.keys() & {Kind.TIMES, Kind.CALENDAR} or Kind.PERIOD in said.repeats:
        return Unit.DAY, 1
    raise Unsayable("how_often")


def _through_the_day(said: Said, base: Meaning) -> list[Choice]:
    minute = said.one(Kind.MINUTE) or 0
    if minute > 59:
        raise Unsayable("combination")
    window = said.one(Kind.WINDOW)
    found = replace(
        base,
        minute=minute,
        weekdays=weekdays_of(said),
        month_days=month_days_of(said),
        months=months_of(said),
        window=window and tuple(window[:2]),
        open_end=bool(window and window[2]),
    )
    if found.weekdays and found.month_days:
        raise Unsayable("combination")
    if window is None or found.open_end:
        return [Choice(found)]
    # The end belongs to it. A crontab can only say so where the end is a mark of its own grid.
    without = replace(found, open_end=True)
    try:
        is_plain = "crontab" in columns_of(found)
    except Unsayable as error:
        if error.reason != "uneven_window":
            raise
        return [Choice(without, ("open_end",))]
    if is_plain or "crontab" not in columns_of(without):
        return [Choice(found)]
    return [Choice(without, questions=("window_end",)), Choice(found, questions=("window_end",))]


def _at_times(said: Said, choice: Choice) -> Choice:
    times = tuple(sorted(set(said.values.get(Kind.TIMES, []))))
    if not times:
        if Kind.PERIOD in said.values:
            raise Unsayable("time_missing")
        return replace(choice, meaning=replace(choice.meaning, times=(0,)), notes=(*choice.notes, "midnight"))
    if times[-1] < DAY_MINUTES:
        return replace(choice, meaning=replace(choice.meaning, times=times))
    # The end of a day is the beginning of the next.
    found = choice.meaning
    is_plain = found.step == 1 and not found.months and Kind.CALENDAR not in said.values
    if found.unit is Unit.DAY and not found.months and Kind.CALENDAR not in said.values:
        return replace(choice, meaning=replace(found, times=tuple(sorted({time % DAY_MINUTES for time in times}))))
    if is_plain and found.unit is Unit.WEEK and times == (DAY_MINUTES,):
        shifted = tuple(sorted((day + 1) % 7 for day in found.weekdays))
        return replace(choice, meaning=replace(found, times=(0,), weekdays=shifted))
    if found.unit is Unit.MONTH and found.step == 1 and len(found.month_days) == 1 and times == (DAY_MINUTES,):
        return replace(choice, meaning=_day_after(found))
    raise Unsayable("end_of_day")


def _day_after(found: Meaning) -> Meaning:
    """Move a rule of one day of the month to the 00:00 after it. Raises Unsayable where months differ in that."""
    (day,) = found.month_days
    if 1 <= day < 28:
        return replace(found, times=(0,), month_days=(day + 1,))
    if day == -1 or (found.months and all(day == MONTH_LENGTHS[month - 1] for month in found.months)):
        months = tuple(sorted(month % 12 + 1 for month in found.months))
        return replace(found, times=(0,), month_days=(1,), months=months)
    raise Unsayable("end_of_day")


def _on_calendar(said: Said, choice: Choice, home: str) -> list[Choice]:
    session = said.one(Kind.SESSION)
    named = choice.meaning.calendar or said.one(Kind.CALENDAR) or session
    if session is not None and Kind.CALENDAR in said.values:
        raise Unsayable("combination")
    if named is None:
        return [choice]
    if named in ("trading", "working"):
        place = 0 if named == "trading" else 1
        asked = ASKED_EXCHANGES if named == "trading" else ASKED_COUNTRIES
        codes = (HOME[home][place],) if home in HOME else asked
    else:
        codes = (named,)
    suffix = ":open" if session is not None else ""
    question = ("which_calendar",) if len(codes) > 1 else ()
    found = [
        replace(
            choice,
            meaning=replace(choice.meaning, calendar=f"{code}{suffix}"),
            questions=(*choice.questions, *question),
        )
        for code in codes
    ]
    theirs = _zone_abroad(codes[0], home) if len(codes) == 1 and Kind.ZONE not in said.values else None
    if theirs is None or not choice.meaning.times:
        return found
    # 美股交易日9点半: by the clocks there, or by those here?
    return [
        replace(each, meaning=replace(each.meaning, zone=zone), questions=(*each.questions, "which_zone"))
        for each in found
        for zone in (None, theirs)
    ]


def _zone_abroad(code: str, home: str) -> str | None:
    """Name the zone of an exchange where its clocks differ from those at home."""
    zone = next((zone for zone, (exchange, _) in HOME.items() if exchange == code), None)
    days = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 7))
    differs = zone is not None and any(
        day.astimezone(ZoneInfo(zone)).utcoffset() != day.astimezone(ZoneInfo(home)).utcoffset() for day in days
    )
    return zone if differs else None


def _checked(meaning: Meaning, local: datetime, home: str) -> Meaning:
    """See that its columns are sound; a rule of every second week begins with the next of its days."""
    if meaning.calendar is not None:
        try:
            parse_name(meaning.calendar)
        except CalendarError:
            raise Unsayable("no_such_calendar") from None
    if meaning.unit in THROUGH_THE_DAY or meaning.unit is Unit.ONCE:
        columns_of(meaning)
        return meaning
    now = local.replace(tzinfo=ZoneInfo(home))
    try:
        if meaning.step > 1 and meaning.start is None:
            meaning = replace(meaning, start=_first_day(replace(meaning, step=1), now, home))
        columns = columns_of(meaning)
        if "crontab" in columns:
            parse_crontab(columns["crontab"], home)
        else:
            parse_rrule(columns["rrule"], home, now)
    except CadenceError:
        raise Unsayable("no_such_date") from None
    return meaning


def _first_day(meaning: Meaning, now: datetime, home: str) -> date:
    columns = columns_of(meaning)
    rule = parse_crontab(columns["crontab"], home) if "crontab" in columns else parse_rrule(columns["rrule"], home, now)
    found = rule.after(now)
    if found is None:
        raise Unsayable("no_such_date")
    return found.astimezone(ZoneInfo(home)).date()
