"""Crontab and RRULE where the clocks change, worked out by hand.

A fixed time (neither minute nor hour begins with `*`; a rule that names hour and minute) comes as its dst_policy says.
Without one: in the gap once, right after it, and in the overlap once, the first time. `skip`: in the gap not at all;
`shift`: late by the gap; `last`: in the overlap the second time; `twice`: both times. Anything else comes under every
policy whenever the clocks show its time: never in the gap, both times in the overlap.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from core.arming import cadence_of
from core.cadence import Cadence, parse_crontab
from core.clock_change import DstPolicy, moment_at
from core.recurrence import parse_rrule
from tests.unit.rows import row

MICROSECOND = timedelta(microseconds=1)


class Day(NamedTuple):
    """A window around one change. All times are written with their offset."""

    zone: str
    change: str
    start: str
    end: str
    moments: dict[str, str]
    """Rule, with its policy before it: the moments in the window, `hh:mm` with offset, another day as `dd hh:mm`."""


# 02:00 -> 03:00 at 07:00Z
NEW_YORK_GAP = Day("America/New_York", "2026-03-08T07:00Z", "2026-03-08T00:00-05:00", "2026-03-08T04:45-04:00", {
    "30 2 * * *": "03:00-04:00",
    "0 2 * * *": "03:00-04:00",
    "59 2 * * *": "03:00-04:00",
    "15,45 2 * * *": "03:00-04:00",
    "0 3 * * *": "03:00-04:00",
    "30 2,3 * * *": "03:00-04:00 03:30-04:00",
    "30 1-3 * * *": "01:30-05:00 03:00-04:00 03:30-04:00",
    "30 2 * * 0": "03:00-04:00",
    "30 2 8 3 *": "03:00-04:00",
    "*/30 2 * * *": "",
    "* 2 * * *": "",
    "*/30 1-3 * * *": "01:00-05:00 01:30-05:00 03:00-04:00 03:30-04:00",
    "30 * * * *": "00:30-05:00 01:30-05:00 03:30-04:00 04:30-04:00",
    "0 */2 * * *": "00:00-05:00 04:00-04:00",
    "0 30 2 * * *": "03:00-04:00",
    "*/20 30 2 * * *": "03:00-04:00",
    "0 */30 2 * * *": "",
    "skip: 30 2 * * *": "",
    "skip: 0 * * * *": "00:00-05:00 01:00-05:00 03:00-04:00 04:00-04:00",
    "shift: 30 2 * * *": "03:30-04:00",
    "shift: 15,45 2 * * *": "03:15-04:00 03:45-04:00",
    "shift: 30 2,3 * * *": "03:30-04:00",  # 02:30, an hour late, meets 03:30
    "shift: 50 2 * * *": "03:50-04:00",
    "shift: 10 3,4 * * *": "03:10-04:00 04:10-04:00",
    "shift: 40 2-3 * * *": "03:40-04:00",
    "shift: 40,20 2,3 * * *": "03:20-04:00 03:40-04:00",
    "shift: */30 2 * * *": "",
    "last: 30 2 * * *": "03:00-04:00",
    "twice: 30 2 * * *": "03:00-04:00",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30": "03:00-04:00",
    "skip: FREQ=DAILY;BYHOUR=2;BYMINUTE=30": "",
    "shift: FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15": "03:15-04:00",
    "FREQ=HOURLY;BYMINUTE=0": "00:00-05:00 01:00-05:00 03:00-04:00 04:00-04:00",
})  # fmt: skip
# 02:00 -> 01:00 at 06:00Z
NEW_YORK_OVERLAP = Day("America/New_York", "2026-11-01T06:00Z", "2026-11-01T00:00-04:00", "2026-11-01T03:45-05:00", {
    "30 1 * * *": "01:30-04:00",
    "0 1 * * *": "01:00-04:00",
    "0 2 * * *": "02:00-05:00",
    "30 1,2 * * *": "01:30-04:00 02:30-05:00",
    "0,59 1 * * *": "01:00-04:00 01:59-04:00",
    "30 1 * * 0": "01:30-04:00",
    "*/30 1 * * *": "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00",
    "30 * * * *": "00:30-04:00 01:30-04:00 01:30-05:00 02:30-05:00 03:30-05:00",
    "0 */2 * * *": "00:00-04:00 02:00-05:00",
    "0 30 1 * * *": "01:30-04:00",
    "0 */30 1 * * *": "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00",
    "skip: 30 1 * * *": "01:30-04:00",
    "shift: 30 1 * * *": "01:30-04:00",
    "last: 30 1 * * *": "01:30-05:00",
    "last: 0 1,2 * * *": "01:00-05:00 02:00-05:00",
    "last: 59 0,1 * * *": "00:59-04:00 01:59-05:00",
    "last: 30 * * * *": "00:30-04:00 01:30-04:00 01:30-05:00 02:30-05:00 03:30-05:00",
    "twice: 30 1 * * *": "01:30-04:00 01:30-05:00",
    "twice: 0,30 1 * * *": "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00",
    "FREQ=DAILY;BYHOUR=1;BYMINUTE=30": "01:30-04:00",
    "last: FREQ=DAILY;BYHOUR=1;BYMINUTE=30": "01:30-05:00",
    "twice: FREQ=DAILY;BYHOUR=1;BYMINUTE=0,30": "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00",
    "FREQ=HOURLY;BYMINUTE=30": "00:30-04:00 01:30-04:00 01:30-05:00 02:30-05:00 03:30-05:00",
    "FREQ=HOURLY;BYHOUR=1;BYMINUTE=30": "01:30-04:00",  # names its hour, so it is fixed
    "FREQ=MINUTELY;INTERVAL=30;BYHOUR=1": "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00",
})  # fmt: skip
# 01:00 -> 02:00 at 01:00Z
LONDON_GAP = Day("Europe/London", "2026-03-29T01:00Z", "2026-03-29T00:00+00:00", "2026-03-29T03:30+01:00", {
    "30 1 * * *": "02:00+01:00",
    "0 1 * * *": "02:00+01:00",
    "0 2 * * *": "02:00+01:00",
    "0 1,2 * * *": "02:00+01:00",
    "0 0-3 * * *": "00:00+00:00 02:00+01:00 03:00+01:00",
    "*/20 1 * * *": "",
    "0 * * * *": "00:00+00:00 02:00+01:00 03:00+01:00",
    "skip: 30 1 * * *": "",
    "shift: 30 1 * * *": "02:30+01:00",
    "shift: 0 1,2 * * *": "02:00+01:00",
    "shift: 45 1,2 * * *": "02:45+01:00",
    "last: 30 1 * * *": "02:00+01:00",
    "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=30": "02:00+01:00",
    "FREQ=HOURLY;BYMINUTE=0": "00:00+00:00 02:00+01:00 03:00+01:00",
})  # fmt: skip
# 02:00 -> 01:00 at 01:00Z
LONDON_OVERLAP = Day("Europe/London", "2026-10-25T01:00Z", "2026-10-25T00:00+01:00", "2026-10-25T03:00+00:00", {
    "30 1 * * *": "01:30+01:00",
    "0 1 * * 0": "01:00+01:00",
    "0 2 * * *": "02:00+00:00",
    "15 * * * *": "00:15+01:00 01:15+01:00 01:15+00:00 02:15+00:00",
    "*/40 1 * * *": "01:00+01:00 01:40+01:00 01:00+00:00 01:40+00:00",
    "0 0-3 * * *": "00:00+01:00 01:00+01:00 02:00+00:00 03:00+00:00",
    "last: 30 1 * * *": "01:30+00:00",
    "twice: 30 1 * * *": "01:30+01:00 01:30+00:00",
    "twice: 30 1,2 * * *": "01:30+01:00 01:30+00:00 02:30+00:00",
    "FREQ=HOURLY;BYMINUTE=15": "00:15+01:00 01:15+01:00 01:15+00:00 02:15+00:00",
    "last: FREQ=DAILY;BYHOUR=1;BYMINUTE=0": "01:00+00:00",
})  # fmt: skip
# 02:00 -> 02:30 at 15:30Z of the day before: half an hour
LORD_HOWE_GAP = Day("Australia/Lord_Howe", "2026-10-03T15:30Z", "2026-10-04T00:30+10:30", "2026-10-04T04:30+11:00", {
    "15 2 * * *": "02:30+11:00",
    "0 2 * * *": "02:30+11:00",
    "5,35 2 * * *": "02:30+11:00 02:35+11:00",
    "30 2 * * *": "02:30+11:00",
    "0 3 * * *": "03:00+11:00",
    "*/10 2 * * *": "02:30+11:00 02:40+11:00 02:50+11:00",
    "*/10 3 * * *": "03:00+11:00 03:10+11:00 03:20+11:00 03:30+11:00 03:40+11:00 03:50+11:00",
    "0 * * * *": "01:00+10:30 03:00+11:00 04:00+11:00",
    "15 * * * *": "01:15+10:30 03:15+11:00 04:15+11:00",
    "*/30 1-3 * * *": "01:00+10:30 01:30+10:30 02:30+11:00 03:00+11:00 03:30+11:00",
    "skip: 15 2 * * *": "",
    "shift: 15 2 * * *": "02:45+11:00",
    "shift: 15,45 2 * * *": "02:45+11:00",
    "shift: 0,30 2 * * *": "02:30+11:00",
    "shift: 20,35 2 * * *": "02:35+11:00 02:50+11:00",  # 02:20, half an hour late, comes after 02:35
    "last: 15 2 * * *": "02:30+11:00",
    "FREQ=HOURLY;BYMINUTE=15": "01:15+10:30 03:15+11:00 04:15+11:00",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=15": "02:30+11:00",
})  # fmt: skip
# 02:00 -> 01:30 at 15:00Z of the day before
LORD_HOWE = "Australia/Lord_Howe"
LORD_HOWE_OVERLAP = Day(LORD_HOWE, "2026-04-04T15:00Z", "2026-04-05T00:30+11:00", "2026-04-05T04:30+10:30", {
    "45 1 * * *": "01:45+11:00",
    "0 1 * * *": "01:00+11:00",
    "0 2 * * *": "02:00+10:30",
    "*/15 1 * * *": "01:00+11:00 01:15+11:00 01:30+11:00 01:45+11:00 01:30+10:30 01:45+10:30",
    "*/20 2 * * *": "02:00+10:30 02:20+10:30 02:40+10:30",
    "*/20 3 * * *": "03:00+10:30 03:20+10:30 03:40+10:30",
    "0 * * * *": "01:00+11:00 02:00+10:30 03:00+10:30 04:00+10:30",
    "40 * * * *": "00:40+11:00 01:40+11:00 01:40+10:30 02:40+10:30 03:40+10:30",
    "last: 45 1 * * *": "01:45+10:30",
    "last: 15 1 * * *": "01:15+11:00",  # before 01:30 nothing comes twice
    "twice: 15,45 1 * * *": "01:15+11:00 01:45+11:00 01:45+10:30",
    "FREQ=HOURLY;BYMINUTE=40": "00:40+11:00 01:40+11:00 01:40+10:30 02:40+10:30 03:40+10:30",
    "twice: FREQ=DAILY;BYHOUR=1;BYMINUTE=30": "01:30+11:00 01:30+10:30",
})  # fmt: skip
# 00:00 -> 01:00 at 04:00Z: midnight does not come
SANTIAGO_GAP = Day("America/Santiago", "2026-09-06T04:00Z", "2026-09-05T22:00-04:00", "2026-09-06T02:45-03:00", {
    "0 0 * * *": "06 01:00-03:00",
    "30 0 * * *": "06 01:00-03:00",
    "30 0 6 9 *": "06 01:00-03:00",
    "0 0 * * 0": "06 01:00-03:00",
    "0 0,1 * * *": "06 01:00-03:00",
    "@daily": "06 01:00-03:00",
    "*/15 0 * * *": "",
    "*/30 * 6 9 *": "06 01:00-03:00 06 01:30-03:00 06 02:00-03:00 06 02:30-03:00",
    "0 * * * *": "22:00-04:00 23:00-04:00 06 01:00-03:00 06 02:00-03:00",
    "30 23 * * *": "23:30-04:00",
    "skip: @daily": "",
    "shift: 30 0 * * *": "06 01:30-03:00",
    "shift: 0,30 0,1 * * *": "06 01:00-03:00 06 01:30-03:00",
    "shift: 30 0 6 9 *": "06 01:30-03:00",
    "FREQ=DAILY;BYHOUR=0;BYMINUTE=0": "06 01:00-03:00",
    "skip: FREQ=DAILY;BYHOUR=0;BYMINUTE=0": "",
    "FREQ=HOURLY;BYMINUTE=0": "22:00-04:00 23:00-04:00 06 01:00-03:00 06 02:00-03:00",
})  # fmt: skip
# 24:00 -> 23:00 at 03:00Z
SANTIAGO_OVERLAP = Day("America/Santiago", "2026-04-05T03:00Z", "2026-04-04T22:15-03:00", "2026-04-05T00:45-04:00", {
    "30 23 * * *": "23:30-03:00",
    "30 23 4 4 *": "23:30-03:00",
    "0 0 * * *": "05 00:00-04:00",
    "@daily": "05 00:00-04:00",
    "*/30 23 * * *": "23:00-03:00 23:30-03:00 23:00-04:00 23:30-04:00",
    "*/30 * 4 4 *": "22:30-03:00 23:00-03:00 23:30-03:00 23:00-04:00 23:30-04:00",
    "*/30 * 5 4 *": "05 00:00-04:00 05 00:30-04:00",
    "*/30 * * * 6": "22:30-03:00 23:00-03:00 23:30-03:00 23:00-04:00 23:30-04:00",
    "59 * * * *": "22:59-03:00 23:59-03:00 23:59-04:00",
    "last: 59 23 * * *": "23:59-04:00",
    "last: 0 0 * * *": "05 00:00-04:00",  # 24:00 is 23:00, so midnight comes once
    "twice: 30 23 4 4 *": "23:30-03:00 23:30-04:00",
    "FREQ=HOURLY;BYMINUTE=59": "22:59-03:00 23:59-03:00 23:59-04:00",
})  # fmt: skip
# 00:00 -> 01:00 at 22:00Z of the day before
BEIRUT_GAP = Day("Asia/Beirut", "2026-03-28T22:00Z", "2026-03-28T22:00+02:00", "2026-03-29T02:30+03:00", {
    "0 0 * * *": "29 01:00+03:00",
    "59 0 29 3 *": "29 01:00+03:00",
    "0 0 29 3 *": "29 01:00+03:00",
    "*/20 0 * * *": "",
    "*/30 0-1 29 * *": "29 01:00+03:00 29 01:30+03:00",
    "0 * * * *": "22:00+02:00 23:00+02:00 29 01:00+03:00 29 02:00+03:00",
    "skip: 0 0 * * *": "",
    "shift: 59 0 * * *": "29 01:59+03:00",
    "shift: 0 0,1 * * *": "29 01:00+03:00",
    "FREQ=DAILY;BYHOUR=0;BYMINUTE=30": "29 01:00+03:00",
    "shift: FREQ=DAILY;BYHOUR=0;BYMINUTE=30": "29 01:30+03:00",
    "FREQ=HOURLY;BYMINUTE=0": "22:00+02:00 23:00+02:00 29 01:00+03:00 29 02:00+03:00",
})  # fmt: skip
# 24:00 -> 23:00 at 21:00Z
BEIRUT_OVERLAP = Day("Asia/Beirut", "2026-10-24T21:00Z", "2026-10-24T22:30+03:00", "2026-10-25T00:30+02:00", {
    "45 23 * * *": "23:45+03:00",
    "0 0 * * *": "25 00:00+02:00",
    "*/30 23 24 10 *": "23:00+03:00 23:30+03:00 23:00+02:00 23:30+02:00",
    "*/30 * 25 10 *": "25 00:00+02:00 25 00:30+02:00",
    "15 * * * *": "23:15+03:00 23:15+02:00 25 00:15+02:00",
    "last: 45 23 * * *": "23:45+02:00",
    "twice: 45 23 * * *": "23:45+03:00 23:45+02:00",
    "FREQ=DAILY;BYHOUR=23;BYMINUTE=45": "23:45+03:00",
    "last: FREQ=DAILY;BYHOUR=23;BYMINUTE=45": "23:45+02:00",
    "FREQ=HOURLY;BYMINUTE=15": "23:15+03:00 23:15+02:00 25 00:15+02:00",
})  # fmt: skip
# 02:45 -> 03:45 at 14:00Z of the day before
CHATHAM_GAP = Day("Pacific/Chatham", "2026-09-26T14:00Z", "2026-09-27T01:30+12:45", "2026-09-27T05:30+13:45", {
    "0 3 * * *": "03:45+13:45",
    "50 2 * * *": "03:45+13:45",
    "40 2 * * *": "02:40+12:45",
    "45 3 * * *": "03:45+13:45",
    "0 3,4 * * *": "03:45+13:45 04:00+13:45",
    "*/15 2-3 * * *": "02:00+12:45 02:15+12:45 02:30+12:45 03:45+13:45",
    "0 * * * *": "02:00+12:45 04:00+13:45 05:00+13:45",
    "50 * * * *": "01:50+12:45 03:50+13:45 04:50+13:45",
    "skip: 0 3 * * *": "",
    "skip: 40 2 * * *": "02:40+12:45",
    "shift: 0 3 * * *": "04:00+13:45",
    "shift: 0 3,4 * * *": "04:00+13:45",
    "shift: 50 2 * * *": "03:50+13:45",
    "FREQ=DAILY;BYHOUR=3;BYMINUTE=0": "03:45+13:45",
    "FREQ=HOURLY;BYMINUTE=50": "01:50+12:45 03:50+13:45 04:50+13:45",
})  # fmt: skip
# 03:45 -> 02:45 at 14:00Z of the day before
CHATHAM_OVERLAP = Day("Pacific/Chatham", "2026-04-04T14:00Z", "2026-04-05T02:00+13:45", "2026-04-05T05:00+12:45", {
    "0 3 * * *": "03:00+13:45",
    "50 2 * * *": "02:50+13:45",
    "50 3 * * *": "03:50+12:45",
    "*/15 3 * * *":
        "03:00+13:45 03:15+13:45 03:30+13:45 03:00+12:45 03:15+12:45 03:30+12:45 03:45+12:45",
    "0 * * * *": "02:00+13:45 03:00+13:45 03:00+12:45 04:00+12:45 05:00+12:45",
    "30 * * * *": "02:30+13:45 03:30+13:45 03:30+12:45 04:30+12:45",
    "last: 0 3 * * *": "03:00+12:45",
    "last: 50 3 * * *": "03:50+12:45",
    "twice: 30 2,3 * * *": "02:30+13:45 03:30+13:45 03:30+12:45",
    "FREQ=HOURLY;BYMINUTE=30": "02:30+13:45 03:30+13:45 03:30+12:45 04:30+12:45",
})  # fmt: skip
# 01:00 -> 03:00 at 01:00Z: two hours
TROLL_GAP = Day("Antarctica/Troll", "2026-03-29T01:00Z", "2026-03-29T00:00+00:00", "2026-03-29T04:30+02:00", {
    "0 2 * * *": "03:00+02:00",
    "0 1 * * *": "03:00+02:00",
    "30 1,2 * * *": "03:00+02:00",
    "0 1-3 * * *": "03:00+02:00",
    "*/30 1-2 * * *": "",
    "0 * * * *": "00:00+00:00 03:00+02:00 04:00+02:00",
    "skip: 30 1,2 * * *": "",
    "shift: 30 1 * * *": "03:30+02:00",
    "shift: 30 2 * * *": "04:30+02:00",
    "shift: 0 1-3 * * *": "03:00+02:00 04:00+02:00",
    "last: 0 2 * * *": "03:00+02:00",
    "FREQ=DAILY;BYHOUR=1,2;BYMINUTE=30": "03:00+02:00",
    "FREQ=HOURLY;BYMINUTE=0": "00:00+00:00 03:00+02:00 04:00+02:00",
})  # fmt: skip
# 03:00 -> 01:00 at 01:00Z
TROLL_OVERLAP = Day("Antarctica/Troll", "2026-10-25T01:00Z", "2026-10-25T00:45+02:00", "2026-10-25T03:45+00:00", {
    "30 2 * * *": "02:30+02:00",
    "0 1-3 * * *": "01:00+02:00 02:00+02:00 03:00+00:00",
    "30 * * * *": "01:30+02:00 02:30+02:00 01:30+00:00 02:30+00:00 03:30+00:00",
    "*/30 2 * * *": "02:00+02:00 02:30+02:00 02:00+00:00 02:30+00:00",
    "last: 30 2 * * *": "02:30+00:00",
    "last: 30 0-3 * * *": "01:30+00:00 02:30+00:00 03:30+00:00",
    "twice: 30 1,2 * * *": "01:30+02:00 02:30+02:00 01:30+00:00 02:30+00:00",
    "FREQ=HOURLY;BYMINUTE=30": "01:30+02:00 02:30+02:00 01:30+00:00 02:30+00:00 03:30+00:00",
})  # fmt: skip
# China has one time the year round; its clocks last changed in 1991.
SHANGHAI_TODAY = Day("Asia/Shanghai", "2026-03-28T18:00Z", "2026-03-29T00:00+08:00", "2026-03-29T04:00+08:00", {
    "30 2 * * *": "02:30+08:00",
    "0 * * * *": "00:00+08:00 01:00+08:00 02:00+08:00 03:00+08:00 04:00+08:00",
    "skip: 30 2 * * *": "02:30+08:00",
    "shift: 30 2 * * *": "02:30+08:00",
    "last: 30 2 * * *": "02:30+08:00",
    "twice: 30 2 * * *": "02:30+08:00",
    "FREQ=HOURLY;BYMINUTE=0": "00:00+08:00 01:00+08:00 02:00+08:00 03:00+08:00 04:00+08:00",
})  # fmt: skip
SHANGHAI_GAP = Day("Asia/Shanghai", "1986-05-03T18:00Z", "1986-05-04T00:00+08:00", "1986-05-04T04:30+09:00", {
    "30 2 * * *": "03:00+09:00",
    "0 * * * *": "00:00+08:00 01:00+08:00 03:00+09:00 04:00+09:00",
    "skip: 30 2 * * *": "",
    "shift: 30 2 * * *": "03:30+09:00",
    "*/30 2 * * *": "",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30": "03:00+09:00",
})  # fmt: skip
SHANGHAI_OVERLAP = Day("Asia/Shanghai", "1991-09-14T17:00Z", "1991-09-15T00:00+09:00", "1991-09-15T02:30+08:00", {
    "30 1 * * *": "01:30+09:00",
    "0 * * * *": "00:00+09:00 01:00+09:00 01:00+08:00 02:00+08:00",
    "last: 30 1 * * *": "01:30+08:00",
    "twice: 30 1 * * *": "01:30+09:00 01:30+08:00",
    "shift: 0 1,2 * * *": "01:00+09:00 02:00+08:00",
    "FREQ=DAILY;BYHOUR=1;BYMINUTE=30": "01:30+09:00",
    "FREQ=HOURLY;BYMINUTE=0": "00:00+09:00 01:00+09:00 01:00+08:00 02:00+08:00",
})  # fmt: skip
DAYS = {name: day for name, day in dict(globals()).items() if isinstance(day, Day)}
CASES = [pytest.param(day, rule, id=f"{name}-{rule}") for name, day in DAYS.items() for rule in day.moments]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def expected(day: Day, rule: str) -> list[datetime]:
    words, found = day.moments[rule].split(), []
    date = day.start[:8]
    number = day.start[8:10]
    for word in words:
        if ":" not in word:
            number = word
            continue
        found.append(at(f"{date}{number}T{word}"))
    return found


def cadence(day: Day, rule: str) -> Cadence:
    policy, _, text = rule.rpartition(": ")
    dst_policy = DstPolicy(policy or "cron")
    if text.startswith("FREQ"):
        return parse_rrule(text, day.zone, datetime(1980, 1, 1, tzinfo=UTC), dst_policy)
    return parse_crontab(text, day.zone, dst_policy)


def forward(cron: Cadence, start: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = cron.after(start - MICROSECOND)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = cron.after(moment)
    return found


def backward(cron: Cadence, start: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = cron.latest(end)
    while moment is not None and moment >= start:
        found.append(moment)
        moment = cron.latest(moment - MICROSECOND)
    return found[::-1]


@pytest.mark.parametrize("name", DAYS)
def test_the_zone_data_has_the_change_these_cases_are_written_for(name: str) -> None:
    day = DAYS[name]
    zone, change = ZoneInfo(day.zone), at(day.change)
    before, after = ((change + step).astimezone(zone).utcoffset() for step in (-MICROSECOND, timedelta()))

    assert (before != after) == (name != "SHANGHAI_TODAY")


def test_each_zone_has_twenty_cases_or_more() -> None:
    counted = Counter[str]()
    for day in DAYS.values():
        counted[day.zone] += len(day.moments)

    assert len(counted) == 8
    assert min(counted.values()) >= 20, counted


@pytest.mark.parametrize(("day", "rule"), CASES)
def test_walking_forward_names_exactly_the_moments_worked_out_by_hand(day: Day, rule: str) -> None:
    assert forward(cadence(day, rule), at(day.start), at(day.end)) == expected(day, rule)


@pytest.mark.parametrize(("day", "rule"), CASES)
def test_walking_backward_names_the_same(day: Day, rule: str) -> None:
    assert backward(cadence(day, rule), at(day.start), at(day.end)) == expected(day, rule)


@pytest.mark.parametrize(("day", "rule"), CASES)
def test_from_any_instant_around_the_change_both_neighbours_are_found(day: Day, rule: str) -> None:
    cron, moments, start, end = cadence(day, rule), expected(day, rule), at(day.start), at(day.end)
    instant = start
    while instant <= end:
        for t in (instant - MICROSECOND, instant, instant + MICROSECOND):
            later, earlier = [m for m in moments if m > t], [m for m in moments if m <= t]
            after, latest = cron.after(t), cron.latest(t)
            assert after == later[0] if later else after is not None and after > end, t
            assert latest == earlier[-1] if earlier else latest is not None and latest < start, t
        instant += timedelta(minutes=15)


def test_each_second_of_the_repeated_hour_comes_twice_in_order() -> None:
    cron = parse_crontab("* * * * * *", "America/New_York")
    start = at("2026-11-01T01:59:58-04:00")

    assert forward(cron, start, start + timedelta(seconds=4)) == [start + timedelta(seconds=n) for n in range(5)]
    assert backward(cron, start, start + timedelta(seconds=4)) == [start + timedelta(seconds=n) for n in range(5)]


@pytest.mark.parametrize(
    ("zone", "local", "moment"),
    [
        ("America/New_York", "2026-03-08T02:30", "2026-03-08T03:00-04:00"),
        ("America/New_York", "2026-03-08T02:00", "2026-03-08T03:00-04:00"),
        ("America/New_York", "2026-03-08T02:59:59.999999", "2026-03-08T03:00-04:00"),
        ("America/New_York", "2026-03-08T01:59:59.999999", "2026-03-08T01:59:59.999999-05:00"),
        ("America/New_York", "2026-11-01T01:30", "2026-11-01T01:30-04:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-04T02:30+11:00"),
        ("America/Santiago", "2026-09-06T00:00", "2026-09-06T01:00-03:00"),
        ("Antarctica/Troll", "2026-03-29T01:30", "2026-03-29T03:00+02:00"),
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-31T00:00+14:00"),
        ("Asia/Shanghai", "2026-06-01T09:00:00.000001", "2026-06-01T09:00:00.000001+08:00"),
    ],
)
def test_a_wall_clock_time_is_read_as_crontab_reads_it(zone: str, local: str, moment: str) -> None:
    assert moment_at(datetime.fromisoformat(local), ZoneInfo(zone)) == at(moment)


@pytest.mark.parametrize(
    ("policy", "gap", "overlap"),
    [
        (None, "03:00-04:00", "01:30-04:00"),
        ("cron", "03:00-04:00", "01:30-04:00"),
        ("shift", "03:30-04:00", "01:30-04:00"),
        ("last", "03:00-04:00", "01:30-05:00"),
        ("twice", "03:00-04:00", "01:30-04:00"),  # a single moment stays single
    ],
)
def test_run_at_is_read_by_the_rows_policy(policy: str | None, gap: str, overlap: str) -> None:
    for date, local, moment in (("2026-03-08", "02:30", gap), ("2026-11-01", "01:30", overlap)):
        once = row(run_at=datetime.fromisoformat(f"{date}T{local}"), timezone="America/New_York", dst_policy=policy)
        assert cadence_of(once, "UTC").after(at("2026-01-01T00:00Z")) == at(f"{date}T{moment}")


@pytest.mark.parametrize(
    ("policy", "last_moments"),
    [(None, "01:30-04:00"), ("last", "01:30-05:00"), ("twice", "01:30-04:00 01:30-05:00"), ("skip", "01:30-04:00")],
)
def test_an_end_time_takes_in_every_moment_its_time_stands_for(policy: str | None, last_moments: str) -> None:
    nightly = row(
        crontab="30 1 * * *",
        timezone="America/New_York",
        dst_policy=policy,
        start_time=datetime(2026, 11, 1, 1, 30),  # noqa: DTZ001
        end_time=datetime(2026, 11, 1, 1, 30),  # noqa: DTZ001
    )
    found = forward(cadence_of(nightly, "UTC"), at("2026-10-01T00:00Z"), at("2026-12-01T00:00Z"))

    assert found == [at(f"2026-11-01T{moment}") for moment in last_moments.split()]
