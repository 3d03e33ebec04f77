"""The engine's steps driven by hand over a migrated database: no processes, and time is moved in the rows."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import pymysql
from pymysql.cursors import Cursor
from sqlalchemy import Engine, insert, make_url, select, text, update

from config import Settings
from core.lifecycle import State
from models import Base
from scheduler import DatabaseScheduler
from store import migrate, runs, schedules
from store.database import AnyRow, autocommit, connect, read_clock, transaction
from tasks import make_app

NOWHERE: Final = "redis://127.0.0.1:1/0"
ENDPOINT: Final = "http://127.0.0.1:1/api"
YEARLY: Final = "0 0 1 1 *"
EVERY_MINUTE: Final = "* * * * *"
INSERT: Final = "INSERT INTO periodic_task (name, crontab, task_extra_config) VALUES (%s, %s, %s)"
MINUTE: Final = timedelta(minutes=1)


def agent(message: str = "hello", **more: Any) -> str:
    """The task_extra_config of an agent row."""
    return json.dumps({"task_type": "agent", "agent_id": "a1", "message": message, **more}, ensure_ascii=False)


class Ledger:
    """A migrated database, as an operator and as the product's own connections see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = connect(url, pool_size=40)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._operators: list[pymysql.Connection[Cursor]] = []

    def close(self) -> None:
        for operator in self._operators:
            operator.close()
        self.engine.dispose()

    def empty(self) -> None:
        """Remove every row of every table."""
        with transaction(self.engine) as tx:
            for table in sorted(Base.metadata.tables, key=lambda name: name == "audit_log"):  # triggers write it
                tx.exec_driver_sql(f"DELETE FROM {table}")

    # -- as an operator ---------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> list[AnyRow]:
        """Run one statement, committed by itself, and return its rows."""
        with autocommit(self.engine) as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def value(self, statement: str, **values: Any) -> Any:
        (row,) = self.sql(statement, **values)
        return row[0]

    def operator(self, *session: str, charset: str = "utf8mb4") -> "pymysql.Connection[Cursor]":
        """Open a session as a MySQL client does: REPEATABLE READ, a transaction until COMMIT."""
        url = make_url(self.url)
        connection = pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=str(url.password or ""),
            database=url.database,
            charset=charset,
            ssl_disabled="ssl_disabled" in url.query,
        )
        self._operators.append(connection)
        with connection.cursor() as cursor:
            for setting in session:
                cursor.execute(setting)
        return connection

    def insert(self, name: str = "row", **columns: Any) -> int:
        """Insert a row; without further columns one that is due on New Year's Day."""
        if not {"crontab", "interval_seconds", "rrule", "run_at"} & set(columns):
            columns["crontab"] = YEARLY
        values = {"name": name, "task_extra_config": agent(), **columns}
        with autocommit(self.engine) as connection:
            key = connection.execute(insert(schedules.TABLE).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def insert_many(self, rows: Iterable[dict[str, Any]]) -> None:
        with transaction(self.engine) as tx:
            tx.execute(insert(schedules.TABLE), list(rows))

    def edit(self, task_id: int, **columns: Any) -> None:
        with autocommit(self.engine) as connection:
            connection.execute(update(schedules.TABLE).where(schedules.T.id == task_id).values(columns))

    # -- what is there ----------------------------------------------------------------------------

    def now(self) -> datetime:
        with autocommit(self.engine) as connection:
            return read_clock(connection)

    def task(self, task_id: int) -> AnyRow:
        """One row with all its columns, the system's included."""
        with autocommit(self.engine) as connection:
            return connection.execute(select(schedules.TABLE).where(schedules.T.id == task_id)).one()

    def runs(self, task_id: int | None = None) -> list[AnyRow]:
        """The ledger of one row, or all of it, by moment."""
        query = select(runs.TABLE).order_by(runs.R.scheduled_for, runs.R.id)
        if task_id is not None:
            query = query.where(runs.R.periodic_task_id == task_id)
        with autocommit(self.engine) as connection:
            return list(connection.execute(query).all())

    def run(self, run_id: str) -> AnyRow:
        with autocommit(self.engine) as connection:
            return connection.execute(select(runs.TABLE).where(runs.R.id == run_id)).one()

    def states(self, task_id: int | None = None) -> Counter[str]:
        return Counter(run.state for run in self.runs(task_id))

    # -- moving time ------------------------------------------------------------------------------

    def owe(self, task_id: int, late: timedelta = timedelta()) -> datetime:
        """Make a row due, as one that fell due `late` ago; return that moment."""
        moment = self.now() - late
        self.edit(task_id, next_run_at=moment)
        return moment

    def owe_minutes(self, task_id: int, count: int) -> datetime:
        """Make an EVERY_MINUTE row owe its last `count` moments; return the first. No other falls due meanwhile."""
        if (left := 60 - self.now().second) <= 5:
            time.sleep(left)
        first = self.now().replace(second=0, microsecond=0) - (count - 1) * MINUTE
        self.edit(task_id, next_run_at=first)
        return first

    def set_run(self, run_id: str, **columns: Any) -> None:
        with autocommit(self.engine) as connection:
            connection.execute(update(runs.TABLE).where(runs.R.id == run_id).values(columns))

    def add_run(self, state: State = State.PENDING, **columns: Any) -> str:
        """Put a run into the ledger as it would stand there in `state`."""
        return self.add_runs(state, [columns])[0]

    def add_runs(self, state: State, rows: Iterable[dict[str, Any]]) -> list[str]:
        now = self.now()
        made = [{**_run(state, now), **columns} for columns in rows]
        with transaction(self.engine) as tx:
            tx.execute(insert(runs.TABLE), made)
        return [str(run["id"]) for run in made]


def _run(state: State, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": runs.new_run_id(),
        "task_name": "row",
        "origin": "schedule",
        "scheduled_for": now,
        "ready_at": now,
        "state": state,
        "queue": "priority_low",
        "priority": 5,
        "attempt": 0,
        "config": agent(),
    }
    if state is State.QUEUED:
        values["queued_at"] = now
    if state is State.STARTED:
        values |= {"worker": "w1", "attempt": 1, "started_at": now, "deadline_at": now + timedelta(hours=1)}
    if state in (State.FAILURE, State.SKIPPED):
        values["error"] = "as the test says"
    return values


def migrated(url: str) -> Ledger:
    ledger = Ledger(url)
    migrate.upgrade(ledger.engine)
    return ledger


def settings_for(ledger: Ledger, broker_url: str = NOWHERE, **more: Any) -> Settings:
    values = {
        "database_url": ledger.url,
        "celery_broker_url": broker_url,
        "agent_api_base_url": ENDPOINT,
        "timezone": "UTC",
        **more,
    }
    return Settings(_env_file=None, **values)


def beat_on(ledger: Ledger, broker_url: str = NOWHERE, **more: Any) -> DatabaseScheduler:
    """A beat whose steps the test calls; its publisher's thread is not started."""
    settings = settings_for(ledger, broker_url, **more)
    return DatabaseScheduler(make_app(settings), settings=settings)


class Crash(BaseException):
    """The process ended here: no `except Exception` of the code under test sees it."""
