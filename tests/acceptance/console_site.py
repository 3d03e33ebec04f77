"""What tests of the console share: somebody who has logged in, over HTTP or in a real browser, and axe-core."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.acceptance.api_process import Api
from tests.acceptance.task_api import as_admin
from tests.services import find_program

PASSWORD: Final = "correct horse battery"
AXE: Final = Path(__file__).with_name("vendor") / "axe-core-4.14.1.min.js"
CHROMIUM: Final = "sudo apt-get install -y chromium"
EXPECTED: Final = 60_000  # milliseconds: a browser shares two processors with everything else
SIZES: Final = {1280: 860, 390: 844}


def add_user(api: Api, role: str = "admin") -> str:
    """Make the user of a role unless there is one; return his name."""
    name = f"the {role}"
    with as_admin(api) as client:
        answer = client.post("/api/v2/users", json={"name": name, "password": PASSWORD, "role": role})
        assert answer.status_code in (201, 409), answer.text
    return name


@contextmanager
def signed_in(api: Api, role: str = "admin", language: str = "en") -> Iterator[httpx.Client]:
    """A client with a session, the CSRF header and what a browser accepts."""
    accepted = {"Accept": "text/html,*/*;q=0.8", "Accept-Language": language}
    with httpx.Client(base_url=api.public.base_url, timeout=30, headers=accepted) as client:
        answer = client.post("/login", json={"name": add_user(api, role), "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        yield client


def words_of(html: str) -> str:
    """The text of a page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of this machine; nothing is downloaded."""
    program = find_program("chromium", "chromium-browser", "google-chrome", install=CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody at a browser. `complaints` holds what its console said that is no plain text."""

    def __init__(self, browser: Browser, api: Api, *, width: int = 1280, theme: Any = "light", locale: str = "en-US"):
        self.complaints: list[str] = []
        size: Any = {"width": width, "height": SIZES[width]}
        base_url = str(api.public.base_url)
        self.context = browser.new_context(base_url=base_url, viewport=size, color_scheme=theme, locale=locale)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def log_in(self, name: str) -> Page:
        """Log in at `/` and arrive at the overview."""
        self.page.goto("/")
        self.page.get_by_label("Name").or_(self.page.get_by_label("用户名")).fill(name)
        self.page.locator("[name=password]").fill(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/overview")
        return self.page

    def close(self) -> None:
        self.context.close()


def serious_issues(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page as it is; put in by the test, past the page's own policy."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
