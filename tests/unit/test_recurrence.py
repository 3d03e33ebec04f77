"""RRULE: pinned rules, clock changes, refusals in plain words, and searches that end."""

from datetime import UTC, datetime

import pytest

from core.cadence import CadenceError
from core.recurrence import parse_rrule

ANCHOR = datetime(2015, 1, 31, 9, 30, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "latest", "after"),
    [
        ("FREQ=DAILY", "2025-12-31 09:30", "2026-01-01 09:30"),
        ("FREQ=MONTHLY", "2025-12-31 09:30", "2026-01-31 09:30"),
        ("FREQ=MONTHLY;BYMONTHDAY=31,30,29,28;BYSETPOS=-1", "2025-12-31 09:30", "2026-01-31 09:30"),
        ("FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=-1", "2025-11-30 09:30", "2026-01-31 09:30"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2024-02-29 09:30", "2028-02-29 09:30"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28,29;BYSETPOS=-1", "2025-02-28 09:30", "2026-02-28 09:30"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "2025-12-30 09:30", "2026-01-13 09:30"),
        ("FREQ=MONTHLY;BYDAY=2TU", "2025-12-09 09:30", "2026-01-13 09:30"),
        ("FREQ=MINUTELY;INTERVAL=7", "2025-12-31 23:59", "2026-01-01 00:06"),
        ("FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20260105", "2025-12-31 09:30", "2026-01-05 09:30"),
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "2025-12-31 09:30", "2026-01-01 09:30"),
        ("RRULE:FREQ=DAILY\nEXDATE:20260101T093000\nRDATE:20260101T120000", "2025-12-31 09:30", "2026-01-01 12:00"),
        ("DTSTART:20200101T080000\nRRULE:FREQ=DAILY", "2025-12-31 08:00", "2026-01-01 08:00"),
    ],
)
def test_the_moments_around_new_year(rule: str, latest: str, after: str) -> None:
    cadence = parse_rrule(rule, "UTC", ANCHOR)

    assert cadence.latest(NOW) == utc(latest)
    assert cadence.after(NOW) == utc(after)


def test_day_31_is_clamped_in_short_months_and_comes_back() -> None:
    cadence = parse_rrule("FREQ=MONTHLY;BYMONTHDAY=28,29,30,31;BYSETPOS=-1", "UTC", ANCHOR)

    moment, days = utc("2026-01-01 00:00"), []
    for _ in range(5):
        found = cadence.after(moment)
        assert found is not None
        moment = found
        days.append(moment.day)

    assert days == [31, 28, 31, 30, 31]


def test_a_moment_in_the_gap_runs_at_its_end_and_one_in_the_overlap_once() -> None:
    cadence = parse_rrule("DTSTART:20250101T023000\nRRULE:FREQ=DAILY", "America/New_York", ANCHOR)
    autumn = parse_rrule("DTSTART:20250101T013000\nRRULE:FREQ=DAILY", "America/New_York", ANCHOR)

    assert cadence.after(utc("2026-03-08 00:00")) == utc("2026-03-08 07:00")
    assert autumn.after(utc("2026-11-01 00:00")) == utc("2026-11-01 05:30")
    assert autumn.after(utc("2026-11-01 05:30")) == utc("2026-11-02 06:30")


def test_the_first_hours_of_a_month_or_year_are_not_lost_where_the_rule_began_later_in_the_day() -> None:
    monthly = parse_rrule("DTSTART:20240201T093000\nRRULE:FREQ=MONTHLY;BYHOUR=1", "UTC", ANCHOR)
    yearly = parse_rrule("DTSTART:20240101T093000\nRRULE:FREQ=YEARLY;BYHOUR=1", "UTC", ANCHOR)

    assert monthly.after(utc("2024-04-01 00:00")) == utc("2024-04-01 01:30")
    assert yearly.after(utc("2026-01-01 00:00")) == utc("2026-01-01 01:30")


def test_dates_with_a_z_name_moments_also_in_the_hour_that_comes_twice() -> None:
    # 01:30 comes at 05:30Z and at 06:30Z.
    hourly = "DTSTART:20261101T003000\nRRULE:FREQ=HOURLY"
    without_second = parse_rrule(hourly + "\nEXDATE:20261101T063000Z", "America/New_York", ANCHOR)
    without_both = parse_rrule(hourly + "\nEXDATE:20261101T013000", "America/New_York", ANCHOR)
    until_first = parse_rrule(hourly + ";UNTIL=20261101T060000Z", "America/New_York", ANCHOR)
    extra = "DTSTART:20261101T090000\nRRULE:FREQ=DAILY\nRDATE:20261101T063000Z"

    assert without_second.after(utc("2026-11-01 05:30")) == utc("2026-11-01 07:30")
    assert without_both.after(utc("2026-11-01 04:30")) == utc("2026-11-01 07:30")
    assert until_first.latest(NOW.replace(year=2027)) == utc("2026-11-01 05:30")
    assert parse_rrule(extra, "America/New_York", ANCHOR).after(utc("2026-11-01 05:30")) == utc("2026-11-01 06:30")


def test_count_counts_moments_not_times_of_the_wall_clock() -> None:
    # 00:00, 01:00 and 01:00 again, 02:00 in New York; in the gap 01:00, 03:00, 04:00.
    autumn = parse_rrule("DTSTART:20261101T000000\nRRULE:FREQ=HOURLY;COUNT=4", "America/New_York", ANCHOR)
    spring = parse_rrule("DTSTART:20260308T010000\nRRULE:FREQ=HOURLY;COUNT=3", "America/New_York", ANCHOR)

    assert autumn.latest(NOW.replace(year=2027)) == utc("2026-11-01 07:00")
    assert spring.latest(NOW.replace(year=2027)) == utc("2026-03-08 08:00")


def test_count_counts_from_the_start_however_late_one_asks() -> None:
    cadence = parse_rrule("FREQ=DAILY;COUNT=5", "UTC", ANCHOR)

    assert cadence.after(NOW) is None
    assert cadence.latest(NOW) == utc("2015-02-04 09:30")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("FREQ=SECONDLY", "FREQ is SECONDLY; use one of"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "no moment within"),
        ("FREQ=MINUTELY;BYSETPOS=2", "no moment within"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be 1 or more"),
        ("FREQ=DAILY;COUNT=99999999", "COUNT must be 1 to"),
        ("FREQ=DAILY;BYDAY=XX", "cannot be read"),
        ("FREQ=DAILY;UNTIL=tomorrow", "is no time"),
        ("BYDAY=MO", "is none of DTSTART, RRULE, EXDATE and RDATE"),
        ("RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "2 RRULE lines; keep one"),
        ("DTSTART;TZID=Mars/X:20260101T000000\nRRULE:FREQ=DAILY", "TZID 'Mars/X'"),
        ("FREQ=HOURLY;BYEASTER=1", "BYEASTER is no part"),
        ("", "has no RRULE"),
        ("DTSTART:00010101T000000\nRRULE:FREQ=DAILY", "outside the years 1 to 9999"),
    ],
)
def test_what_cannot_be_a_rule_is_refused_in_words(rule: str, told: str) -> None:
    with pytest.raises(CadenceError, match=told):
        parse_rrule(rule, "Asia/Shanghai", ANCHOR)
