"""Every way we know to write a row that cannot run, and what its `config_error` must say about it."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BrokenRow:
    """Columns as an operator writes them; what is not named is a good row's."""

    name: str
    says: str
    """Words of the error: the column or key at fault, its value or the mend."""
    columns: dict[str, Any] = field(default_factory=dict)


def _agent(**more: Any) -> str:
    return json.dumps({"task_type": "agent", "agent_id": "a1", "message": "hello", **more})


def _when(name: str, says: str, **columns: Any) -> BrokenRow:
    """A row whose WHEN is broken: no crontab unless it is named."""
    return BrokenRow(name, says, {"crontab": None, **columns})


def _what(name: str, says: str, config: str | None) -> BrokenRow:
    return BrokenRow(name, says, {"task_extra_config": config})


def _agent_with(name: str, says: str, **more: Any) -> BrokenRow:
    return _what(name, says, _agent(**more))


BROKEN_ROWS = [
    _when("minute 61", "minute", crontab="61 * * * *"),
    _when("hour 24", "hour", crontab="0 24 * * *"),
    _when("day 0", "day", crontab="0 0 0 * *"),
    _when("day 32", "day", crontab="0 0 32 * *"),
    _when("month 13", "month", crontab="0 0 1 13 *"),
    _when("weekday 8", "weekday", crontab="0 0 * * 8"),
    _when("weekday in full", "weekday", crontab="0 0 * * MONDAY"),
    _when("sixth friday", "weekday", crontab="0 0 * * 5#6"),
    _when("second 60", "second", crontab="60 0 0 * * *"),
    _when("step 0", "minute", crontab="*/0 * * * *"),
    _when("range backwards", "minute", crontab="30-10 * * * *"),
    _when("empty item in a list", "minute", crontab="1,,2 * * * *"),
    _when("semicolon", "minute", crontab="10;20 * * * *"),
    _when("full-width digits", "minute", crontab="０ ９ * * *"),
    _when("31 february", "never comes", crontab="0 0 31 2 *"),
    _when("30 february at noon", "never comes", crontab="0 12 30 2 *"),
    _when("words", "has 2 fields", crontab="every day"),
    _when("four fields", "has 4 fields", crontab="* * * *"),
    _when("eight fields", "has 8 fields", crontab="* * * * * * * *"),
    _when("a year", "names a year", crontab="0 0 9 * * 1 2027"),
    _when("empty crontab", "has 0 fields", crontab=""),
    _when("unknown nickname", "@often", crontab="@often"),
    _when("no schedule", "no schedule"),
    _when("interval 0", "interval_seconds is 0", interval_seconds=0),
    _when("interval below 0", "interval_seconds is -5", interval_seconds=-5),
    _when("interval of 68 years", "interval_seconds is 2147483647", interval_seconds=2**31 - 1),
    _when("crontab and interval", "crontab and interval_seconds", crontab="* * * * *", interval_seconds=5),
    _when("crontab and run_at", "crontab and run_at", crontab="* * * * *", run_at="2030-01-01 00:00:00"),
    _when("interval and run_at", "interval_seconds and run_at", interval_seconds=5, run_at="2030-01-01 00:00:00"),
    _when("bad rrule", "rrule", rrule="FREQ=SOMETIMES"),
    _when("crontab and rrule", "crontab and rrule", crontab="* * * * *", rrule="FREQ=DAILY"),
    BrokenRow("misspelt zone", "did you mean 'Asia/Shanghai'?", {"timezone": "Asia/Shangai"}),
    BrokenRow("zone of another planet", "Mars/Phobos", {"timezone": "Mars/Phobos"}),
    BrokenRow("offset as zone", "+08:00", {"timezone": "+08:00"}),
    BrokenRow("unknown dst policy", "dst_policy", {"dst_policy": "sometimes"}),
    BrokenRow("unknown calendar", "calendar", {"calendar": "XNOWHERE"}),
    BrokenRow("unknown roll", "calendar_roll", {"calendar_roll": "sideways"}),
    BrokenRow("jitter below 0", "jitter_seconds", {"jitter_seconds": -1}),
    BrokenRow("ends before it starts", "end_time is before", {"start_time": "2030-01-02", "end_time": "2030-01-01"}),
    BrokenRow("max_runs 0", "max_runs is 0", {"max_runs": 0}),
    BrokenRow("max_runs below 0", "max_runs is -1", {"max_runs": -1}),
    BrokenRow("unknown catch-up", "catch_up is 'most'", {"catch_up": "most"}),
    BrokenRow("catch-up in capitals", "catch_up is 'ALL'", {"catch_up": "ALL"}),
    BrokenRow("window below 0", "catch_up_window_seconds is -1", {"catch_up_window_seconds": -1}),
    BrokenRow("unknown overlap", "overlap is 'queue'", {"overlap": "queue"}),
    BrokenRow("enabled 2", "enabled is 2", {"enabled": 2}),
    _what("no config", "task_extra_config is NULL", None),
    _what("empty config", "not valid JSON", ""),
    _what("no JSON", "not valid JSON", "call the agent"),
    _what("cut JSON", "not valid JSON", '{"task_type": "agent", "agent_id": "a1"'),
    _what("single quotes", "not valid JSON", "{'task_type': 'agent'}"),
    _what("too deep", "nested too deeply", "[" * 100_000),
    _what("a list", "JSON object", "[]"),
    _what("null", "JSON object", "null"),
    _what("no task_type", "has no task_type", "{}"),
    _what("misspelt task_type", "did you mean 'agent'?", '{"task_type": "agnt"}'),
    _what("a list as task_type", "task_type", '{"task_type": ["agent"], "agent_id": "a1", "message": "x"}'),
    _what("no agent_id", "agent_id is missing", '{"task_type": "agent", "message": "x"}'),
    _what("no message", "message is missing", '{"task_type": "agent", "agent_id": "a1"}'),
    _agent_with("blank message", "message", message="  "),
    _agent_with("misspelt key", "did you mean 'max_retries'?", max_retry=3),
    _agent_with("10,000 unknown keys", "unknown key", **{f"key_{i}": i for i in range(10_000)}),
    _agent_with("a key of 70,000 letters", "unknown key", **{"k" * 70_000: 1}),
    _agent_with("an unknown key of half a character", "key", **{"\ud83d": 1}),
    _agent_with("an unknown key with NUL", "unknown key", **{"a\0b": 1}),
    _agent_with("an unknown key of an emoji", "🚀", **{"🚀": 1}),
    _agent_with("unknown queue", "did you mean 'priority_low'?", queue="prioritylow"),
    _agent_with("queue with a space", "queue", queue="priority low"),
    _agent_with("queue of half a character", "queue", queue="\ud83d"),
    _agent_with("priority 10", "priority", priority=10),
    _agent_with("priority in words", "priority", priority="high"),
    _agent_with("timeout 0", "timeout", timeout=0),
    _agent_with("timeout of a month", "timeout", timeout=31 * 86400),
    _agent_with("timeout not a number", "NaN", timeout=float("nan")),
    _agent_with("timeout without end", "Infinity", timeout=float("inf")),
    _agent_with("timeout in words", "timeout", timeout="soon"),
    _agent_with("back-off not a number", "NaN", retry_backoff=float("nan")),
    _agent_with("101 retries", "max_retries", max_retries=101),
    _agent_with("half a retry", "max_retries", max_retries=0.5),
    _agent_with("unknown endpoint", "endpoint 'moon' is unknown", endpoint="moon"),
    _agent_with("options as text", "options", options="fast"),
    _agent_with(
        "template of a thousand terms", "nested too deeply", template=True, message="{{ " + "+".join("1" * 1500) + " }}"
    ),
    _what("workflow without id", "workflow_id is missing", '{"task_type": "workflow"}'),
    _what("inputs as list", "inputs", '{"task_type": "workflow", "workflow_id": "w", "inputs": []}'),
    _what("http without url", "url is missing", '{"task_type": "http"}'),
    _what("http to a file", "url", '{"task_type": "http", "url": "file:///etc/passwd"}'),
    _what("http to a host not allowed", "HTTP_ALLOWED_HOSTS", '{"task_type": "http", "url": "http://10.0.0.1/"}'),
    _what("unknown method", "method", '{"task_type": "http", "url": "http://10.0.0.1/", "method": "FETCH"}'),
    _what("celery without task", "task is missing", '{"task_type": "celery"}'),
    _what("args as text", "args", '{"task_type": "celery", "task": "t", "args": "x"}'),
]
