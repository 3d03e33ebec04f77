"""Budgets: what an answer costs, and whether a further run may start. Pure; all amounts are exact decimals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from core.outcome import Usage

TOKENS: Final = "tokens"
MILLION: Final = 1_000_000
SLICES: Final = 60  # of a window: what was spent leaves it a sixtieth late at most
PLACES: Final = Decimal("0.00000001")  # of DECIMAL(20, 8)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AtLimit(StrEnum):
    """What is to happen where a budget is used up."""

    SKIP = "skip"  #: the run is SKIPPED
    PAUSE = "pause"  #: and its row is disabled, with a pause_reason
    ALERT = "alert"  #: the run starts, and the log and a metric say so


class Verdict(StrEnum):
    """Whether a run may start as far as one budget is concerned."""

    START = "start"
    WAIT = "wait"  #: what goes on now may use it up
    USED_UP = "used_up"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that the runs of an endpoint or of a task may cost within a window that ends now."""

    id: int
    endpoint: str | None
    periodic_task_id: int | None
    amount: Decimal
    unit: str
    """`tokens`, or a currency; costs in another one are never added."""
    window_seconds: int
    at_limit: str
    reserve: Decimal | None
    """What a run costs at most; None: the dearest of the window."""

    def __str__(self) -> str:
        """Name it as its owner knows it."""
        of = f"endpoint {self.endpoint!r}" if self.endpoint is not None else f"task {self.periodic_task_id}"
        return (
            f"budget {self.id} of {of} ({shown(self.amount)} {self.unit} in {timedelta(seconds=self.window_seconds)})"
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: what its window has cost, and how many attempts go on."""

    spent: Decimal
    going_on: int
    dearest: Decimal
    answers: int


def judge(budget: Budget, standing: Standing) -> Verdict:
    """Let a run start while what is spent, and what goes on at the price of the dearest, is below the amount.

    So the last run may go beyond it, and no second one, unless runs become dearer. As long as nothing tells what a
    run costs, one goes at a time.
    """
    if standing.spent >= budget.amount:
        return Verdict.USED_UP
    usual = budget.reserve if budget.reserve is not None else standing.dearest if standing.answers else None
    if usual is None:
        return Verdict.WAIT if standing.going_on else Verdict.START
    return Verdict.START if standing.spent + usual * standing.going_on < budget.amount else Verdict.WAIT


def cost_in(unit: str, run: Any) -> Decimal | None:
    """Read what a run cost in a budget's unit; None where the ledger does not tell."""
    if unit == TOKENS:
        known = [count for count in (run.input_tokens, run.output_tokens) if count is not None]
        return Decimal(sum(known)) if known else None
    if run.cost is None or (run.currency or "").upper() != unit:
        return None
    return Decimal(run.cost)


def slice_start(moment: datetime, window_seconds: int) -> datetime:
    """Name the beginning of the slice that a moment belongs to."""
    return moment - (moment - EPOCH) % slice_length(window_seconds)


def slice_length(window_seconds: int) -> timedelta:
    """Tell how long a slice of the window is."""
    return timedelta(seconds=window_seconds) / SLICES


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost at an endpoint."""

    input: Decimal
    output: Decimal
    currency: str


def priced(usage: Usage, prices: Prices | None) -> Usage:
    """Add the cost where the platform tells the tokens and no cost. What it does not tell stays unknown."""
    if prices is None or usage.cost is not None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    exact = (usage.input_tokens * prices.input + usage.output_tokens * prices.output) / MILLION
    return replace(usage, cost=float(exact.quantize(PLACES)), currency=prices.currency)


def prices_of(row: Any) -> Prices | None:
    """Read an endpoint's prices; None unless both and their currency are set."""
    if row.input_price is None or row.output_price is None or not row.currency:
        return None
    return Prices(Decimal(row.input_price), Decimal(row.output_price), row.currency)


def shown(amount: Decimal) -> str:
    """Write an amount without the zeros that a DECIMAL column adds."""
    return f"{amount.normalize():f}"


def by(budgets: list[Budget], column: str) -> Mapping[Any, tuple[Budget, ...]]:
    """Group budgets by what they are of."""
    found: dict[Any, tuple[Budget, ...]] = {}
    for budget in budgets:
        if (owner := getattr(budget, column)) is not None:
            found[owner] = (*found.get(owner, ()), budget)
    return found
