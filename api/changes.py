"""`/api/v2/audit`: who changed what, newest first, edits by plain SQL too."""

from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.access import Role, Viewer
from api.masking import Mask
from api.off_loop import OffLoop
from api.problems import documented
from api.services import Ours
from store import audit
from store.database import AnyRow, autocommit

PATH: Final = "/api/v2/audit"
ADMINS_OWN: Final = frozenset({"user", "token", "session"})  # who may log in, and from where, is for admins

router = APIRouter(route_class=OffLoop, prefix=PATH, tags=["audit"], responses=documented(401, 422, 503))


class AuditPage(BaseModel):
    """Which changes are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int | None, Field(ge=1, lt=2**63, description="Only entries with a lower id")] = None
    kind: Annotated[str | None, Field(pattern=r"^[a-z_]{1,32}$", description="task, run, hold, user, token, …")] = None
    subject: Annotated[str | None, Field(min_length=1, max_length=191, description="its id; needs kind")] = None

    @model_validator(mode="after")
    def _subject_needs_kind(self) -> "AuditPage":
        if self.subject is not None and self.kind is None:
            raise ValueError("subject needs kind beside it, such as kind=task")
        return self


class Entry(BaseModel):
    """One change. `changed` names what differs; a password or a token is never in it."""

    id: int
    create_time: datetime
    actor: str
    via: str
    action: str
    kind: str
    subject: str
    changed: list[str]
    before: Any
    after: Any
    note: str | None
    change_set: str | None


class Entries(BaseModel):
    """A page; `next` is the address of the following one, null on the last. One that is not full is not yet the last:
    an answer looks at 50,000 entries.
    """

    items: list[Entry]
    next: str | None


@router.get("")
def list_changes(ours: Ours, caller: Viewer, page: Annotated[AuditPage, Query()]) -> Entries:
    """List the changes, newest first; secrets in a task's config are hidden. Those of accounts are for admins alone."""
    hidden = frozenset[str]() if caller.role.covers(Role.ADMIN) else ADMINS_OWN
    with autocommit(ours.engine) as connection:
        found = audit.page(
            connection,
            before=page.before,
            limit=page.limit,
            kind=page.kind,
            subject=page.subject,
            hidden=hidden,
        )
    following = None
    if found.resume_before is not None:
        following = f"{PATH}?{urlencode(page.model_dump(exclude_none=True) | {'before': found.resume_before})}"
    return Entries(items=[_shown(row, ours.mask) for row in found.rows], next=following)


def _shown(row: AnyRow, mask: Mask) -> Entry:
    (before, old), (after, new) = mask.columns_beside(row.old_value), mask.columns_beside(row.new_value)
    return Entry(
        **{name: getattr(row, name) for name in ("id", "create_time", "actor", "via", "action", "subject", "note")},
        kind=row.subject_kind,
        changed=_changed(old, new),
        before=before,
        after=after,
        change_set=row.change_set,
    )


def _changed(before: Any, after: Any) -> list[str]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    return [name for name in before | after if before.get(name) != after.get(name)]
