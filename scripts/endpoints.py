"""Where agents are: python -m scripts.endpoints list | add | set | remove | test | rotate-keys.

A key is read from the terminal or a pipe (--key-stdin), or from an environment variable (--key-from NAME), never from
the command line, which other users of the machine may read. It is stored encrypted with SECRET_KEY and never shown.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import credentials
from config import Settings, SettingsError
from core.budget import TOKENS, AtLimit, Budget, shown
from core.refused import Refused as RefusedEdit
from credentials import CredentialError
from edits import budgets as budget_edits
from edits import channels as channel_edits
from edits import endpoints as edits
from edits.desk import Desk, read
from endpoints import tried
from notify import ChannelFault, sealed_anew
from providers import registry
from scripts import shell
from scripts.rows import Refused
from scripts.terminal import table
from store import budgets, notifications
from store import endpoints as stored
from store.database import AnyRow, autocommit, read_clock, transaction

DONE, FAILED, REFUSED = 0, 1, 2
TEST_SECONDS: Final = 30.0
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Failed(Exception):
    """What was asked for was tried and did not work; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked. Exit codes: 0 done, 1 tried and failed, 2 refused."""
    shell.speak_any_text()
    given = _parser().parse_args(arguments)
    try:
        with shell.ledger() as (settings, engine):
            print(given.command(given, engine, settings))
    except Failed as error:
        return _say(str(error), FAILED)
    except (SettingsError, Refused, RefusedEdit) as error:
        return _say(str(error), REFUSED)
    except SQLAlchemyError as error:
        return _say(shell.unusable(error), REFUSED)
    return DONE


# -- commands -----------------------------------------------------------------------------------------


def show(_given: argparse.Namespace, engine: Engine, _settings: Settings) -> str:
    """Lay out every endpoint, the limits of its agents and its budgets; of keys only where they come from."""
    with autocommit(engine) as connection:
        rows, agents = stored.every(connection), stored.agent_limits(connection)
        known, now = budgets.every(connection), read_clock(connection)
        looks = budgets.looks(connection, known, now)
        told = [_told(budget, looks[budget.id]) for budget in known]
    head = ("name", "provider", "key", "at once", "req/min", "tok/min", "price in/out", "address")
    lines = [
        (row.name, row.provider, _where_key(row), *_limits(row), _price(row), row.base_url)
        for row in rows
    ]  # fmt: skip
    found = [table(head, lines) if lines else "no endpoints but the one of the settings (AGENT_API_BASE_URL)"]
    if agents:
        shown_agents = [(row.endpoint, row.agent, *_limits(row)) for row in agents]
        found.append(table(("endpoint", "agent", "at once", "req/min", "tok/min"), shown_agents))
    if told:
        found.append(table(("budget", "of", "amount", "window", "at limit", "spent", "going on", "unknown"), told))
    return "\n\n".join(found)


def _told(budget: Budget, look: budgets.Look) -> tuple[str, ...]:
    seen = look.standing
    of = f"endpoint {budget.endpoint}" if budget.endpoint is not None else f"task {budget.periodic_task_id}"
    return (
        str(budget.id), of, f"{shown(budget.amount)} {budget.unit}", f"{budget.window_seconds} s", budget.at_limit,
        shown(seen.spent), str(seen.going_on), str(look.unknown),
    )  # fmt: skip


def add(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Enter an endpoint. Raises Refused."""
    new = read(edits.NewEndpoint, {"name": given.name, **_values(given), **_key(given, given.name)})
    with transaction(engine) as tx:
        desk = Desk(tx, shell.actor(), settings)
        edits.add(desk, new)
        _set_budget(desk, given)
    return f"endpoint {given.name!r} is entered; try it: python -m scripts.endpoints test {given.name}"


def change(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Change an endpoint, the limits of one of its agents, or its budgets. Raises Refused."""
    values = _values(given)
    with transaction(engine) as tx:
        desk = Desk(tx, shell.actor(), settings)
        row = edits.find(tx, given.name)
        if given.agent is not None:
            return _limit_agent(desk, given, values)
        values |= _key(given, row.name)
        if not (values or given.budget or given.no_budgets):
            raise Refused("nothing to change; see: python -m scripts.endpoints set --help")
        edits.change(desk, row, read(edits.EndpointChange, values))
        for budget in budgets.of_endpoint(tx, row.name) if given.no_budgets else ():
            budget_edits.remove(desk, budget)
        _set_budget(desk, given)
    return f"endpoint {given.name!r} is changed; workers go by it within some seconds"


def remove(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Delete an endpoint, the limits of its agents and its budgets. Raises Refused."""
    with transaction(engine) as tx:
        row = edits.find(tx, given.name)
        gone = edits.remove(Desk(tx, shell.actor(), settings), row)
    return f"endpoint {given.name!r} is removed, {gone} budgets with it; tasks that name it get a config_error"


def test(given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Reach an endpoint; with --agent ask it something. Raises Failed, Refused."""
    with autocommit(engine) as connection:
        row = edits.find(connection, given.name)
    found = tried(row, settings, agent=given.agent, message=given.message, timeout=given.timeout)
    if found.kind is not None:
        raise Failed(f"endpoint {row.name!r}: {found.detail} ({found.kind})")
    if given.agent is None:
        return f"{found.detail}. A real call: … test {row.name} --agent ID"
    told = {each.name: getattr(found.usage, each.name) for each in fields(found.usage)}
    usage = ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
    return f"{found.answer}\n\n{found.seconds:.1f} s; {usage or 'it tells no tokens'}"


def rotate_keys(_given: argparse.Namespace, engine: Engine, settings: Settings) -> str:
    """Write every stored key, and every channel's address, anew with today's SECRET_KEY. Safe to repeat.

    Raises Failed where one cannot be read.
    """
    anew, broken = 0, []
    with autocommit(engine) as connection:
        rows = [row for row in stored.every(connection) if row.credential is not None]
        channels = [row for row in notifications.channels(connection) if row.url is not None]
    for row in rows:
        try:
            new = credentials.encrypt_anew(row.credential, settings)
        except CredentialError as error:
            broken.append(f"endpoint {row.name!r}: {error}")
            continue
        with transaction(engine) as tx:
            anew += edits.replace_ciphertext(Desk(tx, shell.actor(), settings), row, new)
    for row in channels:
        try:
            new = sealed_anew(row, settings)
        except ChannelFault as fault:
            broken.append(f"channel {row.name!r}: {fault}")
            continue
        with transaction(engine) as tx:
            anew += channel_edits.replace_ciphertext(Desk(tx, shell.actor(), settings), row, new)
    done = f"{anew} of {len(rows) + len(channels)} keys are encrypted with SECRET_KEY"
    if broken:
        raise Failed("\n".join([done, *broken]))
    return f"{done}; SECRET_KEY_PREVIOUS may be emptied once every process runs with the new SECRET_KEY"


# -- their parts ---------------------------------------------------------------------------------------


def _values(given: argparse.Namespace) -> dict[str, Any]:
    """Name the columns that were given; an empty text means none any more."""
    found = {name: getattr(given, name, None) for name in edits.COLUMNS}
    return {name: None if value == "" else value for name, value in found.items() if value is not None}


def _key(given: argparse.Namespace, name: str) -> dict[str, str | None]:
    """Read the key that was promised. Raises Refused."""
    if given.no_key:
        return {"credential": None, "credential_env": None}
    if given.key_from is not None:
        key = os.environ.get(given.key_from, "")
        where = f"the environment variable {given.key_from}"
    elif given.key_stdin:
        key = getpass.getpass(f"Key of {name}: ") if sys.stdin.isatty() else sys.stdin.readline()
        where = "standard input"
    else:
        return {}
    if not key.strip():
        raise Refused(f"{where} holds no key")
    return {"credential": key.strip()}


def _limit_agent(desk: Desk, given: argparse.Namespace, values: Mapping[str, Any]) -> str:
    if others := sorted(set(values) - set(edits.LIMITS)):
        raise Refused(f"--agent takes limits only, not {', '.join(others)}")
    limits = {name: values.get(name) for name in edits.LIMITS}
    edits.limit_agent(desk, given.name, given.agent, limits)
    told = ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
    return f"agent {given.agent!r} at endpoint {given.name!r}: {told or 'no limits of its own'}"


def _set_budget(desk: Desk, given: argparse.Namespace) -> None:
    if given.budget is not None:
        new = {"endpoint": given.name, **given.budget, "at_limit": given.at_limit}
        budget_edits.add(desk, read(budget_edits.NewBudget, new))


def _where_key(row: AnyRow) -> str:
    return "stored" if row.credential is not None else f"${row.credential_env}" if row.credential_env else "none"


def _limits(row: AnyRow) -> tuple[str, ...]:
    return tuple("" if (value := getattr(row, name)) is None else str(value) for name in edits.LIMITS)


def _price(row: AnyRow) -> str:
    if row.currency is None:
        return ""
    known = ("?" if price is None else shown(Decimal(price)) for price in (row.input_price, row.output_price))
    return f"{'/'.join(known)} {row.currency}"


def _say(message: str, code: int) -> int:
    shell.complain(message)
    return code


# -- the command line -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="list|add|set|remove|test|rotate-keys")
    commands.add_parser("list", help="endpoints, limits and budgets").set_defaults(command=show)
    new = commands.add_parser("add", help="enter an endpoint")
    new.add_argument("--provider", required=True, help=", ".join(registry.PROVIDERS))
    new.add_argument("--base-url", required=True, metavar="URL")
    old = commands.add_parser("set", help="change an endpoint; an empty text ('') takes a value away")
    old.add_argument("--provider")
    old.add_argument("--base-url", metavar="URL")
    old.add_argument("--agent", metavar="ID", help="set the limits of this agent or workflow ('*': of each) instead")
    old.add_argument("--no-budgets", action="store_true", help="remove the endpoint's budgets")
    for each, command in ((new, add), (old, change)):
        each.set_defaults(command=command)
        each.add_argument("name")
        _offer_columns(each)
    gone = commands.add_parser("remove", help="delete an endpoint")
    gone.set_defaults(command=remove)
    gone.add_argument("name")
    tried = commands.add_parser("test", help="reach an endpoint; with --agent make a real call, which may cost money")
    tried.set_defaults(command=test)
    tried.add_argument("name")
    tried.add_argument("--agent", metavar="ID", help="the agent, model or flow to ask")
    tried.add_argument("--message", default="Say hello in one short sentence.")
    tried.add_argument("--timeout", type=float, default=TEST_SECONDS, metavar="SECONDS")
    anew = commands.add_parser("rotate-keys", help="encrypt the stored keys with today's SECRET_KEY")
    anew.set_defaults(command=rotate_keys)
    return parser


def _offer_columns(parser: argparse.ArgumentParser) -> None:
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key-stdin", action="store_true", help="read the key from the terminal or a pipe")
    key.add_argument("--key-from", metavar="VARIABLE", help="read the key from this environment variable, now")
    key.add_argument("--credential-env", metavar="NAME_API_KEY", help="workers read the key from this variable")
    key.add_argument("--no-key", action="store_true", help="it needs none")
    for name in edits.LIMITS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=_positive, metavar="N")
    parser.add_argument("--input-price", type=_amount, metavar="PRICE", help="of a million tokens")
    parser.add_argument("--output-price", type=_amount, metavar="PRICE")
    parser.add_argument("--currency", type=_currency, metavar="USD")
    parser.add_argument(
        "--budget", type=_budget, metavar="'5 USD/1d'", help="add a budget: an amount of tokens or money, and a window"
    )
    parser.add_argument("--at-limit", choices=[*AtLimit], default=AtLimit.SKIP.value, help="of the budget")


def _positive(text: str) -> int | str:
    if text == "":
        return text
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number above 0, or '' for no limit")
    return int(text)


def _amount(text: str) -> Decimal | str:
    try:
        value = Decimal(text) if text else None
    except InvalidOperation:
        value = Decimal(-1)
    if value is None:
        return ""
    if not (value.is_finite() and 0 <= value < 10**12):
        raise argparse.ArgumentTypeError(f"{text!r}: use a number such as 2.50")
    return value


def _currency(text: str) -> str:
    if text and not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise argparse.ArgumentTypeError(f"{text!r}: use three letters, such as USD or CNY")
    return text.upper()


def _budget(text: str) -> dict[str, Any]:
    """Read `1000000 tokens/1d` or `5 USD/1h`."""
    amount, _, rest = text.strip().partition(" ")
    unit, _, window = rest.strip().partition("/")
    seconds = window[:-1].isdecimal() and int(window[:-1]) * UNITS.get(window[-1:], 0)
    value = _amount(amount)
    if not isinstance(value, Decimal) or not value or not seconds or not 60 <= seconds <= 366 * 86400:
        raise argparse.ArgumentTypeError(
            f"{text!r}: use an amount and a window of 1m to 366d, such as '1000000 tokens/1d' or '5 USD/1h'"
        )
    return {"amount": value, "unit": unit if unit == TOKENS else _currency(unit or "?"), "window_seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
