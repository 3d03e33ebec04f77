"""May this run start now? Limits and budgets, decided before its claim.

A run that nothing limits passes without a statement or a round trip of its own: what is limited is read every other
second, by whoever claims a run then. One that has to wait goes back to the ledger with a later `ready_at`, and holds
no thread. One whose budget is used up is skipped, or its row is paused, or it starts and the log says so.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Final

from celery import Celery
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

import attempts
from broker import Sender, sendable
from config import Settings
from core.budget import AtLimit, Budget, Verdict, judge, priced
from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind, Usage, resumable_handle
from core.retries import MAX_RETRY_AFTER
from core.task_config import AnyConfig, HttpConfig, readable_config
from core.waits import until_asked_again, until_budget_is_asked_again
from endpoints import agent_of, name_of
from logger import run_prefix
from store import budgets, runs, schedules, waiting
from store.database import AnyRow, autocommit, read_clock, transaction_on
from store.run_search import created_at
from trouble import Trouble
from worker.limits import Answer, Caps, Held, Limits, LimitsAway, Scope, Woken
from worker.rules import RuleBook, Terms

logger = logging.getLogger("admission")

COOLING_SECONDS: Final = 5.0  # after a 429 that does not say how long
HELD_UP_SECONDS: Final = 0.5  # between being let in and the call; then the request is counted anew
FORGOTTEN_AT_ONCE: Final = 100
WHY: Final = {
    "concurrency": "as many calls as it bears go on",
    "requests": "its requests a minute are used up",
    "tokens": "its tokens a minute are used up",
    "cooling": "it asked to be left alone for a while",
    "line": "other runs are before it",
    "away": "its limits cannot be counted now",
}
IN_LINE: Final = ("concurrency", "requests", "tokens", "line")


class Admission:
    """Lets runs in, puts them off or ends them, and counts what goes on. Thread-safe; one for each worker process."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._limits = Limits(settings)
        self.rule_book = RuleBook(self._limits)
        self._let_in_as: dict[str, tuple[Scope, float]] = {}
        self._refused: dict[str, AgentError] = {}
        self._sender: Sender | None = None
        self._sending = Lock()
        self._telling = Lock()
        self._trouble = Trouble(logger, "limits are counted again")

    def terms_of(self, connection: Connection, config: AnyConfig | None, task_id: int | None) -> Terms | None:
        """Say what stands between a run and its start; None, for most: nothing."""
        return self.rule_book.terms_of(connection, config, task_id)

    def claim(self, connection: Connection, app: Celery, run: AnyRow, terms: Terms, owner: str, deadline: Any) -> bool:
        """Claim a run where its terms allow it; else put it off or end it. True: it is claimed.

        Where this raises, the same call may be made again: what was let in stays so until `leave`.
        """
        self._refused.pop(run.id, None)  # of a try whose COMMIT failed
        if terms.cooling:
            self._put_off(connection, run, terms, Answer(False, why="cooling", seconds=terms.cooling))
            return False
        if terms.scope is not None and not self._let_in(connection, app, run, terms, terms.scope):
            return False
        if terms.budgets:
            claimed = self._claim_within(connection, run, terms, owner, deadline)
        else:
            claimed = runs.claim(connection, run.id, run.attempt, owner, deadline)
        if not claimed and run.id in self._let_in_as:
            self._give_back(connection, app, run.id)
        return claimed

    def may_call(self, run_id: str) -> None:
        """The call goes out now. Raises AgentError QUOTA for a run that was claimed to be ended: no budget is left."""
        if (error := self._refused.pop(run_id, None)) is not None:
            raise error
        slot = self._let_in_as.get(run_id)
        if slot is not None and monotonic() - slot[1] > HELD_UP_SECONDS:
            try:
                self._limits.goes_out(run_id)
            except LimitsAway as away:
                logger.warning("a request is counted from when it was let in: %s", away)

    def leave(
        self, app: Celery, run_id: str, config: str = "", outcome: AgentResult | AgentError | None = None
    ) -> None:
        """The call is over: settle what it took, and let the next in. Without an outcome nobody knows what it took.

        Never raises: nothing that is known of an answer may be lost over what is counted.
        """
        self._refused.pop(run_id, None)
        if isinstance(outcome, AgentError) and outcome.kind is ErrorKind.THROTTLED:
            self._cool_down(config, outcome.retry_after)
        answer = outcome.answer if isinstance(outcome, AgentError) else outcome
        self._release(app, run_id, _tokens(answer.usage) if answer is not None else None)

    def priced(self, endpoint: str, answer: AgentResult) -> AgentResult:
        """Add what an answer costs by the endpoint's prices, where the platform tells tokens only."""
        prices = self.rule_book.rules.prices.get(endpoint)
        return answer if prices is None else replace(answer, usage=priced(answer.usage, prices))

    def close(self) -> None:
        """Hold no connection any more."""
        self._limits.close()
        with self._sending:
            if self._sender is not None:
                self._sender.close()

    # -- limits -----------------------------------------------------------------------------------

    def _let_in(self, connection: Connection, app: Celery, run: AnyRow, terms: Terms, scope: Scope) -> bool:
        try:
            answer = self._limits.ask(run.id, scope, self._place(run), partial(self._going_on, connection), run.attempt)
        except LimitsAway as away:
            answer = Answer(False, why="away")
            with self._telling:
                self._trouble.goes_on(f"runs at endpoints with limits wait, Redis does not count them: {away}")
        else:
            with self._telling:
                self._trouble.is_over()
        if answer.woken:
            self._wake(connection, app, scope, answer.woken)
        if answer.is_let_in:
            self._let_in_as[run.id] = (scope, monotonic())
            return True
        self._put_off(connection, run, terms, answer)
        if answer.why in IN_LINE and self._is_let_in_meanwhile(run.id, scope):
            self._wake(connection, app, scope, [Woken(run.id, run.attempt)])
        return False

    def _is_let_in_meanwhile(self, run_id: str, scope: Scope) -> bool:
        """Whoever let it in between the answer and its later `ready_at` found nothing to wake."""
        try:
            return self._limits.holds(run_id, scope)
        except LimitsAway:
            return False

    def step_aside(self, connection: Connection, app: Celery, run: AnyRow, config: AnyConfig | None) -> None:
        """Let others pass a run that an operator holds: it stands in no line, and keeps no slot it was given there.

        Raises SQLAlchemyError.
        """
        terms = self.terms_of(connection, config, run.periodic_task_id)
        if terms is None or terms.scope is None:
            return
        if run.id in self._let_in_as:
            self._give_back(connection, app, run.id)
            return
        row = runs.read(connection, run.id)
        if (row is None or row.state != State.STARTED) and (woken := self._forget(run.id, terms.scope)):
            self._wake(connection, app, terms.scope, woken)

    def _give_back(self, connection: Connection, app: Celery, run_id: str) -> None:
        """Free the slot of a run that was not claimed, but where another process carries it: then it is that one's."""
        row = runs.read(connection, run_id)
        if row is not None and row.state == State.STARTED:
            del self._let_in_as[run_id]
            self._limits.let_go(run_id)
        else:
            self._release(app, run_id, None, unsent=True, on=connection)

    def _put_off(self, connection: Connection, run: AnyRow, terms: Terms, answer: Answer) -> None:
        pause = until_asked_again(run.id, answer.why, answer.seconds, answer.place)
        why = f"endpoint {terms.endpoint!r}: {WHY[answer.why]}"
        if waiting.wait(connection, run, run.now + pause, why):
            logger.info("%s waits %.1f s: %s", run_prefix(run.id, run.task_name), pause.total_seconds(), why)

    def _place(self, run: AnyRow) -> float:
        """Line up as queues are served: by queue, then priority, then age. Below 2**53, so a double holds it."""
        queues = self._settings.queues
        rank = min(queues.index(run.queue) if run.queue in queues else len(queues), 80)
        lane: int = rank * 10 + 9 - run.priority
        return lane * 1e13 + _made_at(run).timestamp() * 1000

    def _going_on(self, connection: Connection) -> Iterator[Held]:
        """Read from the ledger which calls count against limits."""
        for run in waiting.started(connection):
            config = readable_config(run.config)
            endpoint = name_of(config) if config is not None else None
            if config is not None and endpoint is not None:
                scope = self.rule_book.rules.scope(endpoint, agent_of(config))
                if scope is not None:
                    yield Held(run.id, scope, int((run.now - (run.started_at or run.now)).total_seconds()))

    def _release(
        self, app: Celery, run_id: str, tokens: int | None, *, unsent: bool = False, on: Connection | None = None
    ) -> None:
        """Give a slot back; where there is none this costs nothing. Never raises: a lease ends by itself."""
        slot = self._let_in_as.pop(run_id, None)
        if slot is None:
            return
        try:
            scope = replace(slot[0], caps=self.rule_book.rules.caps.get(slot[0].endpoint, Caps()))
            woken = self._limits.release(run_id, tokens, unsent=unsent, scope=scope)
            if woken:
                with nullcontext(on) if on is not None else autocommit(self._engine) as connection:
                    self._wake(connection, app, scope, woken)
        except LimitsAway as away:
            logger.warning("the slot of run %s ends with its lease: %s", run_id, away)
        except SQLAlchemyError as error:
            logger.warning("runs that have a slot now are not told: %s", getattr(error, "orig", error))
        except Exception:
            logger.exception("the slot of run %s is not given back as it should be", run_id)

    def _wake(self, connection: Connection, app: Celery, scope: Scope, woken: Sequence[Woken]) -> None:
        """Let runs go that have a slot now. Where one is gone from the ledger, its slot goes to the next."""
        for _ in range(FORGOTTEN_AT_ONCE):
            unfinished = waiting.wake(connection, woken)
            self._send(connection, app, [run for run in unfinished if run.is_unsent])
            gone = {each.run_id for each in woken} - {run.id for run in unfinished}
            woken = [each for run_id in gone for each in self._forget(run_id, scope)]
            if not woken:
                return

    def _forget(self, run_id: str, scope: Scope) -> Sequence[Woken]:
        try:
            return self._limits.forget(run_id, scope)
        except LimitsAway:  # then the slot ends with its lease
            return ()

    def _send(self, connection: Connection, app: Celery, unsent: Sequence[AnyRow]) -> None:
        """Put them on the broker at once; beat would send them within two seconds."""
        if not unsent:
            return
        with self._sending:
            sender = self._sender = self._sender or Sender(app)
            try:
                sender.send([sendable(run) for run in unsent])
            except sender.errors as error:
                logger.warning("%d runs that have a slot now are left to beat to send: %s", len(unsent), error)
                sender.close()
                return
        runs.mark_queued(connection, [(run.id, run.attempt) for run in unsent])

    def _cool_down(self, config: str, retry_after: float | None) -> None:
        known = readable_config(config)
        if isinstance(known, HttpConfig) and known.endpoint is None:  # one name for hosts that have nothing in common
            return
        endpoint = name_of(known) if known is not None else None
        seconds = COOLING_SECONDS if retry_after is None else retry_after
        if endpoint is None or seconds > MAX_RETRY_AFTER:  # that is no throttle: each of its runs is to say so
            return
        logger.warning("endpoint %r is left alone for %.0f s: it throttles", endpoint, seconds)
        self.rule_book.cools_down(endpoint, seconds)
        try:
            self._limits.cool_down(endpoint, seconds)
        except LimitsAway as away:
            logger.warning("other workers are not told that endpoint %r throttles: %s", endpoint, away)
        except Exception:
            logger.exception("other workers are not told that endpoint %r throttles", endpoint)

    # -- budgets ----------------------------------------------------------------------------------

    def _claim_within(self, connection: Connection, run: AnyRow, terms: Terms, owner: str, deadline: Any) -> bool:
        """Judge the budgets and claim in one transaction; their locks make that one run after the other."""
        claimed, used_up, to_tell, waits = False, list[Budget](), list[Budget](), None
        with transaction_on(connection):
            now = read_clock(connection)
            locked = budgets.lock(connection, [budget.id for budget in terms.budgets])
            for budget in locked:
                verdict = judge(budget, budgets.settle(connection, budget, now))
                if verdict is Verdict.USED_UP:
                    used_up.append(budget)
                    to_tell += [budget] if budgets.mark_used_up(connection, budget, now) else []
                elif verdict is Verdict.WAIT and budget.at_limit != AtLimit.ALERT:
                    waits = waits or budget
            resumes = resumable_handle(run.remote_handle) is not None  # it calls nobody again
            stopped = [] if resumes else [budget for budget in used_up if budget.at_limit != AtLimit.ALERT]
            may_start = resumes or not (stopped or waits)
            if may_start or (stopped and run.attempt):
                claimed = self._claim_to(connection, run, owner, deadline, None if may_start else stopped[0])
                if claimed and may_start:
                    for budget in locked:
                        budgets.reserve(connection, budget.id, run.id, run.attempt + 1)
        for budget in to_tell:
            logger.warning("%s is used up; at_limit is %s", budget, budget.at_limit)
        if stopped:
            self._stop(connection, run, stopped[0], is_claimed=claimed)
        elif waits is not None and not may_start:
            waiting.wait(connection, run, now + until_budget_is_asked_again(run.id, now - _made_at(run)),
                      f"{waits}: the runs that go on may use it up")  # fmt: skip
        return claimed

    def _claim_to(self, connection: Connection, run: AnyRow, owner: str, deadline: Any, no_more: Budget | None) -> bool:
        """Claim a run to call, or to fail, since it has run before and a budget has `no_more`."""
        if no_more is not None:  # noted before the COMMIT: its answer may be lost, and the claim stands
            self._refused[run.id] = AgentError(ErrorKind.QUOTA, f"not tried again: {no_more} is used up")
        claimed = runs.claim(connection, run.id, run.attempt, owner, deadline)
        if not claimed:
            self._refused.pop(run.id, None)
        return claimed

    def _stop(self, connection: Connection, run: AnyRow, budget: Budget, *, is_claimed: bool) -> None:
        why = f"{budget} is used up"
        if budget.at_limit == AtLimit.PAUSE and run.periodic_task_id is not None:
            try:
                schedules.pause(connection, run.periodic_task_id, f"{why}; set enabled = 1 to go on")
            except DBAPIError as error:
                logger.warning("row %s is left to its next run to pause: %s", run.periodic_task_id, error.orig)
        if not is_claimed and waiting.skip(connection, run.id, why):
            logger.warning("%s SKIPPED: %s", run_prefix(run.id, run.task_name), why)
            attempts.show_outcome(connection, run.id, run.periodic_task_id, State.SKIPPED)


def _tokens(usage: Usage) -> int | None:
    known = [count for count in (usage.input_tokens, usage.output_tokens) if count is not None]
    return sum(known) if known else None


def _made_at(run: AnyRow) -> datetime:
    """Tell when a run was made, which its id says: retries and waiting move `ready_at`, not this."""
    made_at: datetime = created_at(run.id) or run.scheduled_for
    return made_at
