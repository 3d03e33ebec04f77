"""The assistant pack's tasks, and the trading pack's upkeep and reports, from their rows through the real stack.

Beat, the two workers, MariaDB, Valkey, a model and an SMTP server; and again with the workers killed in the middle.
"""

import gzip
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pymysql
import pypdfium2
import pytest

from packs import schema
from packs.install import install
from packs.trading import backup
from store import migrate
from tests.packs import library
from tests.packs.mail_server import MailServer, text_of
from tests.packs.model_server import KEY, ModelServer
from tests.packs.test_reports import DAY, SYMBOLS, closes
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 120.0
YEARLY = "0 0 1 1 *"
LONG = 1 << 30  # bytes of a log whose packing takes seconds; sparse, so the disk has none of them
AI, KNOWLEDGE = "app.tasks.ai_tasks", "app.tasks.knowledge_tasks"  # as the older system's callers say
ROWS = {
    "vectorize": ("knowledge_default", f"{KNOWLEDGE}.vectorize_document"),
    "update": ("knowledge_default", f"{KNOWLEDGE}.update_knowledge_base"),
    "search": ("knowledge_default", "packs.assistant.knowledge_tasks.search_knowledge"),
    "delete": ("knowledge_default", f"{KNOWLEDGE}.delete_knowledge_vectors"),
    "generate": ("ai_high_priority", f"{AI}.generate_ai_response"),
    "notify": ("notification_default", f"{AI}.send_notification"),
    "limited": ("maintenance", "tasks.maintenance_tasks.refresh_cache"),
    "custom report": ("analysis", "tasks.report_tasks.generate_custom_report"),
}


class HeldModel(ModelServer):
    """A model that answers nothing while it is told to hold."""

    holds = False

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        while self.holds:
            time.sleep(0.05)
        return super().answer(path, body)


class Place:
    """The processes, and what they talk to."""

    def __init__(self, stack: Stack, model: HeldModel, mail: MailServer) -> None:
        self.stack, self.model, self.mail = stack, model, mail
        self.folder = stack.folder
        self.workers: list[Any] = []
        self.seen: dict[str, str] = {}

    def start_workers(self) -> None:
        for options in (("--serve", "agents"), ("--serve", "packs", "--name", "packs", "--concurrency", "4")):
            process = self.stack.start("worker", "run_worker.py", *options)
            self.workers.append(process)
        lease = "SELECT count(DISTINCT queues) FROM worker_lease WHERE expires_at > UTC_TIMESTAMP()"
        self.stack.wait_for(lambda: self.stack.count(lease) >= 2, "the workers' leases", PATIENCE)

    def kill_workers(self) -> None:
        """SIGKILL both workers and all that they have started."""
        for process in self.workers:
            children = psutil.Process(process.pid).children(recursive=True)
            self.stack.kill(process)
            for child in children:
                child.kill()
            psutil.wait_procs(children, timeout=10)
        self.workers.clear()

    def run(self, name: str, **kwargs: Any) -> None:
        """Ask a row for a run, as an operator does; `latest` forgets those before."""
        newest = self.stack.sql("SELECT max(id) FROM task_run WHERE task_name = :name", name=name)[0][0]
        self.seen[name] = newest or ""
        if name in ROWS:
            queue, task = ROWS[name]
            config = {"task_type": "celery", "task": task, "queue": queue, "kwargs": kwargs, "max_retries": 2}
            text = json.dumps({**config, "retry_backoff": 1}, ensure_ascii=False)
            self.stack.sql("DELETE FROM periodic_task WHERE name = :name", name=name)
            self.stack.insert(name, text, crontab=YEARLY, run_now=1)
        else:
            self.stack.sql("UPDATE periodic_task SET run_now = 1 WHERE name = :name", name=name)

    def latest(self, name: str) -> Any:
        rows = self.stack.sql(
            "SELECT state, attempt, result, result_data, error, input_tokens, conversation_id FROM task_run "
            "WHERE task_name = :name AND id > :seen ORDER BY id DESC LIMIT 1",
            name=name,
            seen=self.seen.get(name, ""),
        )
        return rows[0] if rows else None

    def over(self, *names: str) -> bool:
        runs = [self.latest(name) for name in names]
        return all(run is not None and run.state in ("SUCCESS", "FAILURE") for run in runs)

    def result(self, name: str, attempt: int = 1) -> dict[str, Any]:
        """Wait for a row's run to end well, and return what it gave back."""
        self.stack.wait_for(lambda: self.over(name), f"{name} to end", PATIENCE)
        run = self.latest(name)
        assert (run.state, run.attempt, run.error) == ("SUCCESS", attempt, None), name
        found: dict[str, Any] = json.loads(run.result_data)
        return found


@pytest.fixture(scope="module")
def place(mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("assistant")
    library.write_all(folder / "knowledge" / "office")
    url = mariadb.create_database("assistant_rows")
    with valkey.client() as client:
        client.flushall()
    with HeldModel() as model, MailServer() as mail:
        settings = {
            "TASK_PACKS": "trading,assistant",
            "TRADING_SYMBOLS": ",".join(SYMBOLS),
            "AGENT_API_PROVIDER": "openai_chat",
            "AGENT_API_BASE_URL": model.url,
            "AGENT_API_KEY": KEY,
            "ASSISTANT_AGENT": "model-1",
            "EMBEDDING_ENDPOINT": "default",
            "EMBEDDING_MODEL": "letters",
            "KNOWLEDGE_ROOTS": str(folder / "knowledge"),
            "REPORT_DIR": str(folder / "reports"),
            "BACKUP_DIR": str(folder / "backups"),
            "EMAIL_NOTIFY_URL": mail.url("{address}"),
            "WORKER_LEASE_SECONDS": "3",
        }
        with Stack(url, valkey.url, folder, **settings) as stack:
            prepare(stack)
            place = Place(stack, model, mail)
            stack.beat()
            place.start_workers()
            yield place
            model.holds = mail.holds = False
            place.kill_workers()
    mariadb.drop_database("assistant_rows")


def prepare(stack: Stack) -> None:
    migrate.upgrade(stack.engine)
    for pack in ("trading", "assistant"):
        schema.upgrade(stack.engine, pack)
        list(install(stack.engine, pack))
    stack.sql(
        "UPDATE periodic_task SET crontab = :never, task_extra_config = JSON_SET(task_extra_config, "
        "'$.retry_backoff', 1)",
        never=YEARLY,
    )
    stack.sql("INSERT INTO notify_channel (name, url_env) VALUES ('email', 'EMAIL_NOTIFY_URL')")
    stack.sql(
        "INSERT INTO agent_limit (endpoint, agent, requests_per_minute) VALUES ('celery', :task, 1)",
        task=ROWS["limited"][1],
    )
    stack.sql("INSERT INTO assistant_contact VALUES ('u1', 'email', 'one@example.com')")
    for symbol in SYMBOLS:
        values = ", ".join(
            f"('{symbol}', '{day}', {close}, {close}, {close}, {close}, {volume}, 1, 1, 'test', UTC_TIMESTAMP())"
            for day, (close, volume) in closes(symbol).items()
        )
        stack.sql(f"INSERT INTO trading_bar VALUES {values}")


def test_every_task_of_the_assistant_does_its_work_from_its_row(place: Place) -> None:
    place.run("update", knowledge_base_id="office", update_type="incremental")
    assert len(place.result("update")["added"]) == 5
    place.run("vectorize", document_id="doc", file_path="office/password.docx", knowledge_base_id="help")
    assert place.result("vectorize")["vectors_stored"] == 1
    place.run("search", query=library.PASSWORD, knowledge_base_id="office", limit=1)
    assert place.result("search")["results"][0]["document_id"] == "password.docx"

    place.run("generate", conversation_id="conv_123", user_message="你好", temperature=0.5, user_id="u1")
    answered = place.result("generate")
    assert answered["response"] == "heard 1: 你好"
    assert answered["tokens"]["total"] == 4
    run = place.latest("generate")
    assert (run.result, run.input_tokens, run.conversation_id) == ("heard 1: 你好", 1, "conv_123")

    place.run(
        "notify", user_id="u1", notification_type="report", title="日报", message="已生成", channels=["system", "email"]
    )
    assert place.result("notify")["all_success"] is True
    ((to, mail),) = place.mail.mails
    assert (to, mail["Subject"]) == (["one@example.com"], "日报")
    assert "已生成" in text_of(mail)
    assert place.stack.sql("SELECT user_id, title FROM assistant_inbox") == [("u1", "日报")]

    place.run("delete", document_id="doc", knowledge_base_id="help")
    assert place.result("delete")["deleted_count"] == 1
    place.run("cleanup-expired-results")
    assert place.result("cleanup-expired-results")["cleaned_count"] == 0
    place.run("check-task-health")
    health = place.result("check-task-health")
    for name in ("broker", "database", "beat", "workers"):
        assert health["checks"][name]["status"] == "healthy", health["checks"][name]


def test_a_task_starts_as_often_a_minute_as_its_limit_says_and_then_waits(place: Place) -> None:
    limits = place.stack.sql("SELECT agent, requests_per_minute FROM agent_limit WHERE endpoint = 'celery'")
    place.run("limited")
    place.result("limited")

    place.run("limited")

    waits = (
        "SELECT count(*) FROM task_run WHERE task_name = 'limited' AND attempt = 0 AND state IN ('PENDING', 'QUEUED') "
        "AND ready_at > UTC_TIMESTAMP(6)"
    )
    place.stack.wait_for(lambda: place.stack.count(waits), "the second run to wait", PATIENCE)
    assert dict(map(tuple, limits)) == {
        "packs.assistant.ai_tasks.generate_ai_response": 10,
        "app.tasks.ai_tasks.generate_ai_response": 10,
        "packs.assistant.knowledge_tasks.vectorize_document": 5,
        "app.tasks.knowledge_tasks.vectorize_document": 5,
        ROWS["limited"][1]: 1,
    }


def test_the_call_that_the_older_system_makes_is_answered(place: Place) -> None:
    program = (
        "from packs.assistant.ai_tasks import generate_ai_response\n"
        "from tasks import celery_app\n"
        "asked = {'conversation_id': 'conv_9', 'user_message': 'hello'}\n"
        "task = generate_ai_response.apply_async(kwargs=asked, priority=8)\n"
        "print(celery_app.AsyncResult(task.id).get(timeout=100))"
    )
    client = place.stack.start("client", "-c", program)

    assert client.wait(timeout=PATIENCE) == 0, place.stack.tails()

    assert "'response': 'heard 1: hello'" in (place.folder / "client.out").read_text()
    assert place.stack.count("SELECT count(*) FROM task_run WHERE queue = 'ai_high_priority' AND priority = 8") == 1


def test_the_trading_upkeep_and_reports_do_their_work_from_their_rows(place: Place) -> None:
    logs = place.folder / "logs"
    past = f"celery_{today() - timedelta(days=3):%Y%m%d}.log"
    (logs / past).write_text("an old line\n" * 100)
    place.stack.sql(
        "INSERT INTO trading_price (symbol, at, price, source) VALUES ('IBM', '2013-02-28 20:00:00', 200.5, 'test')"
    )

    for name in ("archive-logs", "backup-database", "refresh-cache", "health-check", "generate-daily-market-report"):
        place.run(name)
    assert place.result("archive-logs")["archive_stats"]["archived_files"] == [f"{past}.gz"]
    saved = place.result("backup-database")["backup_stats"]
    place.result("refresh-cache")
    health = place.result("health-check")
    report = place.result("generate-daily-market-report")["report_data"]

    assert gzip.decompress((logs / "archive" / f"{past}.gz").read_bytes()) == b"an old line\n" * 100
    assert backup.verify(Path(saved["path"])).sha256 == saved["sha256"]
    assert health["health_details"]["database"]["status"] == "healthy"
    assert report["date"] == DAY.isoformat()
    words = "".join(
        page.get_textpage().get_text_bounded() for page in pypdfium2.PdfDocument(report["files"]["pdf"]["path"])
    )
    assert "每日市场报告" in words
    assert f"{closes('IBM')[DAY][0]:,.2f}" in words

    place.run("cleanup-old-data")
    assert place.result("cleanup-old-data")["cleanup_stats"]["realtime_prices"] == 1
    place.stack.sql("INSERT INTO trading_position VALUES ('default', 'IBM', '国际商业机器', 10, 150, UTC_TIMESTAMP())")
    bars_until_today(place)
    place.run("generate-weekly-portfolio-report")
    week = place.result("generate-weekly-portfolio-report")["report_data"]
    assert week["total_value"] == pytest.approx(10 * closes("IBM")[DAY][0], abs=0.01)
    span = [(today().replace(day=1)).isoformat(), today().isoformat()]
    place.run("custom report", report_config={"type": "market", "symbols": ["IBM"], "date_range": span})
    assert place.result("custom report")["report_data"]["market_summary"]["symbols"] == 1


def today() -> Any:
    return datetime.now(UTC).date()


def bars_until_today(place: Place) -> None:
    """Move the prices so that the newest are today's."""
    [(newest,)] = place.stack.sql("SELECT max(day) FROM trading_bar")
    place.stack.sql("UPDATE trading_bar SET day = DATE_ADD(day, INTERVAL :days DAY)", days=(today() - newest).days)


def test_tasks_whose_workers_are_killed_leave_nothing_half_done_and_finish_on_their_retry(place: Place) -> None:
    place.run("vectorize", document_id="doc", file_path="office/leave.txt", knowledge_base_id="help")
    place.result("vectorize")
    before = place.stack.sql("SELECT text FROM knowledge_chunk ORDER BY document, position")
    backups = len(backup.complete(place.folder / "backups"))
    mails, held = len(place.mail.mails), place.mail.held
    place.model.holds = place.mail.holds = True
    asked = len(place.model.heard)
    locked = locking(place.stack, "trading_news")
    place.run("vectorize", document_id="doc", file_path="office/kitchen.md", knowledge_base_id="help")
    place.run("update", knowledge_base_id="office", update_type="rebuild")
    place.run("generate", conversation_id="conv_killed", user_message="hello")
    place.run("notify", user_id="u1", notification_type="x", title="t", message="m", channels=["email", "system"])
    place.run("backup-database")
    place.stack.wait_for(
        lambda: (
            len(place.model.heard) >= asked + 3
            and place.mail.held > held
            and list((place.folder / "backups").glob(".part-*"))
        ),
        "every task to be in the middle",
        PATIENCE,
    )

    place.kill_workers()

    assert place.stack.sql("SELECT text FROM knowledge_chunk ORDER BY document, position") == before
    assert len(backup.complete(place.folder / "backups")) == backups
    assert place.stack.count("SELECT count(*) FROM assistant_message WHERE conversation_id = 'conv_killed'") == 0
    place.model.holds = place.mail.holds = False
    locked.close()
    place.start_workers()
    assert place.result("vectorize", attempt=2)["vectors_stored"] == 1
    assert place.result("update", attempt=2)["generation"] == 2
    assert place.result("generate", attempt=2)["response"] == "heard 1: hello"
    assert place.result("notify", attempt=2)["all_success"] is True
    saved = place.result("backup-database", attempt=2)["backup_stats"]
    assert backup.verify(Path(saved["path"])).bytes > 0
    texts = [
        row.text
        for row in place.stack.sql(
            "SELECT text FROM knowledge_chunk JOIN knowledge_document d ON d.id = document "
            "WHERE knowledge_base_id = 'help'"
        )
    ]
    assert texts == [f"# Notices\n\n## Kitchen\n\n{library.KITCHEN}"]
    assert place.stack.count("SELECT count(*) FROM assistant_message WHERE conversation_id = 'conv_killed'") == 2
    assert len(place.mail.mails) > mails
    assert place.stack.count("SELECT count(*) FROM assistant_inbox WHERE title = 't'") == 1


@pytest.mark.parametrize(
    ("tables", "names"),
    [
        (
            ("trading_price", "trading_snapshot", "trading_bar", "trading_position"),
            (
                "cleanup-old-data",
                "refresh-cache",
                "generate-daily-market-report",
                "generate-weekly-portfolio-report",
            ),
        ),
        (("knowledge_chunk", "knowledge_document"), ("search", "delete", "archive-logs")),
    ],
    ids=["upkeep and reports", "knowledge and logs"],
)
def test_short_tasks_whose_workers_are_killed_finish_on_their_retry(
    place: Place, tables: tuple[str, ...], names: tuple[str, ...]
) -> None:
    arguments = prepare_short(place)
    log = place.folder / "logs" / f"celery_{today() - timedelta(days=5):%Y%m%d}.log"
    log.touch()
    os.truncate(log, LONG)
    locked = locking(place.stack, *tables)
    for name in names:
        place.run(name, **arguments.get(name, {}))
    waiting = "SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%table metadata lock%'"
    packing = "archive-logs" in names
    place.stack.wait_for(
        lambda: (
            place.stack.count(waiting) >= len(names) - packing
            and (not packing or list((log.parent / "archive").glob(".part-*")))
        ),
        "every task to be in the middle",
        PATIENCE,
    )

    place.kill_workers()

    locked.close()
    assert log.stat().st_size == LONG
    assert not (log.parent / "archive" / f"{log.name}.gz").exists()
    log.write_text("an old line\n")  # the rest of it would take as long again
    assert [place.latest(name).state for name in names] == ["STARTED"] * len(names)
    place.start_workers()
    results = {name: place.result(name, attempt=2) for name in names}
    if packing:
        assert gzip.decompress((log.parent / "archive" / f"{log.name}.gz").read_bytes()) == b"an old line\n"
        assert not log.exists()
        assert results["search"]["results"][0]["document_id"] == "password.docx"
        assert place.stack.count("SELECT count(*) FROM knowledge_document WHERE document_id = 'gone'") == 0
    else:
        assert place.stack.count("SELECT count(*) FROM trading_price WHERE symbol = 'OLD'") == 0
        assert results["refresh-cache"]["success"] is True
        for name in ("generate-daily-market-report", "generate-weekly-portfolio-report"):
            files = [Path(each["path"]) for each in results[name]["report_data"]["files"].values()]
            assert all(file.stat().st_size > 0 for file in files)
            assert not list(files[0].parent.glob(".*"))  # nothing half written is left


def prepare_short(place: Place) -> dict[str, dict[str, Any]]:
    """Give each task something to do; return the arguments of those without a row of their own."""
    place.stack.sql(
        "REPLACE INTO trading_price (symbol, at, price, source) VALUES ('OLD', '2013-02-28 20:00:00', 1.5, 'test')"
    )
    place.stack.sql("REPLACE INTO trading_position VALUES ('default', 'IBM', 'IBM', 10, 150, UTC_TIMESTAMP())")
    bars_until_today(place)
    place.run("update", knowledge_base_id="office", update_type="incremental")
    place.result("update")
    place.run("vectorize", document_id="gone", file_path="office/password.docx", knowledge_base_id="help")
    place.result("vectorize")
    return {
        "search": {"query": library.PASSWORD, "knowledge_base_id": "office", "limit": 1},
        "delete": {"document_id": "gone", "knowledge_base_id": "help"},
    }


def locking(stack: Stack, *tables: str) -> "pymysql.Connection[Any]":
    """Hold tables, so that whoever reads or dumps them waits in the middle."""
    url = stack.engine.url
    connection = pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=str(url.password), database=url.database
    )
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLES " + ", ".join(f"{table} WRITE" for table in tables))
    return connection
