"""Run past moments of a row: python -m scripts.backfill start <row> --from 2026-01-01 --until 2026-02-01.

`start` enters the backfill, beat carries it out; list, pause, resume and cancel <id> look at it and steer it.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from beat.backfill_range import CannotBackfill, Count, count, enter, read_range
from config import Settings, SettingsError
from core.zones import zone_names
from scripts import shell
from scripts.rows import Refused, find_row, read_moment, shown
from scripts.terminal import table
from store import backfills
from store.backfills import BackfillState
from store.database import AnyRow, autocommit, read_clock, transaction
from surroundings import read_surroundings

DONE, REFUSED = 0, 2
LISTED: Final = 20


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 2 refused."""
    shell.speak_any_text()
    given = _parser().parse_args(arguments)
    try:
        with shell.ledger() as (settings, engine):
            print(given.command(given, engine, settings))
    except (SettingsError, Refused) as error:
        return _refuse(str(error))
    except SQLAlchemyError as error:
        return _refuse(shell.unusable(error))
    return DONE


def start(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Enter a backfill, or with --dry-run say what it would do. Raises Refused."""
    with transaction(engine) as tx:
        row, around = find_row(tx, given.row), read_surroundings(tx, settings)
        zone = row.timezone if row.timezone in zone_names() else around.zone
        since, until = _bounds(given, zone, read_clock(tx))
        try:
            wanted = read_range(tx, row, around, since, until)
            where = f"{row.name!r} from {shown(since, zone)} until {shown(until, zone)} ({zone})"
            if given.dry_run:
                return f"{where}: {_told(count(tx, wanted))}; the first moment is {shown(wanted.first, zone)}"
            made = enter(tx, wanted, at_a_time=given.at_a_time)
        except CannotBackfill as error:
            raise Refused(str(error)) from error
    return (
        f"backfill {made}: {where}, {given.at_a_time} at a time; the first moment is {shown(wanted.first, zone)}. "
        "Beat carries it out; look: python -m scripts.backfill list"
    )


def _told(counted: Count) -> str:
    more = "" if counted.is_whole else "at least "
    left_out = f"{counted.left_out} of them left out (succeeded, under way, or backfilled before)"
    return f"{more}{counted.moments} moments, {left_out}"


def _bounds(given: argparse.Namespace, zone: str, now: datetime) -> tuple[datetime, datetime]:
    first, until = read_moment("--from", given.since, zone), read_moment("--until", given.until, zone)
    if until > now:
        raise Refused(
            f"--until {given.until!r} lies ahead (it is {shown(now, zone)} in {zone}): what is to come the schedule "
            "itself runs; give a time that has passed"
        )
    if until < first:
        raise Refused(f"--until {given.until!r} is before --from {given.since!r}; change one of them")
    return first, until


def show(_given: argparse.Namespace, engine: Engine, _settings: Settings) -> str:
    """Lay out the newest backfills."""
    with autocommit(engine) as connection:
        found = backfills.latest(connection, LISTED)
    rows = [
        (
            str(one.id), one.state, str(one.created), str(one.left_out), str(one.at_a_time), _utc(one.from_moment),
            _utc(one.until_moment), _utc(one.next_moment), one.task_name,
        )
        for one in found
    ]  # fmt: skip
    head = ("id", "state", "runs", "left out", "at a time", "from (UTC)", "until (UTC)", "goes on at", "task")
    reasons = [f"  {one.id}: {one.reason}" for one in found if one.reason]
    return "\n".join([table(head, rows), *reasons]) if rows else "no backfills"


def _utc(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def cancel(given: argparse.Namespace, engine: Engine, _settings: Settings) -> str:
    """End a backfill and its waiting runs, with --cut those that have started too. Raises Refused."""
    with transaction(engine) as tx:
        revoked = backfills.cancel(tx, _held(tx, given.id), cut=given.cut)
    return f"backfill {given.id} is cancelled, {revoked} runs with it"


def turn_to(state: BackfillState) -> Callable[[argparse.Namespace, Engine, Settings], str]:
    """Make the command that pauses a backfill, or lets it go on."""

    def turn(given: argparse.Namespace, engine: Engine, _settings: Settings) -> str:
        with transaction(engine) as tx:
            backfills.move(tx, _held(tx, given.id), state=state)
        return f"backfill {given.id} is {state}"

    return turn


def _held(tx: Any, backfill_id: int) -> AnyRow:
    one = backfills.take(tx, backfill_id, wait=True)
    if one is not None:
        return one
    ended = backfills.read(tx, backfill_id)
    if ended is None:
        raise Refused(f"there is no backfill {backfill_id}; look: python -m scripts.backfill list")
    raise Refused(f"backfill {backfill_id} has ended already: {ended.state}, {ended.reason}")


def _refuse(message: str) -> int:
    shell.complain(message)
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="start|list|pause|resume|cancel")
    new = commands.add_parser("start", help="run past moments of a row")
    new.set_defaults(command=start)
    new.add_argument("row", help="the id or the name of a row of periodic_task")
    new.add_argument("--from", dest="since", required=True, metavar="TIME", help="in the row's zone, itself included")
    new.add_argument("--until", required=True, metavar="TIME", help="the same; a date alone is its midnight")
    new.add_argument("--at-a-time", type=_at_a_time, default=1, metavar="N", help="runs at once; default: 1")
    new.add_argument("--dry-run", action="store_true", help="count the moments, and enter nothing")
    commands.add_parser("list", help=f"the newest {LISTED}").set_defaults(command=show)
    for name, command, told in (
        ("pause", turn_to(BackfillState.PAUSED), "make no further runs for now"),
        ("resume", turn_to(BackfillState.RUNNING), "go on"),
        ("cancel", cancel, "make no further runs, and revoke those that wait"),
    ):
        each = commands.add_parser(name, help=told)
        each.set_defaults(command=command)
        each.add_argument("id", type=int, help="of the backfill")
        if command is cancel:
            each.add_argument("--cut", action="store_true", help="revoke the started runs too")
    return parser


def _at_a_time(text: str) -> int:
    number = int(text)
    if not 1 <= number <= backfills.MAX_AT_A_TIME:
        raise argparse.ArgumentTypeError(f"use a number from 1 to {backfills.MAX_AT_A_TIME}")
    return number


if __name__ == "__main__":
    sys.exit(main())
