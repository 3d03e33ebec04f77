"""Pages of the console over much history, and beside a broker that hangs."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from playwright.sync_api import Browser, expect

from store import audit
from store.audit import Actor, Change
from store.database import transaction
from store.run_search import FIRST_LOOK, PIECE
from tests.acceptance.api_process import NOWHERE, Api, prepared
from tests.acceptance.console_site import Visitor, add_user, serious_issues, signed_in, words_of
from tests.acceptance.task_api import as_operator, made
from tests.conftest import missing
from tests.server_process import free_port
from tests.services import HOST, ServiceMissing, ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SILENT = "The broker does not answer"
NEWER = """
INSERT INTO task_run (id, task_name, origin, scheduled_for, ready_at, state, queue, priority, attempt, config)
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :runs)
SELECT printf('ffffffff-ffff-7000-8000-%012x', n), 'another', 'api', scheduled_for, ready_at, 'SUCCESS', queue, 5, 1,
  '{}' FROM counted, (SELECT * FROM task_run WHERE id = :like)
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from on_sqlite(tmp_path_factory.mktemp("pages"), NOWHERE)


def on_sqlite(folder: Path, broker_url: str) -> Iterator[Api]:
    with closing(Api(prepared(f"sqlite:///{folder / 'scheduler.db'}", broker_url, folder), broker_url)) as running:
        yield running


# -- a broker that hangs ----------------------------------------------------------------------------


def test_a_broker_that_hangs_is_told_of_soon_then_at_once_and_forgotten_when_it_is_back(tmp_path: Path) -> None:
    try:
        broker = ValkeyServer()
    except ServiceMissing as error:
        missing(error)
    with broker, contextmanager(on_sqlite)(tmp_path, broker.url) as api, signed_in(api, "viewer") as client:
        assert SILENT not in client.get("/queues").text
        broker.freeze()
        try:
            first, second = client.get("/queues"), client.get("/queues")
            overview, listed = client.get("/overview"), client.get("/api/v2/queues")
        finally:
            broker.thaw()

        assert SILENT in first.text
        assert SILENT in second.text
        assert max(told.elapsed for told in (second, overview, listed)) < first.elapsed
        assert {queue["messages"] for queue in listed.json()["items"]} == {None}
        api.stack.wait_for(lambda: SILENT not in client.get("/queues").text, "the page to find the broker again")


def test_a_broker_that_sends_a_byte_now_and_then_delays_a_page_no_more_than_one_that_hangs(tmp_path: Path) -> None:
    """Its sockets' patience begins anew with each byte."""
    with (
        trickling() as port,
        contextmanager(on_sqlite)(tmp_path, f"redis://{HOST}:{port}/0") as api,
        signed_in(api, "viewer") as client,
    ):
        told = client.get("/queues")

    assert SILENT in told.text
    assert told.elapsed.total_seconds() < 20  # the server would go on for as long as somebody listens


@contextmanager
def trickling() -> Iterator[int]:
    """A server that answers every connection with a number that never ends, a digit every half second."""
    over = Event()
    with socket.create_server((HOST, free_port())) as listener:

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.sendall(b":")
                    while not over.wait(0.5):
                        connection.sendall(b"1")
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                Thread(target=answer, args=(connection,), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        over.set()


# -- runs by a name ---------------------------------------------------------------------------------


def test_runs_are_found_by_their_tasks_name_however_many_newer_ones_there_are(api: Api) -> None:
    with as_operator(api) as operator:
        task = made(operator, "日报 & co")
        gone = made(operator, "gone")["id"]
        operator.delete(f"/api/v2/tasks/{gone}").raise_for_status()
    of_task, before, deleted, nobodys = api.add_runs(
        {"periodic_task_id": task["id"], "task_name": "日报 & co", "origin": "schedule"},
        {"periodic_task_id": task["id"], "task_name": "an older name", "origin": "api"},
        {"periodic_task_id": gone, "task_name": "gone"},
        {"task_name": "日报 & co", "origin": "api"},
    )

    with signed_in(api, "viewer") as client:
        for name, by, found in (
            ("日报 & co", "", {of_task, before}),
            ("日报 & co", "name", {of_task, nobodys}),
            ("gone", "", {deleted}),
        ):
            assert runs_on(client, name, by) == found, (name, by)
        api.stack.sql(NEWER, runs=FIRST_LOOK + PIECE + 1, like=of_task)

        assert runs_on(client, "日报 & co") == {of_task, before}
        assert runs_on(client, "gone") == set()
        bounded = client.get("/runs", params={"task": "gone"}).text
        assert "Older runs" in bounded, "what was not looked through yet is offered"
        counted = client.get("/runs/facets", params={"task": "日报 & co"}).text
        assert "2" in words_of(counted)


def runs_on(client: httpx.Client, name: str, by: str = "") -> set[str]:
    """The ids of the runs that the page of a name shows."""
    page = client.get("/runs", params={"task": name, "by": by})
    assert page.status_code == 200, page.text
    rows = page.text.partition('id="rows"')[2].partition("</tbody>")[0]
    return {piece.partition('"')[0] for piece in rows.split('href="/runs/')[1:]}


# -- the audit --------------------------------------------------------------------------------------


def test_the_audit_shows_what_changed_on_a_telephone_and_ends_without_an_empty_row(browser: Browser, api: Api) -> None:
    long = "x" * 5000
    with transaction(api.stack.engine) as tx:
        audit.record(
            tx,
            Actor("ann", "token"),
            *(
                Change(action="hold.update", subject=n, before={"reason": "a"}, after={"reason": long})
                for n in range(60)
            ),
        )
    visitor = Visitor(browser, api, width=390)
    page = visitor.log_in(add_user(api, "viewer"))
    page.goto("/audit?kind=hold")
    page.get_by_text("reason", exact=True).first.click()

    expect(page.locator("ins").first).to_be_visible()
    assert len(page.locator("ins").first.inner_text()) < len(long)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="More").click()
    expect(page.locator("#rows tr")).to_have_count(60)
    expect(page.locator("#following")).to_be_hidden()
    assert serious_issues(page) == []
    assert visitor.complaints == []
    visitor.close()
