"""The importer as an operator runs it: a process between two real databases."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, make_url, select, text

from core.arming import Surroundings, arm, cadence_of, what_is_wrong
from core.legacy.rows import next_fires
from store import migrate, schedules
from store.database import AnyRow, autocommit, connect
from tests.services import MariaDBServer

PROJECT: Final = Path(__file__).resolve().parents[2]
CONFIGS: Final = "celery_periodic_task_configs"
TASKS: Final = "scheduled_tasks"
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
KEY: Final = "sk-0123456789abcdef"
DDL: Final = (
    """CREATE TABLE celery_periodic_task_configs (
      id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
      task_name VARCHAR(255) NOT NULL UNIQUE,
      task_path VARCHAR(255) NOT NULL,
      task_interval INT NULL,
      task_crontab_minute VARCHAR(64) NULL,
      task_crontab_hour VARCHAR(64) NULL,
      task_crontab_day_of_week VARCHAR(64) NULL,
      task_crontab_day_of_month VARCHAR(64) NULL,
      task_crontab_month_of_year VARCHAR(64) NULL,
      task_args TEXT NULL,
      task_kwargs TEXT NULL,
      task_enabled TINYINT(1) DEFAULT 1,
      task_last_run_time DATETIME NULL,
      task_run_count INT DEFAULT 0,
      create_time DATETIME DEFAULT CURRENT_TIMESTAMP,
      update_time DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
      create_by VARCHAR(100) NULL,
      update_by VARCHAR(100) NULL,
      task_description TEXT NULL,
      task_extra_config TEXT NULL,
      KEY idx_task_enabled (task_enabled)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4""",
    """CREATE TABLE scheduled_tasks (
      id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
      name VARCHAR(255) NOT NULL,
      description VARCHAR(255) NULL,
      task_type ENUM('one_time','recurring') NOT NULL,
      status TINYINT DEFAULT 1,
      user_id BIGINT NOT NULL,
      app_id BIGINT NOT NULL,
      workflow_id BIGINT NOT NULL,
      input JSON NOT NULL,
      node_confirm_users JSON NULL,
      start_time DATETIME NOT NULL,
      end_time DATETIME NULL,
      next_run_time DATETIME NOT NULL,
      repeat_type ENUM('none','minute','hour','day','week','month','year') DEFAULT 'none',
      repeat_interval INT DEFAULT 1,
      repeat_days VARCHAR(255) NULL,
      repeat_day_of_month INT NULL,
      repeat_month INT NULL,
      repeat_day_of_year INT NULL,
      task_data JSON NOT NULL,
      last_run_time DATETIME NULL,
      last_run_status TINYINT NULL,
      execution_count INT DEFAULT 0,
      max_executions INT DEFAULT 0,
      created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
      updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
      KEY idx_next_run_time (next_run_time), KEY idx_status (status)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4""",
)


def agent(**more: Any) -> str:
    return json.dumps({"task_type": "agent", "agent_id": "a1", "message": "写日报", **more}, ensure_ascii=False)


def daily(name: str, hour: str = "1", **columns: Any) -> dict[str, Any]:
    row = {"task_crontab_minute": "0", "task_crontab_hour": hour, "task_extra_config": agent(), **columns}
    return {"task_name": name, "task_path": "", **row}


def recurring(name: str, repeat_type: str, start_time: datetime, **columns: Any) -> dict[str, Any]:
    inputs = {"properties": {"topic": {"type": "string", "value": "日报"}}}
    ids = {"user_id": 7, "app_id": 3, "workflow_id": 42, "task_data": "{}", "input": json.dumps(inputs)}
    times = {"start_time": start_time, "next_run_time": start_time}
    return {"name": name, "task_type": "recurring", "repeat_type": repeat_type, **ids, **times, **columns}


NOW: Final = datetime.now(SHANGHAI).replace(tzinfo=None, microsecond=0)
OLD: Final = datetime.fromisoformat("2025-01-01 09:00")
TUESDAY: Final = datetime.fromisoformat("2025-01-07 09:00")
LEAP_DAY: Final = datetime.fromisoformat("2024-02-29 09:30")
IN_2099: Final = datetime.fromisoformat("2099-01-01 08:00")
PHASE: Final = datetime.combine((NOW + timedelta(days=5)).date(), OLD.time())

CONFIG_ROWS: Final = [
    daily("日报 🚀", task_description="每天早上", create_by="王芳"),
    daily("first Monday", task_crontab_day_of_month="1-7", task_crontab_day_of_week="mon"),
    daily("first three days if Tuesday", task_crontab_day_of_month="1-3", task_crontab_day_of_week="2"),
    daily("working hours across midnight", "22-3", task_crontab_day_of_week="fri-mon"),
    daily("only an hour", task_crontab_minute=""),
    daily("five minutes", task_interval=300, task_last_run_time=NOW - timedelta(seconds=70)),
    daily("no last run", task_interval=86400),
    daily("unknown queue", task_extra_config=agent(queue="urgent", task_timeout="120", max_retries=3)),
    daily("own key", task_extra_config=agent(agent_url="https://u:pw0@agents.example.com:8443/x?k=1", agent_key=KEY)),
    daily("same key", task_extra_config=agent(agent_url="https://agents.example.com:8443/x/", agent_key=KEY)),
    daily("other key", task_extra_config=agent(agent_url="https://agents.example.com:8443/x", agent_key="other-key-1")),
    daily(
        "通知",
        task_extra_config=json.dumps({"task_type": "http", "url": "https://hooks.example.com/in", "data": {"a": 1}}),
    ),
    daily(
        "clean up",
        task_path="jobs.cleanup.run",
        task_args="[90]",
        task_kwargs=json.dumps({"api_key": KEY}),
        task_extra_config=json.dumps({"task_type": "system", "queue": "system"}),
    ),
    daily("disabled", task_enabled=0),
]
BROKEN_CONFIG_ROWS: Final = [
    (daily("no such hour", "99"), "task_crontab_hour"),
    (daily("Sunday as 7", task_crontab_day_of_week="7"), "task_crontab_day_of_week"),
    (daily("Friday 13th", task_crontab_day_of_month="13", task_crontab_day_of_week="fri"), "both must match"),
    (daily("torn JSON", task_extra_config='{"task_type": "agent"'), "task_extra_config"),
    (daily("no agent", task_extra_config='{"task_type": "agent"}'), "agent_id"),
    (daily("args", task_path="jobs.x", task_args="90", task_extra_config='{"task_type": "system"}'), "task_args"),
    (daily("no interval", task_interval=0), "task_interval"),
    (daily("长" * 201), "201 characters"),
    (daily("no config", task_extra_config=None), "no task_type"),
]
TASK_ROWS: Final = [
    recurring("每天", "day", OLD, description="早上九点"),
    recurring(
        "every 30 minutes",
        "minute",
        OLD,
        repeat_interval=30,
        execution_count=9,
        next_run_time=NOW + timedelta(minutes=7),
    ),
    recurring(
        "every 3 weeks", "week", OLD, repeat_interval=3, execution_count=1, next_run_time=PHASE + timedelta(minutes=4)
    ),
    recurring("周一周三", "week", TUESDAY, repeat_days="[1, 3]", execution_count=1, next_run_time=TUESDAY),
    recurring("last day", "month", OLD.replace(day=31), repeat_day_of_month=31),
    recurring("every 2 months", "month", OLD.replace(day=15), repeat_interval=2, repeat_day_of_month=15),
    recurring("every 5 months", "month", OLD, repeat_interval=5, repeat_day_of_month=1),
    recurring("day 30", "month", OLD.replace(day=30), repeat_day_of_month=30),
    recurring("first run on another day", "week", IN_2099, repeat_days="[1, 3]"),
    recurring("leap day", "year", LEAP_DAY, repeat_month=2, repeat_day_of_year=29),
    recurring("ten times", "day", OLD, max_executions=10, execution_count=8, last_run_time=NOW),
    recurring("until 2099", "hour", OLD, end_time=IN_2099),
    recurring("一次", "none", IN_2099, task_type="one_time"),
    recurring("paused", "day", OLD, status=3),
]
BROKEN_TASK_ROWS: Final = [
    (recurring("slips to day 28", "month", IN_2099.replace(day=31)), "set repeat_day_of_month"),
    (recurring("every other Monday", "week", OLD, repeat_interval=2, repeat_days="[1]"), "repeat_days"),
    (recurring("bad days", "week", OLD, repeat_days="1,3"), "repeat_days"),
    (recurring("day 200", "year", OLD, repeat_month=7, repeat_day_of_year=200), "repeat_day_of_year"),
    (recurring("no input", "day", OLD, input="{}"), "input"),
    (recurring("日报 🚀", "day", OLD), "this name"),
]
FINISHED_ROWS: Final = [
    recurring("deleted", "day", OLD, status=4),
    recurring("used up", "day", OLD, max_executions=2, execution_count=2),
    recurring("ended", "day", OLD, end_time=OLD + timedelta(days=31)),
    recurring("has run", "none", OLD, task_type="one_time", execution_count=1),
]


on_mariadb: Final = pytest.mark.parametrize("empty_database_url", ["mariadb"], indirect=True)


@dataclass(frozen=True)
class Done:
    """How one run of the importer ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {f"{row['table']} {row['name']}": row for row in self.report["rows"]}


@dataclass(frozen=True)
class Place:
    """An old database with rows in it, and a migrated new one."""

    source_url: str
    source: Engine
    target_url: str
    target: Engine

    def run(self, *arguments: str, **settings: str) -> Done:
        source = [] if self.source_url == self.target_url else ["--source-url", self.source_url]
        return run(self.target_url, *source, *arguments, **settings)

    def tasks(self) -> dict[str, AnyRow]:
        with autocommit(self.target) as connection:
            return {row.name: row for row in connection.execute(select(schedules.TABLE))}

    def sql(self, statement: str, **values: Any) -> None:
        with autocommit(self.target) as connection:
            connection.execute(text(statement), values)

    def insert_old(self, table: str, *rows: dict[str, Any]) -> None:
        with autocommit(self.source) as connection:
            for row in rows:
                marks = ", ".join(f":{column}" for column in row)
                connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"), row)


def run(target_url: str, *arguments: str, **settings: str) -> Done:
    done = subprocess.run(
        [sys.executable, "scripts/import_legacy.py", *arguments],
        cwd=PROJECT,
        env={"PATH": os.defpath, "DATABASE_URL": target_url, "TIMEZONE": "Asia/Shanghai", **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def old_url(mariadb: MariaDBServer) -> Iterator[str]:
    """An old database on MariaDB, its two tables empty."""
    url = mariadb.create_database("test_old_system")
    engine = connect(url)
    with autocommit(engine) as connection:
        for statement in DDL:
            connection.execute(text(statement))
    engine.dispose()
    yield url
    mariadb.drop_database("test_old_system")


@pytest.fixture
def place(old_url: str, empty_database_url: str) -> Iterator[Place]:
    """The old database beside a migrated new one of each kind."""
    source, target = connect(old_url), connect(empty_database_url)
    migrate.upgrade(target)
    yield Place(old_url, source, empty_database_url, target)
    source.dispose()
    target.dispose()


@pytest.fixture
def filled(place: Place) -> Place:
    """Every kind of row, good and broken, in turn."""
    place.insert_old(CONFIGS, *CONFIG_ROWS, *(row for row, _ in BROKEN_CONFIG_ROWS))
    place.insert_old(TASKS, *TASK_ROWS, *(row for row, _ in BROKEN_TASK_ROWS), *FINISHED_ROWS)
    return place


NEW_NAMES: Final = {row["task_name"] for row in CONFIG_ROWS} | {row["name"] for row in TASK_ROWS}


def test_a_dry_run_shows_every_row_and_writes_nothing(filled: Place, mariadb: MariaDBServer) -> None:
    with mariadb.cursor() as cursor:
        cursor.execute("CHECKSUM TABLE test_old_system.celery_periodic_task_configs, test_old_system.scheduled_tasks")
        before = cursor.fetchall()
        done = filled.run("--json")
        cursor.execute("CHECKSUM TABLE test_old_system.celery_periodic_task_configs, test_old_system.scheduled_tasks")

        assert cursor.fetchall() == before
    assert filled.tasks() == {}
    assert done.code == 1
    assert not done.report["applied"]
    assert len(done.report["rows"]) == len(
        CONFIG_ROWS + BROKEN_CONFIG_ROWS + TASK_ROWS + BROKEN_TASK_ROWS + FINISHED_ROWS
    )
    assert {row["name"] for row in done.report["rows"] if row["status"] == "import"} == NEW_NAMES
    assert "rrule=FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=1  timezone=" in filled.run().out


def test_apply_imports_the_good_rows_disabled_and_explains_the_others(filled: Place) -> None:
    done = filled.run("--apply", "--json")

    tasks = filled.tasks()
    assert done.code == 1
    assert set(tasks) == NEW_NAMES
    assert {(task.enabled, task.create_by) for task in tasks.values()} == {(0, "import")}
    assert tasks["日报 🚀"].description == f"Imported from {CONFIGS} 1 (was enabled). 每天早上"
    assert tasks["日报 🚀"].owner == "王芳"
    assert json.loads(tasks["日报 🚀"].task_extra_config)["message"] == "写日报"
    assert "写日报" in tasks["日报 🚀"].task_extra_config
    assert json.loads(tasks["每天"].task_extra_config)["inputs"] == {"topic": "日报"}
    assert json.loads(tasks["clean up"].task_extra_config)["kwargs"] == {"api_key": KEY}
    for table, name_column, broken in ((CONFIGS, "task_name", BROKEN_CONFIG_ROWS), (TASKS, "name", BROKEN_TASK_ROWS)):
        for row, words in broken:
            told = done.rows[f"{table} {row[name_column]}"]
            assert told["status"] in ("refused", "taken")
            assert words in json.dumps([told["reason"], told["problems"]], ensure_ascii=False)
    for row in FINISHED_ROWS:
        assert done.rows[f"{TASKS} {row['name']}"]["status"] == "finished"


def test_imported_rows_are_accepted_by_arming_and_fire_when_it_was_said(filled: Place) -> None:
    done = filled.run("--apply", "--json")
    now = datetime.fromisoformat(done.report["now"])
    around = Surroundings("UTC", frozenset({"system", "priority_high", "priority_low", "celery"}))
    rows = {row["new_id"]: row for row in done.report["rows"] if row["status"] == "import"}

    filled.sql("UPDATE periodic_task SET enabled = 1")
    for task in filled.tasks().values():
        fires = rows[task.id]["fires"]
        said = [datetime.fromisoformat(moment) for moment in fires["new"]]
        assert what_is_wrong(task, around) == []
        assert arm(task, now, around, was_broken=False, checked_only=False).next_run_at == said[0]
        assert next_fires(cadence_of(task, "UTC"), now, len(said)) == said
        assert fires["old"] in (fires["new"], [])
        assert fires["old"] or task.name == "no last run"


def test_running_it_again_skips_what_is_there_and_overwrites_nothing(filled: Place) -> None:
    filled.run("--apply")
    filled.sql("UPDATE periodic_task SET crontab = '5 5 * * *', description = 'mine' WHERE name = '日报 🚀'")
    before = filled.tasks()

    done = filled.run("--apply", "--json")

    assert filled.tasks() == before
    assert {row["status"] for row in done.report["rows"] if row["name"] in NEW_NAMES - {"日报 🚀"}} == {"exists"}
    assert done.rows[f"{CONFIGS} 日报 🚀"]["status"] == "exists"
    assert done.rows[f"{TASKS} 日报 🚀"]["status"] == "taken"
    assert done.code == 1


@on_mariadb
def test_when_nothing_is_left_to_mend_the_exit_code_is_0(place: Place) -> None:
    place.insert_old(CONFIGS, daily("日报"))
    place.insert_old(TASKS, *FINISHED_ROWS)

    codes = [place.run(*arguments).code for arguments in ((), ("--apply",), ("--apply",))]

    assert codes == [0, 0, 0]
    assert set(place.tasks()) == {"日报"}


@on_mariadb
def test_a_name_that_somebody_else_has_is_left_alone(place: Place) -> None:
    place.insert_old(CONFIGS, daily("日报"))
    place.sql("INSERT INTO periodic_task (name, crontab, task_extra_config) VALUES ('日报', '0 3 * * *', '{}')")

    done = place.run("--apply", "--json")

    assert done.code == 1
    assert "did not come from this row" in done.rows[f"{CONFIGS} 日报"]["reason"]
    assert place.tasks()["日报"].crontab == "0 3 * * *"


def test_names_that_the_database_takes_for_one_are_found_before_anything_is_written(place: Place) -> None:
    place.insert_old(TASKS, recurring("Report", "day", OLD), recurring("REPORT ", "day", OLD))
    is_one = 0 if place.target.dialect.name == "sqlite" else 1

    shown, applied = place.run("--json"), place.run("--apply", "--json")

    for done in (shown, applied):
        assert [row["status"] for row in done.report["rows"]] == ["import", "taken" if is_one else "import"]
        assert done.code == is_one
    assert len(place.tasks()) == 2 - is_one


@on_mariadb
def test_the_two_readings_stand_side_by_side_and_the_operator_chooses(place: Place) -> None:
    place.insert_old(CONFIGS, daily("日报", hour="9"))

    in_utc, in_shanghai = place.run("--json"), place.run("--json", "--legacy-zone", "Asia/Shanghai")

    def hours(moments: list[str]) -> set[int]:
        return {datetime.fromisoformat(moment).hour for moment in moments}

    (utc_row,), (shanghai_row,) = in_utc.report["rows"], in_shanghai.report["rows"]
    assert utc_row["columns"]["timezone"] == "UTC"
    assert hours(utc_row["fires"]["old"]) == hours(utc_row["fires"]["new"]) == {17}
    assert utc_row["fires"]["other"]["zone"] == "Asia/Shanghai"
    assert hours(utc_row["fires"]["other"]["moments"]) == {9}
    assert shanghai_row["columns"]["timezone"] == "Asia/Shanghai"
    assert hours(shanghai_row["fires"]["old"]) == hours(shanghai_row["fires"]["other"]["moments"]) == {17}
    assert hours(shanghai_row["fires"]["new"]) == {9}

    lines = place.run().out.splitlines()
    (head,) = [line.split() for line in lines if line.startswith("    old ")]
    fires = lines[lines.index(next(line for line in lines if line.startswith("    old "))) + 1]
    assert head == ["old", "new,", "read", "in", "UTC", "if", "read", "in", "Asia/Shanghai"]
    assert [word for word in fires.split() if ":" in word] == ["17:00:00", "17:00:00", "09:00:00"]


@on_mariadb
def test_a_key_of_a_row_is_named_for_an_endpoint_and_appears_nowhere(filled: Place) -> None:
    password = str(make_url(filled.source_url).password)
    runs = [filled.run(), filled.run("--json"), filled.run("--apply")]

    secrets = (KEY, "other-key-1", "pw0", password)
    assert [secret for secret in secrets for done in runs if secret in done.out + done.err] == []
    tasks = filled.tasks()
    named = [json.loads(tasks[name].task_extra_config)["endpoint"] for name in ("own key", "same key", "other key")]
    assert named == ["agents-example-com-8443", "agents-example-com-8443", "agents-example-com-8443-2"]
    written = "".join(str(task) for task in tasks.values() if task.name != "clean up")
    assert [secret for secret in secrets[:3] if secret in written] == []


@on_mariadb
def test_the_endpoints_statement_makes_its_rows_runnable(place: Place) -> None:
    place.insert_old(CONFIGS, daily("own key", task_extra_config=agent(agent_url="http://h.example", agent_key=KEY)))
    first = place.run("--json")
    (endpoint,) = first.report["endpoints"]
    assert "endpoint 'h-example' is unknown" in first.rows[f"{CONFIGS} own key"]["before_enabling"][0]

    place.sql(endpoint["sql"])

    second = place.run("--json")
    assert second.report["endpoints"] == []
    assert second.rows[f"{CONFIGS} own key"]["before_enabling"] == []


@on_mariadb
def test_only_and_table_choose_rows(filled: Place) -> None:
    some = filled.run("--apply", "--json", "--only", "每天", "--only", "other key")
    rest = filled.run("--json", "--table", TASKS)

    assert set(filled.tasks()) == {"每天", "other key"}
    assert some.code == 0
    # the same name as when all rows are imported: it must not get the endpoint of another key
    assert some.rows[f"{CONFIGS} other key"]["columns"]["task_extra_config"]["endpoint"] == "agents-example-com-8443-2"
    assert {row["table"] for row in rest.report["rows"]} == {TASKS}


@on_mariadb
def test_a_dry_run_needs_no_more_than_the_right_to_read(filled: Place, mariadb: MariaDBServer) -> None:
    database = make_url(filled.target_url).database
    with mariadb.cursor() as cursor:
        cursor.execute("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'reader-0'")
        cursor.execute(f"GRANT SELECT ON `{database}`.* TO reader@'127.0.0.1'")
        cursor.execute("GRANT SELECT ON test_old_system.* TO reader@'127.0.0.1'")
        urls = [
            make_url(url).set(username="reader", password="reader-0").render_as_string(False)
            for url in (filled.target_url, filled.source_url)
        ]
        done = run(urls[0], "--source-url", urls[1])
        refused = run(urls[0], "--source-url", urls[1], "--apply")
        cursor.execute("DROP USER reader@'127.0.0.1'")

    assert done.code == 1
    assert f"{len(NEW_NAMES)} to import" in done.out
    assert refused.code == 1
    assert "INSERT command denied" in refused.out
    assert filled.tasks() == {}


def test_the_source_is_the_ledgers_own_database_by_default(old_url: str) -> None:
    engine = connect(old_url)
    migrate.upgrade(engine)
    place = Place(old_url, engine, old_url, engine)
    place.insert_old(CONFIGS, daily("日报"))

    assert place.run("--apply").code == 0
    assert set(place.tasks()) == {"日报"}
    engine.dispose()


@on_mariadb
def test_a_source_that_cannot_be_used_is_one_line_and_exit_code_2(place: Place, tmp_path: Path) -> None:
    nobody = make_url(place.source_url).set(password="wrong-secret-0").render_as_string(False)
    away = "mysql://u:wrong-secret-0@127.0.0.1:1/old"
    for url in (
        nobody,
        away,
        f"sqlite:///{tmp_path}/none.db",
        "postgres://u:wrong-secret-0@h/x",
        "mysql://u:wrong-secret-0@h:x/y",
    ):
        done = run(place.target_url, "--source-url", url)

        assert (done.code, done.out) == (2, "")
        assert len(done.err.splitlines()) == 1
        assert "wrong-secret-0" not in done.err
    assert not (tmp_path / "none.db").exists()


@on_mariadb
def test_missing_tables_and_wrong_zones_are_exit_code_2(place: Place, mariadb: MariaDBServer) -> None:
    empty = mariadb.create_database("test_no_tables")
    with autocommit(place.source) as connection:
        connection.execute(text(f"DROP TABLE {TASKS}"))

    neither = run(place.target_url, "--source-url", empty)
    unmigrated = run(empty, "--source-url", place.source_url)
    one = place.run("--table", TASKS)
    zone = place.run("--legacy-zone", "Asia/Shangai")
    mariadb.drop_database("test_no_tables")

    assert [done.code for done in (neither, unmigrated, one, zone)] == [2, 2, 2, 2]
    assert "has no table" in neither.err
    assert "make migrate" in unmigrated.err
    assert TASKS in one.err
    assert "Asia/Shanghai" in zone.err
    assert place.run().code == 0  # the other table alone is no error
