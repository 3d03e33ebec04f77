"""Import the rows of celery_periodic_task_configs and scheduled_tasks: python scripts/import_legacy.py [--apply].

Without --apply it only shows, row by row, what it would do. Imported rows are disabled: look at them, then enable
them. Run it as often as you like: a name that exists is skipped, never overwritten.
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import ValidationError
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from config import Settings, SettingsError, get_settings
from core.arming import known_zone
from core.cadence import CadenceError
from logger import redact
from scripts.legacy_importer import TABLES, Importer, Options, SourceMissing, place
from store.database import connect

DONE, SOME_FAILED, UNREACHABLE = 0, 1, 2

EPILOG: Final = """\
times:
  The old beat evaluated the crontab columns of celery_periodic_task_configs in UTC, while the people who filled
  them in thought in Shanghai time: 'hour 9' really fired at 17:00 in Shanghai. The default, --legacy-zone UTC, keeps
  every row firing when it really fired. --legacy-zone Asia/Shanghai makes it fire when its author may have meant it
  to. Both readings are printed; where some rows need the one and some the other, import them in two runs by --only.
  The times of scheduled_tasks are those of the old host's clock, and are read in TIMEZONE by default. The option holds
  for every table of a run: use --table to read the two differently.


exit codes:
  0 every row was translated, 1 some could not be, 2 a database cannot be reached or a table is missing

A password on a command line shows in the list of processes: write --source-url=mysql://... into a file, and give
the file as @file.
"""


class Unreachable(Exception):
    """A database that cannot be used, and why."""


def main(arguments: list[str] | None = None) -> int:
    """Show or import; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no Chinese must not end the import
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        settings = get_settings()
        source_url = _source_url(given.source_url, settings)
        options = Options(
            apply=given.apply,
            table=given.table,
            only=frozenset(given.only or ()),
            legacy_zone=given.legacy_zone and known_zone(given.legacy_zone),
            display_zone=known_zone(given.display_zone or settings.timezone),
            endpoint=given.endpoint,
        )
    except (SettingsError, CadenceError, Unreachable) as error:
        return _fail(str(error))
    engines: list[Engine] = []
    try:
        target = _open("DATABASE_URL", settings.database_url, engines)
        source = _open("the source", source_url, engines)
        if not inspect(target).has_table("periodic_task"):
            return _fail(f"DATABASE_URL: {place(target)} has no table periodic_task; run: make migrate")
        report = Importer(options, settings, source, target).run()
    except (SourceMissing, Unreachable) as error:
        return _fail(str(error))
    except SQLAlchemyError as error:
        return _fail(f"a database failed; rows imported so far stay, run it again: {getattr(error, 'orig', error)}")
    finally:
        for engine in engines:
            engine.dispose()
    print(json.dumps(report.as_json(), ensure_ascii=False, indent=2) if given.json else report.as_text())

    return SOME_FAILED if report.failed else DONE


def _source_url(given: str | None, settings: Settings) -> str:
    if not given:
        return settings.database_url
    try:
        url = Settings(database_url=given).database_url
    except (ValidationError, ValueError) as error:  # their text would show the address, password and all
        mend = "use mysql://user:password@host:3306/database or sqlite:////path/to/file"
        raise Unreachable(f"--source-url is no database address; {mend}") from error
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise Unreachable(f"the source {path} does not exist")
    return url


def _open(what: str, url: str, engines: list[Engine]) -> Engine:
    try:
        engine = connect(url, pool_size=2)
    except (SQLAlchemyError, ValueError) as error:
        raise Unreachable(f"{what} is no database address") from error
    engines.append(engine)
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        raise Unreachable(f"{what}, {place(engine)}, cannot be reached: {getattr(error, 'orig', error)}") from error
    return engine


def _fail(message: str) -> int:
    print(redact(message), file=sys.stderr)
    return UNREACHABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--apply", action="store_true", help="insert the rows; without it nothing is written")
    parser.add_argument("--source-url", metavar="URL", help="the old database; default: DATABASE_URL, where rows go")
    parser.add_argument("--table", choices=TABLES, help="only this table; default: whichever of the two are there")
    parser.add_argument("--only", action="append", metavar="NAME", help="only the row of this name; may be repeated")
    parser.add_argument("--legacy-zone", metavar="ZONE", help="the zone in which the old times are read, see below")
    parser.add_argument("--display-zone", metavar="ZONE", help="the zone of the printed times; default: TIMEZONE")
    parser.add_argument("--endpoint", metavar="NAME", help="the endpoint that the workflows of scheduled_tasks call")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
