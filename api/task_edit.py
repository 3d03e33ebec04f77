"""From what a client sends to columns of a row: times, kinds of WHEN, secrets shown as ***; and what is wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from api.masking import HIDDEN, Mask
from api.problems import Refused
from api.task_models import Schedule
from core.arming import KINDS, Surroundings, what_is_wrong
from core.legacy.repeat_fields import RepeatError, columns_of
from core.legacy.rows import as_row
from core.strict_json import JSONError, read_object
from core.zones import zone_names
from store import chains
from store.audit import as_text
from store.database import AnyRow
from store.tasks import EDITABLE

WALL_CLOCK: Final = ("run_at", "start_time", "end_time")


@dataclass(frozen=True, slots=True)
class Editor:
    """Knows what rows are judged by, and what is hidden from whoever reads them."""

    around: Surroundings
    mask: Mask

    def on(self, connection: Connection) -> "Editor":
        """Judge by what this connection sees, also the rows that a row starts after; good while it is open."""
        return replace(self, around=replace(self.around, check_upstream=partial(chains.what_is_wrong, connection)))

    def columns(self, given: Schedule, old: AnyRow | None = None) -> dict[str, Any]:
        """Say a change in columns; only those that it names. Raises Refused."""
        named = given.model_fields_set - {"repeat"}
        values: dict[str, Any] = {name: getattr(given, name) for name in EDITABLE if name in named}
        zone = values.get("timezone", getattr(old, "timezone", None)) or self.around.zone
        if given.repeat is not None:
            values |= _repeated(given, zone, bool(named & {*KINDS, "start_time", "end_time", "max_runs"}))
        for name in WALL_CLOCK:
            if isinstance(values.get(name), str):
                values[name] = _wall_clock(values[name], zone)
        if any(values.get(kind) is not None for kind in KINDS):
            values = dict.fromkeys(KINDS) | values
        if "enabled" in values:
            values["enabled"] = int(values["enabled"])
        if values.get("task_extra_config") is not None:
            was = old.task_extra_config if old is not None else None
            values["task_extra_config"] = self._config_text(values["task_extra_config"], was)
        return values

    def check(self, values: Mapping[str, Any], old: AnyRow | None, now: datetime) -> None:
        """Judge the row that comes out as arming will. Raises Refused where the change brings a problem in.

        What was wrong before may stay wrong: a broken row can be renamed.
        """
        before = set(what_is_wrong(old, self.around)) if old is not None else set()
        self._refuse([problem for problem in self._problems(values, old, now) if problem not in before])

    def check_whole(self, values: Mapping[str, Any], old: AnyRow, now: datetime) -> None:
        """Judge the row that comes out. Raises Refused for every problem, old ones too."""
        self._refuse(self._problems(values, old, now))

    def _problems(self, values: Mapping[str, Any], old: AnyRow | None, now: datetime) -> list[str]:
        row = dict(old._mapping) | dict(values) if old is not None else {"enabled": 1, **values}
        return what_is_wrong(as_row({"id": 0, **row}, now), self.around)

    def _refuse(self, problems: list[str]) -> None:
        if problems:
            raise Refused([{"field": _field_of(each), "message": self.mask.prose(each) or ""} for each in problems])

    def config_with(self, keys: dict[str, Any], was: str | None) -> str:
        """Write the config that comes out where keys are set in it; what is sent as *** stays. Raises Refused."""
        try:
            old = read_object(was or "{}")
        except JSONError as error:
            raise Refused([{"field": "task_extra_config", "message": f"task_extra_config {error}"}]) from None
        try:
            keys = _unhidden(keys, old, self.mask.config(was), "task_extra_config")
        except RecursionError:
            return config_text(keys)
        return config_text(old | keys)

    def _config_text(self, config: dict[str, Any] | str, was: str | None) -> str:
        """Write the config as text, unescaped; what a client was shown as *** and sends back is what it was."""
        if isinstance(config, str) and was is not None and config == was:
            return config
        try:
            new = read_object(config) if isinstance(config, str) else config
        except JSONError:
            return str(config)  # arming says what is wrong with it
        try:
            old = None if was is None else json.loads(was)
        except (ValueError, RecursionError):
            old = None
        try:
            whole = _unhidden(new, old, self.mask.config(was), "task_extra_config")
        except RecursionError:
            return config_text(new)
        return config if isinstance(config, str) and whole == new else config_text(whole)


def config_text(config: dict[str, Any]) -> str:
    """Write a config as it is stored: unescaped. Raises Refused."""
    try:
        text = json.dumps(config, ensure_ascii=False, default=str)
        text.encode()  # half a character
    except (TypeError, ValueError, RecursionError) as error:
        told = f"task_extra_config cannot be written as JSON: {error}"
        raise Refused([{"field": "task_extra_config", "message": told}]) from None
    return text


def _unhidden(new: Any, old: Any, masked: Any, where: str) -> Any:
    """Put the old value where its masked form was sent back. Raises Refused for one that hides nothing known."""
    if isinstance(new, dict):
        old_values, shown = (each if isinstance(each, dict) else {} for each in (old, masked))
        return {
            name: _unhidden(value, old_values.get(name), shown.get(name), f"{where}.{name}")
            for name, value in new.items()
        }
    if isinstance(new, list):
        old_list, shown_list = (each if isinstance(each, list) else [] for each in (old, masked))
        known = dict(enumerate(zip(old_list, shown_list, strict=False)))
        return [_unhidden(value, *known.get(i, (None, None)), f"{where}[{i}]") for i, value in enumerate(new)]
    if isinstance(new, str) and new == masked and old is not None:
        return old
    if new == HIDDEN:
        told = f"{where} is {HIDDEN}, which stands for a secret that is not shown; write the secret itself"
        raise Refused([{"field": where, "message": told}])
    return new


def _repeated(given: Schedule, zone: str, is_doubled: bool) -> dict[str, Any]:
    assert given.repeat is not None  # noqa: S101 - narrows the type only
    if is_doubled:
        told = "repeat names the whole schedule; leave out the columns beside it, or use them and no repeat"
        raise Refused([{"field": "repeat", "message": told}])
    if zone not in zone_names():
        return {}  # arming says what is wrong with the zone
    try:
        found = columns_of(given.repeat.model_dump(), zone)
    except RepeatError as error:
        problems = [{"field": f"repeat.{each.field}", "message": str(each)} for each in error.problems]
        raise Refused(problems) from None
    except OverflowError:
        raise Refused([{"field": "repeat", "message": "repeat has a time that no clock shows"}]) from None
    return {name: value for name, value in found.items() if name != "enabled"}


def _wall_clock(text: str, zone: str) -> Any:
    """Read a time of the zone's clocks; one with an offset becomes one. What is no time is left for arming to tell."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return text
    if value.tzinfo is None or zone not in zone_names():
        return value
    try:
        return value.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    except OverflowError:
        return text


def _field_of(problem: str) -> str:
    """Name the column that a sentence of arming begins with."""
    first = problem.partition(" ")[0].rstrip(":;,")
    return first if first in EDITABLE else "task_extra_config" if not problem.startswith("no schedule") else "crontab"


def etag_of(row: AnyRow) -> str:
    """Fingerprint what an operator may edit; what the system writes does not change it."""
    text = as_text({name: getattr(row, name) for name in EDITABLE}) or ""
    return f'"{sha256(text.encode("utf-8", "replace")).hexdigest()[:32]}"'


def matches(etag: str, header: str | None) -> bool:
    """True where If-Match is not sent, or names this state of the row."""
    return header is None or header.strip() == "*" or etag in (each.strip() for each in header.split(","))
