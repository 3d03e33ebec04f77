"""Where notifications go: python -m scripts.channels list | add <name> | test <name> | remove <name>.

Rows name a channel in `notify`; its Apprise address (https://appriseit.com/services/) holds secrets, and is read from
the standard input or from an environment variable, never from an argument, and never shown again.
"""

import argparse
import getpass
import sys

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import Settings, SettingsError
from core.refused import Refused as RefusedEdit
from edits import channels as edits
from edits.desk import Desk, read
from notify import ChannelFault, kinds_of, send_test
from scripts import shell
from scripts.rows import Refused, shown
from scripts.terminal import table
from store import notifications
from store.database import AnyRow, autocommit, transaction

DONE, REFUSED = 0, 2


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 2 refused."""
    shell.speak_any_text()
    given = _parser().parse_args(arguments)
    try:
        with shell.ledger() as (settings, engine):
            print(given.command(given, engine, settings))
    except (SettingsError, Refused, RefusedEdit) as error:
        return _refuse(str(error))
    except SQLAlchemyError as error:
        return _refuse(shell.unusable(error))
    return DONE


def show(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """List the channels, without their addresses."""
    with autocommit(engine) as connection:
        found = notifications.channels(connection)
    if not found:
        return "there is no channel yet; add one: python -m scripts.channels add <name>"
    rows = [
        (
            row.name,
            "on" if row.enabled else "off",
            _kind_of(row, settings),
            str(row.waiting or 0),
            shown(row.last_sent_at, settings.timezone) if row.last_sent_at else "never",
            row.last_error or "",
        )
        for row in found
    ]
    return table(("channel", "", "address", "waiting", f"last told ({settings.timezone})", "trouble"), rows)


def _kind_of(row: AnyRow, settings: Settings) -> str:
    """Show where an address is kept, and of which kind it is."""
    kinds = kinds_of(row, settings)
    kind = "cannot be read" if kinds is None else ", ".join(f"{scheme}://***" for scheme in kinds)
    return f"{kind} ({'stored' if row.url_env is None else row.url_env})"


def add(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Enter a channel, or give it another address. Raises Refused, RefusedEdit."""
    name = given.name
    edits.check_name(name)
    values = {"url_env": given.url_env} if given.url_env is not None else {"url": _asked_for()}
    found = edits.address(read(edits.ChannelChange, values), name, settings)
    with transaction(engine) as tx:
        desk = Desk(tx, shell.actor(), settings)
        row = notifications.channel(tx, name)
        if row is None:
            edits.add(desk, read(edits.NewChannel, {"name": name}), found)
        else:
            edits.change(desk, row, edits.ChannelChange(), found)
    done = "added" if row is None else "has another address now"
    return f"channel {name} {done}; try it: python -m scripts.channels test {name}"


def _asked_for() -> str:
    """Read an address without showing it."""
    url = getpass.getpass("Apprise address: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not url.strip():
        raise Refused("no address was given; write it to the standard input, such as dingtalk://<secret>@<token>")
    return url.strip()


def test(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Send a message to a channel now. Raises Refused, RefusedEdit with the reason of the other side."""
    with autocommit(engine) as connection:
        row = edits.find(connection, given.name)
    try:
        send_test(row, settings)
    except ChannelFault as fault:
        raise Refused(f"channel {row.name} was not told: {fault}") from None
    return f"channel {row.name} took the message"


def remove(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Delete a channel and what waits for it. Raises RefusedEdit."""
    with transaction(engine) as tx:
        waiting = edits.remove(Desk(tx, shell.actor(), settings), edits.find(tx, given.name))
    lost = f", and {waiting} events that waited for it" if waiting else ""
    return f"channel {given.name} is removed{lost}; rows that name it run on, and tell nobody"


def _refuse(message: str) -> int:
    shell.complain(f"channels: {message}")
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.channels", description="Where notifications go.")
    commands = parser.add_subparsers(required=True, metavar="list | add | test | remove")
    commands.add_parser("list", help="the channels, and what waits for them").set_defaults(command=show)
    adding = commands.add_parser("add", help="enter a channel; its Apprise address is read from the standard input")
    adding.add_argument("name")
    adding.add_argument("--url-env", metavar="X_NOTIFY_URL", help="the environment variable that holds its address")
    adding.set_defaults(command=add)
    for name, command, about in (
        ("test", test, "send a message to a channel now"),
        ("remove", remove, "delete a channel and what waits for it"),
    ):
        one = commands.add_parser(name, help=about)
        one.add_argument("name")
        one.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
