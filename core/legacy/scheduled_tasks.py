"""Rows of `scheduled_tasks`: workflows repeated by the old executor, in the naive local time of its host."""

from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.legacy.repeats import STEPS, Repeat, columns_for
from core.legacy.rows import MARK, Problem, Translation, at, read_json, read_time, read_whole, shown, write_json

TABLE: Final = "scheduled_tasks"
STATUS: Final = {1: "was enabled", 2: "was disabled", 3: "was paused", 4: "was deleted"}
MAX_INTERVAL: Final = 1_000_000

CREPT: Final = "their runs had crept later, each counted from the end of the one before; the new row keeps to the rule"
WORKFLOW_TIMEOUT: Final = (
    "the old executor did not wait for its workflows; here one that takes over 300 s needs `timeout`"
)


def translate(row: Mapping[str, Any], zone: str, now: datetime, endpoint: str | None) -> Translation:
    """Read a row; `zone` is where the old host's clock stood, `endpoint` the one its workflows are to be called at."""
    into = Translation(TABLE, row.get("id"), str(row.get("name") or ""))
    into.columns |= {"enabled": 0, "timezone": zone, "create_by": MARK}
    status = row.get("status")
    if status == 4:
        into.finished = "it was deleted in the old system"
        return into
    with into.collecting():
        if status not in STATUS:
            raise Problem("status", f"is {shown(status)}", "use 1 enabled, 2 disabled, 3 paused or 4 deleted")
    with into.collecting():
        into.put_name("name", row.get("name"))
    with into.collecting():
        _put_bounds(row, into)
    with into.collecting():
        _put_schedule(row, into, zone, now)
    with into.collecting():
        config = _workflow(row, into)
        if endpoint:
            config["endpoint"] = endpoint
        into.columns["task_extra_config"] = write_json("input", config)
    was = f"{STATUS.get(status or 0)}, app {row.get('app_id')}, user {row.get('user_id')}"
    into.put_description(was, row.get("description"))
    return into


def _put_bounds(row: Mapping[str, Any], into: Translation) -> None:
    most = read_whole("max_executions", row.get("max_executions") or 0, 0, 2**31 - 1)
    if not most:
        return
    done = read_whole("execution_count", row.get("execution_count") or 0, 0, 2**31 - 1)
    into.columns["max_runs"] = most - done
    if done >= most:
        into.finished = f"it has made all of its {most} runs"
    elif done:
        into.notes.append(f"max_runs is {most - done}: {done} of {most} runs were made")


def _put_schedule(row: Mapping[str, Any], into: Translation, zone: str, now: datetime) -> None:
    start = read_time("start_time", row.get("start_time"))
    if start is None:
        raise Problem("start_time", "is empty", "write one such as 2026-12-31 09:00:00")
    end = read_time("end_time", row.get("end_time"))
    if end is not None and end < start:
        raise Problem("end_time", f"is {end}, before start_time {start}", "correct one of them")
    executed = bool(row.get("execution_count")) or row.get("last_run_time") is not None
    rule = _rule(row, start, end, zone, executed=executed)
    into.old = rule
    if rule.kind == "none":
        _put_once(into, rule, now, executed=executed)
    elif rule.after(now) is None:
        into.finished = f"its end_time {end} has passed"
    else:
        into.columns |= columns_for(rule, start, now)
        due = read_time("next_run_time", row.get("next_run_time")) if executed else None
        _explain(into, rule, start, due, now)


def _put_once(into: Translation, rule: Repeat, now: datetime, *, executed: bool) -> None:
    if executed:
        into.finished = "it was to run once, and has run"
    into.columns |= {"run_at": rule.first, "end_time": rule.end}
    if rule.after(now) is None:
        into.notes.append(
            f"run_at {rule.first} has passed without a run: give it a later one before you enable the row"
        )


def _rule(row: Mapping[str, Any], start: datetime, end: datetime | None, zone: str, *, executed: bool) -> Repeat:
    kind = row.get("repeat_type") or "none"
    if kind not in (*STEPS, "month", "year", "none"):
        raise Problem("repeat_type", f"is {shown(kind)}", "use none, minute, hour, day, week, month or year")
    if kind == "none" or row.get("task_type") == "one_time":
        return Repeat("none", 1, start, zone, end)
    given = row.get("repeat_interval")
    interval = read_whole("repeat_interval", 1 if given is None else given, 1, MAX_INTERVAL)
    weekdays = _weekdays(row) if kind == "week" else ()
    month, day = None, None
    if kind == "month" and row.get("repeat_day_of_month") is not None:
        day = read_whole("repeat_day_of_month", row["repeat_day_of_month"], 1, 31)
    if kind == "year":
        month, day = _month_and_day(row)
    first = start
    if executed and not weekdays:
        first = _uncrept(start, read_time("next_run_time", row.get("next_run_time")), kind, interval)
    return Repeat(kind, interval, first, zone, end, weekdays, month, day)


def _uncrept(start: datetime, due: datetime | None, kind: str, interval: int) -> datetime:
    """Take the next run back to the time of day, or to the grid, that start_time set: runs only ever crept later."""
    if due is None or due <= start:
        return start
    if kind in ("minute", "hour"):
        step = interval * STEPS[kind]
        return start + (due - start) // step * step
    day = due.date() if due.time() >= start.time() else (due - STEPS["day"]).date()
    return datetime.combine(day, start.time())


def _weekdays(row: Mapping[str, Any]) -> tuple[int, ...]:
    days = read_json("repeat_days", row.get("repeat_days"), list)
    for day in days:
        if isinstance(day, bool) or not isinstance(day, int) or not 1 <= day <= 7:
            raise Problem(
                "repeat_days", f"names the day {shown(day)}", "write numbers from 1, Monday, to 7, Sunday: [1, 3, 5]"
            )
    return tuple(sorted(set(days)))


def _month_and_day(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The yearly date. The old column repeat_day_of_year held a day of the month."""
    if row.get("repeat_month") is None or row.get("repeat_day_of_year") is None:
        return None, None
    month = read_whole("repeat_month", row["repeat_month"], 1, 12)
    day = read_whole("repeat_day_of_year", row["repeat_day_of_year"], 1, 366)
    if day > monthrange(2024, month)[1]:
        wrong = f"is {day}, no day of month {month}: the old executor then kept to the date of start_time"
        raise Problem(
            "repeat_day_of_year", wrong, "write the day of the month, or clear it to keep the date of start_time"
        )
    return month, day


def _explain(into: Translation, rule: Repeat, start: datetime, due: datetime | None, now: datetime) -> None:
    """Note where the new row does what was meant and not what was done. `due`: the old row's own next run."""
    is_ahead = due is not None and at(due, rule.zone) > now
    if rule.weekdays:
        into.notes.append(
            "repeat_days is taken as it was documented; the old executor never read it and really ran every "
            f"{rule.interval} week(s)" + (f", next at {due}" if is_ahead else "")
        )
        return
    coming = rule.after(now)
    day = coming.astimezone(ZoneInfo(rule.zone)).day if coming else start.day
    if rule.kind in ("month", "year") and rule.day is None and day < start.day:
        into.notes.append(f"the old row began on day {start.day} and has slipped to {day}; for the last day write L")
    if is_ahead and due != rule.first:
        into.notes.append(f"the old row would run next at {due}, its rule says {rule.first}")
        into.remarks.append(CREPT)
    begin = into.columns["start_time"]
    if begin != start:
        into.notes.append(f"start_time is {begin}, from next_run_time; counted from {start} the runs would be others")


def _workflow(row: Mapping[str, Any], into: Translation) -> dict[str, Any]:
    workflow_id = row.get("workflow_id")
    if isinstance(workflow_id, bool) or not isinstance(workflow_id, int | str) or not str(workflow_id).strip():
        raise Problem("workflow_id", "is empty", "name the workflow in the old row")
    inputs = _inputs(row, into)
    if row.get("node_confirm_users") not in (None, "", "{}", "[]", "null", {}, []):
        into.notes.append("node_confirm_users is left out: a step that waits for a human ends as REQUIRES_ACTION")
    into.remarks.append(WORKFLOW_TIMEOUT)
    config: dict[str, Any] = {"task_type": "workflow", "workflow_id": str(workflow_id).strip(), "inputs": inputs}
    if row.get("user_id") is not None:
        config["user"] = str(row["user_id"])
    return config


def _inputs(row: Mapping[str, Any], into: Translation) -> dict[str, Any]:
    """Flatten `{"properties": {k: {"value": v}}}`, and the same inside `inputs`, to k: v."""
    given: dict[str, Any] = read_json("input", row.get("input"), dict)
    if not given:
        raise Problem(
            "input", "is empty, and the old executor failed every run of such a row", 'write {"name": "value"}'
        )
    inner = given["inputs"] if isinstance(given.get("inputs"), dict) else given
    properties = inner.get("properties")
    if not isinstance(properties, dict):
        into.notes.append("input has no properties: it is taken as it stands")
        return given
    valueless = [name for name, entry in properties.items() if isinstance(entry, dict) and "value" not in entry]
    if valueless:
        into.notes.append(f"inputs without a value are left out: {', '.join(sorted(valueless))}")
    return {
        name: entry["value"] if isinstance(entry, dict) else entry
        for name, entry in properties.items()
        if name not in valueless
    }
