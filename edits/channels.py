"""Notification channels. An address holds secrets: it can be set and replaced, and is never given back."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SecretStr
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from config import CHANNEL_URL_NAME, Settings
from core.notifications import CHANNEL_NAME
from core.refused import Refused
from edits.desk import Desk, Given, differs, fingerprint, kept, written
from notify import ALERTS, ChannelFault, check_address, sealed_address
from store import audit, notifications
from store.audit import Change
from store.database import AnyRow, is_duplicate


class ChannelChange(Given):
    """What may be changed of a channel; only what is named is."""

    url: Annotated[
        SecretStr | None, Field(max_length=4096, description="an Apprise address; written, and never shown")
    ] = None
    url_env: Annotated[str | None, Field(max_length=64, description="or the variable that holds it")] = None
    enabled: Annotated[bool, Field(description="false: what is told to it waits")] = True


class NewChannel(ChannelChange):
    """A channel to enter."""

    model_config = ConfigDict(json_schema_extra=None)

    name: Annotated[str, Field(max_length=64, description="what tasks call it in `notify`")]


def find(connection: Connection, name: str) -> AnyRow:
    """Read a channel by its name. Raises Refused with the one that was likely meant."""
    row = notifications.channel(connection, name)
    if row is None:
        near = get_close_matches(name, sorted(notifications.channel_names(connection)), 1, 0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Refused.of("name", f"there is no channel {name!r}{hint}")
    return row


def address(given: ChannelChange, name: str, settings: Settings) -> dict[str, str | None]:
    """Check and encrypt the address that was given; asks a child process, so call it outside a transaction.

    Empty where none was given. Raises Refused.
    """
    url = None if given.url is None else given.url.get_secret_value().strip()
    if url is not None and given.url_env is not None:
        raise Refused.of("url_env", "url and url_env are two places for one address; send one of them")
    if url is None and given.url_env is None:
        return {}
    if name == ALERTS:
        raise Refused.of("name", f"{ALERTS} is the channel of the setting {ALERTS}: change it there")
    if given.url_env is not None:
        if not CHANNEL_URL_NAME.fullmatch(given.url_env):
            told = f"url_env {given.url_env!r} must be the name of a variable that ends in _NOTIFY_URL"
            raise Refused.of("url_env", told)
        return {"url_env": given.url_env, "url": None}
    if not url:
        raise Refused.of("url", "no address was given; write it such as dingtalk://<secret>@<token>")
    try:
        check_address(url)
        return {"url_env": None, "url": sealed_address(url, name, settings)}
    except ChannelFault as fault:
        raise Refused.of("url", str(fault)) from None


def check_name(name: str) -> None:
    """Refuse what rows could not write in `notify`, and the name of the settings' own channel."""
    if not CHANNEL_NAME.fullmatch(name):
        told = f"{name!r} is no name of a channel; use up to 64 letters, digits, '_', '.' and '-'"
        raise Refused.of("name", told)
    if name == ALERTS:
        raise Refused.of("name", f"{ALERTS} is the channel of the setting {ALERTS}: change it there")


def add(desk: Desk, given: NewChannel, found: Mapping[str, str | None]) -> AnyRow:
    """Enter a channel; `found` is what `address` gave. Raises Refused."""
    check_name(given.name)
    if not found:
        raise Refused.of("url", "a channel needs url, or url_env")
    values = {"name": given.name, "enabled": int(given.enabled), **found}
    try:
        with audit.silence_triggers(desk.tx):
            channel_id = notifications.add_channel(desk.tx, values)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        raise Refused.of("name", f"there is a channel {given.name!r} already; change that one") from error
    row = written(notifications.channel_by_id(desk.tx, channel_id))
    desk.enter(Change(action="channel.create", subject=row.id, after=_audited(row)))
    return row


def change(desk: Desk, row: AnyRow, given: ChannelChange, found: Mapping[str, str | None]) -> AnyRow:
    """Change a locked channel; `found` is what `address` gave. Another address is tried at once."""
    values: dict[str, Any] = dict(found)
    if "enabled" in given.model_fields_set:
        values["enabled"] = int(given.enabled)
    if values:
        with audit.silence_triggers(desk.tx):
            notifications.change_channel(desk.tx, row.id, values)
    new = written(notifications.channel_by_id(desk.tx, row.id))
    before, after = _audited(row), _audited(new, row)
    if differs(before, after):
        desk.enter(Change(action="channel.update", subject=row.id, before=before, after=after))
    return new


def remove(desk: Desk, row: AnyRow) -> int:
    """Delete a channel and what waits for it; return how many events waited."""
    waiting = notifications.waiting_for(desk.tx, row.name)
    with audit.silence_triggers(desk.tx):
        notifications.remove_channel(desk.tx, row.name)
    desk.enter(Change(action="channel.delete", subject=row.id, before=_audited(row)))
    return waiting


def replace_ciphertext(desk: Desk, row: AnyRow, new: str) -> bool:
    """Store an address that was encrypted anew. False: somebody has changed it meanwhile."""
    with audit.silence_triggers(desk.tx):
        done = notifications.replace_url(desk.tx, row.name, row.url, new)
    if done:
        desk.enter(Change(action="channel.rotate", subject=row.id, note="the address was encrypted anew"))
    return done


def etag_of(row: AnyRow) -> str:
    """Fingerprint what operators may edit of a channel."""
    return fingerprint({name: row._mapping[name] for name in ("name", "url", "url_env", "enabled")})


def _audited(row: AnyRow, before: AnyRow | None = None) -> dict[str, Any]:
    """Say of a channel what the triggers say, in their words."""
    was = None if before is None else before.url
    return {
        "name": row.name,
        "address_stored": kept(row.url, was, is_update=before is not None),
        "address_variable": row.url_env,
        "enabled": row.enabled,
    }
