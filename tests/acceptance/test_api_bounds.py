"""What the API gives and takes at the edges: whole exports, cut lists, and whose word about addresses counts."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.lifecycle import State
from tests.acceptance.api_process import NOWHERE, Api, prepared
from tests.acceptance.task_api import as_operator
from tests.stack import agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROXY = "127.0.0.1"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("bounds")
    running = Api(prepared(f"sqlite:///{folder}/s.db", NOWHERE, folder), NOWHERE, API_TRUSTED_PROXIES=PROXY)
    yield running
    running.close()


def test_an_export_has_every_task(api: Api) -> None:
    config = agent()
    api.stack.insert_many(
        [{"name": f"t{number}", "crontab": "0 9 * * *", "task_extra_config": config} for number in range(10_050)]
    )
    with as_operator(api) as client:
        text = client.get("/api/v2/tasks/export", params={"format": "csv"}).text
        few = client.get("/api/v2/tasks/export", params={"format": "csv", "name_prefix": "t1004"}).text
        none = [
            client.get("/api/v2/tasks/export", params={"format": kind, "owner": "nobody"}).text
            for kind in ("yaml", "csv")
        ]

    assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == [f"t{n}" for n in range(10_050)]
    assert len(list(csv.DictReader(io.StringIO(few)))) == 11
    assert (none[0], len(none[1].splitlines())) == ("[]\n", 1)


def test_lists_of_the_older_apis_cut_long_answers_and_say_so(api: Api) -> None:
    celery = json.dumps({"task_type": "celery", "task": "t"})
    whole = {"rows": ["x" * 100] * 100}
    long_value, long_text, short = api.add_runs(
        {"config": celery, "result_data": json.dumps(whole)},
        {"result": "长" * 5000},
        {"config": celery, "result_data": '{"a": 1}'},
    )

    listed = {run["task_id"]: run["result"] for run in api.viewer.get("/api/v1/tasks/list").json()["tasks"]}
    past = api.viewer.get("/api/tasks/history").json()["data"]["tasks"]

    for found in (listed, {run["task_id"]: run["result"] for run in past}):
        assert found[long_text] == "长" * 4096 + "… (cut; ask for this run alone)"
        assert found[long_value].startswith('{"rows": ["xxx')
        assert found[long_value].endswith("… (cut; ask for this run alone)")
        assert found[short] == {"a": 1}
    assert api.viewer.get(f"/api/tasks/{long_value}/result").json()["data"]["result"] == whole
    assert {run["status"] for run in past} == {State.SUCCESS}


def test_a_trusted_proxy_names_the_address_that_is_throttled(api: Api) -> None:
    def asked_from(address: str) -> int:
        headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": address}
        return api.public.get("/api/v2/tasks", headers=headers).status_code

    assert {asked_from("203.0.113.1") for _ in range(30)} == {401}
    assert asked_from("203.0.113.1") == 429
    assert asked_from("198.51.100.7, 203.0.113.1") == 429  # what the proxy added counts, not what the caller sent
    assert asked_from("203.0.113.2") == 401


def test_without_trusted_proxies_nobody_chooses_the_address_that_is_throttled(tmp_path: Path) -> None:
    api = Api(prepared(f"sqlite:///{tmp_path}/s.db", NOWHERE, tmp_path), NOWHERE)
    headers = {"Authorization": "Bearer wrong"}
    codes = [
        api.public.get("/api/v2/tasks", headers={**headers, "X-Forwarded-For": f"203.0.113.{n}"}).status_code
        for n in range(31)
    ]
    api.close()

    assert codes == [401] * 30 + [429]
