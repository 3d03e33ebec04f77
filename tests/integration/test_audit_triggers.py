"""The triggers of the audit hold nobody up: an operator's open transaction, and edits of every shape."""

import json
import re

import pytest
from sqlalchemy import text

from store import audit, leases
from store.database import transaction
from tests.integration.conftest import on_servers
from tests.integration.engine import Ledger

pytestmark = on_servers

OPEN = {
    "periodic_task": "UPDATE periodic_task SET description = 'by hand' WHERE id = :id",
    "agent_endpoint": "UPDATE agent_endpoint SET base_url = 'http://b' WHERE name = 'e'",
}


@pytest.mark.parametrize("table", OPEN)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "READ COMMITTED"])
def test_an_operators_open_transaction_holds_up_no_edit_of_the_program(
    ledger: Ledger, table: str, isolation: str
) -> None:
    task, other = ledger.insert("mine"), ledger.insert("other")
    ledger.sql("INSERT INTO agent_endpoint (name, provider, base_url) VALUES ('e', 'http_json', 'http://a')")
    session = ledger.operator(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
    session.begin()
    with session.cursor() as cursor:
        cursor.execute(OPEN[table].replace(":id", str(task)))

    with transaction(ledger.engine) as tx, audit.silence_triggers(tx):
        tx.execute(text("UPDATE periodic_task SET description = 'by the program' WHERE id = :id"), {"id": other})
    with transaction(ledger.engine) as tx:
        leases.write_state(tx, "a_new_name", "x")
    session.rollback()

    assert ledger.task(other).description == "by the program"


EDITS = (
    "INSERT INTO agent_endpoint (name, provider, base_url, credential) "
    "VALUES (REPEAT('名', 64), 'http_json', REPEAT('ü', 500), REPEAT('k', 65535))",
    "UPDATE agent_endpoint SET name = REPEAT(CHAR(92), 64), base_url = CHAR(34, 92), "
    "credential = REPEAT('l', 65535), currency = NULL",
    "DELETE FROM agent_endpoint",
    "INSERT INTO agent_limit (endpoint, agent, max_concurrency, requests_per_minute, tokens_per_minute) "
    "VALUES (REPEAT('名', 64), REPEAT('😀', 191), 1, NULL, NULL)",
    "UPDATE agent_limit SET tokens_per_minute = 9223372036854775807",
    "DELETE FROM agent_limit",
    "INSERT INTO hold (scope, name, reason, create_by) "
    "VALUES ('queue', REPEAT('😀', 100), REPEAT('😀', 500), REPEAT('😀', 191))",
    "UPDATE hold SET ended_at = UTC_TIMESTAMP(6), ended_by = REPEAT('名', 191), reason = ''",
    "DELETE FROM hold",
    "INSERT INTO calendar_day (calendar, day, open, note) "
    "VALUES (REPEAT('名', 64), '2026-01-01', 0, REPEAT('😀', 500))",
    "UPDATE calendar_day SET note = NULL, open = 1",
    "DELETE FROM calendar_day",
    "INSERT INTO budget (endpoint, amount) VALUES (REPEAT('名', 64), 999999999999.99999999)",
    "UPDATE budget SET reserve = 0.00000001",
    "DELETE FROM budget",
    "INSERT INTO notify_channel (name, url) VALUES (REPEAT('c', 64), REPEAT('U', 65535))",
    "UPDATE notify_channel SET url = NULL, url_env = REPEAT('E', 64)",
    "DELETE FROM notify_channel",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["", "STRICT_ALL_TABLES,ANSI,NO_BACKSLASH_ESCAPES", "TRADITIONAL"])
@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_every_edit_by_hand_is_made_and_entered_whatever_the_session_is_like(
    ledger: Ledger, mode: str, charset: str
) -> None:
    session = ledger.operator(f"SET SESSION sql_mode = '{mode}'")
    session.autocommit(True)
    before = ledger.value("SELECT COUNT(*) FROM audit_log")
    with session.cursor() as cursor:
        cursor.execute(f"SET NAMES {charset}")
        for edit in EDITS:
            if charset == "latin1":
                edit = edit.replace("名", "e").replace("😀", "f").replace("ü", "u")
            assert cursor.execute(edit) == 1, edit

    entered = ledger.sql("SELECT old_value, new_value FROM audit_log ORDER BY id")
    assert len(entered) - before == len(EDITS)
    for row in entered:
        for value in row:
            assert value is None or not re.search("k{9}|l{9}|U{9}", json.dumps(json.loads(value)))
