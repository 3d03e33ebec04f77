"""Calendars by name: published days, sessions, overrides, the end of the data; and schedules that keep to them."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from core.cadence import Cadence, CadenceError, Interval, Once, parse_crontab
from core.calendar_data import CalendarError, exchange_names
from core.calendars import (
    Overrides,
    data_end,
    data_version,
    ends_soon,
    load,
    next_open,
    parse_name,
    past_the_data,
    previous_open,
)
from core.on_calendar import OnCalendar, Roll, on_calendar

SHANGHAI = "Asia/Shanghai"
NEW_YORK = "America/New_York"


def at(text: str, zone: str = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def fires(cadence: Cadence, since: str, until: str, zone: str = SHANGHAI) -> list[str]:
    """The moments between two local times, both inclusive, as local text."""
    found, moment = [], cadence.after(at(since, zone) - timedelta(microseconds=1))
    while moment is not None and moment <= at(until, zone):
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M"))
        moment = cadence.after(moment)
    return found


def under(crontab: str, calendar: str, roll: str = "skip", zone: str = SHANGHAI, **more: Overrides) -> OnCalendar:
    return on_calendar(parse_crontab(crontab, zone), calendar, Roll(roll), zone, **more)


class TestNames:
    @pytest.mark.parametrize("text", ["XSHG", "xshg", " XSHG ", "XSHG:open", "Xshg:OPEN", "XSHG：open", "XSHG : open"])
    def test_a_name_is_read_whatever_its_capitals(self, text: str) -> None:
        assert parse_name(text).base == "XSHG"
        assert parse_name(text).session_only == ("open" in text.lower())

    def test_suffixes_combine(self) -> None:
        assert parse_name("XNYS:full:open") == parse_name("XNYS:open:full")
        assert parse_name("XNYS:full").full_only
        assert not parse_name("XNYS:full").session_only

    @pytest.mark.parametrize(
        ("wrong", "meant"),
        [
            ("XSGH", "did you mean 'XSHG'?"),
            ("SSE", "did you mean 'XSHG'?"),
            ("SZSE", "did you mean 'XSHG'?"),
            ("A股", "did you mean 'XSHG'?"),
            ("NYSE", "did you mean 'XNYS'?"),
            ("NASDAQ", "did you mean 'XNYS'?"),
            ("HKEX", "did you mean 'XHKG'?"),
            ("CHN", "did you mean 'CN'?"),
            ("China", "did you mean 'CN'?"),
            ("UK", "did you mean 'GB'?"),
            ("XSHG:opne", "did you mean ':open'?"),
            ("XNYS:half", "Use :open (the sessions' own minutes) or :full (no half-days)"),
            ("DE-BAYREN", "did you mean 'DE-BY'?"),
            ("DE-XX", "DE has no part 'XX'; Known: "),
            ("GB-ENGLAND", "did you mean 'GB-ENG'?"),
            ("CN-BJ", "CN has no part 'BJ'; use 'CN'"),
            ("CN:open", "CN is a country and has no sessions; use 'CN'"),
            ("US:full", "US is a country and has no sessions"),
            ("", "is unknown"),
            ("?", "Use an exchange such as XSHG"),
            ("../XSHG", "is unknown"),
            ("_ALIASES", "is unknown"),
            ("X" * 65, "use at most 64"),
        ],
    )
    def test_a_wrong_name_is_an_error_that_names_the_near_miss(self, wrong: str, meant: str) -> None:
        with pytest.raises(CalendarError) as caught:
            load(wrong)

        assert meant in str(caught.value)
        assert isinstance(caught.value, CadenceError)

    def test_the_same_name_gives_the_same_object(self) -> None:
        assert load("XSHG") is load("XSHG")

    @pytest.mark.parametrize("name", sorted(exchange_names()))
    def test_every_exchange_loads_and_answers(self, name: str) -> None:
        calendar = load(name)

        day = next_open(calendar, date(2026, 3, 4))
        assert day is not None
        (first, *_), (*_, last) = calendar.sessions(day)[0], calendar.sessions(day)[-1]
        assert first < last
        assert ZoneInfo(str(calendar.zone))

    @pytest.mark.parametrize("name", ["US", "DE", "DE-BY", "GB-ENG", "JP", "HK", "TW", "SA", "IN", "LK", "FR-ZONE A"])
    def test_countries_and_their_parts_load_and_answer(self, name: str) -> None:
        calendar = load(name)

        assert isinstance(calendar.is_open(date(2026, 3, 4)), bool)
        assert calendar.zone is None
        assert calendar.sessions(date(2026, 3, 4)) == ()


class TestDays:
    @pytest.mark.parametrize(
        ("name", "day", "is_open"),
        [
            ("XSHG", "2026-02-13", True),
            ("XSHG", "2026-02-14", False),  # a working Saturday, and still no trading
            ("XSHG", "2026-02-16", False),
            ("XSHG", "2026-02-24", True),
            ("CN", "2026-02-14", True),
            ("CN", "2026-02-15", False),
            ("CN", "2026-02-28", True),
            ("CN", "2026-10-10", True),
            ("CN", "2026-10-11", False),
            ("XNYS", "2026-07-03", False),  # the 4th is a Saturday
            ("XNYS", "2026-11-26", False),
            ("XNYS", "2026-11-27", True),
            ("XHKG", "2026-10-01", False),
            ("US", "2026-07-03", False),
            ("US", "2027-12-31", False),  # 1 January 2028 is a Saturday
            ("DE", "2026-01-06", True),
            ("DE-BY", "2026-01-06", False),
            ("GB", "2026-12-28", False),
            ("SA", "2026-03-06", False),  # a Friday
            ("SA", "2026-03-08", True),  # a Sunday
            ("24/7", "2026-01-01", True),
        ],
    )
    def test_published_days(self, name: str, day: str, is_open: bool) -> None:
        assert load(name).is_open(date.fromisoformat(day)) is is_open

    def test_open_days_are_found_on_both_sides_of_a_closure(self) -> None:
        calendar = load("XSHG")

        assert next_open(calendar, date(2026, 2, 14)) == date(2026, 2, 24)
        assert previous_open(calendar, date(2026, 2, 23)) == date(2026, 2, 13)
        assert next_open(calendar, date(2026, 2, 13)) == date(2026, 2, 13)


class TestSessions:
    @pytest.mark.parametrize(
        ("name", "day", "zone", "hours"),
        [
            ("XSHG", "2026-03-04", SHANGHAI, ["09:30-11:30", "13:00-15:00"]),
            ("XSHG", "2026-02-16", SHANGHAI, []),
            ("XHKG", "2026-12-24", "Asia/Hong_Kong", ["09:30-12:00"]),
            ("XNYS", "2026-07-06", NEW_YORK, ["09:30-16:00"]),
            ("XNYS", "2026-12-07", NEW_YORK, ["09:30-16:00"]),
            ("XNYS", "2026-11-27", NEW_YORK, ["09:30-13:00"]),
            ("XTKS", "2024-11-01", "Asia/Tokyo", ["09:00-11:30", "12:30-15:00"]),
            ("XTKS", "2024-11-05", "Asia/Tokyo", ["09:00-11:30", "12:30-15:30"]),
            ("CMES", "2026-03-04", "America/Chicago", ["17:00-17:00"]),
        ],
    )
    def test_hours_are_those_of_the_exchanges_clock(self, name: str, day: str, zone: str, hours: list[str]) -> None:
        local = ZoneInfo(zone)

        sessions = load(name).sessions(date.fromisoformat(day))

        assert [f"{a.astimezone(local):%H:%M}-{b.astimezone(local):%H:%M}" for a, b in sessions] == hours
        assert all(a.tzinfo is UTC and a < b for a, b in sessions)

    def test_a_session_may_begin_on_the_day_before(self) -> None:
        ((start, end),) = load("CMES").sessions(date(2026, 3, 2))

        assert start == at("2026-03-01 17:00", "America/Chicago")
        assert end == at("2026-03-02 17:00", "America/Chicago")

    def test_full_sessions_only(self) -> None:
        half, whole = date(2026, 11, 27), date(2026, 11, 25)

        assert load("XNYS").is_open(half)
        assert not load("XNYS:full").is_open(half)
        assert load("XNYS:full").sessions(half) == ()
        assert load("XNYS:full").is_open(whole)

    def test_a_late_but_whole_session_is_no_half_day(self) -> None:
        calendar = load("XASX:full")

        assert not calendar.is_open(date(2026, 12, 24))
        assert calendar.is_open(date(2026, 12, 23))


class TestTheEndOfTheData:
    def test_later_days_go_by_weekday_and_never_raise(self) -> None:
        for name in ("XSHG", "CN", "XIDX", "LK", "US"):
            calendar = load(name)
            later = calendar.known_until + timedelta(days=1)
            for day in (later + timedelta(days=n) for n in range(400)):
                assert calendar.is_open(day) == (day.weekday() < 5), (name, day)

    @pytest.mark.parametrize("day", [date.min, date(1970, 1, 1), date(9999, 12, 31)])
    @pytest.mark.parametrize("name", ["XSHG", "CN", "US", "DE-BY", "XTAE"])
    def test_the_first_and_the_last_day_there_is(self, name: str, day: date) -> None:
        assert isinstance(load(name).is_open(day), bool)

    def test_the_hours_go_on_as_they_were(self) -> None:
        (morning, afternoon) = load("XSHG").sessions(date(2031, 3, 3))

        assert morning == (at("2031-03-03 09:30"), at("2031-03-03 11:30"))
        assert afternoon == (at("2031-03-03 13:00"), at("2031-03-03 15:00"))

    def test_a_schedule_goes_on_across_the_end(self) -> None:
        assert fires(under("30 16 * * *", "XSHG"), "2026-12-30 00:00", "2027-01-05 00:00") == [
            "2026-12-30 16:30",
            "2026-12-31 16:30",
            "2027-01-01 16:30",
            "2027-01-04 16:30",
        ]

    def test_it_is_said(self) -> None:
        calendar = load("XSHG")

        assert past_the_data(calendar, date(2026, 12, 31)) is None
        assert "its data ends on 2026-12-31, so later days go by weekday" in str(
            past_the_data(calendar, date(2027, 1, 1))
        )

    @pytest.mark.parametrize(
        ("today", "soon"), [("2026-11-15", False), ("2026-11-16", True), ("2026-12-31", True), ("2027-06-01", True)]
    )
    def test_the_alarm_comes_45_days_ahead(self, today: str, soon: bool) -> None:
        assert ends_soon(data_end("XSHG:open"), date.fromisoformat(today)) is soon
        assert ends_soon(data_end("CN"), date.fromisoformat(today)) is soon

    def test_rules_without_end_raise_no_alarm(self) -> None:
        assert not ends_soon(data_end("XNYS"), date(2026, 12, 1))
        assert not ends_soon(data_end("US"), date(2026, 12, 1))

    @pytest.mark.parametrize(
        ("days", "end"),
        [
            (["2027-02-08"], "2026-12-31"),
            (["2026-12-31"], "2026-12-31"),
            (["2028-12-31"], "2026-12-31"),
            (["2027-12-31"], "2027-12-31"),
            (["2027-02-08", "2027-12-31", "2028-12-31"], "2028-12-31"),
            ([f"{year}-12-31" for year in range(2027, 10_000)], "9999-12-31"),
        ],
    )
    def test_a_year_whose_last_day_the_operator_named_is_known(self, days: list[str], end: str) -> None:
        overrides = Overrides({"XSHG": dict.fromkeys(map(date.fromisoformat, days), False)})

        assert data_end("xshg:open", overrides) == date.fromisoformat(end)
        assert load("XSHG", overrides).known_until == date.fromisoformat(end)
        assert load("CN", overrides).known_until == date(2026, 12, 31)

    def test_the_version_names_library_and_end(self) -> None:
        assert data_version("XSHG:open") == data_version("XSHG")
        assert data_version("XSHG").startswith("exchange_calendars ")
        assert data_version("XSHG").endswith(" to 2026-12-31")
        assert data_version("CN").startswith("chinesecalendar ")
        assert data_version("US").startswith("holidays ")
        assert data_version("XSHG") != data_version("XHKG")


class TestOverrides:
    TABLE = Overrides(
        {
            "XHKG": {date(2026, 9, 8): False, date(2026, 9, 12): True, date(2026, 12, 24): True},
            "CN": {date(2027, 2, 8): False, date(2027, 2, 20): True},
        }
    )

    def test_a_typhoon_closes_an_exchange(self) -> None:
        calendar = load("XHKG", self.TABLE)

        assert not calendar.is_open(date(2026, 9, 8))
        assert calendar.sessions(date(2026, 9, 8)) == ()
        assert load("XHKG").is_open(date(2026, 9, 8))

    def test_a_day_opened_has_the_regular_hours(self) -> None:
        calendar = load("XHKG", self.TABLE)
        regular = [timedelta(hours=2, minutes=30), timedelta(hours=3)]

        for day in (date(2026, 9, 12), date(2026, 12, 24)):  # a Saturday, a published half-day
            assert [end - start for start, end in calendar.sessions(day)] == regular
        assert load("XHKG:full", self.TABLE).is_open(date(2026, 12, 24))

    def test_what_is_not_published_yet_can_be_filled_in(self) -> None:
        calendar = load("CN", self.TABLE)

        assert not calendar.is_open(date(2027, 2, 8))
        assert calendar.is_open(date(2027, 2, 20))
        assert calendar.known_until == date(2026, 12, 31)

    def test_an_override_of_one_calendar_leaves_the_others_alone(self) -> None:
        assert load("XSHG", self.TABLE).is_open(date(2026, 9, 8))

    def test_a_schedule_follows_it(self) -> None:
        rule = under("0 9 * * *", "XHKG", "next", "Asia/Hong_Kong", overrides=self.TABLE)

        assert fires(rule, "2026-09-07 00:00", "2026-09-09 23:00") == ["2026-09-07 09:00", "2026-09-09 09:00"]


class TestSkip:
    def test_closed_days_are_left_out(self) -> None:
        assert fires(under("30 16 * * *", "XSHG"), "2026-09-30 00:00", "2026-10-09 00:00") == [
            "2026-09-30 16:30",
            "2026-10-08 16:30",
        ]

    def test_the_day_is_that_of_the_rows_zone(self) -> None:
        # 05:00 in Shanghai on a Saturday is Friday afternoon in New York.
        saturday = under("0 5 * * *", "XNYS", zone=SHANGHAI)

        assert fires(saturday, "2026-03-06 00:00", "2026-03-09 23:00") == ["2026-03-06 05:00", "2026-03-09 05:00"]

    def test_why_a_moment_is_left_out(self) -> None:
        rule = under("30 16 * * *", "XSHG")

        assert rule.why_not(at("2026-10-01 16:30")) == "2026-10-01 is closed in XSHG"
        assert rule.why_not(at("2026-10-08 16:30")) is None


class TestRoll:
    def test_a_holiday_week_comes_to_one_moment_on_the_next_open_day(self) -> None:
        assert fires(under("0 9 * * *", "CN", "next"), "2026-09-30 00:00", "2026-10-09 23:00") == [
            "2026-09-30 09:00",
            "2026-10-08 09:00",
            "2026-10-09 09:00",
        ]

    def test_month_end_payroll_comes_before_the_holiday(self) -> None:
        assert fires(under("0 10 1,15 * *", "CN", "previous"), "2026-09-25 00:00", "2026-11-30 23:00") == [
            "2026-09-30 10:00",
            "2026-10-15 10:00",
            "2026-10-30 10:00",  # 1 November is a Sunday
            "2026-11-13 10:00",
        ]

    def test_rolled_moments_keep_their_time_and_their_order(self) -> None:
        # Thursday's 18:00, Friday's 08:00 and the Monday's own 12:00 meet on the Monday.
        rule = under("0 18 1 1 *", "CN", "next"), under("0 8 2 1 *", "CN", "next")

        assert [fires(each, "2026-01-01 00:00", "2026-01-10 00:00") for each in rule] == [
            ["2026-01-04 18:00"],
            ["2026-01-04 08:00"],
        ]
        both = under("0 8,18 1-5 1 *", "CN", "next")
        assert fires(both, "2026-01-01 00:00", "2026-01-10 00:00") == [
            "2026-01-04 08:00",
            "2026-01-04 18:00",
            "2026-01-05 08:00",
            "2026-01-05 18:00",
        ]

    def test_a_make_up_saturday_is_an_open_day(self) -> None:
        weekly = under("0 9 * * 6", "CN", "previous")

        assert fires(weekly, "2026-02-09 00:00", "2026-03-02 00:00") == [
            "2026-02-14 09:00",
            "2026-02-28 09:00",
        ]

    def test_one_moment_rolls_too(self) -> None:
        once = Once(at("2026-10-03 09:00"))

        assert on_calendar(once, "CN", Roll.NEXT, SHANGHAI).after(at("2026-10-03 10:00")) == at("2026-10-08 09:00")
        assert on_calendar(once, "CN", Roll.PREVIOUS, SHANGHAI).latest(at("2026-10-03 10:00")) == at("2026-09-30 09:00")

    def test_why_a_moment_is_somewhere_else(self) -> None:
        rule = under("0 9 * * *", "CN", "next")

        assert rule.why_not(at("2026-10-03 09:00")) == "2026-10-03 is closed in CN, rolled to 2026-10-08"

    def test_a_rolled_time_in_the_gap_runs_right_after_it(self) -> None:
        # The clocks in Beirut go forward at midnight, 00:00 to 01:00, on Sunday 29 March 2026.
        friday = Overrides({"24/5": {date(2026, 3, 27): False, date(2026, 3, 28): False, date(2026, 3, 29): True}})
        rule = under("30 0 27 3 *", "24/5", "next", "Asia/Beirut", overrides=friday)

        assert fires(rule, "2026-03-26 00:00", "2026-04-01 00:00", "Asia/Beirut") == ["2026-03-29 01:00"]

    def test_moments_of_a_closed_day_with_a_clock_change_keep_their_times(self) -> None:
        # Sunday 1 November 2026 in New York has 01:00 to 02:00 twice; on Monday both passes are one.
        rule = under("*/30 0-2 1 11 *", "XNYS", "next", NEW_YORK)

        assert [text[11:] for text in fires(rule, "2026-10-31 00:00", "2026-11-03 00:00", NEW_YORK)] == [
            "00:00",
            "00:30",
            "01:00",
            "01:30",
            "02:00",
            "02:30",
        ]

    def test_the_later_of_two_passes_is_not_always_the_later_time(self) -> None:
        # Every 59 minutes that Sunday: 01:30 in the first pass, 01:29 in the second.
        every = Interval(at("2026-11-01 00:31", NEW_YORK), timedelta(minutes=59), anchor_fires=True)
        rule = on_calendar(every, "XNYS", Roll.NEXT, NEW_YORK)

        assert fires(rule, "2026-11-02 01:20", "2026-11-02 01:40", NEW_YORK) == ["2026-11-02 01:29", "2026-11-02 01:30"]
        assert rule.latest(at("2026-11-02 01:40", NEW_YORK)) == at("2026-11-02 01:30", NEW_YORK)

    def test_a_time_right_after_the_gap_is_not_lost(self) -> None:
        # The Sunday's clocks go from 02:00 to 03:00; its 03:00 rolls to the Monday.
        rule = under("0 3 8 3 *", "XNYS", "next", NEW_YORK)

        assert rule.after(at("2026-03-09 00:30", NEW_YORK)) == at("2026-03-09 03:00", NEW_YORK)

    def test_a_time_right_after_the_second_pass_is_still_ahead_in_it(self) -> None:
        # Saturday is closed and the Sunday, with 01:00 to 02:00 twice, is open.
        sunday = Overrides({"XNYS": {date(2026, 11, 1): True}})
        rule = under("0 2 31 10 *", "XNYS", "next", NEW_YORK, overrides=sunday)
        two = at("2026-11-01 02:00", NEW_YORK)

        assert rule.after(two - timedelta(minutes=30)) == two
        assert rule.latest(two - timedelta(minutes=30)) != two


class TestSessionsOnly:
    def test_both_ends_are_in_and_lunch_is_out(self) -> None:
        day = fires(under("*/30 * * * *", "XSHG:open"), "2026-03-04 00:00", "2026-03-04 23:59")

        assert [text[11:] for text in day] == [
            "09:30", "10:00", "10:30", "11:00", "11:30", "13:00", "13:30", "14:00", "14:30", "15:00",
        ]  # fmt: skip

    def test_every_minute_of_a_day(self) -> None:
        assert len(fires(under("* * * * *", "XSHG:open"), "2026-03-04 00:00", "2026-03-04 23:59")) == 2 * 121

    def test_a_half_day_ends_early(self) -> None:
        day = fires(under("0 * * * *", "XNYS:open", zone=NEW_YORK), "2026-11-27 00:00", "2026-11-28 00:00", NEW_YORK)

        assert [text[11:] for text in day] == ["10:00", "11:00", "12:00", "13:00"]

    def test_sessions_are_the_exchanges_whatever_the_rows_zone(self) -> None:
        hourly = under("0 * * * *", "XNYS:open", zone=SHANGHAI)

        # Friday's session in New York, on winter time, is from Friday 22:30 to Saturday 05:00 in Shanghai.
        assert fires(hourly, "2026-03-06 20:00", "2026-03-07 20:00") == [
            "2026-03-06 23:00", "2026-03-07 00:00", "2026-03-07 01:00", "2026-03-07 02:00", "2026-03-07 03:00",
            "2026-03-07 04:00", "2026-03-07 05:00",
        ]  # fmt: skip

    def test_a_session_over_midnight(self) -> None:
        rule = under("0 */6 * * *", "CMES:open", zone="America/Chicago")

        assert fires(rule, "2026-03-06 12:00", "2026-03-02 00:00", "America/Chicago") == []
        assert fires(rule, "2026-03-06 12:00", "2026-03-09 07:00", "America/Chicago") == [
            "2026-03-06 12:00",
            "2026-03-08 18:00",
            "2026-03-09 00:00",
            "2026-03-09 06:00",
        ]

    def test_a_moment_outside_is_left_out_and_one_on_a_closed_day_rolled(self) -> None:
        rule = under("0 8,10 * * 4", "XSHG:open", "next")

        assert fires(rule, "2026-09-30 00:00", "2026-10-16 00:00") == ["2026-10-08 10:00", "2026-10-15 10:00"]
        assert rule.why_not(at("2026-10-08 08:00")) == "outside the sessions of XSHG"
        assert rule.why_not(at("2026-10-08 10:00")) is None

    def test_an_interval_keeps_its_grid(self) -> None:
        seven = Interval(at("2026-03-04 09:29"), timedelta(minutes=7), anchor_fires=True)

        found = fires(on_calendar(seven, "XSHG:open", Roll.SKIP, SHANGHAI), "2026-03-04 11:00", "2026-03-04 13:20")

        assert [text[11:] for text in found] == ["11:00", "11:07", "11:14", "11:21", "11:28", "13:06", "13:13", "13:20"]

    def test_rolling_in_another_zone_than_the_exchanges_is_refused(self) -> None:
        with pytest.raises(CalendarError, match="needs timezone 'America/New_York'"):
            under("0 10 * * *", "XNYS:open", "next", SHANGHAI)


class TestNever:
    @pytest.mark.parametrize(
        ("crontab", "calendar"),
        [
            ("0 9 * * 0", "XSHG"),
            ("0 9 1 1 *", "CN"),
            ("0 8 * * *", "XSHG:open"),
            ("0 12 * * *", "XSHG:open"),
            ("0 14 24 12 *", "XNYS:open"),
        ],
    )
    def test_a_schedule_that_never_falls_on_an_open_day_is_an_error(self, crontab: str, calendar: str) -> None:
        zone = NEW_YORK if calendar.startswith("XNYS") else SHANGHAI

        with pytest.raises(CalendarError, match="the schedule never falls"):
            under(crontab, calendar, zone=zone)

    def test_a_single_moment_on_a_closed_day_is_one_too(self) -> None:
        with pytest.raises(CalendarError, match="the schedule never falls on an open day of XSHG"):
            on_calendar(Once(at("2026-10-01 09:00")), "XSHG", Roll.SKIP, SHANGHAI)

    def test_a_calendar_that_never_opens_ends_the_search(self) -> None:
        class Closed:
            name, zone, known_until = "SHUT", "UTC", date(2030, 1, 1)

            def is_open(self, day: date) -> bool:
                return False

            def sessions(self, day: date) -> tuple[tuple[datetime, datetime], ...]:
                return ()

        for roll in Roll:
            rule = OnCalendar(parse_crontab("* * * * *", "UTC"), Closed(), roll, "UTC")
            assert rule.after(at("2026-03-04 00:00")) is None
            assert rule.latest(at("2026-03-04 00:00")) is None

    def test_a_schedule_that_begins_far_ahead_is_not_never(self) -> None:
        late = Interval(at("2045-03-01 09:00"), timedelta(days=1), anchor_fires=True)

        assert on_calendar(late, "XSHG", Roll.SKIP, SHANGHAI).after(at("2026-03-01 00:00")) == at("2045-03-01 09:00")

    def test_the_ends_of_time_have_no_moments(self) -> None:
        for roll in Roll:
            rule = under("0 9 * * *", "XSHG", roll)
            assert rule.after(datetime.max.replace(tzinfo=UTC)) is None
            assert rule.latest(datetime.min.replace(tzinfo=UTC)) is None


def test_moments_are_aware_utc() -> None:
    for roll in Roll:
        rule = under("0 9 * * *", "CN", roll)
        assert all(moment.tzinfo is UTC for moment in islice(walk(rule, at("2026-09-28 00:00")), 20))


def walk(rule: Cadence, moment: datetime | None):  # type: ignore[no-untyped-def]
    while moment is not None and (moment := rule.after(moment)) is not None:
        yield moment
