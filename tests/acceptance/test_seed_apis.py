"""The APIs and the Python client of the systems this one stands in for: every line of their documents, with a token.

One API, one beat and one worker over MariaDB and Valkey; the tasks are those of `seed_pack.py`.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from api import seed_figures
from api.seed_answers import CUT
from core.lifecycle import State
from store.seed_figures import TaskFigures
from tests.acceptance.api_process import ADMIN, OPERATOR, VIEWER, Api, bearer, prepared
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import ROOT, agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUEUES = "ai_high_priority,knowledge_default,notification_default,default,data,analysis,maintenance"
PACK = "tests.acceptance.seed_pack"
PATIENCE = 60.0
JSON = "application/json"
ANSWER = {"conversation_id": "conv_123", "response": "你好！", "user_id": None}


@pytest.fixture(scope="module")
def api(mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with valkey.client() as client:
        client.flushall()
    url = mariadb.create_database("seed_apis")
    stack = prepared(url, valkey.url, tmp_path_factory.mktemp("seeds"))
    running = Api(stack, valkey.url, TASK_MODULES=PACK, TASK_QUEUES=QUEUES)
    try:
        stack.start("agent", "-m", "tests.recording_agent", str(stack.agent_port), str(stack.agent_log))
        stack.beat()
        stack.worker("--name", "seed")
        yield running
    finally:
        running.close()
        mariadb.drop_database("seed_apis")


def call(api: Api, method: str, path: str, token: str = OPERATOR, **body: Any) -> Any:
    answer = api.public.request(method, path, headers=bearer(token), json=body or None)
    return answer.raise_for_status().json()


def curl(api: Api, line: str, token: str = OPERATOR) -> Any:
    """Run a line of a document as it stands there, but for the port and the token header."""
    here = f"http://127.0.0.1:{api.port}"
    for there in ("http://localhost:8003", "http://localhost:8000"):
        line = line.replace(there, here)
    command = [*shlex.split(line.replace("\\\n", " ")), "--silent", "--fail-with-body", "--max-time", "30"]
    done = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {token}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return json.loads(done.stdout)


def python(api: Api, text: str) -> str:
    """Run a client's program in a process of its own, with the settings of the others; return what it prints."""
    imports = f"from {PACK} import generate_ai_response\nfrom tasks import celery_app\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + text],
        cwd=ROOT,
        env=api.stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def row(api: Api, run_id: str) -> Any:
    ((*values,),) = api.stack.sql(
        "SELECT state, queue, priority, origin, config, task_name, TIMESTAMPDIFF(SECOND, scheduled_for, ready_at) "
        "FROM task_run WHERE id = :id",
        id=run_id,
    )
    return dict(zip(("state", "queue", "priority", "origin", "config", "task", "delay"), values, strict=True))


def ends_as(api: Api, run_id: str, state: State) -> None:
    api.stack.wait_for(lambda: row(api, run_id)["state"] == state, f"{run_id} to be {state}", PATIENCE)


# -- trading-tasks: /api/tasks/* --------------------------------------------------------------------

TRADING_READS = [
    "curl http://localhost:8003/api/tasks/status",
    "curl http://localhost:8003/api/tasks/scheduled",
    "curl http://localhost:8003/api/tasks/history",
    "curl http://localhost:8003/api/tasks/metrics",
]
TRADING_POSTS = {
    "tests.data_tasks.sync_daily_stock_data": (
        """curl -X POST http://localhost:8003/api/tasks/data/sync-daily \\
  -H "Content-Type: application/json" \\
  -d '{"symbols": ["000858", "600519"], "date": "2025-01-20"}'""",
        {"symbols": ["000858", "600519"], "date": "2025-01-20"},
    ),
    "tests.analysis_tasks.batch_stock_analysis": (
        """curl -X POST http://localhost:8003/api/tasks/analysis/batch \\
  -H "Content-Type: application/json" \\
  -d '{
    "symbols": ["000858", "600519"],
    "config": {
      "llm_provider": "dashscope",
      "research_depth": 3
    }
  }'""",
        {"symbols": ["000858", "600519"], "config": {"llm_provider": "dashscope", "research_depth": 3}},
    ),
    "tests.report_tasks.generate_daily_market_report": (
        """curl -X POST http://localhost:8003/api/tasks/reports/daily \\
  -H "Content-Type: application/json" \\
  -d '{"date": "2025-01-20"}'""",
        {"date": "2025-01-20"},
    ),
    "tests.maintenance_tasks.cleanup_old_data": (
        """curl -X POST http://localhost:8003/api/tasks/maintenance/cleanup \\
  -H "Content-Type: application/json" -d '{"days_to_keep": 30}'""",
        {"days": 30},
    ),
}


@pytest.mark.parametrize("line", TRADING_READS)
def test_every_reading_line_of_the_trading_api_answers(api: Api, line: str) -> None:
    answer = curl(api, line, VIEWER)

    assert answer["success"] is True
    assert answer["data"]


@pytest.mark.parametrize("task", TRADING_POSTS)
def test_every_posting_line_of_the_trading_api_runs_its_task(api: Api, task: str) -> None:
    line, expected = TRADING_POSTS[task]

    run_id = curl(api, line)["data"]["task_id"]

    assert row(api, run_id)["task"] == task
    ends_as(api, run_id, State.SUCCESS)
    told = curl(api, f"curl http://localhost:8003/api/tasks/{run_id}/result", VIEWER)["data"]
    assert (told["task_id"], told["status"], told["result"], told["traceback"]) == (run_id, "SUCCESS", expected, None)
    assert datetime.fromisoformat(told["date_done"])


def test_the_status_is_what_the_workers_say(api: Api) -> None:
    data = call(api, "GET", "/api/tasks/status", VIEWER)["data"]

    (name,) = data["registered_tasks"]
    assert name.startswith("seed-")
    assert "tests.ai_tasks.generate_ai_response" in data["registered_tasks"][name]
    assert data["worker_stats"][name]["pid"]


def test_the_schedule_is_what_stands_in_periodic_task(api: Api) -> None:
    celery = {"task_type": "celery", "task": "tests.plain", "args": [1], "queue": "data"}
    api.add_task("nightly", crontab="30 16 * * *", task_extra_config=json.dumps(celery))
    api.add_task("paused", interval_seconds=60, enabled=0)

    data = call(api, "GET", "/api/tasks/scheduled", VIEWER)["data"]

    shown = {each["name"]: each for each in data["scheduled_tasks"]}
    assert data["total_count"] == len(shown) == 2
    assert (shown["nightly"]["task"], shown["nightly"]["schedule"]) == ("tests.plain", "crontab: 30 16 * * *")
    assert (shown["nightly"]["options"], shown["nightly"]["enabled"]) == ({"queue": "data", "priority": 5}, True)
    assert (shown["paused"]["schedule"], shown["paused"]["enabled"]) == ("interval: every 60 s", False)
    assert len(call(api, "GET", "/api/tasks/scheduled?limit=1", VIEWER)["data"]["scheduled_tasks"]) == 1


def test_the_history_and_the_list_are_the_ledger_in_celerys_words(api: Api) -> None:
    api.add_runs(
        {"state": State.QUEUED, "queue": "gone"},
        {"state": State.SKIPPED, "error": "overlap=skip", "task_name": "skipped"},
        {"state": State.FAILURE, "error": "HTTP 502", "task_name": "failed"},
    )

    def states(path: str, key: str) -> list[str]:
        answer = call(api, "GET", path, VIEWER)
        return [each["status"] for each in (answer["data"] if key == "data" else answer)["tasks"]]

    assert states("/api/tasks/history?limit=3", "data") == ["FAILURE", "REVOKED", "PENDING"]
    assert states("/api/v1/tasks/list?limit=3", "") == ["FAILURE", "REVOKED", "PENDING"]
    assert states("/api/tasks/history?limit=2&offset=1", "data") == ["REVOKED", "PENDING"]
    assert states("/api/tasks/history?status=PENDING&limit=1", "data") == ["PENDING"]
    assert set(states("/api/v1/tasks/list?status=REVOKED", "")) == {"REVOKED"}
    failed = call(api, "GET", "/api/tasks/history?status=FAILURE", VIEWER)["data"]
    assert failed["total"] == api.stack.count("SELECT count(*) FROM task_run WHERE state = 'FAILURE'")
    for path in ("/api/tasks/history?status=DONE", "/api/tasks/history?limit=0", "/api/v1/tasks/list?limit=1001"):
        assert api.viewer.get(path).status_code == 422


def test_the_figures_are_summed_up_from_the_ledger(api: Api) -> None:
    api.add_runs(*[{"task_name": "x.report_tasks.weekly", "started_at": api.now(), "finished_at": api.now()}] * 3)
    api.add_runs({"task_name": "x.report_tasks.weekly", "state": State.FAILURE, "error": "no"})

    def reports() -> dict[str, Any]:
        metrics: dict[str, Any] = call(api, "GET", "/api/tasks/metrics", VIEWER)["data"]
        return metrics if "reports" in metrics["task_types"] else {}

    api.stack.wait_for(lambda: reports().get("today", {}).get("failed_tasks"), "figures of now", PATIENCE)

    metrics = reports()
    assert metrics["today"]["total_tasks"] <= metrics["this_week"]["total_tasks"]
    assert metrics["task_types"]["reports"]["count"] >= 4
    assert 0 <= metrics["avg_execution_time"]["reports"] < 60


def test_the_lists_read_the_beginning_of_an_answer(api: Api) -> None:
    api.add_runs({"result": "字" * 5000, "task_name": "long answer"})

    for path in ("/api/tasks/history?limit=1", "/api/v1/tasks/list?limit=1"):
        answer = call(api, "GET", path, VIEWER)
        (listed,) = answer.get("data", answer)["tasks"]
        assert listed["task_name"] == "long answer"
        assert (len(listed["result"].removesuffix(CUT)), listed["result"].endswith(CUT)) == (4096, True)


def test_a_mean_counts_the_runs_that_ended() -> None:
    ended = TaskFigures("report_tasks.a", "celery", runs=1, succeeded=1, failed=0, ended=1, seconds=2.0)
    waiting = TaskFigures("report_tasks.b", "celery", runs=99, succeeded=1, failed=0, ended=1, seconds=4.0)

    assert seed_figures.mean_seconds([ended, waiting]) == 3.0


def test_only_a_registered_task_runs_by_name(api: Api) -> None:
    run = call(api, "POST", "/api/tasks/run", task_name="tests.plain", args=[41])["data"]
    assert (run["status"], run["task_name"]) == ("submitted", "tests.plain")
    ends_as(api, run["task_id"], State.SUCCESS)
    assert call(api, "GET", f"/api/tasks/{run['task_id']}/result", VIEWER)["data"]["result"] == 42

    for name in ("os.system", "celery.backend_cleanup", "agent_tasks.execute_http_periodic_task", "tasks.purge_runs"):
        refused = api.public.post("/api/tasks/run", headers=bearer(OPERATOR), json={"task_name": name})
        assert refused.status_code == 404, name
        assert "tests.plain" in refused.json()["detail"]
    assert (
        api.public.post("/api/tasks/run", headers=bearer(VIEWER), json={"task_name": "tests.plain"}).status_code == 403
    )


# -- claw-queue and its quick reference: /api/v1/tasks/* --------------------------------------------

GENERATE = """curl -X POST "http://localhost:8000/api/v1/tasks/ai/generate" \\
  -H "Content-Type: application/json" \\
  -d '{
    "conversation_id": "conv_123",
    "user_message": "你好",
    "temperature": 0.7,
    "user_id": "user_456"
  }'"""
CLAW_READS = [
    'curl "http://localhost:8000/api/v1/tasks/list?limit=50"',
    'curl "http://localhost:8000/api/v1/tasks/list?status=SUCCESS&limit=20"',
    'curl "http://localhost:8000/api/v1/tasks/stats"',
    'curl "http://localhost:8000/api/v1/tasks/workers"',
]


def test_an_answer_is_generated_and_its_status_told(api: Api) -> None:
    accepted = curl(api, GENERATE)

    assert (accepted["status"], accepted["message"]) == ("PENDING", "AI 响应生成任务已提交")
    run = row(api, accepted["task_id"])
    assert (run["queue"], run["priority"], run["origin"]) == ("ai_high_priority", 8, "api")
    assert json.loads(run["config"])["timeout"] == 180
    ends_as(api, accepted["task_id"], State.SUCCESS)
    told = curl(api, f'curl "http://localhost:8000/api/v1/tasks/status/{accepted["task_id"]}"', VIEWER)
    assert (told["status"], told["result"]) == ("SUCCESS", ANSWER | {"user_id": "user_456"})
    assert told["runtime"] >= 0


@pytest.mark.parametrize("line", CLAW_READS)
def test_every_reading_line_of_the_claw_api_answers(api: Api, line: str) -> None:
    assert curl(api, line, VIEWER)


def test_counts_and_workers_are_true(api: Api) -> None:
    stats = call(api, "GET", "/api/v1/tasks/stats", VIEWER)
    workers = call(api, "GET", "/api/v1/tasks/workers", VIEWER)

    assert set(stats) >= {"total_tasks", "pending", "started", "success", "failure", "retry", "workers"}
    assert stats["workers"] == workers["count"] == 1
    assert stats["success"] > 0
    ((name, worker),) = workers["workers"].items()
    assert name.startswith("seed-")
    assert "tests.plain" in worker["registered_tasks"]
    assert worker["stats"]["pid"]


def test_cancel_cancels_what_waits_and_says_where_it_cannot(api: Api) -> None:
    (waiting, done) = api.add_runs({"state": State.PENDING, "ready_at": None}, {})

    told = curl(api, f'curl -X POST "http://localhost:8000/api/v1/tasks/cancel/{waiting}"')
    assert (told["task_id"], told["success"]) == (waiting, True)
    assert row(api, waiting)["state"] == State.REVOKED
    for run_id, status in ((done, 409), ("a1b2c3d4-e5f6-7890-abcd-ef1234567890", 404)):
        answer = api.public.post(f"/api/v1/tasks/cancel/{run_id}", headers=bearer(OPERATOR))
        assert answer.status_code == status


def test_cancel_cuts_a_call_that_runs_and_retry_makes_it_again(api: Api) -> None:
    config = agent("wait 300")
    (run_id,) = api.add_runs({"state": State.PENDING, "attempt": 0, "config": config})
    ends_as(api, run_id, State.STARTED)

    call(api, "POST", f"/api/v1/tasks/cancel/{run_id}")

    log = api.stack.folder
    api.stack.wait_for(lambda: f"{run_id}" in said(log) and "cut during attempt 1" in said(log), "the cut", PATIENCE)
    assert row(api, run_id)["state"] == State.REVOKED
    refused = api.public.post(f"/api/v1/tasks/retry/{run_id}", headers=bearer(OPERATOR))
    assert refused.status_code == 400


def said(folder: Any) -> str:
    return "".join(file.read_text(errors="replace") for file in folder.glob("logs/*.log"))


def test_retry_runs_a_failed_run_again_and_names_the_new_one(api: Api) -> None:
    failed = call(api, "POST", "/api/v1/tasks/ai/generate", conversation_id="c", user_message="fail")["task_id"]
    ends_as(api, failed, State.FAILURE)

    again = call(api, "POST", f"/api/v1/tasks/retry/{failed}")

    assert again["original_task_id"] == failed
    assert again["original_status"] == "FAILURE"
    assert "the model said no" in again["original_error"]
    ends_as(api, again["task_id"], State.FAILURE)
    assert row(api, again["task_id"])["config"] == row(api, failed)["config"]
    assert call(api, "GET", f"/api/v1/tasks/status/{failed}", VIEWER)["error"]


def test_a_pool_without_a_supervisor_is_not_restarted_and_the_answer_says_why(api: Api) -> None:
    answer = api.public.post("/api/v1/tasks/workers/pool/restart", headers=bearer(ADMIN))

    assert answer.status_code == 409
    assert "supervisor" in answer.json()["detail"]
    for token, status in ((OPERATOR, 403), (VIEWER, 403)):
        for path in ("workers/pool/restart", "workers/shutdown"):
            assert api.public.post(f"/api/v1/tasks/{path}", headers=bearer(token)).status_code == status
    nobody = api.public.post("/api/v1/tasks/workers/shutdown?worker_name=nobody", headers=bearer(ADMIN))
    assert nobody.status_code == 404


def test_half_a_character_or_no_json_number_is_refused(api: Api) -> None:
    for value in ('"\\ud800"', "1e999", "NaN"):
        body = f'{{"task_name": "tests.plain", "args": [{value}]}}'
        answer = api.public.post("/api/tasks/run", headers=bearer(OPERATOR) | {"Content-Type": JSON}, content=body)
        assert answer.status_code == 422, value


def test_an_ai_request_that_makes_no_sense_is_refused(api: Api) -> None:
    before = api.stack.count("SELECT count(*) FROM task_run")
    for wrong in ({}, {"temperature": 3}, {"max_tokens": 0}, {"user_message": ""}, {"secret": 1}):
        body = ({"conversation_id": "c", "user_message": "x"} | wrong) if wrong else {}
        answer = api.public.post("/api/v1/tasks/ai/generate", headers=bearer(OPERATOR), json=body)
        assert answer.status_code == 422, wrong
    assert api.stack.count("SELECT count(*) FROM task_run") == before


# -- the Python client ------------------------------------------------------------------------------

CALL = 'kwargs={"conversation_id": "conv_123", "user_message": "你好"}'


CALLS: dict[str, dict[str, Any]] = {
    "": {"queue": "ai_high_priority", "priority": 5, "delay": 0},
    'queue="ai_high_priority", priority=8': {"queue": "ai_high_priority", "priority": 8, "delay": 0},
    'queue="default", priority=9': {"queue": "default", "priority": 9, "delay": 0},
    "countdown=10": {"queue": "ai_high_priority", "priority": 5, "delay": 10},
    "countdown=timedelta(minutes=5).total_seconds()": {"queue": "ai_high_priority", "priority": 5, "delay": 300},
}


def test_apply_async_writes_the_run_first(api: Api) -> None:
    calls = [f"print(generate_ai_response.apply_async({CALL}, {options}).id)" for options in CALLS]

    ids = python(api, "\n".join(["from datetime import timedelta", *calls])).splitlines()

    for run_id, (options, expected) in zip(ids, CALLS.items(), strict=True):
        run = row(api, run_id)
        assert {name: run[name] for name in expected} == expected, options
        assert run["origin"] == "api"
        assert json.loads(run["config"])["kwargs"] == {"conversation_id": "conv_123", "user_message": "你好"}
        if not expected["delay"]:
            ends_as(api, run_id, State.SUCCESS)
    assert row(api, ids[-1])["state"] == State.PENDING


def test_get_waits_for_the_answer_and_a_later_process_reads_it(api: Api) -> None:
    waits = f"result = generate_ai_response.apply_async({CALL}).get(timeout=60)\nimport json; print(json.dumps(result))"
    assert json.loads(python(api, waits)) == ANSWER

    run_id = python(api, "print(generate_ai_response.delay('conv_123', '你好').id)")
    ends_as(api, run_id, State.SUCCESS)
    reads = f"""
result = celery_app.AsyncResult("{run_id}")
if result.status == "SUCCESS":
    print("任务成功:", result.result["response"])
elif result.status == "FAILURE":
    print("任务失败:", result.result)
elif result.status == "PENDING":
    print("任务等待中")
elif result.status == "STARTED":
    print("任务执行中")
"""
    assert python(api, reads) == "任务成功: 你好！"


def test_a_scheduled_run_answers_the_client_too_and_a_failure_raises(api: Api) -> None:
    (scheduled,) = api.add_runs({"result": "日报完成", "finished_at": api.now()})
    failed = call(api, "POST", "/api/v1/tasks/ai/generate", conversation_id="c", user_message="fail")["task_id"]
    ends_as(api, failed, State.FAILURE)
    reads = f"""
print(celery_app.AsyncResult("{scheduled}").get(timeout=5))
try:
    celery_app.AsyncResult("{failed}").get(timeout=5)
except Exception as error:
    print(type(error).__name__, error)
"""

    answer = python(api, reads).splitlines()

    assert answer[0] == "日报完成"
    assert answer[1].startswith("RunFailed")
    assert "the model said no" in answer[1]


REFUSED = {
    "expires=60": "expires",
    "link=generate_ai_response.s()": "link",
    'queue="nowhere"': "TASK_QUEUES",
    "countdown=-1": "countdown",
    "priority=10": "priority",
    'task_id="no uuid"': "task_id",
    'eta="soon"': "eta",
}


def test_what_the_ledger_cannot_keep_is_refused_in_words(api: Api) -> None:
    before = api.stack.count("SELECT count(*) FROM task_run")
    calls = [
        f"try:\n    generate_ai_response.apply_async({CALL}, {options})\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
        for options in REFUSED
    ]

    answers = python(api, "\n".join(calls)).splitlines()

    for answer, (options, word) in zip(answers, REFUSED.items(), strict=True):
        assert answer.startswith("NotAccepted "), options
        assert word in answer, options
    assert api.stack.count("SELECT count(*) FROM task_run") == before


def test_a_call_survives_a_broker_that_is_away(api: Api) -> None:
    text = f"print(generate_ai_response.apply_async({CALL}).id)"
    api.stack.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1/0"
    try:
        run_id = python(api, text).splitlines()[-1]
    finally:
        api.stack.environment["CELERY_BROKER_URL"] = api.broker_url

    ends_as(api, run_id, State.SUCCESS)


# -- supervisor -------------------------------------------------------------------------------------

SUPERVISED = """
[unix_http_server]
file={folder}/s.sock
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
directory={root}
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:celery-worker]
command={python} run_worker.py
autorestart=true
startsecs=1
stopwaitsecs=70
redirect_stderr=true
stdout_logfile={folder}/worker.out
"""


def test_a_pool_under_supervisor_drains_and_is_replaced_and_shut_down(
    mariadb: MariaDBServer, valkey: ValkeyServer
) -> None:
    with tempfile.TemporaryDirectory(prefix="sup") as name:  # a socket's path must be short
        folder = Path(name)
        stack = prepared(mariadb.create_database("seed_pool"), valkey.url, folder)
        running = Api(stack, valkey.url, SUPERVISOR_SERVER_URL=f"unix://{folder}/s.sock")
        (folder / "s.conf").write_text(SUPERVISED.format(folder=folder, root=ROOT, python=sys.executable))
        supervisor = stack.start("supervisord", "-m", "supervisor.supervisord", "-c", f"{folder}/s.conf")
        leases = "SELECT id, pid FROM worker_lease WHERE expires_at > UTC_TIMESTAMP(6)"
        try:
            stack.wait_for(lambda: stack.sql(leases), "the worker's lease", PATIENCE)
            ((before, pid),) = stack.sql(leases)

            told = call(running, "POST", "/api/v1/tasks/workers/pool/restart", ADMIN)

            assert told["result"] == {before: {"program": "celery-worker:celery-worker"}}
            stack.wait_for(lambda: [row[1] for row in stack.sql(leases)] not in ([], [pid]), "another", PATIENCE)
            ((after, _),) = stack.sql(leases)
            other = stack.worker()  # not under the supervisor: the other stays stopped all the same
            told = call(running, "POST", "/api/v1/tasks/workers/shutdown", ADMIN)
            assert [each["program"] for each in told["result"].values()].count(None) == 1
            assert told["result"][after] == {"program": "celery-worker:celery-worker"}
            stack.wait_for(lambda: not stack.sql(leases) and other.poll() is not None, "both to stop", PATIENCE)
            ctl = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{folder}/s.sock", "status"]
            assert "STOPPED" in subprocess.run(ctl, capture_output=True, text=True, check=False).stdout
            actions = [row[0] for row in stack.sql("SELECT action FROM audit_log ORDER BY id")]
            assert actions == ["worker.restart", "worker.shutdown", "worker.shutdown"]
            refused = running.public.post("/api/v1/tasks/workers/pool/restart", headers=bearer(ADMIN))
            assert refused.status_code == 409
        finally:
            supervisor.terminate()
            supervisor.wait(90)
            running.close()
            mariadb.drop_database("seed_pool")
