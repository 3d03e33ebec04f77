"""Users of the API: python -m scripts.users add <name> --role admin; password <name>; list.

Passwords are made here and printed once. The first admin is made this way; further users by POST /api/v2/users too.
"""

import argparse
import getpass
import secrets
import sys
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.access import Role
from api.passwords import hash_password, is_password
from config import SettingsError
from scripts import shell
from scripts.terminal import table
from store import access, audit
from store.access import Taken
from store.audit import Actor, Change
from store.database import autocommit, transaction

DONE, REFUSED = 0, 2
ADMIN: Final = "admin"


class NoSuchUser(Exception):
    """Nobody has the name."""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 2 refused."""
    given = _parser().parse_args(arguments)
    try:
        with shell.ledger() as (_, engine):
            print(given.command(given, engine))
    except Taken:
        return _refuse(f"there is a user {given.name!r} already; python -m scripts.users password {given.name}")
    except NoSuchUser:
        return _refuse(f"there is no user {given.name!r}; look: python -m scripts.users list")
    except SettingsError as error:
        return _refuse(str(error))
    except SQLAlchemyError as error:
        return _refuse(shell.unusable(error))
    return DONE


def add(given: argparse.Namespace, engine: Engine) -> str:
    """Make a user with a new password. Raises Taken."""
    password = new_password()
    add_user(engine, given.name, Role(given.role), password, by=_whoever())
    return f"user {given.name}, role {given.role}, password {password}"


def add_user(engine: Engine, name: str, role: Role, password: str, *, by: str) -> None:
    """Enter a user. Raises Taken."""
    with transaction(engine) as tx:
        hashed = hash_password(password)
        row = access.add_user(tx, name=name, role=role, password_hash=hashed, create_by=by, update_by=by)
        after = {"name": name, "role": role}
        audit.record(tx, Actor(by, "system"), Change(action="user.create", subject=row.id, after=after))


def has_password(engine: Engine, name: str, password: str) -> bool | None:
    """Tell whether a user has this password; None: there is no such user."""
    with autocommit(engine) as connection:
        user = access.user_by_name(connection, name)
    return None if user is None else is_password(password, user.password_hash)


def set_password(given: argparse.Namespace, engine: Engine) -> str:
    """Give a user a new password; his sessions end, and he is let in again. Raises NoSuchUser."""
    password, by = new_password(), _whoever()
    with transaction(engine) as tx:
        user = access.user_by_name(tx, given.name)
        if user is None:
            raise NoSuchUser
        access.change_user(tx, user.id, password_hash=hash_password(password), disabled_at=None, update_by=by)
        audit.record(tx, Actor(by, "system"), Change(action="user.password", subject=user.id))
    return f"user {user.name}, role {user.role}, password {password}"


def show(_given: argparse.Namespace, engine: Engine) -> str:
    """Lay out the users."""
    with autocommit(engine) as connection:
        found = access.users(connection)
    rows = [(row.name, row.role, "disabled" if row.disabled_at else "", str(row.last_login_at or "")) for row in found]
    return table(("name", "role", "", "last login (UTC)"), rows) if rows else "no users"


def new_password() -> str:
    """Make a password of 96 random bits."""
    return secrets.token_urlsafe(12)


def _whoever() -> str:
    return f"{getpass.getuser()} (scripts.users)"


def _refuse(message: str) -> int:
    shell.complain(message)
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="add|password|list")
    for name, command, told in (
        ("add", add, "make a user"),
        ("password", set_password, "give a user a new password"),
        ("list", show, "name the users"),
    ):
        each = commands.add_parser(name, help=told)
        each.set_defaults(command=command)
        if command is not show:
            each.add_argument("name", type=_name)
        if command is add:
            each.add_argument("--role", choices=list(Role), default=Role.VIEWER)
    return parser


def _name(text: str) -> str:
    if not 1 <= len(text) <= 100 or not text.isprintable():
        raise argparse.ArgumentTypeError("use a name of 1 to 100 characters that can be printed")
    return text


if __name__ == "__main__":
    sys.exit(main())
