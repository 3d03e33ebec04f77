"""The calendar's hours and days are those of the installation's clocks, and its colours tell busy from quiet."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from web.load import DAYS, HOURS, Day, Forecast, days_before, hours_from
from web.pages.load import LEVELS, hours_of, tone_of

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "lengths"),
    [
        (datetime(2026, 3, 27, 12, tzinfo=UTC), {0: 1, 1: 167}),  # the clocks go forward on the 29th
        (datetime(2026, 10, 23, 12, tzinfo=UTC), {2: 1, 1: 167}),
        (datetime(2026, 6, 1, 12, tzinfo=UTC), {1: 168}),
    ],
)
def test_the_hours_are_those_of_the_zones_clocks(now: datetime, lengths: dict[int, int]) -> None:
    edges = hours_from(now, BERLIN)

    assert edges[0].astimezone(BERLIN).hour == 0
    assert edges[0] <= now < edges[HOURS]
    assert len(edges) == DAYS * HOURS + 1
    found = [(until - since) // timedelta(hours=1) for since, until in pairwise(edges)]
    assert {length: found.count(length) for length in set(found)} == lengths


def test_the_past_is_four_weeks_from_a_monday_to_today() -> None:
    days = days_before(datetime(2026, 3, 5, 20, tzinfo=UTC), ZoneInfo("Asia/Shanghai"))

    assert days[0].day.weekday() == 0
    assert (days[0].day.isoformat(), days[-1].day.isoformat()) == ("2026-02-09", "2026-03-06")
    assert all(earlier.until == later.since for earlier, later in pairwise(days))


def test_the_busiest_hour_is_full_and_one_fire_can_be_told_from_none() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    fires = [0.0, 1.0, 400.0] + [0.0] * (DAYS * HOURS - 3)

    hours = hours_of(Forecast(hours_from(now, BERLIN), (), fires), current=1)

    assert [each.level for each in hours[:4]] == [0, 1, LEVELS, 0]
    assert [each.is_over for each in hours[:3]] == [True, False, False]


@pytest.mark.parametrize(
    ("counts", "tone"),
    [(None, "none"), ({}, "none"), ({"SUCCESS": 96, "FAILURE": 4}, "ok"), ({"SUCCESS": 9, "FAILURE": 1}, "warn"),
     ({"SUCCESS": 4, "FAILURE": 1}, "bad")],
)  # fmt: skip
def test_a_day_is_coloured_by_what_failed_of_it(counts: dict[str, int] | None, tone: str) -> None:
    (day, *_) = days_before(datetime(2026, 3, 5, 20, tzinfo=UTC), BERLIN)

    assert tone_of(Day(day.day, day.since, day.until, counts)) == tone
