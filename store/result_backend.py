"""A Celery result backend that reads the ledger, so that `AsyncResult` and Flower tell the truth.

What a worker did is in `task_run` before Celery hears of it, so storing a result here is nothing at all. Only what a
task says of itself while it runs (`update_state(state="PROGRESS", meta=...)`) is written, into `result_data`.
"""

import json
import logging
import os
from typing import Any, Final

from celery.backends.base import BaseBackend
from celery.states import ALL_STATES
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from config import get_settings
from core.celery_states import in_celery_words
from core.lifecycle import State
from core.task_config import CeleryConfig, readable_config
from store.database import AnyRow, autocommit, connect, in_words
from store.runs import TABLE, R

logger = logging.getLogger("results")

PROGRESS: Final = "progress"


class LedgerBackend(BaseBackend):
    """Results by run id. Named by CELERY_RESULT_BACKEND."""

    supports_autoexpire = True  # RUN_RETENTION_DAYS decides

    def __init__(self, app: Any, **options: Any) -> None:
        options.pop("url", None)
        super().__init__(app, **options)
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def engine(self) -> Engine:
        """This process's connections: a prefork child does not use its parent's."""
        if self._engine is None or self._pid != os.getpid():
            self._engine, self._pid = connect(get_settings().database_url, pool_size=2), os.getpid()
        return self._engine

    def _store_result(
        self, task_id: str | None, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        if task_id and request is not None and state not in ALL_STATES:
            self._note_progress(task_id, request.retries + 1, {"state": state, "meta": result})
        return result

    def _note_progress(self, run_id: str, attempt: int, progress: dict[str, Any]) -> None:
        """Show how far an attempt is, while it is the one that runs. Primary key."""
        shown = json.dumps({PROGRESS: progress}, ensure_ascii=False, default=str)
        running = (R.id == run_id, R.state == State.STARTED, R.attempt == attempt)
        try:
            with autocommit(self.engine) as connection:
                connection.execute(update(TABLE).where(*running).values(result_data=shown))
        except SQLAlchemyError as error:  # the work goes on, seen or not
            logger.warning("run %s: its progress is not shown: %s", run_id, in_words(error))

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        with autocommit(self.engine) as connection:
            row = connection.execute(
                select(R.id, R.state, R.error, R.error_kind, R.finished_at).where(TABLE.c.id == task_id)
            ).one_or_none()
            answer = None
            if row is not None and row.state in (State.SUCCESS, State.REQUIRES_ACTION, State.STARTED):
                columns = (R.result, R.result_data, R.config)
                answer = connection.execute(select(*columns).where(TABLE.c.id == task_id)).one_or_none()
        if row is None:
            return {"task_id": task_id, "status": "PENDING", "result": None, "traceback": None, "children": []}
        state = State(row.state)
        result: Any = None if answer is None else value_of(answer)
        word: str = in_celery_words(state).value
        if state is State.STARTED:
            word, result = _progress_of(result) or (word, None)
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
            "status": word,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": row.finished_at.isoformat() if row.finished_at else None,
        }

    def _forget(self, task_id: str) -> None:
        """The ledger forgets nothing on request."""


def _progress_of(shown: Any) -> tuple[str, Any] | None:
    """Read the state and the meta that a running task gave itself; None: it said nothing."""
    match shown:
        case {"progress": {"state": str(state), "meta": meta}}:
            return state, meta
    return None


def value_of(run: AnyRow) -> Any:
    """Read what a run gave back: the return value of a Celery task, the answer of an agent or a workflow as text."""
    if isinstance(readable_config(run.config), CeleryConfig):
        try:
            return None if run.result_data is None else json.loads(run.result_data)
        except ValueError:
            return run.result
    return run.result
