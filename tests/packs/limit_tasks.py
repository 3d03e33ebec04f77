"""Tasks that take longer than they may, for TASK_MODULES."""

import time
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from packs.task import AnyTask, pack_task


@pack_task("tests.limits.yielding", queue="data", soft_time_limit=1)
def yielding(self: AnyTask) -> dict[str, Any]:
    """Counts until it is told that its time is up, and keeps what it has."""
    counted = 0
    try:
        while True:
            counted += 1
    except SoftTimeLimitExceeded:
        return {"kept": counted > 0}


@pack_task("tests.limits.unaware", queue="data", soft_time_limit=1)
def unaware(self: AnyTask) -> None:
    time.sleep(60)


@pack_task("tests.limits.stubborn", queue="data", soft_time_limit=0.5)
def stubborn(self: AnyTask, pid_file: str) -> None:
    """Takes no notice of anything."""
    import os

    Path(pid_file).write_text(str(os.getpid()))
    while True:
        try:
            time.sleep(0.01)
        except SoftTimeLimitExceeded:
            continue


@pack_task("tests.limits.telling", queue="data", aliases=("tests.older.telling",))
def telling(self: AnyTask, go_file: str) -> dict[str, Any]:
    """Says how far it is, and waits."""
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "进行中"})
    while not Path(go_file).exists():
        time.sleep(0.05)
    return {"run": self.request.id, "retries": self.request.retries}
