"""A Celery result backend that reads the ledger, so that `AsyncResult` and Flower tell the truth.

What a worker did is in `task_run` before Celery hears of it, so storing a result here is nothing at all.
"""

import json
from typing import Any

from celery.backends.base import BaseBackend
from sqlalchemy import Engine, select

from config import get_settings
from core.celery_states import in_celery_words
from core.lifecycle import State
from core.task_config import CeleryConfig, readable_config
from store.database import AnyRow, autocommit, connect
from store.runs import TABLE, R


class LedgerBackend(BaseBackend):
    """Results by run id. Named by CELERY_RESULT_BACKEND."""

    supports_autoexpire = True  # RUN_RETENTION_DAYS decides

    def __init__(self, app: Any, **options: Any) -> None:
        options.pop("url", None)
        super().__init__(app, **options)
        self._engine: Engine | None = None

    def _store_result(self, task_id: str, result: Any, state: str, *_: Any, **__: Any) -> Any:
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        if self._engine is None:
            self._engine = connect(get_settings().database_url, pool_size=2)
        with autocommit(self._engine) as connection:
            row = connection.execute(
                select(R.id, R.state, R.error, R.error_kind, R.finished_at).where(TABLE.c.id == task_id)
            ).one_or_none()
            answer = None
            if row is not None and row.state in (State.SUCCESS, State.REQUIRES_ACTION):
                columns = (R.result, R.result_data, R.config)
                answer = connection.execute(select(*columns).where(TABLE.c.id == task_id)).one_or_none()
        if row is None:
            return {"task_id": task_id, "status": "PENDING", "result": None, "traceback": None, "children": []}
        state = State(row.state)
        result: Any = None if answer is None else value_of(answer)
        if state in (State.FAILURE, State.RETRY):
            result = {"exc_type": "RunFailed", "exc_message": [row.error], "exc_module": "agent_tasks"}
        elif state in (State.REVOKED, State.SKIPPED):
            result = {
                "exc_type": "TaskRevokedError",
                "exc_message": [row.error or "cancelled"],
                "exc_module": "celery.exceptions",
            }
        return {
            "task_id": task_id,
            "status": in_celery_words(state).value,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": row.finished_at.isoformat() if row.finished_at else None,
        }

    def _forget(self, task_id: str) -> None:
        """The ledger forgets nothing on request."""


def value_of(run: AnyRow) -> Any:
    """Read what a run gave back: the return value of a Celery task, the answer of an agent or a workflow as text."""
    if isinstance(readable_config(run.config), CeleryConfig):
        try:
            return None if run.result_data is None else json.loads(run.result_data)
        except ValueError:
            return run.result
    return run.result
