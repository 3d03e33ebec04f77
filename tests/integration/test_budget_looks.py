"""How many budgets stand is asked in as many statements as how one stands, and tells the same."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import event, insert

from core.budget import Standing, slice_start
from core.lifecycle import State
from store import budgets
from store.budgets import SLICES, Look
from store.database import autocommit, read_clock, transaction
from tests.integration.engine import Ledger

HOUR = timedelta(hours=1)


def budget(ledger: Ledger, unit: str, hours: int, *spent: tuple[datetime, str]) -> int:
    window = hours * 3600
    with transaction(ledger.engine) as tx:
        values: dict[str, Any] = {"endpoint": "limited", "unit": unit, "window_seconds": window, "at_limit": "skip"}
        made = budgets.add(tx, values | {"amount": Decimal(1000)})
        for moment, amount in spent:
            slices = {"amount": Decimal(amount), "dearest": Decimal(amount), "answers": 2, "unknown": 1}
            starts_at = slice_start(moment, window)
            tx.execute(insert(SLICES).values(budget_id=made, unit=unit, starts_at=starts_at, **slices))
    return made


def use(ledger: Ledger, budget_id: int, state: State, used_by: int = 1, **columns: Any) -> None:
    (run_id,) = ledger.add_runs(state, [{"attempt": 1, **columns}])
    with transaction(ledger.engine) as tx:
        budgets.reserve(tx, budget_id, run_id, used_by)


def test_each_budget_has_what_its_own_window_and_runs_tell(ledger: Ledger) -> None:
    now = ledger.now()
    short = budget(ledger, "tokens", 1, (now, "5"), (now - 3 * HOUR, "70"))
    long = budget(ledger, "tokens", 24, (now, "7"), (now - 3 * HOUR, "11"))
    money = budget(ledger, "CNY", 24, (now - 40 * HOUR, "3"))
    unused = budget(ledger, "CNY", 1)
    for each in (short, long):
        use(ledger, each, State.STARTED)
        use(ledger, each, State.SUCCESS, input_tokens=10, output_tokens=each == long or None)
    use(ledger, long, State.STARTED)
    use(ledger, long, State.SUCCESS, used_by=2, input_tokens=1000)  # another attempt's
    use(ledger, money, State.SUCCESS, cost=Decimal("0.25"), currency="CNY")
    use(ledger, money, State.SUCCESS, cost=Decimal("9"), currency="USD")

    statements: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *context: statements.append(context[2]))
    with autocommit(ledger.engine) as connection:
        known, clock = budgets.every(connection), read_clock(connection)
        statements.clear()
        found = budgets.looks(connection, known, clock)
        asked = len(statements)
        one = budgets.look(connection, known[1], clock)

    assert found == {
        short: Look(Standing(Decimal(15), 1, Decimal(5), 2), 1),
        long: Look(Standing(Decimal(29), 2, Decimal(11), 4), 2),
        money: Look(Standing(Decimal("0.25"), 0, Decimal(0), 0), 0),
        unused: Look(Standing(Decimal(0), 0, Decimal(0), 0), 0),
    }
    assert one == found[long].standing
    assert len(statements) == 2 * asked


def test_no_budgets_are_nothing_to_ask_about(ledger: Ledger) -> None:
    with autocommit(ledger.engine) as connection:
        assert budgets.looks(connection, [], read_clock(connection)) == {}
