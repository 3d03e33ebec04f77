"""Tasks of the assistant: answers, notifications, and the upkeep of what they leave behind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from config import get_settings
from core.outcome import AgentError, AgentResult, ErrorKind
from packs import health
from packs.assistant import store
from packs.assistant.answering import MAX_USER, Question, answer
from packs.assistant.moments import timestamp
from packs.assistant.notifying import Notification, check_channels, tell
from packs.database import engine
from packs.task import AnyTask, pack_task
from store.database import autocommit, read_clock
from store.housekeeping import purge_runs
from store.runs import new_run_id

HERE: Final = "packs.assistant.ai_tasks"
OLD: Final = "app.tasks.ai_tasks"
MAX_PAGE: Final = 200


@pack_task(
    f"{HERE}.generate_ai_response",
    queue="ai_high_priority",
    aliases=(f"{OLD}.generate_ai_response",),
    soft_time_limit=120,
    time_limit=180,
    max_retries=3,
    retry_backoff=60,
    retry_backoff_max=600,
)
def generate_ai_response(
    self: AnyTask,
    conversation_id: str,
    user_message: str,
    conversation_history: Sequence[Mapping[str, Any]] | None = None,
    system_prompt: str | None = None,
    temperature: float = 0.7,
    max_tokens: int | None = None,
    user_id: str | int | None = None,
) -> AgentResult:
    """Have the agent or model of ASSISTANT_ENDPOINT answer a message, and remember both in the conversation.

    Without `conversation_history` it is shown what the conversation remembers. Agents that are no models are given
    history and `system_prompt` inside the message, and take neither `temperature` nor `max_tokens`.
    """
    began, run_id = monotonic(), self.request.id or new_run_id()
    question = Question(
        conversation_id=conversation_id,
        user_message=user_message,
        history=conversation_history,
        system_prompt=system_prompt,
        temperature=temperature,
        max_tokens=max_tokens,
        user_id=None if user_id is None else str(user_id),
    )
    given = answer(self, question, engine(), get_settings(), run_id)
    data = {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "response": given.text,
        **given.details,
        "response_time": round(monotonic() - began, 3),
        "timestamp": timestamp(),
        "status": "success",
    }
    result = given.result or AgentResult("succeeded", given.text)
    return replace(result, data=data, conversation_id=conversation_id)


@pack_task(
    f"{HERE}.send_notification",
    queue="notification_default",
    aliases=(f"{OLD}.send_notification",),
    time_limit=300,
    max_retries=3,
    retry_backoff=30,
    retry_backoff_max=600,
)
def send_notification(
    self: AnyTask,
    user_id: str | int,
    notification_type: str,
    title: str,
    message: str,
    data: Any = None,
    channels: Sequence[str] = ("system",),
) -> dict[str, Any]:
    """Tell a user something on the channels `email`, `push`, `sms` and `system` (an inbox).

    Where a channel fails the run fails, and its next attempt tries that channel alone.
    """
    if not 1 <= len(notification_type) <= 64 or not (title or message) or not 1 <= len(str(user_id)) <= MAX_USER:
        wanted = f"notification_type takes up to 64 characters, user_id {MAX_USER}, and a title or message is needed"
        raise AgentError(ErrorKind.INVALID, wanted)
    note = Notification(str(user_id), notification_type, title, message, data)
    run_id = self.request.id or new_run_id()
    results = tell(note, check_channels(channels), engine(), get_settings(), run_id)
    wrong = [result for result in results if result["status"] != "sent"]
    if wrong:
        told = "; ".join(f"{result['channel']}: {result['error']}" for result in wrong)
        may_succeed = any(result["status"] == "failed" for result in wrong)
        raise AgentError(ErrorKind.UNAVAILABLE if may_succeed else ErrorKind.CONFIG, told)
    return {
        "user_id": user_id,
        "notification_type": notification_type,
        "results": [{"channel": result["channel"], "status": result["status"]} for result in results],
        "all_success": True,
        "timestamp": timestamp(),
    }


@pack_task(f"{HERE}.list_notifications", queue="notification_default", time_limit=60, max_retries=1)
def list_notifications(
    self: AnyTask, user_id: str | int, unread_only: bool = True, before: int | None = None, limit: int = 50
) -> dict[str, Any]:
    """Read a user's inbox, the newest first; `before`: the id of the last message of the page before."""
    if not 1 <= limit <= MAX_PAGE:
        raise AgentError(ErrorKind.INVALID, f"limit is {limit}; use 1 to {MAX_PAGE}")
    with autocommit(engine()) as connection:
        rows = store.inbox(connection, str(user_id), unread_only=unread_only, before=before, limit=limit)
    messages = [
        {
            "id": row.id,
            "notification_type": row.notification_type,
            "title": row.title,
            "message": row.message,
            "data": None if row.data is None else json.loads(row.data),
            "create_time": row.create_time.isoformat(),
            "read_time": None if row.read_time is None else row.read_time.isoformat(),
        }
        for row in rows
    ]
    return {"user_id": user_id, "messages": messages}


@pack_task(f"{HERE}.mark_notification_read", queue="notification_default", time_limit=60, max_retries=1)
def mark_notification_read(self: AnyTask, user_id: str | int, message_id: int) -> dict[str, Any]:
    """Note that a user has read a message of his inbox; the first time counts."""
    with autocommit(engine()) as connection:
        if not store.mark_read(connection, str(user_id), message_id):
            raise AgentError(ErrorKind.NOT_FOUND, f"user {user_id!r} has no message {message_id}")
    return {"user_id": user_id, "message_id": message_id, "status": "read"}


@pack_task(
    f"{HERE}.cleanup_expired_results",
    queue="default",
    aliases=(f"{OLD}.cleanup_expired_results",),
    time_limit=1800,
    max_retries=2,
    retry_backoff=60,
)
def cleanup_expired_results(self: AnyTask) -> dict[str, Any]:
    """Delete what is older than RUN_RETENTION_DAYS: final runs with their results, conversations, and read messages."""
    days = get_settings().run_retention_days
    if not days:
        return {"cleaned_count": 0, "kept": "RUN_RETENTION_DAYS=0 keeps all", "timestamp": timestamp()}
    with autocommit(engine()) as connection:
        before = read_clock(connection) - timedelta(days=days)
        cleaned = store.forget(connection, before)
    cleaned["runs"] = purge_runs(engine(), before)
    return {
        "cleaned_count": sum(cleaned.values()),
        "cleaned": cleaned,
        "older_than": before.isoformat(timespec="seconds"),
        "timestamp": timestamp(),
    }


@pack_task(
    f"{HERE}.check_task_health", queue="default", aliases=(f"{OLD}.check_task_health",), time_limit=120, max_retries=0
)
def check_task_health(self: AnyTask) -> dict[str, Any]:
    """Look at the broker, the database, beats, workers and queues, and at what runs of the last half hour ended in."""
    checks = health.look(self.app, engine(), get_settings())
    wrong = [name for name, check in checks.items() if check["status"] != health.HEALTHY]
    return {
        "status": health.overall(checks),
        "checks": checks,
        "problems": [f"{name}: {checks[name]['detail']}" for name in wrong],
        "timestamp": timestamp(),
    }
