"""Answers that are told again while they are young, for each question of its own."""

from itertools import count

import pytest

from api import remembered
from api.remembered import RememberedEach


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(remembered, "monotonic", lambda: time[0])
    return time


def test_each_question_has_an_answer_of_its_own_which_grows_old(clock: list[float]) -> None:
    numbers = count(1)
    answers = RememberedEach[str, int](lambda _: next(numbers), seconds=1.0, most=2)

    assert [answers.ask("a"), answers.ask("b"), answers.ask("a")] == [1, 2, 1]
    clock[0] += 1.5
    assert [answers.ask("a"), answers.ask("a"), answers.ask("b")] == [3, 3, 4]


def test_no_more_questions_are_remembered_than_agreed(clock: list[float]) -> None:
    numbers = count(1)
    answers = RememberedEach[str, int](lambda _: next(numbers), seconds=1.0, most=2)

    assert [answers.ask(about) for about in "abca"] == [1, 2, 3, 4]
    assert answers.ask("c") == 3


def test_an_error_is_not_remembered(clock: list[float]) -> None:
    fails = [True]

    def question(about: str) -> str:
        if fails.pop() if fails else False:
            raise OSError(about)
        return about

    answers = RememberedEach[str, str](question, seconds=1.0, most=2)

    with pytest.raises(OSError, match="a"):
        answers.ask("a")
    assert answers.ask("a") == "a"
