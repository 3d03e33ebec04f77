"""A test call before saving: a real call by the worker's adapters and guards, and nothing in the ledger."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.throttle import TRIALS
from tests.acceptance.api_process import Api, served
from tests.acceptance.console_site import signed_in, words_of
from tests.acceptance.task_api import as_admin, as_operator, audit, emptied, made
from tests.packs.model_server import KEY, ModelServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PATH = "/api/v2/tasks/test"
KEPT = ("task_run", "periodic_task", "budget_use")


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory, SECRET_KEY="a long random text", HTTP_ALLOWED_HOSTS="127.0.0.1")


@pytest.fixture
def api(shared: Api) -> Api:
    for table in ("agent_endpoint", "budget", "budget_slice"):
        shared.stack.sql(f"DELETE FROM {table}")
    return emptied(shared, but=("api_user",))


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def endpoint(api: Api, model: ModelServer) -> int:
    """An endpoint with a stored key and prices; its id."""
    prices = {"input_price": 1000, "output_price": 2000, "currency": "USD"}
    given = {"name": "model", "provider": "openai_chat", "base_url": model.url, "credential": KEY, **prices}
    with as_admin(api) as client:
        answer = client.post("/api/v2/endpoints", json=given)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    """A caller that no other test has used up the calls of."""
    with as_admin(api) as client:
        token = client.post("/api/v2/tokens", json={"name": f"trier {uuid4()}", "role": "operator"}).json()["token"]
    with httpx.Client(base_url=api.public.base_url, timeout=40, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def agent(message: str = "a b c", **more: Any) -> dict[str, Any]:
    return {"task_type": "agent", "agent_id": "m1", "message": message, "endpoint": "model", **more}


def tried(client: httpx.Client, config: Any, **more: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={"task_extra_config": config, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def counts(api: Api) -> list[int]:
    return [api.stack.count(f"SELECT count(*) FROM {table}") for table in KEPT]


def test_a_call_is_made_with_the_stored_key_and_told_with_tokens_and_cost_and_leaves_no_run(
    api: Api, operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    before = counts(api)

    found = tried(operator, agent(template=True, message="a b {{ task.name }}", user="u"), name="draft")

    (heard,) = model.heard
    assert (heard["key"], heard["model"], heard["messages"][-1]["content"]) == (f"Bearer {KEY}", "m1", "a b draft")
    assert (found["state"], found["answer"], found["error_kind"]) == ("SUCCESS", "heard 1: a b draft", None)
    assert (found["input_tokens"], found["output_tokens"], found["cost"], found["currency"]) == (3, 5, 0.013, "USD")
    assert counts(api) == before
    after, before_it = audit(api, kind="task")
    assert (before_it["action"], before_it["actor"][:5], before_it["subject"]) == ("task.test", "trier", "new")
    assert before_it["after"]["task_extra_config"]["agent_id"] == "m1"
    assert (after["action"], after["after"]["ok"], after["after"]["cost"]) == ("task.tested", True, 0.013)
    assert tried(operator, agent(f"say {KEY}"))["answer"] == "heard 1: say ***"
    assert KEY not in json.dumps([found, after, before_it]) + api.stack.tails()


def test_what_fails_is_told_with_its_kind_and_a_failed_check_keeps_the_answer(
    operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    unexpected = tried(operator, agent(expect={"contains": "nowhere"}))
    assert (unexpected["state"], unexpected["error_kind"]) == ("FAILURE", "expectation")
    assert (unexpected["answer"], unexpected["output_tokens"]) == ("heard 1: a b c", 5)
    model.refuse = 401
    refused = tried(operator, agent())
    assert (refused["state"], refused["error_kind"], refused["http_status"]) == ("FAILURE", "auth", 401)
    model.refuse, model.delay = None, 3
    late = tried(operator, agent(timeout=0.2))
    assert (late["error_kind"], late["seconds"] < 3) == ("timeout", True)


def test_a_workflow_is_started_with_its_inputs(api: Api, operator: httpx.Client, model: ModelServer) -> None:
    with as_admin(api) as admin:
        given = {"name": "flow", "provider": "http_json", "base_url": model.url}
        admin.post("/api/v2/endpoints", json=given).raise_for_status()
    sent = {"path": "chat", "body": {"messages": [{"content": "$target"}], "inputs": "$inputs"}}
    inputs = {"day": "今天"}
    config = {"task_type": "workflow", "workflow_id": "w1", "inputs": inputs, "endpoint": "flow", "options": sent}

    found = tried(operator, config)

    assert (found["state"], "heard 1: w1" in found["answer"], model.heard[0]["inputs"]) == ("SUCCESS", True, inputs)


def test_a_long_answer_is_cut(operator: httpx.Client, endpoint: int) -> None:
    found = tried(operator, agent("x" * 5000))

    assert (len(found["answer"]), found["is_cut"]) == (4000, True)


def test_an_http_task_goes_to_allowed_hosts_only_and_past_no_guard(
    operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    config = {"task_type": "http", "url": f"{model.url}/x", "body": {"messages": [{"content": "hi"}]}}
    assert tried(operator, config)["http_status"] == 200

    for url in ("http://localhost:1/x", "http://169.254.169.254/latest", "http://[::1]/"):
        answer = operator.post(PATH, json={"task_extra_config": config | {"url": url}})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "task_extra_config"), url
        assert "HTTP_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"task_type": "celery", "task": "t"}, "runs in a worker"),
        ({"task_type": "agent", "agent_id": "a"}, "message is missing"),
        (agent(endpoint="modle"), "did you mean 'model'"),
        ("{", "task_extra_config"),
    ],
)
def test_what_no_run_could_use_is_refused_and_nothing_is_called(
    api: Api, operator: httpx.Client, model: ModelServer, endpoint: int, config: Any, said: str
) -> None:
    answer = operator.post(PATH, json={"task_extra_config": config})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "task_extra_config")
    assert said in answer.json()["detail"]
    assert (model.heard, audit(api, kind="task")) == ([], [])


def test_a_hold_and_a_used_up_budget_are_against_it_and_it_uses_a_budget_up_itself(
    api: Api, operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    def refusal(**more: Any) -> str:
        answer = operator.post(PATH, json={"task_extra_config": agent(), **more})
        assert answer.status_code == 409, answer.text
        return str(answer.json()["detail"])

    for scope, name in (("endpoint", "model"), ("tag", "held"), ("queue", "priority_low")):
        hold = operator.post("/api/v2/holds", json={"scope": scope, "name": name, "mode": "wait", "reason": "quiet"})
        assert f"{scope} {name}): quiet" in refusal(tags="other, held")
        operator.delete(f"/api/v2/holds/{hold.json()['id']}")
    budget = operator.post("/api/v2/budgets", json={"endpoint": "model", "amount": 8, "unit": "tokens"}).json()["id"]
    assert model.heard == []

    assert tried(operator, agent())["state"] == "SUCCESS"
    assert operator.get(f"/api/v2/budgets/{budget}").json()["spent"] == "8"
    assert f"budget {budget} of endpoint 'model'" in refusal()
    operator.patch(f"/api/v2/budgets/{budget}", json={"at_limit": "alert"})
    assert tried(operator, agent())["state"] == "SUCCESS"


def test_a_masked_secret_is_that_of_the_task_and_nobody_elses(
    operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    http = {"task_type": "http", "url": f"{model.url}/x", "body": {"messages": [{"content": "hi"}]}}
    task = made(operator, task_extra_config=http | {"headers": {"Authorization": "Bearer planted-5512"}})
    shown = task["task_extra_config"]
    assert shown["headers"] == {"Authorization": "***"}

    found = tried(operator, shown, task_id=task["id"])

    assert (found["state"], model.heard[-1]["key"]) == ("SUCCESS", "Bearer planted-5512")
    assert operator.post(PATH, json={"task_extra_config": shown}).status_code == 422
    assert operator.post(PATH, json={"task_extra_config": shown, "task_id": 999_999}).status_code == 404


def test_it_is_for_operators_who_make_a_few_at_once_and_ten_a_minute(
    api: Api, operator: httpx.Client, model: ModelServer, endpoint: int
) -> None:
    assert api.viewer.post(PATH, json={"task_extra_config": agent()}).status_code == 403
    model.delay = 1.5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: operator.post(PATH, json={"task_extra_config": agent()}), range(8)))
    assert sorted({answer.status_code for answer in answers}) == [200, 503]
    entered = {entry["action"]: datetime.fromisoformat(entry["create_time"]) for entry in audit(api, kind="task")}
    assert entered["task.tested"] - entered["task.test"] > timedelta(
        seconds=1
    )  # of the first: before its answer is there
    model.delay = 0

    codes = [operator.post(PATH, json={"task_extra_config": agent()}).status_code for _ in range(TRIALS.failures)]

    assert codes[-1] == 429
    assert len(model.heard) == TRIALS.failures
    with as_operator(api) as another:
        assert another.post(PATH, json={"task_extra_config": agent()}).status_code == 200


def test_the_form_tries_what_it_says_and_shows_it_as_text(api: Api, model: ModelServer, endpoint: int) -> None:
    form = {"name": "draft", "kind": "crontab", "crontab": "nonsense", "task_extra_config": json.dumps(agent("<b>x"))}
    with signed_in(api, "operator", "zh") as client:
        page = client.get("/tasks/new")
        assert 'hx-post="/tasks/test"' in page.text
        assert "可能产生费用" in words_of(page.text)
        answer = client.post("/tasks/test", data=form)
        assert answer.status_code == 200, answer.text
        assert "heard 1: &lt;b&gt;x" in answer.text
        assert "0.007 USD" in answer.text
        assert client.post("/tasks/test", data=form, headers={"X-CSRF-Token": "x"}).status_code == 403
        model.refuse = 500
        assert "平台或其前端网关自身返回了错误" in client.post("/tasks/test", data=form).text
    with signed_in(api, "viewer") as client:
        assert client.post("/tasks/test", data=form).status_code == 403
    assert api.stack.count("SELECT count(*) FROM periodic_task") == 0
