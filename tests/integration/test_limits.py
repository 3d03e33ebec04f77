"""Limits counted in a real Redis: slots, requests and tokens a minute, the line, and a Redis that forgets."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import make_url

from config import Settings
from tests.services import ValkeyServer
from worker.limits import Caps, Held, Limits, LimitsAway, Scope

NewLimits = Callable[..., Limits]
NOBODY: tuple[Held, ...] = ()


def settings_of(url: str) -> Settings:
    values: dict[str, Any] = {"celery_broker_url": url, "worker_lease_seconds": 3}
    return Settings(_env_file=None, **values)


@pytest.fixture
def new_limits(empty_broker_url: str) -> Iterator[NewLimits]:
    """Makes as many workers' limits as a test wants, all on one empty Redis."""
    made: list[Limits] = []

    def new(**more: Any) -> Limits:
        made.append(Limits(settings_of(empty_broker_url), **more))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def limits(new_limits: NewLimits) -> Limits:
    return new_limits()


def ask(limits: Limits, run: str, scope: Scope, place: float = 0) -> bool:
    return limits.ask(run, scope, place, lambda: NOBODY).is_let_in


def released(limits: Limits, run: str, tokens: int | None, **more: Any) -> list[str]:
    """Give a slot back and name the runs that have one now."""
    return [each.run_id for each in limits.release(run, tokens, **more)]


def test_200_runs_of_four_workers_are_never_more_than_the_limit_at_once(new_limits: NewLimits) -> None:
    workers = [new_limits() for _ in range(4)]
    scope = Scope("busy", Caps(concurrency=7))
    let_in: set[str] = set()
    going_on, most, guard = 0, 0, Lock()

    def carry(number: int) -> None:
        nonlocal going_on, most
        limits, run = workers[number % 4], f"run {number}"
        while not (run in let_in or ask(limits, run, scope, number)):
            sleep(0.005)
        assert ask(limits, run, scope, number)  # what was let in by another asks once more, and holds its slot
        with guard:
            going_on += 1
            most = max(most, going_on)
        sleep(0.02)
        with guard:
            going_on -= 1
        let_in.update(released(limits, run, None))

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(carry, range(200)))

    assert 1 < most <= 7
    assert all(ask(workers[0], f"later {number}", scope) for number in range(7))


def test_whoever_leaves_lets_in_who_waits_first(limits: Limits) -> None:
    scope = Scope("one", Caps(concurrency=1))
    assert ask(limits, "first", scope, 1)
    assert not any(ask(limits, run, scope, place) for run, place in (("late", 30), ("early", 10), ("middle", 20)))

    assert released(limits, "first", None) == ["early"]
    assert not ask(limits, "newcomer", scope, 40)
    assert not ask(limits, "first of all", scope, 0)  # the slot is given away already
    assert ask(limits, "early", scope, 10)
    assert released(limits, "early", None) == ["first of all"]


def test_a_worker_that_died_loses_its_slots_after_its_lease(new_limits: NewLimits) -> None:
    scope = Scope("one", Caps(concurrency=1))
    dead, alive = new_limits(), new_limits()
    assert ask(dead, "lost", scope)
    dead.close()  # its slots are renewed no more, as after a kill
    assert not ask(alive, "next", scope)

    deadline = monotonic() + 20
    while not ask(alive, "next", scope) and monotonic() < deadline:
        sleep(0.2)

    assert monotonic() < deadline


def test_a_slot_is_held_for_longer_than_a_lease_while_its_worker_lives(new_limits: NewLimits) -> None:
    scope = Scope("one", Caps(concurrency=1))
    assert ask(new_limits(), "long", scope)
    other = new_limits()

    until = monotonic() + 4
    while monotonic() < until:
        assert not ask(other, "next", scope)
        sleep(0.2)


def test_an_agent_that_is_full_holds_up_its_own_runs_only(limits: Limits) -> None:
    def at(agent: str) -> Scope:
        return Scope("shared", Caps(concurrency=3), agent, Caps(concurrency=1))

    assert ask(limits, "a1", at("a"), 1)
    assert not ask(limits, "a2", at("a"), 2)
    assert ask(limits, "b1", at("b"), 3)
    assert ask(limits, "c1", at("c"), 4)
    assert not ask(limits, "d1", at("d"), 5)

    assert released(limits, "b1", None) == ["d1"]
    assert released(limits, "a1", None) == ["a2"]


def test_a_long_line_of_a_full_agent_hides_nobody_behind_it(limits: Limits) -> None:
    full = Scope("shared", Caps(concurrency=9), "a", Caps(concurrency=1))
    for number in range(600):
        limits.ask(f"a{number}", full, number, lambda: NOBODY)

    answer = limits.ask("b", Scope("shared", Caps(concurrency=9), "b", Caps(concurrency=1)), 1000, lambda: NOBODY)
    second = limits.ask("b2", Scope("shared", Caps(concurrency=9), "b", Caps(concurrency=1)), 1001, lambda: NOBODY)

    assert answer.is_let_in
    assert (second.is_let_in, second.why) == (False, "concurrency")


def test_no_window_of_a_minute_has_more_requests_than_allowed(new_limits: NewLimits) -> None:
    limits = new_limits(window=2)  # a short minute
    scope = Scope("paced", Caps(requests=5))
    asked: list[float] = []
    begin, number = monotonic(), 0
    while monotonic() - begin < 7:
        answer = limits.ask(f"run {number}", scope, number, lambda: NOBODY)
        if answer.is_let_in:
            asked.append(monotonic())
            limits.release(f"run {number}", None)
            number += 1
        else:
            assert 0 < answer.seconds <= 4
            assert answer.why == "requests"
            sleep(0.05)

    most = max(sum(1 for other in asked if first <= other < first + 2) for first in asked)
    assert most == 5
    assert len(asked) >= 10


def test_the_further_behind_in_the_line_the_later_is_the_next_try(new_limits: NewLimits) -> None:
    limits = new_limits(window=10)
    scope = Scope("paced", Caps(requests=2))
    answers = [limits.ask(f"run {number}", scope, number, lambda: NOBODY) for number in range(8)]

    assert [answer.is_let_in for answer in answers] == [True, True, *[False] * 6]
    pauses = [answer.seconds for answer in answers[2:]]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 11 < pauses[2] < pauses[4]


def test_a_request_that_was_held_up_counts_from_when_it_goes_out(new_limits: NewLimits) -> None:
    limits = new_limits(window=100)
    scope = Scope("paced", Caps(requests=1))
    assert ask(limits, "slow", scope)
    sleep(3)

    went_out = monotonic()
    limits.goes_out("slow")
    limits.release("slow", None)
    answer = limits.ask("next", scope, 1, lambda: NOBODY)

    assert answer.seconds >= 100 - (monotonic() - went_out)  # 98 if it counted from when it was let in


def test_what_was_never_sent_does_not_count(limits: Limits) -> None:
    scope = Scope("paced", Caps(requests=1, tokens=1000))
    assert ask(limits, "given up", scope)
    limits.release("given up", None, unsent=True)

    assert ask(limits, "next", scope)


def test_tokens_are_guessed_then_settled_and_bound_the_minute(limits: Limits) -> None:
    scope = Scope("tokens", Caps(tokens=10_000))
    assert ask(limits, "dear", scope)
    limits.release("dear", 9_500)

    answer = limits.ask("next", scope, 1, lambda: NOBODY)

    assert (answer.is_let_in, answer.why) == (False, "tokens")
    assert answer.seconds > 30


def test_one_call_larger_than_the_limit_goes_alone(limits: Limits) -> None:
    scope = Scope("tokens", Caps(tokens=10))

    assert ask(limits, "huge", scope)
    assert not ask(limits, "second", scope)


def test_a_message_that_came_twice_takes_one_slot(new_limits: NewLimits) -> None:
    scope = Scope("one", Caps(concurrency=2))
    assert ask(new_limits(), "run", scope)
    assert ask(new_limits(), "run", scope)

    assert ask(new_limits(), "other", scope)


def test_after_a_flush_the_slots_are_read_from_the_ledger(
    limits: Limits, new_limits: NewLimits, valkey: ValkeyServer
) -> None:
    scope = Scope("one", Caps(concurrency=2, requests=50))
    assert ask(limits, "old", scope)
    with valkey.client() as client:
        client.flushall()

    other = new_limits()
    known = [Held("old", scope, 3), Held("older", scope, 100), Held("elsewhere", Scope("two", scope.caps), 1)]
    answer = other.ask("new", scope, 1, lambda: known)

    assert (answer.is_let_in, answer.why) == (False, "concurrency")
    assert released(limits, "old", None) == ["new"]


def test_an_endpoint_that_throttles_is_left_alone_by_everybody(new_limits: NewLimits) -> None:
    scope = Scope("hot", Caps(concurrency=9))
    new_limits().cool_down("hot", 60)
    other = new_limits()

    answer = other.ask("run", scope, 1, lambda: NOBODY)

    assert (answer.is_let_in, answer.why) == (False, "cooling")
    assert 50 < answer.seconds <= 60
    assert [*other.cooling()] == ["hot"]
    assert ask(other, "elsewhere", Scope("cold", Caps(concurrency=1)))


def test_without_redis_nobody_is_let_in_and_the_answer_comes_soon() -> None:
    limits = Limits(settings_of("redis://127.0.0.1:1/0"))
    begin = monotonic()

    with pytest.raises(LimitsAway):
        ask(limits, "run", Scope("one", Caps(concurrency=1)))

    assert monotonic() - begin < 10
    limits.close()


def test_a_broker_that_is_no_redis_needs_a_redis_to_count_in(empty_broker_url: str) -> None:
    values: dict[str, Any] = {"celery_broker_url": "amqp://127.0.0.1:1//"}
    with pytest.raises(LimitsAway, match="REDIS_URL"):
        ask(Limits(Settings(_env_file=None, **values)), "run", Scope("one", Caps(concurrency=1)))

    beside = Limits(Settings(_env_file=None, **values, redis_url=make_url(empty_broker_url).render_as_string()))
    assert ask(beside, "run", Scope("one", Caps(concurrency=1)))
    beside.close()


def test_a_redis_behind_a_unix_socket_counts_too() -> None:
    with TemporaryDirectory(dir="/tmp") as directory:  # a socket's path has 107 bytes at most
        path = Path(directory) / "redis.sock"
        with ValkeyServer(("--unixsocket", str(path))):
            limits = Limits(settings_of(f"redis+socket://{path}"))
            assert ask(limits, "run", Scope("one", Caps(concurrency=1)))
            assert not ask(limits, "next", Scope("one", Caps(concurrency=1)), 1)
            limits.close()


@pytest.mark.parametrize("query", ["virtual_host=0", "socket_timeout=soon"])
def test_an_address_that_redis_does_not_take_is_a_redis_that_is_away_and_is_not_shown(query: str) -> None:
    limits = Limits(settings_of(f"redis://:hidden-word@127.0.0.1:1/0?{query}"))

    with pytest.raises(LimitsAway, match="address of Redis cannot be used") as away:
        ask(limits, "run", Scope("one", Caps(concurrency=1)))

    assert "hidden-word" not in str(away.value)


def test_calls_whose_slots_ran_out_while_redis_was_away_count_again(
    new_limits: NewLimits, valkey: ValkeyServer
) -> None:
    agent = Scope("one", Caps(concurrency=2), "a", Caps(concurrency=1))
    scope = Scope("one", Caps(concurrency=2))
    worker, other = new_limits(), new_limits()
    assert ask(worker, "of an agent", agent)
    assert ask(worker, "going on", scope)
    with valkey.client() as client:
        for key in client.keys("limits:endpoint:one:s*"):  # slots and specs: the lease was over, the rest came back
            client.delete(key)

    deadline = monotonic() + 20
    while not (other.holds("going on", scope) and other.holds("of an agent", agent)) and monotonic() < deadline:
        sleep(0.1)

    assert not ask(other, "next", scope, 1)
    assert released(worker, "going on", None) == ["next"]
    assert released(worker, "of an agent", None) == []
    assert ask(other, "of the same agent", agent, 2)


def test_a_slot_that_is_given_back_during_a_renewal_is_not_entered_again(new_limits: NewLimits) -> None:
    scope = Scope("one", Caps(concurrency=1))
    worker, other = new_limits(), new_limits()
    for number in range(200):
        assert ask(worker, f"run {number}", scope, number)
        with ThreadPoolExecutor(2) as pool:
            pool.submit(worker._renew_at, "one")
            pool.submit(worker.release, f"run {number}", None)
        assert not other.holds(f"run {number}", scope)


def test_whoever_leaves_lets_in_by_the_limits_of_today(limits: Limits) -> None:
    was, now = Scope("one", Caps(concurrency=2)), Scope("one", Caps(concurrency=1))
    assert ask(limits, "first", was, 1)
    assert ask(limits, "second", was, 2)
    assert not ask(limits, "third", was, 3)

    assert released(limits, "first", None, scope=now) == []
    assert released(limits, "second", None, scope=now) == ["third"]


def test_whoever_leaves_lets_nobody_in_while_the_endpoint_throttles(limits: Limits) -> None:
    scope = Scope("hot", Caps(concurrency=1))
    assert ask(limits, "first", scope, 1)
    assert not ask(limits, "second", scope, 2)
    limits.cool_down("hot", 60)

    assert released(limits, "first", None) == []
