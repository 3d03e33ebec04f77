"""Watching runs costs one query a second, whoever watches, and none once nobody does."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from sqlalchemy import event

from api import run_watch
from api.run_watch import RunWatch
from core.lifecycle import State
from store import overview
from store.database import AnyRow, autocommit
from tests.integration.engine import Ledger

BEATS = 10  # looks that a test waits for


@pytest.fixture
def asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The questions to the ledger; looks are a hundredth of a second apart."""
    monkeypatch.setattr(run_watch, "POLL_SECONDS", 0.01)
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "FROM task_run" in statement:
            statements.append(statement)

    event.listen(ledger.engine, "before_cursor_execute", note)
    yield statements
    event.remove(ledger.engine, "before_cursor_execute", note)


def row_of(ledger: Ledger, run_id: str) -> AnyRow:
    with autocommit(ledger.engine) as connection:
        return overview.runs_by_id(connection, [run_id])[run_id]


async def looks(asked: list[str], more: int) -> None:
    until = len(asked) + more
    while len(asked) < until:
        await asyncio.sleep(0.005)


def test_many_watchers_of_many_runs_cost_one_query_a_look_and_none_when_they_have_gone(
    ledger: Ledger, asked: list[str]
) -> None:
    runs = [ledger.add_run(State.QUEUED) for _ in range(3)]
    rows = [row_of(ledger, run_id) for run_id in runs]

    async def scenario() -> tuple[int, int]:
        watch = RunWatch(ledger.engine)
        streams = [watch.follow(row) for row in rows * 4]
        for stream in streams:
            await anext(stream)
        tasks = [asyncio.ensure_future(anext(stream)) for stream in streams]
        asked.clear()
        await looks(asked, BEATS)
        assert all(statement.count("IN (") == 1 for statement in asked)
        for task, stream in zip(tasks, streams, strict=True):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.aclose()
        await asyncio.sleep(0.2)
        before = len(asked)
        await asyncio.sleep(0.3)
        return watch.watchers, len(asked) - before

    assert asyncio.run(scenario()) == (0, 0)


def test_a_change_is_told_once_and_the_end_ends_it(ledger: Ledger, asked: list[str]) -> None:
    run_id = ledger.add_run(State.QUEUED)

    async def scenario() -> list[str]:
        seen = []
        async with aclosing(RunWatch(ledger.engine).follow(row_of(ledger, run_id))) as changes:
            async for row in changes:
                seen.append(row.state)
                if row.state == State.QUEUED:
                    await looks(asked, BEATS)
                    ledger.set_run(run_id, state=State.REVOKED)
        return seen

    assert asyncio.run(scenario()) == ["QUEUED", "REVOKED"]


def test_a_ledger_that_is_away_ends_no_stream(
    ledger: Ledger, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.add_run(State.QUEUED)
    seen = row_of(ledger, run_id)
    real = overview.runs_by_id
    failures: list[Any] = []

    def sometimes(connection: Any, run_ids: Any) -> Any:
        if len(failures) < 3:
            failures.append(run_ids)
            connection.exec_driver_sql("SELECT nothing FROM nowhere")
        return real(connection, run_ids)

    monkeypatch.setattr(overview, "runs_by_id", sometimes)

    async def scenario() -> str:
        async with aclosing(RunWatch(ledger.engine).follow(seen)) as changes:
            await anext(changes)
            ledger.set_run(run_id, state=State.REVOKED)
            return str((await anext(changes)).state)

    assert asyncio.run(scenario()) == "REVOKED"
    assert len(failures) == 3
