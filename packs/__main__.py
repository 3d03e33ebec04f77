"""Task packs on the command line: python -m packs install PACK | tables | requirements.

- `install PACK [--restore]`: the pack's tables, and its schedules as rows of `periodic_task`. May always be repeated:
  rows that an operator edited or deleted are left as they are.
- `tables`: the tables of the packs in TASK_PACKS and no rows; part of `make migrate`, whose account may create them.
- `requirements [--missing]`: the files that the packs in TASK_PACKS need, one a line, for `pip install -r`.
"""

import argparse
import sys
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import PACK_QUEUES, Settings, SettingsError, get_settings
from packs import schema
from packs.extras import missing, requirements_of
from packs.install import Done, install
from store.database import connect, in_words
from store.migrate import current_revision

DONE, FAILED, REFUSED = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the database refused, 2 a setting is wrong or the ledger has no schema."""
    given = _parser().parse_args(arguments)
    try:
        settings = get_settings()
        if given.command == "requirements":
            return _requirements(settings.task_packs, only_missing=given.missing)
        engine = connect(settings.database_url, pool_size=1)
        try:
            if current_revision(engine) is None:
                print("the database has no schema yet; run: make migrate", file=sys.stderr)
                return REFUSED
            if given.command == "tables":
                return _tables(engine, settings.task_packs)
            return _install(engine, settings, given.pack, restore=given.restore)
        finally:
            engine.dispose()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except SQLAlchemyError as error:
        print(f"DATABASE_URL: {in_words(error)}", file=sys.stderr)
        return FAILED


def _tables(engine: Engine, packs: Sequence[str]) -> int:
    for pack in packs:
        if not schema.is_current(engine, pack):
            schema.upgrade(engine, pack)
            print(f"tables of {pack}: brought to the newest schema")
    return DONE


def _install(engine: Engine, settings: Settings, pack: str, *, restore: bool) -> int:
    _tables(engine, [pack])
    counts: dict[Done, int] = {}
    for step in install(engine, pack, restore=restore):
        counts[step.done] = counts.get(step.done, 0) + 1
        print(f"{step.entry}: {step.done}" + (f" ({step.why})" if step.why else ""))
    print(f"{pack}: " + ", ".join(f"{count} {done}" for done, count in counts.items()))
    if pack not in settings.task_packs:
        print(f"TASK_PACKS does not name {pack}: its queues are unknown and its rows will not run until it does")
    if lacking := missing(requirements_of(pack)):
        print(f"not installed: {', '.join(lacking)}; run: .venv/bin/python -m pip install -r requirements-{pack}.txt")
    return DONE


def _requirements(packs: Sequence[str], *, only_missing: bool) -> int:
    for file in map(requirements_of, packs):
        if not only_missing or missing(file):
            print(file.name)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m packs", description="Task packs.")
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser("install", help="create the pack's tables and install its schedules")
    installing.add_argument("pack", choices=list(PACK_QUEUES))
    installing.add_argument("--restore", action="store_true", help="bring back rows that an operator deleted")
    commands.add_parser("tables", help="create or upgrade the tables of the packs in TASK_PACKS")
    naming = commands.add_parser("requirements", help="name the requirements files of the packs in TASK_PACKS")
    naming.add_argument("--missing", action="store_true", help="only files of which something is not installed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
