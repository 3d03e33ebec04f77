"""What runs the whole: queues, workers, beats, settings in force."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.concurrency import run_in_threadpool

from api.access import Operator
from api.off_loop import OffLoop
from api.problems import documented
from api.readiness import tick_limit
from api.services import Ours, Services
from store import audit, leases, operations, run_changes
from store.audit import Change
from store.database import AnyRow, autocommit, read_clock, transaction

DISCARDED_AT_ONCE: Final = 5000
SHOWN: Final = 20
MOST_COUNTED: Final = 20_000  # the queue stands in the rows, not in the index: each one counted is a row read

router = APIRouter(route_class=OffLoop, prefix="/api/v2", tags=["operations"], responses=documented(401, 422, 503))


class Queue(BaseModel):
    """A queue, as the ledger has it and as the broker has it. Counts stop at 20,000 of each state."""

    name: str
    rank: int
    """1 is served first."""
    waiting: int
    """Runs that no worker has: PENDING, QUEUED, RETRY."""
    held: int
    """Of these, the ones that wait until their task has no active run."""
    running: int
    messages: int | None
    """On the broker; null: it does not answer, or is no Redis. More or fewer than `waiting` is no fault."""
    oldest_ready_seconds: float | None
    """How long ago the oldest of the waiting runs became ready; null: none is."""
    workers: int
    """Living workers that serve it."""


class Queues(BaseModel):
    """Every queue, the one served first in front; those that only the ledger knows, behind."""

    items: list[Queue]


class Discard(BaseModel):
    """Why, and whether to count only."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[bool, Field(description="Only count")] = True
    reason: Annotated[str, Field(min_length=1, max_length=500, description="Stands in every run and in the audit")]


class Discarded(BaseModel):
    """What was cancelled, or would be."""

    dry_run: bool
    runs: int
    more: bool
    """There are more than one call discards: call again."""
    examples: list[str]


class Carried(BaseModel):
    """A run that a worker carries."""

    id: str
    task_name: str
    started_at: datetime | None
    deadline_at: datetime | None


class Worker(BaseModel):
    """A worker process."""

    id: str
    pid: int
    queues: list[str]
    slots: int
    running: int
    runs: list[Carried]
    """The oldest ones."""
    started_at: datetime
    lease_expires_at: datetime
    alive: bool
    """Its lease runs."""


class Workers(BaseModel):
    """Every worker that has a lease."""

    items: list[Worker]


class Beat(BaseModel):
    """A beat process."""

    id: str
    started_at: datetime
    last_tick_at: datetime
    alive: bool
    """It ticked lately."""


class Beats(BaseModel):
    """Every beat of the last day, the one that ticked last in front."""

    items: list[Beat]


class InForce(BaseModel):
    """A setting; of a secret only whether it is set, of an address no password."""

    name: str
    value: Any
    is_default: bool


class SettingsInForce(BaseModel):
    """The settings of the API's process; another process may have been started with others."""

    items: list[InForce]


@router.get("/queues")
async def list_queues(ours: Ours) -> Queues:
    """Show every queue: what waits in it, since when, and who serves it."""
    look = await ours.readiness.broker.ask()
    return await run_in_threadpool(queues_beside, ours, look.depths if look is not None else {})


def queues_beside(ours: Services, depths: Mapping[str, int]) -> Queues:
    """Show every queue; `depths` is how many messages each has on the broker, where somebody has looked."""
    with autocommit(ours.engine) as connection:
        now = read_clock(connection)
        lanes = run_changes.lanes(connection, MOST_COUNTED)
        living = leases.living_workers(connection)
    serving = Counter(queue for worker in living for queue in worker.queues.split(","))
    names = dict.fromkeys((*ours.settings.queues, *sorted({lane.queue for lane in lanes})))
    return Queues(
        items=[
            _queue(name, rank, [lane for lane in lanes if lane.queue == name], depths, serving[name], now)
            for rank, name in enumerate(names, start=1)
        ]
    )


def _queue(name: str, rank: int, lanes: list[AnyRow], depths: Mapping[str, int], workers: int, now: datetime) -> Queue:
    waiting = [lane for lane in lanes if lane.state in run_changes.CHANGEABLE]
    oldest = min((lane.oldest for lane in waiting if isinstance(lane.oldest, datetime)), default=None)
    return Queue(
        name=name,
        rank=rank,
        waiting=sum(lane.runs for lane in waiting),
        held=sum(int(lane.held) for lane in waiting),
        running=sum(lane.runs for lane in lanes if lane not in waiting),
        messages=depths.get(name),
        oldest_ready_seconds=None if oldest is None or oldest > now else (now - oldest).total_seconds(),
        workers=workers,
    )


changes = APIRouter(prefix="/api/v2", tags=["operations"], responses=documented(401, 403, 422, 503))


@changes.post("/queues/{name}/discard")
def discard_waiting(
    ours: Ours, caller: Operator, name: Annotated[str, Path(min_length=1, max_length=64)], wanted: Discard
) -> Discarded:
    """Cancel the runs that wait in a queue; first count with `dry_run`.

    Emptying the queue on the broker (`celery purge`) would only delay them: beat sends again what the ledger has.
    """
    with autocommit(ours.engine) as connection:
        found = run_changes.waiting_in(connection, name, DISCARDED_AT_ONCE + 1)
    meant = [row.id for row in found[:DISCARDED_AT_ONCE]]
    answer = Discarded(dry_run=wanted.dry_run, runs=len(meant), more=len(found) > len(meant), examples=meant[:SHOWN])
    if wanted.dry_run or not meant:
        return answer
    with transaction(ours.engine) as tx:
        done = run_changes.cancel_waiting(tx, name, meant, f"discarded by {caller.name}: {wanted.reason}")
        change = Change(action="queue.discard", subject=name, after={"revoked": done}, note=wanted.reason)
        audit.record(tx, caller.actor, change)
    return answer.model_copy(update={"runs": done})


@router.get("/workers")
def list_workers(ours: Ours) -> Workers:
    """Show every worker with its lease and the runs that it carries."""
    with autocommit(ours.engine) as connection:
        now, workers = read_clock(connection), operations.workers(connection)
        counts, started = leases.started_counts(connection), operations.started(connection)
    carried: dict[str, list[AnyRow]] = {}
    for run in started:
        carried.setdefault(run.worker, []).append(run)
    return Workers(
        items=[
            Worker(
                id=row.id,
                pid=row.pid,
                queues=row.queues.split(","),
                slots=row.concurrency,
                running=counts[row.id],
                runs=[Carried.model_validate(run, from_attributes=True) for run in carried.get(row.id, [])[:SHOWN]],
                started_at=row.started_at,
                lease_expires_at=row.expires_at,
                alive=row.expires_at > now,
            )
            for row in workers
        ]
    )


@router.get("/beats")
def list_beats(ours: Ours) -> Beats:
    """Show every beat and when it last ticked."""
    limit = tick_limit(ours.settings)
    with autocommit(ours.engine) as connection:
        now, beats = read_clock(connection), operations.beats(connection)
    found = [Beat(**row._mapping, alive=now - row.last_tick_at < limit) for row in beats]
    return Beats(items=[each for each in found if now - each.last_tick_at < timedelta(days=1)])


@router.get("/settings")
def settings_in_force(ours: Ours) -> SettingsInForce:
    """Show the settings in force, without secrets."""
    settings, fields = ours.settings, type(ours.settings).model_fields
    return SettingsInForce(
        items=[
            InForce(name=name.upper(), value=_shown(value), is_default=value == fields[name].default)
            for name, value in settings
        ]
    )


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "not set"
    if isinstance(value, str) and "://" in value:
        return ";".join(_without_password(address) for address in value.split(";"))
    return value if isinstance(value, int | float | str | bool | None) else _plain(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value)


def _without_password(address: str) -> str:
    """Show where something is; who it is asked as, and with what, is left out, and so are parameters."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
