"""AsyncResult tells what the ledger says."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult

from agent_tasks import RunFailed
from config import get_settings
from core.lifecycle import State
from tasks import make_app
from tests.integration.engine import Ledger, settings_for


@pytest.fixture
def app(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """An app as every process has it: its backend finds the ledger by the settings."""
    monkeypatch.setenv("DATABASE_URL", ledger.url)
    get_settings.cache_clear()
    yield make_app(settings_for(ledger))
    get_settings.cache_clear()


STATUS = {
    State.PENDING: "PENDING",
    State.QUEUED: "PENDING",
    State.STARTED: "STARTED",
    State.RETRY: "RETRY",
    State.SUCCESS: "SUCCESS",
    State.FAILURE: "FAILURE",
    State.REVOKED: "REVOKED",
    State.SKIPPED: "REVOKED",
    State.REQUIRES_ACTION: "SUCCESS",
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_the_status_is_the_state_of_the_run(ledger: Ledger, app: Celery, state: State) -> None:
    run = ledger.add_run(state, finished_at=ledger.now())

    result: AsyncResult[Any] = AsyncResult(run, app=app)

    assert result.status == STATUS[state]
    assert result.ready() == (STATUS[state] in {"SUCCESS", "FAILURE", "REVOKED"})
    assert result.successful() == (STATUS[state] == "SUCCESS")
    assert result.failed() == (STATUS[state] == "FAILURE")
    assert result.traceback is None


def test_the_result_of_a_success_is_its_answer(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.SUCCESS, result="你好", finished_at=ledger.now())

    result: AsyncResult[Any] = AsyncResult(run, app=app)

    assert result.get(timeout=1) == "你好"
    assert result.date_done is not None


def test_getting_a_failure_raises_its_error(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.FAILURE, error="the agent said no")

    result: AsyncResult[Any] = AsyncResult(run, app=app)

    with pytest.raises(RunFailed, match="the agent said no"):
        result.get(timeout=1)
    assert isinstance(result.result, RunFailed)


@pytest.mark.parametrize("state", [State.REVOKED, State.SKIPPED], ids=lambda state: state.value)
def test_getting_a_run_that_was_cancelled_or_skipped_raises(ledger: Ledger, app: Celery, state: State) -> None:
    run = ledger.add_run(state, error="overlap=skip: still active")

    with pytest.raises(TaskRevokedError, match="overlap=skip"):
        AsyncResult(run, app=app).get(timeout=1)


def test_a_run_revoked_by_sql_without_a_reason_still_says_so(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.REVOKED, error=None)

    with pytest.raises(TaskRevokedError, match="cancelled"):
        AsyncResult(run, app=app).get(timeout=1)


def test_a_run_that_goes_on_is_not_ready_and_shows_its_last_error(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.RETRY, error="502 from the gateway")

    result: AsyncResult[Any] = AsyncResult(run, app=app)

    assert "502 from the gateway" in str(result.result)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01, interval=0.01)


def test_an_id_that_is_in_no_ledger_is_pending(app: Celery) -> None:
    assert AsyncResult("no-such-run", app=app).status == "PENDING"


def test_nothing_celery_stores_or_forgets_changes_the_ledger(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.FAILURE, error="as it was")
    before = ledger.run(run)

    app.backend.store_result(run, "all is well", "SUCCESS")
    app.backend.mark_as_started(run)
    AsyncResult(run, app=app).forget()

    assert ledger.run(run) == before
    assert AsyncResult(run, app=app).status == "FAILURE"


def test_a_status_that_changes_is_seen_to_change(ledger: Ledger, app: Celery) -> None:
    run = ledger.add_run(State.STARTED)
    result: AsyncResult[Any] = AsyncResult(run, app=app)
    assert not result.ready()

    ledger.set_run(run, state=State.SUCCESS, result="done", finished_at=ledger.now())

    assert result.status == "SUCCESS"
    assert result.get(timeout=1) == "done"
