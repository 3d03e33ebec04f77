"""Bring a backup back: python -m scripts.restore FILE | --check FILE.

It goes into the database of DATABASE_URL: on SQLite a file that is not there yet, else a database that has been
migrated (make migrate) and holds no task and no run.
"""

import argparse
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from config import SettingsError, get_settings
from packs.trading.backup import BackupFault, restore, verify
from scripts import shell
from store.database import connect

DONE, REFUSED = 0, 2
PATIENCE = 3600.0  # seconds that one statement may take


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 2 refused."""
    shell.speak_any_text()
    parser = argparse.ArgumentParser(prog="python -m scripts.restore", description="Bring a backup back.")
    parser.add_argument("file", type=Path, help="a backup of BACKUP_DIR, its .sha256 beside it")
    parser.add_argument("--check", action="store_true", help="only check that it is whole")
    given = parser.parse_args(arguments)
    try:
        if given.check:
            found = verify(given.file)
            print(f"{found.path.name} is whole: {found.bytes:,} bytes, SHA-256 {found.sha256}")
            return DONE
        engine = connect(get_settings().database_url, pool_size=1, silence=PATIENCE)
        try:
            restore(given.file, engine)
        finally:
            engine.dispose()
    except (SettingsError, BackupFault, OSError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except SQLAlchemyError as error:
        print(shell.unusable(error), file=sys.stderr)
        return REFUSED
    print(f"{given.file.name} is restored into {engine.url.render_as_string(hide_password=True)}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
