"""Write core/exchanges/*.json from the installed exchange_calendars: `python -m scripts.build_calendars`.

The product reads those files and never imports the library: pandas would cost beat 70 MB and half a second,
and with the files in git every host works from the same days and an update of them is a diff to read.
With new data out: install the new exchange_calendars (and its pandas, see requirements-dev.txt), run this, commit.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "core" / "exchanges"
FIRST = date(2010, 1, 1)
LAST = date(2036, 12, 31)  # of calendars that follow rules; others end with the days published so far
# Lists of days that end without the library saying so; raise the year when it adds days.
LISTED_UNTIL = {"XIDX": 2025, "XKAR": 2025, "XPHS": 2027, "XBKK": 2029, "XKLS": 2029}
NEW_HOURS_LOOK_AHEAD = 60  # sessions; hours that most of them keep are the new regular ones, not an exception
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Hours = str
"""Wall-clock times of the exchange, `09:30/11:30 13:00/15:00`; `-07:00` is 17:00 of the day before."""


def main() -> int:
    """Write one file an exchange and say which changed."""
    library = import_module("exchange_calendars")
    factories = import_module("exchange_calendars.calendar_utils")._default_calendar_factories
    version = f"exchange_calendars {library.__version__}"
    for code in sorted(factories):
        text = _json(_contents(code, factories[code], library, version))
        path = FOLDER / f"{file_name(code)}.json"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.name}: {'changed' if path.exists() else 'new'}")
            path.write_text(text, encoding="utf-8")
    aliases: dict[str, str] = library.calendar_utils._default_calendar_aliases
    (FOLDER / "_aliases.json").write_text(_json(dict(sorted(aliases.items()))), encoding="utf-8")
    return 0


def file_name(code: str) -> str:
    """Name the file of a code: 24/7 has a slash, us_futures is the only one in small letters."""
    return code.upper().replace("/", "-")


def _contents(code: str, factory: Any, library: Any, version: str) -> dict[str, Any]:
    first, last = _bounds(code, factory)
    calendar = library.get_calendar(code, start=str(first), end=str(last))
    week = calendar.weekmask
    hours = {day: text for day, text in _sessions(calendar) if first <= day <= last}
    every_day = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    regular = dict(_regular_hours(sorted(hours.items())))
    return {
        "name": code.upper(),
        "zone": str(calendar.tz),
        "library": version,
        "known_from": str(first),
        "known_until": str(last),
        "week": " ".join(name for name, open_ in zip(WEEKDAYS, week, strict=True) if open_ == "1"),
        "hours": {str(day): text for day, text in regular.items()},
        "closed": _by_year(day for day in every_day if week[day.weekday()] == "1" and day not in hours),
        "opened": _by_year(day for day in every_day if week[day.weekday()] == "0" and day in hours),
        "special": _special(hours, regular),
    }


def _bounds(code: str, factory: Any) -> tuple[date, date]:
    lowest, highest = factory.bound_min(), factory.bound_max()
    listed = date(LISTED_UNTIL.get(code, LAST.year), 12, 31)
    return max(FIRST, lowest.date() if lowest else FIRST), min(listed, highest.date() if highest else LAST)


def _sessions(calendar: Any) -> Iterator[tuple[date, Hours]]:
    for label, row in calendar.schedule.iterrows():
        parts = [row["open"], row["break_start"], row["break_end"], row["close"]]
        walls = [_offset(part.tz_convert(calendar.tz), label.date()) for part in parts if str(part) != "NaT"]
        yield label.date(), " ".join("/".join(walls[n : n + 2]) for n in range(0, len(walls), 2))


def _offset(moment: Any, day: date) -> str:
    wall = moment.to_pydatetime().replace(tzinfo=None)
    minutes, rest = divmod((wall - datetime.combine(day, datetime.min.time())).total_seconds(), 60)
    if rest:
        raise ValueError(f"{moment}: the files hold whole minutes")
    sign = "-" if minutes < 0 else ""
    return f"{sign}{abs(int(minutes)) // 60:02d}:{abs(int(minutes)) % 60:02d}"


def _regular_hours(sessions: list[tuple[date, Hours]]) -> Iterator[tuple[date, Hours]]:
    current = ""
    for n, (day, hours) in enumerate(sessions):
        if hours != current:
            ahead = [text for _, text in sessions[n : n + NEW_HOURS_LOOK_AHEAD]]
            if ahead.count(hours) * 2 > len(ahead):
                current = hours
                yield day, hours


def _special(hours: dict[date, Hours], regular: dict[date, Hours]) -> dict[Hours, dict[str, str]]:
    found: dict[Hours, list[date]] = {}
    current = ""
    for day in sorted(hours):
        current = regular.get(day, current)
        if hours[day] != current:
            found.setdefault(hours[day], []).append(day)
    return {text: _by_year(found[text]) for text in sorted(found)}


def _by_year(days: Iterable[date]) -> dict[str, str]:
    return {str(year): " ".join(f"{day:%m-%d}" for day in group) for year, group in groupby(days, lambda day: day.year)}


def _json(contents: dict[str, Any]) -> str:
    return json.dumps(contents, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
