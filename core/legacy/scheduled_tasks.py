"""Rows of `scheduled_tasks`: workflows repeated by the old executor, in the naive local time of its host."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.legacy.repeat_fields import STATUS, STEPS, read_repeat, read_status
from core.legacy.repeats import Repeat, columns_for
from core.legacy.rows import MARK, Problem, Translation, at, read_json, read_time, read_whole, write_json

TABLE: Final = "scheduled_tasks"

CREPT: Final = "their runs had crept later, each counted from the end of the one before; the new row keeps to the rule"
WORKFLOW_TIMEOUT: Final = (
    "the old executor did not wait for its workflows; here one that takes over 300 s needs `timeout`"
)


def translate(row: Mapping[str, Any], zone: str, now: datetime, endpoint: str | None) -> Translation:
    """Read a row; `zone` is where the old host's clock stood, `endpoint` the one its workflows are to be called at."""
    into = Translation(TABLE, row.get("id"), str(row.get("name") or ""))
    into.columns |= {"enabled": 0, "timezone": zone, "create_by": MARK}
    status = 0
    with into.collecting():
        status = read_status(row.get("status"))
    if status == 4:
        into.finished = "it was deleted in the old system"
        return into
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
    was = f"was {STATUS.get(status)}, app {row.get('app_id')}, user {row.get('user_id')}"
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
    start = read_time("start_time", row.get("start_time"), zone)
    if start is None:
        raise Problem("start_time", "is empty", "write one such as 2026-12-31 09:00:00")
    end = read_time("end_time", row.get("end_time"), zone)
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
        due = read_time("next_run_time", row.get("next_run_time"), zone) if executed else None
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
    repeat = read_repeat(row)
    month, day = repeat.month, repeat.day
    if repeat.kind == "year" and (month is None or day is None):
        month, day = None, None  # the old executor then kept to the date of start_time
    first = start
    if executed and repeat.kind != "none" and not repeat.weekdays:
        first = _uncrept(
            start, read_time("next_run_time", row.get("next_run_time"), zone), repeat.kind, repeat.interval
        )
    return Repeat(repeat.kind, repeat.interval, first, zone, end, repeat.weekdays, month, day)


def _uncrept(start: datetime, due: datetime | None, kind: str, interval: int) -> datetime:
    """Take the next run back to the time of day, or to the grid, that start_time set: runs only ever crept later."""
    if due is None or due <= start:
        return start
    if kind in ("minute", "hour"):
        step = interval * STEPS[kind]
        return start + (due - start) // step * step
    day = due.date() if due.time() >= start.time() else (due - STEPS["day"]).date()
    return datetime.combine(day, start.time())


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
