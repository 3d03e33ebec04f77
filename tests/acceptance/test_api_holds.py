"""Holds with real processes: what is held waits, across restarts, and goes on when the hold ends."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.api_process import Api, prepared
from tests.acceptance.task_api import as_operator, audit, made
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HOLDS = "/api/v2/holds"


@pytest.fixture(scope="module")
def api(mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with valkey.client() as client:
        client.flushall()
    stack = prepared(mariadb.create_database("test_holds"), valkey.url, tmp_path_factory.mktemp("holds"))
    stack.start("agent", "-m", "tests.recording_agent", str(stack.agent_port), str(stack.agent_log))
    running = Api(stack, valkey.url)
    yield running
    running.close()
    mariadb.drop_database("test_holds")


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    with as_operator(api) as client:
        yield client


def run_now(operator: httpx.Client, task: int) -> str:
    answer = operator.post(f"/api/v2/tasks/{task}/runs", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def state(stack: Stack, run: str) -> tuple[str, bool]:
    """A run's state, and whether a hold is why it waits."""
    ((found, error),) = stack.sql("SELECT state, error FROM task_run WHERE id = :id", id=run)
    return found, "hold" in (error or "")


def test_a_held_queue_waits_across_restarts_and_goes_on_when_the_hold_ends(api: Api, operator: httpx.Client) -> None:
    stack = api.stack
    beat, worker = stack.beat(), stack.worker()
    held = made(operator, "held", task_extra_config={"task_type": "agent", "agent_id": "a", "message": "x"})["id"]
    free = made(
        operator, "free", task_extra_config={"task_type": "agent", "agent_id": "a", "message": "x", "queue": "system"}
    )["id"]
    order = {"scope": "queue", "name": "priority_low", "reason": "the platform is down"}
    hold = operator.post(HOLDS, json=order).json()["id"]

    waiting, passing = run_now(operator, held), run_now(operator, free)
    stack.wait_for(lambda: state(stack, passing)[0] == "SUCCESS", "the run of the free queue", 60)
    stack.wait_for(lambda: state(stack, waiting) == ("PENDING", True), "the held run to wait", 60)
    stack.kill(worker)
    stack.kill(beat)
    stack.beat()
    stack.worker()
    second = run_now(operator, held)
    stack.wait_for(lambda: state(stack, second) == ("PENDING", True), "the second run to wait", 60)
    assert stack.calls() == Counter([passing])

    ended = operator.delete(f"{HOLDS}/{hold}")
    assert (ended.status_code, ended.json()["woken"]) == (200, 2)
    stack.wait_for(lambda: stack.states()["SUCCESS"] == 3, "the held runs", 60)

    assert stack.calls() == Counter([passing, waiting, second])
    assert [entry["action"] for entry in audit(api, kind="hold")] == ["hold.end", "hold.create"]
    assert operator.delete(f"{HOLDS}/{hold}").status_code == 409
    assert operator.get(HOLDS).json()["items"] == []
    assert len(operator.get(f"{HOLDS}?which=all").json()["items"]) == 1


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"scope": "queue"}, "name"),
        ({"scope": "everything", "name": "x"}, "name"),
        ({"scope": "queue", "name": "nowhere"}, "name"),
        ({"scope": "endpoint", "name": "nowhere"}, "name"),
        ({"scope": "everything", "ends_at": "2026-01-01T00:00:00Z"}, "ends_at"),
    ],
)
def test_a_hold_that_would_hold_nothing_is_refused(operator: httpx.Client, order: dict[str, str], field: str) -> None:
    before = operator.get(f"{HOLDS}?which=all").json()["items"]

    answer = operator.post(HOLDS, json=order | {"reason": "x"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert operator.get(f"{HOLDS}?which=all").json()["items"] == before
