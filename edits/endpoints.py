"""Endpoints, their keys, and the limits of their agents. A key can be set and replaced, and is never given back."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, SecretStr
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

import credentials
from config import CREDENTIAL_NAME
from core.outcome import AgentError
from core.refused import Refused
from credentials import CredentialError
from edits import budgets
from edits.desk import Amount, Currency, Desk, Given, Whole, differs, fingerprint, kept, written
from providers import registry
from providers.addresses import check_literal
from providers.base import Endpoint
from providers.http import base_of
from store import audit
from store import budgets as stored_budgets
from store import endpoints as stored
from store.audit import Change
from store.database import AnyRow, is_duplicate

LIMITS: Final = ("max_concurrency", "requests_per_minute", "tokens_per_minute")
PRICES: Final = ("input_price", "output_price", "currency")
COLUMNS: Final = ("provider", "base_url", "credential_env", *LIMITS, *PRICES)


class Limits(Given):
    """The most at a time and a minute, over all workers; null: no limit."""

    max_concurrency: Whole | None = None
    requests_per_minute: Whole | None = None
    tokens_per_minute: Annotated[int, Field(gt=0, lt=2**63)] | None = None


class AgentLimits(Limits):
    """The limits of one agent, model or workflow."""

    agent: Annotated[str, Field(min_length=1, max_length=191, description="its id; `*`: each that has none of its own")]


class EndpointChange(Limits):
    """Columns of an endpoint; only what is named is changed, and null takes a value away."""

    provider: Annotated[str, Field(max_length=32)] = ""
    base_url: Annotated[str, Field(max_length=500)] = ""
    credential: Annotated[SecretStr | None, Field(max_length=8192, description="the key; written, and never shown")] = (
        None
    )
    credential_env: Annotated[str | None, Field(max_length=64, description="or the variable that holds it")] = None
    input_price: Annotated[Amount | None, Field(description="of a million tokens")] = None
    output_price: Amount | None = None
    currency: Currency | None = None
    agents: Annotated[
        list[AgentLimits] | None, Field(max_length=1000, description="in the place of those that it has")
    ] = None


class NewEndpoint(EndpointChange):
    """An endpoint to enter."""

    model_config = ConfigDict(json_schema_extra=None)

    name: Annotated[str, Field(max_length=64, description="what tasks call it")]
    provider: Annotated[str, Field(max_length=32)]
    base_url: Annotated[str, Field(max_length=500)]


def find(connection: Connection, name: str) -> AnyRow:
    """Read an endpoint by its name. Raises Refused with the one that was likely meant."""
    row = stored.read(connection, name)
    if row is None:
        near = get_close_matches(name, [each.name for each in stored.every(connection)], 1, 0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Refused.of("name", f"agent_endpoint has no endpoint {name!r}{hint}")
    return row


def add(desk: Desk, given: NewEndpoint) -> AnyRow:
    """Enter an endpoint. Raises Refused."""
    if not given.name.strip():
        raise Refused.of("name", f"{given.name!r}: a name has 1 to 64 characters")
    values = given.named(without=frozenset({"credential", "agents"}))
    _check(desk, values)
    values |= _key(desk, given, given.name, given.base_url)
    try:
        with audit.silence_triggers(desk.tx):
            endpoint_id = stored.add(desk.tx, values)
    except IntegrityError as error:
        raise _taken(error, given.name) from error
    row = written(stored.by_id(desk.tx, endpoint_id))
    desk.enter(Change(action="endpoint.create", subject=row.id, after=_audited(row)))
    _replace_limits(desk, row.name, given)
    return row


def change(desk: Desk, row: AnyRow, given: EndpointChange) -> AnyRow:
    """Change a locked endpoint. Raises Refused."""
    values = given.named(without=frozenset({"credential", "agents"}))
    whole = {**row._mapping, **values}
    _check(desk, whole)
    values |= _key(desk, given, row.name, whole["base_url"])
    if row.credential is not None and "credential" not in values and "base_url" in values:
        _check_moved_key(desk, row, whole["base_url"])
    if values:
        with audit.silence_triggers(desk.tx):
            stored.change(desk.tx, row.name, values)
    new = written(stored.by_id(desk.tx, row.id))
    before, after = _audited(row), _audited(new, row)
    if differs(before, after):
        desk.enter(Change(action="endpoint.update", subject=row.id, before=before, after=after))
    _replace_limits(desk, row.name, given)
    return new


def remove(desk: Desk, row: AnyRow) -> int:
    """Delete an endpoint, the limits of its agents and its budgets; return how many budgets."""
    for each in stored.limits_of(desk.tx, row.name):
        limit_agent(desk, row.name, each.agent, dict.fromkeys(LIMITS))
    gone = stored_budgets.of_endpoint(desk.tx, row.name)
    for budget in gone:
        budgets.remove(desk, budget)
    with audit.silence_triggers(desk.tx):
        stored.remove(desk.tx, row.name)
    desk.enter(Change(action="endpoint.delete", subject=row.id, before=_audited(row)))
    return len(gone)


def limit_agent(desk: Desk, endpoint: str, agent: str, limits: Mapping[str, int | None]) -> None:
    """Set the limits of one agent in the place of those it had; all None: it has none any more."""
    old = next((each for each in stored.limits_of(desk.tx, endpoint) if each.agent == agent), None)
    before = None if old is None else {name: getattr(old, name) for name in LIMITS}
    after = limits if any(value is not None for value in limits.values()) else None
    if before == after:
        return
    with audit.silence_triggers(desk.tx):
        stored.limit_agent(desk.tx, endpoint, agent, limits)
    verb = "create" if before is None else "delete" if after is None else "update"
    desk.enter(Change(action=f"agent_limit.{verb}", subject=f"{endpoint}/{agent}", before=before, after=after))


def replace_ciphertext(desk: Desk, row: AnyRow, new: str) -> bool:
    """Store a key that was encrypted anew. False: somebody has changed it meanwhile."""
    with audit.silence_triggers(desk.tx):
        done = stored.replace_credential(desk.tx, row.name, row.credential, new)
    if done:
        desk.enter(Change(action="endpoint.rotate", subject=row.id, note="the key was encrypted anew"))
    return done


def etag_of(row: AnyRow, agents: Sequence[AnyRow]) -> str:
    """Fingerprint an endpoint with its agents' limits."""
    columns = {name: row._mapping[name] for name in ("name", *COLUMNS, "credential")}
    return fingerprint({**columns, "agents": [tuple(each) for each in agents]})


def _replace_limits(desk: Desk, endpoint: str, given: EndpointChange) -> None:
    if "agents" not in given.model_fields_set:
        return
    new = {each.agent: {name: getattr(each, name) for name in LIMITS} for each in given.agents or ()}
    if len(new) < len(given.agents or ()):
        raise Refused.of("agents", "agents names one agent twice")
    for old in stored.limits_of(desk.tx, endpoint):
        new.setdefault(old.agent, dict.fromkeys(LIMITS))
    for agent, limits in new.items():
        limit_agent(desk, endpoint, agent, limits)


def _check(desk: Desk, whole: Mapping[str, Any]) -> None:
    """Refuse what no run could use."""
    try:
        registry.kinds(whole["provider"])
    except AgentError as error:
        raise Refused.of("provider", error.message) from None
    endpoint = Endpoint(whole["name"], whole["provider"], whole["base_url"])
    try:
        check_literal(base_of(endpoint), desk.settings.endpoint_allowed_networks)
    except AgentError as error:
        raise Refused.of("base_url", error.message) from None
    prices = [whole.get(name) is not None for name in PRICES]
    if any(prices) and not all(prices):
        raise Refused.of(
            "currency", "input price, output price and currency go together: a cost needs all three (0 is a price)"
        )


def _key(desk: Desk, given: EndpointChange, name: str, base_url: str) -> dict[str, str | None]:
    """Encrypt the key that was given, and let it take the place of the variable, or the variable that of the key."""
    key = None if given.credential is None else given.credential.get_secret_value().strip()
    variable = given.credential_env
    if key is not None and variable is not None:
        raise Refused.of("credential_env", "credential and credential_env are two places for one key; send one of them")
    if variable is not None:
        if not CREDENTIAL_NAME.fullmatch(variable):
            told = f"credential_env {variable!r}: use the name of a variable that ends in _API_KEY"
            raise Refused.of("credential_env", told)
        return {"credential": None, "credential_env": variable}
    if key is None:
        return {"credential": None} if "credential" in given.model_fields_set else {}
    if not key:
        raise Refused.of("credential", "credential holds no key; send null where none is needed")
    if not (key.isascii() and key.isprintable()):
        told = "credential holds a key that HTTP cannot carry; look for a line break or a typographic character"
        raise Refused.of("credential", told)
    try:
        encrypted = credentials.encrypt(key, name=name, base_url=base_url, settings=desk.settings)
    except CredentialError as error:
        raise Refused.of("credential", str(error)) from None
    return {"credential": encrypted, "credential_env": None}


def _check_moved_key(desk: Desk, row: AnyRow, base_url: str) -> None:
    """Keep a key whose endpoint moved within its origin; another origin needs the key again."""
    try:
        credentials.decrypt(row.credential, name=row.name, base_url=base_url, settings=desk.settings)
    except CredentialError as error:
        told = f"endpoint {row.name!r}: {error} (in this same change; an API client sends credential beside base_url)"
        raise Refused.of("base_url", told) from None


def _audited(row: AnyRow, before: AnyRow | None = None) -> dict[str, Any]:
    """Say of an endpoint what the triggers say, in their words."""
    was = None if before is None else before.credential
    return {
        "name": row.name,
        "provider": row.provider,
        "base_url": row.base_url,
        "key_stored": kept(row.credential, was, is_update=before is not None),
        "key_variable": row.credential_env,
        **{name: row._mapping[name] for name in (*LIMITS, *PRICES)},
    }


def _taken(error: IntegrityError, name: str) -> Refused:
    if is_duplicate(error):
        return Refused.of("name", f"endpoint {name!r} cannot be entered: the name is taken; change that one instead")
    return Refused.of("name", f"endpoint {name!r} cannot be entered: {error.orig}")
