"""What tests of the API's changes share: its tables emptied, and tasks made through it."""

from collections.abc import Collection
from typing import Any

import httpx

from tests.acceptance.api_process import ADMIN, OPERATOR, Api, bearer

TABLES = (
    "task_run", "periodic_task", "worker_lease", "beat_heartbeat", "hold", "bulk_change", "api_request", "api_session",
    "api_token", "api_user", "backfill", "audit_log",
)  # fmt: skip
WHAT = {"task_type": "agent", "agent_id": "a1", "message": "你好"}


def emptied(api: Api, but: Collection[str] = ()) -> Api:
    """The same API over empty tables, those in `but` left as they are."""
    for table in TABLES:
        if table not in but:
            api.stack.sql(f"DELETE FROM {table}")
    return api


def as_operator(api: Api) -> httpx.Client:
    return httpx.Client(base_url=api.public.base_url, timeout=30, headers=bearer(OPERATOR))


def as_admin(api: Api) -> httpx.Client:
    return httpx.Client(base_url=api.public.base_url, timeout=30, headers=bearer(ADMIN))


def task(name: str = "report", **columns: Any) -> dict[str, Any]:
    """The body of a POST /api/v2/tasks."""
    return {"name": name, "crontab": "0 9 * * *", "task_extra_config": WHAT, **columns}


def made(client: httpx.Client, name: str = "report", **columns: Any) -> dict[str, Any]:
    """Make a task and return it as it is answered."""
    answer = client.post("/api/v2/tasks", json=task(name, **columns))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def audit(api: Api, **asked: Any) -> list[dict[str, Any]]:
    """The newest entries of the audit, as an admin sees it."""
    with as_admin(api) as client:
        items: list[dict[str, Any]] = client.get("/api/v2/audit", params=asked).raise_for_status().json()["items"]
    return items


def rows(api: Api) -> dict[str, dict[str, Any]]:
    """Every task by its name, as the database has it."""
    found = [dict(row._mapping) for row in api.stack.sql("SELECT * FROM periodic_task ORDER BY id")]
    return {row["name"]: row for row in found}
