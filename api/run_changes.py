"""Changes of runs: cancel, repeat, move to another lane, repeat many. Each is in the audit, in the same transaction."""

import logging
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from api.access import Operator
from api.problems import Refused, documented
from api.run_models import Run, shown
from api.run_query import RUN_ID, QueueName, RunFilter
from api.runs import PATH, no_such_run
from api.schedules import editor_of
from api.services import Ours, Services
from broker import sendable
from core.lifecycle import FINAL, State
from store import audit, overview, run_changes, run_search, schedules
from store.audit import Change, as_text
from store.database import AnyRow, autocommit, read_clock, transaction
from store.runs import new_run_id

MOST_AT_ONCE: Final = 1000
SOME_TIME: Final = "0 0 1 1 *"  # what is judged is what is to be done; when, is now
MOST_PIECES: Final = 100  # of the ledger, 10,000 runs each, that one request looks through

logger = logging.getLogger("api")

router = APIRouter(prefix=PATH, tags=["runs"], responses=documented(401, 403, 422, 503))

Id = Annotated[str, Path(pattern=RUN_ID)]
Reason = Annotated[str | None, Field(max_length=500, description="Why; stands in the run and in the audit")]


class Because(BaseModel):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = None


class Again(Because):
    """How a run is repeated."""

    overrides: Annotated[
        dict[str, Any] | None,
        Field(description='keys of its config that are otherwise this once, as {"message": "…"}; *** stays hidden'),
    ] = None


class Lane(BaseModel):
    """Where a run waits; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    queue: QueueName | None = None
    priority: Annotated[int | None, Field(ge=0, le=9, strict=True, description="9 is the most urgent")] = None


class RepeatMany(BaseModel):
    """Which runs to repeat. Without states, the failed ones are meant."""

    model_config = ConfigDict(extra="forbid")

    filter: RunFilter
    dry_run: Annotated[bool, Field(description="Only count")] = True
    limit: Annotated[int, Field(ge=1, le=MOST_AT_ONCE, description="How many at most, the newest first")] = 100
    reason: Reason = None


class Repeated(BaseModel):
    """What was done, or would be."""

    dry_run: bool
    matched: int
    """Runs that meet the filter, up to the limit."""
    more: bool
    """Older runs may meet it, too."""
    made: list[str]
    """The new runs."""
    change_set: str | None
    """Under which the audit has them."""


@router.post("/rerun", responses=documented(409))
def repeat_many(ours: Ours, caller: Operator, wanted: RepeatMany) -> Repeated:
    """Repeat final runs that meet a filter, each with its original input, as new runs; first count with `dry_run`."""
    looked_for = wanted.filter.model_copy(update={"state": wanted.filter.state or [State.FAILURE]}).wanted()
    if not wanted.filter.model_fields_set:
        raise HTTPException(422, "filter: says nothing; name at least a state, a task or a time range")
    if unfinished := sorted(set(looked_for.states) - FINAL):
        raise HTTPException(422, f"filter.state: runs in {', '.join(unfinished)} go on still; only ended ones repeat")
    with autocommit(ours.engine) as connection:
        found, more = _ids(connection, looked_for, wanted.limit)
    answer = Repeated(dry_run=wanted.dry_run, matched=len(found), more=more, made=[], change_set=None)
    if wanted.dry_run or not found:
        return answer
    change_set = new_run_id()
    with transaction(ours.engine) as tx:
        now = read_clock(tx)
        for place, run_id in enumerate(found):
            row = run_changes.lock(tx, run_id)
            if row is None or row.queue not in ours.settings.queues:
                continue
            if (new := run_changes.repeat(tx, run_id, now + timedelta(microseconds=place))) is not None:
                change = Change(
                    action="run.retry", subject=new, after={"retry_of": run_id}, note=wanted.reason,
                    change_set=change_set,
                )  # fmt: skip
                audit.record(tx, caller.actor, change)
                answer.made.append(new)
    return answer.model_copy(update={"change_set": change_set if answer.made else None})


@router.post("/{run_id}/cancel", responses=documented(404, 409))
def cancel_run(ours: Ours, caller: Operator, run_id: Id, why: Because | None = None) -> Run:
    """Cancel a run that has not ended: a waiting one never starts, the call of a started one is cut within seconds."""
    return cancel(ours, caller, run_id, why.reason if why else None)


def cancel(ours: Services, caller: Operator, run_id: str, reason: str | None) -> Run:
    """Cancel a run, as every API does. One that is cancelled already stays so. Raises HTTPException 404, 409."""
    with transaction(ours.engine) as tx:
        row = _locked(tx, run_id)
        if row.state in FINAL and row.state != State.REVOKED:
            raise HTTPException(409, f"The run has ended as {row.state}, and a final state never changes.")
        told = f"cancelled by {caller.name}" + (f": {reason}" if reason else "")
        changed = run_changes.cancel(tx, run_id, told)
        if changed:
            after = {"state": State.REVOKED.value}
            change = Change(action="run.cancel", subject=run_id, before={"state": row.state}, after=after, note=reason)
            audit.record(tx, caller.actor, change)
    if changed and row.periodic_task_id is not None:
        _show_cancelled(ours, row)
    return _read(ours, run_id)


def _show_cancelled(ours: Services, row: AnyRow) -> None:
    """Show it on the task's row, unless somebody holds that: the next run's end shows anyway."""
    try:
        with autocommit(ours.engine) as connection:
            schedules.record_outcome(connection, row.id, row.periodic_task_id, State.REVOKED)
    except DBAPIError as error:
        logger.warning("last_run_state of row %s does not show the cancel: %s", row.periodic_task_id, error.orig)


@router.post("/{run_id}/retry", status_code=201, responses=documented(404, 409))
def retry_run(ours: Ours, caller: Operator, response: Response, run_id: Id, how: Again | None = None) -> Run:
    """Repeat a run that has ended, with its input or an edited one, as a new run; `retry_of` names this one."""
    how = how or Again()
    made = retry(ours, caller, run_id, how.reason, how.overrides)
    response.headers["Location"] = f"{PATH}/{made.id}"
    return made


def retry(
    ours: Services, caller: Operator, run_id: str, reason: str | None, overrides: dict[str, Any] | None = None
) -> Run:
    """Repeat a run, as every API does. Raises HTTPException 404, 409; Refused where it would not run as edited."""
    with transaction(ours.engine) as tx:
        row, now = _locked(tx, run_id), read_clock(tx)
        _check_queue(ours, row.queue, 409)
        config = _edited(ours, tx, row, overrides) if overrides else None
        new = run_changes.repeat(tx, run_id, now, config)
        if new is None:
            raise HTTPException(409, f"The run is {row.state} and goes on by itself; cancel it first, or wait.")
        after = {"retry_of": run_id, **(ours.mask.config(as_text(overrides)) if overrides else {})}
        change = Change(action="run.retry", subject=new, after=after, note=reason)
        audit.record(tx, caller.actor, change)
        made = run_changes.lock(tx, new)
    if made is not None:
        ours.submitter.send([sendable(made)])
    return _read(ours, new)


@router.patch("/{run_id}", responses=documented(404, 409))
def move_run(ours: Ours, caller: Operator, run_id: Id, lane: Lane) -> Run:
    """Give a waiting run another queue or priority.

    It is sent again to its new place at once. A message that waits in the old place starts it, too, if it is served
    first: a run can be moved ahead with certainty, and back only while it is not QUEUED.
    """
    with transaction(ours.engine) as tx:
        row = _locked(tx, run_id)
        queue = row.queue if lane.queue is None else lane.queue
        priority = row.priority if lane.priority is None else lane.priority
        _check_queue(ours, queue, 422)
        if not run_changes.move(tx, run_id, queue, priority):
            raise HTTPException(409, f"The run is {row.state}: only one that waits (PENDING, QUEUED, RETRY) can move.")
        before = {"queue": row.queue, "priority": row.priority}
        change = Change(action="run.move", subject=run_id, before=before, after={"queue": queue, "priority": priority})
        audit.record(tx, caller.actor, change)
        moved = run_changes.lock(tx, run_id)
    if moved is not None and moved.state == State.QUEUED and (queue, priority) != (row.queue, row.priority):
        ours.submitter.send([sendable(moved)])
    return _read(ours, run_id)


def _locked(tx: Connection, run_id: str) -> AnyRow:
    row = run_changes.lock(tx, run_id)
    if row is None:
        raise no_such_run(run_id)
    return row


def _edited(ours: Services, tx: Connection, row: AnyRow, overrides: dict[str, Any]) -> str:
    """Write the config that comes out, judged as a task's is. Raises Refused."""
    if lanes := {"queue", "priority"} & overrides.keys():
        told = f"the lane is the run's own: take {' and '.join(sorted(lanes))} out, and PATCH the new run"
        raise Refused([{"field": "overrides", "message": told}])
    editor = editor_of(ours, tx)
    config = editor.config_with(overrides, row.config)
    editor.check({"crontab": SOME_TIME, "name": row.task_name, "task_extra_config": config}, None, read_clock(tx))
    return config


def _check_queue(ours: Services, queue: str, status: int) -> None:
    if queue not in ours.settings.queues:
        known = ", ".join(ours.settings.queues)
        raise HTTPException(status, f"queue: no worker serves {queue!r}; add it to TASK_QUEUES, or use one of {known}")


def _ids(connection: Connection, wanted: run_search.Wanted, limit: int) -> tuple[list[str], bool]:
    """Name the newest runs that meet the filter, and say whether there may be more of them."""
    found: list[str] = []
    before: str | None = None
    for _ in range(MOST_PIECES):
        some, before = run_search.ids(connection, wanted, before, limit - len(found))
        found += some
        if before is None or len(found) == limit:
            break
    return found, before is not None


def _read(ours: Services, run_id: str) -> Run:
    with autocommit(ours.engine) as connection:
        row = overview.runs_by_id(connection, [run_id]).get(run_id)
    if row is None:
        raise no_such_run(run_id)
    return shown(row, ours.mask)
