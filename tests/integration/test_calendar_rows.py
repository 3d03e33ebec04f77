"""Rows under a calendar, through arming: overrides by operators are noticed, a wrong name harms no neighbour."""

from datetime import UTC, datetime

from scheduler import DatabaseScheduler
from tests.integration.engine import Ledger, agent

TRADING = {"crontab": "30 16 * * *", "calendar": "XSHG", "timezone": "Asia/Shanghai"}


def insert(ledger: Ledger, name: str, **columns: object) -> None:
    columns |= {"name": name, "task_extra_config": agent()}
    marks = ", ".join(f":{column}" for column in columns)
    ledger.sql(f"INSERT INTO periodic_task ({', '.join(columns)}) VALUES ({marks})", **columns)


def next_run(ledger: Ledger, name: str) -> datetime:
    (row,) = ledger.sql("SELECT next_run_at, config_error FROM periodic_task WHERE name = :name", name=name)
    assert row.config_error is None
    return datetime.fromisoformat(str(row.next_run_at)).replace(tzinfo=UTC)


def test_an_override_of_the_next_day_moves_the_row_at_the_next_looks(ledger: Ledger, beat: DatabaseScheduler) -> None:
    insert(ledger, "trading", **TRADING)
    insert(ledger, "always", **{**TRADING, "calendar": None})
    beat._read_surroundings()
    beat.keeper.rearming.look()
    beat.arm()
    first, always = next_run(ledger, "trading"), next_run(ledger, "always")

    day = first.date().isoformat()
    ledger.sql("INSERT INTO calendar_day (calendar, day, open, note) VALUES ('XSHG', :day, 0, '台风')", day=day)
    beat._read_surroundings()
    beat.keeper.rearming.look()
    beat.arm()

    assert next_run(ledger, "trading") > first
    assert next_run(ledger, "always") == always


def test_an_unknown_calendar_is_told_and_its_neighbour_is_armed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    insert(ledger, "good", **TRADING)
    insert(ledger, "bad", **{**TRADING, "calendar": "XSHH"})

    beat.arm()

    assert next_run(ledger, "good")
    (bad,) = ledger.sql("SELECT config_error FROM periodic_task WHERE name = 'bad'")
    assert "did you mean 'XSHG'" in bad.config_error
