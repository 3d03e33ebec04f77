"""Pages are told of changes by one look a second, whoever watches; nobody is told of none."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from core.lifecycle import State
from store import pulse as pulses
from store.database import autocommit
from store.leases import register_worker
from store.pulse import pulse
from tests.integration.engine import Ledger
from web import pulse as web_pulse
from web.pulse import AWAY, MOST_WATCHERS, Pulse


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_pulse, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(web_pulse, "APART_SECONDS", 0.0)


def test_it_is_another_after_each_change_that_the_overview_shows_and_the_same_without(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulses, "AT_LEAST_EVERY", timedelta(days=1000))

    def felt() -> str:
        with autocommit(ledger.engine) as connection:
            return pulse(connection)

    def register() -> None:
        with autocommit(ledger.engine) as connection:
            register_worker(connection, "w", pid=1, queues="celery", concurrency=1, lease=timedelta(minutes=1))

    waiting, started = ledger.add_run(State.QUEUED), ledger.add_run(State.STARTED)
    ended = "UPDATE task_run SET state = 'SUCCESS', finished_at = started_at WHERE id = :id"
    changes: dict[str, Callable[[], object]] = {
        "a row": lambda: ledger.insert("a"),
        "a run": lambda: ledger.add_run(State.PENDING),
        "a cancel": lambda: ledger.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=waiting),
        "an end": lambda: ledger.sql(ended, id=started),
        "a worker": register,
    }
    for what, change in changes.items():
        before = felt()
        assert felt() == before
        change()
        assert felt() != before, what


def test_all_watchers_are_told_by_the_same_looks_and_looking_ends_with_the_last() -> None:
    looks, said = 0, "one"

    def feel() -> str:
        nonlocal looks
        looks += 1
        return said

    async def scenario() -> tuple[set[str], set[str], int]:
        nonlocal said
        watched = Pulse(feel)
        streams = [watched.follow() for _ in range(MOST_WATCHERS)]
        first = set(await asyncio.gather(*(anext(stream) for stream in streams)))
        assert watched.is_full
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in waiting)
        assert looks < 20
        said = "two"
        second = set(await asyncio.gather(*waiting))
        for stream in streams:
            await stream.aclose()
        await asyncio.sleep(0.05)
        ended = looks
        await asyncio.sleep(0.05)
        return first, second, looks - ended

    first, second, more = asyncio.run(scenario())

    assert (first, second, more) == ({"one"}, {"two"}, 0)


def test_an_outage_is_told_and_its_end_too() -> None:
    answers: list[Any] = ["one", OperationalError("x", None, Exception("gone")), "one"]

    def feel() -> str:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return str(found)

    async def scenario() -> list[str]:
        async with aclosing(Pulse(feel).follow()) as told:
            return [await anext(told) for _ in range(3)]

    assert asyncio.run(scenario()) == ["one", AWAY, "one"]


def test_whoever_comes_after_the_last_has_gone_is_told_the_present() -> None:
    async def scenario() -> list[str]:
        said, watched = ["one"], Pulse(lambda: said[0])
        found = []
        for text in ("one", "two"):
            said[0] = text
            stream = watched.follow()
            found.append(await anext(stream))
            await stream.aclose()
            await asyncio.sleep(0.05)
            assert (watched.told, watched.watchers) == ("", 0)
        return found

    assert asyncio.run(scenario()) == ["one", "two"]
