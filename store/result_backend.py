"""A Celery result backend that reads the ledger, so that `AsyncResult` and Flower tell the truth.

What a worker did is in `task_run` before Celery hears of it, so storing a result here is nothing at all.
"""

from typing import Any

from celery.backends.base import BaseBackend
from sqlalchemy import Engine, select

from config import get_settings
from core.lifecycle import State
from store.database import autocommit, connect
from store.runs import TABLE, R

CELERY_STATE = {State.QUEUED: "PENDING", State.SKIPPED: "REVOKED", State.REQUIRES_ACTION: "SUCCESS"}


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
                select(R.id, R.state, R.result, R.error, R.error_kind, R.finished_at).where(TABLE.c.id == task_id)
            ).one_or_none()
        if row is None:
            return {"task_id": task_id, "status": "PENDING", "result": None, "traceback": None, "children": []}
        state = State(row.state)
        result: Any = row.result
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
            "status": CELERY_STATE.get(state, state.value),
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": row.finished_at.isoformat() if row.finished_at else None,
        }

    def _forget(self, task_id: str) -> None:
        """The ledger forgets nothing on request."""
