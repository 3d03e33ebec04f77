"""The old repeat fields, held against a walk through the calendar day by day, over five years and several zones."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.arming import cadence_of
from core.legacy.repeat_fields import columns_of
from core.legacy.rows import as_row, next_fires

YEARS: Final = 5
DAY: Final = timedelta(days=1)
ZONES: Final = [
    "Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut",
]  # fmt: skip


def days(fields: dict[str, Any], start: date) -> Iterator[date]:
    """Name the rule's days over five years by looking at each one."""
    kind, interval = fields["repeat_type"], fields["repeat_interval"]
    month = fields.get("repeat_month") or start.month
    wanted = fields.get("repeat_day_of_month") or fields.get("repeat_day_of_year") or start.day
    monday = start - start.weekday() * DAY
    for day in (start + n * DAY for n in range(YEARS * 366)):
        months = (day.year - start.year) * 12 + day.month - start.month
        last = monthrange(day.year, day.month)[1]
        is_the_day = day.day == min(wanted, last)
        if kind == "day":
            is_named = (day - start).days % interval == 0
        elif kind == "week":
            weekdays = fields.get("repeat_days") or [start.isoweekday()]
            is_named = day.isoweekday() in weekdays and (day - monday).days // 7 % interval == 0
        elif kind == "month":
            is_named = is_the_day and months % interval == 0
        else:
            is_named = is_the_day and day.month == month and (day.year - start.year) % interval == 0
        if is_named:
            yield day


def moment(wall: datetime, zone: str) -> datetime:
    """Read the clock by looking at every minute: the first that shows this time, or the first after the gap."""
    guess = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    if guess.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
        return guess
    around = (guess + timedelta(minutes=n) for n in range(-180, 181))
    return next(at for at in around if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) >= wall).replace(second=0)


def fires(fields: dict[str, Any], zone: str, count: int) -> list[datetime]:
    columns = columns_of(fields, zone)
    start = fields["start_time"].replace(tzinfo=UTC) - 2 * DAY
    return next_fires(cadence_of(as_row(columns, start), "UTC"), start, count)


def assert_as_walked(fields: dict[str, Any], zone: str) -> None:
    start: datetime = fields["start_time"]
    walked = [moment(datetime.combine(day, start.time()), zone) for day in days(fields, start.date())]
    assert fires(fields, zone, len(walked)) == walked


REPEATS: Final[st.SearchStrategy[dict[str, Any]]] = st.one_of(
    st.builds(dict, repeat_type=st.just("day"), repeat_interval=st.integers(1, 400)),
    st.builds(
        dict,
        repeat_type=st.just("week"),
        repeat_interval=st.integers(1, 60),
        repeat_days=st.lists(st.integers(1, 7), max_size=7, unique=True),
    ),
    st.builds(
        dict,
        repeat_type=st.just("month"),
        repeat_interval=st.integers(1, 30),
        repeat_day_of_month=st.none() | st.integers(1, 31),
    ),
    st.builds(dict, repeat_type=st.just("year"), repeat_interval=st.integers(1, 4)),
    st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(
        lambda day: {
            "repeat_type": "year", "repeat_interval": 1, "repeat_month": day.month, "repeat_day_of_year": day.day,
        }
    ),
)  # fmt: skip
STARTS: Final = st.datetimes(datetime(2023, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001 - wall-clock
    lambda at: at.replace(second=0, microsecond=0)
)


@given(fields=REPEATS, start=STARTS, zone=st.sampled_from(ZONES))
@example({"repeat_type": "day", "repeat_interval": 1}, datetime(2026, 3, 8, 2, 30), "America/New_York")  # noqa: DTZ001
@example({"repeat_type": "day", "repeat_interval": 1}, datetime(2026, 1, 1, 0, 0), "Asia/Beirut")  # noqa: DTZ001
def test_the_stored_rule_names_the_days_of_a_walk(fields: dict[str, Any], start: datetime, zone: str) -> None:
    assert_as_walked({**fields, "start_time": start}, zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("day", [28, 29, 30, 31])
def test_the_ends_of_months_are_clamped_and_never_decay(day: int, interval: int, zone: str) -> None:
    for month in range(1, 13):
        start = datetime.combine(date(2023, month, min(day, monthrange(2023, month)[1])), time(23, 45))
        fields = {"repeat_type": "month", "repeat_interval": interval, "repeat_day_of_month": day, "start_time": start}
        assert_as_walked(fields, zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", [1, 2, 3, 4])
def test_29_february_is_clamped_and_comes_back(interval: int, zone: str) -> None:
    for start in (datetime(2024, 2, 29, 0, 15), datetime(2024, 2, 28, 0, 15), datetime(2023, 3, 1, 0, 15)):  # noqa: DTZ001
        date_of = {"repeat_month": 2, "repeat_day_of_year": 29}
        fields = {"repeat_type": "year", "repeat_interval": interval, **date_of, "start_time": start}
        assert_as_walked(fields, zone)


@given(st.sampled_from(["minute", "hour"]), st.integers(1, 10_000), STARTS, st.sampled_from(ZONES))
def test_minutes_and_hours_are_elapsed_time_from_the_start(
    kind: str, interval: int, start: datetime, zone: str
) -> None:
    first = moment(start, zone)
    found = fires({"repeat_type": kind, "repeat_interval": interval, "start_time": start}, zone, 50)

    assert found == [first + n * interval * timedelta(**{f"{kind}s": 1}) for n in range(50)]
