"""A working day at the console, by keys alone, over the real processes: beat, worker, API and an agent that streams."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.api_process import Api, prepared
from tests.acceptance.console_site import Visitor, add_user, serious_issues
from tests.acceptance.task_api import rows
from tests.services import ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAID = "one two three four five six seven eight nine ten."
NAME = "舆情监控 morning watch"


@pytest.fixture(scope="module")
def api(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("console-day")
    with prepared(f"sqlite:///{folder / 'scheduler.db'}", valkey.url, folder) as stack:
        running = Api(stack, valkey.url)
        stack.start("worker", "run_worker.py", "--concurrency", "4")
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM worker_lease"), "the worker's lease", 120)
        stack.beat()
        yield running
        running.close()


def go(page: Page, letter: str, path: str) -> None:
    page.keyboard.press("g")
    page.keyboard.press(letter)
    page.wait_for_url(f"**{path}")
    page.wait_for_load_state()


def open_the_next_one(api: Api, page: Page) -> None:
    """Wait for a run that has just begun, and open it from the list."""
    api.stack.wait_for(
        lambda: api.stack.count("SELECT count(*) FROM task_run WHERE state = 'STARTED'"), "a run to begin", 90
    )
    go(page, "r", "/runs")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*-*")
    expect(page.locator("#answer-text")).to_contain_text("one")


def ended(page: Page, state: str) -> None:
    expect(page.locator("#run[data-final=yes]")).to_be_visible()
    expect(page.locator("h1 .badge")).to_have_text(state)


def test_a_day_at_the_console_by_keys_alone(api: Api, browser: Browser) -> None:
    visitor = Visitor(browser, api)
    page = visitor.log_in(add_user(api, "operator"))
    press, issues = page.keyboard.press, {}

    # An agent's task, its schedule in words.
    go(page, "t", "/tasks")
    press("n")
    page.wait_for_url("**/tasks/new")
    page.get_by_label("Name", exact=True).press_sequentially(NAME)
    page.locator("#words-phrase").press_sequentially("every 15 seconds")
    page.locator("#words-readings button").press("Enter")
    config = page.get_by_label("task_extra_config, JSON")
    config.fill('{"task_type": "agent", "agent_id": "a1", "message": "tell 0.05 tried it"}')
    page.get_by_role("button", name="Test call").press("Enter")
    expect(page.locator("#confirm-text")).to_contain_text("may cost money")
    press("Enter")
    expect(page.locator("#tried pre")).to_have_text("tried it")
    assert api.stack.count("SELECT count(*) FROM task_run") == 0
    issues["tried"] = serious_issues(page)
    config.fill(f'{{"task_type": "agent", "agent_id": "a1", "message": "tell 0.6 {SAID}"}}')
    expect(page.locator("#explained")).to_contain_text("It can be saved")
    issues["new"] = serious_issues(page)
    config.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    assert rows(api)[NAME]["interval_seconds"] == 15

    # It fires by itself, and speaks.
    open_the_next_one(api, page)
    early = page.locator("#answer-text").inner_text()
    issues["live"] = serious_issues(page)
    ended(page, "success")
    expect(page.locator("#answer-text")).to_have_text(SAID)
    assert len(early) < len(SAID)

    # The next one is cancelled while it speaks.
    open_the_next_one(api, page)
    press("x")
    page.get_by_label("Why").press_sequentially("not today")
    press("Enter")
    ended(page, "cancelled")
    expect(page.locator(".explained")).to_contain_text("not today")

    # What the filter finds is paused, given back, and paused again.
    go(page, "t", "/tasks")
    press("/")
    page.keyboard.type("舆情")
    expect(page.locator("#rows tr")).to_have_count(1)
    for last in (False, True):
        page.locator("[data-pick-all]").press("Space")
        press("Escape")
        page.locator("#bulk [data-key=p]").press("Enter")
        reason = page.get_by_label("Reason")
        expect(reason).to_be_visible()
        reason.press_sequentially("new model")
        expect(page.locator(".counted")).to_contain_text("1 task would change.")
        press("Enter")
        expect(page.locator("#rows .next")).to_contain_text("paused")
        issues["tasks"] = serious_issues(page)
        if not last:
            page.get_by_role("button", name="Undo").press("Enter")
            expect(page.locator("#rows .next")).not_to_contain_text("paused")
            assert rows(api)[NAME]["enabled"] == 1
    assert rows(api)[NAME]["pause_reason"] == "new model"

    # One is repeated with another message, and breaks; the page says why, and what to do.
    go(page, "r", "/runs")
    press("j")
    press("Enter")
    page.wait_for_url("**/runs/*-*")
    expect(page.locator("#run[data-final=yes]")).to_be_visible()
    broken_from = page.url
    press("e")
    edited = page.get_by_label("What is to be done (JSON)")
    edited.fill(edited.input_value().replace(f"0.6 {SAID}", "0.2 Half of it hang up"))
    page.locator("#replay button.primary").press("Enter")
    page.wait_for_url(lambda url: "/runs/" in url and url != broken_from)
    ended(page, "failed")
    expect(page.locator(".explained")).to_contain_text("Look on the platform whether it ran")
    issues["broken"] = serious_issues(page)

    # Against the last one that was carried out.
    press("c")
    page.wait_for_url("**/runs/compare?*")
    expect(page.locator("table.differences")).to_contain_text("config.message")
    expect(page.locator(".diff .removed")).to_have_text(f"-{SAID}")
    issues["compare"] = serious_issues(page)

    # The heat map knows what comes once the task goes on.
    api.stack.sql("UPDATE periodic_task SET enabled = 1, pause_reason = NULL")
    api.stack.wait_for(
        lambda: api.stack.count("SELECT count(*) FROM periodic_task WHERE next_run_at IS NOT NULL AND enabled = 1"),
        "beat to read it",
        60,
    )
    go(page, "c", "/load")
    cell = page.locator(".cell[class*=' l']:not(.l0):not(i)").last
    expect(cell).to_contain_text("240 fires")
    cell.press("Enter")
    page.wait_for_url("**/load?hour=*")
    expect(page.locator("#load .split")).to_contain_text("240 fires")
    issues["load"] = serious_issues(page)

    assert {place: found for place, found in issues.items() if found} == {}
    assert visitor.complaints == []
    visitor.close()
