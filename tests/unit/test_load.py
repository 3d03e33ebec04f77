"""The load of rules: bounded by the moments walked, and honest about what is not walked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.arming import Surroundings
from core.legacy.rows import as_row
from core.load import MOST_OF_ONE, Group, Load, load_of, spread

FIRST = datetime(2026, 11, 23, tzinfo=UTC)
WEEK = FIRST + timedelta(days=7)
AROUND = Surroundings("UTC", frozenset({"priority_low"}))


def group(rows: int = 1, **columns: Any) -> Group:
    row = as_row({"id": 1, **columns}, FIRST)
    return Group(row, rows, FIRST + timedelta(hours=9))


def rows_at(found: Load, moment: datetime) -> float:
    return found.minutes[int((moment - found.first).total_seconds()) // 60]


def test_no_more_moments_are_walked_than_admitted_and_the_rest_is_counted_once() -> None:
    groups = [group(10, crontab="0 * * * *"), group(5, crontab="0 9 * * *"), group(3, crontab="0 9 * * *")]

    found = load_of(groups, AROUND, FIRST, WEEK, most=170)

    assert (found.walked, found.thinned, found.once) == (10, 5, 3)
    assert rows_at(found, FIRST + timedelta(hours=9)) == 18


def test_what_comes_all_the_time_goes_on_evenly() -> None:
    found = load_of([group(6, crontab="* * * * *")], AROUND, FIRST, WEEK)

    assert found.thinned == 6
    assert round(sum(found.minutes.values())) == 6 * 7 * 24 * 60
    assert rows_at(found, WEEK - timedelta(minutes=1)) == 6
    assert MOST_OF_ONE < 7 * 24 * 60


def test_a_rule_that_begins_within_the_stretch_goes_on_at_its_own_pace() -> None:
    begins = FIRST + timedelta(minutes=34)

    found = load_of([group(interval_seconds=20, start_time=begins.replace(tzinfo=None))], AROUND, FIRST, WEEK)

    assert found.thinned == 1
    assert round(found.by_hour()[-1]) == 180


def test_a_rule_that_cannot_be_read_any_more_is_counted_at_its_next_moment() -> None:
    found = load_of([group(4, crontab="0 25 * * *")], AROUND, FIRST, WEEK)

    assert (found.once, rows_at(found, FIRST + timedelta(hours=9))) == (4, 4)


def test_a_spread_sees_what_fires_beside_it() -> None:
    rows = [as_row({"id": n, "crontab": "0 9 * * *"}, FIRST) for n in range(100)]
    minute = FIRST + timedelta(hours=9)
    crowded = {minute + timedelta(minutes=n): 90.0 for n in range(1, 5)}

    alone, beside = spread(rows, minute, AROUND, {}), spread(rows, minute, AROUND, crowded)

    assert alone.after * 5 <= alone.before == 100
    assert beside.after > alone.after
    assert spread([], minute, AROUND, {}).jitter_seconds == 0


NINE = FIRST + timedelta(hours=9)


@pytest.mark.parametrize(
    ("columns", "minute"),
    [
        ({"crontab": "0 9 * * *", "calendar": "XSHG"}, NINE),
        ({"run_at": datetime(2026, 11, 23, 9)}, NINE),  # noqa: DTZ001 - as its column gives it
        ({"rrule": "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0;COUNT=2", "start_time": datetime(2026, 11, 23)}, NINE),  # noqa: DTZ001
        ({"rrule": "FREQ=DAILY;BYHOUR=9;BYMINUTE=0,10;BYSECOND=0"}, NINE + timedelta(minutes=10)),
        ({"crontab": "55,59 9 * * *"}, NINE + timedelta(minutes=59)),
        ({"crontab": "58 23 * * *"}, FIRST + timedelta(hours=23, minutes=58)),
        ({"crontab": "58 23 * * *", "timezone": "Asia/Shanghai"}, FIRST + timedelta(hours=15, minutes=58)),
        ({"crontab": "0 9 * * *", "calendar": "no such one"}, NINE),
    ],
)
def test_a_row_whose_minute_means_something_is_never_moved(columns: dict[str, Any], minute: datetime) -> None:
    rows = [as_row({"id": n, **columns}, FIRST) for n in range(30)]

    found = spread(rows, minute, AROUND, {})

    assert (found.jitter_seconds, found.ids) == (0, ())
    assert found.before == (0 if columns.get("calendar") == "no such one" else 30)


@pytest.mark.parametrize(
    "columns",
    [
        {"crontab": "0 9 * * *", "calendar": "CN"},
        {"rrule": "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0"},
        {"crontab": "0 17 * * *", "timezone": "Asia/Shanghai"},
    ],
)
def test_a_row_that_comes_once_a_day_is_moved_on_its_day(columns: dict[str, Any]) -> None:
    rows = [as_row({"id": n, **columns}, FIRST) for n in range(30)]

    found = spread(rows, NINE, AROUND, {})

    assert len(found.ids) == 30
    assert found.after * 5 <= found.before == 30
