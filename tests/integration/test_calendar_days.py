"""The table `calendar_day`: what operators may write, and that the product notices every edit of it."""

from datetime import date, timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from core.calendars import Overrides, load
from store import calendar_days, migrate
from store.database import autocommit
from tests.integration.engine import Ledger

TYPHOON = "INSERT INTO calendar_day (calendar, day, open, note) VALUES ('XHKG', '2026-09-08', 0, '台风')"


def read(ledger: Ledger) -> Overrides:
    with autocommit(ledger.engine) as connection:
        return calendar_days.read(connection)


def versions(ledger: Ledger) -> dict[str, str]:
    with autocommit(ledger.engine) as connection:
        return calendar_days.versions(connection)


def test_a_plain_insert_closes_a_day(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)

    calendar = load("XHKG", read(ledger))

    assert not calendar.is_open(date(2026, 9, 8))
    assert calendar.is_open(date(2026, 9, 9))


def test_rows_belong_to_the_calendar_they_name_whatever_its_capitals(ledger: Ledger) -> None:
    ledger.sql(
        "INSERT INTO calendar_day (calendar, day, open) VALUES ('cn', '2027-02-06', 1), ('DE-BY', '2027-02-08', 0)"
    )

    overrides = read(ledger)

    assert overrides.of("CN") == {date(2027, 2, 6): True}
    assert overrides.of("DE-BY") == {date(2027, 2, 8): False}
    assert overrides.of("XSHG") == {}


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE calendar_day SET open = 1 WHERE calendar = 'XHKG'",
        "UPDATE calendar_day SET day = '2026-09-09' WHERE calendar = 'XHKG'",
        "UPDATE calendar_day SET calendar = 'XSHG' WHERE calendar = 'XHKG'",
        "DELETE FROM calendar_day WHERE calendar = 'XHKG'",
        "INSERT INTO calendar_day (calendar, day, open) VALUES ('XHKG', '2026-09-10', 0)",
    ],
)
def test_every_edit_changes_the_version_of_its_calendar_alone(ledger: Ledger, edit: str) -> None:
    ledger.sql(TYPHOON)
    ledger.sql("INSERT INTO calendar_day (calendar, day, open) VALUES ('CN', '2027-02-06', 1)")
    before = versions(ledger)

    ledger.sql(edit)

    after = versions(ledger)
    assert before["XHKG"] != after.get("XHKG")
    assert before["CN"] == after["CN"]
    assert versions(ledger) == after


def test_deleting_one_day_and_adding_another_changes_the_version(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)
    before = versions(ledger)

    ledger.sql("DELETE FROM calendar_day")
    ledger.sql(TYPHOON.replace("09-08", "09-07"))

    assert versions(ledger) != before


def test_an_empty_table_has_no_versions(ledger: Ledger) -> None:
    assert versions(ledger) == {}
    assert read(ledger).days == {}


def test_notes_say_why_a_day_was_overridden(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)
    ledger.sql("INSERT INTO calendar_day (calendar, day, open) VALUES ('XHKG', '2026-09-09', 0)")

    with autocommit(ledger.engine) as connection:
        assert calendar_days.notes(connection, "XHKG") == {date(2026, 9, 8): "台风"}


@pytest.mark.parametrize(
    "values",
    [
        "'XSHG:open', '2026-09-08', 0",
        "'XSHG', '2026-02-30', 0",
        "'XSHG', 'tomorrow', 0",
        "'XSHG', NULL, 0",
        "'XSHG', '2026-09-08', 2",
        "'XSHG', '2026-09-08', NULL",
        "NULL, '2026-09-08', 0",
    ],
)
def test_a_row_that_says_nothing_clear_is_refused(ledger: Ledger, values: str) -> None:
    with pytest.raises(DBAPIError):
        ledger.sql(f"INSERT INTO calendar_day (calendar, day, open) VALUES ({values})")


def test_a_day_can_be_said_once_for_each_calendar(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)
    ledger.sql(TYPHOON.replace("XHKG", "XSHG"))

    with pytest.raises(DBAPIError):
        ledger.sql(TYPHOON.replace("XHKG", "xhkg"))


def test_an_edit_moves_update_time_in_utc(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)
    ledger.sql("UPDATE calendar_day SET update_time = '2026-01-01 00:00:00.000000'")

    ledger.sql("UPDATE calendar_day SET note = '台风 8 号'")

    with autocommit(ledger.engine) as connection:
        (moment,) = connection.execute(
            calendar_days.TABLE.select().with_only_columns(calendar_days.C.update_time)
        ).one()
    assert abs(moment - ledger.now()) < timedelta(minutes=1)


def test_the_table_goes_down_and_up_again(ledger: Ledger) -> None:
    ledger.sql(TYPHOON)

    migrate.downgrade(ledger.engine, "0001")
    assert migrate.current_revision(ledger.engine) == "0001"
    with pytest.raises(DBAPIError):
        versions(ledger)

    migrate.upgrade(ledger.engine)
    assert versions(ledger) == {}
    ledger.sql(TYPHOON)
