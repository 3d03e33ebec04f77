"""A row of periodic_task as arming sees it: sound, but for the columns a test names."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from core.arming import Surroundings

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
CREATED = datetime(2026, 5, 1, 8, 0, 30, tzinfo=UTC)
ZONE = "Asia/Shanghai"
QUEUES = frozenset({"system", "priority_high", "priority_low", "celery", "data"})
AROUND = Surroundings(ZONE, QUEUES)
CONFIG = json.dumps({"task_type": "agent", "agent_id": "daily-report", "message": "写今天的日报"})


def row(**columns: Any) -> SimpleNamespace:
    """A row that runs every hour, with these columns instead. Naming another kind of WHEN drops the crontab."""
    sound: dict[str, Any] = {
        "id": 1,
        "name": "daily report",
        "enabled": 1,
        "crontab": None if {"interval_seconds", "rrule", "run_at"} & columns.keys() else "0 * * * *",
        "interval_seconds": None,
        "rrule": None,
        "run_at": None,
        "timezone": None,
        "dst_policy": None,
        "calendar": None,
        "calendar_roll": "skip",
        "start_time": None,
        "end_time": None,
        "max_runs": None,
        "jitter_seconds": 0,
        "catch_up": "latest",
        "catch_up_window_seconds": 3600,
        "overlap": "skip",
        "task_extra_config": CONFIG,
        "next_run_at": None,
        "run_count": 0,
        "create_time": CREATED,
    }
    unknown = columns.keys() - sound.keys()
    if unknown:
        raise TypeError(f"periodic_task has no column {unknown}")
    return SimpleNamespace(**{**sound, **columns})
