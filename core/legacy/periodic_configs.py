"""Rows of `celery_periodic_task_configs`.

Their crontab was evaluated in UTC, whatever its authors thought: read in UTC, a row goes on firing when it really
fired; read in the authors' zone, it fires when they may have meant it to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import MAX_INTERVAL
from core.legacy.celery_cron import CeleryCron, blank_is_every, expression_of, read_columns
from core.legacy.endpoints import Endpoint, EndpointNames
from core.legacy.rows import MARK, Translation, at, read_time, read_whole, write_json
from core.legacy.task_types import translate_task

TABLE: Final = "celery_periodic_task_configs"


@dataclass(frozen=True, slots=True)
class Every:
    """Each interval from the last run. `last` None: from the start of the old beat, which no row tells."""

    step: timedelta
    last: datetime | None

    def after(self, moment: datetime) -> datetime | None:
        """Count on from the last run."""
        if self.last is None:
            return None
        found = self.last + self.step
        if found <= moment:
            found += -((found - moment) // self.step) * self.step
        return found if found > moment else found + self.step


def translate(
    row: Mapping[str, Any], zone: str, host_zone: str, endpoints: EndpointNames
) -> tuple[Translation, Endpoint | None]:
    """Read a row; `zone` is where its crontab is taken to be, `host_zone` where its last run was written."""
    into = Translation(TABLE, row.get("id"), str(row.get("task_name") or ""))
    into.columns |= {"enabled": 0, "timezone": zone, "create_by": MARK, "owner": row.get("create_by") or None}
    with into.collecting():
        into.put_name("task_name", row.get("task_name"))
    with into.collecting():
        _put_schedule(row, into, zone, host_zone)
    endpoint = None
    with into.collecting():
        config, endpoint = translate_task(row, into, endpoints)
        into.columns["task_extra_config"] = write_json("task_extra_config", config)
    was = "was enabled" if row.get("task_enabled") in (1, True, None) else "was disabled"
    into.put_description(was, row.get("task_description"))
    return into, endpoint


def _put_schedule(row: Mapping[str, Any], into: Translation, zone: str, host_zone: str) -> None:
    seconds = row.get("task_interval")
    if seconds is None:
        into.old = read_columns(row)
        into.columns["crontab"] = expression_of(into.old, into.notes)
        warning = blank_is_every(into.columns["crontab"])
        if warning:
            into.notes.append(warning)
        return
    if read_columns(row) != CeleryCron("*", "*", "*", "*", "*"):
        into.notes.append("task_interval wins over its crontab columns, as before")
    step = read_whole("task_interval", seconds, 1, MAX_INTERVAL)
    last = read_time("task_last_run_time", row.get("task_last_run_time"), host_zone)
    moment = None if last is None else at(last, host_zone)
    into.old = Every(timedelta(seconds=step), moment)
    into.columns["interval_seconds"] = step
    if moment is None:
        into.notes.append("it has no last run to count on from: the new row counts from the import")
        return
    into.columns["start_time"] = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    into.notes.append(f"counts on from its last successful run, {moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
