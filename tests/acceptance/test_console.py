"""The console over HTTP: who gets in, what each role may do, and that its forms do what the API does."""

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.lifecycle import State
from tests.acceptance.api_process import Api, served
from tests.acceptance.console_site import signed_in, words_of
from tests.acceptance.task_api import as_admin, as_operator, audit, emptied, made, rows
from web.static_files import address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HOSTILE = """<script>alert('x')</script>"><img src=x onerror=alert(1)>{{ 7 * 7 }}'"""
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HTMX = {"HX-Request": "true", "Accept": "*/*"}


@pytest.fixture(scope="module", params=["mariadb"])  # SQLite: tests/integration/test_attention.py
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory)


@pytest.fixture
def api(shared: Api) -> Api:
    """The module's API over empty tables; who has logged in stays so."""
    return emptied(shared, but={"api_user", "api_session"})


@pytest.fixture(scope="module")
def operator(shared: Api) -> Iterator[httpx.Client]:
    with signed_in(shared, "operator") as client:
        yield client


def form(**columns: Any) -> dict[str, Any]:
    """What the form of a task sends."""
    usual = {"name": "report", "kind": "crontab", "crontab": "0 9 * * *", "task_extra_config": json.dumps(WHAT)}
    return usual | columns


WHAT = {"task_type": "agent", "agent_id": "a1", "message": "你好"}


def triggered(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 204, answer.text
    found: dict[str, Any] = json.loads(answer.headers["HX-Trigger"])["console:toast"]
    return found


# -- who gets in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/overview", "/tasks", "/tasks/1", "/docs", "/nothing"])
def test_a_browser_without_a_session_gets_the_login_page_in_the_pages_place(api: Api, path: str) -> None:
    answer = api.public.get(path, headers=BROWSER)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert 'id="login"' in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/tasks", {}),
        ("/tasks", HTMX | BROWSER),
        ("/api/v2/tasks", BROWSER),
        ("/tasks", BROWSER | {"Authorization": "Bearer wrong"}),
    ],
)
def test_a_program_gets_the_problem_it_always_got(api: Api, path: str, headers: dict[str, str]) -> None:
    answer = api.public.get(path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_has_logged_in_is_led_from_the_login_page_into_the_console(api: Api, operator: httpx.Client) -> None:
    answer = operator.get("/")

    assert (answer.status_code, answer.headers["location"]) == (303, "/overview")
    assert "the operator" in operator.get("/overview").text


def test_a_link_from_elsewhere_is_asked_for_once_more_because_it_comes_without_the_cookie(api: Api) -> None:
    foreign = BROWSER | {"Sec-Fetch-Site": "cross-site"}
    first = api.public.get("/tasks/1", headers=foreign)
    again = api.public.get("/tasks/1", headers=foreign)  # with the cookie that the first answer set
    api.public.cookies.clear()
    own = api.public.get("/tasks/1", headers=BROWSER | {"Sec-Fetch-Site": "same-origin"})

    assert first.headers["refresh"] == "0"  # no address: it leads nowhere else
    assert "refresh" not in again.headers
    assert "refresh" not in own.headers


def test_a_cookie_that_is_no_session_leads_to_the_login_page(api: Api) -> None:
    answer = api.public.get("/", headers=BROWSER | {"Cookie": "agent_scheduler_session=made-up"})

    assert answer.status_code == 200
    assert 'id="login"' in answer.text


def test_where_nobody_can_be_recognised_a_browser_is_told_how_the_service_is(api: Api) -> None:
    somebody = {"Cookie": "agent_scheduler_session=made-up"}
    api.stack.sql("RENAME TABLE api_session TO away")
    try:
        page = api.public.get("/tasks", headers=BROWSER | somebody)
        plain = api.public.get("/tasks", headers=somebody)
    finally:
        api.stack.sql("RENAME TABLE away TO api_session")

    assert page.status_code == plain.status_code == 503
    assert page.headers["retry-after"] == "5"
    assert "Start beat: python run_beat.py" in words_of(page.text)
    assert plain.json()["detail"].startswith("The database does not answer")


@pytest.mark.parametrize("name", ["console.css", "console.js", "login.js", "vendor/htmx.min.js"])
def test_files_need_no_login_and_are_kept_where_the_address_names_their_digest(api: Api, name: str) -> None:
    plain, named, of_another_version = (
        api.public.get(path) for path in (f"/static/{name}", address(name), f"/static/{name}?v=1")
    )

    assert plain.status_code == named.status_code == of_another_version.status_code == 200
    assert plain.headers["cache-control"] == of_another_version.headers["cache-control"] == "no-store"
    assert "immutable" in named.headers["cache-control"]


@pytest.mark.parametrize("path", ["../web/login.py", "%2e%2e/console.py", "..%2f..%2fconfig.py", "nothing.css", ""])
def test_no_other_file_is_to_be_had_under_static(api: Api, path: str) -> None:
    answer = api.public.get(f"/static/{path}", headers=BROWSER)

    assert answer.status_code in (401, 404, 405)
    assert "import" not in answer.text


def test_a_page_may_load_its_own_files_only(api: Api, operator: httpx.Client) -> None:
    page = operator.get("/overview")
    policy = page.headers["content-security-policy"]

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?! src=)|\sstyle=", page.text)


def test_a_person_sees_an_error_as_a_page_and_htmx_as_a_problem(api: Api, operator: httpx.Client) -> None:
    page, piece = operator.get("/tasks/4711"), operator.get("/tasks/4711", headers=HTMX)

    assert page.status_code == piece.status_code == 404
    assert "<h1>Nothing is here</h1>" in page.text
    assert piece.json()["detail"].startswith("No task has the id 4711")


def test_refusals_are_said_in_the_language_of_the_page_and_programs_get_them_as_they_are(
    api: Api, operator: httpx.Client
) -> None:
    with as_operator(api) as client:
        made(client, "report")
    chinese = HTMX | {"Accept-Language": "zh-CN"}
    refusals = [
        ("/tasks/4711/edit", {}, "没有编号为 4711 的任务"),
        ("/tasks/new", form(crontab="61 * * * *"), "Cron '61 * * * *'：这些段的值不正确"),
        ("/tasks/new", form(), "已有名为 'report' 的任务"),
        ("/tasks/new", form(name="n" * 201), "name：最多 200 个字符"),
        ("/users", {"name": "x"}, "此操作需要管理员角色"),
        ("/budgets", {"endpoint": "default", "amount": "0"}, "amount：应大于 0"),
    ]
    for path, given, said in refusals:
        answer = operator.post(path, data=given, headers=chinese)
        plain = operator.post(path, data=given, headers={"Accept-Language": "zh-CN"})

        assert answer.headers["content-type"] == plain.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"], answer.text
        assert plain.json()["detail"].isascii()
        assert [each["message"] for each in answer.json().get("errors", [])] in (
            [],
            answer.json()["detail"].split("；"),
        )
    assert "没有编号为 4711 的任务" in operator.get("/tasks/4711", headers={"Accept-Language": "zh-CN"}).text
    told = operator.post("/tasks/explain", data=form(kind="crontab", crontab=""), headers=chinese).text
    assert "没有计划：请填写" in told


def test_an_overviews_stream_ends_with_its_session(api: Api) -> None:
    assert api.public.get("/overview/events").status_code == 401
    with signed_in(api, "viewer") as viewer, viewer.stream("GET", "/overview/events") as stream:
        lines = stream.iter_lines()
        assert (stream.status_code, next(lines)) == (200, "event: change")
        assert next(lines).startswith("data: ")
        viewer.post("/logout").raise_for_status()
        begin = time.monotonic()

        rest = list(lines)

        assert "event: refused" in rest
        assert time.monotonic() - begin < 15  # five seconds, on a machine that has more to do


# -- roles and forgery --------------------------------------------------------------------------------


def test_a_viewer_sees_no_button_that_changes_anything_and_may_use_none(api: Api) -> None:
    with as_operator(api) as client:
        task = made(client)
    with signed_in(api, "viewer") as viewer:
        pages = viewer.get("/tasks").text + viewer.get(f"/tasks/{task['id']}").text + viewer.get("/overview").text
        posts = ["/tasks/bulk/ask", "/tasks/bulk/count", "/tasks/bulk", "/tasks/new", "/tasks/explain"]
        posts += [f"/tasks/{task['id']}/{action}" for action in ("pause", "resume", "run", "delete", "edit")]
        statuses = {
            path: viewer.post(path, data=form(action="pause", ids="1", reason="x")).status_code for path in posts
        }

    assert "hx-post" not in pages
    assert "data-pick" not in pages
    assert set(statuses.values()) == {403}, statuses
    assert rows(api)["report"]["enabled"] == 1


def test_no_form_is_taken_without_the_sessions_token(api: Api, operator: httpx.Client) -> None:
    forged = [{"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}]
    answers = [operator.post("/tasks/new", data=form(), headers=headers) for headers in forged]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert rows(api) == {}


def test_what_somebody_wrote_into_a_row_is_text_on_every_page(api: Api, operator: httpx.Client) -> None:
    config = WHAT | {"message": HOSTILE}
    with as_operator(api) as client:
        task = made(client, HOSTILE, owner=HOSTILE[:100], tags=HOSTILE, description=HOSTILE, task_extra_config=config)
    api.stack.sql("UPDATE periodic_task SET hint = :text, config_error = :text, pause_reason = :text", text=HOSTILE)
    now = api.now()
    api.add_runs(
        {
            "periodic_task_id": task["id"],
            "task_name": HOSTILE,
            "state": State.FAILURE,
            "error": HOSTILE,
            "ready_at": now,
        }
    )
    api.stack.sql("UPDATE periodic_task SET consecutive_failures = 3, enabled = 0")

    paths = [
        "/overview",
        "/tasks",
        f"/tasks/{task['id']}",
        f"/tasks/{task['id']}/edit",
        f"/tasks/new?copy={task['id']}",
    ]
    for path in paths:
        text = operator.get(path).text
        assert "onerror=alert" in text, path  # it is there …
        assert not re.search(r"<img|<script>|49'", text), path  # … and is text


# -- the overview -----------------------------------------------------------------------------------


def test_an_empty_installation_says_what_to_start_and_teaches(api: Api, operator: httpx.Client) -> None:
    overview, tasks = words_of(operator.get("/overview").text), words_of(operator.get("/tasks").text)

    assert "Start beat: python run_beat.py" in overview
    assert "Nothing runs yet" in overview
    assert "A task says when an agent" in tasks


def test_the_overview_names_what_is_wrong_before_anything_else(api: Api, operator: httpx.Client) -> None:
    api.sign_of_life()
    with as_operator(api) as client:
        for name in ("fails", "is late", "is paused", "is fine"):
            made(client, name)
    api.stack.insert("is broken", "{}", crontab="61 * * * *")
    ids = {name: row["id"] for name, row in rows(api).items()}
    now = api.now()
    for name in ("fails", "is fine"):
        api.arm(name, now + timedelta(hours=1))
    api.arm("is late", now - timedelta(minutes=5))
    api.stack.sql("UPDATE periodic_task SET consecutive_failures = 2 WHERE name = 'fails'")
    api.stack.sql("UPDATE periodic_task SET enabled = 0, pause_reason = 'new model' WHERE name = 'is paused'")
    api.stack.sql("UPDATE periodic_task SET armed_for = NULL WHERE name = 'is paused'")
    join = "schedule_fingerprint || ':' || checked_fingerprint"
    join = (
        join if api.stack.engine.dialect.name == "sqlite" else "CONCAT(schedule_fingerprint, ':', checked_fingerprint)"
    )
    api.stack.sql(f"UPDATE periodic_task SET armed_for = {join}, next_run_at = NULL WHERE name = 'is paused'")
    api.stack.sql(
        "UPDATE periodic_task SET config_error = 'wrong minute', rearm_at = '2030-01-01' WHERE name = 'is broken'"
    )
    failing = {"state": State.FAILURE, "error": "HTTP 429", "finished_at": now}
    asking = {"state": State.REQUIRES_ACTION, "finished_at": now}
    failed, asked = api.add_runs(
        {"periodic_task_id": ids["fails"], "task_name": "fails", **failing},
        {"periodic_task_id": ids["is fine"], "task_name": "is fine", **asking},
    )

    page = operator.get("/overview").text

    matters = page[page.index("o-matters") : page.index("o-next")]
    told = words_of(matters)
    assert re.search(
        "overdue is late.*broken is broken wrong minute.*failing fails HTTP 429.*asks is fine"
        ".*paused is paused new model",
        told,
    )
    assert f'href="/runs/{failed}"' in matters
    assert f'href="/runs/{asked}"' in matters
    assert f'href="/tasks/{ids["is broken"]}"' in matters
    assert "is late" in words_of(page[page.index("o-next") :])  # still the next to fire


def test_the_piece_that_is_fetched_anew_is_what_the_page_shows(api: Api, operator: httpx.Client) -> None:
    api.sign_of_life()
    page, piece = operator.get("/overview"), operator.get("/overview/live", headers=HTMX)

    assert piece.text.strip() in page.text or words_of(piece.text)[:200] in words_of(page.text)
    assert "<html" not in piece.text


def test_the_chart_counts_each_outcome_once(api: Api, operator: httpx.Client) -> None:
    wrong = {"state": State.FAILURE, "error": "no"}
    api.add_runs({}, {}, wrong, {"state": State.SKIPPED, "error": "overlap", "ready_at": None}, {"state": State.QUEUED})

    def counted() -> list[int]:
        found = re.search(r"data-values='([^']+)'", operator.get("/overview/live").text)
        assert found
        chart = json.loads(found[1].replace("&#34;", '"'))
        assert len(chart["times"]) == 48
        return [sum(count or 0 for count in series) for series in chart["series"]]

    api.stack.wait_for(lambda: counted() == [2, 1, 1, 1], "the chart")  # counts are remembered for some seconds


# -- tasks ------------------------------------------------------------------------------------------


def test_tasks_are_found_by_any_part_of_their_name_and_paged_by_key(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        for n in range(7):
            made(client, f"销售日报 {n}", owner="data" if n % 2 else "ops")

    first = operator.get("/tasks", params={"name_contains": "日报", "limit": 4, "owner": "", "enabled": ""}).text
    after = re.search(r"/tasks\?after=(\d+)", first)
    assert after
    more = operator.get(
        f"/tasks?after={after[1]}",
        params={"name_contains": "日报", "after": after[1]},
        headers=HTMX | {"HX-Target": "rows"},
    ).text

    shown = [re.findall(r'class="row clip"[^>]*>([^<]+)<', page) for page in (first, more)]
    assert shown == [[f"销售日报 {n}" for n in range(4)], [f"销售日报 {n}" for n in range(4, 7)]]
    assert "<thead" not in more
    assert "data-following" not in more


@pytest.mark.parametrize(
    "config",
    [
        {"task_type": "agent", "agent_id": "a1", "message": "x"},
        {"task_type": "workflow", "workflow_id": "w1", "inputs": {}},
        {"task_type": "http", "url": "https://example.com/hook", "method": "POST"},
        {"task_type": "celery", "task": "draft"},
        {"after": {"task": "report"}},
        {"after": "report", "task_type": 7, "agent_id": ["a"]},
        {"after": [1]},
        {},
        [],
        "no JSON {",
    ],
    ids=str,
)
def test_a_task_is_shown_whatever_its_configuration_holds(api: Api, operator: httpx.Client, config: Any) -> None:
    api.stack.insert("odd", config if isinstance(config, str) else json.dumps(config), description="长" * 20_000)
    task_id = rows(api)["odd"]["id"]

    paths = ["/tasks", f"/tasks/{task_id}", f"/tasks/{task_id}/live", f"/tasks/{task_id}/edit", "/overview"]
    assert {path: operator.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_a_filter_that_finds_nothing_says_so(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        made(client)

    assert "No task matches" in operator.get("/tasks", params={"name_contains": "nowhere"}).text


def test_the_form_explains_before_anything_is_saved(api: Api, operator: httpx.Client) -> None:
    good = operator.post("/tasks/explain", data=form(crontab="30 16 * * 1-5", timezone="Asia/Tokyo")).text
    odd = operator.post(
        "/tasks/explain", data=form(task_extra_config='{"task_type": "agent", "agent_id": "a", "mesage": "x"}')
    ).text
    wrong = operator.post("/tasks/explain", data=form(crontab="61 * * * *", jitter_seconds="soon")).text

    assert good.count(" 16:30:00</time>") == 10
    assert "Times of Asia/Tokyo" in good
    assert "It can be saved" in good
    assert "did you mean &#39;message&#39;" in odd
    assert odd.count(" 09:00:00</time>") == 10  # what is wrong elsewhere hides no fire
    assert "jitter_seconds is a whole number" in wrong
    assert operator.post("/tasks/explain", data=form(task_id="²")).status_code == 422
    assert rows(api) == {}


def test_a_task_is_made_changed_and_deleted_by_its_forms(api: Api, operator: httpx.Client) -> None:
    answer = operator.post("/tasks/new", data=form(name="销售日报", owner="data"))
    row = rows(api)["销售日报"]
    page = operator.get(f"/tasks/{row['id']}/edit").text
    etag = re.search(r'name="etag" value="([^"]*)"', page)
    assert etag
    columns = form(name="销售日报", kind="interval", interval_seconds="900", etag=etag[1].replace("&#34;", '"'))
    saved = operator.post(f"/tasks/{row['id']}/edit", data=columns)

    assert triggered(answer)["text"] == "Created."
    assert answer.headers["HX-Redirect"] == f"/tasks/{row['id']}"
    assert row["create_by"] == "the operator"
    assert triggered(saved)["text"] == "Saved."
    changed = rows(api)["销售日报"]
    assert (changed["crontab"], changed["interval_seconds"], changed["owner"]) == (None, 900, None)
    assert triggered(operator.post(f"/tasks/{row['id']}/delete"))["text"].startswith("Deleted.")
    assert rows(api) == {}
    assert [entry["via"] for entry in audit(api, kind="task")] == ["session"] * 3


def test_what_a_form_refuses_names_the_field(api: Api, operator: httpx.Client) -> None:
    answer = operator.post("/tasks/new", data=form(crontab="61 * * * *"))

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["crontab"]
    assert rows(api) == {}


def test_an_edit_over_somebody_elses_is_shown_and_not_made_until_it_is_meant(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        task = made(client)
    path = f"/tasks/{task['id']}/edit"
    seen = re.search(r'name="etag" value="([^"]*)"', operator.get(path).text)
    assert seen
    with as_admin(api) as other:
        other.patch(f"/api/v2/tasks/{task['id']}", json={"crontab": "5 5 * * *"}).raise_for_status()

    mine = form(crontab="7 7 * * *")
    shown = operator.post(path, data=mine | {"etag": seen[1].replace("&#34;", '"')})

    assert shown.headers["HX-Retarget"] == "#conflict"
    assert "API_TOKENS entry 3 has edited this task meanwhile" in shown.text
    assert "5 5 * * *" in shown.text
    assert "7 7 * * *" in shown.text
    assert rows(api)["report"]["crontab"] == "5 5 * * *"
    newer = re.search(r'data-keep="([^"]*)"', shown.text)
    assert newer
    assert operator.post(path, data=mine | {"etag": newer[1].replace("&#34;", '"')}).status_code == 204
    assert rows(api)["report"]["crontab"] == "7 7 * * *"


def test_a_secret_is_not_shown_and_stays_where_the_form_sends_its_mask_back(api: Api, operator: httpx.Client) -> None:
    config = {"task_type": "celery", "task": "draft", "kwargs": {"api_key": "s3cret-s3cret"}}
    with as_operator(api) as client:
        task = made(client, task_extra_config=config)
    page = operator.get(f"/tasks/{task['id']}/edit").text
    masked = json.dumps(config | {"kwargs": {"api_key": "***"}})
    assert operator.post(f"/tasks/{task['id']}/edit", data=form(task_extra_config=masked)).status_code == 204

    assert "s3cret" not in page + operator.get(f"/tasks/{task['id']}").text
    assert "s3cret-s3cret" in rows(api)["report"]["task_extra_config"]


def test_a_pause_needs_a_reason_and_is_undone_from_its_toast(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        task = made(client)
    without = operator.post(f"/tasks/{task['id']}/pause", data={"reason": " "})
    paused = triggered(operator.post(f"/tasks/{task['id']}/pause", data={"reason": "新模型"}))

    assert without.status_code == 422
    assert (rows(api)["report"]["enabled"], rows(api)["report"]["pause_reason"]) == (0, "新模型")
    assert "新模型" in operator.get(f"/tasks/{task['id']}").text
    assert operator.post(paused["undo"]).status_code == 204
    assert rows(api)["report"]["enabled"] == 1


def test_a_run_is_made_with_the_message_of_its_dialog(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        task = made(client)
    triggered(operator.post(f"/tasks/{task['id']}/run", data={"message": "only today", "note": "for Li"}))

    ((config,),) = api.stack.sql("SELECT config FROM task_run")
    assert json.loads(config)["message"] == "only today"
    assert audit(api, kind="task")[0]["note"] == "for Li"


# -- many tasks -------------------------------------------------------------------------------------


def test_many_are_counted_paused_and_given_back_exactly(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        for n in range(5):
            made(client, f"report {n}")
        made(client, "other")
    before = rows(api)
    picked = {"action": "pause", "all": "true", "name_contains": "report"}

    counted = words_of(operator.post("/tasks/bulk/count", data=picked).text)
    assert "5 tasks would change." in counted
    assert rows(api) == before
    assert operator.post("/tasks/bulk", data=picked).status_code == 422  # why?
    told = triggered(operator.post("/tasks/bulk", data=picked | {"reason": "new model"}))

    assert told["text"] == "5 tasks paused."
    assert {name for name, row in rows(api).items() if not row["enabled"]} == {f"report {n}" for n in range(5)}
    assert triggered(operator.post(told["undo"]))["text"] == "Undone: 5 tasks are as they were."
    columns = ("enabled", "pause_reason", "crontab", "task_extra_config")
    assert [[row[c] for c in columns] for row in rows(api).values()] == [
        [row[c] for c in columns] for row in before.values()
    ]


def test_picked_tasks_are_edited_and_those_that_an_edit_would_break_are_named(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        ids = [made(client, f"report {n}")["id"] for n in range(2)]
    picked = {"action": "edit", "ids": ",".join(map(str, ids)), "new_owner": "研发", "priority": "9"}

    assert triggered(operator.post("/tasks/bulk", data=picked))["text"] == "2 tasks changed."
    assert {(row["owner"], json.loads(row["task_extra_config"])["priority"]) for row in rows(api).values()} == {
        ("研发", 9)
    }
    counted = operator.post("/tasks/bulk/count", data=picked | {"priority": "99"}).text
    assert "2 are left alone" in counted
    assert "report 0: priority is 99" in counted


def test_picked_tasks_are_run_and_one_that_cannot_holds_no_other_up(api: Api, operator: httpx.Client) -> None:
    with as_operator(api) as client:
        ids = [made(client, f"report {n}")["id"] for n in range(2)]
    told = triggered(operator.post("/tasks/bulk", data={"action": "run", "ids": f"{ids[0]},4711,{ids[1]}"}))

    assert told["text"].startswith("2 runs made. 1 not: 4711: No task has the id 4711")
    assert api.stack.count("SELECT count(*) FROM task_run WHERE origin = 'api'") == 2


@pytest.mark.parametrize(
    "data",
    [
        {"action": "pause", "reason": "x"},
        {"action": "explode", "ids": "1"},
        {"action": "pause", "ids": "1;2", "reason": "x"},
        {"action": "run", "ids": ",".join(str(n) for n in range(1, 300))},
        {"action": "edit", "ids": "1", "priority": "high"},
        {"action": "edit", "ids": "1", "new_owner": "x" * 101},
        {"action": "edit", "all": "true", "state": "no state", "priority": "1"},
        {"action": "pause", "ids": "0", "reason": "x"},
        {"action": "pause", "ids": "9" * 5000, "reason": "x"},
        {"action": "run", "ids": "9" * 40},
    ],
)
def test_a_bulk_form_that_makes_no_sense_changes_nothing(
    api: Api, operator: httpx.Client, data: dict[str, str]
) -> None:
    with as_operator(api) as client:
        made(client)
    before = rows(api)

    assert operator.post("/tasks/bulk", data=data).status_code == 422
    assert rows(api) == before
