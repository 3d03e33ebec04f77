"""Where somebody makes changes, and what he sends."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from config import Settings
from core.refused import Refused
from store import audit
from store.audit import Actor, Change, as_text
from store.database import AnyRow

MOST: Final = 2**31
YES, NO, REPLACED = "yes", "no", "replaced"


def _currency(text: str) -> str:
    if not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise ValueError("use three letters, such as USD or CNY")
    return text.upper()


Whole = Annotated[int, Field(gt=0, lt=MOST)]
Amount = Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=8)]
Currency = Annotated[str, AfterValidator(_currency)]


def _without_defaults(schema: dict[str, Any]) -> None:
    """Leave out of a schema what an edit does not set where it says nothing of it."""
    for field in schema["properties"].values():
        field.pop("default", None)


class Given(BaseModel):
    """What a client sends: only what it names is changed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_defaults)

    def named(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Give what was named, null too."""
        return {name: getattr(self, name) for name in self.model_fields_set - without}


AnyGiven = TypeVar("AnyGiven", bound=Given)


@dataclass(frozen=True, slots=True)
class Desk:
    """A transaction, in whose name changes are made in it, and the settings they are judged by."""

    tx: Connection
    actor: Actor
    settings: Settings

    def enter(self, change: Change) -> None:
        """Enter a change into the audit."""
        audit.record(self.tx, self.actor, change)


def written(row: AnyRow | None) -> AnyRow:
    """Give a row that this transaction has just written, read again: it is there."""
    assert row is not None  # noqa: S101 - narrows the type only
    return row


def read(model: type[AnyGiven], values: Mapping[str, Any]) -> AnyGiven:
    """Read what a form or a command gives. Raises Refused, which repeats no value."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        issues = error.errors(include_input=False, include_url=False)
        fields = [(".".join(str(part) for part in issue["loc"]) or "body", issue["msg"]) for issue in issues]
        raise Refused([{"field": field, "message": f"{field}: {message}"} for field, message in fields]) from None


def fingerprint(values: Mapping[str, Any]) -> str:
    """Make an ETag of what operators may edit; what the system writes does not change it."""
    return f'"{sha256((as_text(values) or "").encode("utf-8", "replace")).hexdigest()[:32]}"'


def kept(stored: str | None, before: str | None = None, *, is_update: bool = False) -> str:
    """Say of a secret whether there is one, and whether it is another than before; nothing of it."""
    if stored is None:
        return NO
    return REPLACED if is_update and stored != before else YES


def differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True where an edit changed something; amounts count by their value."""
    return any(before[name] != after[name] for name in after)
