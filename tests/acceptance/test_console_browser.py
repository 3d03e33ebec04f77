"""The console in a real browser: a task made, found, paused and given back by keys alone; and who can read it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from core.lifecycle import State
from tests.acceptance.api_process import Api, prepared
from tests.acceptance.console_site import EXPECTED, SIZES, Visitor, add_user, serious_issues
from tests.acceptance.task_api import as_operator, made, rows
from tests.conftest import fresh_database
from tests.services import ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["sqlite"])
def api(
    request: pytest.FixtureRequest, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("console-browser")
    for url in fresh_database(request, folder):
        running = Api(prepared(url, valkey.url, folder), valkey.url)
        with as_operator(running) as client:
            for n in range(3):
                made(client, f"客服质检 {n}", owner="ops", tags="nightly,生产")
            made(client, "<b>Weekly</b> digest", crontab=None, interval_seconds=900)
        running.sign_of_life()
        task_id = rows(running)["客服质检 0"]["id"]
        run: dict[str, Any] = {"periodic_task_id": task_id, "task_name": "客服质检 0", "finished_at": running.now()}
        running.add_runs(
            run | {"state": State.FAILURE, "error": "HTTP 429", "started_at": running.now()},
        )
        running.stack.sql("UPDATE periodic_task SET consecutive_failures = 1 WHERE id = :id", id=task_id)
        yield running
        running.close()


def test_a_task_is_made_found_paused_and_given_back_by_keys_alone(api: Api, browser: Browser) -> None:
    visitor = Visitor(browser, api)
    page = visitor.log_in(add_user(api, "operator"))
    press = page.keyboard.press

    press("g")
    press("t")
    page.wait_for_url("**/tasks")
    press("n")
    page.wait_for_url("**/tasks/new")
    page.get_by_label("Name", exact=True).fill("销售日报")
    page.get_by_label("Cron expression", exact=True).fill("30 16 * * 1-5")
    expect(page.locator("[data-cron-of=f-crontab]")).to_have_text("At 16:30, Monday through Friday")
    config = {"task_type": "agent", "agent_id": "a1", "message": "你好", "quue": "celery"}
    page.get_by_label("task_extra_config, JSON").fill(json.dumps(config))
    expect(page.locator("#explained")).to_contain_text("unknown key")
    config["queue"] = config.pop("quue")
    page.get_by_label("task_extra_config, JSON").fill(json.dumps(config))
    expect(page.locator("#explained")).to_contain_text("It can be saved")
    expect(page.locator("#explained .fires li")).to_have_count(10)
    press("Control+Enter")
    expect(page.locator("#toasts")).to_contain_text("Created.")
    expect(page.get_by_role("heading", level=1)).to_have_text("销售日报")

    press("g")
    press("t")
    page.wait_for_url("**/tasks")
    press("/")
    page.keyboard.type("销")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows")).to_contain_text("销售日报")
    assert "name_contains=" in page.url
    press("Escape")
    expect(page.get_by_role("searchbox", name="Search by name")).to_have_value("销")
    for key in ("j", "x", "p"):
        press(key)
    page.get_by_label("Reason").fill("new model")
    expect(page.locator(".counted")).to_contain_text("1 task would change.")
    press("Enter")
    expect(page.locator("#toasts")).to_contain_text("1 task paused.")
    expect(page.locator("#rows .next")).to_contain_text("paused")
    assert rows(api)["销售日报"]["pause_reason"] == "new model"
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.locator("#toasts")).to_contain_text("as it was")
    expect(page.locator("#rows .next")).not_to_contain_text("paused")

    press("j")
    press("Enter")
    page.wait_for_url("**/tasks/*")
    expect(page.get_by_role("heading", level=1)).to_have_text("销售日报")
    assert rows(api)["销售日报"]["enabled"] == 1
    assert visitor.complaints == []
    visitor.close()


def test_another_tab_s_edit_is_told_before_it_is_overwritten(api: Api, browser: Browser) -> None:
    visitor = Visitor(browser, api)
    page = visitor.log_in(add_user(api, "operator"))
    task_id = rows(api)["客服质检 2"]["id"]
    page.goto(f"/tasks/{task_id}/edit")
    with as_operator(api) as client:
        client.patch(f"/api/v2/tasks/{task_id}", json={"owner": "somebody"}).raise_for_status()

    page.get_by_label("Owner").fill("me")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#conflict")).to_contain_text("has edited this task meanwhile")
    assert rows(api)["客服质检 2"]["owner"] == "somebody"
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.locator("#toasts")).to_contain_text("Saved.")

    assert rows(api)["客服质检 2"]["owner"] == "me"
    visitor.close()


HIDE = """() => {
    Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""
SHOW = "() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }"
NOTE_STREAMS = """window.streams = [];
window.EventSource = class extends EventSource { constructor(address) { super(address); streams.push(this); } };"""


def test_the_overview_is_told_of_changes_rests_while_hidden_and_asks_by_itself_where_it_is_told_nothing(
    api: Api, browser: Browser
) -> None:
    visitor = Visitor(browser, api)
    visitor.page.add_init_script(NOTE_STREAMS)
    page = visitor.log_in(add_user(api, "viewer"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_now = "() => streams.filter((each) => each.readyState === EventSource.OPEN).length"
    page.wait_for_function(f"{open_now} === 1", timeout=EXPECTED)
    page.evaluate("document.querySelector('[data-every]').dataset.every = '3600'")
    with page.expect_request("**/overview/live", timeout=EXPECTED):
        api.add_runs({"task_name": "told"})  # the stream says so: the clock would not for an hour

    page.evaluate(HIDE)
    page.wait_for_timeout(300)  # what was under way comes in
    asked.clear()
    api.add_runs({"task_name": "untold"})
    page.wait_for_timeout(2500)
    while_hidden = list(asked)
    open_while_hidden = page.evaluate(open_now)
    with page.expect_request("**/overview/live", timeout=EXPECTED):
        page.evaluate(SHOW)
    page.wait_for_function(f"{open_now} === 1", timeout=EXPECTED)

    assert (while_hidden, open_while_hidden) == ([], 0)
    assert visitor.complaints == []

    page.route("**/overview/events", lambda route: route.abort())
    page.reload()
    page.evaluate("document.querySelector('[data-every]').dataset.every = '1'")
    for _ in range(2):
        with page.expect_request("**/overview/live", timeout=EXPECTED):
            pass  # by the clock
    visitor.close()


def test_single_keys_can_be_switched_off_and_stay_so_in_this_browser(api: Api, browser: Browser) -> None:
    visitor = Visitor(browser, api)
    page = visitor.log_in(add_user(api, "viewer"))
    press, help_ = page.keyboard.press, page.get_by_role("dialog", name="Keys")
    switch = page.get_by_role("checkbox", name="Single-key shortcuts")

    def use(*keys: str) -> None:
        for key in keys:
            press(key)

    press("?")
    expect(help_).to_be_visible()
    switch.press("Space")
    assert serious_issues(page) == []
    press("Escape")
    use("?", "g", "t", "/")
    page.reload()
    use("?", "g", "t")
    expect(page).to_have_url(re.compile("/overview$"))
    expect(help_).to_be_hidden()
    expect(page.locator(".nav .find kbd")).to_be_hidden()

    page.get_by_role("button", name="Keys").press("Enter")
    expect(switch).not_to_be_checked()
    switch.press("Space")
    press("Escape")
    use("g", "t")
    page.wait_for_url("**/tasks")
    assert visitor.complaints == []
    visitor.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", list(SIZES))
def test_everybody_can_read_and_use_every_page(api: Api, browser: Browser, width: int, theme: str) -> None:
    visitor = Visitor(browser, api, width=width, theme=theme, locale="zh-CN" if theme == "dark" else "en-US")
    visitor.page.goto("/")
    issues = {"/": serious_issues(visitor.page)}
    page = visitor.log_in(add_user(api, "operator"))
    task_id = rows(api)["客服质检 0"]["id"]
    wide = []
    for path in ("/overview", "/tasks", f"/tasks/{task_id}", f"/tasks/{task_id}/edit", "/tasks?name_contains=nowhere"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        issues[path] = serious_issues(page)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)

    assert {path: found for path, found in issues.items() if found} == {}
    assert wide == []
    assert visitor.complaints == []
    visitor.close()
