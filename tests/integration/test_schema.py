"""The schema: the same in models and migrations, refusing what the code must not do, and removable."""

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
from sqlalchemy import inspect, make_url
from sqlalchemy.exc import DBAPIError

from core.lifecycle import Origin, State
from models import Base
from store import migrate
from store.database import connect
from tests.integration.conftest import on_servers, on_sqlite
from tests.integration.engine import Ledger, agent, migrated
from tests.services import MariaDBServer


def test_models_and_migrated_schema_have_the_same_columns(ledger: Ledger) -> None:
    schema = inspect(ledger.engine)

    assert set(schema.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    for table in Base.metadata.sorted_tables:
        migrated = {column["name"]: column["nullable"] for column in _columns(ledger, table.name)}
        computed = {column.name for column in table.columns if column.computed is not None}
        modelled = {column.name: bool(column.nullable) for column in table.columns}
        assert list(migrated) == list(modelled), table.name
        assert {name: migrated[name] for name in migrated if name not in computed} == {
            name: modelled[name] for name in modelled if name not in computed
        }, table.name


def _columns(ledger: Ledger, table: str) -> list[dict[str, Any]]:
    """Every column, hidden and generated ones too (SQLite's inspection leaves those out)."""
    if not ledger.is_sqlite:
        rows = ledger.sql(
            "SELECT column_name AS name, is_nullable AS nullable FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = :name ORDER BY ordinal_position",
            name=table,
        )
        return [{"name": row.name, "nullable": row.nullable == "YES"} for row in rows]
    rows = ledger.sql(f"PRAGMA table_xinfo({table})")
    return [{"name": row.name, "nullable": not row.notnull} for row in rows]


def test_both_databases_have_the_same_indexes(ledger: Ledger) -> None:
    schema = inspect(ledger.engine)

    indexes = {
        index["name"]: (index["column_names"], bool(index["unique"]))
        for table in Base.metadata.tables
        for index in schema.get_indexes(table)
    }

    assert indexes == {
        "uq_periodic_task_name": (["name"], True),
        "ix_periodic_task_due": (["needs_arming", "next_run_at"], False),
        "ix_periodic_task_run_now": (["run_now"], False),
        "ix_periodic_task_rearm": (["rearm_at"], False),
        "ix_periodic_task_calendar": (["calendar"], False),
        "uq_task_run_moment": (["periodic_task_id", "origin", "scheduled_for"], True),
        "ix_task_run_ready": (["state", "ready_at"], False),
        "ix_task_run_active": (["active_task_id"], False),
        "ix_worker_lease_expires": (["expires_at"], False),
        "uq_agent_endpoint_name": (["name"], True),
        "uq_backfill_open": (["open_task_id"], True),
        "ix_periodic_task_owner": (["owner"], False),
        "uq_api_user_name": (["name"], True),
        "uq_api_token_digest": (["digest"], True),
        "ix_api_session_user": (["user_id"], False),
        "ix_api_session_expires": (["expires_at"], False),
        "ix_api_request_create_time": (["create_time"], False),
        "ix_audit_log_subject": (["subject_kind", "subject", "id"], False),
        "ix_audit_log_change_set": (["change_set", "id"], False),
        "ix_bulk_change_create_time": (["create_time"], False),
        "ix_hold_ended_at": (["ended_at"], False),
        "uq_notify_channel_name": (["name"], True),
        "uq_notify_message": (["channel", "event", "cause"], True),
        "ix_task_after_upstream": (["upstream_id"], False),
    }


@pytest.fixture
def own_ledger(empty_database_url: str) -> Iterator[Ledger]:
    """A ledger whose schema the test may take apart."""
    ledger = migrated(empty_database_url)
    yield ledger
    ledger.close()


def test_the_schema_goes_down_to_nothing_and_up_again(own_ledger: Ledger) -> None:
    ledger = own_ledger
    ledger.insert("before")

    migrate.downgrade(ledger.engine, "base")

    schema = inspect(ledger.engine)
    assert schema.get_table_names() == ["alembic_version"]
    assert schema.get_view_names() == []
    assert migrate.current_revision(ledger.engine) is None

    migrate.upgrade(ledger.engine)

    assert migrate.current_revision(ledger.engine) == migrate.newest_revision()
    ledger.insert("after")


def test_migrating_a_current_database_changes_nothing(ledger: Ledger) -> None:
    task = ledger.insert()

    migrate.upgrade(ledger.engine)

    assert ledger.task(task).name == "row"


@pytest.mark.parametrize("name", ["running", "success", "", "PENDING "])
def test_a_state_outside_the_list_is_refused(ledger: Ledger, name: str) -> None:
    run = ledger.add_run()

    with pytest.raises(DBAPIError):
        ledger.sql("UPDATE task_run SET state = :state WHERE id = :id", state=name, id=run)


def test_every_state_and_origin_of_the_code_is_accepted(ledger: Ledger) -> None:
    for state in State:
        for origin in Origin:
            ledger.add_run(state, origin=origin)

    assert len(ledger.runs()) == len(State) * len(Origin)


@pytest.mark.parametrize(
    "assignment",
    [
        "priority = 10",
        "priority = -1",
        "priority = NULL",
        "attempt = -1",
        "origin = 'trigger'",
        "state = 'STARTED', worker = NULL",
        "state = 'STARTED', worker = 'w', deadline_at = NULL",
        "state = 'FAILURE', error = NULL",
        "state = 'SKIPPED', error = NULL",
        "scheduled_for = NULL",
        "task_name = NULL",
        "config = NULL",
    ],
)
def test_a_run_that_contradicts_itself_is_refused(ledger: Ledger, assignment: str) -> None:
    run = ledger.add_run()

    with pytest.raises(DBAPIError):
        ledger.sql(f"UPDATE task_run SET {assignment} WHERE id = :id", id=run)


@pytest.mark.parametrize(
    "assignment",
    [
        "run_count = -1",
        "consecutive_failures = -1",
        "run_count = ''",
        "consecutive_failures = 'many'",
        "enabled = NULL",
        "overlap = NULL",
        "jitter_seconds = NULL",
        "next_run_at = 'soon'",
        "next_run_at = '0'",
        "next_run_at = '2027-13-01 00:00:00'",
        "next_run_at = '2027-01-01 00:00:00 tomorrow'",
        "last_run_at = 'never'",
    ],
)
def test_a_row_the_system_could_not_read_back_is_refused(ledger: Ledger, assignment: str) -> None:
    task = ledger.insert()

    with pytest.raises(DBAPIError):
        ledger.sql(f"UPDATE periodic_task SET {assignment} WHERE id = :id", id=task)


@pytest.mark.parametrize(
    "text", ["2027-01-02", "2027-01-02 03:04", "2027-01-02 03:04:05", "2027-01-02 03:04:59.999999"]
)
def test_a_next_moment_may_be_set_by_hand_in_any_precision(ledger: Ledger, text: str) -> None:
    task = ledger.insert()

    ledger.sql("UPDATE periodic_task SET next_run_at = :text WHERE id = :id", text=text, id=task)

    assert ledger.task(task).next_run_at == datetime.fromisoformat(text).replace(tzinfo=UTC)


@on_sqlite
def test_sqlite_refuses_moments_that_text_cannot_compare(ledger: Ledger) -> None:
    task = ledger.insert()

    for text in ("2027-01-02T03:04:05", "2027-01-02 03:04:05+08:00", "now"):
        with pytest.raises(DBAPIError):
            ledger.sql("UPDATE periodic_task SET next_run_at = :text WHERE id = :id", text=text, id=task)


def test_a_moment_has_one_run_for_each_origin(ledger: Ledger) -> None:
    moment = ledger.now()
    for origin in Origin:
        ledger.add_run(periodic_task_id=1, origin=origin, scheduled_for=moment)

    with pytest.raises(DBAPIError):
        ledger.add_run(periodic_task_id=1, scheduled_for=moment)


def test_two_rows_cannot_share_a_name(ledger: Ledger) -> None:
    ledger.insert("nightly")

    with pytest.raises(DBAPIError):
        ledger.insert("nightly")


def test_ids_of_deleted_rows_are_not_used_again(ledger: Ledger) -> None:
    first = ledger.insert("first")
    ledger.sql("DELETE FROM periodic_task")

    assert ledger.insert("second") > first


def test_history_outlives_its_row(ledger: Ledger) -> None:
    task = ledger.insert()
    ledger.add_run(State.SUCCESS, periodic_task_id=task)

    ledger.sql("DELETE FROM periodic_task")

    assert len(ledger.runs(task)) == 1


@on_servers
def test_system_columns_do_not_show_in_select_star(ledger: Ledger) -> None:
    task = ledger.insert()

    (row,) = ledger.sql("SELECT * FROM periodic_task WHERE id = :id", id=task)

    assert not {"armed_for", "rearm_at", "needs_arming", "schedule_fingerprint"} & set(row._fields)


def test_chinese_text_is_stored_and_found_as_it_is(ledger: Ledger) -> None:
    ledger.insert("日报 🚀", task_extra_config=agent("生成日报"))

    assert ledger.value("SELECT name FROM periodic_task WHERE task_extra_config LIKE '%日报%'") == "日报 🚀"


def test_the_local_views_show_system_times_in_the_zone_of_the_session(ledger: Ledger) -> None:
    moment = datetime(2026, 7, 1, 1, 2, 3, 456789, tzinfo=UTC)
    task = ledger.insert(next_run_at=moment)
    ledger.add_run(State.SUCCESS, periodic_task_id=task, scheduled_for=moment)
    if ledger.is_sqlite:
        local = moment.astimezone().replace(tzinfo=None)
        text = ledger.value("SELECT next_run_at FROM periodic_task_local")
        assert abs(datetime.fromisoformat(text) - local) < timedelta(milliseconds=1)
        assert ledger.value("SELECT state FROM task_run_local") == "SUCCESS"
        return

    with ledger.operator("SET time_zone = '+08:00'").cursor() as cursor:
        cursor.execute("SELECT t.next_run_at, r.scheduled_for FROM periodic_task_local t, task_run_local r")

        assert cursor.fetchone() == (datetime(2026, 7, 1, 9, 2, 3, 456789),) * 2  # noqa: DTZ001 - local is what is shown


@pytest.fixture
def url_without_trigger_privilege(mariadb: MariaDBServer) -> Iterator[str]:
    url = make_url(mariadb.create_database("no_trigger"))
    with mariadb.cursor() as cursor:
        cursor.execute("CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'plain-0'")
        cursor.execute(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, CREATE VIEW, SHOW VIEW "
            "ON no_trigger.* TO plain@'127.0.0.1'"
        )
    yield url.set(username="plain", password="plain-0").render_as_string(hide_password=False)
    with mariadb.cursor() as cursor:
        cursor.execute("DROP USER plain@'127.0.0.1'")
    mariadb.drop_database("no_trigger")


def test_a_migration_that_may_not_create_triggers_warns_and_goes_on(
    url_without_trigger_privilege: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = connect(url_without_trigger_privilege)

    with caplog.at_level(logging.WARNING, "migrations"):
        migrate.upgrade(engine)

    assert migrate.current_revision(engine) == migrate.newest_revision()
    assert "periodic_task.update_time will not follow edits" in caplog.text
    assert "0001_mysql_touch.sql" in caplog.text
    engine.dispose()


def test_a_migration_that_failed_is_not_recorded_as_done(empty_database_url: str) -> None:
    ledger = Ledger(empty_database_url)
    ledger.sql("CREATE TABLE task_run (id INT)")

    with pytest.raises(DBAPIError, match="task_run"):
        migrate.upgrade(ledger.engine)

    assert migrate.current_revision(ledger.engine) is None
    ledger.close()


def test_a_session_of_the_product_is_utc_and_read_committed(mariadb: MariaDBServer) -> None:
    engine = connect(mariadb.create_database("sessions"), wait_timeout=9)
    with engine.connect() as connection:
        settings = connection.exec_driver_sql(
            "SELECT @@time_zone, @@tx_isolation, @@wait_timeout, @@innodb_lock_wait_timeout"
        ).one()
    engine.dispose()
    mariadb.drop_database("sessions")

    assert tuple(settings) == ("+00:00", "READ-COMMITTED", 9, 3)
    with closing(pymysql.connect(unix_socket=str(mariadb.socket), user="root")) as plain, plain.cursor() as cursor:
        cursor.execute("SELECT @@tx_isolation")
        assert cursor.fetchone() == ("REPEATABLE-READ",)
