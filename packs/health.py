"""What the whole stands on, looked at one by one: database, broker, beats, workers, queues, runs, disk.

A check that cannot be made counts as `unhealthy`; no check raises, and each is over within seconds.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from celery import Celery
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from core.lifecycle import State
from logger import redact
from store import leases, notices
from store.database import autocommit, in_words, read_clock
from store.housekeeping import first_id_at
from store.runs import R

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
UNHEALTHY: Final = "unhealthy"
TOO_MANY: Final = 2  # more unhealthy checks than these, and the whole is unhealthy
TICK_GRACE: Final = timedelta(seconds=40)  # the longest poll interval, and some
LOOK_BACK: Final = timedelta(minutes=30)
FAILING: Final = 0.5  # of the runs that ended
OVERDUE: Final = timedelta(minutes=2)
LEAST_FREE: Final = 0.05
IMPATIENT: Final = {"max_retries": 0, "socket_connect_timeout": 2, "socket_timeout": 2}

Check = dict[str, Any]


def look(app: Celery, engine: Engine, settings: Settings, folders: Iterable[Path] = ()) -> dict[str, Check]:
    """Make every check, by name: {status, detail, …}."""
    checks = {"broker": timed(lambda: _broker(app, settings))}
    for name, check in ON_DATABASE.items():
        checks[name] = timed(partial(_on, engine, settings, check))
    checks["disk"] = timed(lambda: _disk({settings.log_path, *folders}))
    return checks


def overall(checks: Mapping[str, Check]) -> str:
    """Judge the whole: more than two unhealthy checks make it unhealthy, anything else that is wrong degrades it."""
    states = Counter(check["status"] for check in checks.values())
    if states[UNHEALTHY] > TOO_MANY:
        return UNHEALTHY
    return HEALTHY if states[HEALTHY] == len(checks) else DEGRADED


def timed(check: Callable[[], Check]) -> Check:
    """Make a check and note how long it took; whatever it raises is what is wrong."""
    began = monotonic()
    try:
        found = check()
    except Exception as error:  # an edge: a service may fail in any way, and that is what a check is there to find
        words = in_words(error) if isinstance(error, SQLAlchemyError) else str(error) or type(error).__name__
        found = told(UNHEALTHY, redact(words)[:500])
    return {**found, "response_time_ms": round((monotonic() - began) * 1000, 1)}


def told(status: str, detail: str, **figures: Any) -> Check:
    """Write what a check found."""
    return {"status": status, "detail": detail, **figures}


def _on(engine: Engine, settings: Settings, check: Callable[[Connection, Settings], Check]) -> Check:
    with autocommit(engine) as connection:
        return check(connection, settings)


def _broker(app: Celery, settings: Settings) -> Check:
    with app.connection_for_write(settings.broker_url, transport_options=IMPATIENT) as connection:
        connection.ensure_connection(max_retries=1, timeout=3, reraise_as_library_errors=False)
        client = getattr(connection.default_channel, "client", None)
        if client is not None:
            client.ping()
    return told(HEALTHY, "connected")


def _answers(connection: Connection, settings: Settings) -> Check:
    read_clock(connection)
    return told(HEALTHY, f"connected ({connection.dialect.name})")


def _beat(connection: Connection, settings: Settings) -> Check:
    tick = leases.newest_tick(connection)
    if tick is None:
        return told(UNHEALTHY, "no beat has ticked yet; start one: python run_beat.py")
    age = read_clock(connection) - tick
    is_late = age > TICK_GRACE
    words = f"newest tick {age.total_seconds():.0f} s ago"
    return told(UNHEALTHY if is_late else HEALTHY, words, seconds_since_tick=round(age.total_seconds(), 1))


def _workers(connection: Connection, settings: Settings) -> Check:
    living = leases.living_workers(connection)
    if not living:
        return told(UNHEALTHY, "no worker holds a lease; start one: python run_worker.py", workers=0)
    served = {name for row in living for name in row.queues.split(",")}
    unserved = [name for name in settings.queues if name not in served]
    if unserved:
        return told(DEGRADED, f"no worker serves {', '.join(unserved)}", workers=len(living), unserved=unserved)
    return told(HEALTHY, f"{len(living)} with a lease serve every queue", workers=len(living))


def _queues(connection: Connection, settings: Settings) -> Check:
    seen = notices.read(connection, read_clock(connection))
    trouble = [*map(str, seen.stalled), *([str(seen.held)] if seen.held is not None else [])]
    if trouble:
        return told(DEGRADED, "; ".join(trouble))
    return told(HEALTHY, "nothing stands still")


def _runs(connection: Connection, settings: Settings) -> Check:
    """Count the runs made lately by their states. Primary key: ids sort by creation."""
    now = read_clock(connection)
    recent = select(R.state, func.count()).where(R.id >= first_id_at(now - LOOK_BACK)).group_by(R.state)
    states = {state: int(count) for state, count in connection.execute(recent)}
    overdue_runs = select(R.id).where(R.state == State.STARTED, R.deadline_at < now - OVERDUE).limit(5)
    overdue = list(connection.execute(overdue_runs).scalars())
    failed, ended = states.get(State.FAILURE, 0), states.get(State.FAILURE, 0) + states.get(State.SUCCESS, 0)
    figures = {"last_30_minutes": states, "overdue": overdue}
    if overdue:
        return told(UNHEALTHY, f"{len(overdue)} or more runs are past their deadline, such as {overdue[0]}", **figures)
    if failed and failed >= FAILING * ended:
        return told(DEGRADED, f"{failed} of {ended} runs that ended within 30 minutes failed", **figures)
    return told(HEALTHY, f"{failed} of {ended} runs that ended within 30 minutes failed", **figures)


def _disk(folders: Iterable[Path]) -> Check:
    figures: dict[str, Any] = {}
    for folder in folders:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        figures[str(folder)] = {"free_bytes": usage.free, "free": round(usage.free / usage.total, 4)}
    tight = [name for name, found in figures.items() if found["free"] < LEAST_FREE]
    if tight:
        return told(UNHEALTHY, f"less than {LEAST_FREE:.0%} is free where {', '.join(tight)} stands", folders=figures)
    return told(HEALTHY, "there is room", folders=figures)


ON_DATABASE: Final[Mapping[str, Callable[[Connection, Settings], Check]]] = {
    "database": _answers,
    "beat": _beat,
    "workers": _workers,
    "queues": _queues,
    "runs": _runs,
}
