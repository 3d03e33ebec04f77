"""The workflow executor's fields, as an API call gives them, become columns that arm and say the same."""

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from core.arming import Surroundings, cadence_of, what_is_wrong
from core.legacy.repeat_fields import STATUS, RepeatError, columns_of
from core.legacy.rows import as_row, next_fires

SHANGHAI: Final = "Asia/Shanghai"
NEW_YORK: Final = "America/New_York"
BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
AROUND: Final = Surroundings("UTC", frozenset({"priority_low"}))
CONFIG: Final = '{"task_type": "workflow", "workflow_id": "42", "inputs": {}}'


def fields(repeat_type: Any = "day", start: Any = "2026-01-31 09:00:00", **more: Any) -> dict[str, Any]:
    return {"repeat_type": repeat_type, "start_time": start, **more}


def fires(columns: dict[str, Any], count: int, zone: str = SHANGHAI) -> list[str]:
    row = as_row({**columns, "task_extra_config": CONFIG}, BEFORE)
    assert what_is_wrong(row, AROUND) == []
    found = next_fires(cadence_of(row, "UTC"), BEFORE, count)
    return [f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}" for moment in found]


@pytest.mark.parametrize(
    ("given", "when"),
    [
        (fields("minute", repeat_interval=30), {"interval_seconds": 1800}),
        (fields("hour", repeat_interval="6"), {"interval_seconds": 21_600}),
        (fields("day"), {"rrule": "FREQ=DAILY"}),
        (fields("day", repeat_interval=3), {"rrule": "FREQ=DAILY;INTERVAL=3"}),
        (fields("week"), {"rrule": "FREQ=WEEKLY;BYDAY=SA"}),
        (fields("week", repeat_days=[]), {"rrule": "FREQ=WEEKLY;BYDAY=SA"}),
        (fields("week", repeat_days=[5, "1", 7, 1]), {"rrule": "FREQ=WEEKLY;BYDAY=MO,FR,SU"}),
        (fields("week", repeat_days="[1, 3]", repeat_interval=2), {"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE"}),
        (fields("month"), {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1"}),
        (fields("month", repeat_day_of_month="31"), {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1"}),
        (fields("month", repeat_day_of_month=30), {"rrule": "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1"}),
        (fields("month", repeat_day_of_month=28), {"rrule": "FREQ=MONTHLY;BYMONTHDAY=28"}),
        (fields("month", repeat_interval=5), {"rrule": "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=-1"}),
        (fields("year"), {"rrule": "FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=31"}),
        (
            fields("year", repeat_month=2, repeat_day_of_year=29),
            {"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1"},
        ),
        (
            fields("year", repeat_month="2", repeat_day_of_year="28"),
            {"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28"},
        ),
    ],
)
def test_each_repeat_type_has_its_column(given: dict[str, Any], when: dict[str, Any]) -> None:
    columns = columns_of(given, SHANGHAI)

    assert columns == {
        "crontab": None, "interval_seconds": None, "rrule": None, "run_at": None, **when,
        "timezone": SHANGHAI, "start_time": datetime.fromisoformat("2026-01-31 09:00"), "end_time": None,
        "max_runs": None, "enabled": 1, "pause_reason": None,
    }  # fmt: skip
    assert len(fires(columns, 3)) == 3


@pytest.mark.parametrize("given", [{}, {"repeat_type": "none"}, {"task_type": "one_time", "repeat_type": None}])
def test_a_single_run_becomes_run_at(given: dict[str, Any]) -> None:
    columns = columns_of({**given, "start_time": "2026-01-31 09:00"}, SHANGHAI)

    assert columns["start_time"] is None
    assert fires(columns, 3) == ["2026-01-31 09:00:00"]


def test_day_31_is_the_last_of_a_shorter_month_and_comes_back() -> None:
    columns = columns_of(fields("month"), SHANGHAI)

    assert [fire[:10] for fire in fires(columns, 5)] == [
        "2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31",
    ]  # fmt: skip


def test_29_february_is_the_28th_of_a_common_year_and_comes_back() -> None:
    columns = columns_of(fields("year", "2024-02-29 09:00"), SHANGHAI)

    assert [fire[:10] for fire in fires(columns, 5)] == [
        "2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "stored"),
    [
        ("2026-01-31T01:00:00Z", "2026-01-31 09:00:00"),
        ("2026-01-31T09:00:00.75+08:00", "2026-01-31 09:00:00"),
        (datetime(2026, 1, 30, 20, tzinfo=ZoneInfo(NEW_YORK)), "2026-01-31 09:00:00"),
        (datetime.fromisoformat("2026-01-31 09:00:00.5"), "2026-01-31 09:00:00"),
    ],
)
def test_a_time_is_stored_as_the_rows_own_clock_shows_it(start: Any, stored: str) -> None:
    columns = columns_of(fields("day", start), SHANGHAI)

    assert columns["start_time"] == datetime.fromisoformat(stored)
    assert fires(columns, 1) == [stored]  # the start is itself a run


def test_a_start_that_the_clock_never_shows_keeps_its_time_of_day() -> None:
    columns = columns_of(fields("day", "2026-03-08 02:30"), NEW_YORK)

    assert fires(columns, 3, NEW_YORK) == ["2026-03-08 03:00:00", "2026-03-09 02:30:00", "2026-03-10 02:30:00"]


def test_bounds_are_kept() -> None:
    columns = columns_of(fields(end_time="2026-02-02T09:00:00", max_executions="2"), SHANGHAI)

    assert columns["max_runs"] == 2
    assert fires(columns, 9) == ["2026-01-31 09:00:00", "2026-02-01 09:00:00", "2026-02-02 09:00:00"]
    assert columns_of(fields(end_time=None, max_executions=0), SHANGHAI)["max_runs"] is None


@pytest.mark.parametrize(
    ("status", "enabled", "reason"),
    [(1, 1, None), ("1", 1, None), ("enabled", 1, None), (2, 0, None), (" Disabled", 0, None), ("3", 0, "paused")],
)
def test_a_status_is_a_number_or_its_word(status: Any, enabled: int, reason: str | None) -> None:
    columns = columns_of(fields(status=status), SHANGHAI)

    assert (columns["enabled"], columns["pause_reason"]) == (enabled, reason)


@pytest.mark.parametrize(
    ("given", "field", "wrong", "mend"),
    [
        (fields(status=4), "status", "4, deleted", "delete the task"),
        (fields(status="deleted"), "status", "4, deleted", "delete the task"),
        (fields(status=True), "status", "True", "1 enabled"),
        (fields(status="on"), "status", "'on'", "1 enabled"),
        (fields("fortnight"), "repeat_type", "'fortnight'", "week"),
        (fields(["day"]), "repeat_type", "['day']", "week"),
        (fields(start=None), "start_time", "empty", "2026-12-31"),
        (fields(start="31.01.2026"), "start_time", "'31.01.2026'", "2026-12-31"),
        (fields(start=1_767_142_800), "start_time", "1767142800", "2026-12-31"),
        (fields(start="0001-01-01T00:00:00+14:00"), "start_time", "0001", "2026-12-31"),
        (fields(end_time="2026-01-30"), "end_time", "2026-01-30", "correct"),
        (fields("month", repeat_day_of_month=1, end_time="2026-01-31 23:00"), "end_time", "first run", "later"),
        (fields(repeat_interval=0), "repeat_interval", "0", "1 to 36525"),
        (fields(repeat_interval="two"), "repeat_interval", "'two'", "whole number"),
        (fields("hour", repeat_interval=87_841), "repeat_interval", "87841 hours, over ten years", "smaller"),
        (fields("week", repeat_days=[0]), "repeat_days", "the day 0", "1, Monday"),
        (fields("week", repeat_days="1,3"), "repeat_days", "not JSON", "[1, 2]"),
        (fields("week", repeat_days={"1": True}), "repeat_days", "no list", "[1, 2]"),
        (fields("day", repeat_days=[1]), "repeat_days", "[1]", "'week'"),
        (fields("week", repeat_day_of_month=1), "repeat_day_of_month", "1", "'month'"),
        (fields("month", repeat_day_of_month=32), "repeat_day_of_month", "32", "1 to 31"),
        (fields("month", repeat_month=2), "repeat_month", "2", "'year'"),
        (fields("year", repeat_month=2), "repeat_day_of_year", "empty", "day of that month"),
        (fields("year", repeat_day_of_year=200), "repeat_month", "empty", "day of that month"),
        (fields("year", repeat_month=2, repeat_day_of_year=30), "repeat_day_of_year", "30", "day of the month"),
        (fields(max_executions=-1), "max_executions", "-1", "0 to"),
        (fields("day", task_type="one_time"), "task_type", "'one_time'", "recurring"),
        (fields("none", task_type="recurring"), "task_type", "'recurring'", "one_time"),
        (fields(task_type=2), "task_type", "2", "recurring"),
    ],
)
def test_an_error_names_its_field_the_value_and_the_mend(
    given: dict[str, Any], field: str, wrong: str, mend: str
) -> None:
    with pytest.raises(RepeatError) as raised:
        columns_of(given, SHANGHAI)

    (problem,) = raised.value.problems
    assert problem.field == field
    assert wrong in problem.wrong
    assert mend in problem.mend


def test_everything_that_is_wrong_is_told_at_once() -> None:
    given = fields("week", "soon", repeat_days=[8], status=9, max_executions="many", end_time="later")

    with pytest.raises(RepeatError) as raised:
        columns_of(given, "Mars/Base")

    names = {"timezone", "status", "max_executions", "start_time", "end_time", "repeat_days"}
    assert {problem.field for problem in raised.value.problems} == names


def test_the_numbers_are_the_executors() -> None:
    assert STATUS == {1: "enabled", 2: "disabled", 3: "paused", 4: "deleted"}
