"""A row that a pack installs, as its schedules.py writes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MARKET_ZONE: Final = "Asia/Shanghai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One row of `periodic_task`. `entry` names it for ever; the name of the row may be edited."""

    entry: str
    task: str
    crontab: str
    queue: str
    description: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    calendar: str | None = None
    timezone: str = MARKET_ZONE
    timeout: float = 1800
    max_retries: int = 2
    retry_backoff: float = 60
    catch_up: str = "latest"
    overlap: str = "skip"
    enabled: bool = True

    def columns(self, pack: str) -> dict[str, Any]:
        """Write it as the columns of `periodic_task`."""
        config = {
            "task_type": "celery",
            "task": self.task,
            "kwargs": dict(self.kwargs),
            "queue": self.queue,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "retry_backoff": self.retry_backoff,
        }
        return {
            "name": self.entry,
            "description": self.description,
            "tags": pack,
            "enabled": int(self.enabled),
            "crontab": self.crontab,
            "timezone": self.timezone,
            "calendar": self.calendar,
            "catch_up": self.catch_up,
            "overlap": self.overlap,
            "task_extra_config": json.dumps(config, ensure_ascii=False),
        }
