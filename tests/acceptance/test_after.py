"""Rows that start after others, with real processes: made by the API, carried by a worker, the result at hand."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.api_process import Api, prepared
from tests.acceptance.task_api import as_operator, task
from tests.services import MariaDBServer, ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TASKS = "/api/v2/tasks"
ARCHIVE = {"task_type": "celery", "task": "tests.archive", "kwargs": {"folder": "2026"}}


@pytest.fixture(scope="module")
def api(mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("after")
    stack = prepared(mariadb.create_database("after"), valkey.url, folder).__enter__()
    stack.environment["TASK_MODULES"] = "tests.acceptance.after_pack"
    running = Api(stack, valkey.url)
    stack.beat()
    stack.worker()
    yield running
    running.close()
    mariadb.drop_database("after")


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    with as_operator(api) as client:
        yield client


def following(name: str, after: Any, config: dict[str, Any] | None = None) -> dict[str, Any]:
    what = config or {"task_type": "agent", "agent_id": "a1", "message": "m"}
    return {"name": name, "task_extra_config": {**what, "after": after}}


def created(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(TASKS, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def run_of(api: Api, name: str) -> Any:
    api.stack.wait_for(lambda: api.stack.states(name)["SUCCESS"], f"a SUCCESS of {name}", 60)
    return api.stack.sql("SELECT * FROM task_run WHERE task_name = :name", name=name)[0]


def test_what_one_run_came_to_reaches_the_next_and_the_one_after(api: Api, operator: httpx.Client) -> None:
    load = created(operator, task("load"))
    message = "{{ after.task }} {{ after.state }}: {{ after.result }} ({{ after.run_id }})"
    agent = {"task_type": "agent", "agent_id": "a1", "message": message, "template": True}
    report = created(operator, following("report", "load", agent))
    created(operator, following("archive", {"task": "report", "outcome": "ended", "pass_as": "upstream"}, ARCHIVE))
    armed = "SELECT COUNT(*) FROM task_after"
    api.stack.wait_for(lambda: api.stack.count(armed) == 2, "beat to read whom the rows follow")

    first = operator.post(f"{TASKS}/{load['id']}/runs", json={}).json()["id"]
    archived = run_of(api, "archive")

    second = run_of(api, "report")
    assert second.result == f"ok load SUCCESS: ok 你好 ({first})"
    assert archived.result == f"2026: SUCCESS {second.result}"
    shown = operator.get(f"/api/v2/runs/{second.id}").json()
    assert (shown["origin"], shown["after_run"]) == ("after", first)
    assert shown["timeline"][0]["what"] == f"created (after run {first})"
    listed = operator.get("/api/v2/runs", params={"origin": "after", "task_id": report["id"]}).json()["items"]
    assert [(run["id"], run["after_run"]) for run in listed] == [(second.id, first)]

    again = operator.post(f"/api/v2/runs/{second.id}/retry", json={}).json()["id"]
    retried = "SELECT result FROM task_run WHERE id = :id AND state = 'SUCCESS'"
    api.stack.wait_for(lambda: api.stack.sql(retried, id=again), "the retry", 60)
    assert api.stack.sql(retried, id=again)[0].result == second.result


def test_a_celery_task_that_is_run_by_hand_is_given_nothing(api: Api, operator: httpx.Client) -> None:
    created(operator, task("source"))
    made = created(operator, following("by hand", {"task": "source", "pass_as": "upstream"}, ARCHIVE))

    operator.post(f"{TASKS}/{made['id']}/runs", json={}).raise_for_status()

    assert run_of(api, "by hand").result == "2026: nothing"


def test_a_row_to_follow_must_be_there(operator: httpx.Client) -> None:
    answer = operator.post(TASKS, json=following("lonely", "nobody"))

    assert answer.status_code == 422
    assert "after names the row 'nobody', and there is none" in answer.text


def test_a_circle_is_refused_and_named(api: Api, operator: httpx.Client) -> None:
    first = created(operator, task("one"))
    created(operator, following("two", "one"))
    entered = "SELECT COUNT(*) FROM task_after WHERE upstream_id = :id"
    api.stack.wait_for(lambda: api.stack.count(entered, id=first["id"]), "beat to read whom the row follows")

    answer = operator.patch(f"{TASKS}/{first['id']}", json={"crontab": None, **following("one", "two")})

    assert answer.status_code == 422
    assert "after makes a loop: 'one' after 'two' after 'one'" in answer.text


def test_a_preview_says_what_starts_the_task(operator: httpx.Client) -> None:
    created(operator, task("upstream"))
    made = created(operator, following("downstream", "upstream"))

    for shown in (
        operator.get(f"{TASKS}/{made['id']}/preview").json(),
        operator.post("/api/v2/preview", json={"task_id": made["id"]}).json(),
    ):
        assert (shown["problems"], shown["fires"]) == ([], [])
        assert shown["ended"] == "starts after 'upstream' has succeeded; it has no moments of its own"


@pytest.mark.parametrize("kind", ["yaml", "csv"])
def test_a_file_may_hold_both_in_any_order(api: Api, operator: httpx.Client, kind: str) -> None:
    created(operator, task(f"{kind} a"))
    created(operator, following(f"{kind} 0", {"task": f"{kind} a", "outcome": "failed"}))
    types = {"yaml": "application/yaml", "csv": "text/csv"}
    file = operator.get(f"{TASKS}/export", params={"format": kind, "name_prefix": f"{kind} "}).text
    api.stack.sql("DELETE FROM periodic_task WHERE name LIKE :prefix", prefix=f"{kind} %")
    if kind == "yaml":  # the one that follows first
        head, rest = file.split(f"- name: {kind} 0")
        file = f"- name: {kind} 0{rest}{head}"

    answer = operator.post(f"{TASKS}/import", content=file.encode(), headers={"Content-Type": types[kind]})

    assert answer.json()["created"] == 2, answer.text
    (row,) = api.stack.sql("SELECT task_extra_config FROM periodic_task WHERE name = :name", name=f"{kind} 0")
    assert json.loads(row.task_extra_config)["after"] == {"task": f"{kind} a", "outcome": "failed"}
