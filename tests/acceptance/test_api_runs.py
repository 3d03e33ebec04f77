"""`/api/v2/runs`, and what operators see of queues, workers and beats: a real API over each database, a real broker."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.lifecycle import FINAL, State
from store.runs import Sendable
from tests.acceptance.api_process import ADMIN, AGENT_KEY, OPERATOR, VIEWER, Api, bearer, prepared, served
from tests.conftest import DATABASES
from tests.services import ValkeyServer
from tests.stack import agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TABLES = ("task_run", "periodic_task", "worker_lease", "beat_heartbeat", "audit_log")


@pytest.fixture(scope="module", params=DATABASES)
def shared(
    request: pytest.FixtureRequest, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    yield from served(request, tmp_path_factory, valkey.url)


@pytest.fixture
def api(shared: Api, valkey: ValkeyServer) -> Api:
    """The module's API over empty tables and an empty broker."""
    for table in TABLES:
        shared.stack.sql(f"DELETE FROM {table}")
    with valkey.client() as client:
        client.flushall()
    return shared


def get(api: Api, path: str) -> Any:
    return api.viewer.get(f"/api/v2/{path}").raise_for_status().json()


def do(api: Api, method: str, path: str, token: str = OPERATOR, **body: Any) -> httpx.Response:
    return api.public.request(method, f"/api/v2/{path}", headers=bearer(token), json=body)


def ids_of(answer: Any) -> list[str]:
    return [run["id"] for run in answer["items"]]


def state_of(api: Api, run_id: str) -> str:
    ((state,),) = api.stack.sql("SELECT state FROM task_run WHERE id = :id", id=run_id)
    return str(state)


def audited(api: Api) -> list[tuple[str, str, str | None]]:
    rows = api.stack.sql("SELECT action, subject, note FROM audit_log WHERE action NOT LIKE 'task.%' ORDER BY id")
    return [(row[0], row[1], row[2]) for row in rows]


STARTED: dict[str, Any] = {"state": State.STARTED, "worker": "w1#1", "deadline_at": datetime(2030, 1, 1, tzinfo=UTC)}
FAILED: dict[str, Any] = {"state": State.FAILURE, "error": "HTTP 502", "error_kind": "unavailable"}


# -- search -----------------------------------------------------------------------------------------


def test_each_filter_finds_its_runs_and_their_mixture_finds_what_meets_all(api: Api) -> None:
    moment = api.now()
    ids = api.add_runs(
        {},
        {**FAILED, "queue": "system"},
        {**FAILED, "task_name": "other"},
        {"origin": "api", "periodic_task_id": 77},
        {"state": State.SKIPPED, "error": "overlap=skip", "periodic_task_id": 77},
    )
    after = (moment + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    found = {
        query: ids_of(get(api, f"runs?{query}"))
        for query in (
            "state=FAILURE", "state=FAILURE&state=SKIPPED", "task_id=77", "task=other", "origin=api", "queue=system",
            "error_kind=unavailable", "error_kind=unavailable&queue=system", f"since={after}", f"until={after}",
        )
    }  # fmt: skip

    assert found == {
        "state=FAILURE": [ids[2], ids[1]],
        "state=FAILURE&state=SKIPPED": [ids[4], ids[2], ids[1]],
        "task_id=77": [ids[4], ids[3]],
        "task=other": [ids[2]],
        "origin=api": [ids[3]],
        "queue=system": [ids[1]],
        "error_kind=unavailable": [ids[2], ids[1]],
        "error_kind=unavailable&queue=system": [ids[1]],
        f"since={after}": [],
        f"until={after}": ids[::-1],
    }


def test_the_address_of_the_next_page_keeps_the_filter(api: Api) -> None:
    ids = api.add_runs(*[FAILED, {}] * 5)

    first = get(api, "runs?limit=2&state=FAILURE&state=RETRY&task=%E6%AF%8F%E6%97%A5%E6%8A%A5%E5%91%8A")
    second = api.viewer.get(first["next"]).json()

    assert ids_of(first) + ids_of(second) == ids[::2][::-1][:4]


def test_facets_count_the_newest_runs(api: Api) -> None:
    api.add_runs({}, FAILED, FAILED, {**FAILED, "queue": "system"})

    found = get(api, "runs/facets?state=FAILURE")

    assert found["state"] == {"FAILURE": 3}
    assert found["queue"] == {"priority_low": 2, "system": 1}
    assert found["error_kind"] == {"unavailable": 3}
    assert found["tasks"] == [{"periodic_task_id": None, "task_name": "每日报告", "runs": 3}]
    assert (found["examined"], found["reaches_to"]) == (3, None)


@pytest.mark.parametrize(
    "query", ["state=DONE", "task_id=-1", "since=soon", "since=0001-01-01T00:00:00%2B10:00", "queue=a%20b", "limt=1"]
)
def test_a_filter_that_says_nothing_known_is_refused(api: Api, query: str) -> None:
    for path in ("runs", "runs/facets"):
        assert api.viewer.get(f"/api/v2/{path}?{query}").status_code == 422


def test_a_run_tells_its_course_and_its_repetitions(api: Api) -> None:
    now = api.now()
    (run_id,) = api.add_runs(
        {
            **FAILED, "config": agent(max_retries=2), "attempt": 3, "periodic_task_id": 5, "worker": "w1",
            "scheduled_for": now - timedelta(seconds=50), "ready_at": now - timedelta(seconds=40),
            "started_at": now - timedelta(seconds=30), "finished_at": now - timedelta(seconds=10),
        }
    )  # fmt: skip
    again = do(api, "POST", f"runs/{run_id}/retry").json()["id"]

    run = get(api, f"runs/{run_id}")

    assert [step["what"] for step in run["timeline"]] == [
        "due", "ready", "attempt 3 started by w1", "ended as FAILURE", "created (schedule)",
    ]  # fmt: skip
    assert (run["attempt"], run["attempts_allowed"], run["retried_as"]) == (3, 3, [again])


def test_two_runs_are_compared_without_showing_a_secret(api: Api) -> None:
    ids = api.add_runs(
        {"config": agent("eins"), "result": "a\nb\nc", "started_at": api.now(), "finished_at": api.now()},
        {**FAILED, "config": agent("zwei"), "result": f"a\nB {AGENT_KEY}\nc"},
    )

    answer = api.viewer.get(f"/api/v2/runs/compare?a={ids[0]}&b={ids[1]}")

    found = answer.json()
    differing = {each["field"]: (each["a"], each["b"]) for each in found["differences"]}
    assert differing["config.message"] == ("eins", "zwei")
    assert differing["state"] == ("SUCCESS", "FAILURE")
    assert "config.agent_id" not in differing
    assert {"-b", "+B ***"} <= set(found["answer_diff"])
    assert not found["same_answer"]
    assert found["seconds"][1] is None
    assert AGENT_KEY not in answer.text
    assert api.viewer.get(f"/api/v2/runs/compare?a={ids[0]}&b=nobody").status_code == 404


# -- changes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_a_run_is_cancelled_unless_it_has_ended(api: Api, state: State) -> None:
    (run_id,) = api.add_runs({**STARTED, "error": "x", "state": state})

    answer = do(api, "POST", f"runs/{run_id}/cancel", reason="wrong day")

    if state in FINAL - {State.REVOKED}:
        assert answer.status_code == 409
        assert state.value in answer.json()["detail"]
        assert state_of(api, run_id) == state
        assert audited(api) == []
        return
    assert (answer.status_code, answer.json()["state"]) == (200, "REVOKED")
    assert audited(api) == ([] if state is State.REVOKED else [("run.cancel", run_id, "wrong day")])
    if state is not State.REVOKED:
        assert "wrong day" in answer.json()["error"]
        assert answer.json()["finished_at"]


def test_cancelling_a_run_of_a_row_shows_on_the_row(api: Api) -> None:
    api.add_task("daily", crontab="0 0 1 1 *")
    ((task_id,),) = api.stack.sql("SELECT id FROM periodic_task")
    (run_id,) = api.add_runs({"state": State.QUEUED, "periodic_task_id": task_id})

    do(api, "POST", f"runs/{run_id}/cancel").raise_for_status()

    assert api.stack.sql("SELECT last_run_state FROM periodic_task")[0][0] == "REVOKED"


def test_a_run_is_repeated_with_its_input_and_sent_at_once(api: Api, valkey: ValkeyServer) -> None:
    config = agent("其一", queue="system", priority=9)
    (run_id,) = api.add_runs({**FAILED, "config": config, "queue": "system", "priority": 9, "periodic_task_id": 3})

    answer = do(api, "POST", f"runs/{run_id}/retry", reason="gateway is back")

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v2/runs/{made['id']}"
    assert (made["retry_of"], made["origin"], made["queue"], made["priority"]) == (run_id, "api", "system", 9)
    assert api.stack.sql("SELECT config FROM task_run WHERE id = :id", id=made["id"])[0][0] == config
    assert made["state"] == "QUEUED"
    with valkey.client() as client:
        assert any(
            made["id"].encode() in message for key in client.keys("system*") for message in client.lrange(key, 0, -1)
        )
    assert audited(api) == [("run.retry", made["id"], "gateway is back")]
    assert state_of(api, run_id) == "FAILURE"


def test_what_goes_on_or_has_no_queue_any_more_is_not_repeated(api: Api) -> None:
    going_on, lost = api.add_runs(STARTED, {**FAILED, "queue": "gone"})

    assert do(api, "POST", f"runs/{going_on}/retry").status_code == 409
    refused = do(api, "POST", f"runs/{lost}/retry")
    assert refused.status_code == 409
    assert "TASK_QUEUES" in refused.json()["detail"]
    assert do(api, "POST", "runs/nobody/retry").status_code == 404
    assert api.stack.count("SELECT count(*) FROM task_run") == 2


def test_many_are_counted_first_and_then_repeated(api: Api) -> None:
    moments = [{"scheduled_for": api.now() + timedelta(seconds=second)} for second in range(4)]
    failed = api.add_runs(
        *({**FAILED, **moment, "periodic_task_id": 4} for moment in moments[:3]),
        {**FAILED, **moments[3], "periodic_task_id": 4, "queue": "gone"},
    )
    api.add_runs({}, STARTED)

    counted = do(api, "POST", "runs/rerun", filter={"error_kind": "unavailable"}).json()
    done = do(api, "POST", "runs/rerun", filter={"error_kind": "unavailable"}, dry_run=False, limit=3).json()

    assert (counted["dry_run"], counted["matched"], counted["made"]) == (True, 4, [])
    assert (done["matched"], done["more"], len(done["made"])) == (3, True, 2)
    sources = api.stack.sql("SELECT retry_of FROM task_run WHERE retry_of IS NOT NULL")
    assert {row[0] for row in sources} == set(failed[1:3])
    assert api.stack.count("SELECT count(*) FROM audit_log WHERE change_set = :it", it=done["change_set"]) == 2


@pytest.mark.parametrize("wanted", [{}, {"state": ["STARTED"]}, {"state": ["FAILURE", "QUEUED"]}, {"unknown": 1}])
def test_a_repetition_of_everything_or_of_what_goes_on_is_refused(api: Api, wanted: dict[str, Any]) -> None:
    api.add_runs(FAILED)

    assert do(api, "POST", "runs/rerun", filter=wanted, dry_run=False).status_code == 422
    assert api.stack.count("SELECT count(*) FROM task_run") == 1


def test_a_waiting_run_moves_and_its_message_with_it(api: Api, valkey: ValkeyServer) -> None:
    (run_id,) = api.add_runs({"state": State.QUEUED, "queue": "celery", "priority": 1})
    api.put_on_broker(Sendable(run_id, "celery", 1, 1, "agent"))

    answer = do(api, "PATCH", f"runs/{run_id}", queue="system", priority=9)

    assert (answer.json()["queue"], answer.json()["priority"], answer.json()["state"]) == ("system", 9, "QUEUED")
    with valkey.client() as client:
        assert sum(client.llen(key) for key in client.keys("system*")) == 1
    assert audited(api) == [("run.move", run_id, None)]


def test_only_a_waiting_run_moves_and_only_to_a_known_queue(api: Api) -> None:
    started, waiting = api.add_runs(STARTED, {"state": State.PENDING})

    assert do(api, "PATCH", f"runs/{started}", priority=9).status_code == 409
    assert do(api, "PATCH", f"runs/{waiting}", queue="nobody").status_code == 422
    assert do(api, "PATCH", f"runs/{waiting}", priority=10).status_code == 422
    assert do(api, "PATCH", f"runs/{waiting}", priority=True).status_code == 422
    assert audited(api) == []


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "runs/{id}/cancel", {}),
    ("POST", "runs/{id}/retry", {}),
    ("PATCH", "runs/{id}", {"priority": 9}),
    ("POST", "runs/rerun", {"filter": {"state": ["FAILURE"]}, "dry_run": False}),
    ("POST", "queues/celery/discard", {"reason": "x", "dry_run": False}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[path for _, path, _ in CHANGES])
def test_a_viewer_changes_nothing(api: Api, method: str, path: str, body: dict[str, Any]) -> None:
    (run_id,) = api.add_runs({"state": State.PENDING, "queue": "celery"})
    before = api.stack.sql("SELECT * FROM task_run")

    assert do(api, method, path.format(id=run_id), VIEWER, **body).status_code == 403
    assert api.public.request(method, f"/api/v2/{path.format(id=run_id)}", json=body).status_code == 401
    assert api.stack.sql("SELECT * FROM task_run") == before
    assert audited(api) == []


# -- live -------------------------------------------------------------------------------------------


def watched(api: Api, run_id: str, act: Callable[[str], None]) -> list[tuple[str, Any]]:
    """Follow a run to the end of the stream; `act` is called with each state that arrives."""
    events: list[tuple[str, Any]] = []
    with httpx.stream(
        "GET", f"http://127.0.0.1:{api.port}/api/v2/runs/{run_id}/events", headers=bearer(VIEWER), timeout=60
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                events.append((name, line[6:] if name == "end" else json.loads(line[6:])))
                if name == "run":
                    act(events[-1][1]["state"])
    return events


def test_every_change_of_a_run_arrives_until_it_has_ended(api: Api) -> None:
    (run_id,) = api.add_runs({"state": State.QUEUED})
    steps = {
        "QUEUED": "UPDATE task_run SET state = 'STARTED', worker = 'w', deadline_at = ready_at WHERE id = :id",
        "STARTED": "UPDATE task_run SET state = 'SUCCESS', result = 'x' WHERE id = :id",
    }

    def act(state: str) -> None:
        if state in steps:
            api.stack.sql(steps[state], id=run_id)

    events = watched(api, run_id, act)

    assert [told["state"] if name == "run" else name for name, told in events] == [
        "QUEUED", "STARTED", "SUCCESS", "end",
    ]  # fmt: skip


def test_many_watch_one_run_and_a_deleted_one_ends_the_stream(api: Api) -> None:
    (run_id,) = api.add_runs({"state": State.QUEUED})
    everybody_watches = threading.Barrier(5)
    seen: list[list[str]] = []

    def delete_once_all_watch(_: str) -> None:
        if everybody_watches.wait(60) == 0:  # told to one of them
            api.stack.sql("DELETE FROM task_run WHERE id = :id", id=run_id)

    def watch() -> None:
        seen.append([name for name, _ in watched(api, run_id, delete_once_all_watch)])

    threads = [threading.Thread(target=watch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert seen == [["run", "end"]] * 5
    assert api.viewer.get(f"/api/v2/runs/{run_id}/events").status_code == 404


# -- operations -------------------------------------------------------------------------------------


def test_the_queues_tell_what_waits_and_who_serves(api: Api) -> None:
    old = api.now() - timedelta(seconds=100)
    waiting: dict[str, Any] = {"state": State.QUEUED, "queue": "system", "ready_at": old}
    ids = api.add_runs(waiting, waiting, {**STARTED, "queue": "celery"}, {"state": State.PENDING, "ready_at": None})
    api.put_on_broker(Sendable(ids[0], "system", 5, 0, "agent"))
    api.sign_of_life()

    queues = {queue["name"]: queue for queue in get(api, "queues")["items"]}

    assert list(queues) == ["system", "priority_high", "priority_low", "celery"]
    system = queues["system"]
    assert (system["waiting"], system["messages"], system["rank"], system["workers"]) == (2, 1, 1, 0)
    assert system["oldest_ready_seconds"] == pytest.approx(100, abs=30)
    assert (queues["celery"]["running"], queues["celery"]["workers"]) == (1, 1)
    low = queues["priority_low"]
    assert (low["waiting"], low["held"], low["oldest_ready_seconds"]) == (1, 1, None)


def test_a_queue_is_discarded_after_a_count_and_nothing_that_runs(api: Api) -> None:
    waiting: dict[str, Any] = {"state": State.QUEUED, "queue": "celery"}
    doomed = api.add_runs(waiting, {**waiting, "state": State.PENDING, "ready_at": None}, {**waiting, "state": "RETRY"})
    spared = api.add_runs({**STARTED, "queue": "celery"}, {**waiting, "queue": "system"})

    counted = do(api, "POST", "queues/celery/discard", reason="flood").json()
    assert (counted["dry_run"], counted["runs"]) == (True, 3)
    assert [state_of(api, run_id) for run_id in doomed] == ["QUEUED", "PENDING", "RETRY"]
    done = do(api, "POST", "queues/celery/discard", reason="flood", dry_run=False).json()

    assert (done["runs"], done["more"]) == (3, False)
    assert {state_of(api, run_id) for run_id in doomed} == {"REVOKED"}
    assert [state_of(api, run_id) for run_id in spared] == ["STARTED", "QUEUED"]
    assert "flood" in get(api, f"runs/{doomed[0]}")["error"]
    assert audited(api) == [("queue.discard", "celery", "flood")]


def test_workers_and_beats_are_shown_with_what_they_carry(api: Api) -> None:
    api.sign_of_life(ticked=timedelta(seconds=1))
    (run_id,) = api.add_runs({**STARTED, "worker": "w1"})

    (worker,) = get(api, "workers")["items"]
    (beat,) = get(api, "beats")["items"]

    assert (worker["id"], worker["slots"], worker["running"], worker["alive"]) == ("w1", 7, 1, True)
    assert [run["id"] for run in worker["runs"]] == [run_id]
    assert (beat["id"], beat["alive"]) == ("beat", True)


def test_the_settings_in_force_show_no_secret(api: Api) -> None:
    answer = api.viewer.get("/api/v2/settings")

    shown = {each["name"]: each for each in answer.json()["items"]}
    assert shown["AGENT_API_KEY"]["value"] == "set"
    assert shown["SECRET_KEY"]["value"] == "not set"
    assert shown["TIMEZONE"] == {"name": "TIMEZONE", "value": "UTC", "is_default": False}
    for secret in (AGENT_KEY, ADMIN, OPERATOR, VIEWER):
        assert secret not in answer.text


def test_a_password_in_an_address_is_not_among_the_settings(tmp_path: Path) -> None:
    stack = prepared(f"sqlite:///{tmp_path}/s.db", "redis://:hush-hush@127.0.0.1:1/0", tmp_path)
    running = Api(stack, "redis://127.0.0.1:1/0")
    try:
        answer = running.viewer.get("/api/v2/settings")
        assert "hush" not in answer.text
        assert "127.0.0.1:1" in answer.text
        queues = running.viewer.get("/api/v2/queues").raise_for_status().json()["items"]
        assert {queue["messages"] for queue in queues} == {None}
    finally:
        running.close()


def test_calendars_that_rows_name_are_listed(api: Api) -> None:
    assert get(api, "calendars") == {"items": [], "remarks": []}
