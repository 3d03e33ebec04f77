"""`python -m api` as its users meet it: a real process, over MariaDB and SQLite, and a real broker."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from core.lifecycle import State
from store import migrate, overview, run_search, tasks
from store.database import autocommit, connect
from store.run_search import Wanted
from store.runs import Sendable
from store.tasks import Selection
from tests.acceptance.api_process import (
    ADMIN,
    AGENT_KEY,
    NOWHERE,
    OPERATOR,
    TOKENS,
    VIEWER,
    Api,
    bearer,
    prepared,
    served,
)
from tests.conftest import DATABASES
from tests.services import MariaDBServer, ValkeyServer, free_port
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TABLES = ("task_run", "periodic_task", "worker_lease", "beat_heartbeat")


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


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Start an API of the test's own, on servers that it may stop."""
    made: list[Api] = []

    def start(url: str = "", broker_url: str = NOWHERE, **settings: str) -> Api:
        made.append(Api(prepared(url or f"sqlite:///{tmp_path}/s.db", broker_url, tmp_path), broker_url, **settings))
        return made[-1]

    yield start
    for running in made:
        running.close()


# -- starting ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    status: int
    said: str


def refusal(folder: Path, *, migrated: bool = True, **settings: str) -> Refusal:
    """Start the API with settings it must refuse."""
    stack = Stack(f"sqlite:///{folder}/s.db", NOWHERE, folder)
    if migrated:
        migrate.upgrade(stack.engine)
    stack.environment |= {"API_TOKENS": TOKENS, "API_PORT": str(free_port()), **settings}
    try:
        status = stack.start("api", "-m", "api").wait(30)
    finally:
        stack.close()
    return Refusal(status, (folder / "api.out").read_text())


@pytest.mark.parametrize(
    ("tokens", "position", "why"),
    [
        ("good-one:viewer,hush-hush", 2, "no role"),
        ("hush-hush:root", 1, "unknown role"),
        ("good-one:viewer, :admin", 2, "needs a token"),
        ("hush hush:admin", 1, "needs a token"),
        ("good-one:viewer,hush-hush:admin,hush-hush:viewer", 3, "repeats the token"),
    ],
)
def test_a_wrong_entry_of_api_tokens_stops_the_start_and_shows_its_position_only(
    tmp_path: Path, tokens: str, position: int, why: str
) -> None:
    refused = refusal(tmp_path, API_TOKENS=tokens)

    assert refused.status == 2
    assert f"API_TOKENS: entry {position} " in refused.said
    assert why in refused.said
    assert "hush" not in refused.said
    assert len(refused.said.splitlines()) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_does_not_listen_beyond_this_machine_without_tokens(tmp_path: Path, host: str) -> None:
    refused = refusal(tmp_path, API_HOST=host, API_TOKENS="")

    assert refused.status == 2
    assert f"API_HOST={host}" in refused.said
    assert "API_TOKENS is empty" in refused.said


def test_it_does_not_start_on_a_database_without_its_schema(tmp_path: Path) -> None:
    refused = refusal(tmp_path, migrated=False)

    assert refused.status == 2
    assert "run: make migrate" in refused.said


def test_a_port_that_is_taken_is_named(tmp_path: Path, valkey: ValkeyServer) -> None:
    refused = refusal(tmp_path, API_PORT=str(valkey.port))

    assert refused.status == 2
    assert f"API_PORT={valkey.port}" in refused.said
    assert len(refused.said.splitlines()) == 1


def test_it_starts_without_a_broker_and_without_tokens_and_then_answers_probes_only(
    alone: Callable[..., Api],
) -> None:
    api = alone(API_TOKENS="")

    assert api.public.get("/").status_code == 200
    refused = api.viewer.get("/api/v2/runs")
    assert refused.status_code == 401
    assert "API_TOKENS is empty" in refused.json()["detail"]


def test_with_tokens_it_listens_where_api_host_says(alone: Callable[..., Api]) -> None:
    api = alone(API_HOST="0.0.0.0")

    assert api.viewer.get("/api/v2/runs").status_code == 200


def test_another_asgi_server_can_run_it_and_it_keeps_its_own_log(tmp_path: Path) -> None:
    stack, port = prepared(f"sqlite:///{tmp_path}/s.db", NOWHERE, tmp_path), free_port()
    try:
        stack.start("uvicorn", "-m", "uvicorn", "api.app:app", "--port", str(port))
        stack.wait_for(lambda: "startup complete" in (tmp_path / "uvicorn.out").read_text(), "uvicorn")
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    finally:
        stack.close()
    assert any("API_TOKENS is empty" in log.read_text() for log in (tmp_path / "logs").iterdir())


def test_a_stop_signal_ends_it_at_once_and_in_order(alone: Callable[..., Api]) -> None:
    api = alone()

    api.process.send_signal(signal.SIGTERM)

    assert api.process.wait(10) == 0


# -- tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api/v2/runs", "/api/v2/runs/x", "/api/v2/tasks", "/openapi.json", "/docs", "/nothing", "//metrics", "/metrics/"],
)
def test_without_a_token_nothing_but_the_probes_and_the_page_answers(api: Api, path: str) -> None:
    answer = api.public.request("GET", f"http://127.0.0.1:{api.port}{path}")

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert "API_TOKENS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {VIEWER}x",
        f"Bearer {VIEWER[:-1]}",
        f"Bearer {VIEWER}:viewer",
        "Bearer",
        "Bearer viewer",
        f"Basic {VIEWER}",
        VIEWER,
        "Bearer \xff",
    ],
)
def test_a_header_that_is_not_quite_a_token_is_refused(api: Api, header: str) -> None:
    headers = {b"Authorization": header.encode("latin-1")}
    assert api.public.get("/api/v2/runs", headers=headers).status_code == 401


@pytest.mark.parametrize("token", [VIEWER, OPERATOR, ADMIN])
def test_every_role_may_read(api: Api, token: str) -> None:
    for path in ("/api/v2/runs", "/api/v2/tasks"):
        assert api.public.get(path, headers=bearer(token)).status_code == 200


def test_the_api_describes_itself_without_the_internet(api: Api) -> None:
    document = api.viewer.get("/openapi.json").json()

    assert {"/api/v2/runs", "/api/v2/runs/{run_id}", "/api/v2/tasks", "/health/ready"} <= set(document["paths"])
    assert document["paths"]["/api/v2/runs"]["get"]["security"]


def test_no_token_reaches_the_log(api: Api) -> None:
    api.viewer.get("/api/v2/runs?limit=wrong")
    api.public.get("/api/v2/runs", headers=bearer("somebody-elses-token-1"))

    said = "".join(file.read_text() for file in [*api.stack.folder.rglob("*.log"), *api.stack.folder.rglob("*.out")])
    assert "the API listens on" in said
    for token in (VIEWER, OPERATOR, ADMIN, "somebody-elses-token-1"):
        assert token not in said


# -- health -----------------------------------------------------------------------------------------


def test_it_is_ready_when_everything_is_there(api: Api) -> None:
    api.sign_of_life()

    status, checks = api.readiness()

    assert status == 200
    assert [check["state"] for check in checks.values()] == ["ok"] * 8


def test_each_check_that_fails_says_what_to_do(api: Api) -> None:
    status, checks = api.readiness()

    assert status == 503
    assert {name for name, check in checks.items() if check["state"] != "ok"} == {"beat", "worker"}
    assert "run_beat.py" in checks["beat"]["mend"]
    assert "run_worker.py" in checks["worker"]["mend"]


@pytest.mark.parametrize(("ticked", "failing"), [(8.0, set()), (13.0, {"beat"})])  # 3 x 0.5 s + 10 s
def test_a_beat_counts_while_its_last_tick_is_young(api: Api, ticked: float, failing: set[str]) -> None:
    api.sign_of_life(ticked=timedelta(seconds=ticked))

    assert api.failing() == failing


def test_a_worker_counts_while_its_lease_runs(api: Api) -> None:
    api.sign_of_life(lease=timedelta(seconds=-1))

    assert api.failing() == {"worker"}


@pytest.mark.parametrize(
    ("revision", "answer", "state", "signs"),
    [("0001", 503, "failed", "unknown"), ("9999", 200, "degraded", "ok")],  # an older one, a later version's
)
def test_a_schema_of_another_version_is_named(api: Api, revision: str, answer: int, state: str, signs: str) -> None:
    api.sign_of_life()
    (before,) = api.stack.sql("SELECT version_num FROM alembic_version")
    api.stack.sql("UPDATE alembic_version SET version_num = :revision", revision=revision)
    try:
        status, checks = api.readiness()
    finally:
        api.stack.sql("UPDATE alembic_version SET version_num = :before", before=before[0])

    assert status == answer
    assert checks["schema"]["state"] == state
    assert revision in checks["schema"]["detail"]
    assert checks["beat"]["state"] == checks["worker"]["state"] == signs


def test_readiness_and_metrics_follow_a_broker_down_and_up_again(alone: Callable[..., Api]) -> None:
    with ValkeyServer() as broker:
        api = alone(broker_url=broker.url)
        api.sign_of_life()
        assert api.readiness()[0] == 200

        broker.kill()
        assert api.failing() == {"broker"}
        assert api.is_live()
        assert api.metrics()["scheduler_broker_up"] == 0

        broker.start()
        assert api.readiness()[0] == 200
        assert api.metrics()["scheduler_broker_up"] == 1


def test_a_database_that_died_is_told_by_every_answer_until_it_is_back(alone: Callable[..., Api]) -> None:
    with MariaDBServer() as server:
        api = alone(server.create_database("api"))
        assert "database" not in api.failing()

        server.kill()
        assert "database" in api.failing()
        assert api.metrics()["scheduler_database_up"] == 0
        refused = api.viewer.get("/api/v2/runs")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert str(server.port) not in refused.text

        server.start()
        assert "database" not in api.failing()
        assert api.viewer.get("/api/v2/runs").status_code == 200


def test_a_frozen_database_and_a_frozen_broker_delay_no_probe_for_long(alone: Callable[..., Api]) -> None:
    with MariaDBServer() as server, ValkeyServer() as broker:
        api = alone(server.create_database("api"), broker.url)
        server.freeze()
        broker.freeze()
        try:
            answers = [api.public.get("/health/ready") for _ in range(2)]
            live = api.public.get("/health/live")
        finally:
            server.thaw()
            broker.thaw()

        assert max(answer.elapsed.total_seconds() for answer in answers) < 7
        assert {answer.status_code for answer in answers} == {503}
        assert live.elapsed.total_seconds() < 4
        api.stack.wait_for(lambda: not api.failing() & {"database", "broker"}, "the API to find both again")


# -- metrics ----------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_ledger(api: Api) -> None:
    now = api.now()
    ago = {"ready_at": now - timedelta(seconds=100)}
    started: dict[str, Any] = {"state": State.STARTED, "worker": "w1", "deadline_at": now}
    waiting: dict[str, Any] = {"state": State.PENDING}
    api.add_runs(waiting, {**waiting, **ago}, waiting, {**waiting, "ready_at": None}, {}, started, started)
    api.add_task("edited", crontab="* * * * *", next_run_at=now - timedelta(seconds=500))
    api.add_task("due", crontab="* * * * *")
    api.arm("due", now - timedelta(seconds=50))
    api.add_task("later", crontab="* * * * *")
    api.arm("later", now + timedelta(seconds=50))
    api.add_task("broken", crontab="bad", config_error="crontab: bad", rearm_at=now)
    api.sign_of_life(ticked=timedelta(seconds=5))

    figures = api.metrics()

    exact = {
        "database_up": 1,
        "broker_up": 1,
        "runs:PENDING": 4,
        "runs:QUEUED": 0,
        "runs:RETRY": 0,
        "runs:STARTED": 2,
        "tasks_due": 1,
        "tasks_unarmed": 2,
        "tasks_broken": 1,
        "beats": 1,
        "workers": 1,
        "worker_slots": 7,
    }
    assert {name: figures[f"scheduler_{name}"] for name in exact} == exact
    assert figures["scheduler_runs_oldest_age_seconds:PENDING"] == pytest.approx(100, abs=20)
    assert figures["scheduler_tasks_due_oldest_age_seconds"] == pytest.approx(50, abs=20)
    assert 5 <= figures["scheduler_beat_last_tick_age_seconds"] < 25


def test_the_depth_and_the_age_of_each_queue_are_told(api: Api) -> None:
    queued: dict[str, Any] = {"state": State.QUEUED, "ready_at": api.now() - timedelta(seconds=300)}
    ids = api.add_runs(*[queued] * 3, {**queued, "queue": "system"})
    low = [
        Sendable(run_id, "priority_low", priority, 0, "agent")
        for run_id, priority in zip(ids[:3], (5, 5, 9), strict=True)
    ]
    api.put_on_broker(*low, Sendable(ids[3], "system", 5, 0, "agent"))

    figures = api.metrics()

    depths = {name: figures[f"scheduler_queue_messages:{name}"] for name in ("system", "priority_low", "celery")}
    assert depths == {"system": 1, "priority_low": 3, "celery": 0}
    assert figures["scheduler_queue_oldest_age_seconds:priority_low"] == pytest.approx(300, abs=20)
    assert figures["scheduler_queue_oldest_age_seconds:system"] == pytest.approx(300, abs=20)


def test_a_foreign_message_on_a_queue_breaks_no_figure(api: Api, valkey: ValkeyServer) -> None:
    with valkey.client() as client:
        client.lpush("priority_low", "no json", '{"headers": {"id": "中文"}}')

    assert api.metrics()["scheduler_queue_messages:priority_low"] == 2


def test_no_figure_is_kept_for_a_single_task(api: Api) -> None:
    before = set(api.metrics())
    for number in range(20):
        api.add_task(f"task {number}", crontab="* * * * *")

    assert set(api.metrics()) == before


# -- runs and tasks ---------------------------------------------------------------------------------


def pages(api: Api, path: str) -> list[list[dict[str, Any]]]:
    """Follow `next` to the last page."""
    found = []
    following: str | None = path
    while following:
        answer = api.viewer.get(following).raise_for_status().json()
        found.append(answer["items"])
        following = answer["next"]
    return found


def test_runs_come_newest_first_page_by_page_none_twice_and_none_missing(api: Api) -> None:
    ids = api.add_runs(*[{}] * 25)

    found = pages(api, "/api/v2/runs?limit=10")

    assert [len(page) for page in found] == [10, 10, 5]
    assert [run["id"] for page in found for run in page] == ids[::-1]


def test_runs_that_come_in_meanwhile_move_no_page(api: Api) -> None:
    ids = api.add_runs(*[{}] * 4)
    first = api.viewer.get("/api/v2/runs?limit=2").json()
    api.add_runs(*[{}] * 3)

    second = api.viewer.get(first["next"]).json()

    assert [run["id"] for run in second["items"]] == ids[1::-1]
    assert second["next"] is None


def test_an_answer_does_not_wait_for_the_network_to_gather_more(api: Api) -> None:
    api.add_runs(*[{}] * 10)

    took = sorted(api.viewer.get("/api/v2/runs").elapsed for _ in range(60))

    assert took[20] < timedelta(milliseconds=35)  # Nagle's algorithm and a delayed ACK make it 40 and more


def test_a_run_is_shown_whole_its_times_in_utc(api: Api) -> None:
    (run_id,) = api.add_runs({"result": "完成 " * 1000, "result_data": '{"n": [1, 2.5]}', "input_tokens": 12})

    run = api.viewer.get(f"/api/v2/runs/{run_id}").json()

    assert (run["task_name"], run["state"], run["input_tokens"]) == ("每日报告", "SUCCESS", 12)
    assert run["result"] == "完成 " * 1000
    assert run["result_data"] == {"n": [1, 2.5]}
    assert run["config"]["message"] == "hello"
    assert run["scheduled_for"].endswith("Z")
    assert "result" not in api.viewer.get("/api/v2/runs").json()["items"][0]


def test_a_run_shows_no_secret(api: Api) -> None:
    config = {
        "task_type": "http",
        "url": "https://user:url-secret@example.com/x?key=query-secret",
        "headers": {"Authorization": "Bearer header-secret", "X-Anything": "other-secret", "Accept": "text/csv"},
        "body": {"password": "body-secret", "max_tokens": 100},
    }
    error = f"HTTP 401 for https://user:url-secret@example.com; api_key=query-secret; sent {AGENT_KEY}"
    (run_id,) = api.add_runs(
        {"config": json.dumps(config), "state": State.FAILURE, "error": error, "result": f"you sent {AGENT_KEY}"}
    )

    answers = [api.viewer.get(path).text for path in (f"/api/v2/runs/{run_id}", "/api/v2/runs")]

    for secret in ("url-secret", "query-secret", "header-secret", "other-secret", "body-secret", AGENT_KEY):
        assert not any(secret in answer for answer in answers), secret
    shown = json.loads(answers[0])["config"]
    assert shown["headers"]["Accept"] == "text/csv"
    assert shown["body"]["max_tokens"] == 100


def test_an_answer_is_not_touched_where_it_only_speaks_of_secrets(api: Api) -> None:
    answer = 'password = "hunter2"; Authorization: Bearer abc; https://u:p@host/'
    (run_id,) = api.add_runs({"result": answer})

    assert api.viewer.get(f"/api/v2/runs/{run_id}").json()["result"] == answer


def test_a_run_that_is_not_there_is_a_problem_that_says_so(api: Api) -> None:
    answer = api.viewer.get("/api/v2/runs/0195-nobody")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "0195-nobody" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("runs?limit=0", "limit"),
        ("runs?limit=201", "limit"),
        ("runs?before=%E4%B8%AD", "before"),
        ("runs?limt=5", "limt"),
        ("runs/%E4%B8%AD", "run_id"),
        ("tasks?after=-1", "after"),
        ("tasks?after=99999999999999999999", "after"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, query: str, parameter: str) -> None:
    answer = api.viewer.get(f"/api/v2/{query}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["parameter"] == parameter


def test_tasks_come_by_id_page_by_page(api: Api) -> None:
    for number in range(5):
        api.add_task(f"任务 {number}", crontab="0 9 * * *")

    found = pages(api, "/api/v2/tasks?limit=2")

    assert [[task["name"][-1] for task in page] for page in found] == [["0", "1"], ["2", "3"], ["4"]]
    assert found[0][0]["enabled"] is True
    assert found[0][0]["task_extra_config"]["agent_id"] == "a1"


@pytest.mark.parametrize(
    "config", ["{broken", "[1]", '{"n": NaN}', '{"n": 1e999}', '{"n": "\\ud800"}', "[" * 500 + "]" * 500, None]
)
def test_a_row_with_any_config_is_shown(api: Api, config: str | None) -> None:
    api.add_task("odd", task_extra_config=config)

    (task,) = api.viewer.get("/api/v2/tasks").raise_for_status().json()["items"]

    assert task["name"] == "odd"


def test_a_row_that_no_server_but_sqlite_would_keep_is_shown(alone: Callable[..., Api]) -> None:
    api = alone()
    api.stack.sql("INSERT INTO periodic_task (name, interval_seconds, run_at) VALUES ('odd', 'soon', 'tomorrow')")

    (task,) = api.viewer.get("/api/v2/tasks").raise_for_status().json()["items"]

    assert (task["interval_seconds"], task["run_at"]) == ("soon", "tomorrow")


# -- the page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "words"),
    [("en-US,en;q=0.9", ("Workers", "run_worker.py", "A token")), ("zh-CN,zh", ("工作进程", "run_worker.py", "令牌"))],
)
def test_the_login_page_speaks_the_readers_language_and_loads_nothing_foreign(
    api: Api, language: str, words: tuple[str, ...]
) -> None:
    page = api.public.get("/", headers={"Accept-Language": language, "Host": 'evil"><script>.example'})

    assert page.status_code == 200
    assert all(word in page.text for word in words)
    assert not re.search(r"<script(?! src=)", page.text)
    assert not re.search(r"""(?:src|href)=["'](?!\?lang=|/static/)""", page.text)


# -- the whole, and its cost ------------------------------------------------------------------------


def test_a_row_set_to_run_now_shows_up_as_a_finished_run(alone: Callable[..., Api], valkey: ValkeyServer) -> None:
    with valkey.client() as client:
        client.flushall()
    port = free_port()
    api = alone(broker_url=valkey.url, HTTP_ALLOWED_HOSTS=f"127.0.0.1:{port}", API_PORT=str(port))
    api.stack.beat()
    api.stack.worker()
    config = {"task_type": "http", "method": "GET", "url": f"http://127.0.0.1:{port}/health/live"}
    api.add_task("ask the API itself", crontab="0 0 1 1 *", task_extra_config=json.dumps(config), run_now=1)

    api.stack.wait_for(lambda: api.readiness()[0] == 200, "beat and worker to be seen")
    api.stack.wait_for(
        lambda: [run["state"] for run in api.viewer.get("/api/v2/runs").json()["items"]] == ["SUCCESS"], "the run"
    )


def test_no_question_of_the_api_reads_a_whole_table(mariadb: MariaDBServer) -> None:
    engine = connect(mariadb.create_database("api_plans"))
    migrate.upgrade(engine)
    statements: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    with autocommit(engine) as connection:
        for statement in (
            "INSERT INTO task_run (id, task_name, origin, scheduled_for, ready_at, state, queue, config) "
            "SELECT UUID(), 'x', 'schedule', NOW(6), NOW(6), 'SUCCESS', 'celery', '{}' FROM seq_1_to_20000",
            "INSERT INTO periodic_task (name, task_extra_config) SELECT seq, '{}' FROM seq_1_to_20000",
            "UPDATE periodic_task SET armed_for = CONCAT(schedule_fingerprint, ':', checked_fingerprint), "
            "next_run_at = NOW(6) + INTERVAL 1 DAY WHERE id > 10",
            "ANALYZE TABLE task_run, periodic_task",
        ):
            connection.exec_driver_sql(statement)
        statements.clear()
        overview.signs_of_life(connection)
        overview.figures(connection, heads=["a", "b"], beat_age=timedelta(seconds=10))
        run_search.search(connection, Wanted(), None, 51)
        run_search.search(connection, Wanted(), "8", 51)
        overview.run_detail(connection, "8")
        tasks.page(connection, Selection(), 10_000, 51)
        tasks.page(connection, Selection(owner="nobody"), 0, 51)
        tasks.page(connection, Selection(name_prefix="1999"), 0, 51)
        asked = list(statements)
        plans = [
            step for statement in asked for step in connection.exec_driver_sql(f"EXPLAIN {statement[0]}", statement[1])
        ]
        reads = "SHOW SESSION STATUS LIKE 'Handler_read_%%'"
        before = sum(int(row[1]) for row in connection.exec_driver_sql(reads))
        overview.figures(connection, heads=["a", "b"], beat_age=timedelta(seconds=10))
        run_search.search(connection, Wanted(), "8", 51)
        tasks.page(connection, Selection(owner="nobody"), 0, 51)
        tasks.page(connection, Selection(), 10_000, 51)
        read = sum(int(row[1]) for row in connection.exec_driver_sql(reads)) - before
    engine.dispose()

    big = [step for step in plans if step.table in ("task_run", "periodic_task")]
    assert len(big) > 10
    assert [step for step in big if step.type == "ALL" or not step.key] == []
    assert read < 500
