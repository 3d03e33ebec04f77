"""What the ledger, the audit and the leases say about one task and one moment: the evidence of `core/why.py`."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from core.lifecycle import Origin, State
from core.why import DELETED, Edit, Run
from store import leases
from store.audit import TABLE as AUDIT
from store.audit import A
from store.overview import ERROR_CHARACTERS
from store.runs import R

MOST_EDITS: Final = 500
LOOKED_BACK: Final = 50
MOST_RANGES: Final = 20
WALL_CLOCK: Final = ("run_at", "start_time", "end_time")

_RUN = (
    R.id, R.scheduled_for, R.state, R.ready_at, R.queue, R.attempt, R.started_at, R.finished_at, R.error_kind,
    func.substr(R.error, 1, ERROR_CHARACTERS).label("error"),
)  # fmt: skip


def run_of(connection: Connection, task_id: int, moments: tuple[datetime, ...]) -> Run | None:
    """Find the scheduled run of one of these moments, or the row that stands for the skipped ones around them.

    Index uq_task_run_moment.
    """
    mine = (R.periodic_task_id == task_id, R.origin == Origin.SCHEDULE)
    row = connection.execute(select(*_RUN).where(*mine, R.scheduled_for.in_(moments)).limit(1)).one_or_none()
    if row is None:
        earlier = select(*_RUN, R.result_data).where(*mine, R.scheduled_for <= moments[0])
        newest = earlier.order_by(R.scheduled_for.desc()).limit(MOST_RANGES)
        row = next((each for each in connection.execute(newest) if _covers(each, moments[0])), None)
    return None if row is None else Run(**{name: getattr(row, name) for name in Run.__dataclass_fields__})


def _covers(row: Any, moment: datetime) -> bool:
    """Tell whether a SKIPPED row stands for a range that holds the moment."""
    if row.state != State.SKIPPED or row.result_data is None:
        return False
    try:
        return bool(datetime.fromisoformat(json.loads(row.result_data)["to"]) >= moment)
    except (ValueError, KeyError, TypeError):
        return False


def edits_of(connection: Connection, task_id: int, since: datetime) -> tuple[Edit, ...]:
    """Read what changed on a task after a moment, the newest first, and what switched it off before that.

    Index ix_audit_log_subject, backwards.
    """
    mine = (A.subject_kind == "task", A.subject == str(task_id))
    columns = select(AUDIT).where(*mine).order_by(A.id.desc())
    later = [_edit(row) for row in connection.execute(columns.where(A.create_time > since).limit(MOST_EDITS))]
    earlier = connection.execute(columns.where(A.create_time <= since).limit(LOOKED_BACK))
    off = next((edit for row in earlier if _ends(edit := _edit(row))), None)
    return (*later, *([off] if off is not None else []))


def _ends(edit: Edit) -> bool:
    """Tell whether an edit switched the task off, or removed it."""
    return edit.action == DELETED or (edit.after is not None and not edit.after.get("enabled", 1))


def _edit(row: Any) -> Edit:
    return Edit(row.create_time, row.actor, row.action, _values(row.old_value), _values(row.new_value))


def _values(text: str | None) -> dict[str, Any] | None:
    found = None if text is None else json.loads(text)
    if not isinstance(found, dict):
        return None
    return {name: _restored(name, value) for name, value in found.items()}


def _restored(name: str, value: Any) -> Any:
    if name not in WALL_CLOCK or not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return value


def workers_by_queue(connection: Connection) -> Mapping[str, int]:
    """Count the living workers that serve each queue. Index ix_worker_lease_expires."""
    return Counter(queue.strip() for worker in leases.living_workers(connection) for queue in worker.queues.split(","))
