"""The trading pack's upkeep on each kind of database: a backup is worth what comes back of it."""

import gzip
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import inspect, make_url

from config import get_settings
from core.outcome import AgentError, ErrorKind
from packs import schema
from packs.trading import backup, log_archive
from packs.trading import maintenance_tasks as tasks
from packs.trading.backup import BackupFault
from tests.integration.engine import Ledger, migrated
from tests.packs.conftest import on_servers, on_sqlite
from tests.packs.pack_ledger import command, pack_ledger, settings_of
from tests.services import MariaDBServer

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2025, 1, 20, 2, 0, tzinfo=UTC)
ODD = "日报 ' \" \\ \n ; -- 🐉"


@pytest.fixture
def ledger(packs_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    with (
        pack_ledger(packs_url, "trading") as ledger,
        settings_of(
            monkeypatch,
            database_url=packs_url,
            backup_dir=tmp_path / "backups",
            report_dir=tmp_path / "reports",
            log_dir=tmp_path / "logs",
            celery_broker_url="redis://127.0.0.1:1/0",
            timezone="Asia/Shanghai",
            trading_symbols="600519,000858",
        ),
    ):
        yield ledger


def fill(ledger: Ledger) -> None:
    """Rows with everything that a dump may stumble over."""
    task = ledger.insert(ODD, description=ODD)
    ledger.add_run(task_id=task)
    ledger.sql("INSERT INTO notify_channel (name, url) VALUES ('hidden', 'sealed')")
    add_bars(ledger, "600519", {date(2025, 1, 17): 1688.5, date(2025, 1, 20): 1700.25})


def add_assistant(ledger: Ledger) -> None:
    """The other pack's tables as well, one of its limits, and what the audit says of it."""
    schema.upgrade(ledger.engine, "assistant")
    ledger.sql("DELETE FROM agent_limit")
    ledger.sql("DELETE FROM audit_log")
    ledger.sql("INSERT INTO agent_limit (endpoint, agent, requests_per_minute) VALUES ('celery', 'answers', 7)")
    assert ledger.value("SELECT count(*) FROM audit_log") == 1


def add_bars(ledger: Ledger, symbol: str, closes: dict[date, float]) -> None:
    for day, close in closes.items():
        ledger.sql(
            "INSERT INTO trading_bar (symbol, day, open, high, low, close, volume, amount, adj_factor, source, "
            "update_time) VALUES (:symbol, :day, :close, :close, :close, :close, 100, :close, 1, 'test', :now)",
            now="2025-01-20 00:00:00.000000",
            symbol=symbol,
            day=day.isoformat(),
            close=close,
        )


def content(ledger: Ledger) -> dict[str, list[Any]]:
    """Every row of every table, hidden columns too."""
    return {
        table: sorted(map(repr, ledger.sql(f"SELECT {', '.join(columns_of(ledger, table))} FROM {table}")))
        for table in inspect(ledger.engine).get_table_names()
    }


def columns_of(ledger: Ledger, table: str) -> list[str]:
    if ledger.is_sqlite:
        return [f"`{row.name}`" for row in ledger.sql(f"PRAGMA table_xinfo({table})")]
    query = "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = DATABASE() AND "
    return [f"`{row.name}`" for row in ledger.sql(f"{query} table_name = :table ORDER BY 1", table=table)]


@contextmanager
def empty_twin(ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path) -> Iterator[Ledger]:
    """A database of the same kind to restore into: for SQLite a file that is not there yet."""
    if ledger.is_sqlite:
        twin = Ledger(f"sqlite:///{tmp_path / 'restored' / 'scheduler.db'}")
        yield twin
        twin.close()
        return
    twin = migrated(mariadb.create_database("pack_restored"))
    try:
        yield twin
    finally:
        twin.close()
        mariadb.drop_database("pack_restored")


def test_a_backup_brings_every_row_back(ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path) -> None:
    add_assistant(ledger)
    fill(ledger)

    result = tasks.backup_database()

    path = Path(result["backup_stats"]["path"])
    assert result["success"] is True
    assert subprocess.run(["sha256sum", "-c", f"{path.name}.sha256"], cwd=path.parent, check=True, capture_output=True)
    before = content(ledger)
    with empty_twin(ledger, mariadb, tmp_path) as twin:
        backup.restore(path, twin.engine)

        assert content(twin) == before
        assert twin.value("SELECT name FROM periodic_task") == ODD
        assert twin.insert("the restored one works") > 0


def test_a_backup_is_restored_by_its_command(ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path) -> None:
    fill(ledger)
    path = tasks.backup_database()["backup_stats"]["path"]

    with empty_twin(ledger, mariadb, tmp_path) as twin:
        done = command("scripts.restore", path, DATABASE_URL=twin.url)
        again = command("scripts.restore", path, DATABASE_URL=twin.url)

        assert (done.returncode, again.returncode) == (0, 2), done.stderr
        assert twin.value("SELECT count(*) FROM trading_bar") == 2
    assert "already" in again.stderr
    password = make_url(ledger.url).password
    assert password is None or password not in done.stdout + done.stderr + again.stderr


@on_servers
def test_the_password_stands_on_no_command_line_and_in_no_file(
    ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mariadb-dump").write_text(
        f'#!/bin/sh\ncat "/proc/$$/cmdline" > {tmp_path}/seen\nexec "{_real("mariadb-dump")}" "$@"\n'
    )
    (programs / "mariadb-dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with mariadb.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER 'backup'@'127.0.0.1' IDENTIFIED BY %s", (SECRET,))
        database = make_url(ledger.url).database
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO 'backup'@'127.0.0.1'")
    reader = Ledger(make_url(ledger.url).set(username="backup", password=SECRET).render_as_string(False))
    fill(ledger)

    made = backup.back_up(reader.engine, tmp_path / "backups", NOW, "run-12345678")  # an account that only has rows
    reader.close()

    seen = (tmp_path / "seen").read_bytes()
    assert b"--single-transaction" in seen
    assert b"hunter2" not in seen
    assert b"hunter2" not in gzip.decompress(made.path.read_bytes())
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == [made.path.name, made.checksum_file.name]


SECRET = 'hunter2 "quoted" \\ # %'


def _real(program: str) -> str:
    found = subprocess.run(["which", program], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@on_sqlite
def test_only_the_newest_backups_are_kept_and_only_their_owner_reads_them(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_KEEP", "2")
    get_settings.cache_clear()
    folder = tmp_path / "backups"
    old = [backup.back_up(ledger.engine, folder, NOW + timedelta(days=day), f"run-0000000{day}") for day in range(2)]

    result = tasks.backup_database()

    kept = backup.complete(folder)
    assert result["backup_stats"]["removed"] == [old[0].path.name]
    assert [path.name for path in kept] == [old[1].path.name, Path(result["backup_stats"]["path"]).name]
    assert len(list(folder.iterdir())) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_damaged_or_unfinished_backup_is_never_restored(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    made = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000000")
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[:-100])
    with pytest.raises(BackupFault, match="damaged"):
        backup.restore(made.path, ledger.engine)
    made.path.write_bytes(gzip.compress(gzip.decompress(whole) + b"\n"))  # whole, and another
    with pytest.raises(BackupFault, match="its checksum is another one"):
        backup.restore(made.path, ledger.engine)
    made.checksum_file.unlink()
    made.path.write_bytes(whole)

    with pytest.raises(BackupFault, match="no checksum beside it"):
        backup.restore(made.path, ledger.engine)
    assert backup.complete(tmp_path) == []


@on_servers
def test_a_restoration_that_stops_in_the_middle_leaves_the_database_empty_for_the_next(
    ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path
) -> None:
    add_assistant(ledger)
    fill(ledger)
    before = content(ledger)
    sound = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000001")
    made = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000000")
    rows = gzip.decompress(made.path.read_bytes()).removesuffix(b"\n")
    made.path.write_bytes(gzip.compress(rows + b"\nINSERT INTO nowhere VALUES (1);\n-- Dump completed\n"))
    made.checksum_file.write_text(f"{sha256(made.path.read_bytes()).hexdigest()}  {made.path.name}\n")

    with empty_twin(ledger, mariadb, tmp_path) as twin:
        with pytest.raises(BackupFault, match="nowhere"):
            backup.restore(made.path, twin.engine)

        assert twin.value("SELECT count(*) FROM periodic_task") == 0
        assert twin.value("SELECT count(*) FROM trading_bar") == 0
        assert twin.value("SELECT count(*) FROM agent_limit") > 1, "the packs' own limits are there, and audited"
        assert twin.value("SELECT count(*) FROM audit_log") == twin.value("SELECT count(*) FROM agent_limit")
        backup.restore(sound.path, twin.engine)
        assert content(twin) == before


@on_servers
def test_a_database_that_somebody_set_up_is_not_overwritten(
    ledger: Ledger, mariadb: MariaDBServer, tmp_path: Path
) -> None:
    made = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000000")

    with empty_twin(ledger, mariadb, tmp_path) as twin:
        limit = "INSERT INTO agent_limit (endpoint, agent, requests_per_minute) VALUES ('mine', 'answers', 7)"
        twin.sql("INSERT INTO agent_endpoint (name, provider, base_url) VALUES ('mine', 'dify', 'http://x')")
        twin.sql(limit)
        with pytest.raises(BackupFault, match="there are rows in agent_endpoint, agent_limit, audit_log"):
            backup.restore(made.path, twin.engine)
        twin.sql("DELETE FROM agent_endpoint")
        twin.sql("DELETE FROM audit_log")
        with pytest.raises(BackupFault, match="there are rows in agent_limit;"):
            backup.restore(made.path, twin.engine)

        assert twin.value("SELECT endpoint FROM agent_limit") == "mine"
        assert not inspect(twin.engine).has_table("trading_bar"), "it was changed before it was looked at"


@on_sqlite
@pytest.mark.parametrize("ending", ["", "-wal", "-journal"])
def test_no_file_is_restored_over_another_or_its_left_overs(ledger: Ledger, tmp_path: Path, ending: str) -> None:
    made = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000000")
    (tmp_path / f"new.db{ending}").write_bytes(b"of another")
    twin = Ledger(f"sqlite:///{tmp_path / 'new.db'}")

    with pytest.raises(BackupFault, match="is there already"):
        backup.restore(made.path, twin.engine)

    assert (tmp_path / f"new.db{ending}").read_bytes() == b"of another"
    twin.close()


@on_sqlite
@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_backup_that_is_killed_at_its_end_leaves_nothing_that_takes_room(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    before = backup.back_up(ledger.engine, tmp_path, NOW, "run-00000000")
    rename, names = os.rename, list[Any]()

    def killed(*of: Any) -> None:
        names.append(of)
        if len(names) == dies_at:
            raise KeyboardInterrupt
        rename(*of)

    with monkeypatch.context() as patch:
        patch.setattr("packs.whole_file.os.rename", killed)
        with pytest.raises(KeyboardInterrupt):
            backup.back_up(ledger.engine, tmp_path, NOW + timedelta(days=1), "run-00000001")

    assert backup.complete(tmp_path) == [before.path]
    assert list(tmp_path.glob("*.gz")) == [before.path]


@on_servers
def test_a_dump_that_fails_leaves_nothing_and_fails_the_run(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mariadb-dump").write_text('#!/bin/sh\necho "-- the first half"\necho "lost connection" >&2\nexit 3\n')
    (programs / "mariadb-dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    with pytest.raises(AgentError, match="lost connection") as failed:
        tasks.backup_database()

    assert failed.value.kind is ErrorKind.UNAVAILABLE
    assert list((tmp_path / "backups").iterdir()) == []


# -- logs ---------------------------------------------------------------------------------------------


@on_sqlite
def test_logs_of_past_days_are_packed_and_todays_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    today = datetime.now(UTC).astimezone(ZONE).date()
    past = f"celery_{today - timedelta(days=2):%Y%m%d}.log"
    texts = {
        past: "一行日志\n" * 1000,
        f"{past}.1": "earlier\n" * 1000,
        f"celery_{today:%Y%m%d}.log": "now\n",
        "supervisor_beat.log": "not ours\n",
    }
    for name, text in texts.items():
        (logs / name).write_text(text)
    (logs / "archive").mkdir()
    with gzip.open(logs / "archive" / "celery_20200101.log.gz", "wb") as old:
        old.write(b"old")

    result = tasks.archive_logs()

    stats = result["archive_stats"]
    assert stats["archived_files"] == [f"{past}.gz", f"{past}.1.gz"]
    assert stats["removed"] == ["celery_20200101.log.gz"]
    packed = {path.name: gzip.decompress(path.read_bytes()).decode() for path in (logs / "archive").iterdir()}
    assert packed == {f"{name}.gz": texts[name] for name in list(texts)[:2]}
    assert sorted(path.name for path in logs.glob("*.log*")) == sorted(list(texts)[2:])


def test_a_packing_that_was_killed_is_finished_and_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "celery_20250118.log"
    log.write_text("first\n")
    since = date(2024, 1, 1)
    log_archive.archive(tmp_path, date(2025, 1, 20), since)
    log.write_text("first\n")  # killed between packing and removing
    log_archive.archive(tmp_path, date(2025, 1, 20), since)
    log.write_text("second\n")  # a file of that name with other lines

    log_archive.archive(tmp_path, date(2025, 1, 20), since)

    archive = tmp_path / "archive"
    assert {path.name: gzip.decompress(path.read_bytes()) for path in archive.iterdir()} == {
        "celery_20250118.log.gz": b"first\n",
        "celery_20250118.log~2.gz": b"second\n",
    }
    assert not log.exists()


# -- clean-up and cache -------------------------------------------------------------------------------


def ago(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M:%S.%f}"


def test_old_data_goes_and_the_base_of_every_figure_stays(ledger: Ledger, tmp_path: Path) -> None:
    add_bars(ledger, "600519", {date(2020, 1, 2): 1.0})
    for days in (40, 2):
        ledger.sql(
            "INSERT INTO trading_price (symbol, at, price, source) VALUES ('600519', :at, 1, 'test')", at=ago(days)
        )
        ledger.sql(
            "INSERT INTO trading_news (digest, symbol, title, content, published_at, language, source, fetched_at) "
            "VALUES (:digest, '600519', 't', 'c', :at, 'zh', 'test', :at)",
            digest=f"d{days}",
            at=ago(days),
        )
        ledger.sql(
            "INSERT INTO trading_sentiment (day, symbol, score, articles, positive, negative, neutral, update_time) "
            "VALUES (:day, '*', 0, 1, 0, 0, 1, :at)",
            day=ago(days)[:10],
            at=ago(days),
        )
    reports = tmp_path / "reports"
    reports.mkdir()
    for name, age in (("old.pdf", 40), ("new.pdf", 2), ("old.csv", 40)):
        (reports / name).write_text("x")
        then = time.time() - age * 86400
        os.utime(reports / name, (then, then))

    result = tasks.cleanup_old_data(days_to_keep=30)

    assert result["cleanup_stats"] == {
        "realtime_prices": 1,
        "analyses": 0,
        "news": 1,
        "sentiments": 1,
        "trends": 0,
        "report_files": 1,
    }
    assert result["days_kept"] == 30
    assert ledger.sql("SELECT digest FROM trading_news") == [("d2",)]
    assert ledger.value("SELECT count(*) FROM trading_bar") == 1
    assert sorted(path.name for path in reports.iterdir()) == ["new.pdf", "old.csv"]


@on_sqlite
@pytest.mark.parametrize("days", [0, -1, True, "90", 1.5])
def test_days_without_sense_delete_nothing(ledger: Ledger, days: Any) -> None:
    with pytest.raises(AgentError, match="whole number of days"):
        tasks.cleanup_old_data(days_to_keep=days)


def test_the_cache_holds_the_latest_of_each_symbol(ledger: Ledger) -> None:
    today = datetime.now(UTC).astimezone(ZONE).date()
    add_bars(ledger, "600519", {today - timedelta(days=days): 100.0 + days for days in range(6)})
    ledger.sql(
        "INSERT INTO trading_price (symbol, at, price, source) VALUES ('600519', :a, 98, 't'), ('600519', :b, 99, 't')",
        a=ago(0.2),
        b=ago(0.1),
    )
    ledger.sql(
        "INSERT INTO trading_snapshot (symbol, day, close, update_time) VALUES ('gone', '2020-01-01', 1, :at)",
        at=ago(9),
    )

    result = tasks.refresh_cache()

    (row,) = ledger.sql("SELECT symbol, close, change_1d, change_5d, change_20d, price FROM trading_snapshot")
    assert result["cache_stats"] == {"symbols": 1, "removed": 1}
    assert (row.symbol, row.close, row.change_20d, row.price) == ("600519", 100.0, None, 99.0)
    assert row.change_1d == pytest.approx(100 / 101 - 1)
    assert row.change_5d == pytest.approx(100 / 105 - 1)


# -- health -------------------------------------------------------------------------------------------


def test_the_health_check_finds_what_is_broken_and_what_works(
    ledger: Ledger, empty_broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tasks.health_check()

    monkeypatch.setenv("CELERY_BROKER_URL", empty_broker_url)
    get_settings.cache_clear()
    ledger.sql("INSERT INTO beat_heartbeat (id, started_at, last_tick_at) VALUES ('b', :now, :now)", now=ago(0))
    ledger.sql(
        "INSERT INTO worker_lease (id, pid, queues, concurrency, started_at, expires_at) "
        "VALUES ('w', 1, :queues, 1, :now, :then)",
        queues=",".join(get_settings().queues),
        now=ago(0),
        then=ago(-1),
    )
    add_bars(ledger, "600519", {datetime.now(UTC).date(): 1.0})
    tasks.backup_database()
    mended = tasks.health_check()

    assert broken["overall_status"] == "unhealthy"
    assert broken["unhealthy_services"] == ["broker", "beat", "workers", "backup", "market_data"]
    assert "refused" in broken["health_details"]["broker"]["detail"]
    assert mended["unhealthy_services"] == []
    assert mended["overall_status"] == "healthy"


@on_sqlite
def test_a_single_broken_service_degrades_the_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packs.health.ON_DATABASE", {})
    tasks.backup_database()

    found = tasks.health_check()

    assert found["overall_status"] == "degraded"
    assert found["health_details"]["broker"]["status"] == "unhealthy"


@on_servers
def test_a_database_that_is_away_is_found_and_not_raised(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    away = make_url(ledger.url).set(port=1).render_as_string(False)
    monkeypatch.setenv("DATABASE_URL", away)
    get_settings.cache_clear()

    found = tasks.health_check()

    assert found["overall_status"] == "unhealthy"
    assert "cannot be reached" in found["health_details"]["database"]["detail"]
    assert str(make_url(away).password) not in json.dumps(found)
