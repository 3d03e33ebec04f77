"""Show when a row or a draft runs next: python -m scripts.preview <row id or name> [--crontab ...] [-n 10] [--json].

Without a row the options make a draft. With one they stand in the place of its columns: what would an edit do?
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

import preflight
from config import Settings, SettingsError, get_settings
from core.arming import KINDS, Surroundings
from core.cadence import MICROSECOND
from core.calendars import NO_OVERRIDES, Overrides
from core.legacy.rows import as_row
from core.preview import MAX_FIRES, LeftOut, Preview, as_json, preview
from core.zones import zone_names
from scripts import shell
from scripts.rows import Refused, find_row, read_moment
from store import calendar_days
from store.database import autocommit, connect, read_clock
from surroundings import read_surroundings

SHOWN, BROKEN, UNUSABLE = 0, 1, 2
DAY_AND_TIME: Final = "%a %Y-%m-%d %H:%M:%S"

#: The WHEN columns, and how an option's text becomes their value.
COLUMNS: Final[dict[str, Callable[[str], Any]]] = {
    "crontab": str, "interval_seconds": int, "rrule": str, "run_at": datetime.fromisoformat, "timezone": str,
    "dst_policy": str, "calendar": str, "calendar_roll": str, "start_time": datetime.fromisoformat,
    "end_time": datetime.fromisoformat, "max_runs": int, "jitter_seconds": int,
}  # fmt: skip
NO_WORK: Final = '{"task_type": "celery", "task": "draft"}'  # a draft is about WHEN; any sound WHAT will do


def main(arguments: list[str] | None = None) -> int:
    """Print the coming fires. Exit codes: 0 shown, 1 the row is broken, 2 there is nothing to look at."""
    shell.speak_any_text()
    parser = _parser()
    given = parser.parse_args(arguments)
    edits = {name: value for name in COLUMNS if (value := getattr(given, name)) is not None}
    if given.row is None and not edits.keys() & set(KINDS):
        parser.error(f"name a row, or give one of {', '.join(map(_option, KINDS))}")
    try:
        settings = get_settings()
        source = _draft(settings, edits) if given.row is None else _read(given.row, settings)
        found = _look(_edited(source.columns, edits), source, given)
    except (SettingsError, Refused) as error:
        shell.complain(str(error))
        return UNUSABLE
    except SQLAlchemyError as error:
        shell.complain(shell.unusable(error))
        return UNUSABLE
    if given.row is None and given.jitter_seconds:
        found.warnings.append("the delays of jitter_seconds depend on the row's id, so a draft's are an example")
    print(json.dumps(as_json(found), ensure_ascii=False, indent=2) if given.json else as_text(found))
    return BROKEN if found.problems else SHOWN


@dataclass(frozen=True, slots=True)
class Source:
    """A row or a draft, and what it is judged by."""

    columns: dict[str, Any]
    around: Surroundings
    now: datetime
    notes: Mapping[date, str] = field(default_factory=dict)
    """What operators wrote about days of its calendar."""


def _look(row: Any, source: Source, given: argparse.Namespace) -> Preview:
    since, zone = source.now, row.timezone or source.around.zone
    if given.since is not None and zone in zone_names():  # preview() tells what is wrong with the zone
        row.next_run_at = None  # it belongs to now
        since = read_moment("--from", given.since, zone) - MICROSECOND
    found = preview(row, source.around, since, given.count)
    for place, entry in enumerate(found.entries):
        if isinstance(entry, LeftOut) and (note := source.notes.get(entry.first.date())):
            found.entries[place] = replace(entry, reason=f"{entry.reason} ({note})")
    return found


def _read(text: str, settings: Settings) -> Source:
    preflight.check_database(settings)
    engine = connect(settings.database_url, pool_size=1)
    try:
        with autocommit(engine) as connection:
            row = dict(find_row(connection, text)._mapping)
            if row["needs_arming"]:  # edited a moment ago: its next_run_at is still that of the old columns
                row["next_run_at"] = None
            notes = _notes(connection, row["calendar"])
            return Source(row, read_surroundings(connection, settings), read_clock(connection), notes)
    finally:
        engine.dispose()


def _draft(settings: Settings, edits: dict[str, Any]) -> Source:
    now = datetime.now(UTC)
    row = vars(as_row({"id": 0, "enabled": 1, "task_extra_config": NO_WORK, **edits}, now))
    overrides, notes = _said_of_days(settings, edits["calendar"]) if "calendar" in edits else (NO_OVERRIDES, {})
    return Source(row, Surroundings(settings.timezone, frozenset(settings.queues), overrides), now, notes)


def _said_of_days(settings: Settings, calendar: str) -> tuple[Overrides, Mapping[date, str]]:
    """Read calendar_day where there is a database; a draft is shown without it too."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return NO_OVERRIDES, {}  # connecting would make the file
    engine = connect(settings.database_url, pool_size=1)
    try:
        with autocommit(engine) as connection:
            return calendar_days.read(connection), _notes(connection, calendar)
    except SQLAlchemyError:
        print("note: calendar_day cannot be read, so its days are not in this", file=sys.stderr)
        return NO_OVERRIDES, {}
    finally:
        engine.dispose()


def _notes(connection: Connection, calendar: str | None) -> Mapping[date, str]:
    return {} if calendar is None else calendar_days.notes(connection, calendar.partition(":")[0].strip())


def _edited(row: dict[str, Any], edits: dict[str, Any]) -> Any:
    """Put the options in the place of the columns; another kind of WHEN takes the place of the old one."""
    if not edits:
        return as_row(row, row["create_time"])
    kinds = dict.fromkeys(KINDS) if edits.keys() & set(KINDS) else {}
    return as_row({**row, **kinds, **edits, "next_run_at": None}, row["create_time"])


def as_text(found: Preview) -> str:
    """Lay out the fires, numbered, and between them what is left out."""
    zone, number = ZoneInfo(found.zone) if found.entries else UTC, 0
    lines = [_line("", f"in {found.zone}", "in UTC", "jitter", "")] if found.entries else []
    for entry in found.entries:
        if isinstance(entry, LeftOut):
            lines.append(_line("-", f"{entry.first:{DAY_AND_TIME}}", "", "", _told(entry)))
            continue
        number += 1
        local, delay = entry.moment.astimezone(zone), (entry.moment - entry.nominal).total_seconds()
        utc, jitter = f"{entry.moment:%Y-%m-%d %H:%M:%S}", f"+{delay:.0f} s" if delay else ""
        lines.append(_line(str(number), f"{local:{DAY_AND_TIME} %z}", utc, jitter, entry.note))
    lines += [f"broken: {problem}" for problem in found.problems]
    lines += [f"ends: {found.ended}"] if found.ended else []
    lines += [f"note: {warning}" for warning in found.warnings]
    return "\n".join(lines)


def _line(number: str, local: str, utc: str, jitter: str, note: str) -> str:
    return f"{number:>4}  {local:<29}  {utc:<19}  {jitter:>8}  {note}".rstrip()


def _told(entry: LeftOut) -> str:
    if entry.count == 1:
        return f"left out: {entry.reason}"
    many = "many" if entry.count is None else f"{entry.count} times"
    return f"left out, {many} until {entry.last:%m-%d %H:%M:%S}: {entry.reason}"


def _option(column: str) -> str:
    return "--" + column.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="?", help="the id or the name of a row of periodic_task")
    parser.add_argument("-n", dest="count", type=_count, default=10, metavar="N", help="how many fires; default: 10")
    parser.add_argument(
        "--from", dest="since", metavar="TIME", help="look from this time of the row's clocks; default: now"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    columns = parser.add_argument_group("columns of a draft, or in the place of the row's")
    for column, read in COLUMNS.items():
        metavar = {int: "N", str: "TEXT"}.get(read, "TIME")  # type: ignore[call-overload]
        columns.add_argument(_option(column), type=read, metavar=metavar)
    return parser


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MAX_FIRES:
        raise argparse.ArgumentTypeError(f"use a number from 1 to {MAX_FIRES}")
    return count


if __name__ == "__main__":
    sys.exit(main())
