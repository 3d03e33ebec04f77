"""The console's runs: what a person does there, in a real browser, over real processes; and what each role may do."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from core.lifecycle import State
from store.runs import Sendable
from tests.acceptance.api_process import AGENT_KEY, Api, prepared
from tests.acceptance.console_site import Visitor, add_user, serious_issues, signed_in, words_of
from tests.services import ValkeyServer
from tests.stack import agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EVIL = "<img src=x onerror=\"document.title='caught'\"> 'and' \"quotes\""


@pytest.fixture(scope="module")
def api(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API, a worker, and an agent that streams."""
    folder = tmp_path_factory.mktemp("console-runs")
    with prepared(f"sqlite:///{folder / 'scheduler.db'}", valkey.url, folder) as stack:
        stack.start("worker", "run_worker.py", "--concurrency", "4")
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM worker_lease"), "the worker's lease", 120)
        running = Api(stack, valkey.url)
        yield running
        running.close()


@pytest.fixture
def visitor(browser: Browser, api: Api) -> Iterator[Visitor]:
    arrived = Visitor(browser, api)
    yield arrived
    assert arrived.complaints == []
    arrived.close()


@pytest.fixture(scope="module")
def viewer(api: Api) -> Iterator[httpx.Client]:
    with signed_in(api, "viewer") as client:
        yield client


@pytest.fixture(scope="module")
def operator(api: Api) -> Iterator[httpx.Client]:
    with signed_in(api, "operator") as client:
        yield client


def send(api: Api, message: str, name: str = "每日报告", **more: Any) -> str:
    """Put a run on the broker, as beat does."""
    row = {"state": State.PENDING, "attempt": 0, "task_name": name, "config": agent(message, **more)}
    (run_id,) = api.add_runs(row)
    api.put_on_broker(Sendable(run_id, "priority_low", 5, 0, "agent"))
    return run_id


def ended(page: Page, state: str) -> None:
    """Wait until the page shows the run's end by itself."""
    expect(page.locator("#run[data-final=yes]")).to_be_visible(timeout=60_000)
    expect(page.locator("h1 .badge")).to_have_text(state)


# -- in a browser -----------------------------------------------------------------------------------


def test_an_answer_is_watched_while_it_comes_then_compared_with_the_one_before(api: Api, visitor: Visitor) -> None:
    first = send(api, "tell 0.05 one two three.", "to compare")
    page = visitor.log_in(add_user(api, "operator"))
    page.goto(f"/runs/{first}")
    ended(page, "success")

    second = send(api, "tell 0.5 one two, said slowly, and <b>four</b>.", "to compare")
    page.goto(f"/runs/{second}")
    answer = page.locator("#answer-text")
    expect(answer).to_contain_text("one", timeout=30_000)
    early = answer.inner_text()
    expect(answer).to_contain_text("slowly,")
    ended(page, "success")

    assert len(early) < len("one two, said slowly, and <b>four</b>.")
    expect(answer).to_have_text("one two, said slowly, and <b>four</b>.")
    expect(page.locator("#log li")).to_have_count(2)
    expect(page.locator("#log")).to_contain_text("attempt 1 calls agent at default")
    page.keyboard.press("c")
    page.wait_for_url(f"**/runs/compare?a={first}&b={second}")
    expect(page.locator(".diff .removed")).to_have_text("-one two three.")
    expect(page.locator(".diff .added")).to_have_text("+one two, said slowly, and <b>four</b>.")
    expect(page.locator("table.differences")).to_contain_text("config.message")
    assert serious_issues(page) == []


def test_one_is_cancelled_while_it_speaks(api: Api, visitor: Visitor) -> None:
    run_id = send(api, "tell 0.5 " + "on and " * 60)
    page = visitor.log_in(add_user(api, "operator"))
    page.goto(f"/runs/{run_id}")
    expect(page.locator("#answer-text")).to_contain_text("on and on", timeout=30_000)

    page.keyboard.press("x")
    page.get_by_label("Why").fill("wrong day")
    page.locator("#cancel button.danger").click()

    ended(page, "cancelled")
    expect(page.locator(".explained")).to_contain_text("cancelled by the operator: wrong day")
    assert serious_issues(page) == []


def test_one_that_breaks_says_why_and_what_to_do_and_is_run_again_with_another_message(
    api: Api, visitor: Visitor
) -> None:
    run_id = send(api, "tell 0.3 Half of it hang up", timeout=60)
    page = visitor.log_in(add_user(api, "operator"))
    page.goto(f"/runs/{run_id}")
    ended(page, "failed")
    explained = page.locator(".explained")
    expect(explained).to_contain_text("It may have run there.")
    expect(explained).to_contain_text("Look on the platform whether it ran")
    expect(explained).to_contain_text("the stream stopped before its end")

    page.keyboard.press("e")
    config = page.get_by_label("What is to be done (JSON)")
    assert '"timeout": 60' in config.input_value()
    config.fill(config.input_value().replace("tell 0.3 Half of it hang up", "tell 0.1 All of it."))
    page.locator("#replay button.primary").click()

    page.wait_for_url(lambda url: run_id not in url and "/runs/" in url)
    ended(page, "success")
    expect(page.locator("#answer-text")).to_have_text("All of it.")
    expect(page.locator("#run-side")).to_contain_text(run_id)


def test_names_and_answers_are_never_markup(api: Api, visitor: Visitor) -> None:
    send_id = send(api, f"tell 0.3 {EVIL} said", name=EVIL)
    kept = {
        "task_name": EVIL,
        "result": EVIL,
        "result_data": f'{{"a": "{EVIL[:4]}"}}',
        "worker": EVIL[:60],
        "queue": "celery",
    }
    (done,) = api.add_runs({**kept, "config": agent(EVIL)})
    (failed,) = api.add_runs({**kept, "state": State.FAILURE, "error": EVIL, "error_kind": "internal", "config": EVIL})
    page = visitor.log_in(add_user(api, "viewer"))

    for path in (f"/runs/{send_id}", "/runs", f"/runs/{done}", f"/runs/{failed}", f"/runs/compare?a={done}&b={failed}"):
        page.goto(path)
        expect(page.locator("main")).to_contain_text("onerror=")
        if path.endswith(send_id):
            ended(page, "success")
            expect(page.locator("#answer-text")).to_have_text(f"{EVIL} said")
        assert page.locator("main img").count() == 0
        assert page.title() != "caught"


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_the_list_is_searched_by_its_filters_and_has_no_serious_issue(
    api: Api, browser: Browser, width: int, theme: str
) -> None:
    api.stack.sql("DELETE FROM task_run")
    api.add_runs(*[{"task_name": f"row {number}"} for number in range(55)])
    failed = {"state": State.FAILURE, "error": "HTTP 502", "error_kind": "unavailable", "task_name": "broken"}
    (run_id,) = api.add_runs(failed)
    arrived = Visitor(browser, api, width=width, theme=theme, locale="zh-CN" if width == 390 else "en-US")
    page = arrived.log_in(add_user(api, "viewer"))

    page.goto("/runs")
    expect(page.locator("tbody tr")).to_have_count(51)
    page.locator("#older a").click()
    expect(page.locator("tbody tr")).to_have_count(56)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert serious_issues(page) == []
    page.locator("[name=error_kind]").select_option("unavailable")
    page.wait_for_url("**/runs?error_kind=unavailable")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert serious_issues(page) == []
    page.goto("/runs?task=nobody")
    expect(page.locator(".empty")).to_be_visible()
    assert arrived.complaints == []
    arrived.close()


# -- over HTTP --------------------------------------------------------------------------------------


def test_the_pages_show_no_secret(api: Api, viewer: httpx.Client) -> None:
    config = agent("hello", options={"headers": {"Authorization": "Bearer abcdefghijkl"}})
    (run_id,) = api.add_runs({"config": config, "result": f"the key is {AGENT_KEY}", "error": f"key={AGENT_KEY}"})

    html = viewer.get(f"/runs/{run_id}").text

    assert "the key is ***" in words_of(html)
    assert AGENT_KEY not in html
    assert "abcdefghijkl" not in html


def test_a_viewer_changes_nothing_and_nobody_does_without_the_page(
    api: Api, viewer: httpx.Client, operator: httpx.Client
) -> None:
    waits, done = api.add_runs({"state": State.QUEUED}, {})
    acts = [f"/runs/{waits}/cancel", f"/runs/{done}/retry", f"/runs/{done}/replay"]
    token = operator.headers["X-CSRF-Token"]
    pages = viewer.get(f"/runs/{waits}").text + viewer.get(f"/runs/{done}").text

    refused = {viewer.post(act, data={"config": agent("x")}).status_code for act in acts}
    forged = {
        operator.post(act, data={"config": agent("x")}, headers={"X-CSRF-Token": token[::-1]}).status_code
        for act in acts
    }

    assert not any(act in pages for act in acts)
    assert (refused, forged) == ({403}, {403})
    assert api.stack.sql("SELECT count(*) FROM task_run WHERE retry_of = :id", id=done) == [(0,)]
    assert api.stack.sql("SELECT state FROM task_run WHERE id = :id", id=waits) == [("QUEUED",)]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{oops", "This is not valid JSON at line 1"),
        ('{"task_type": "agent", "agent_id": "a1", "mesage": "x"}', "did you mean"),
        (agent("x", queue="system"), "PATCH the new run"),
    ],
)
def test_a_replay_that_cannot_run_is_refused_beside_its_field(
    api: Api, operator: httpx.Client, config: str, told: str
) -> None:
    (run_id,) = api.add_runs({})

    answer = operator.post(f"/runs/{run_id}/replay", data={"config": config})

    assert answer.status_code == 422
    (error,) = answer.json()["errors"][:1]
    assert error["field"] == "config"
    assert told in error["message"]


def test_a_replay_is_judged_like_a_task_and_shows_no_secret_of_the_first(api: Api, operator: httpx.Client) -> None:
    secret = "Bearer abcdefghijkl"
    hook = {"task_type": "http", "url": "http://a.example/", "headers": {"Authorization": secret}, "timeout": 5}
    (run_id,) = api.add_runs({"config": json.dumps(hook), "task_name": "hook"})
    shown = hook | {"headers": {"Authorization": "***"}, "timeout": 6}

    answer = operator.post(f"/runs/{run_id}/replay", data={"config": json.dumps(shown)})

    assert answer.status_code == 422, "HTTP_ALLOWED_HOSTS does not name the host"
    assert "a.example" in answer.json()["detail"]
    assert secret not in answer.text


def test_the_audit_says_what_a_replay_changed(api: Api, operator: httpx.Client) -> None:
    (run_id,) = api.add_runs({"config": agent("was")})

    answer = operator.post(f"/runs/{run_id}/replay", data={"config": agent("is"), "reason": "slow today"})

    assert answer.status_code == 204
    made = answer.headers["HX-Redirect"].removeprefix("/runs/")
    ((config, retry_of),) = api.stack.sql("SELECT config, retry_of FROM task_run WHERE id = :id", id=made)
    assert (json.loads(config)["message"], retry_of) == ("is", run_id)
    ((after, note),) = api.stack.sql("SELECT new_value, note FROM audit_log WHERE subject = :id", id=made)
    assert (json.loads(after), note) == ({"retry_of": run_id, "message": "is"}, "slow today")


@pytest.mark.parametrize(
    "query", ["state=DONE", "task_id=x", "span=99d", "first=soon", "span=own&first=0001-01-01T00:00", "before=%00"]
)
def test_a_filter_that_makes_no_sense_is_told_on_a_page(viewer: httpx.Client, query: str) -> None:
    answer = viewer.get(f"/runs?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")


def test_filters_by_time_are_those_of_the_installations_clock(api: Api, viewer: httpx.Client) -> None:
    api.stack.sql("DELETE FROM task_run")
    api.add_runs({"task_name": "recent"})
    hour = (api.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    asked = ("span=1h", f"span=own&first={hour}", f"span=own&last={hour}", "queue=&task=", "origin=backfill")

    found = [re.findall(r'class="row"[^>]*>([^<]*)', viewer.get(f"/runs?{query}").text) for query in asked]

    assert found == [["recent"], ["recent"], [], ["recent"], []]


def test_a_kind_of_error_that_no_sentence_knows_is_shown_as_it_stands(api: Api, viewer: httpx.Client) -> None:
    (run_id,) = api.add_runs({"state": State.FAILURE, "error": "something", "error_kind": "of_another_age"})

    answer = viewer.get(f"/runs/{run_id}")

    assert answer.status_code == 200
    assert "of_another_age" in words_of(answer.text)
