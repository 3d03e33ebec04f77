"""A look at the broker over a kept connection: what is seen after restarts, and while nobody answers."""

from collections.abc import Iterator
from time import monotonic

import pytest

from api import broker_look
from api.broker_look import BrokerLooker
from config import Settings
from tests.services import ValkeyServer

QUEUE = "priority_low"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


@pytest.fixture
def looker(server: ValkeyServer) -> Iterator[BrokerLooker]:
    made = BrokerLooker(Settings(_env_file=None, celery_broker_url=server.url))
    yield made
    made.close()


def connections(server: ValkeyServer) -> int:
    with server.client() as client:
        return int(client.info("stats")["total_connections_received"])


def test_many_looks_take_one_connection(server: ValkeyServer, looker: BrokerLooker) -> None:
    looker.look()
    before = connections(server)

    assert {looker.look().depths[QUEUE] for _ in range(5)} == {0}
    with server.client() as client:
        client.rpush(QUEUE, "message")
    assert looker.look().depths[QUEUE] == 1
    assert connections(server) - before <= 2  # those of this test


def test_a_connection_is_not_kept_for_ever(
    server: ValkeyServer, looker: BrokerLooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker.look()
    before = connections(server)

    monkeypatch.setattr(broker_look, "KEPT_SECONDS", -1.0)

    assert looker.look().problem is None
    assert connections(server) - before >= 2


def test_a_broker_that_was_started_anew_is_seen_by_the_next_look(server: ValkeyServer, looker: BrokerLooker) -> None:
    assert looker.look().problem is None

    server.kill()
    assert looker.look().problem
    server.start()
    assert looker.look().depths[QUEUE] == 0
    server.kill()
    server.start()  # between two looks
    assert looker.look().problem is None


def test_a_broker_that_hangs_is_waited_for_once(server: ValkeyServer, looker: BrokerLooker) -> None:
    assert looker.look().problem is None
    server.freeze()
    begin = monotonic()

    found = looker.look()

    server.thaw()
    assert found.problem
    assert monotonic() - begin < 2 * broker_look.IMPATIENT["socket_timeout"]
    assert looker.look().problem is None
