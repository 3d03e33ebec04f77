"""`python -m packs`: tables and rows that may be installed again at any time, and edits that stay an operator's."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from config import PACK_QUEUES, PREFORK_QUEUES, Settings
from packs import install as installing
from packs import pack_modules, schema
from packs.extras import missing
from packs.install import Done, Step, install, schedules_of
from packs.schedule import Schedule
from packs.tables import PackBase
from packs.trading import tables  # noqa: F401 - declares them
from store.database import autocommit
from tests.integration.engine import Ledger, beat_on, migrated
from tests.packs.pack_ledger import pack_ledger
from tests.services import MariaDBServer
from tests.stack import ROOT

TIMES = {  # as the system that this pack continues had them, in Shanghai
    "sync-daily-stock-data": ("30 16 * * *", "data"),
    "update-realtime-prices": ("*/5 * * * *", "data"),
    "sync-financial-data": ("0 2 * * 1", "data"),
    "fetch-news-data": ("0 * * * *", "data"),
    "calculate-technical-indicators": ("0 17 * * *", "analysis"),
    "analyze-market-sentiment": ("0 18 * * *", "analysis"),
    "update-risk-assessment": ("0 3 * * 0", "analysis"),
    "analyze-trending-stocks": ("0 19 * * *", "analysis"),
    "cleanup-old-data": ("0 1 * * 0", "maintenance"),
    "refresh-cache": ("30 * * * *", "maintenance"),
    "archive-logs": ("30 0 * * *", "maintenance"),
    "backup-database": ("0 2 * * *", "maintenance"),
    "health-check": ("*/10 * * * *", "maintenance"),
    "generate-daily-market-report": ("0 20 * * *", "analysis"),
    "generate-weekly-portfolio-report": ("0 21 * * 0", "analysis"),
}


@pytest.fixture
def ledger(packs_url: str) -> Iterator[Ledger]:
    with pack_ledger(packs_url, "trading") as ledger:
        yield ledger


def installed(ledger: Ledger, *, restore: bool = False) -> dict[str, Step]:
    return {step.entry: step for step in install(ledger.engine, "trading", restore=restore)}


def test_all_fifteen_rows_have_the_times_queues_and_calendars_of_the_pack(ledger: Ledger) -> None:
    installed(ledger)

    rows = ledger.sql("SELECT name, crontab, timezone, calendar, task_extra_config, enabled FROM periodic_task")
    assert {row.name: (row.crontab, json.loads(row.task_extra_config)["queue"]) for row in rows} == TIMES
    assert {(row.timezone, row.enabled) for row in rows} == {("Asia/Shanghai", 1)}
    calendars = {row.name: row.calendar for row in rows if row.calendar}
    assert calendars == {"sync-daily-stock-data": "XSHG", "update-realtime-prices": "XSHG:open"}


def test_beat_arms_every_row_once_the_pack_is_in_use_and_none_before(ledger: Ledger) -> None:
    installed(ledger)

    for packs, broken in (((), 15), (("trading",), 0)):
        ledger.sql("UPDATE periodic_task SET armed_for = NULL, rearm_at = NULL, config_error = NULL")
        beat = beat_on(ledger, task_packs=packs)
        beat.arm()
        beat.close()
        errors = ledger.sql("SELECT config_error FROM periodic_task WHERE config_error IS NOT NULL")
        assert len(errors) == broken, errors


def test_a_second_install_changes_nothing(ledger: Ledger) -> None:
    assert {step.done for step in installed(ledger).values()} == {Done.INSTALLED}
    before = ledger.sql("SELECT * FROM periodic_task ORDER BY id")

    assert {step.done for step in installed(ledger).values()} == {Done.UNCHANGED}

    assert ledger.sql("SELECT * FROM periodic_task ORDER BY id") == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("crontab = '0 9 * * *'", "crontab"),
        ("enabled = 0", "enabled"),
        ("name = 'our prices'", "name"),
        ("task_extra_config = REPLACE(task_extra_config, '1800', '60')", "task_extra_config"),
        ("task_extra_config = 'broken'", "task_extra_config"),
        ("crontab = NULL, interval_seconds = 60", "crontab"),
    ],
)
def test_an_operators_edit_is_never_overwritten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, change: str, named: str
) -> None:
    installed(ledger)
    ledger.sql(f"UPDATE periodic_task SET {change} WHERE name = 'fetch-news-data'")
    before = ledger.sql("SELECT * FROM periodic_task ORDER BY id")
    monkeypatch.setattr(installing, "schedules_of", lambda _: newer("fetch-news-data", crontab="15 * * * *"))

    step = installed(ledger)["fetch-news-data"]

    assert (step.done, step.why) == (Done.EDITED, named)
    assert ledger.sql("SELECT * FROM periodic_task ORDER BY id") == before


def newer(entry: str, **changes: str) -> list[Schedule]:
    """The schedules of a later version."""
    return [
        Schedule(**{**{name: getattr(each, name) for name in Schedule.__slots__}, **changes})
        if each.entry == entry
        else each
        for each in schedules_of("trading")
    ]


def test_a_row_that_is_as_it_was_installed_follows_the_pack(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(ledger)
    ledger.sql("UPDATE periodic_task SET jitter_seconds = 30 WHERE name = 'health-check'")  # none of the pack's columns
    monkeypatch.setattr(installing, "schedules_of", lambda _: newer("health-check", crontab="*/15 * * * *"))

    step = installed(ledger)["health-check"]

    assert (step.done, step.why) == (Done.UPDATED, "crontab")
    (row,) = ledger.sql("SELECT crontab, jitter_seconds FROM periodic_task WHERE name = 'health-check'")
    assert tuple(row) == ("*/15 * * * *", 30)
    assert installed(ledger)["health-check"].done is Done.UNCHANGED


def test_a_deleted_row_comes_back_only_when_asked_for(ledger: Ledger) -> None:
    installed(ledger)
    ledger.sql("DELETE FROM periodic_task WHERE name = 'archive-logs'")

    assert installed(ledger)["archive-logs"].done is Done.DELETED
    assert ledger.value("SELECT count(*) FROM periodic_task") == 14
    assert installed(ledger, restore=True)["archive-logs"].done is Done.INSTALLED
    assert ledger.value("SELECT count(*) FROM periodic_task") == 15


def test_a_row_of_the_same_name_that_is_not_the_packs_is_left_alone(ledger: Ledger) -> None:
    ledger.insert("health-check", crontab="1 1 1 1 *")

    assert installed(ledger)["health-check"].done is Done.TAKEN
    assert ledger.value("SELECT crontab FROM periodic_task WHERE name = 'health-check'") == "1 1 1 1 *"
    assert ledger.value("SELECT count(*) FROM periodic_task") == 15


def test_the_tables_are_those_that_the_code_knows_and_may_be_made_again(ledger: Ledger) -> None:
    with autocommit(ledger.engine) as connection:
        connection.execute(text("DELETE FROM pack_schema_trading"))  # a process was killed before it noted them
    schema.upgrade(ledger.engine, "trading")

    assert schema.is_current(ledger.engine, "trading")
    found = inspect(ledger.engine)
    ours = {name: table for name, table in PackBase.metadata.tables.items() if name.startswith(("trading_", "pack_"))}
    for name, table in ours.items():
        columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [each.name for each in table.primary_key], name
        assert {index["name"] for index in found.get_indexes(name)} >= {index.name for index in table.indexes}, name


def packs(database_url: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, **settings}
    return subprocess.run(
        [sys.executable, "-m", "packs", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'scheduler.db'}"
    bare = packs(url, "install", "trading")
    assert (bare.returncode, bare.stderr) == (2, "the database has no schema yet; run: make migrate\n")
    migrated(url).close()

    first = packs(url, "install", "trading").stdout.splitlines()
    again = packs(url, "install", "trading", TASK_PACKS="trading").stdout.splitlines()

    assert first[0] == "tables of trading: brought to the newest schema"
    assert "sync-daily-stock-data: installed" in first
    assert first[16] == "trading: 15 installed"
    assert first[17].startswith("TASK_PACKS does not name trading")
    assert again[-1] == "trading: 15 unchanged"


def test_installs_at_the_same_time_do_the_work_once(mariadb: MariaDBServer) -> None:
    url = mariadb.create_database("packs_at_once")
    migrated(url).close()
    command = [sys.executable, "-m", "packs", "install", "trading"]
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "TASK_PACKS": "trading"}

    at_once = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=100)[0] for process in at_once]

    assert [process.returncode for process in at_once] == [0, 0, 0], said
    assert sum(text.count(": installed\n") for text in said) == 15, said
    assert "another row" not in "".join(said)
    mariadb.drop_database("packs_at_once")


def test_tables_of_a_later_version_are_left_alone(ledger: Ledger) -> None:
    ledger.sql("UPDATE pack_schema_trading SET version_num = '9999'")
    try:
        assert schema.is_current(ledger.engine, "trading")
        schema.upgrade(ledger.engine, "trading")
        assert ledger.value("SELECT version_num FROM pack_schema_trading") == "9999"
    finally:
        ledger.sql("DELETE FROM pack_schema_trading")
        schema.upgrade(ledger.engine, "trading")


def test_the_command_names_what_a_wrong_setting_should_be(tmp_path: Path) -> None:
    done = packs(f"sqlite:///{tmp_path / 'x.db'}", "requirements", TASK_PACKS="tradnig")

    assert done.returncode == 2
    assert "there is no task pack 'tradnig'; did you mean trading?" in done.stderr


def test_requirements_are_named_and_what_is_missing_is_found(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# why\n-r other.txt\npytest==0.1   # too old\nno-such-package==1.0\nSQLAlchemy==2.1.9\n")

    assert missing(pins) == ["pytest==0.1", "no-such-package==1.0"]
    assert packs("", "requirements", TASK_PACKS="trading").stdout == "requirements-trading.txt\n"


def test_every_queue_of_a_pack_is_served_by_exactly_one_of_the_two_workers() -> None:
    import run_worker

    settings = Settings(_env_file=None, task_packs="trading,assistant")
    parser = run_worker._parser()
    served = {each: run_worker._queues(parser.parse_args(["--serve", each]), settings) for each in ("agents", "packs")}

    assert sorted([*served["agents"], *served["packs"]]) == sorted(settings.queues)
    assert served["packs"] == list(PREFORK_QUEUES)
    assert run_worker._queues(parser.parse_args([]), settings) == list(settings.queues)
    conf = (ROOT / "conf" / "celery_worker.conf").read_text()
    assert "run_worker.py --serve agents\n" in conf
    assert "run_worker.py --serve packs " in conf


def test_the_packs_queues_rank_as_they_were_and_task_queues_rank_them_anew() -> None:
    both = Settings(_env_file=None, task_packs="trading,assistant")
    assert both.queues == (
        *("system", "priority_high", "ai_high_priority", "priority_low"),
        *("data", "analysis", "maintenance", "knowledge_default", "notification_default", "default", "celery"),
    )
    ours = Settings(_env_file=None, task_packs="trading", task_queues="maintenance,mine,data")
    assert ours.queues == (
        *("system", "priority_high", "priority_low", "maintenance", "mine", "data", "analysis", "celery"),
    )
    assert Settings(_env_file=None).queues == ("system", "priority_high", "priority_low", "celery")
    assert set(PACK_QUEUES["trading"]) < set(both.prefork_queues)


def test_the_modules_of_a_pack_load_without_what_only_its_tasks_need() -> None:
    """Whoever does not install requirements-trading.txt still starts a worker, and is told by the run."""
    blocked = ("pandas", "numpy", "pyarrow", "talib", "rjieba", "vaderSentiment", "akshare", "tushare")
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import importlib\n"
        f"for name in {pack_modules(['trading'])!r}: importlib.import_module(name)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
