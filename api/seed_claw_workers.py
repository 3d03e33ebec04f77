"""`/api/v1/tasks/workers/*`: restarting and stopping workers, as the CLAW system's callers ask for it."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from kombu.exceptions import OperationalError
from pydantic import BaseModel
from sqlalchemy import Connection

from api.access import Admin
from api.inspection import shut_down
from api.problems import documented
from api.seed_claw import PATH, TAG
from api.services import Ours, Services
from api.supervision import NotSupervised, Program, Supervisor, node_of, supervised
from store import audit, leases
from store.audit import Change
from store.database import autocommit, transaction

WorkerName = Annotated[
    str | None, Query(max_length=191, description="A worker's Celery node or its id in the ledger; left out: all")
]

router = APIRouter(prefix=f"{PATH}/workers", tags=[TAG], responses=documented(401, 403, 404, 409, 422, 503))


class Told(BaseModel):
    """What workers were told. `result` names each with its process."""

    success: bool
    message: str
    result: dict[str, Any]


@router.post("/pool/restart")
def restart_pool(ours: Ours, caller: Admin, worker_name: WorkerName = None) -> Told:
    """Let worker processes end what they run and be replaced by supervisor. 409 says why it cannot be done."""
    supervisor, programs = _programs(ours, worker_name)
    try:
        supervisor.replace(list(programs.values()))
    except NotSupervised as error:
        raise HTTPException(409, str(error)) from error
    _record(ours, caller, "worker.restart", programs)
    drain = f"{ours.settings.drain_seconds:g}"
    told = f"{len(programs)} worker processes end what they run, for up to {drain} s, and are replaced by supervisor"
    return Told(success=True, message=told, result={name: {"program": p.name} for name, p in programs.items()})


@router.post("/shutdown")
def shut_down_workers(ours: Ours, caller: Admin, worker_name: WorkerName = None) -> Told:
    """Let workers end what they run and stop; under supervisor they stay stopped until somebody starts them."""
    with autocommit(ours.engine) as connection:
        living = _named(connection, worker_name)
    try:
        supervisor = Supervisor()
        programs = supervised(living, supervisor.workers())
    except NotSupervised:  # none is here, so none starts them again
        programs = {}
    if programs:  # told otherwise to end, they would be started again at once
        try:
            supervisor.stop(list(programs.values()))
        except NotSupervised as error:
            raise HTTPException(409, f"{error}; no worker was told to stop by the broker") from error
    others = [node_of(name) for name in living if name not in programs]
    if others:
        try:
            shut_down(ours.settings, others)
        except (OperationalError, OSError) as error:
            raise HTTPException(409, "The broker is away, and carries what workers are told; try again.") from error
    _record(ours, caller, "worker.shutdown", living)
    result = {name: {"program": programs[name].name if name in programs else None} for name in living}
    return Told(success=True, message=f"{len(living)} workers were told to stop", result=result)


def _named(connection: Connection, worker_name: str | None) -> dict[str, int]:
    """Name the living workers that are meant, with their process ids. Raises HTTPException 404, 409."""
    living = {row.id: row.pid for row in leases.living_workers(connection)}
    if not living:
        raise HTTPException(409, "No worker holds a lease: there is nothing to tell anybody.")
    meant = {name: pid for name, pid in living.items() if worker_name in (None, name, node_of(name))}
    if not meant:
        raise HTTPException(404, f"No living worker is called {worker_name!r}. Living: {', '.join(sorted(living))}.")
    return meant


def _programs(ours: Services, worker_name: str | None) -> tuple[Supervisor, dict[str, Program]]:
    """Find the supervisor's programs of the workers that are meant. Raises HTTPException 404, 409."""
    with autocommit(ours.engine) as connection:
        meant = _named(connection, worker_name)
    try:
        supervisor = Supervisor()
        programs = supervised(meant, supervisor.workers())
    except NotSupervised as error:
        raise HTTPException(409, str(error)) from error
    if left := sorted(set(meant) - set(programs)):
        raise HTTPException(
            409,
            f"Not under the supervisor of this machine: {', '.join(left)}. Restart them where they run, "
            "or name with worker_name one that is.",
        )
    return supervisor, programs


def _record(ours: Services, caller: Admin, action: str, workers: Any) -> None:
    with transaction(ours.engine) as tx:
        audit.record(tx, caller.actor, *(Change(action=action, subject=name) for name in workers))
