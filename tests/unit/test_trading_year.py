"""The fifteen schedules of the trading system from December 2025 to December 2026, against the published year.

The closures and make-up days are those of the State Council's notice of 4 November 2025 and the Shanghai Stock
Exchange's of December 2025, written out by hand; no calendar library has a part in what is expected here.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from core.cadence import Cadence, parse_crontab
from core.calendars import load
from core.on_calendar import Roll, on_calendar

ZONE = "Asia/Shanghai"
SHANGHAI = timedelta(hours=8)  # no clock changes since 1991
FIRST, LAST = date(2025, 12, 1), date(2026, 12, 31)

# (first day off, last day off); nothing in December 2025.
HOLIDAYS = {
    "元旦": ("2026-01-01", "2026-01-03"),
    "春节": ("2026-02-15", "2026-02-23"),
    "清明节": ("2026-04-04", "2026-04-06"),
    "劳动节": ("2026-05-01", "2026-05-05"),
    "端午节": ("2026-06-19", "2026-06-21"),
    "中秋节": ("2026-09-25", "2026-09-27"),
    "国庆节": ("2026-10-01", "2026-10-07"),
}
# Weekend days on which offices work and the exchange does not trade.
MAKE_UP = ("2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10")

DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
OFF = {day for day in DAYS for first, last in HOLIDAYS.values() if first <= str(day) <= last}
TRADING = [day for day in DAYS if day.weekday() < 5 and day not in OFF]
WORKING = [day for day in DAYS if (day.weekday() < 5 or str(day) in MAKE_UP) and day not in OFF]
SUNDAYS = [day for day in DAYS if day.weekday() == 6]
MONDAYS = [day for day in DAYS if day.weekday() == 0]

EVERY_HOUR = [f"{hour:02d}" for hour in range(24)]
OPEN_HOURS = [f"{hour:02d}:{minute:02d}" for hour in range(9, 16) for minute in range(0, 60, 5)]
IN_SESSION = [text for text in OPEN_HOURS if "09:30" <= text <= "11:30" or "13:00" <= text <= "15:00"]

# entry: (crontab, calendar, expected days, expected times of day)
SCHEDULES = {
    "sync-daily-stock-data": ("30 16 * * *", "XSHG", TRADING, ["16:30"]),
    "update-realtime-prices": ("*/5 * * * *", "XSHG:open", TRADING, IN_SESSION),
    "sync-financial-data": ("0 2 * * 1", None, MONDAYS, ["02:00"]),
    "fetch-news-data": ("0 * * * *", None, DAYS, [f"{hour}:00" for hour in EVERY_HOUR]),
    "calculate-technical-indicators": ("0 17 * * *", "XSHG", TRADING, ["17:00"]),
    "analyze-market-sentiment": ("0 18 * * *", "XSHG", TRADING, ["18:00"]),
    "update-risk-assessment": ("0 3 * * 0", None, SUNDAYS, ["03:00"]),
    "analyze-trending-stocks": ("0 19 * * *", "XSHG", TRADING, ["19:00"]),
    "cleanup-old-data": ("0 1 * * 0", None, SUNDAYS, ["01:00"]),
    "refresh-cache": ("30 * * * *", None, DAYS, [f"{hour}:30" for hour in EVERY_HOUR]),
    "archive-logs": ("30 0 * * *", None, DAYS, ["00:30"]),
    "backup-database": ("0 2 * * *", None, DAYS, ["02:00"]),
    "health-check": ("*/10 * * * *", None, DAYS, [f"{hour}:{tens}0" for hour in EVERY_HOUR for tens in range(6)]),
    "generate-daily-market-report": ("0 20 * * *", "XSHG", TRADING, ["20:00"]),
    "generate-weekly-portfolio-report": ("0 21 * * 0", None, SUNDAYS, ["21:00"]),
}


def at(day: date, text: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(text), UTC) - SHANGHAI


def rule(crontab: str, calendar: str | None, roll: Roll = Roll.SKIP) -> Cadence:
    cron = parse_crontab(crontab, ZONE)
    return cron if calendar is None else on_calendar(cron, calendar, roll, ZONE)


def fires(cadence: Cadence) -> Iterator[datetime]:
    moment = cadence.after(at(FIRST, "00:00") - timedelta(microseconds=1))
    while moment is not None and moment < at(LAST, "00:00") + timedelta(days=1):
        yield moment
        moment = cadence.after(moment)


def test_the_hand_written_year_adds_up() -> None:
    assert len(SCHEDULES) == 15
    assert len(OFF) == 33  # 33 days off in the notice
    assert len([day for day in TRADING if day.year == 2026]) == 242
    assert len([day for day in WORKING if day.year == 2026]) == 248
    assert len(IN_SESSION) == 50
    assert ZoneInfo(ZONE).utcoffset(datetime(2026, 7, 1)) == SHANGHAI  # noqa: DTZ001


@pytest.mark.parametrize("entry", SCHEDULES)
def test_a_schedule_fires_on_exactly_these_moments(entry: str) -> None:
    crontab, calendar, days, times = SCHEDULES[entry]

    assert list(fires(rule(crontab, calendar))) == [at(day, text) for day in days for text in times]


@pytest.mark.parametrize("entry", SCHEDULES)
def test_looking_back_finds_the_same_moments(entry: str) -> None:
    crontab, calendar, days, times = SCHEDULES[entry]
    cadence, moments = rule(crontab, calendar), [at(day, text) for day in days[-12:] for text in times]

    for earlier, later in pairwise(moments):
        assert cadence.latest(later) == later
        assert cadence.latest(later - timedelta(seconds=1)) == earlier


def test_offices_work_on_make_up_days_and_the_exchange_does_not() -> None:
    exchange, offices = load("XSHG"), load("CN")

    assert [day for day in DAYS if exchange.is_open(day)] == TRADING
    assert [day for day in DAYS if offices.is_open(day)] == WORKING
    assert [str(day) for day in DAYS if offices.is_open(day) and not exchange.is_open(day)] == list(MAKE_UP)


def test_a_morning_job_of_working_days_runs_on_make_up_weekends() -> None:
    assert list(fires(rule("0 9 * * *", "CN"))) == [at(day, "09:00") for day in WORKING]


@pytest.mark.parametrize("roll", [Roll.SKIP, Roll.NEXT])
def test_the_long_holidays_have_no_daily_moments(roll: Roll) -> None:
    days = [str((moment + SHANGHAI).date()) for moment in fires(rule("30 16 * * *", "XSHG", roll))]

    assert [day for day in days if "2026-02-13" <= day <= "2026-02-24"] == ["2026-02-13", "2026-02-24"]
    assert [day for day in days if "2026-09-30" <= day <= "2026-10-08"] == ["2026-09-30", "2026-10-08"]


@pytest.mark.parametrize(
    ("roll", "days"),
    [
        # The Mondays the exchange is closed: 16 and 23 February, 6 April, 4 May, 5 October.
        (Roll.NEXT, {"2026-02-16": "2026-02-24", "2026-04-06": "2026-04-07", "2026-05-04": "2026-05-06"}),
        (Roll.PREVIOUS, {"2026-02-16": "2026-02-13", "2026-04-06": "2026-04-03", "2026-05-04": "2026-04-30"}),
    ],
)
def test_a_weekly_job_moves_off_the_holidays(roll: Roll, days: dict[str, str]) -> None:
    moved = days | {
        "2026-02-23": days["2026-02-16"],
        "2026-10-05": "2026-10-08" if roll is Roll.NEXT else "2026-09-30",
    }
    expected = sorted({at(date.fromisoformat(moved.get(str(day), str(day))), "08:30") for day in MONDAYS})

    assert list(fires(rule("30 8 * * 1", "XSHG", roll))) == expected


def test_past_the_published_year_days_go_by_weekday() -> None:
    cadence = rule("30 16 * * *", "XSHG")

    assert cadence.after(at(LAST, "16:30")) == at(date(2027, 1, 1), "16:30")
    assert cadence.after(at(date(2027, 1, 1), "16:30")) == at(date(2027, 1, 4), "16:30")
