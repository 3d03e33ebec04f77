"""Upkeep of the trading pack: clean-up, cache, log archive, backup, and a look at every service."""

import time
from datetime import date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from config import BASE_DIR, Settings, get_settings
from core.calendars import load, previous_open
from core.outcome import AgentError, ErrorKind
from packs import health
from packs.database import engine
from packs.schedule import MARKET_ZONE
from packs.task import AnyTask, pack_task
from packs.trading import backup, log_archive, upkeep
from store.calendar_days import read as read_overrides
from store.database import autocommit, read_clock
from store.runs import new_run_id

HERE: Final = "packs.trading.maintenance_tasks"
OLD: Final = "tasks.maintenance_tasks"
QUEUE: Final = "maintenance"
DAYS_TO_KEEP: Final = 90
LOGS_KEPT: Final = timedelta(days=365)
BACKUP_AGE: Final = timedelta(hours=26)  # one a day, and some
EXCHANGE: Final = "XSHG"


@pack_task(
    f"{HERE}.cleanup_old_data",
    queue=QUEUE,
    aliases=(f"{OLD}.cleanup_old_data",),
    time_limit=1800,
    max_retries=2,
    retry_backoff=60,
)
def cleanup_old_data(self: AnyTask, days_to_keep: int = DAYS_TO_KEEP) -> dict[str, Any]:
    """Delete prices within the day, news, moods, rankings, opinions and report files older than so many days.

    Daily bars, reported figures, indicators and risks are kept: the rest can be computed from them.
    """
    if isinstance(days_to_keep, bool) or not isinstance(days_to_keep, int) or days_to_keep < 1:
        raise AgentError(ErrorKind.INVALID, f"days_to_keep is {days_to_keep!r}; use a whole number of days from 1")
    with autocommit(engine()) as connection:
        now = read_clock(connection)
        cutoff = now - timedelta(days=days_to_keep)
        day = cutoff.astimezone(ZoneInfo(MARKET_ZONE)).date()
        stats = upkeep.delete_before(connection, cutoff, day)
    stats["report_files"] = _remove_reports(BASE_DIR / get_settings().report_dir, cutoff.timestamp())
    return {
        "cleanup_stats": stats,
        "cutoff_date": day.isoformat(),
        "days_kept": days_to_keep,
        "cleanup_time": _shown(now),
    }


def _remove_reports(folder: Path, before: float) -> int:
    old = [path for path in folder.glob("*.*") if path.suffix in {".html", ".pdf"} and path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


@pack_task(
    f"{HERE}.refresh_cache",
    queue=QUEUE,
    aliases=(f"{OLD}.refresh_cache",),
    time_limit=600,
    max_retries=2,
    retry_backoff=30,
)
def refresh_cache(self: AnyTask) -> dict[str, Any]:
    """Make `trading_snapshot` anew: the latest that is known of each symbol that is followed or held, in one row."""
    with autocommit(engine()) as connection:
        now = read_clock(connection)
    refreshed, removed = upkeep.refresh_snapshots(engine(), get_settings().trading_symbols, _local_day(now))
    return {
        "cache_stats": {"symbols": refreshed, "removed": removed},
        "refresh_time": _shown(now),
        "success": True,
    }


@pack_task(
    f"{HERE}.archive_logs",
    queue=QUEUE,
    aliases=(f"{OLD}.archive_logs",),
    time_limit=1800,
    max_retries=2,
    retry_backoff=60,
)
def archive_logs(self: AnyTask) -> dict[str, Any]:
    """Pack the application's log files of past days into LOG_DIR/archive, and remove packed ones after a year."""
    settings = get_settings()
    with autocommit(engine()) as connection:
        now = read_clock(connection)
    today = now.astimezone(ZoneInfo(settings.timezone)).date()  # log files change their names by this zone
    done = log_archive.archive(settings.log_path, today, today - LOGS_KEPT)
    if done.failed:
        raise AgentError(ErrorKind.UNAVAILABLE, f"not every file could be packed: {'; '.join(done.failed[:5])}")
    return {"archive_stats": done.as_result(), "archive_time": _shown(now), "success": True}


@pack_task(
    f"{HERE}.backup_database",
    queue=QUEUE,
    aliases=(f"{OLD}.backup_database",),
    time_limit=7200,
    max_retries=2,
    retry_backoff=300,
)
def backup_database(self: AnyTask) -> dict[str, Any]:
    """Back the whole database up into BACKUP_DIR, check what was written, and keep the newest BACKUP_KEEP backups.

    `python -m scripts.restore FILE` brings one back.
    """
    settings, began = get_settings(), monotonic()
    folder = BASE_DIR / settings.backup_dir
    with autocommit(engine()) as connection:
        now = read_clock(connection)
    try:
        made = backup.back_up(engine(), folder, now, self.request.id or new_run_id())
        removed = backup.retire(folder, settings.backup_keep)
    except (backup.BackupFault, OSError) as fault:
        raise AgentError(ErrorKind.UNAVAILABLE, f"no backup was made: {fault}") from fault
    return {
        "backup_stats": backup.figures(made, removed, monotonic() - began),
        "backup_time": _shown(now),
        "success": True,
    }


@pack_task(
    f"{HERE}.health_check",
    queue=QUEUE,
    aliases=(f"{OLD}.health_check",),
    time_limit=300,
    max_retries=0,
)
def health_check(self: AnyTask) -> dict[str, Any]:
    """Look at broker, database, beats, workers, queues, runs, disk, backups and market data.

    `overall_status` is `healthy`, `degraded`, or `unhealthy` where more than two checks are.
    """
    settings = get_settings()
    backups = BASE_DIR / settings.backup_dir
    checks = health.look(self.app, engine(), settings, [backups, BASE_DIR / settings.report_dir])
    checks["backup"] = health.timed(lambda: _newest_backup(backups))
    checks["market_data"] = health.timed(lambda: _freshness(settings))
    return {
        "overall_status": health.overall(checks),
        "health_details": checks,
        "unhealthy_services": [name for name, check in checks.items() if check["status"] != health.HEALTHY],
        "check_time": datetime.now(ZoneInfo(settings.timezone)).isoformat(timespec="seconds"),
    }


def _newest_backup(folder: Path) -> health.Check:
    found = backup.complete(folder)
    if not found:
        return health.told(health.DEGRADED, "there is no backup yet")
    age = timedelta(seconds=time.time() - found[-1].stat().st_mtime)  # both by the machine's clock
    words = f"the newest backup is {age.total_seconds() / 3600:.1f} hours old"
    return health.told(health.DEGRADED if age > BACKUP_AGE else health.HEALTHY, words, file=found[-1].name)


def _freshness(settings: Settings) -> health.Check:
    with autocommit(engine()) as connection:
        newest = upkeep.newest_bar(connection, settings.trading_symbols)
        expected = _last_complete_day(connection)
    if newest is None:
        return health.told(health.DEGRADED, "there are no daily bars yet; sync_daily_stock_data brings them")
    is_late = expected is not None and newest < expected
    words = f"the newest daily bars are of {newest}" + (f", and {expected} is over" if is_late else "")
    return health.told(health.DEGRADED if is_late else health.HEALTHY, words, newest=newest.isoformat())


def _last_complete_day(connection: Connection) -> date | None:
    """Name the newest trading day whose bars ought to be there: yesterday's, or one before."""
    yesterday = _local_day(read_clock(connection)) - timedelta(days=1)
    return previous_open(load(EXCHANGE, read_overrides(connection)), yesterday)


def _local_day(moment: datetime) -> date:
    return moment.astimezone(ZoneInfo(MARKET_ZONE)).date()


def _shown(moment: datetime) -> str:
    return moment.astimezone(ZoneInfo(get_settings().timezone)).isoformat(timespec="seconds")
