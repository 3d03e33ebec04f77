"""Runs that go on at a platform while our processes die or are told to stop: real workers, a fake platform."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest

from tests.contract.dialects_a2a import answered, task
from tests.contract.dialects_models import response
from tests.contract.fake_agent import FakeAgent, Received
from tests.contract.fake_dialects import ANSWER, Answer, json_answer
from tests.services import MariaDBServer
from tests.stack import Stack, agent

LEASE = {"WORKER_LEASE_SECONDS": "3"}


class Platform(NamedTuple):
    """One whose runs outlive the connection."""

    provider: str
    base: str
    asks: str
    """What asks how a run goes: an HTTP method, or one of JSON-RPC; everything else that is sent begins one."""
    goes_on: Answer


PLATFORMS = [
    Platform("openai_responses", "/v1", "GET", json_answer(response("in_progress"), "ok")),
    Platform("a2a", "/a2a", "GetTask", answered(task("working"))),
]

each_platform = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.provider)


def verb(received: Received) -> str:
    return str(received.fields.get("method") or received.method)


@contextmanager
def serving(platform: Platform) -> Iterator[tuple[FakeAgent, Event]]:
    """Run the platform in a thread; its runs go on until the event is set."""
    done = Event()

    def script(received: Received) -> Answer | None:
        is_card = received.path.endswith("agent-card.json")
        return platform.goes_on if verb(received) == platform.asks and not (is_card or done.is_set()) else None

    fake, loop = FakeAgent(script=script), asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(fake.__aenter__(), loop).result(10)
        yield fake, done
        asyncio.run_coroutine_threadsafe(fake.__aexit__(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def new_stack(mariadb: MariaDBServer, empty_broker_url: str, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []
    name = f"remote_{tmp_path.name[-12:].replace('-', '_')}"

    def new(platform: Platform, fake: FakeAgent) -> Stack:
        base = {"AGENT_API_PROVIDER": platform.provider, "AGENT_API_BASE_URL": fake.url + platform.base}
        made.append(Stack(mariadb.create_database(name), empty_broker_url, tmp_path, **LEASE, **base))
        return made[-1].__enter__()

    yield new
    for stack in made:
        stack.close()
    mariadb.drop_database(name)


def begin(stack: Stack) -> None:
    """Have a run begun at the platform, whose handle is in the ledger."""
    stack.beat()
    stack.insert("remote", agent("写日报", timeout=60), run_now=1, crontab="0 0 1 1 *")
    stack.wait_for(lambda: stack.count("SELECT count(*) FROM task_run WHERE remote_handle IS NOT NULL"), "a handle")


@pytest.mark.slow
@each_platform
def test_a_run_whose_worker_is_killed_is_waited_for_by_the_next_and_begun_once(
    platform: Platform, new_stack: Callable[..., Stack]
) -> None:
    with serving(platform) as (fake, done):
        stack = new_stack(platform, fake)
        worker = stack.worker()
        begin(stack)

        stack.kill(worker)
        stack.worker()
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM task_run WHERE attempt = 2"), "the second attempt", 60)
        done.set()

        stack.wait_for(lambda: stack.states() == {"SUCCESS": 1}, "the answer")
        (run,) = stack.sql("SELECT id, result, attempt FROM task_run")
        assert (run.result, run.attempt) == (ANSWER, 2)
        sent = [verb(received) for received in fake.requests if received.body]
        assert len([each for each in sent if each != platform.asks]) == 1
        assert {received.headers["idempotency-key"] for received in fake.requests} == {run.id}
        assert fake.cancelled == []


@pytest.mark.slow
@each_platform
def test_a_run_that_is_revoked_in_the_ledger_is_stopped_at_the_platform(
    platform: Platform, new_stack: Callable[..., Stack]
) -> None:
    with serving(platform) as (fake, _):
        stack = new_stack(platform, fake)
        stack.worker()
        begin(stack)

        stack.sql("UPDATE task_run SET state = 'REVOKED'")

        stack.wait_for(lambda: fake.cancelled, "the platform to be told")
        assert stack.states() == {"REVOKED": 1}
        assert len(fake.cancelled) == 1
