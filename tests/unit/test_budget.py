"""Budgets without a ledger: who may start, what an answer costs, and how long a run waits."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.budget import (
    SLICES,
    Budget,
    Prices,
    Standing,
    Verdict,
    by,
    cost_in,
    judge,
    priced,
    prices_of,
    shown,
    slice_length,
    slice_start,
)
from core.outcome import Usage
from core.waits import until_asked_again, until_budget_is_asked_again

NOW = datetime(2026, 11, 22, 9, 30, 12, 345678, UTC)


def budget(**columns: Any) -> Budget:
    values: dict[str, Any] = {
        "id": 1, "endpoint": "main", "periodic_task_id": None, "amount": Decimal(100), "unit": "USD",
        "window_seconds": 3600, "at_limit": "skip", "reserve": None,
    }  # fmt: skip
    return Budget(**{**values, **columns})


def standing(spent: int = 0, going_on: int = 0, dearest: int = 0, answers: int = 0) -> Standing:
    return Standing(Decimal(spent), going_on, Decimal(dearest), answers)


@pytest.mark.parametrize(
    ("seen", "reserve", "verdict"),
    [
        (standing(), None, Verdict.START),
        (standing(going_on=1), None, Verdict.WAIT),  # nobody knows what that one costs
        (standing(going_on=1), 99, Verdict.START),
        (standing(going_on=1), 100, Verdict.WAIT),
        (standing(spent=90, dearest=10, answers=9), None, Verdict.START),
        (standing(spent=90, going_on=1, dearest=10, answers=9), None, Verdict.WAIT),
        (standing(spent=89, going_on=1, dearest=10, answers=9), None, Verdict.START),
        (standing(spent=100, dearest=10, answers=9), None, Verdict.USED_UP),
        (standing(spent=101), 1, Verdict.USED_UP),
        (standing(spent=10, going_on=500, answers=3), None, Verdict.START),  # answers that tell no cost
    ],
)
def test_a_run_starts_while_what_is_spent_and_reserved_is_below_the_amount(
    seen: Standing, reserve: int | None, verdict: Verdict
) -> None:
    assert judge(budget(reserve=None if reserve is None else Decimal(reserve)), seen) is verdict


@pytest.mark.parametrize("price", [1, 7, 30, 100, 250])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_equal_runs_go_beyond_a_budget_by_less_than_one_run(price: int, at_once: int) -> None:
    spent, going_on, answers = 0, 0, 0
    for _ in range(1000):
        while going_on < at_once and judge(
            budget(), standing(spent, going_on, price if answers else 0, answers)
        ) is Verdict.START:  # fmt: skip
            going_on += 1
        if not going_on:
            break
        going_on, spent, answers = going_on - 1, spent + price, answers + 1

    assert 100 <= spent < 100 + price


@dataclass
class Ran:
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | Decimal | None = None
    currency: str | None = None


@pytest.mark.parametrize(
    ("unit", "run", "cost"),
    [
        ("tokens", Ran(3, 4), 7),
        ("tokens", Ran(3, None), 3),
        ("tokens", Ran(cost=1, currency="USD"), None),
        ("USD", Ran(3, 4), None),
        ("USD", Ran(cost=Decimal("0.5"), currency="USD"), Decimal("0.5")),
        ("USD", Ran(cost=0.5, currency="usd"), Decimal("0.5")),
        ("USD", Ran(cost=0.5, currency="CNY"), None),
        ("USD", Ran(cost=0.5), None),
    ],
)
def test_a_cost_is_read_in_the_unit_of_the_budget_or_not_at_all(unit: str, run: Ran, cost: Any) -> None:
    assert cost_in(unit, run) == cost


def test_prices_are_exact_and_of_a_million_tokens() -> None:
    prices = Prices(Decimal("0.1"), Decimal("0.3"), "CNY")

    assert priced(Usage(3_000_000, 1_000_000), prices) == Usage(3_000_000, 1_000_000, 0.6, "CNY")
    assert priced(Usage(1, 0), prices).cost == 1e-07
    assert priced(Usage(1, 1), None) == Usage(1, 1)


@pytest.mark.parametrize("missing", ["input_price", "output_price", "currency"])
def test_a_price_that_is_not_whole_is_none(missing: str) -> None:
    @dataclass
    class Row:
        input_price: Decimal | None = Decimal(1)
        output_price: Decimal | None = Decimal(2)
        currency: str | None = "USD"

    assert prices_of(Row()) == Prices(Decimal(1), Decimal(2), "USD")
    assert prices_of(Row(**{missing: None})) is None


@pytest.mark.parametrize("window", [60, 3600, 86400, 31 * 86400, 61])
def test_slices_tile_time(window: int) -> None:
    length = slice_length(window)
    start = slice_start(NOW, window)

    assert abs(length * SLICES - timedelta(seconds=window)) < timedelta(milliseconds=1)
    assert start <= NOW < start + length
    assert slice_start(start, window) == start
    assert slice_start(start - timedelta(microseconds=1), window) < start


def test_budgets_are_grouped_by_what_they_are_of_and_named_so() -> None:
    of_main, of_task = budget(), budget(id=2, endpoint=None, periodic_task_id=7, unit="tokens", amount=Decimal("1E+6"))

    assert by([of_main, of_task], "endpoint") == {"main": (of_main,)}
    assert by([of_main, of_task], "periodic_task_id") == {7: (of_task,)}
    assert str(of_main) == "budget 1 of endpoint 'main' (100 USD in 1:00:00)"
    assert str(of_task) == "budget 2 of task 7 (1000000 tokens in 1:00:00)"
    assert [shown(Decimal(text)) for text in ("5.00000000", "0.25000000", "0E-8")] == ["5", "0.25", "0"]


def test_a_herd_that_waits_spreads_itself_and_keeps_its_order() -> None:
    pauses = [until_asked_again(f"run {number}", "cooling", 100).total_seconds() for number in range(200)]

    assert min(pauses) >= 100
    assert max(pauses) <= 120
    assert len({round(pause) for pause in pauses}) > 15
    assert until_asked_again("run", "cooling", 100) == until_asked_again("run", "cooling", 100)
    assert until_asked_again("run", "concurrency", place=100) > until_asked_again("run", "concurrency")
    assert until_asked_again("run", "concurrency", place=9999).total_seconds() <= 144
    assert 5 <= until_asked_again("run", "away").total_seconds() <= 6


def test_the_longer_a_run_has_waited_for_others_the_rarer_it_asks() -> None:
    pauses = [until_budget_is_asked_again("run", timedelta(seconds=seconds)) for seconds in (0, 10, 60, 3600)]

    assert pauses == sorted(pauses)
    assert timedelta(seconds=2) <= pauses[0] <= timedelta(seconds=3)
    assert timedelta(seconds=60) <= pauses[-1] <= timedelta(seconds=90)
