"""Intervals, single moments and bounds: plain arithmetic that must not drift, and must end where it says."""

from datetime import UTC, datetime, timedelta

import pytest

from core.cadence import MICROSECOND, Bounded, Interval, Once, parse_crontab

ANCHOR = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("step", [SECOND, timedelta(seconds=7), HOUR, timedelta(days=366)])
@pytest.mark.parametrize("n", [1, 2, 3, 1_000, 12_345_678])
def test_the_nth_moment_is_the_anchor_and_n_intervals_to_the_microsecond(step: timedelta, n: int) -> None:
    moment = ANCHOR + n * min(step, HOUR)
    interval = Interval(ANCHOR, min(step, HOUR), anchor_fires=False)

    assert interval.after(moment - MICROSECOND) == moment
    assert interval.latest(moment) == moment
    assert interval.after(moment) == moment + interval.step
    assert interval.latest(moment - MICROSECOND) == (moment - interval.step if n > 1 else None)


def test_walking_a_million_seconds_in_steps_of_seven_does_not_drift() -> None:
    interval = Interval(ANCHOR, timedelta(seconds=7), anchor_fires=True)
    moment: datetime | None = ANCHOR
    for _ in range(20_000):
        assert moment is not None
        moment = interval.after(moment)

    assert moment == ANCHOR + 140_000 * SECOND


def test_a_start_time_is_itself_the_first_moment() -> None:
    interval = Interval(ANCHOR, HOUR, anchor_fires=True)

    assert interval.after(ANCHOR - timedelta(days=900)) == ANCHOR
    assert interval.latest(ANCHOR) == ANCHOR
    assert interval.latest(ANCHOR - MICROSECOND) is None


def test_a_row_without_start_time_first_runs_one_interval_after_it_was_made() -> None:
    interval = Interval(ANCHOR, HOUR, anchor_fires=False)

    assert interval.after(ANCHOR - timedelta(days=900)) == ANCHOR + HOUR
    assert interval.after(ANCHOR) == ANCHOR + HOUR
    assert interval.latest(ANCHOR) is None
    assert interval.latest(ANCHOR + HOUR - MICROSECOND) is None
    assert interval.latest(ANCHOR + HOUR) == ANCHOR + HOUR


def test_one_moment_comes_once() -> None:
    once = Once(ANCHOR)

    assert once.after(FIRST) == once.after(ANCHOR - MICROSECOND) == ANCHOR
    assert once.after(ANCHOR) is None
    assert once.latest(ANCHOR - MICROSECOND) is None
    assert once.latest(ANCHOR) == once.latest(LAST) == ANCHOR


HOURLY = parse_crontab("0 * * * *", "UTC")
NINE, TWELVE = datetime(2026, 6, 1, 9, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_both_bounds_are_inclusive() -> None:
    bounded = Bounded(HOURLY, NINE, TWELVE)

    assert bounded.after(NINE - timedelta(days=9)) == NINE
    assert bounded.after(NINE - MICROSECOND) == NINE
    assert bounded.after(TWELVE - MICROSECOND) == TWELVE
    assert bounded.latest(NINE) == NINE
    assert bounded.latest(LAST) == TWELVE


def test_nothing_lies_outside_the_bounds() -> None:
    bounded = Bounded(HOURLY, NINE, TWELVE)

    assert bounded.after(TWELVE) is None
    assert bounded.after(TWELVE + timedelta(days=9)) is None
    assert bounded.latest(NINE - MICROSECOND) is None


def test_bounds_a_microsecond_inside_leave_the_moments_at_the_edges_out() -> None:
    bounded = Bounded(HOURLY, NINE + MICROSECOND, TWELVE - MICROSECOND)

    assert bounded.after(NINE - HOUR) == NINE + HOUR
    assert bounded.latest(TWELVE) == TWELVE - HOUR


def test_one_bound_alone_is_enough() -> None:
    assert Bounded(HOURLY, NINE, None).latest(LAST - timedelta(days=1)) is not None
    assert Bounded(HOURLY, None, TWELVE).after(TWELVE) is None
    assert Bounded(HOURLY, None, TWELVE).latest(NINE) == NINE
    assert Bounded(HOURLY, NINE, None).after(FIRST) == NINE


def test_bounds_between_two_moments_hold_none() -> None:
    bounded = Bounded(HOURLY, NINE + MICROSECOND, NINE + 59 * timedelta(minutes=1))

    assert bounded.after(FIRST) is None
    assert bounded.latest(LAST) is None


@pytest.mark.parametrize(
    "cadence",
    [
        HOURLY,
        parse_crontab("30 2 * * *", "America/New_York"),
        parse_crontab("0 0 29 2 *", "Asia/Shanghai"),
        Interval(ANCHOR, HOUR, anchor_fires=True),
        Interval(LAST, HOUR, anchor_fires=False),
        Once(LAST),
        Bounded(HOURLY, LAST, None),
        Bounded(HOURLY, None, FIRST),
    ],
    ids=repr,
)
@pytest.mark.parametrize("moment", [FIRST, FIRST + HOUR, LAST - HOUR, LAST])
def test_the_ends_of_time_have_an_answer_and_raise_nothing(cadence: Once, moment: datetime) -> None:
    after, latest = cadence.after(moment), cadence.latest(moment)

    assert after is None or after > moment
    assert latest is None or latest <= moment
