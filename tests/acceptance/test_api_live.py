"""`/api/v2/runs/{id}/live` over real processes: an agent that streams, a worker, the API; and who may go on."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from core.lifecycle import State
from store.runs import Sendable
from tests.acceptance.api_process import ADMIN, VIEWER, Api, bearer, prepared
from tests.services import ValkeyServer
from tests.stack import agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ENDS_WITHIN = 20.0  # seconds; five, on a machine that has time


@pytest.fixture(scope="module")
def api(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("live")
    with prepared(f"sqlite:///{folder / 'scheduler.db'}", valkey.url, folder) as stack:
        stack.start("worker", "run_worker.py", "--concurrency", "4")
        stack.wait_for(lambda: stack.count("SELECT count(*) FROM worker_lease"), "the worker's lease", 120)
        running = Api(stack, valkey.url)
        yield running
        running.close()


def send(api: Api, message: str, **more: Any) -> str:
    """Put a run on the broker, as beat does."""
    (run_id,) = api.add_runs({"state": State.PENDING, "attempt": 0, "config": agent(message, **more)})
    api.put_on_broker(Sendable(run_id, "priority_low", 5, 0, "agent"))
    return run_id


class Watcher:
    """A client of a stream: keeps its events, and shows the text as the document says it is to be shown."""

    def __init__(self, api: Api, path: str, headers: dict[str, str]) -> None:
        self.events: list[tuple[str, Any]] = []
        self.texts: list[str] = [""]
        self.ended_at = 0.0
        self._address = f"http://127.0.0.1:{api.port}/api/v2/runs/{path}"
        self._headers = headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with httpx.stream("GET", self._address, headers=self._headers, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    told: Any = line[6:] if name in {"end", "refused"} else json.loads(line[6:])
                    self.events.append((name, told))
                    if name == "text":
                        self.texts.append(self.texts[-1][: told["at"]] + told["text"])
        self.ended_at = time.monotonic()

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def wait(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        give_up_at = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up_at, f"never came; got {self.events}"
            time.sleep(0.02)

    def end(self) -> None:
        self._thread.join(60)
        assert self.ended_at, f"the stream goes on after {self.events}"


def test_an_answer_is_seen_to_grow_with_the_log_and_then_the_end(api: Api) -> None:
    run_id = send(api, "tell 0.4 Good morning to you all.")

    watcher = Watcher(api, f"{run_id}/live", bearer(VIEWER))
    watcher.end()

    assert watcher.texts[-1] == "Good morning to you all."
    assert len(watcher.texts) > 3, "it grows"
    assert [told["state"] for name, told in watcher.events if name == "run"][-1] == "SUCCESS"
    lines = [told["text"] for name, told in watcher.events if name == "line"]
    assert lines == ["attempt 1 calls agent at default", "SUCCESS after attempt 1"]
    assert watcher.events[-1] == ("end", run_id)


def test_a_second_attempt_begins_with_an_empty_screen(api: Api) -> None:
    run_id = send(api, "tell 0.5 Half of it hang up", max_retries=1, retry_backoff=1)

    watcher = Watcher(api, f"{run_id}/live", bearer(VIEWER))
    watcher.wait(lambda: "RETRY" in [told["state"] for name, told in watcher.events if name == "run"])
    time.sleep(1)  # what `retry_backoff` says, at most
    api.put_on_broker(Sendable(run_id, "priority_low", 5, 1, "agent"))
    watcher.end()

    begun = [told["attempt"] for name, told in watcher.events if name == "text" and told["at"] == 0]
    assert set(begun) == {1, 2}
    assert max(watcher.texts, key=len) == "Half of it", "nothing is glued to it"
    assert [told["state"] for name, told in watcher.events if name == "run"][-1] == "FAILURE"


def revoke_token(api: Api) -> tuple[dict[str, str], Callable[[], None]]:
    made = api.public.post("/api/v2/tokens", headers=bearer(ADMIN), json={"name": "watcher"}).raise_for_status().json()
    return bearer(made["token"]), lambda: void(
        api.public.delete(f"/api/v2/tokens/{made['id']}", headers=bearer(ADMIN)).raise_for_status()
    )


def log_out(api: Api) -> tuple[dict[str, str], Callable[[], None]]:
    new = {"name": "watcher", "password": "correct horse battery", "role": "viewer"}
    user = api.public.post("/api/v2/users", headers=bearer(ADMIN), json=new).raise_for_status().json()
    given = {"name": "watcher", "password": new["password"]}
    with httpx.Client(base_url=api.public.base_url) as browser:
        browser.post("/login", json=given).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {"Cookie": cookies}, lambda: void(
        api.public.patch(
            f"/api/v2/users/{user['id']}", headers=bearer(ADMIN), json={"disabled": True}
        ).raise_for_status()
    )


def void(_: object) -> None:
    """Take an answer that nobody needs."""


def test_a_stream_ends_within_seconds_once_its_caller_is_not_let_in_any_more(api: Api) -> None:
    (run_id,) = api.add_runs({"state": State.QUEUED})
    ending, leaving = [], []
    for way_out in (revoke_token, log_out):
        headers, leave = way_out(api)
        ending += [Watcher(api, f"{run_id}/{what}", headers) for what in ("events", "live")]
        leaving.append(leave)
    going_on = Watcher(api, f"{run_id}/live", bearer(VIEWER))
    for watcher in (*ending, going_on):
        watcher.wait(watcher.names)

    for leave in leaving:
        leave()
    left_at = time.monotonic()
    for watcher in ending:
        watcher.end()

    assert [watcher.names()[-1] for watcher in ending] == ["refused"] * 4
    assert max(watcher.ended_at for watcher in ending) - left_at < ENDS_WITHIN
    api.stack.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=run_id)
    going_on.end()
    assert going_on.names() == ["run", "run", "end"]
