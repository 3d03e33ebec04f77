"""The audit is paged through to its end, though one answer looks at so many entries only."""

import pytest

from store import audit
from store.audit import Actor, Change
from store.database import autocommit, transaction
from tests.integration.engine import Ledger

ANN = Actor("ann", "token")


def entered(ledger: Ledger, *actions: str) -> None:
    with transaction(ledger.engine) as tx:
        audit.record(tx, ANN, *(Change(action=action, subject=n) for n, action in enumerate(actions)))


def paged(ledger: Ledger, limit: int = 2, kind: str | None = None, subject: str | None = None) -> list[list[str]]:
    """The subjects of every page, logins left out."""
    pages, before = [], None
    with autocommit(ledger.engine) as connection:
        while True:
            found = audit.page(
                connection, before=before, limit=limit, kind=kind, subject=subject, hidden=frozenset({"session"})
            )
            pages.append([row.subject for row in found.rows])
            before = found.resume_before
            if before is None:
                return pages


def test_entries_behind_many_hidden_ones_are_found_piece_by_piece(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED", 4)
    entered(ledger, *["task.update"] * 3, *["session.open"] * 9, "hold.create")

    assert paged(ledger) == [["12"], [], ["2", "1"], ["0"]]


def test_a_kind_with_few_entries_is_found_at_once_and_one_with_many_piece_by_piece(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED", 4)
    monkeypatch.setattr(audit, "FEW", 3)
    entered(ledger, "hold.create", *["task.update"] * 5, *["session.open"] * 7, "hold.end", "hold.create")

    assert paged(ledger, kind="hold") == [["14", "13"], ["0"]]
    assert paged(ledger, kind="task") == [[], [], ["5", "4"], ["3", "2"], ["1"]]
    assert paged(ledger, kind="task", subject="2") == [["2"]]
    assert paged(ledger, kind="session") == [[]]
