"""A crowd of threads is carried as one, and nobody in it waits for ever or for somebody else's trouble."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest

from worker.crowd import ALONE, MOST, Carried, Crowd

CROWD = 40


class Counter:
    """A ledger that doubles numbers, counts who came how, and holds the first up until a crowd has come."""

    def __init__(self) -> None:
        self.crowds: list[int] = []
        self.alone: list[int] = []
        self.goes_on = Event()

    def together(self, numbers: Sequence[int]) -> Sequence[Carried]:
        self.crowds.append(len(numbers))
        return [Carried(is_done=True, value=2 * number) for number in numbers]

    def single(self, number: int, _: Any) -> int:
        self.alone.append(number)
        if number == 0:
            assert self.goes_on.wait(20)
        return 2 * number


def come(counter: Counter, count: int, together: Any = None) -> list[int]:
    """Number 0 is at work when the others come; they wait no longer than their patience."""
    crowd: Crowd[int] = Crowd()
    with ThreadPoolExecutor(count) as pool:
        first = pool.submit(crowd.do, 0, together or counter.together, partial(counter.single, 0))
        while not counter.alone:
            time.sleep(0.001)
        start = Barrier(count - 1)

        def later(number: int) -> int:
            start.wait(20)
            return crowd.do(number, together or counter.together, partial(counter.single, number))

        others = [pool.submit(later, number) for number in range(1, count)]
        time.sleep(0.1)
        counter.goes_on.set()
        return [first.result(20), *(other.result(20) for other in others)]


def test_one_by_itself_goes_alone_at_once() -> None:
    counter, crowd = Counter(), Crowd[int]()

    answers = [crowd.do(number, counter.together, partial(counter.single, number)) for number in (1, 2)]

    assert answers == [2, 4]
    assert counter.crowds == []


def test_those_who_come_meanwhile_are_carried_as_one_and_each_gets_its_own_answer() -> None:
    counter = Counter()

    assert come(counter, CROWD) == [2 * number for number in range(CROWD)]

    assert max(counter.crowds) > CROWD / 2
    assert sum(counter.crowds) + len(counter.alone) == CROWD


def test_a_crowd_has_an_upper_limit() -> None:
    counter = Counter()

    assert come(counter, MOST + 50) == [2 * number for number in range(MOST + 50)]
    assert max(counter.crowds) <= MOST + 1


def test_what_cannot_be_carried_goes_alone_with_what_is_known_of_it() -> None:
    counter, told = Counter(), []

    def none_of_the_odd(numbers: Sequence[int]) -> Sequence[Carried]:
        return [Carried(is_done=number % 2 == 0, value=2 * number if number % 2 == 0 else "odd") for number in numbers]

    def single(number: int, known: Any) -> int:
        told.append(known)
        return Counter.single(counter, number, known)

    crowd: Crowd[int] = Crowd()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(crowd.do, 0, none_of_the_odd, partial(single, 0))
        while not counter.alone:
            time.sleep(0.001)
        others = [pool.submit(crowd.do, n, none_of_the_odd, partial(single, n)) for n in range(1, 9)]
        time.sleep(0.1)
        counter.goes_on.set()
        assert [each.result(20) for each in (first, *others)] == [2 * n for n in range(9)]
    assert set(told) <= {None, "odd"}
    assert told.count("odd") >= 1


@pytest.mark.parametrize("answers", [0, 1])
def test_a_defect_in_carrying_leaves_nobody_waiting(answers: int) -> None:
    counter = Counter()

    def broken(numbers: Sequence[int]) -> Sequence[Carried]:
        if not answers:
            raise ValueError("a defect")
        return [ALONE] * answers  # fewer than were asked for

    assert come(counter, 10, broken) == [2 * number for number in range(10)]
    assert len(counter.alone) == 10


def test_who_has_waited_for_too_long_goes_alone() -> None:
    counter, crowd = Counter(), Crowd[int]()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(crowd.do, 0, counter.together, partial(counter.single, 0))
        while not counter.alone:
            time.sleep(0.001)
        others = [pool.submit(crowd.do, n, counter.together, partial(counter.single, n)) for n in range(1, 5)]
        assert [other.result(20) for other in others] == [2, 4, 6, 8]  # while the first is still held up
        assert not first.done()
        counter.goes_on.set()
        assert first.result(20) == 0
