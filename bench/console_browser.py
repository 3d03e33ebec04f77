"""The console in a real browser: how soon a page is painted, and how soon a keystroke has found a task."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Page

from tests.acceptance.console_site import chromium

OPENED: Final = 3  # times that each page is opened
TYPED: Final = 10  # times that each name is looked for
PATIENCE: Final = 30_000.0  # milliseconds

PAINT: Final = """() => {
  const paint = performance.getEntriesByType("paint").find((entry) => entry.name === "first-contentful-paint");
  return paint ? paint.startTime : null;
}"""
#: Resolves with the milliseconds from the last key pressed to the frame in which the row is there.
WATCH: Final = """(wanted) => { window.found = new Promise((resolve) => {
  let pressed = null;
  addEventListener("keydown", () => { pressed = performance.now(); }, { capture: true });
  new MutationObserver((_, observer) => {
    const rows = [...document.querySelectorAll("#rows a.row")];
    if (pressed === null || !rows.some((row) => row.textContent.trim() === wanted)) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - pressed)));
  }).observe(document.getElementById("list"), { childList: true, subtree: true });
}); }"""


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at which console."""

    base_url: str
    name: str
    password: str


@contextmanager
def browsing(visit: Visit) -> Iterator[Page]:
    """Yield a page of somebody who has logged in; what is kept by the browser is kept."""
    with chromium() as browser:
        context = browser.new_context(base_url=visit.base_url, viewport={"width": 1280, "height": 860})
        context.set_default_timeout(PATIENCE)
        context.request.post("/login", data={"name": visit.name, "password": visit.password})
        page = context.new_page()
        page.goto("/overview")
        yield page
        context.close()


def first_paints(visit: Visit, addresses: Mapping[str, str]) -> dict[str, float]:
    """Open each page OPENED times; its slowest first contentful paint in milliseconds."""
    with browsing(visit) as page:
        return {name: max(painted(page, address) for _ in range(OPENED)) for name, address in addresses.items()}


def painted(page: Page, address: str) -> float:
    """Open a page; return when something of it was painted first, in milliseconds from the navigation's begin."""
    page.goto(address, wait_until="load")
    page.wait_for_function(PAINT)
    return float(page.evaluate(PAINT))


def finding(visit: Visit, rare: str, tasks: int) -> dict[str, float]:
    """Look for a task by one keystroke after `/`, and by the letter that tells its name from others: the worst of all.

    The wanted row is on no page that was shown before that letter.
    """
    wanted = f"task {tasks * 54_350 // 100_000}"
    with browsing(visit) as page:
        return {
            "one_letter_ms": max(found(page, "", rare[0], rare) for _ in range(TYPED)),
            "telling_letter_ms": max(found(page, wanted[:-2], wanted[-2], wanted) for _ in range(TYPED)),
        }


def found(page: Page, before: str, letter: str, wanted: str) -> float:
    """Type into the search box; return the milliseconds from the last keystroke until the wanted row is shown."""
    page.goto("/tasks")
    page.keyboard.press("/")
    if before:
        with page.expect_response(lambda answer: "name_contains" in answer.url):
            page.keyboard.insert_text(before)
        page.wait_for_function("name => new URL(location).searchParams.get('name_contains') === name", arg=before)
    page.evaluate(WATCH, wanted)
    page.keyboard.press(letter)
    return float(page.evaluate("() => window.found"))
