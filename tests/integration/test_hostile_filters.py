"""What a caller writes into a filter, a name or a token is a value: never SQL, never a hint how near he was."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

import pytest
from sqlalchemy import Connection, event

from api.identities import Identities, granted, parse_tokens
from core.lifecycle import State
from store import audit, chains, run_search, tasks
from store.database import autocommit
from store.run_search import Wanted
from store.tasks import Selection
from tests.integration.engine import Ledger

HOSTILE = [
    "' OR '1'='1",
    "x' OR 1=1 -- ",
    "x\\' OR 1=1 #",
    "'; DROP TABLE periodic_task; --",
    "') UNION SELECT password_hash FROM api_user -- ",
    "%' OR '%'='",
    "%",
    "_____",
    "\\",
    ":name",
    "%(name)s",
]
ASKED: dict[str, Callable[[Connection, str], Any]] = {
    "name_prefix": lambda c, text: tasks.page(c, Selection(name_prefix=text), 0, 50),
    "name_contains": lambda c, text: tasks.page(c, Selection(name_contains=text), 0, 50),
    "tag": lambda c, text: tasks.page(c, Selection(tag=text), 0, 50),
    "owner": lambda c, text: tasks.page(c, Selection(owner=text), 0, 50),
    "state": lambda c, text: tasks.page(c, Selection(state=text), 0, 50),
    "task": lambda c, text: run_search.search(c, Wanted(task_name=text), None, 50).rows,
    "queue": lambda c, text: run_search.search(c, Wanted(queue=text), None, 50).rows,
    "error_kind": lambda c, text: run_search.search(c, Wanted(error_kind=text), None, 50).rows,
    "subject": lambda c, text: audit.page(c, before=None, limit=50, kind="task", subject=text).rows,
    "a name": lambda c, text: [row for row in [tasks.by_name(c, text)] if row],
    "a run": lambda c, text: [row for row in [chains.upstream_of(c, text)] if row],
}


@pytest.mark.parametrize("name", ASKED)
def test_a_filter_is_a_value_and_finds_nothing_else(ledger: Ledger, name: str) -> None:
    ledger.insert("row", owner="ann", tags="a,b")
    ledger.add_run(State.FAILURE, error_kind="timeout")
    said: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *about: said.append(about[2]))

    with autocommit(ledger.engine) as connection:
        found = {text: list(ASKED[name](connection, text)) for text in HOSTILE}

    assert {text: rows for text, rows in found.items() if rows} == {}
    assert all(each not in statement for statement in said for each in HOSTILE if len(each) > 9)
    assert (ledger.value("SELECT COUNT(*) FROM periodic_task"), ledger.value("SELECT COUNT(*) FROM task_run")) == (1, 1)


def test_how_much_of_a_token_is_right_cannot_be_timed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are compared, of one length, all of them whoever's it is; a near token has a digest like any other."""
    grants = parse_tokens("first-token-0123456789:viewer, second-token-0123456789:admin")
    compared: list[tuple[int, int]] = []

    def recorded(known: bytes, given: bytes) -> bool:
        compared.append((len(known), len(given)))
        return compare_digest(known, given)

    monkeypatch.setattr("api.identities.compare_digest", recorded)
    asked: list[Any] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *about: asked.append(about[3]))
    who = Identities(grants, ledger.engine)
    near = "first-token-012345678"

    known = [who.known_token(token) for token in ("first-token-0123456789", near, "x", near * 1000)]

    assert [caller is not None for caller in known] == [True, False, False, False]
    assert compared == [(32, 32)] * 8
    assert who.by_token(near) is None
    assert asked
    assert near not in str(asked)
    assert granted(b"\0" * 32, grants) is None
