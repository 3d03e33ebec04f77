"""A text in pieces is put together right whatever of it is missed or comes twice, and never shows a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.live_text import Tail, without_secrets

SECRET = "sk-live-0123456789"


def test_a_piece_that_comes_twice_is_taken_once() -> None:
    tail = Tail()

    taken = [tail.take(0, 0, "one "), tail.take(0, 4, "two"), tail.take(0, 4, "two"), tail.take(0, 0, "one two three")]

    assert tail.text == "one two three"
    assert taken == [True, True, False, True]


def test_a_piece_after_a_gap_waits_for_the_whole_text() -> None:
    tail = Tail()

    assert not tail.take(0, 4, "two")
    assert tail.text == ""
    assert tail.take(0, 0, "one two")
    assert tail.text == "one two"


def test_another_beginning_takes_the_place_of_the_first_and_nothing_of_it_comes_back() -> None:
    tail = Tail()
    tail.take(0, 0, "draft")

    assert tail.take(2, 0, "")
    assert not tail.take(0, 5, " goes on")
    assert not tail.take(3, 5, "later piece of a beginning that was missed")
    assert tail.take(2, 0, "final")

    assert (tail.version, tail.text) == (2, "final")


@given(st.lists(st.text(alphabet="ab", max_size=4), max_size=8), st.data())
def test_pieces_in_any_order_never_show_what_was_not_said(pieces: list[str], data: st.DataObject) -> None:
    whole = "".join(pieces)
    told = [(sum(map(len, pieces[:at])), piece) for at, piece in enumerate(pieces)]
    tail = Tail()

    for at, piece in data.draw(st.permutations(told)):
        tail.take(0, at, piece)
        assert whole.startswith(tail.text)
    tail.take(0, 0, whole)
    assert tail.text == whole


@pytest.mark.parametrize("cut", range(len(SECRET) + 1))
def test_a_secret_that_comes_in_two_pieces_is_never_seen(cut: int) -> None:
    first, second = f"the key is {SECRET[:cut]}", f"{SECRET[cut:]}."

    early = without_secrets(first, [SECRET], more_follows=True)
    late = without_secrets(first + second, [SECRET], more_follows=True)

    assert SECRET[:1] not in early.removeprefix("the key is")
    assert late == "the key is ***."
    assert late.startswith(early)


def test_the_end_of_a_text_is_shown_though_a_secret_might_begin_like_it() -> None:
    assert without_secrets("it ends in sk-", [SECRET], more_follows=True) == "it ends in "
    assert without_secrets("it ends in sk-", [SECRET], more_follows=False) == "it ends in sk-"


def test_a_text_that_was_cut_within_a_secret_shows_nothing_of_it() -> None:
    assert without_secrets(f"it ends in {SECRET[:-1]}", [SECRET], more_follows=False) == "it ends in ***"


def test_a_secret_within_the_beginning_of_another_shows_neither() -> None:
    inner = "inner-secret"
    outer = f"ab-{inner}-cd-and-more"

    for cut in range(1, len(outer)):
        assert without_secrets(outer[:cut], [outer, inner], more_follows=True) == ""
