"""A Celery task that is given what the run before it came to."""

from typing import Any

from celery import shared_task


@shared_task(name="tests.archive")
def archive(folder: str, upstream: dict[str, Any] | None) -> str:
    return f"{folder}: nothing" if upstream is None else f"{folder}: {upstream['state']} {upstream['result']}"
