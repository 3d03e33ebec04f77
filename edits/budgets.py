"""Budgets of endpoints and tasks."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field

from core.budget import TOKENS, AtLimit
from core.refused import Refused
from edits.desk import Amount, Desk, Given, differs, fingerprint, written
from endpoints import DEFAULT, OF_HTTP_TASKS
from store import audit, schedules
from store import budgets as stored
from store.audit import Change
from store.database import AnyRow

OWNED: Final = ("endpoint", "periodic_task_id", "amount", "unit", "window_seconds", "at_limit", "reserve")
SHORTEST, LONGEST = 60, 366 * 86400


def _unit(text: str) -> str:
    if text == TOKENS:
        return text
    if not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise ValueError("use tokens, or the three letters of a currency, such as USD or CNY")
    return text.upper()


AboveZero = Annotated[Decimal, Field(gt=0, max_digits=20, decimal_places=8)]
Unit = Annotated[str, AfterValidator(_unit)]


class BudgetChange(Given):
    """Columns of a budget; only what is named is changed."""

    amount: Annotated[AboveZero, Field(description="the most that a window may cost")] = Decimal(1)
    unit: Annotated[Unit, Field(description="`tokens`, or a currency")] = TOKENS
    window_seconds: Annotated[int, Field(ge=SHORTEST, le=LONGEST, description="the window ends now")] = 86400
    at_limit: AtLimit = AtLimit.SKIP
    reserve: Annotated[
        Amount | None, Field(description="what a run costs at most; null: as much as the dearest of the window")
    ] = None


class NewBudget(BudgetChange):
    """A budget to enter: of an endpoint or of a task."""

    model_config = ConfigDict(json_schema_extra=None)

    endpoint: Annotated[str | None, Field(max_length=64, description="`default`: that of the settings")] = None
    periodic_task_id: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    amount: Annotated[AboveZero, Field(description="the most that a window may cost")]


def add(desk: Desk, given: NewBudget) -> AnyRow:
    """Enter a budget. Raises Refused."""
    if (given.endpoint is None) == (given.periodic_task_id is None):
        raise Refused.of("endpoint", "a budget is of an endpoint or of a task: send endpoint or periodic_task_id")
    if given.endpoint is not None:
        known = {DEFAULT, OF_HTTP_TASKS, *schedules.endpoints(desk.tx)}
        if given.endpoint not in known:
            told = f"endpoint {given.endpoint!r} is unknown; known: {', '.join(sorted(known))}"
            raise Refused.of("endpoint", told)
    elif schedules.read(desk.tx, given.periodic_task_id or 0) is None:
        raise Refused.of("periodic_task_id", f"no task has the id {given.periodic_task_id}")
    values = {name: getattr(given, name) for name in OWNED}
    with audit.silence_triggers(desk.tx):
        budget_id = stored.add(desk.tx, values)
    row = written(stored.read(desk.tx, budget_id))
    desk.enter(Change(action="budget.create", subject=row.id, after=_audited(row)))
    return row


def change(desk: Desk, row: AnyRow, given: BudgetChange) -> AnyRow:
    """Change a locked budget; what was spent stays. Costs in another unit than its own are never counted."""
    values = given.named()
    if values:
        with audit.silence_triggers(desk.tx):
            stored.change(desk.tx, row.id, values)
    new = written(stored.read(desk.tx, row.id))
    before, after = _audited(row), _audited(new)
    if differs(before, after):
        desk.enter(Change(action="budget.update", subject=row.id, before=before, after=after))
    return new


def remove(desk: Desk, row: AnyRow) -> None:
    """Delete a budget and what it knows of spending."""
    with audit.silence_triggers(desk.tx):
        stored.remove(desk.tx, [row.id])
    desk.enter(Change(action="budget.delete", subject=row.id, before=_audited(row)))


def etag_of(row: AnyRow) -> str:
    """Fingerprint what operators may edit of a budget."""
    return fingerprint(_audited(row))


def _audited(row: AnyRow) -> Mapping[str, Any]:
    return {name: row._mapping[name] for name in OWNED}
