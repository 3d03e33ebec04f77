"""Admission on a real ledger and a real Redis: who starts, who waits, who is skipped, and what a budget has cost."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

import attempts
from core.lifecycle import State
from core.outcome import AgentError, AgentResult, ErrorKind, RemoteHandle, Usage
from core.task_config import readable_config
from store import budgets, runs
from store import endpoints as stored
from store.database import autocommit, read_clock, transaction, transaction_on
from tasks import make_app
from tests.integration.engine import NOWHERE, Ledger, agent, settings_for
from tests.integration.lanes import consumed
from tests.services import ValkeyServer
from worker.admission import Admission
from worker.claims import becomes_ours
from worker.hold_gate import HoldGate
from worker.limits import Woken

OWNER = "w1"
USD = Usage(100, 50, 0.25, "USD")


class Door:
    """One worker's admission, and what a worker does around it."""

    def __init__(self, ledger: Ledger, broker_url: str) -> None:
        settings = settings_for(ledger, broker_url, worker_lease_seconds=3)
        self.ledger, self.app = ledger, make_app(settings)
        self.admission, self.holds = Admission(settings, ledger.engine), HoldGate()

    def start(self, run_id: str, owner: str = OWNER) -> bool:
        """Claim a run as a worker does; True: it is STARTED now."""
        with autocommit(self.ledger.engine) as connection:
            row = runs.read(connection, run_id)
            assert row is not None
            if row.state not in runs.TO_STARTED or row.ready_at is None or row.ready_at > row.now:
                return False
            worker: Any = SimpleNamespace(admission=self.admission, holds=self.holds)
            return becomes_ours(worker, self.app, connection, row, owner)

    def end(self, run_id: str, outcome: AgentResult | AgentError | None = None) -> State | None:
        """End a started run as a worker does."""
        run = self.ledger.run(run_id)
        outcome = outcome or AgentResult("succeeded", "fine", usage=USD)
        self.admission.leave(self.app, run_id, run.config, outcome)
        return attempts.write(self.ledger.engine, run, outcome)

    def look_again(self) -> None:
        """Read the rules and the holds now, not in two seconds."""
        self.admission.rule_book.stale_at = 0.0
        self.holds = HoldGate()


NewDoor = Callable[..., Door]


@pytest.fixture
def new_door(ledger: Ledger, empty_broker_url: str) -> Iterator[NewDoor]:
    made: list[Door] = []

    def new(broker_url: str = empty_broker_url) -> Door:
        made.append(Door(ledger, broker_url))
        return made[-1]

    yield new
    for door in made:
        door.admission.close()


@pytest.fixture
def door(new_door: NewDoor) -> Door:
    return new_door()


def limit(ledger: Ledger, name: str = "limited", **columns: Any) -> None:
    with transaction(ledger.engine) as tx:
        stored.add(tx, {"name": name, "provider": "agent_platform", "base_url": "http://127.0.0.1:1/api", **columns})


def budget(ledger: Ledger, amount: str, **columns: Any) -> int:
    values: dict[str, Any] = {"endpoint": "limited", "unit": "tokens", "window_seconds": 3600, "at_limit": "skip"}
    if "periodic_task_id" in columns:
        values["endpoint"] = None
    with transaction(ledger.engine) as tx:
        return budgets.add(tx, {**values, "amount": Decimal(amount), **columns})


def queued(ledger: Ledger, count: int = 1, endpoint: str | None = "limited", **columns: Any) -> list[str]:
    config = agent(**({} if endpoint is None else {"endpoint": endpoint}))
    return ledger.add_runs(
        State.QUEUED, [{"config": config, "queued_at": ledger.now(), **columns} for _ in range(count)]
    )


def standing(ledger: Ledger, budget_id: int) -> Any:
    with autocommit(ledger.engine) as connection:
        (one,) = (each for each in budgets.every(connection) if each.id == budget_id)
        return budgets.look(connection, one, read_clock(connection))


# -- nothing is limited -----------------------------------------------------------------------------


def test_a_run_that_nothing_limits_costs_one_statement_and_no_round_trip(
    ledger: Ledger, door: Door, valkey: ValkeyServer
) -> None:
    limit(ledger, max_concurrency=1)
    first, second = queued(ledger, 2, endpoint=None)
    assert door.start(first)
    door.admission.rule_book.stale_at += 600  # no look at the rules in between
    door.holds._next_look += 600
    seen: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *context: seen.append(context[2]))
    with valkey.client() as client:
        before = client.info("stats")["total_commands_processed"]

        assert door.start(second)
        door.admission.may_call(second)
        door.admission.leave(door.app, second, agent(), AgentResult("succeeded", "fine", usage=USD))

        after = client.info("stats")["total_commands_processed"]
    assert [statement.split()[0] for statement in seen] == ["SELECT", "UPDATE"]
    assert after - before == 1  # our own INFO


# -- limits -----------------------------------------------------------------------------------------


def test_a_run_that_must_wait_goes_back_to_the_ledger_unstarted(ledger: Ledger, door: Door) -> None:
    limit(ledger, max_concurrency=1)
    first, second = queued(ledger, 2)
    assert door.start(first)
    before = ledger.now()

    assert not door.start(second)

    row = ledger.run(second)
    assert (row.state, row.attempt, row.worker) == ("PENDING", 0, None)
    assert row.ready_at > before + timedelta(seconds=10)
    assert row.error.startswith("waits: endpoint 'limited'")


def test_a_retry_that_must_wait_stays_a_retry_and_keeps_its_error(ledger: Ledger, door: Door) -> None:
    limit(ledger, max_concurrency=1)
    (first,) = queued(ledger)
    config = agent(endpoint="limited", max_retries=3)
    second = ledger.add_run(State.RETRY, config=config, attempt=1, error="it failed", error_kind="connect")
    assert door.start(first)

    assert not door.start(second)

    row = ledger.run(second)
    assert (row.state, row.attempt, row.error) == ("RETRY", 1, "it failed")
    assert row.ready_at > ledger.now()


def test_whoever_ends_sends_the_next_at_once(ledger: Ledger, door: Door, valkey: ValkeyServer) -> None:
    limit(ledger, max_concurrency=1)
    first, second, third = queued(ledger, 3)
    assert door.start(first)
    assert not door.start(third)
    assert not door.start(second)

    door.end(first)

    assert (ledger.run(second).state, ledger.run(third).state) == ("QUEUED", "PENDING")
    assert consumed(valkey.url, 1) == [second]
    assert door.start(second)


def test_a_slot_of_a_run_that_was_cancelled_meanwhile_goes_to_the_next(ledger: Ledger, door: Door) -> None:
    limit(ledger, max_concurrency=1)
    first, second, third = queued(ledger, 3)
    assert door.start(first)
    assert not door.start(second)
    assert not door.start(third)
    ledger.sql("UPDATE task_run SET state = 'REVOKED' WHERE id = :id", id=second)

    door.end(first)

    assert ledger.run(third).state == "QUEUED"
    assert door.start(third)


def hold(ledger: Ledger, *, mode: str = "wait") -> None:
    ledger.sql("INSERT INTO hold (scope, name, mode, reason) VALUES ('queue', 'priority_low', :mode, 'x')", mode=mode)


@pytest.mark.parametrize("mode", ["wait", "skip"])
def test_a_run_that_is_held_in_the_line_passes_its_slot_on(ledger: Ledger, door: Door, mode: str) -> None:
    limit(ledger, max_concurrency=1)
    first, held = queued(ledger, 2)
    (free,) = queued(ledger, queue="celery")
    assert [door.start(run) for run in (first, held, free)] == [True, False, False]
    hold(ledger, mode=mode)
    door.look_again()

    door.end(first)
    assert ledger.run(held).state == "QUEUED"  # it has the slot now
    assert not door.start(held)

    assert ledger.run(free).state == "QUEUED"
    assert door.start(free)


def test_a_held_run_that_another_worker_carries_keeps_its_slot(ledger: Ledger, new_door: NewDoor) -> None:
    limit(ledger, max_concurrency=1)
    run, after = queued(ledger, 2)
    door, other = new_door(), new_door()
    with autocommit(ledger.engine) as connection:
        late = runs.read(connection, run)
        assert late is not None
        assert other.start(run, "w2")
        hold(ledger)
        worker: Any = SimpleNamespace(admission=door.admission, holds=door.holds)

        assert not becomes_ours(worker, door.app, connection, late, OWNER)

    ledger.sql("DELETE FROM hold")
    door.look_again()
    assert not door.start(after)


def test_a_wake_that_comes_late_starts_no_retry_before_its_time(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(ledger, max_concurrency=1)
    config = agent(endpoint="limited", max_retries=3, retry_backoff=60)
    first, second = queued(ledger, 2, config=config)
    assert [door.start(first), door.start(second)] == [True, False]
    wake, late = door.admission._wake, list[Any]()
    with monkeypatch.context() as patch:
        patch.setattr(door.admission, "_wake", lambda *arguments: late.append(arguments))
        door.end(first)
    ledger.set_run(second, ready_at=ledger.now())  # its own time has come before it is told
    assert door.start(second)
    door.end(second, AgentError(ErrorKind.UNAVAILABLE, "not now"))
    ready_at = ledger.run(second).ready_at

    with autocommit(ledger.engine) as connection:
        wake(connection, *late[0][1:])

    row = ledger.run(second)
    assert (row.state, row.ready_at) == ("RETRY", ready_at)
    assert ready_at > ledger.now() + timedelta(seconds=20)


def test_an_urgent_queue_goes_first_in_the_line(ledger: Ledger, door: Door) -> None:
    limit(ledger, max_concurrency=1)
    first, ordinary = queued(ledger, 2)
    (urgent,) = queued(ledger, queue="priority_high")
    assert door.start(first)
    assert not door.start(ordinary)
    assert not door.start(urgent)

    door.end(first)

    assert (ledger.run(urgent).state, ledger.run(ordinary).state) == ("QUEUED", "PENDING")


@pytest.mark.parametrize("state", [State.STARTED, State.REVOKED])
def test_a_claim_that_is_too_late_gives_its_slot_back_and_takes_nobodys(
    ledger: Ledger, new_door: NewDoor, state: State
) -> None:
    limit(ledger, max_concurrency=1, requests_per_minute=2)
    (run,), (after,) = queued(ledger), queued(ledger)
    late, other = new_door(), new_door()
    with autocommit(ledger.engine) as connection:
        row = runs.read(connection, run)
        assert row is not None
        terms = late.admission.terms_of(connection, readable_config(row.config), None)
        assert terms is not None
        if state is State.STARTED:
            assert other.start(run, "w2")
        else:
            ledger.set_run(run, state=state)

        assert not late.admission.claim(connection, late.app, row, terms, OWNER, row.now)

    late.admission.leave(late.app, run)
    assert other.start(after) is (state is State.REVOKED)


def test_a_run_that_is_let_in_while_it_is_put_off_is_not_forgotten(
    ledger: Ledger, new_door: NewDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(ledger, max_concurrency=1)
    first, second = queued(ledger, 2)
    door, other = new_door(), new_door()
    assert other.start(first)
    put_off = door.admission._put_off

    def slowly(*arguments: Any) -> None:
        other.end(first)  # lets the second in, which is QUEUED still
        put_off(*arguments)

    monkeypatch.setattr(door.admission, "_put_off", slowly)

    assert not door.start(second)

    assert ledger.run(second).state == "QUEUED"
    assert door.start(second)


def test_each_agent_has_its_own_limit(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    with transaction(ledger.engine) as tx:
        stored.limit_agent(tx, "limited", "*", {"max_concurrency": 1})
    ids = [queued(ledger, config=agent(endpoint="limited", agent_id=name))[0] for name in ("a", "a", "b")]

    assert [door.start(run) for run in ids] == [True, False, True]


def test_while_redis_is_away_limited_runs_wait_and_others_start(ledger: Ledger, new_door: NewDoor) -> None:
    limit(ledger, max_concurrency=5)
    (limited,), (free,) = queued(ledger), queued(ledger, endpoint=None)
    door = new_door(NOWHERE)

    assert door.start(free)
    assert not door.start(limited)

    assert ledger.now() < ledger.run(limited).ready_at < ledger.now() + timedelta(seconds=30)


def test_after_a_flush_the_calls_that_go_on_still_count(
    ledger: Ledger, new_door: NewDoor, valkey: ValkeyServer
) -> None:
    limit(ledger, max_concurrency=2)
    first, second, third = queued(ledger, 3)
    door = new_door()
    assert door.start(first)
    assert door.start(second)
    with valkey.client() as client:
        client.flushall()

    assert not new_door().start(third)
    door.end(first)
    assert new_door().start(third)


def test_after_a_429_no_run_of_any_worker_calls_there_for_a_while(ledger: Ledger, new_door: NewDoor) -> None:
    first, second, third = queued(ledger, 3, endpoint=None)
    door, other = new_door(), new_door()
    assert door.start(first)

    door.end(first, AgentError(ErrorKind.THROTTLED, "slow down", retry_after=60))

    for each, run in ((door, second), (other, third)):
        assert not each.start(run)
        assert ledger.run(run).ready_at > ledger.now() + timedelta(seconds=45)


@pytest.mark.parametrize("state", [State.STARTED, State.REVOKED])
def test_who_is_told_late_keeps_the_slot_it_is_carried_in(ledger: Ledger, door: Door, state: State) -> None:
    limit(ledger, max_concurrency=1)
    first, second = queued(ledger, 2)
    assert door.start(first)
    scope, _ = door.admission._let_in_as[first]
    if state is not State.STARTED:
        ledger.set_run(first, state=state)

    with autocommit(ledger.engine) as connection:
        door.admission._wake(connection, door.app, scope, [Woken(first, 0)])

    assert door.start(second) is (state is not State.STARTED)


def test_a_429_of_one_host_stops_no_http_row_of_another(ledger: Ledger, door: Door) -> None:
    config = '{"task_type": "http", "url": "http://127.0.0.1:1/"}'
    first, second = queued(ledger, 2, config=config)
    assert door.start(first)

    door.end(first, AgentError(ErrorKind.THROTTLED, "slow down", retry_after=60))

    door.look_again()
    assert door.start(second)


def test_leaving_never_raises_whatever_breaks(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit(ledger, max_concurrency=1)
    (run,) = queued(ledger)
    assert door.start(run)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    for name in ("release", "cool_down"):
        monkeypatch.setattr(door.admission._limits, name, broken)

    throttled = AgentError(ErrorKind.THROTTLED, "slow down")
    door.admission.leave(door.app, run, agent(endpoint="limited"), throttled)

    assert len([record for record in caplog.records if record.exc_info]) == 2


def test_cool_downs_that_cannot_be_read_fail_no_claim(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(door.admission._limits, "cooling", broken)

    assert door.start(*queued(ledger, endpoint=None))


def test_slots_are_given_away_by_the_limits_of_today(ledger: Ledger, door: Door) -> None:
    limit(ledger, max_concurrency=2)
    first, second, third = queued(ledger, 3)
    assert door.start(first)
    assert door.start(second)
    assert not door.start(third)
    ledger.sql("UPDATE agent_endpoint SET max_concurrency = 1")
    door.look_again()
    assert door.start(*queued(ledger, endpoint=None))  # whoever claims reads the rules

    door.end(first)
    assert ledger.run(third).state == "PENDING"
    door.end(second)
    assert ledger.run(third).state == "QUEUED"


# -- budgets ----------------------------------------------------------------------------------------


def test_of_100_at_once_one_run_at_most_goes_beyond_a_budget_and_all_is_settled(
    ledger: Ledger, new_door: NewDoor
) -> None:
    limit(ledger)
    of_endpoint = budget(ledger, "1450")  # a run takes 150: nine are below it, the tenth goes beyond
    doors = [new_door() for _ in range(4)]
    ids = queued(ledger, 100)

    def carry(number: int) -> None:
        door, run = doors[number % 4], ids[number]
        for _ in range(200):
            with suppress(OperationalError):  # a lock wait on a slow machine; a worker tries again too
                if door.start(run, f"w{number}"):
                    door.end(run)
            if ledger.run(run).state in (State.SUCCESS, State.SKIPPED):
                return
            ledger.set_run(run, ready_at=ledger.now())  # what waits asks again at once

    with ThreadPoolExecutor(1 if ledger.is_sqlite else 25) as pool:
        list(pool.map(carry, range(100)))

    assert ledger.states() == {State.SUCCESS: 10, State.SKIPPED: 90}
    seen = standing(ledger, of_endpoint)
    assert (seen.spent, seen.going_on) == (Decimal(1500), 0)
    spent = ledger.value("SELECT SUM(input_tokens + output_tokens) FROM task_run")
    assert spent == 1500
    skipped = next(run for run in ledger.runs() if run.state == State.SKIPPED)
    assert "is used up" in skipped.error


def test_until_a_price_is_known_one_run_goes_at_a_time(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    budget(ledger, "1000")
    first, second, third = queued(ledger, 3)

    assert [door.start(first), door.start(second)] == [True, False]
    assert ledger.run(second).state == "PENDING"
    door.end(first)
    ledger.set_run(second, ready_at=ledger.now())
    assert [door.start(second), door.start(third)] == [True, True]


def test_a_killed_worker_leaves_nothing_reserved(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    of_endpoint = budget(ledger, "1000", reserve=Decimal(600))
    first, second, third = queued(ledger, 3)
    assert door.start(first)
    assert door.start(second)
    assert not door.start(third)
    assert standing(ledger, of_endpoint).going_on == 2

    for run in (first, second):  # what rescue writes once the lease has run out
        attempts.write(ledger.engine, ledger.run(run), attempts.lost(ledger.run(run), "gone"))

    assert standing(ledger, of_endpoint).going_on == 0
    ledger.set_run(third, ready_at=ledger.now())
    assert door.start(third)
    assert ledger.value("SELECT COUNT(*) FROM budget_use") == 1


def test_each_attempt_of_a_run_is_entered_once(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    of_endpoint = budget(ledger, "1000")
    (run,) = queued(ledger, config=agent(endpoint="limited", max_retries=1, retry_backoff=0))
    assert door.start(run)
    failed = AgentError(ErrorKind.EXPECTATION, "no", answer=AgentResult("succeeded", "no", usage=USD))
    assert door.end(run, failed) is State.RETRY
    ledger.set_run(run, ready_at=ledger.now())

    assert door.start(run)
    assert door.end(run, AgentError(ErrorKind.CONNECT, "nothing was sent")) is State.FAILURE

    assert standing(ledger, of_endpoint).spent == 150
    (other,) = queued(ledger)
    assert door.start(other)
    assert standing(ledger, of_endpoint).spent == 150


def test_two_currencies_are_never_added(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    in_usd, in_cny = budget(ledger, "100", unit="USD"), budget(ledger, "100", unit="CNY")
    usages = [
        Usage(cost=10.5, currency="USD"),
        Usage(cost=70.25, currency="CNY"),
        Usage(cost=1, currency="usd"),
        Usage(),
    ]
    for usage in usages:
        (run,) = queued(ledger)
        assert door.start(run)
        door.end(run, AgentResult("succeeded", "fine", usage=usage))

    assert standing(ledger, in_usd).spent == Decimal("11.5")
    assert standing(ledger, in_cny).spent == Decimal("70.25")
    assert door.start(*queued(ledger))
    told = ledger.sql("SELECT unit, SUM(unknown) AS unknown FROM budget_slice GROUP BY unit ORDER BY unit")
    assert [(row.unit, int(row.unknown)) for row in told] == [("CNY", 3), ("USD", 2)]


def test_what_left_the_window_is_spent_no_more(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    of_endpoint = budget(ledger, "150", window_seconds=600)
    first, second = queued(ledger, 2)
    assert door.start(first)
    door.end(first)
    ledger.set_run(first, finished_at=ledger.now() - timedelta(seconds=650))

    assert door.start(second)

    assert standing(ledger, of_endpoint).spent == 0


def test_a_budget_of_one_task_pauses_its_row_and_no_other(ledger: Ledger, door: Door) -> None:
    paused, other = ledger.insert("dear"), ledger.insert("other")
    budget(ledger, "100", periodic_task_id=paused, at_limit="pause")
    (first,) = queued(ledger, endpoint=None, periodic_task_id=paused)
    (second,) = queued(ledger, endpoint=None, periodic_task_id=paused, origin="manual")
    assert door.start(first)
    door.end(first)

    assert not door.start(second)

    row = ledger.task(paused)
    assert (ledger.run(second).state, row.enabled, row.last_run_state) == ("SKIPPED", 0, "SKIPPED")
    assert "is used up" in row.pause_reason
    assert ledger.task(other).enabled == 1
    assert door.start(*queued(ledger, 1, endpoint=None, periodic_task_id=other))


def test_an_alert_lets_runs_start_and_is_told_once_a_window(
    ledger: Ledger, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    limit(ledger)
    of_endpoint = budget(ledger, "100", at_limit="alert")
    for run in queued(ledger, 4):
        assert door.start(run)
        door.end(run)

    told = [record for record in caplog.records if "is used up" in record.message]
    assert len(told) == 1
    assert ledger.value("SELECT reached_at FROM budget WHERE id = :id", id=of_endpoint) is not None
    assert ledger.states() == {State.SUCCESS: 4}


def test_a_run_that_has_run_before_fails_for_want_of_budget_and_calls_nobody(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    budget(ledger, "100")
    (first,) = queued(ledger)
    assert door.start(first)
    door.end(first)
    again = ledger.add_run(State.RETRY, config=agent(endpoint="limited", max_retries=3), attempt=1, error="it failed")

    assert door.start(again)
    with pytest.raises(AgentError, match="is used up") as refused:
        door.admission.may_call(again)

    assert refused.value.kind is ErrorKind.QUOTA
    assert door.end(again, refused.value) is State.FAILURE


def test_a_row_that_cannot_be_paused_now_lets_no_run_call(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = ledger.insert("dear")
    budget(ledger, "100", periodic_task_id=paused, at_limit="pause")
    (first,) = queued(ledger, endpoint=None, periodic_task_id=paused)
    assert door.start(first)
    door.end(first)
    again = ledger.add_run(
        State.RETRY, config=agent(max_retries=3), attempt=1, periodic_task_id=paused, origin="manual"
    )

    def locked(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception(1205, "Lock wait timeout exceeded"))

    monkeypatch.setattr("store.schedules.pause", locked)

    assert door.start(again)
    with pytest.raises(AgentError, match="is used up"):
        door.admission.may_call(again)


def test_a_claim_whose_commit_is_not_answered_calls_nobody_without_budget(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(ledger)
    budget(ledger, "100")
    (first,) = queued(ledger)
    assert door.start(first)
    door.end(first)
    again = ledger.add_run(State.RETRY, config=agent(endpoint="limited", max_retries=3), attempt=1)

    @contextmanager
    def unanswered(connection: Connection) -> Iterator[None]:
        with transaction_on(connection):
            yield
        raise OperationalError("COMMIT", {}, Exception(2013, "Lost connection"))

    monkeypatch.setattr("worker.admission.transaction_on", unanswered)
    with pytest.raises(OperationalError):
        door.start(again)

    assert ledger.run(again).state == "STARTED"
    with pytest.raises(AgentError, match="is used up"):
        door.admission.may_call(again)


def test_a_remote_run_that_is_resumed_needs_no_further_budget(ledger: Ledger, door: Door) -> None:
    limit(ledger)
    budget(ledger, "100")
    (first,) = queued(ledger)
    assert door.start(first)
    door.end(first)
    handle = RemoteHandle("dify", {"task_id": "t"}, resumable=True).as_text()
    begun = ledger.add_run(State.RETRY, config=agent(endpoint="limited"), attempt=1, remote_handle=handle)

    assert door.start(begun)

    door.admission.may_call(begun)


def test_a_crash_within_the_claim_reserves_and_starts_nothing(
    ledger: Ledger, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(ledger)
    budget(ledger, "1000")
    (run,) = queued(ledger)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(budgets, "reserve", crash)
        with pytest.raises(KeyboardInterrupt):
            door.start(run)

    assert ledger.run(run).state == "QUEUED"
    assert ledger.value("SELECT COUNT(*) FROM budget_use") == 0
    assert door.start(run)


# -- prices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "cost", "currency"),
    [
        (Usage(1_000, 500), 0.0035, "USD"),
        (Usage(1_000, 500, 0.5, "CNY"), 0.5, "CNY"),
        (Usage(1_000, None), None, None),
        (Usage(), None, None),
    ],
)
def test_a_cost_comes_from_the_platform_else_from_prices_else_is_unknown(
    ledger: Ledger, door: Door, told: Usage, cost: float | None, currency: str | None
) -> None:
    limit(ledger, input_price=Decimal("1.5"), output_price=Decimal(4), currency="USD")
    door.start(*queued(ledger))

    answer = door.admission.priced("limited", AgentResult("succeeded", "fine", usage=told))

    assert (answer.usage.cost, answer.usage.currency) == (cost, currency)
