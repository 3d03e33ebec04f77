"""The console's endpoints, queues, workers, budgets, audit and users; words; and why it did not run."""

from collections.abc import Iterator
from decimal import Decimal
from html import unescape
from urllib.parse import quote

import pytest

from tests.acceptance.api_process import Api, served
from tests.acceptance.console_site import Visitor, add_user, chromium, serious_issues, signed_in, words_of
from tests.acceptance.task_api import as_operator, audit, emptied, made

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOR_ALL = ("/endpoints", "/queues", "/workers", "/budgets", "/channels", "/audit")
NASTY = "<b>\"'日报</b>"


@pytest.fixture(scope="module", params=["mariadb"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory, SECRET_KEY="a long random text")


@pytest.fixture
def api(shared: Api) -> Api:
    for table in ("budget", "agent_limit", "agent_endpoint", "notify_channel"):
        shared.stack.sql(f"DELETE FROM {table}")
    return emptied(shared)


def etag_in(dialog: str) -> str:
    return unescape(dialog.partition('name="etag" value="')[2].partition('"')[0])


# -- who may see and do what ------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_there_for_a_viewer_and_offers_him_no_change(api: Api, language: str) -> None:
    with signed_in(api, "viewer", language) as viewer:
        for path in FOR_ALL:
            page = viewer.get(path)

            assert page.status_code == 200, page.text
            main = page.text.partition("<main")[2]
            assert "hx-post" not in main, path
        assert viewer.get("/users").status_code == 403
        assert "/users" not in viewer.get("/audit").text.partition("<main")[0]


@pytest.mark.parametrize(
    ("role", "path", "form"),
    [
        ("viewer", "/queues/hold", {"name": "system", "reason": "x"}),
        ("viewer", "/queues/holds/1/end", {}),
        ("viewer", "/budgets", {"endpoint": "default", "amount": "5"}),
        ("viewer", "/budgets/1", {"amount": "5"}),
        ("viewer", "/budgets/1/remove", {}),
        ("viewer", "/endpoints/1/check", {}),
        ("operator", "/endpoints", {"name": "x", "provider": "dify", "base_url": "http://a.example"}),
        ("operator", "/endpoints/1", {"base_url": "http://a.example"}),
        ("operator", "/endpoints/1/remove", {}),
        ("operator", "/endpoints/1/agents", {"agent": "x"}),
        ("viewer", "/channels/1/check", {}),
        ("operator", "/channels", {"name": "x", "url_env": "X_NOTIFY_URL"}),
        ("operator", "/channels/1", {"enabled": "false"}),
        ("operator", "/channels/1/remove", {}),
        ("operator", "/users", {"name": "x", "password": "correct horse battery", "role": "admin"}),
        ("operator", "/users/1", {"role": "admin"}),
        ("operator", "/tokens", {"name": "x", "role": "admin"}),
        ("operator", "/tokens/1/revoke", {}),
    ],
)
def test_what_a_role_may_not_do_the_server_refuses(api: Api, role: str, path: str, form: dict[str, str]) -> None:
    with signed_in(api, role) as client:
        assert client.post(path, data=form).status_code == 403
        del client.headers["X-CSRF-Token"]
        assert client.post(path, data=form).status_code == 403


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("operator", "/endpoints/new"),
        ("operator", "/endpoints/1/edit"),
        ("operator", "/endpoints/1/agents"),
        ("operator", "/channels/new"),
        ("operator", "/channels/1/edit"),
        ("operator", "/users/1/password"),
        ("viewer", "/budgets/new"),
        ("viewer", "/budgets/1/edit"),
    ],
)
def test_a_form_is_for_those_who_may_send_it(api: Api, role: str, path: str) -> None:
    with signed_in(api, role) as client:
        assert client.get(path).status_code == 403


# -- what the pages do ------------------------------------------------------------------------------


def test_a_queue_is_held_with_a_reason_and_let_go(api: Api) -> None:
    with signed_in(api, "operator") as client:
        assert client.post("/queues/hold", data={"name": "system", "reason": NASTY}).status_code == 204
        page = client.get("/queues").text
        (hold,) = api.stack.sql("SELECT id, reason FROM hold WHERE ended_at IS NULL")

        assert "&lt;b&gt;" in page
        assert NASTY not in page
        assert client.post(f"/queues/holds/{hold.id}/end").status_code == 204
        assert api.stack.sql("SELECT id FROM hold WHERE ended_at IS NULL") == []
    assert {each["action"] for each in audit(api, kind="hold")} == {"hold.create", "hold.end"}


def test_an_endpoint_is_made_changed_and_removed_and_its_key_is_never_shown(api: Api) -> None:
    with signed_in(api, "admin") as client:
        form = {
            "name": "work",
            "provider": "dify",
            "base_url": "https://a.example/v1",
            "max_concurrency": "5",
            "currency": "",
        }
        assert client.post("/endpoints", data=form).status_code == 204
        (row,) = api.stack.sql("SELECT id, name, max_concurrency FROM agent_endpoint")
        asked = client.get(f"/endpoints/{row.id}/edit").text
        etag = asked.partition('name="etag" value="')[2].partition('">')[0].replace("&#34;", '"')

        changed = client.post(
            f"/endpoints/{row.id}", data={"base_url": "https://b.example/v1", "max_concurrency": "", "etag": etag}
        )
        stale = client.post(f"/endpoints/{row.id}", data={"base_url": "https://c.example/v1", "etag": etag})

        assert (changed.status_code, stale.status_code) == (204, 412)
        (row,) = api.stack.sql("SELECT id, base_url, max_concurrency FROM agent_endpoint")
        assert (row.base_url, row.max_concurrency) == ("https://b.example/v1", None)
        assert "b.example" in client.get("/endpoints").text
        wrong = client.post(f"/endpoints/{row.id}", data={"base_url": "nonsense"})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "base_url")
        assert client.post(f"/endpoints/{row.id}/remove").status_code == 204
        assert "No endpoints yet" in client.get("/endpoints").text


def test_limits_of_agents_are_one_table_that_is_put_in_the_place_of_the_old(api: Api) -> None:
    def table(*rows: tuple[str, str, str, str], etag: str = "") -> dict[str, list[str] | str]:
        names = ("agent", "max_concurrency", "requests_per_minute", "tokens_per_minute")
        return {name: [row[at] for row in rows] for at, name in enumerate(names)} | {"etag": etag}

    def stored() -> list[tuple[str, int | None, int | None]]:
        rows = api.stack.sql("SELECT agent, max_concurrency, requests_per_minute FROM agent_limit ORDER BY agent")
        return [tuple(row) for row in rows]

    with signed_in(api, "admin") as client:
        form = {"name": "work", "provider": "dify", "base_url": "https://a.example/v1"}
        assert client.post("/endpoints", data=form).status_code == 204
        (row,) = api.stack.sql("SELECT id FROM agent_endpoint")
        path = f"/endpoints/{row.id}/agents"
        etag = etag_in(client.get(path).text)

        saved = client.post(path, data=table((NASTY, "2", "", ""), ("*", "", "60", ""), ("", "", "", ""), etag=etag))
        assert (saved.status_code, stored()) == (204, [("*", None, 60), (NASTY, 2, None)])
        assert client.post(path, data=table(("*", "1", "", ""), etag=etag)).status_code == 412
        dialog, page = client.get(path).text, client.get("/endpoints").text
        for html in (dialog, page):
            assert "&lt;b&gt;" in html
            assert NASTY not in html

        for rows, said in (
            ([("a", "many", "", "")], "a, max_concurrency: "),
            ([("", "1", "", "")], "names no agent"),
            ([("a", "1", "", ""), ("a", "2", "", "")], "twice"),
        ):
            wrong = client.post(path, data=table(*rows))
            assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "agents")
            assert said in wrong.json()["errors"][0]["message"]
        assert client.post(path, data={"agent": ["a", "b"], "max_concurrency": ["1"]}).status_code == 422
        assert client.post(path, data=table(("*", "", "30", ""), (NASTY, "", "", ""))).status_code == 204
        assert stored() == [("*", None, 30)]
    verbs = [each["action"] for each in audit(api, kind="agent_limit")]
    assert sorted(verbs[:2]) == ["agent_limit.delete", "agent_limit.update"]


def test_a_channel_is_made_switched_off_and_removed_and_its_address_is_never_shown(api: Api) -> None:
    secret = "hook-planted-5d2c"
    with signed_in(api, "admin") as client:
        form = {"name": "ops", "url": f"json://127.0.0.1:1/{secret}", "url_env": "", "enabled": "true"}
        assert client.post("/channels", data=form).status_code == 204
        (row,) = api.stack.sql("SELECT id FROM notify_channel")
        path = f"/channels/{row.id}"
        dialog = client.get(f"{path}/edit").text
        etag = etag_in(dialog)
        both = client.post(path, data={"url": "json://b.example", "url_env": "OPS_NOTIFY_URL", "etag": etag})
        assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "url_env")

        assert client.post(path, data={"url": "", "enabled": "false", "etag": etag}).status_code == 204
        assert client.post(path, data={"enabled": "true", "etag": etag}).status_code == 412
        page = client.get("/channels").text
        tried = client.post(f"{path}/check").text
        assert ("json" in words_of(page), "off" in words_of(page), "was not sent" in words_of(tried)) == (True,) * 3
        assert client.post(path, data={"url_env": "OPS_NOTIFY_URL"}).status_code == 204
        assert api.stack.sql("SELECT url, url_env FROM notify_channel") == [(None, "OPS_NOTIFY_URL")]
        told = dialog + page + tried + client.get("/channels").text + client.get("/audit").text + api.stack.tails()
        assert secret not in told
        assert client.post(f"{path}/remove").status_code == 204
        assert "No channels yet" in client.get("/channels").text


def test_a_budget_is_entered_shown_and_removed(api: Api) -> None:
    with as_operator(api) as operator:
        task = made(operator, NASTY)
    with signed_in(api, "operator") as client:
        form = {
            "endpoint": "",
            "periodic_task_id": str(task["id"]),
            "amount": "250.50",
            "unit": "CNY",
            "window_seconds": "3600",
        }
        assert client.post("/budgets", data=form).status_code == 204
        (row,) = api.stack.sql("SELECT id FROM budget")

        assert "0 / 250.5 CNY" in words_of(client.get("/budgets").text)
        both = client.post("/budgets", data=form | {"endpoint": "default"})
        assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "endpoint")

        dialog = client.get(f"/budgets/{row.id}/edit").text
        etag = dialog.partition('name="etag" value="')[2].partition('"')[0]
        change = {"amount": "300", "unit": "CNY", "window_seconds": "3600", "at_limit": "pause", "reserve": "2.5"}
        assert 'value="250.5"' in dialog
        assert client.post(f"/budgets/{row.id}", data=change | {"etag": unescape(etag)}).status_code == 204
        assert api.stack.sql("SELECT amount, at_limit, reserve FROM budget") == [(300, "pause", Decimal("2.5"))]
        assert client.post(f"/budgets/{row.id}", data=change | {"etag": unescape(etag)}).status_code == 412
        assert client.post(f"/budgets/{row.id}", data=change | {"reserve": ""}).status_code == 204
        assert api.stack.sql("SELECT reserve FROM budget") == [(None,)]
        assert client.post(f"/budgets/{row.id}/remove").status_code == 204
        assert api.stack.sql("SELECT id FROM budget") == []


def test_the_audit_pages_back_and_filters(api: Api) -> None:
    with as_operator(api) as operator:
        task = made(operator, NASTY)
        for minute in range(1, 60):
            operator.patch(f"/api/v2/tasks/{task['id']}", json={"crontab": f"{minute} 9 * * *"}).raise_for_status()
    with signed_in(api, "viewer") as client:
        page = client.get("/audit", params={"kind": "task", "subject": str(task["id"])}).text
        following = page.partition('hx-get="/audit?before=')[2].partition('"')[0]
        more = client.get("/audit", params={"before": following, "kind": "task"}, headers={"HX-Target": "rows"}).text

        assert page.count("task.update") == 50
        assert (more.count("task.update"), more.count("task.create")) == (9, 1)
        assert "58 9 * * *" in page
        assert client.get("/audit", params={"kind": "", "subject": ""}).status_code == 200


def test_a_user_is_added_locked_out_and_let_in_and_a_token_is_shown_once(api: Api) -> None:
    with signed_in(api, "admin") as client:
        form = {"name": "林 <i>梅</i>", "password": "correct horse battery", "role": "viewer"}
        assert client.post("/users", data=form).status_code == 204
        (row,) = api.stack.sql("SELECT id FROM api_user WHERE role = 'viewer'")
        assert "<i>梅" not in client.get("/users").text
        assert client.post(f"/users/{row.id}", data={"disabled": "true"}).status_code == 204
        assert "locked out" in client.get("/users").text
        assert client.post(f"/users/{row.id}", data={"disabled": "false", "role": "operator"}).status_code == 204
        assert "new-password" in client.get(f"/users/{row.id}/password").text
        assert client.get("/users/4711/password").status_code == 404
        assert client.post(f"/users/{row.id}", data={"password": "another horse battery"}).status_code == 204
        login = {"name": form["name"], "password": "another horse battery"}
        assert api.public.post("/login", json=login).status_code == 200
        short = client.post("/users", data=form | {"name": "y", "password": "short"})
        made_token = client.post("/tokens", data={"name": "ci", "role": "viewer"})
        token = made_token.text.partition("<pre>")[2].partition("</pre>")[0]

        assert short.status_code == 422
        assert "short" not in short.text.replace("should", "").replace("shorter", "")
        assert made_token.headers["Cache-Control"] == "no-store"
        assert token
        assert token not in client.get("/users").text
        (kept,) = api.stack.sql("SELECT id FROM api_token")
        assert client.post(f"/tokens/{kept.id}/revoke").status_code == 204


# -- words and why ----------------------------------------------------------------------------------


def test_words_are_read_asked_about_or_refused_with_the_word(api: Api) -> None:
    with signed_in(api, "viewer") as client:
        rule = client.get("/words/read", params={"phrase": "weekdays at 8:30", "timezone": "America/New_York"}).text
        asked = client.get("/words/read", params={"phrase": "every second Tuesday 9am Tokyo"}).text
        refused = client.get("/words/read", params={"phrase": "<img src=x> at 9:00 daily"}).text

        assert "30 8 * * 1-5" in rule
        assert rule.count("data-reading=") == 1
        assert "America/New_York" in rule
        assert asked.count("data-reading=") == 2
        assert "Every other week, or once a month?" in asked
        assert "data-reading=" not in refused
        assert "<img" not in refused
        assert client.get("/words/read").text.strip() == ""


def test_the_api_reads_words_for_a_viewer_with_the_next_fires(api: Api) -> None:
    found = (
        api.viewer.post("/api/v2/tasks/parse", json={"phrase": "每个交易日下午四点半", "timezone": "Asia/Shanghai"})
        .raise_for_status()
        .json()
    )
    refused = api.viewer.post("/api/v2/tasks/parse", json={"phrase": "daily", "timezone": "Mars/Olympus"})

    assert found["status"] == "rule"
    (choice,) = found["choices"]
    assert choice["columns"] == {"crontab": "30 16 * * *", "calendar": "XSHG"}
    assert len(choice["preview"]["fires"]) == 5
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "timezone")


def test_why_is_answered_by_api_and_page_in_the_readers_language(api: Api) -> None:
    with as_operator(api) as operator:
        task = made(operator, NASTY, crontab="0 9 * * *", timezone="Asia/Shanghai")
    path = f"/tasks/{task['id']}/why?moment={quote('2026-01-05 09:00')}"

    answer = api.viewer.get(f"/api/v2{path}").raise_for_status().json()

    assert answer["key"] == "created_later"
    with signed_in(api, "viewer", "zh") as client:
        assert answer["zh"] in client.get(path).text
        wrong = client.get(f"/tasks/{task['id']}/why?moment=soon", headers={"HX-Request": "true"})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "moment")


def test_the_load_is_for_viewers_and_spreading_for_operators(api: Api) -> None:
    order = {"minute": "2030-01-01T00:00:00Z", "dry_run": True}

    assert api.viewer.get("/api/v2/load").status_code == 200
    assert api.viewer.post("/api/v2/load/spread", json=order).status_code == 403
    with as_operator(api) as operator:
        assert operator.post("/api/v2/load/spread", json=order).json()["errors"][0]["field"] == "minute"


def test_in_a_browser_words_become_a_task_and_the_pages_have_no_serious_fault(api: Api) -> None:
    with chromium() as browser:
        visitor = Visitor(browser, api)
        page = visitor.log_in(add_user(api))
        page.goto("/tasks/new")
        page.locator("[name=name]").fill("digest")
        page.locator("#words-phrase").press_sequentially("weekdays at 8:30 New York time")
        page.locator("[data-reading]").click()

        assert page.locator("[name=crontab]").input_value() == "30 8 * * 1-5"
        assert page.locator("[name=timezone]").input_value() == "America/New_York"
        for path in (*FOR_ALL, "/users"):
            page.goto(path)
            assert serious_issues(page) == [], path

        page.goto("/endpoints")
        page.keyboard.press("n")
        page.get_by_label("Name", exact=True).fill("browser")
        page.get_by_label("Address", exact=True).fill("https://a.example/v1")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Agents").click()
        page.get_by_label("Agent, model or workflow").fill("writer")
        page.get_by_label("Calls at once").fill("2")
        page.get_by_role("button", name="Add an agent").press("Enter")
        page.keyboard.type("gone")
        page.get_by_role("button", name="Remove this agent's limits").last.click()
        assert serious_issues(page) == []
        page.get_by_role("button", name="Save").click()
        page.get_by_text("writer · 2 at once").wait_for()
        assert [tuple(row) for row in api.stack.sql("SELECT agent, max_concurrency FROM agent_limit")] == [
            ("writer", 2)
        ]
        page.goto("/channels")
        page.keyboard.press("n")
        page.get_by_label("Name", exact=True).fill("a b")
        page.get_by_label("Or the variable that holds it").fill("OPS_NOTIFY_URL")
        complaints = list(visitor.complaints)
        page.keyboard.press("Enter")
        page.get_by_text("is no name of a channel").wait_for()
        del visitor.complaints[len(complaints) :]  # a refusal is one to Chromium
        page.get_by_label("Name", exact=True).fill("ops")
        page.keyboard.press("Enter")
        page.get_by_role("cell", name="ops OPS_NOTIFY_URL").wait_for()
        assert visitor.complaints == []
        visitor.close()
