"""What is published about each calendar: the open days of exchanges and countries, before any override.

Exchanges come from core/exchanges/*.json (see scripts/build_calendars.py), China from chinesecalendar, whose
make-up working days no other library has, every other country from `holidays`. Each is read when a row first
names it. All of this data ends somewhere; past its end a calendar goes on by its working week.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import version as installed_version
from importlib.resources import files
from typing import Any, TypeAlias

from core.cadence import CadenceError

Hours: TypeAlias = tuple[tuple[timedelta, timedelta], ...]
"""A day's sessions as distances from its midnight on the exchange's clock; before 00:00 is the day before."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONDAY_TO_FRIDAY = frozenset(range(5))
CHINA = "CN"
EXAMPLES = "Use an exchange such as XSHG, XNYS or XHKG, or a country such as CN, US or DE-BY"

# Written often, and near to no right name.
MEANT = {
    "SHSE": "XSHG", "SHANGHAI": "XSHG", "SZSE": "XSHG", "XSHE": "XSHG", "XSEC": "XSHG", "SH": "XSHG", "SZ": "XSHG",
    "A股": "XSHG", "上交所": "XSHG", "深交所": "XSHG", "沪深": "XSHG", "交易日": "XSHG", "港股": "XHKG",
    "港交所": "XHKG", "美股": "XNYS", "纽交所": "XNYS", "纳斯达克": "XNYS",
    "工作日": "CN", "节假日": "CN", "中国": "CN",
}  # fmt: skip


class CalendarError(CadenceError):
    """A calendar's name cannot be read; the message names the value and the mend."""


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A working week and the days that differ from it. Days outside the data answer by weekday and never raise."""

    name: str
    known_until: date
    version: str
    closed: frozenset[date]
    opened: frozenset[date]
    week: frozenset[int] = MONDAY_TO_FRIDAY
    zone: str | None = None
    """The exchange's time zone; None: a country, which has no sessions."""
    regular: tuple[tuple[date, Hours], ...] = ()
    special: Mapping[date, Hours] = field(default_factory=dict)

    def is_open(self, day: date) -> bool:
        """One or two look-ups."""
        return day not in self.closed if day.weekday() in self.week else day in self.opened

    def is_half(self, day: date) -> bool:
        """True where less is traded than on a regular day."""
        return day in self.special and _length(self.special[day]) < _length(self.regular_hours(day))

    def hours(self, day: date) -> Hours:
        """The sessions of `day` if it is open."""
        return self.special.get(day) or self.regular_hours(day)

    def regular_hours(self, day: date) -> Hours:
        """The hours in force on `day`; before and after the data the first and the last known."""
        if not self.regular:
            return ()
        return self.regular[max(bisect_right(self.regular, day, key=lambda item: item[0]) - 1, 0)][1]


@dataclass(frozen=True, slots=True, eq=False)
class Country:
    """Working days of a country or a part of it, from `holidays`, a year at a time."""

    name: str
    known_until: date
    version: str
    code: str
    part: str | None
    zone: None = None

    def is_open(self, day: date) -> bool:
        """One look-up, once the year is read (about 1 ms)."""
        return day in _working_days(self.code, self.part, day.year)

    def is_half(self, day: date) -> bool:
        """Not known of countries."""
        return False

    def hours(self, day: date) -> Hours:
        """Countries have no sessions."""
        return ()

    regular_hours = hours


Published: TypeAlias = Listed | Country


@lru_cache(maxsize=256)
def published(name: str) -> Published:
    """Read a calendar by its name in capitals, without suffix. Raises CalendarError with what was likely meant."""
    if name in exchange_names():
        return _exchange(name)
    if name == CHINA:
        return _china()
    code, _, part = name.partition("-")
    countries = _countries()
    if code not in countries:
        raise CalendarError(f"calendar {name!r} is unknown; {_meant(name)}{EXAMPLES}")
    model = getattr(import_module("holidays"), code)
    parts = {known.upper(): known for known in model.subdivisions}
    if part not in {"", *parts}:
        raise CalendarError(f"calendar {name!r}: {code} has no part {part!r}; {_part_meant(model, part)}")
    version = f"holidays {installed_version('holidays')}"
    return Country(name, date(model.end_year, 12, 31), version, code, parts.get(part))


@lru_cache(maxsize=1)
def exchange_names() -> frozenset[str]:
    """Name every exchange there is a file for."""
    return frozenset(item.name[:-5].replace("-", "/") for item in _folder().iterdir() if item.name[0] != "_")


def calendar_names() -> list[str]:
    """Name every exchange and country; parts of countries, such as DE-BY, are known beside them."""
    return sorted({*exchange_names(), *_countries(), CHINA})


def _folder() -> Any:
    return files("core").joinpath("exchanges")


def _exchange(name: str) -> Listed:
    text = _folder().joinpath(name.replace("/", "-") + ".json").read_text(encoding="utf-8")
    raw = json.loads(text)
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return Listed(
        name=name,
        known_until=date.fromisoformat(raw["known_until"]),
        version=f"{raw['library']} {digest}",  # the digest: days may be corrected under the same version
        closed=frozenset(_days(raw["closed"])),
        opened=frozenset(_days(raw["opened"])),
        week=frozenset(map(WEEKDAYS.index, raw["week"].split())),
        zone=raw["zone"],
        regular=tuple((date.fromisoformat(day), _hours(text)) for day, text in raw["hours"].items()),
        special={day: _hours(text) for text, years in raw["special"].items() for day in _days(years)},
    )


def _days(years: Mapping[str, str]) -> list[date]:
    return [date.fromisoformat(f"{year}-{day}") for year, days in years.items() for day in days.split()]


def _hours(text: str) -> Hours:
    pairs = (part.split("/") for part in text.split())
    return tuple((_distance(start), _distance(end)) for start, end in pairs)


def _distance(text: str) -> timedelta:
    hours, minutes = text.removeprefix("-").split(":")
    distance = timedelta(hours=int(hours), minutes=int(minutes))
    return -distance if text.startswith("-") else distance


def _length(hours: Hours) -> timedelta:
    return sum((end - start for start, end in hours), timedelta())


def _china() -> Listed:
    data = import_module("chinese_calendar.constants")
    return Listed(
        name=CHINA,
        known_until=date(max(data.holidays).year, 12, 31),
        version=f"chinesecalendar {installed_version('chinesecalendar')}",
        closed=frozenset(data.holidays),
        opened=frozenset(data.workdays),
    )


def _countries() -> dict[str, tuple[str, ...]]:
    """Every two-letter code, with the other names it goes by."""
    registry: Mapping[str, tuple[str, ...]] = import_module("holidays.registry").COUNTRIES
    return {names[1]: (module, *names) for module, names in registry.items()}


@lru_cache(maxsize=1024)
def _working_days(code: str, part: str | None, year: int) -> frozenset[date]:
    country = import_module("holidays").country_holidays(code, subdiv=part, years=year, expand=False)
    first = date(year, 1, 1)
    days = (first + timedelta(days=n) for n in range((date(year, 12, 31) - first).days + 1))
    return frozenset(day for day in days if country.is_working_day(day))


def _part_meant(model: Any, wrong: str) -> str:
    if not model.subdivisions:
        return f"use {model.country!r}"
    spelt = {other.upper(): known for other, known in model.subdivisions_aliases.items()}
    known = {**spelt, **{part.upper(): part for part in model.subdivisions}}
    near = get_close_matches(wrong, list(known), 1, 0.6)
    hint = f"did you mean '{model.country}-{known[near[0]]}'? " if near else ""
    return f"{hint}Known: {', '.join(sorted(model.subdivisions))}"


def _meant(wrong: str) -> str:
    aliases: dict[str, str] = json.loads(_folder().joinpath("_aliases.json").read_text(encoding="utf-8"))
    spelt = {other.upper(): code for code, names in _countries().items() for other in names}
    known = {**spelt, **aliases, **MEANT, **{name: name for name in exchange_names()}}
    near = [wrong] if wrong in known else get_close_matches(wrong, list(known), 1, 0.7)
    return f"did you mean {known[near[0]]!r}? " if near else ""


def data_versions() -> str:
    """Identify everything published that any calendar here stands on."""
    digest = blake2b(digest_size=6)
    for file in sorted(_folder().iterdir(), key=lambda item: str(item.name)):
        if file.name.endswith(".json"):
            digest.update(file.read_bytes())
    libraries = [f"{name} {installed_version(name)}" for name in ("holidays", "chinesecalendar")]
    return ", ".join([*libraries, f"exchanges {digest.hexdigest()}"])
