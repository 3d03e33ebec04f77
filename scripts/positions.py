"""What portfolios hold: python -m scripts.positions import FILE [--portfolio NAME] | list [--portfolio NAME].

The file is CSV with the columns symbol, name, quantity and cost_price, or 代码, 名称, 数量 and 成本价.
It takes the place of what the portfolio held.
"""

import argparse
import sys
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import SettingsError
from packs.trading import report_data as stored
from packs.trading.positions import PositionsFault, check_portfolio, read_csv
from scripts import shell
from scripts.terminal import table
from store.database import autocommit, transaction

DONE, REFUSED = 0, 2
ENCODINGS = ("utf-8-sig", "gb18030")  # what spreadsheets write


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 2 refused."""
    shell.speak_any_text()
    given = _parser().parse_args(arguments)
    try:
        with shell.ledger() as (_, engine):
            print(given.command(given, engine))
    except (SettingsError, PositionsFault, OSError) as error:
        return _refuse(str(error))
    except SQLAlchemyError as error:
        return _refuse(shell.unusable(error))
    return DONE


def take_in(given: argparse.Namespace, engine: Engine) -> str:
    """Read the file, and put it in the place of what the portfolio held; all or nothing."""
    check_portfolio(given.portfolio)
    held = read_csv(_text(given.file))
    with transaction(engine) as tx:
        stored.replace_positions(tx, given.portfolio, held)
    return f"portfolio {given.portfolio}: {len(held)} positions"


def show(given: argparse.Namespace, engine: Engine) -> str:
    """List what a portfolio holds."""
    with autocommit(engine) as connection:
        held = stored.positions(connection, given.portfolio)
    rows = [(each.symbol, each.name or "", f"{each.quantity:g}", f"{each.cost_price:.4f}") for each in held]
    return table(("symbol", "name", "quantity", "cost price"), rows) if rows else "nothing is held"


def _text(file: Path) -> str:
    content = file.read_bytes()
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise PositionsFault(f"{file} is no text in UTF-8 or GB 18030; save it as CSV UTF-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.positions", description="What portfolios hold.")
    commands = parser.add_subparsers(dest="name", required=True)
    taking = commands.add_parser("import", help="take a CSV file in")
    taking.add_argument("file", type=Path)
    taking.set_defaults(command=take_in)
    listing = commands.add_parser("list", help="list what is held")
    listing.set_defaults(command=show)
    for each in (taking, listing):
        each.add_argument("--portfolio", default="default")
    return parser


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
