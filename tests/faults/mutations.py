"""Bugs planted in beats and workers, to see whether the checker reports them.

`python -m tests.faults.mutant NAME run_beat.py` applies one by replacing functions of the product, then runs the
program. Each is a bug that schedulers really have had.
"""

import random
from collections.abc import Callable
from dataclasses import replace as changed
from datetime import timedelta
from time import sleep
from typing import Any, Final

from tests.faults.launch import replace

GAP = 0.4  # seconds by which a mutation widens the gap that it opens


def publish_before_commit() -> None:
    """The message goes out before the run is in the ledger, and counts as sent: workers find nothing and drop it."""
    from broker import Sender, sendable
    from store import runs
    from store.database import autocommit

    def commit(original: Any) -> Any:
        def _commit(self: Any, step: Any) -> Any:
            def too_early(tx: Any) -> Any:
                fired = step(tx)
                if ready := [sendable(run) for run in fired.new_runs if run.ready_at is not None]:
                    sender.send(ready)
                    sleep(GAP)
                return fired

            sender = Sender(self.app)
            self.publisher.hand_over = lambda _: None
            try:
                fired = original(self, too_early)
            finally:
                del self.publisher.hand_over
                sender.close()
            with autocommit(self.engine) as connection:
                runs.mark_queued(connection, [(run.id, 0) for run in fired.new_runs if run.ready_at is not None])
            return fired

        return _commit

    replace("scheduler:DatabaseScheduler._commit", commit)


def claim_without_compare_and_set() -> None:
    """Whoever gets a message runs it, whatever the ledger says."""
    from sqlalchemy import update

    from core.lifecycle import State
    from store.database import utc_now
    from store.runs import TABLE, R

    def claim(_: Any) -> Any:
        def take(connection: Any, run_id: str, attempt: int, worker: str, deadline_at: Any) -> bool:
            values = {"state": State.STARTED, "worker": worker, "attempt": attempt + 1, "deadline_at": deadline_at}
            connection.execute(update(TABLE).where(R.id == run_id).values(**values, started_at=utc_now()))
            return True

        return take

    replace("store.runs:claim", claim)
    replace("store.runs:TO_STARTED", lambda _: frozenset(State))


def finish_without_owner() -> None:
    """A result is written whoever owns the run by now."""
    from store.runs import R

    replace("store.runs:_owned", lambda _: lambda run_id, worker, attempt: R.id == run_id)


def lease_ignored() -> None:
    """Rescue takes every worker for dead at once."""
    replace("store.leases:remove_expired", lambda original: lambda c, now: original(c, now + timedelta(days=1)))
    replace("beat.keeper:Keeper.may_judge_leases", lambda _: lambda self: True)


def rows_not_locked() -> None:
    """Beats claim without a lock, and no unique moment stops the second one."""
    from store.database import autocommit

    def take_due(original: Any) -> Any:
        def take(tx: Any, *more: Any) -> Any:
            with autocommit(tx.engine) as connection:
                rows = original(connection, *more)
            sleep(GAP)
            return rows

        return take

    def runs_of(original: Any) -> Any:
        def shifted(*args: Any, **kwargs: Any) -> Any:
            dice = timedelta(microseconds=random.randint(1, 999))
            return [changed(run, scheduled_for=run.scheduled_for + dice) for run in original(*args, **kwargs)]

        return shifted

    replace("store.schedules:take_due", take_due)
    replace("beat.firing:runs_of", runs_of)


def advance_before_insert() -> None:
    """Rows move on in a transaction of their own; their runs follow in the next."""
    waiting: list[Any] = []
    inserts: list[Any] = []

    def insert(original: Any) -> Any:
        inserts.append(original)

        def later(tx: Any, new: Any, *more: Any) -> Any:
            waiting[:] = [new]
            return list(new)

        return later

    def move_on(original: Any) -> Any:
        def move(tx: Any, *more: Any) -> None:
            original(tx, *more)
            tx.exec_driver_sql("COMMIT")
            sleep(GAP)
            tx.exec_driver_sql("START TRANSACTION")
            inserts[0](tx, waiting.pop())

        return move

    replace("store.runs:insert_fired", insert)
    replace("beat.firing:_move_on", move_on)


def lost_messages_stay_lost() -> None:
    """What the broker forgot is not sent again."""
    replace("beat.publisher:Publisher.send_lost_again", lambda _: lambda self: 0)


def catch_up_drops_moments() -> None:
    """After an outage only the newest moment runs, and nobody says what became of the others."""

    def plan(original: Any) -> Any:
        def newest(*args: Any, **kwargs: Any) -> Any:
            owed = original(*args, **kwargs)
            return changed(owed, fire=owed.fire[-1:], skipped=())

        return newest

    replace("beat.firing:plan", plan)


def skips_without_reason() -> None:
    """A row that allows overlap skips moments for an overlap."""
    from core.planning import Skipped

    def plan(original: Any) -> Any:
        def skipping(*args: Any, **kwargs: Any) -> Any:
            owed = original(*args, **kwargs)
            skipped = tuple(
                Skipped(moment, moment, 1, "overlap=skip: the previous run is still active") for moment in owed.fire
            )
            return owed if random.random() < 0.5 else changed(owed, fire=(), skipped=skipped)

        return skipping

    replace("beat.firing:plan", plan)


def success_without_call() -> None:
    """A result is written for a call that never went out."""
    from core.outcome import AgentResult

    def call(_: Any) -> Any:
        def invented(self: Any, run_id: str, work: Any, timeout: float) -> AgentResult:
            work.close()
            return AgentResult("succeeded", f"done {run_id} 00000000")

        return invented

    replace("worker.runtime:WorkerRuntime.call", call)


def errors_are_answers() -> None:
    """A failed call is taken for an answer."""
    from core.outcome import AgentError, AgentResult

    def call(original: Any) -> Any:
        def swallow(*args: Any) -> Any:
            try:
                return original(*args)
            except AgentError as error:
                return AgentResult("succeeded", error.message)

        return swallow

    replace("worker.runtime:WorkerRuntime.call", call)


def retries_beyond_policy() -> None:
    """One attempt more than max_retries allows."""
    replace("attempts:may_retry", lambda original: lambda kind, n, most, *more: original(kind, n, most + 1, *more))


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    mutation.__name__: mutation
    for mutation in (
        publish_before_commit,
        claim_without_compare_and_set,
        finish_without_owner,
        lease_ignored,
        rows_not_locked,
        advance_before_insert,
        lost_messages_stay_lost,
        catch_up_drops_moments,
        skips_without_reason,
        success_without_call,
        errors_are_answers,
        retries_beyond_policy,
    )
}
