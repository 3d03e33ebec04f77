"""Endpoints, budgets, calendars and channels over HTTP, and their edits by commands and plain SQL, all in the audit."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from config import get_settings
from scripts import channels, endpoints
from tests.acceptance.api_process import Api, served
from tests.acceptance.task_api import as_admin, as_operator, audit, emptied, made
from tests.services import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEY = "sk-planted-7d1f0b3c9e5a4826"
ADDRESS = "json://planted-4c1b.example.com/hook-planted-9e77"
SECRET = "a long random text"
URL = "http://agents.example.com/api"
OF_THESE = ("agent_endpoint", "agent_limit", "budget", "calendar_day", "notify_channel")
ENDPOINTS, BUDGETS = "/api/v2/endpoints", "/api/v2/budgets"
CALENDARS, CHANNELS = "/api/v2/calendars", "/api/v2/channels"


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory, SECRET_KEY=SECRET, FREE_API_KEY=KEY)


@pytest.fixture
def api(shared: Api) -> Api:
    for table in OF_THESE:
        shared.stack.sql(f"DELETE FROM {table}")
    return emptied(shared)


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    with as_admin(api) as client:
        yield client


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    with as_operator(api) as client:
        yield client


def posted(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"{path}/{found['id']}"
    assert client.get(answer.headers["Location"]).json() == found
    return found


def endpoint(client: httpx.Client, **columns: Any) -> dict[str, Any]:
    return posted(client, ENDPOINTS, **{"name": "main", "provider": "dify", "base_url": URL, **columns})


def refused(answer: httpx.Response) -> dict[str, str]:
    """Which field was refused, and in which words."""
    assert answer.status_code == 422, answer.text
    return {issue.get("field", issue.get("parameter", "")): issue["message"] for issue in answer.json()["errors"]}


def dump(api: Api) -> str:
    """Every table, with its hidden columns; what is encrypted stays so."""
    tables = (*OF_THESE, "audit_log", "api_request")
    hidden = "SELECT credential AS hidden FROM agent_endpoint UNION ALL SELECT url FROM notify_channel"
    statements = [*(f"SELECT * FROM {table}" for table in tables), hidden]
    return json.dumps([[str(value) for value in row] for each in statements for row in api.stack.sql(each)])


# -- endpoints --------------------------------------------------------------------------------------


def test_an_endpoint_is_entered_edited_and_removed_and_each_step_is_in_the_audit(api: Api, admin: httpx.Client) -> None:
    agents = [{"agent": "writer", "max_concurrency": 2, "requests_per_minute": None, "tokens_per_minute": None}]
    new = endpoint(admin, credential=KEY, max_concurrency=5, agents=agents)
    path = f"{ENDPOINTS}/{new['id']}"
    assert (new["key"], new["max_concurrency"], new["agents"]) == ("stored", 5, agents)

    old = admin.get(path).headers["ETag"]
    prices = {"input_price": "0.5", "output_price": 1.5, "currency": "usd"}
    changed = admin.patch(path, json={**prices, "max_concurrency": None, "agents": []}, headers={"If-Match": old})
    assert (changed.json()["currency"], changed.json()["max_concurrency"]) == ("USD", None)
    assert changed.json()["agents"] == []
    late = admin.patch(path, json={"max_concurrency": 9}, headers={"If-Match": old})
    assert (late.status_code, late.headers["ETag"]) == (412, changed.headers["ETag"])
    budget = posted(admin, BUDGETS, endpoint="main", amount=5, unit="USD")
    assert admin.delete(path).json() == {"budgets": 1}
    assert admin.get(path).status_code == admin.get(f"{BUDGETS}/{budget['id']}").status_code == 404
    assert admin.get(ENDPOINTS).json()["items"] == []

    found = audit(api)
    assert [entry["action"] for entry in found][::-1] == [
        "endpoint.create", "agent_limit.create", "endpoint.update", "agent_limit.delete", "budget.create",
        "budget.delete", "endpoint.delete",
    ]  # fmt: skip
    (edit,) = (entry for entry in found if entry["action"] == "endpoint.update")
    assert set(edit["changed"]) == {"input_price", "output_price", "currency", "max_concurrency"}
    assert {entry["via"] for entry in found} == {"token"}


def test_a_key_and_an_address_are_found_nowhere(api: Api, admin: httpx.Client) -> None:
    new = endpoint(admin, credential=KEY, base_url=f"http://127.0.0.1:{free_port()}/v1")
    channel = posted(admin, CHANNELS, name="ops", url=ADDRESS)
    answers = [
        admin.post(ENDPOINTS, json={"name": "main", "provider": "dify", "base_url": URL, "credential": KEY}),
        admin.post(ENDPOINTS, json={"name": "b", "provider": "x", "base_url": URL, "credential": KEY}),
        admin.patch(f"{ENDPOINTS}/{new['id']}", json={"credential": KEY + "\n密", "credentials": KEY}),
        admin.post(f"{ENDPOINTS}/{new['id']}/check", json={}),
        admin.post(f"{CHANNELS}/{channel['id']}/check"),
        admin.patch(f"{CHANNELS}/{channel['id']}", json={"url": f"nosuchscheme://{ADDRESS}"}),
        *(admin.get(path) for path in (ENDPOINTS, CHANNELS, "/api/v2/audit", "/metrics", "/api/v2/settings")),
        admin.patch(f"{ENDPOINTS}/{new['id']}", json={"base_url": "https://thief.example.com"}),
    ]

    told = "".join(answer.text + str(answer.headers) for answer in answers) + api.stack.tails() + dump(api)
    for secret in (KEY, KEY[4:16], "hook-planted", "planted-4c1b"):
        assert secret not in told
    assert [answer.status_code for answer in answers][-1] == 422
    assert admin.get(ENDPOINTS).json()["items"][0]["base_url"] != "https://thief.example.com"
    assert answers[3].json()["ok"] is answers[4].json()["ok"] is False


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"provider": "difi"}, "provider", "did you mean 'dify'"),
        ({"provider": None}, "provider", "string"),
        ({"base_url": "http://169.254.169.254/v1"}, "base_url", "ENDPOINT_ALLOWED_NETWORKS"),
        ({"base_url": "http://host:99999"}, "base_url", "from 1 to 65535"),
        ({"base_url": "http://user:pass@host"}, "base_url", "not into its base_url"),
        ({"credential_env": "DATABASE_URL"}, "credential_env", "_API_KEY"),
        ({"credential": KEY, "credential_env": "MY_API_KEY"}, "credential_env", "one of them"),
        ({"credential": " "}, "credential", "no key"),
        ({"credential": "k" * 60_000}, "credential", "at most 8192"),
        ({"currency": "USD"}, "currency", "go together"),
        ({"max_concurrency": 0}, "max_concurrency", "greater than 0"),
        ({"input_price": "NaN", "output_price": 1, "currency": "USD"}, "input_price", "finite"),
        ({"agents": [{"agent": "a"}, {"agent": "a"}]}, "agents", "twice"),
        ({"name": "other"}, "name", "Extra"),
    ],
)
def test_what_no_run_could_use_is_refused_with_its_field(
    api: Api, admin: httpx.Client, body: dict[str, Any], field: str, said: str
) -> None:
    path = f"{ENDPOINTS}/{endpoint(admin)['id']}"
    before = admin.get(path).json()

    problems = refused(admin.patch(path, json=body))

    assert said in problems[field]
    assert admin.get(path).json() == before
    assert [entry["action"] for entry in audit(api)] == ["endpoint.create"]


def test_a_name_is_taken_once_and_a_page_goes_on(admin: httpx.Client) -> None:
    for name in ("b", "a", "c"):
        endpoint(admin, name=name)

    assert "taken" in refused(admin.post(ENDPOINTS, json={"name": "a", "provider": "dify", "base_url": URL}))["name"]
    first = admin.get(f"{ENDPOINTS}?limit=2").json()
    assert [each["name"] for each in first["items"]] == ["b", "a"]
    second = admin.get(first["next"]).json()
    assert ([each["name"] for each in second["items"]], second["next"]) == (["c"], None)


def test_a_check_reaches_and_asks_and_a_failure_is_an_answer(
    api: Api, admin: httpx.Client, operator: httpx.Client
) -> None:
    agent = api.stack.start("agent", "-m", "tests.recording_agent", str(api.stack.agent_port), str(api.stack.agent_log))
    there = f"http://127.0.0.1:{api.stack.agent_port}/api"
    path = (
        f"{ENDPOINTS}/{endpoint(admin, provider='agent_platform', base_url=there, credential_env='FREE_API_KEY')['id']}"
    )
    api.stack.wait_for(lambda: operator.post(f"{path}/check", json={}).json()["ok"], "the agent to answer", 60)

    asked = operator.post(f"{path}/check", json={"agent": "a1", "message": "你好"}).json()
    assert (asked["ok"], asked["error_kind"], bool(asked["answer"])) == (True, None, True)
    long = operator.post(f"{path}/check", json={"agent": "a1", "message": "x" * 3990 + SECRET}).json()
    assert long["answer"].endswith("x***")
    api.stack.kill(agent)
    gone = operator.post(f"{path}/check", json={"agent": "a1", "timeout": 5}).json()
    assert (gone["ok"], gone["error_kind"], gone["answer"]) == (False, "connect", None)
    assert {entry["action"] for entry in audit(api)} == {"endpoint.create", "endpoint.check"}


# -- budgets ----------------------------------------------------------------------------------------


def test_a_budget_shows_how_it_stands_and_is_edited(api: Api, operator: httpx.Client) -> None:
    task = made(operator)["id"]
    new = posted(operator, BUDGETS, periodic_task_id=task, amount="2.5", unit="cny", window_seconds=3600)
    path = f"{BUDGETS}/{new['id']}"
    assert (new["unit"], new["at_limit"], new["spent"], new["going_on"], new["unknown"]) == ("CNY", "skip", "0", 0, 0)
    (run,) = api.add_runs({"periodic_task_id": task, "cost": 1.25, "currency": "CNY", "finished_at": api.now()})
    api.stack.sql("INSERT INTO budget_use VALUES (:budget, :run, 1)", budget=new["id"], run=run)

    assert operator.get(path).json()["spent"] == "1.25"
    etag = operator.get(path).headers["ETag"]
    changed = operator.patch(path, json={"amount": 7, "at_limit": "pause"}, headers={"If-Match": etag})
    assert (changed.json()["amount"], changed.json()["at_limit"]) == ("7", "pause")
    assert operator.delete(path, headers={"If-Match": etag}).status_code == 412
    assert operator.delete(path).status_code == 204
    assert api.stack.sql("SELECT * FROM budget_use") == []
    (edit,) = (entry for entry in audit(api, kind="budget") if entry["action"] == "budget.update")
    assert set(edit["changed"]) == {"amount", "at_limit"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 1}, "endpoint"),
        ({"amount": 1, "endpoint": "nowhere"}, "endpoint"),
        ({"amount": 1, "endpoint": "default", "periodic_task_id": 1}, "endpoint"),
        ({"amount": 1, "periodic_task_id": 999_999}, "periodic_task_id"),
        ({"amount": 0, "endpoint": "default"}, "amount"),
        ({"amount": "1e30", "endpoint": "default"}, "amount"),
        ({"amount": 1, "endpoint": "default", "unit": "dollar"}, "unit"),
        ({"amount": 1, "endpoint": "default", "window_seconds": 59}, "window_seconds"),
        ({"amount": 1, "endpoint": "default", "at_limit": "shout"}, "at_limit"),
    ],
)
def test_a_budget_of_nothing_is_refused(operator: httpx.Client, body: dict[str, Any], field: str) -> None:
    assert field in refused(operator.post(BUDGETS, json=body))
    assert operator.get(BUDGETS).json()["items"] == []


def test_a_budget_that_was_found_used_up_is_in_the_metrics_for_as_long_as_its_window(
    api: Api, operator: httpx.Client
) -> None:
    lately = posted(operator, BUDGETS, endpoint="default", amount=1, window_seconds=3600, at_limit="pause")["id"]
    earlier = posted(operator, BUDGETS, endpoint="default", amount=1, window_seconds=60, at_limit="skip")["id"]
    reached = (api.now() - timedelta(minutes=5)).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    for budget in (lately, earlier):
        api.stack.sql("UPDATE budget SET reached_at = :reached WHERE id = :id", reached=reached, id=budget)

    figures = {name.rpartition(":")[2]: value for name, value in api.metrics().items() if "budgets_used_up" in name}

    assert figures == {"pause": 1, "skip": 0, "alert": 0}


# -- calendars --------------------------------------------------------------------------------------


def test_a_calendars_days_are_overridden_and_given_back(api: Api, operator: httpx.Client) -> None:
    path, day = f"{CALENDARS}/xhkg", "2026-09-08"
    etag = operator.get(path).headers["ETag"]

    closed = operator.put(f"{path}/days/{day}", json={"open": False, "note": "台风"}, headers={"If-Match": etag})
    assert closed.json() == {"changed": 1}
    assert operator.put(f"{path}/days/{day}", json={"open": False, "note": "台风"}).json() == {"changed": 0}
    assert operator.put(f"{path}/days/{day}", json={"open": True}, headers={"If-Match": etag}).status_code == 412
    shown = operator.get(path).json()
    expected = {"day": day, "open": False, "published": True, "overridden": True, "note": "台风"}
    assert (shown["name"], shown["overrides"]) == ("XHKG", [expected])
    days = operator.get(f"{path}/days", params={"first": "2026-09-07", "last": "2026-09-09"}).json()["items"]
    assert [each["open"] for each in days] == [True, False, True]

    assert operator.delete(f"{path}/days/{day}").status_code == 204
    assert operator.delete(f"{path}/days/{day}").status_code == 404
    assert [entry["action"] for entry in audit(api)] == ["calendar_day.delete", "calendar_day.create"]
    assert audit(api)[-1]["subject"] == f"XHKG/{day}"


def test_a_filled_in_year_moves_the_end_of_the_data(operator: httpx.Client) -> None:
    path = f"{CALENDARS}/24-7"
    known = {each["name"]: each for each in operator.get(f"{CALENDARS}/known").json()["items"]}
    assert {"XSHG", "XNYS", "CN", "US", "24/7"} <= set(known)
    end = operator.get(path).json()["data_ends_on"]
    assert end == known["24/7"]["data_ends_on"]
    year = int(end[:4]) + (end[5:] == "12-31")

    items = [{"day": f"{year}-12-31", "open": True}, {"day": f"{year}-01-01", "open": False}]
    assert operator.post(f"{path}/days", json={"items": items}).json() == {"changed": 2}

    assert operator.get(path).json()["data_ends_on"] == f"{year}-12-31"


@pytest.mark.parametrize("name", ["XSHH", "XSHG:open", "DE-XX", "0"])
def test_a_calendar_that_there_is_not_has_no_days(operator: httpx.Client, name: str) -> None:
    assert "calendar" in refused(operator.put(f"{CALENDARS}/{name}/days/2026-01-01", json={"open": True}))


# -- channels ---------------------------------------------------------------------------------------


def test_a_channel_is_entered_switched_off_and_removed(api: Api, admin: httpx.Client) -> None:
    new = posted(admin, CHANNELS, name="ops", url=ADDRESS)
    path = f"{CHANNELS}/{new['id']}"
    assert (new["kinds"], new["url_env"], new["enabled"], new["waiting"]) == (["json"], None, True, 0)

    assert admin.patch(path, json={"enabled": False}).json()["enabled"] is False
    moved = admin.patch(path, json={"url_env": "OPS_NOTIFY_URL"}).json()
    assert (moved["url_env"], moved["kinds"], moved["enabled"]) == ("OPS_NOTIFY_URL", None, False)
    assert admin.delete(path).json() == {"waiting": 0}
    assert [entry["action"] for entry in audit(api)] == [
        "channel.delete", "channel.update", "channel.update", "channel.create",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "ops"}, "url"),
        ({"name": "a b", "url": ADDRESS}, "name"),
        ({"name": "ALERT_URLS", "url": ADDRESS}, "name"),
        ({"name": "ops", "url": "nonsense"}, "url"),
        ({"name": "ops", "url": "json://host/" + "x" * 60_000}, "url"),
        ({"name": "ops", "url_env": "DATABASE_URL"}, "url_env"),
        ({"name": "ops", "url": ADDRESS, "url_env": "OPS_NOTIFY_URL"}, "url_env"),
    ],
)
def test_a_channel_that_could_tell_nobody_is_refused(admin: httpx.Client, body: dict[str, str], field: str) -> None:
    assert field in refused(admin.post(CHANNELS, json=body))
    assert admin.get(CHANNELS).json()["items"] == []


# -- the audit of what comes another way ------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "kind", "columns", "edit"),
    [
        ("agent_endpoint", "endpoint", "(name, provider, base_url) VALUES ('m', 'dify', 'http://a.b')", "base_url = 'http://c.d'"),
        ("agent_limit", "agent_limit", "(endpoint, max_concurrency) VALUES ('m', 2)", "max_concurrency = 3"),
        ("budget", "budget", "(endpoint, amount, unit) VALUES ('m', 5, 'USD')", "amount = 6"),
        ("hold", "hold", "(scope, reason) VALUES ('everything', 'x')", "reason = 'y'"),
        ("calendar_day", "calendar_day", "(calendar, day, open) VALUES ('XSHG', '2026-09-08', 0)", "note = '台风'"),
        ("notify_channel", "channel", "(name, url_env) VALUES ('ops', 'OPS_NOTIFY_URL')", "enabled = 0"),
    ],
)  # fmt: skip
def test_plain_sql_is_in_the_audit_with_before_and_after(
    api: Api, table: str, kind: str, columns: str, edit: str
) -> None:
    column, _, value = edit.partition(" = ")
    api.stack.sql(f"INSERT INTO {table} {columns}")
    api.stack.sql(f"UPDATE {table} SET {edit}")
    api.stack.sql(f"UPDATE {table} SET {edit}")
    api.stack.sql(f"DELETE FROM {table}")

    deleted, updated, created = audit(api, kind=kind)
    assert [each["action"] for each in (created, updated, deleted)] == [
        f"{kind}.create", f"{kind}.update", f"{kind}.delete",
    ]  # fmt: skip
    assert updated["changed"] == [column]
    assert str(updated["after"][column]).strip("0.") == value.strip("'0.") or updated["after"][column] == float(value)
    assert created["before"] is deleted["after"] is None
    assert {each["via"] for each in (created, updated, deleted)} == {"sql"}


def test_what_the_system_writes_in_passing_and_a_secret_are_not(api: Api, admin: httpx.Client) -> None:
    posted(admin, CHANNELS, name="ops", url=ADDRESS)
    posted(admin, BUDGETS, endpoint="default", amount=1)
    endpoint(admin, credential=KEY)
    api.stack.sql("UPDATE notify_channel SET failures = 3, last_error = 'x', sent = '[1]'")
    api.stack.sql("UPDATE budget SET reached_at = create_time")
    assert len(audit(api)) == 3

    api.stack.sql("UPDATE agent_endpoint SET credential = 'v1.stolen-text'")
    api.stack.sql("UPDATE notify_channel SET url = 'v1.stolen-text'")

    channel, end, *_ = audit(api)
    assert (end["before"]["key_stored"], end["after"]["key_stored"]) == ("yes", "replaced")
    assert (channel["before"]["address_stored"], channel["after"]["address_stored"]) == ("yes", "replaced")
    assert "stolen" not in json.dumps([channel, end])


def test_the_commands_are_in_the_audit_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", api.stack.environment["DATABASE_URL"])
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("MY_KEY", KEY)
    get_settings.cache_clear()
    try:
        arguments = ["--provider", "dify", "--base-url", URL, "--key-from", "MY_KEY", "--budget", "5 USD/1d"]
        for each in (["add", "main", *arguments], ["set", "main", "--agent", "w", "--max-concurrency", "1"],
                     ["set", "main", "--no-budgets"], ["rotate-keys"], ["remove", "main"]):  # fmt: skip
            assert endpoints.main(each) == 0, capsys.readouterr().err
        for each in (["add", "ops", "--url-env", "OPS_NOTIFY_URL"], ["remove", "ops"]):
            assert channels.main(each) == 0, capsys.readouterr().err
    finally:
        get_settings.cache_clear()

    found = audit(api)
    assert [entry["action"] for entry in found][::-1] == [
        "endpoint.create", "budget.create", "agent_limit.create", "budget.delete", "endpoint.rotate",
        "agent_limit.delete", "endpoint.delete", "channel.create", "channel.delete",
    ]  # fmt: skip
    assert {entry["via"] for entry in found} == {"command"}
    assert all("@" in entry["actor"] for entry in found)
