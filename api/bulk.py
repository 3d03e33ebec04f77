"""`/api/v2/bulk-changes`: one change of many tasks, counted before it is made, and undone exactly.

Rows are changed some hundred in a transaction, so that beat fires the others meanwhile. What each row was before
stands in the audit; undo reads it there, and leaves alone what somebody has edited since.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from api.access import Caller, Operator
from api.problems import Refused, documented
from api.run_query import RUN_ID
from api.schedules import TaskFilter, editor_of
from api.services import Ours, Services
from api.task_edit import WALL_CLOCK, Editor, config_text
from api.task_models import TaskChange
from store import audit, bulk_changes, tasks
from store.audit import Change, as_text
from store.database import AnyRow, autocommit, is_contention, read_clock, transaction
from store.runs import new_run_id
from store.tasks import Selection

PATH: Final = "/api/v2/bulk-changes"
BATCH: Final = 500
MOST_IDS: Final = 10_000
MOST_IDS_TOLD: Final = 1_000
MOST_TOLD: Final = 50

router = APIRouter(prefix=PATH, tags=["bulk changes"], responses=documented(401, 422, 503))

ChangeId = Annotated[str, Path(pattern=RUN_ID)]


class TaskSelection(TaskFilter):
    """Which tasks: by the filters of the list, by their ids, or everything."""

    ids: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]] | None, Field(max_length=MOST_IDS)] = None
    everything: Annotated[bool, Field(description="must be true where no filter is given")] = False

    @property
    def selection(self) -> Selection:
        """The same for the store."""
        ids = None if self.ids is None else tuple(self.ids)
        return Selection(**self.model_dump(include=set(TaskFilter.model_fields)), ids=ids)


class BulkOrder(BaseModel):
    """What to change where."""

    model_config = ConfigDict(extra="forbid")

    select: TaskSelection
    change: Annotated[TaskChange, Field(description="columns, the same for all; not the name")] = Field(
        default_factory=TaskChange
    )
    config: Annotated[
        dict[str, Any], Field(description='keys to set in each task_extra_config, such as {"queue": "system"}')
    ] = Field(default_factory=dict)
    dry_run: Annotated[bool, Field(description="count, and change nothing")] = False


class Left(BaseModel):
    """A task that was left as it is, and why."""

    id: int
    name: str
    reason: str


class BulkOutcome(BaseModel):
    """What was done; `id` is what undo takes, null for a dry run."""

    id: str | None
    matched: int
    changed: int
    unchanged: int
    left: int
    left_tasks: Annotated[list[Left], Field(description=f"the first {MOST_TOLD}")]


class BulkChange(BaseModel):
    """A change that was made."""

    id: str
    create_time: datetime
    actor: str
    selection: Any
    change: Any
    changed: int
    undone_at: datetime | None
    undone_by: str | None


class BulkChanges(BaseModel):
    """A page, newest first; `next` is the address of the following one."""

    items: list[BulkChange]
    next: str | None


class BulkPage(BaseModel):
    """Which changes are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[str | None, Field(pattern=RUN_ID)] = None


@router.post("", status_code=201, responses={**documented(403), 200: {"model": BulkOutcome, "description": "Dry run"}})
def change_many(ours: Ours, caller: Operator, response: Response, order: BulkOrder) -> BulkOutcome:
    """Change every selected task that the change does not break; those it would are left alone and named."""
    selection = order.select.selection
    if selection.is_everything and not order.select.everything:
        hint = "no filter is given; give one, or everything: true to change every task"
        raise Refused([{"field": "select", "message": hint}])
    if "name" in order.change.model_fields_set:
        raise Refused([{"field": "change.name", "message": "name must differ for each task; change it one by one"}])
    if not order.change.model_fields_set and not order.config:
        raise Refused([{"field": "change", "message": "nothing is to change; name a column, or a key in config"}])
    told = _told(order)
    change_id = None if order.dry_run else new_run_id()
    outcome = BulkOutcome(id=change_id, matched=0, changed=0, unchanged=0, left=0, left_tasks=[])
    with autocommit(ours.engine) as connection:
        editor = editor_of(ours, connection)
        if change_id is not None:
            bulk_changes.add(connection, id=change_id, actor=caller.name, **told)
    for ids in _batches(ours, selection):
        try:
            with transaction(ours.engine) as tx:
                rows = list(tasks.lock(tx, ids, selection).values())
                _change_batch(tx, caller, editor, order, rows, outcome)
        except OperationalError as error:
            if not is_contention(error):
                raise
            _leave(outcome, [(task_id, "", "another session holds it or its neighbours") for task_id in ids])
    outcome.matched = outcome.changed + outcome.unchanged + outcome.left
    response.status_code = 200 if order.dry_run else 201
    return outcome


def _told(order: BulkOrder) -> dict[str, str]:
    selection = order.select.model_dump(exclude_defaults=True)
    if len(ids := selection.get("ids") or ()) > MOST_IDS_TOLD:  # the column holds 64 KB; the audit has each of them
        selection["ids"] = f"{len(ids):,} ids from {min(ids)} to {max(ids)}"
    change = order.change.model_dump(exclude_unset=True) | ({"config": order.config} if order.config else {})
    return {"selection": json.dumps(selection, ensure_ascii=False), "change_to": config_text(change)}


def _batches(ours: Services, selection: Selection) -> Iterator[Sequence[int]]:
    last = 0
    while True:
        with autocommit(ours.engine) as connection:
            ids = tasks.ids_after(connection, selection, last, BATCH)
        if not ids:
            return
        yield ids
        last = ids[-1]


def _change_batch(
    tx: Connection, caller: Caller, editor: Editor, order: BulkOrder, rows: Sequence[AnyRow], outcome: BulkOutcome
) -> None:
    """Change the rows of one transaction; `outcome` is added to once it is as good as committed."""
    now, editor = read_clock(tx), editor.on(tx)
    wanted: list[tuple[AnyRow, dict[str, Any]]] = []
    left: list[tuple[int, str, str]] = []
    for row in rows:
        try:
            values = _values(editor, order, row)
            differing = {name: value for name, value in values.items() if getattr(row, name) != value}
            if differing:
                editor.check(differing, row, now)
                wanted.append((row, differing))
        except Refused as error:
            left.append((row.id, row.name, str(error)))
    if not order.dry_run and wanted:
        changes = _write(tx, caller, wanted, "task.update", change_set=outcome.id)
        audit.record(tx, caller.actor, *changes)
        bulk_changes.count_more(tx, outcome.id or "", len(changes))
    outcome.changed += len(wanted)
    outcome.unchanged += len(rows) - len(wanted) - len(left)
    _leave(outcome, left)


def _values(editor: Editor, order: BulkOrder, row: AnyRow) -> dict[str, Any]:
    values = editor.columns(order.change, row)
    if order.config:
        was = values.get("task_extra_config", row.task_extra_config)
        values["task_extra_config"] = editor.config_with(order.config, was)
    return values


def _leave(outcome: BulkOutcome, left: Sequence[tuple[int, str, str]]) -> None:
    outcome.left += len(left)
    room = MOST_TOLD - len(outcome.left_tasks)
    outcome.left_tasks += [Left(id=task_id, name=name, reason=reason) for task_id, name, reason in left[: max(room, 0)]]


def _write(
    tx: Connection,
    caller: Caller,
    wanted: Sequence[tuple[AnyRow, dict[str, Any]]],
    action: str,
    *,
    change_set: str | None = None,
    note: str | None = None,
) -> list[Change]:
    """Write each row's values, rows that get the same in one statement; return what is to be entered."""
    groups: dict[str, list[int]] = defaultdict(list)
    values_of: dict[str, dict[str, Any]] = {}
    for row, values in wanted:
        key = as_text(values) or ""
        groups[key].append(row.id)
        values_of[key] = values
    with audit.silence_triggers(tx):
        for key, ids in groups.items():
            tasks.change(tx, ids, values_of[key] | {"update_by": caller.name})
    return [
        Change(
            action=action,
            subject=row.id,
            before={name: getattr(row, name) for name in values},
            after=values,
            change_set=change_set,
            note=note,
        )
        for row, values in wanted
    ]


@router.get("")
def list_changes(ours: Ours, page: Annotated[BulkPage, Query()]) -> BulkChanges:
    """List the bulk changes, newest first."""
    with autocommit(ours.engine) as connection:
        rows = bulk_changes.page(connection, page.before, page.limit + 1)
    found = [_shown(ours, row) for row in rows[: page.limit]]
    more = f"{PATH}?{urlencode({'limit': page.limit, 'before': found[-1].id})}" if len(rows) > page.limit else None
    return BulkChanges(items=found, next=more)


@router.get("/{change_id}", responses=documented(404))
def one_change(ours: Ours, change_id: ChangeId) -> BulkChange:
    """Show a bulk change."""
    with autocommit(ours.engine) as connection:
        return _shown(ours, _found(connection, change_id))


@router.post("/{change_id}/undo", responses=documented(403, 404, 409))
def undo(ours: Ours, caller: Operator, change_id: ChangeId) -> BulkOutcome:
    """Give each task back exactly what it had. A task that was edited since is left alone and named."""
    with autocommit(ours.engine) as connection:
        if _found(connection, change_id).undone_at is not None:
            raise HTTPException(409, f"Bulk change {change_id} was undone already.")
    outcome = BulkOutcome(id=change_id, matched=0, changed=0, unchanged=0, left=0, left_tasks=[])
    last = 0
    while True:
        with transaction(ours.engine) as tx:
            entries = audit.of_change_set(tx, change_id, last, BATCH)
            if not entries:
                break
            _undo_batch(tx, caller, change_id, entries, outcome)
        last = entries[-1].id
    with autocommit(ours.engine) as connection:
        bulk_changes.mark_undone(connection, change_id, caller.name)
    outcome.matched = outcome.changed + outcome.unchanged + outcome.left
    return outcome


def _undo_batch(
    tx: Connection, caller: Caller, change_id: str, entries: Sequence[AnyRow], outcome: BulkOutcome
) -> None:
    rows = tasks.lock(tx, [int(entry.subject) for entry in entries])
    wanted: list[tuple[AnyRow, dict[str, Any]]] = []
    left: list[tuple[int, str, str]] = []
    for entry in entries:
        row = rows.get(int(entry.subject))
        if row is None:
            left.append((int(entry.subject), "", "it was deleted since"))
            continue
        old, new = json.loads(entry.old_value), json.loads(entry.new_value)
        current = json.loads(as_text({name: getattr(row, name) for name in new}) or "{}")
        edited = [name for name in new if current[name] != new[name]]
        if current == old:
            continue
        if edited:  # one column may be as it was before: it belongs to the edit all the same
            left.append((row.id, row.name, f"edited since: {', '.join(edited)}"))
        else:
            wanted.append((row, {name: _restored(name, value) for name, value in old.items()}))
    audit.record(tx, caller.actor, *_write(tx, caller, wanted, "task.undo", note=f"bulk change {change_id}"))
    outcome.changed += len(wanted)
    outcome.unchanged += len(entries) - len(wanted) - len(left)
    _leave(outcome, left)


def _restored(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name in WALL_CLOCK and isinstance(value, str) else value


def _found(connection: Connection, change_id: str) -> AnyRow:
    row = bulk_changes.read(connection, change_id)
    if row is None:
        raise HTTPException(404, f"No bulk change has the id {change_id}; GET {PATH} lists them.")
    return row


def _shown(ours: Services, row: AnyRow) -> BulkChange:
    values = dict(row._mapping)
    return BulkChange.model_validate(
        values | {"selection": json.loads(row.selection), "change": ours.mask.columns(values.pop("change_to"))}
    )
