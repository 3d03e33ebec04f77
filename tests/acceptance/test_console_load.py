"""The calendar: a crowded minute is seen and spread out in a browser, undone, and the past leads to its runs."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta

import pytest
from playwright.sync_api import expect

from core.lifecycle import State
from tests.acceptance.api_process import Api, prepared
from tests.acceptance.console_site import Visitor, add_user, chromium, serious_issues, signed_in
from tests.services import ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CROWD = 60


@pytest.fixture(scope="module")
def api(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("console-load")
    with prepared(f"sqlite:///{folder / 'scheduler.db'}", valkey.url, folder) as stack:
        running = Api(stack, valkey.url)
        yield running
        running.close()


def crowd(api: Api) -> None:
    """Sixty rows that fire in one minute a day, read by a beat; the installation's zone is UTC."""
    api.stack.sql("DELETE FROM periodic_task")
    moment = (api.now() + timedelta(hours=3)).replace(minute=30)
    for number in range(CROWD):
        api.add_task(f"row {number}", crontab=f"30 {moment.hour} * * *")
    beat = api.stack.beat("--once")
    assert beat.wait(120) == 0, api.stack.tails()


def jitters(api: Api) -> set[int]:
    return {row[0] for row in api.stack.sql("SELECT jitter_seconds FROM periodic_task")}


def test_a_crowded_minute_is_seen_then_spread_and_given_back(api: Api) -> None:
    crowd(api)
    name = add_user(api, "operator")
    with chromium() as browser:
        for width, theme in ((390, "dark"), (1280, "light")):
            visitor = Visitor(browser, api, width=width, theme=theme)
            page = visitor.log_in(name)
            page.goto("/load")
            expect(page.locator(".cell.l6").first).to_contain_text(str(CROWD), timeout=60_000)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            assert serious_issues(page) == []
            assert visitor.complaints == []

        page.get_by_role("button", name="Spread").first.click()
        dialog = page.locator("#spread")
        expect(dialog).to_contain_text(f"{CROWD} tasks get a delay", timeout=30_000)
        assert serious_issues(page) == []
        then = int(dialog.locator(".figure.ok .value").inner_text())
        dialog.get_by_role("button", name="Spread them").click()
        expect(page.locator(".toast")).to_contain_text(f"{CROWD} tasks are spread", timeout=30_000)

        assert then * 5 <= CROWD
        assert jitters(api) != {0}
        page.locator(".toast").get_by_role("button", name="Undo").click()
        expect(page.locator(".toast").last).to_contain_text("old delay again", timeout=30_000)
        assert jitters(api) == {0}
        assert visitor.complaints == []


def test_a_viewer_sees_it_and_spreads_nothing(api: Api) -> None:
    minute = (api.now() + timedelta(hours=3)).replace(minute=30, second=0, microsecond=0).isoformat()

    with signed_in(api, "viewer") as client:
        html = client.get("/load").text
        refused = client.post("/load/spread", data={"minute": minute, "dry_run": "false"})

    assert "hx-post" not in html.partition("<main")[2]
    assert refused.status_code == 403
    assert jitters(api) <= {0}


def test_what_makes_no_sense_is_refused_in_words(api: Api) -> None:
    with signed_in(api, "operator") as client:
        answers = [
            client.get("/load?hour=168"),
            client.post("/load/spread", data={"minute": "soon"}),
            client.post("/load/spread", data={"minute": "2020-01-01T00:00:00Z", "dry_run": "true"}),
        ]

    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert "coming week" in answers[2].json()["detail"]


def test_a_past_day_tells_its_failures_and_leads_to_its_runs(api: Api) -> None:
    api.stack.sql("DELETE FROM task_run")
    api.add_runs({}, {}, {"state": State.FAILURE, "error": "HTTP 502", "error_kind": "unavailable"})
    ((moment,),) = api.stack.sql("SELECT MIN(scheduled_for) FROM task_run")
    today = date.fromisoformat(str(moment)[:10])

    new_one = Api(api.stack, api.broker_url)  # it has counted nothing yet
    with closing(new_one.public), closing(new_one.viewer), signed_in(new_one, "viewer") as client:
        html = ""

        def counted() -> bool:
            nonlocal html
            html = client.get("/load").text
            return f"{today}: 3 runs, 1 failed" in html

        api.stack.sql("DELETE FROM periodic_task")
        api.stack.wait_for(counted, "the day to be counted", 90)
        following = today + timedelta(days=1)
        link = f"/runs?span=own&amp;first={today}T00:00&amp;last={following}T00:00"
        assert link in html
        assert client.get(link.replace("&amp;", "&")).text.count('class="row"') == 3
