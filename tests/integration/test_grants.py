"""deploy/mysql/grants.sql: each account can do its work, and nothing beyond it."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url, select
from sqlalchemy.exc import OperationalError

from beat.blocked import LOOK_SECONDS
from config import BASE_DIR
from models import Base
from store import audit, blocking, housekeeping, migrate, schedules
from store.database import autocommit, connect, transaction
from tests.acceptance.test_cookbook import CHECKS, RECIPES, Kitchen, kitchen_on, through_mysql
from tests.integration.engine import Ledger, agent, beat_on
from tests.services import HOST, MariaDBServer, ValkeyServer
from tests.stack import Stack

GRANTS = (BASE_DIR / "deploy" / "mysql" / "grants.sql").read_text(encoding="utf-8")
ACCOUNTS = ("migrate", "run", "operator")
TABLES = ("periodic_task", "task_run", "worker_lease", "beat_heartbeat", "scheduler_state", "agent_endpoint")

DENIED = (1044, 1142, 1143, 1227)  # database, table, column, global privilege


@dataclass(frozen=True)
class Site:
    """A server set up as the README says."""

    server: MariaDBServer
    said: tuple[str, str]
    """What the file printed before and after the migration."""

    def url(self, account: str) -> str:
        return _url(self.server, account)

    def connect(self, account: str) -> "pymysql.Connection[Any]":
        url = make_url(self.url(account))
        return pymysql.connect(
            host=HOST, port=self.server.port, user=url.username, password=str(url.password), database=url.database,
            charset="utf8mb4", autocommit=True,
        )  # fmt: skip


def _url(server: MariaDBServer, account: str) -> str:
    return f"mysql+pymysql://agent_{account}:{account}-0@{HOST}:{server.port}/agent_scheduler?charset=utf8mb4"


def apply(server: MariaDBServer, text: str) -> "subprocess.CompletedProcess[str]":
    """Run the file as an administrator does."""
    return subprocess.run(
        ["mariadb", "--no-defaults", f"--socket={server.socket}", "--user=root", "--batch"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


def with_passwords() -> str:
    text = GRANTS
    for account in ACCOUNTS:
        text = text.replace(f"BY {account.upper()}_PASSWORD", f"BY '{account}-0'")
    return text


@pytest.fixture(scope="module")
def site(mariadb: MariaDBServer) -> Iterator[Site]:
    first = apply(mariadb, with_passwords())
    assert first.returncode == 0, first.stderr
    engine = connect(_url(mariadb, "migrate"))
    migrate.upgrade(engine)
    engine.dispose()
    second = apply(mariadb, with_passwords())
    assert second.returncode == 0, second.stderr
    yield Site(mariadb, (first.stdout, second.stdout))
    mariadb.drop_database("agent_scheduler")
    with mariadb.cursor() as cursor:
        for account in ACCOUNTS:
            cursor.execute(f"DROP USER 'agent_{account}'@'%'")


@pytest.fixture(scope="module")
def kitchen(site: Site) -> Iterator[Kitchen]:
    """The cookbook's tasks and runs, written by `agent_run`; the statements are sent by `agent_operator`."""
    ledger = Ledger(site.url("run"))
    with closing(site.connect("operator")) as operator:
        kitchen = kitchen_on(ledger, through_mysql(operator))
        yield kitchen
        kitchen.beat.close()
    ledger.close()


def test_the_file_asks_to_be_run_again_and_then_has_granted_everything(site: Site) -> None:
    assert "run make migrate, then this file again" in site.said[0]
    assert "all rights are granted" in site.said[1]


def test_a_file_whose_passwords_were_not_replaced_makes_no_account(site: Site) -> None:
    done = apply(site.server, GRANTS.replace("agent_", "other_"))

    assert done.returncode != 0
    assert "MIGRATE_PASSWORD" in done.stderr
    with site.server.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS other_scheduler")
        assert cursor.execute("SELECT user FROM mysql.user WHERE user LIKE 'other%'") == 0


def test_a_second_run_keeps_a_password_that_was_changed(site: Site) -> None:
    changed = with_passwords().replace("'operator-0'", "'another-0'")

    assert apply(site.server, changed).returncode == 0

    site.connect("operator").close()


def test_migrate_made_the_whole_schema_and_its_trigger_works_for_everybody(site: Site, kitchen: Kitchen) -> None:
    kitchen.fill()
    before = kitchen.task("daily report").update_time

    kitchen.execute("UPDATE periodic_task SET description = 'edited' WHERE name = 'daily report'")

    assert migrate.current_revision(kitchen.ledger.engine) == migrate.newest_revision()
    assert kitchen.task("daily report").update_time > before


def test_migrate_can_take_the_schema_down_and_up_again(site: Site) -> None:
    name = "agent_scheduler_trial"
    with site.server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        cursor.execute("SHOW GRANTS FOR 'agent_migrate'@'%'")
        grant = next(grant for (grant,) in cursor.fetchall() if "`agent_scheduler`.*" in grant)
        cursor.execute(grant.replace("`agent_scheduler`", f"`{name}`"))
    engine = connect(site.url("migrate").replace("/agent_scheduler?", f"/{name}?"))

    migrate.upgrade(engine)
    migrate.downgrade(engine, "base")
    migrate.upgrade(engine)

    assert migrate.current_revision(engine) == migrate.newest_revision()
    engine.dispose()
    site.server.drop_database(name)


def test_one_pass_of_beat_works_as_run(site: Site, kitchen: Kitchen, empty_broker_url: str) -> None:
    kitchen.fill()
    kitchen.execute("UPDATE periodic_task SET run_now = 1 WHERE name = 'daily report'")
    kitchen.execute("UPDATE periodic_task SET next_run_at = UTC_TIMESTAMP(6) WHERE name LIKE 'report %'")
    beat = beat_on(kitchen.ledger, empty_broker_url)

    counts = beat.run_once()

    beat.close()
    assert (counts["manual"], counts["fired"]) == (1, 5)
    assert counts["sent"] >= 6
    assert kitchen.states("report 1") == ["QUEUED"]


def test_beat_and_worker_carry_an_operators_row_and_take_his_cancel(
    site: Site, valkey: ValkeyServer, empty_broker_url: str, tmp_path: Path
) -> None:
    with (
        closing(site.connect("operator")) as operator,
        Stack(site.url("run"), empty_broker_url, tmp_path, WORKER_CONCURRENCY="4") as stack,
    ):
        stack.sql("DELETE FROM periodic_task")
        stack.sql("DELETE FROM task_run")
        stack.beat()
        stack.worker()
        execute = through_mysql(operator)
        insert = (
            "INSERT INTO periodic_task (name, crontab, run_now, task_extra_config) VALUES ('{}', '0 0 1 1 *', 1, '{}')"
        )

        execute(insert.format("quick", agent("你好")))
        execute(insert.format("long", agent("wait 60")))
        stack.wait_for(lambda: stack.states("quick")["SUCCESS"] and stack.states("long")["STARTED"], "both runs")
        execute("UPDATE task_run SET state = 'REVOKED' WHERE task_name = 'long' AND state = 'STARTED'")

        out = tmp_path / "worker.out"
        stack.wait_for(lambda: "no longer STARTED by this worker" in out.read_text(), "the cut", 5)
        assert stack.states() == {"SUCCESS": 1, "REVOKED": 1}


def test_run_may_name_the_session_that_holds_a_row(site: Site, kitchen: Kitchen) -> None:
    kitchen.fill()
    engine = connect(site.url("run"), lock_wait=1)
    with closing(site.connect("operator")) as operator, autocommit(engine) as waiting, autocommit(engine) as looking:
        operator.begin()
        operator.cursor().execute("UPDATE periodic_task SET description = 'x'")
        task = looking.execute(select(schedules.T.id).limit(1)).scalar_one()

        def wait() -> None:
            with pytest.raises(OperationalError):
                blocking.wait_for(waiting, task)

        waiter = Thread(target=wait)
        waiter.start()
        found: set[str | None] = set()
        while waiter.is_alive():
            sleep(LOOK_SECONDS)
            found |= {session.user for session in blocking.holders(looking, 0)}
        waiter.join()

    assert "agent_operator" in found
    engine.dispose()


def test_old_runs_are_purged_as_run(site: Site, kitchen: Kitchen) -> None:
    kitchen.fill()
    final = len([state for state in kitchen.ledger.states().elements() if state in ("SUCCESS", "FAILURE")])

    deleted = housekeeping.purge_runs(kitchen.ledger.engine, kitchen.ledger.now() + timedelta(days=1))

    assert deleted >= final
    kitchen.is_fresh = False


@pytest.mark.parametrize("name", RECIPES)
def test_an_operator_can_do_the_whole_cookbook(kitchen: Kitchen, name: str) -> None:
    if not kitchen.is_fresh:
        kitchen.fill()

    kitchen.cook(RECIPES[name])

    if name in CHECKS:
        CHECKS[name](kitchen)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM task_run",
        "INSERT INTO task_run (id, task_name, origin, scheduled_for, queue, config) "
        "VALUES ('x', 'x', 'manual', UTC_TIMESTAMP(), 'system', '{}')",
        "UPDATE task_run SET result = 'forged'",
        "UPDATE task_run SET state = 'REVOKED', error = NULL",
        "UPDATE task_run_local SET result = 'forged'",
        "UPDATE worker_lease SET expires_at = UTC_TIMESTAMP()",
        "DELETE FROM beat_heartbeat",
        "DELETE FROM scheduler_state",
        "UPDATE alembic_version SET version_num = '0000'",
    ],
)
def test_an_operator_cannot_write_what_is_the_systems(site: Site, statement: str) -> None:
    assert_denied(site, "operator", statement)


SECRET = {"api_user", "api_token", "api_session", "api_request"}


def test_an_operator_reads_every_table_but_those_that_let_somebody_in(site: Site) -> None:
    with closing(site.connect("operator")) as operator, operator.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'agent_scheduler'")
        readable = {name for (name,) in cursor.fetchall()}

    assert readable == {*Base.metadata.tables, "alembic_version", "periodic_task_local", "task_run_local"} - SECRET
    for table in SECRET:
        assert_denied(site, "operator", f"SELECT * FROM {table}")


def test_a_right_to_the_whole_database_from_an_older_file_is_taken_back(site: Site) -> None:
    with site.server.cursor() as cursor:
        cursor.execute("GRANT SELECT, SHOW VIEW ON agent_scheduler.* TO 'agent_operator'@'%'")

    assert apply(site.server, with_passwords()).returncode == 0

    assert_denied(site, "operator", "SELECT password_hash FROM api_user")
    with closing(site.connect("operator")) as operator, operator.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM task_run_local")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_log",
        "UPDATE audit_log SET actor = 'nobody'",
        "REPLACE INTO audit_log (id) VALUES (1)",
        "UPDATE alembic_version SET version_num = '0000'",
    ],
)
def test_run_cannot_remove_what_was_done(site: Site, statement: str) -> None:
    assert_denied(site, "run", statement)


def test_a_right_of_run_to_the_whole_database_from_an_older_file_is_taken_back(site: Site) -> None:
    with site.server.cursor() as cursor:
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON agent_scheduler.* TO 'agent_run'@'%'")

    assert apply(site.server, with_passwords()).returncode == 0

    assert_denied(site, "run", "DELETE FROM audit_log")
    with closing(site.connect("run")) as run, run.cursor() as cursor:
        for table in {*Base.metadata.tables} - {"audit_log"}:
            cursor.execute(f"DELETE FROM {table} WHERE 1 = 0")
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0")


def test_old_entries_of_the_audit_are_purged_as_run_where_the_file_says_so(site: Site, kitchen: Kitchen) -> None:
    kitchen.ledger.sql("UPDATE periodic_task SET description = 'an entry of the audit'")
    later = kitchen.ledger.now() + timedelta(days=1)
    with pytest.raises(OperationalError, match="DELETE command denied"):
        housekeeping.purge_audit(kitchen.ledger.engine, later)

    line = "GRANT DELETE ON agent_scheduler.audit_log TO 'agent_run'@'%';"
    assert apply(site.server, with_passwords().replace(f"-- {line}", line)).returncode == 0
    try:
        assert housekeeping.purge_audit(kitchen.ledger.engine, later) > 0
        assert kitchen.ledger.value("SELECT MIN(action) FROM audit_log") == "audit.purge"
    finally:
        with site.server.cursor() as cursor:
            cursor.execute("REVOKE DELETE ON agent_scheduler.audit_log FROM 'agent_run'@'%'")


def test_an_operator_enters_positions_and_contacts_and_writes_nothing_else_of_packs(site: Site) -> None:
    mine, systems = ("trading_position", "assistant_contact"), ("assistant_inbox", "assistant_message")
    with site.server.cursor() as cursor:
        for table in (*mine, *systems):
            cursor.execute(f"CREATE TABLE agent_scheduler.{table} (id INT)")
    try:
        assert apply(site.server, with_passwords()).returncode == 0

        with closing(site.connect("operator")) as operator, operator.cursor() as cursor:
            for table in mine:
                cursor.execute(f"INSERT INTO {table} VALUES (1)")
                cursor.execute(f"UPDATE {table} SET id = 2")
                cursor.execute(f"DELETE FROM {table}")
        for table in systems:
            assert_denied(site, "operator", f"INSERT INTO {table} VALUES (1)")
    finally:
        with site.server.cursor() as cursor:
            for table in (*mine, *systems):
                cursor.execute(f"DROP TABLE agent_scheduler.{table}")


def test_an_operator_cannot_keep_his_edits_out_of_the_audit(site: Site, kitchen: Kitchen) -> None:
    kitchen.fill()
    with closing(site.connect("operator")) as operator, operator.cursor() as cursor:
        cursor.execute("SET @audited_by_the_program = 1")
        cursor.execute("UPDATE periodic_task SET description = 'quietly' WHERE name = 'daily report'")
        cursor.execute("INSERT INTO calendar_day (calendar, day, open) VALUES ('CN', '2026-12-31', 0)")
        cursor.execute("SELECT action, new_value FROM audit_log WHERE actor LIKE 'agent_operator@%'")
        found = {action: value for action, value in cursor.fetchall()}

    assert found.keys() >= {"task.update", "calendar_day.create"}
    assert '"description": "quietly"' in found["task.update"]
    assert_denied(site, "operator", audit.SILENCE_SESSION)


def test_the_program_keeps_its_own_changes_from_being_entered_twice(site: Site, kitchen: Kitchen) -> None:
    kitchen.fill()
    entries = "SELECT COUNT(*) FROM audit_log"
    before = kitchen.ledger.value(entries)

    with transaction(kitchen.ledger.engine) as tx, audit.silence_triggers(tx):
        tx.exec_driver_sql("UPDATE periodic_task SET description = 'by the program'")
    assert kitchen.ledger.value(entries) == before
    assert kitchen.ledger.value("SELECT COUNT(*) FROM scheduler_state WHERE name LIKE 'audited%'") == 0

    kitchen.ledger.sql("UPDATE periodic_task SET description = 'by nobody' LIMIT 1")
    assert kitchen.ledger.value(entries) == before + 1


@pytest.mark.parametrize("account", ["operator", "run"])
@pytest.mark.parametrize(
    "statement",
    [
        *(f"ALTER TABLE {table} ADD COLUMN forged INT" for table in TABLES),
        "DROP TABLE task_run",
        "TRUNCATE TABLE task_run",
        "CREATE TABLE forged (id INT)",
        "CREATE VIEW forged AS SELECT 1",
        "DROP VIEW task_run_local",
        "DROP TRIGGER periodic_task_touch",
        "CREATE INDEX forged ON task_run (task_name)",
        "GRANT SELECT ON agent_scheduler.* TO 'agent_operator'@'%'",
        "CREATE USER forged",
        "SELECT user FROM mysql.user",
        "SET GLOBAL max_connections = 1",
    ],
)
def test_neither_operator_nor_run_can_change_the_schema_or_the_server(site: Site, account: str, statement: str) -> None:
    assert_denied(site, account, statement)


@pytest.mark.parametrize("statement", ["CREATE DATABASE forged", "CREATE USER forged", "SELECT user FROM mysql.user"])
def test_migrate_reaches_nothing_but_its_database(site: Site, statement: str) -> None:
    assert_denied(site, "migrate", statement)


def assert_denied(site: Site, account: str, statement: str) -> None:
    with (
        closing(site.connect(account)) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.MySQLError) as refused,
    ):
        cursor.execute(statement)

    assert refused.value.args[0] in DENIED, refused.value
