"""`/api/v2/tasks` as scripts and the console use it: edits, actions and their audit, on each kind of database."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from fastapi import HTTPException

from api import task_actions
from api.problems import Refused
from core.arming import Surroundings
from tests.acceptance.api_process import Api, served
from tests.acceptance.task_api import WHAT, as_operator, audit, emptied, made, rows, task
from tests.conftest import DATABASES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TASKS = "/api/v2/tasks"


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory)


@pytest.fixture
def api(shared: Api) -> Api:
    return emptied(shared)


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    with as_operator(api) as client:
        yield client


# -- create, read, edit, delete -----------------------------------------------------------------------


def test_a_task_is_made_read_edited_and_deleted(api: Api, operator: httpx.Client) -> None:
    answer = operator.post(TASKS, json=task("日报 🌅", owner="ann", tags="a, b", timezone="Europe/Berlin"))
    assert answer.status_code == 201
    address, made_task = answer.headers["location"], answer.json()
    assert (made_task["create_by"], made_task["update_by"]) == ("API_TOKENS entry 2",) * 2
    assert operator.get(address).json() == made_task

    edited = operator.patch(address, json={"description": "每天", "start_time": "2026-03-01 09:00:00"}).json()
    assert (edited["description"], edited["start_time"]) == ("每天", "2026-03-01T09:00:00")
    assert edited["crontab"] == "0 9 * * *"

    assert operator.delete(address).status_code == 204
    assert operator.get(address).status_code == 404
    assert rows(api) == {}


def test_a_bad_task_is_refused_at_once_in_the_words_of_config_error(api: Api, operator: httpx.Client) -> None:
    bad = task(crontab="99 9 * * *", timezone="Asia/Shangai", task_extra_config={"task_type": "agent", "mesage": "x"})
    answer = operator.post(TASKS, json=bad)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    told = {problem["field"]: problem["message"] for problem in answer.json()["errors"]}
    assert "wrong value for minute '99'" in told["crontab"]
    assert "did you mean" in told["timezone"]
    assert "did you mean 'message'?" in told["task_extra_config"]
    assert rows(api) == {}


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"crontb": "* * * * *"}, "crontb"),
        ({"enabled": "yes"}, "enabled"),
        ({"interval_seconds": 10**12, "crontab": None}, "interval_seconds"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"run_at": "tomorrow", "crontab": None}, "run_at"),
        ({"interval_seconds": 60}, "crontab"),
        ({"task_extra_config": None}, "task_extra_config"),
        ({"task_extra_config": '{"broken'}, "task_extra_config"),
        ({"task_extra_config": {**WHAT, "queue": "nowhere"}}, "task_extra_config"),
        (
            {"repeat": {"repeat_type": "week", "repeat_days": [9], "start_time": "2026-01-01"}, "crontab": None},
            "repeat",
        ),
    ],
)
def test_each_wrong_field_is_named(api: Api, operator: httpx.Client, columns: dict[str, object], field: str) -> None:
    answer = operator.post(TASKS, json=task() | columns)

    assert answer.status_code == 422
    named = [problem.get("field") or problem["parameter"] for problem in answer.json()["errors"]]
    assert any(name.startswith(field) or name.endswith(field) for name in named), answer.text
    assert rows(api) == {}


def test_a_name_that_is_taken_is_a_conflict(api: Api, operator: httpx.Client) -> None:
    made(operator, "one")
    other = made(operator, "two")

    assert operator.post(TASKS, json=task("one")).status_code == 409
    assert operator.patch(f"{TASKS}/{other['id']}", json={"name": "one"}).status_code == 409
    assert set(rows(api)) == {"one", "two"}


def test_an_edit_of_a_state_that_was_edited_meanwhile_is_refused(api: Api, operator: httpx.Client) -> None:
    address = f"{TASKS}/{made(operator)['id']}"
    seen = {"If-Match": operator.get(address).headers["etag"]}
    api.stack.sql("UPDATE periodic_task SET next_run_at = '2026-12-01 09:00:00', run_count = 5")  # the system's
    first = operator.patch(address, json={"owner": "ann"}, headers=seen)
    late = operator.patch(address, json={"owner": "bob"}, headers=seen)

    assert (first.status_code, late.status_code) == (200, 412)
    assert operator.delete(address, headers=seen).status_code == 412
    assert operator.put(f"{address}/pause", json={"reason": "x"}, headers=seen).status_code == 412
    assert operator.patch(address, json={"owner": "bob"}, headers={"If-Match": late.headers["etag"]}).status_code == 200


def test_another_kind_of_schedule_takes_the_place_of_the_old_one(api: Api, operator: httpx.Client) -> None:
    address = f"{TASKS}/{made(operator)['id']}"
    found = operator.patch(address, json={"interval_seconds": 60}).json()
    assert (found["crontab"], found["interval_seconds"]) == (None, 60)

    repeat = {"repeat_type": "week", "repeat_days": [1, 3], "start_time": "2026-01-05 08:30:00"}
    found = operator.patch(address, json={"repeat": repeat}).json()
    assert (found["interval_seconds"], found["rrule"]) == (None, "FREQ=WEEKLY;BYDAY=MO,WE")


def test_a_secret_that_was_shown_as_stars_and_sent_back_stays(api: Api, operator: httpx.Client) -> None:
    config = {"task_type": "workflow", "workflow_id": "w", "inputs": {"api_key": "sk-hush-hush", "seed": 1}}
    found = made(operator, task_extra_config=json.dumps(config))
    assert found["task_extra_config"]["inputs"] == {"api_key": "***", "seed": 1}

    sent = found["task_extra_config"] | {"workflow_id": "w2"}
    answer = operator.patch(f"{TASKS}/{found['id']}", json={"task_extra_config": sent})

    assert answer.status_code == 200, answer.text
    stored = json.loads(rows(api)["report"]["task_extra_config"])
    assert stored == config | {"workflow_id": "w2"}
    assert "hush" not in answer.text + api.viewer.get("/api/v2/audit").text
    refused = operator.post(TASKS, json=task("other", task_extra_config=sent))
    assert refused.status_code == 422
    assert "write the secret itself" in refused.text


def test_a_broken_row_can_be_renamed_and_paused_and_mended(api: Api, operator: httpx.Client) -> None:
    api.add_task("broken", crontab="bad", timezone="Nowhere")
    (task_id,) = api.stack.sql("SELECT id FROM periodic_task")[0]
    address = f"{TASKS}/{task_id}"

    assert operator.patch(address, json={"name": "still broken"}).status_code == 200
    assert operator.put(f"{address}/pause", json={"reason": "broken"}).status_code == 200
    assert operator.patch(address, json={"crontab": "worse"}).status_code == 422
    assert operator.post(f"{address}/runs", json={}).status_code == 422
    assert operator.patch(address, json={"crontab": "0 9 * * *", "timezone": None}).status_code == 200


def test_a_row_that_somebody_holds_is_said_to_be_held(api: Api, operator: httpx.Client) -> None:
    if api.stack.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no row locks")
    found = made(operator)
    with api.stack.engine.connect() as other:
        other.exec_driver_sql("START TRANSACTION")
        other.exec_driver_sql("UPDATE periodic_task SET owner = 'x'")
        answer = operator.patch(f"{TASKS}/{found['id']}", json={"owner": "ann"})
        other.exec_driver_sql("ROLLBACK")

    assert answer.status_code == 503
    assert "Another session holds" in answer.json()["detail"]


# -- lists --------------------------------------------------------------------------------------------


def test_a_list_is_filtered_and_its_pages_keep_the_filter(api: Api, operator: httpx.Client) -> None:
    made(operator, "alpha 50%", owner="ann", tags="x, news", enabled=False)
    made(operator, "alphabet", owner="ann", tags="newsletter")
    made(operator, "beta", owner="bob", tags="news,x")
    api.stack.sql("UPDATE periodic_task SET config_error = 'bad', last_run_state = 'FAILURE' WHERE name = 'beta'")

    def names(query: str) -> list[str]:
        answer = api.viewer.get(f"{TASKS}?{query}")
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]

    assert names("name_prefix=alpha") == ["alpha 50%", "alphabet"]
    assert names("name_contains=0%25") == ["alpha 50%"]
    assert names("name_contains=%25") == ["alpha 50%"]
    assert names("name_contains=_") == []
    assert names("tag=news") == ["alpha 50%", "beta"]
    assert names("owner=ann&enabled=true") == ["alphabet"]
    assert names("broken=true") == names("state=FAILURE") == ["beta"]
    assert names("name_prefix=%27%20OR%201%3D1%20--%20") == []
    first = api.viewer.get(f"{TASKS}?owner=ann&limit=1").json()
    assert [item["name"] for item in api.viewer.get(first["next"]).json()["items"]] == ["alphabet"]


# -- actions ------------------------------------------------------------------------------------------


def test_a_pause_says_why_and_a_resume_takes_it_back(api: Api, operator: httpx.Client) -> None:
    address = f"{TASKS}/{made(operator)['id']}"

    paused = operator.put(f"{address}/pause", json={"reason": "维护"}).json()
    assert (paused["enabled"], paused["pause_reason"]) == (False, "维护")
    resumed = operator.delete(f"{address}/pause").json()
    assert (resumed["enabled"], resumed["pause_reason"]) == (True, None)
    assert [entry["action"] for entry in audit(api)] == ["task.resume", "task.pause", "task.create"]


def test_run_now_makes_one_run_with_what_is_otherwise_this_once(api: Api, operator: httpx.Client) -> None:
    found = made(operator, enabled=False)
    address = f"{TASKS}/{found['id']}/runs"
    overrides = {"overrides": {"message": "only this once", "queue": "system"}}

    key = {"Idempotency-Key": "click-1"}
    first, again = (operator.post(address, json=overrides, headers=key) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replay"] == "true"
    run = api.viewer.get(first.json()["href"]).json()
    assert (run["origin"], run["state"], run["queue"]) == ("api", "PENDING", "system")
    assert run["config"]["message"] == "only this once"
    assert api.stack.count("SELECT count(*) FROM task_run") == 1
    assert json.loads(rows(api)["report"]["task_extra_config"])["message"] == WHAT["message"]
    assert operator.post(address, json={"overrides": {"mesage": "x"}}).status_code == 422
    assert operator.post(address, json={}, headers=key).status_code == 422


def test_a_preview_tells_the_next_moments_of_a_task_and_of_a_draft(api: Api, operator: httpx.Client) -> None:
    found = made(operator, timezone="Europe/Berlin")
    saved = api.viewer.get(f"{TASKS}/{found['id']}/preview?count=3&since=2026-03-28T00:00:00Z").json()
    assert [fire["local"] for fire in saved["fires"]] == [
        "2026-03-28T09:00:00+01:00", "2026-03-29T09:00:00+02:00", "2026-03-30T09:00:00+02:00",
    ]  # fmt: skip

    draft = {"crontab": "0 9 */2 * 1", "timezone": "UTC", "count": 1, "since": "2026-03-28T00:00:00Z"}
    shown = api.viewer.post("/api/v2/preview", json=draft).json()
    assert (shown["zone"], len(shown["fires"])) == ("UTC", 1)
    broken = api.viewer.post("/api/v2/preview", json={"crontab": "0 25 * * *"}).json()
    assert "wrong value for hour '25'" in broken["problems"][0]
    edit = {"task_id": found["id"], "interval_seconds": 3600, "count": 2}
    assert len(api.viewer.post("/api/v2/preview", json=edit).json()["fires"]) == 2
    assert rows(api)["report"]["crontab"] == "0 9 * * *"


def test_run_now_keeps_a_secret_that_was_shown_as_stars(api: Api, operator: httpx.Client) -> None:
    config = {"task_type": "workflow", "workflow_id": "w", "inputs": {"api_key": "hush-hush", "seed": 1}}
    found = made(operator, task_extra_config=config)
    address = f"{TASKS}/{found['id']}/runs"
    inputs = found["task_extra_config"]["inputs"] | {"seed": 2}

    answer = operator.post(address, json={"overrides": {"inputs": inputs}})

    assert (answer.status_code, inputs["api_key"]) == (201, "***")
    (run,) = api.stack.sql("SELECT config FROM task_run")
    assert json.loads(run.config)["inputs"] == {"api_key": "hush-hush", "seed": 2}
    assert operator.post(address, json={"overrides": {"inputs": {"token": "***"}}}).status_code == 422


def test_a_preview_that_takes_long_is_given_up_and_two_are_worked_out_at_once(
    api: Api, operator: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = api.now()
    around = Surroundings("UTC", frozenset({"priority_low"}))
    row = {"id": 0, "enabled": 1, "task_extra_config": task_actions.NO_WORK, "crontab": "0 9 * * *"}
    monkeypatch.setattr(task_actions, "PREVIEW_SECONDS", 0.0)
    with pytest.raises(Refused, match="use count=1"):
        task_actions.previewed(row, around, None, now, 100)
    assert len(task_actions.previewed(row, around, None, now, 1).fires) == 1

    with ExitStack() as both:
        both.enter_context(task_actions.AT_ONCE)
        both.enter_context(task_actions.AT_ONCE)
        with pytest.raises(HTTPException) as refused:
            task_actions.previewed(row, around, None, now, 1)
    assert refused.value.status_code == 503


# -- audit --------------------------------------------------------------------------------------------


def test_an_edit_by_plain_sql_is_in_the_audit_with_before_and_after(api: Api) -> None:
    api.stack.insert(
        "by hand", '{"task_type": "celery", "task": "x", "kwargs": {"password": "hush"}}', crontab="0 9 * * *"
    )
    api.stack.sql("UPDATE periodic_task SET crontab = '0 10 * * *', start_time = '2026-01-02 03:04:05'")
    api.stack.sql("UPDATE periodic_task SET next_run_at = '2026-12-01 09:00:00', hint = 'x', run_count = run_count + 1")
    api.stack.sql("UPDATE periodic_task SET crontab = '0 10 * * *'")
    api.stack.sql("DELETE FROM periodic_task")

    deleted, updated, created = audit(api, kind="task")

    assert [entry["via"] for entry in (deleted, updated, created)] == ["sql"] * 3
    assert (updated["before"]["crontab"], updated["after"]["crontab"]) == ("0 9 * * *", "0 10 * * *")
    assert updated["changed"] == ["crontab", "start_time"]
    assert (created["before"], deleted["after"]) == (None, None)
    assert deleted["before"]["name"] == created["after"]["name"] == "by hand"
    assert deleted["before"]["task_extra_config"]["kwargs"]["password"] == "***"
    assert updated["actor"] == "sqlite" or "@" in updated["actor"]


def test_a_change_by_the_api_is_there_once_with_who_and_page_by_page(api: Api, operator: httpx.Client) -> None:
    found = made(operator)
    operator.patch(f"{TASKS}/{found['id']}", json={"owner": "ann"})
    operator.patch(f"{TASKS}/{found['id']}", json={"owner": "ann"})  # changes nothing
    api.stack.sql("UPDATE periodic_task SET owner = 'bob'")

    pages, following = [], "/api/v2/audit?limit=1"
    while following:
        page = api.viewer.get(following).json()
        pages += page["items"]
        following = page["next"]

    assert [(entry["action"], entry["via"], entry["changed"]) for entry in pages] == [
        ("task.update", "sql", ["owner"]), ("task.update", "token", ["owner"]), ("task.create", "token", []),
    ]  # fmt: skip
    assert pages[1]["actor"] == "API_TOKENS entry 2"
    assert (pages[1]["before"], pages[1]["after"]) == ({"owner": None}, {"owner": "ann"})


def test_an_edit_that_fails_leaves_nothing_in_the_audit_and_the_triggers_on(api: Api, operator: httpx.Client) -> None:
    made(operator, "one")
    two = made(operator, "two")
    assert operator.patch(f"{TASKS}/{two['id']}", json={"name": "one"}).status_code == 409
    before = len(audit(api))
    for _ in range(12):  # whichever of the pool's connections is next
        assert operator.patch(f"{TASKS}/{two['id']}", json={"name": "one"}).status_code == 409

    api.stack.sql("UPDATE periodic_task SET owner = 'by sql'")

    assert len(audit(api)) == before + 2


# -- backfills ----------------------------------------------------------------------------------------


def test_a_backfill_is_counted_entered_paused_and_cancelled(api: Api, operator: httpx.Client) -> None:
    found = made(operator, timezone="UTC", start_time="2025-01-01 00:00:00")
    address = f"{TASKS}/{found['id']}/backfills"
    days = {"since": "2026-01-05T00:00:00Z", "until": "2026-01-10T00:00:00Z"}

    counted = operator.post(address, json=days | {"dry_run": True})
    assert (counted.status_code, counted.json()["moments"], counted.json()["id"]) == (200, 5, None)
    entered = operator.post(address, json=days | {"at_a_time": 2})
    assert (entered.status_code, entered.json()["first_moment"]) == (201, "2026-01-05T09:00:00Z")
    assert operator.post(address, json=days).status_code == 409
    one = entered.headers["location"]

    assert operator.put(f"{one}/pause").json()["state"] == "PAUSED"
    assert operator.delete(f"{one}/pause").json()["state"] == "RUNNING"
    assert operator.delete(one).json()["state"] == "CANCELLED"
    assert operator.delete(one).status_code == 409
    assert [each["state"] for each in operator.get("/api/v2/backfills").json()["items"]] == ["CANCELLED"]
    actions = [entry["action"] for entry in audit(api, kind="backfill")]
    assert actions == ["backfill.cancel", "backfill.resume", "backfill.pause", "backfill.create"]


@pytest.mark.parametrize(
    ("since", "until", "status", "told"),
    [
        ("2026-01-05T00:00:00Z", "2199-01-01T00:00:00Z", 422, "lies ahead"),
        ("2026-01-05T00:00:00Z", "2026-01-04T00:00:00Z", 422, "before since"),
        ("2026-01-05T10:00:00Z", "2026-01-05T11:00:00Z", 409, "no moment between"),
        ("2026-01-05", "2026-01-06T00:00:00Z", 422, "since"),
    ],
)
def test_a_range_that_cannot_be_backfilled_is_refused(
    api: Api, operator: httpx.Client, since: str, until: str, status: int, told: str
) -> None:
    found = made(operator, timezone="UTC")

    answer = operator.post(f"{TASKS}/{found['id']}/backfills", json={"since": since, "until": until})

    assert answer.status_code == status
    assert told in answer.json()["detail"]
