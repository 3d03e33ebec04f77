"""A running `python -m api` for tests, and what a test puts into the database and the broker behind it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from broker import Sender
from config import Settings
from core.lifecycle import State
from store import leases, migrate, runs, schedules
from store.database import autocommit, read_clock
from store.runs import Sendable
from tasks import make_app
from tests.conftest import fresh_database
from tests.services import free_port
from tests.stack import Stack, agent

NOWHERE = "redis://127.0.0.1:1/0"
VIEWER, OPERATOR, ADMIN = "viewer-token-0123456789", "operator:token-012345", "admin-token-0123456789"
TOKENS = f"{VIEWER}:viewer, {OPERATOR}:operator, {ADMIN}:admin"
AGENT_KEY = "agent-key-0123456789"


class Api:
    """A running API, and the database and broker behind it."""

    def __init__(self, stack: Stack, broker_url: str, **settings: str) -> None:
        self.stack = stack
        self.broker_url = broker_url
        usual = {"API_TOKENS": TOKENS, "AGENT_API_KEY": AGENT_KEY, "API_PORT": str(free_port())}
        stack.environment |= usual | settings
        self.port = int(stack.environment["API_PORT"])
        self.process = stack.start("api", "-m", "api")
        self.public = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self.viewer = httpx.Client(base_url=self.public.base_url, timeout=10, headers=bearer(VIEWER))
        try:
            stack.wait_for(self.is_live, "the API to answer", 120)
        except BaseException:
            self.close()
            raise

    def is_live(self) -> bool:
        try:
            return self.public.get("/health/live").status_code == 200
        except httpx.TransportError:
            assert self.process.poll() is None, self.stack.tails()
            return False

    def close(self) -> None:
        self.public.close()
        self.viewer.close()
        self.stack.close()

    def readiness(self) -> tuple[int, dict[str, dict[str, Any]]]:
        answer = self.public.get("/health/ready")
        return answer.status_code, {check["name"]: check for check in answer.json()["checks"]}

    def failing(self) -> set[str]:
        return {name for name, check in self.readiness()[1].items() if check["state"] == "failed"}

    def metrics(self) -> dict[str, float]:
        """Every figure by its name, its label's value behind a colon."""
        families = text_string_to_metric_families(self.public.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return {":".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}

    def now(self) -> datetime:
        with autocommit(self.stack.engine) as connection:
            return read_clock(connection)

    def add_runs(self, *rows: dict[str, Any]) -> list[str]:
        """Put runs into the ledger, SUCCESS unless they say otherwise; return their ids."""
        now = self.now()
        usual: dict[str, Any] = {
            "task_name": "每日报告",
            "origin": "schedule",
            "scheduled_for": now,
            "ready_at": now,
            "state": State.SUCCESS,
            "queue": "priority_low",
            "priority": 5,
            "attempt": 1,
            "config": agent(),
        }
        ids = [runs.new_run_id() for _ in rows]
        with autocommit(self.stack.engine) as connection:
            for run_id, row in zip(ids, rows, strict=True):
                connection.execute(insert(runs.TABLE).values(usual | row | {"id": run_id}))
        return ids

    def add_task(self, name: str, **columns: Any) -> None:
        values = {"name": name, "task_extra_config": agent(), **columns}
        with autocommit(self.stack.engine) as connection:
            connection.execute(insert(schedules.TABLE).values(values))

    def arm(self, name: str, next_run_at: datetime) -> None:
        """Leave a row as beat does that has read it."""
        join = "schedule_fingerprint || ':' || checked_fingerprint"
        if self.stack.engine.dialect.name != "sqlite":
            join = "CONCAT(schedule_fingerprint, ':', checked_fingerprint)"
        moment = next_run_at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        statement = f"UPDATE periodic_task SET armed_for = {join}, next_run_at = :moment WHERE name = :name"
        self.stack.sql(statement, moment=moment, name=name)

    def sign_of_life(self, *, ticked: timedelta = timedelta(), lease: timedelta = timedelta(seconds=30)) -> None:
        """Leave what a beat that ticked so long ago and a worker with so much lease leave."""
        now = self.now()
        with autocommit(self.stack.engine) as connection:
            beat = {"id": "beat", "started_at": now, "last_tick_at": now - ticked}
            connection.execute(insert(leases.BEAT).values(beat))
            leases.register_worker(connection, "w1", pid=1, queues="celery", concurrency=7, lease=lease)

    def put_on_broker(self, *sendables: Sendable) -> None:
        sender = Sender(make_app(Settings(_env_file=None, celery_broker_url=self.broker_url)))
        sender.send(sendables)
        sender.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def prepared(url: str, broker_url: str, folder: Path) -> Stack:
    """Everything around an API but the API: a migrated database and a place for its output."""
    stack = Stack(url, broker_url, folder)
    migrate.upgrade(stack.engine)
    return stack


def served(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, broker_url: str = NOWHERE, **settings: str
) -> Iterator[Api]:
    """An API over a fresh database of the kind that the fixture's parameter names; for `yield from` in a fixture."""
    folder = folders.mktemp("api")
    for url in fresh_database(request, folder):
        running = Api(prepared(url, broker_url, folder), broker_url, **settings)
        yield running
        running.close()
