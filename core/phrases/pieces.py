"""The pieces a phrase is taken apart into, and what both languages share: numbers, clocks, calendars, zones.

The reading is our own: `recurrent` and `parsedatetime` are unkept and pass over words they do not know, `dateparser`
knows no repetition, and a numeral below a hundred needs no package.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from core.phrases.meaning import DAY_MINUTES
from core.zones import zone_names


class Kind(StrEnum):
    """What a piece is about. A phrase has each at most once; pieces in a row may be one list."""

    EVERY = "every"  #: (unit, step)
    WEEKDAYS = "weekdays"  #: (days, step in weeks)
    NTH = "nth"  #: (nths, weekdays, months)
    MONTH_DAYS = "month_days"  #: (days, months)
    OPEN_DAY = "open_day"  #: (1 or -1, "trading", "working" or "week" or a calendar, months)
    MONTHS = "months"  #: months
    DATE = "date"  #: (year or None, month, day)
    RELATIVE = "relative"  #: days from today, or ("weekday", weeks, weekday)
    AFTER = "after"  #: seconds from now
    TIMES = "times"  #: minutes since midnight, several for one clock where it may mean several
    PERIOD = "period"  #: a part of the day
    WINDOW = "window"  #: (first, last)
    MINUTE = "minute"  #: of each hour
    CALENDAR = "calendar"  #: a calendar, "trading" or "working"
    SESSION = "session"  #: a calendar or "trading"
    ZONE = "zone"  #: an IANA name
    START = "start"  #: as DATE, or ("relative", …)
    END = "end"
    COUNT = "count"  #: of runs
    ONCE = "once"
    AND = "and"
    FILLER = "filler"


LISTS: Final = frozenset({Kind.WEEKDAYS, Kind.MONTH_DAYS, Kind.MONTHS, Kind.TIMES})


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words, and what they may mean: more than one option has to be asked about."""

    kind: Kind
    options: tuple[Any, ...]
    text: str
    repeats: bool = False
    """True where the words say that it comes again and again."""
    question: str = ""
    """A key of the catalogue in `saying.py`, where there are several options."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader makes of a match: a Piece without its text."""

    options: tuple[Any, ...]
    repeats: bool = False
    question: str = ""


Reader = Callable[["re.Match[str]"], Told | None]
Row = tuple[Kind, str, Reader]


def told(*options: Any, repeats: bool = False, question: str = "") -> Told:
    """Say what was read; several options make it a question."""
    return Told(options, repeats, question)


def always(*options: Any, repeats: bool = False, question: str = "") -> Reader:
    """Make the reader of words that always mean the same."""
    return lambda _: Told(options, repeats, question)


CHINESE_DIGITS: Final = {"零": 0, "〇": 0, **{sign: n for n, sign in enumerate("一二三四五六七八九", 1)}, "两": 2}
TENS: Final = {"十": 1, "廿": 2, "卅": 3}


def chinese_number(text: str) -> int | None:
    """Read a numeral up to 99, or digits; None for what is none."""
    if text.isdecimal():
        return int(text)
    ten = next((sign for sign in text if sign in TENS), None)
    if ten is None:
        digits = [CHINESE_DIGITS.get(sign) for sign in text]
        if None in digits or not 1 <= len(digits) <= 2 or (len(digits) == 2 and digits[0] != 0):
            return None
        return digits[-1]
    before, _, after = text.partition(ten)
    if (before and (ten != "十" or before not in CHINESE_DIGITS)) or (after and after not in CHINESE_DIGITS):
        return None
    tens = CHINESE_DIGITS[before] if before else TENS[ten]
    return 10 * tens + (CHINESE_DIGITS[after] if after else 0)


#: Part of the day -> the hours it goes with, as they are said -> as the day counts them.
PERIODS: Final[dict[str, dict[int, int]]] = {
    "early": {12: 0, 0: 0, **{hour: hour for hour in range(1, 7)}},
    "morning": {hour: hour for hour in range(4, 12)},
    "noon": {11: 11, 12: 12, 13: 13, 1: 13, 2: 14},
    "afternoon": {12: 12, **{hour: hour + 12 for hour in range(1, 8)}, **{hour: hour for hour in range(13, 20)}},
    "evening": {
        12: 24, 0: 24, 24: 24, **{hour: hour + 12 for hour in range(4, 12)}, **{hour: hour for hour in range(16, 24)}
    },
    "night": {
        12: 24, 0: 24, 24: 24, **{hour: hour for hour in range(1, 5)},
        **{hour: hour + 12 for hour in range(6, 12)}, **{hour: hour for hour in range(18, 24)},
    },
}  # fmt: skip


def clock(hour: int, minute: int, *, half: str = "", by_24: bool = False) -> tuple[int, ...]:
    """Name what a time of day may mean, in minutes since midnight; none where it is no time.

    `half` is am, pm or a key of PERIODS; `by_24`: it is written as 24-hour clocks show it, such as 8:30.
    """
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        return ()
    if half in ("am", "pm"):
        return (60 * (hour % 12 + (12 if half == "pm" else 0)) + minute,) if 1 <= hour <= 12 else ()
    if half:
        counted = PERIODS[half].get(hour)
        return () if counted is None or (counted == 24 and minute) else (60 * counted + minute,)
    if by_24 or hour == 0 or hour > 12:
        return (60 * hour + minute,)
    if hour == 12:
        return (720 + minute, DAY_MINUTES) if not minute else (720 + minute, minute)
    return (60 * hour + minute, 60 * (hour + 12) + minute)


def times_by(time_of: Callable[[str], tuple[int, ...]]) -> Reader:
    """Make the reader of a time of day, by a language's own way to write one."""

    def read(found: "re.Match[str]") -> Told | None:
        options = time_of(found["time"])
        return told(*options, question="which_half") if options else None

    return read


def window_by(time_of: Callable[[str], tuple[int, ...]]) -> Reader:
    """Make the reader of two times of day and whether the second is left out."""

    def read(found: "re.Match[str]") -> Told | None:
        first, last = time_of(found["first"]), time_of(found["last"])
        return told((first, last, bool(found["open"]))) if first and last else None

    return read


def within(times: tuple[int, ...], half: str) -> tuple[int, ...]:
    """Keep of the things a clock may mean those that lie in a part of the day."""
    said = {counted * 60 for counted in PERIODS[half].values()}
    return tuple(time for time in times if time - time % 60 in said)


EXCHANGES: Final = {
    "XSHG": (
        "a股", "沪市", "深市", "沪深", "上交所", "深交所", "中国", "shanghai", "china", "chinese", "a-share", "sse"
    ),
    "XHKG": ("港股", "香港", "hong kong", "hkex", "hk"),
    "XNYS": ("美股", "美国", "纽交所", "纳斯达克", "nyse", "nasdaq", "us", "american", "new york", "wall street"),
    "XTKS": ("日股", "日本", "东京", "tokyo", "japan", "japanese"),
    "XLON": ("英股", "伦敦", "london", "lse", "uk"),
    "XSES": ("新加坡", "singapore", "sgx"),
}  # fmt: skip
EXCHANGE_OF: Final = {word: code for code, words in EXCHANGES.items() for word in words}

#: Zone -> the exchange whose trading days are meant there, and the country whose working days.
HOME: Final = {
    "Asia/Shanghai": ("XSHG", "CN"), "Asia/Hong_Kong": ("XHKG", "HK"), "Asia/Tokyo": ("XTKS", "JP"),
    "Asia/Singapore": ("XSES", "SG"), "Asia/Seoul": ("XKRX", "KR"), "Asia/Kolkata": ("XBOM", "IN"),
    "America/New_York": ("XNYS", "US"), "America/Chicago": ("XNYS", "US"), "America/Los_Angeles": ("XNYS", "US"),
    "America/Toronto": ("XTSE", "CA"), "Europe/London": ("XLON", "GB"), "Europe/Paris": ("XPAR", "FR"),
    "Europe/Berlin": ("XETR", "DE"), "Australia/Sydney": ("XASX", "AU"),
}  # fmt: skip
ASKED_EXCHANGES: Final = ("XSHG", "XHKG", "XNYS", "XLON", "XTKS")
ASKED_COUNTRIES: Final = ("CN", "US", "GB", "DE", "JP")

PLACES: Final = {
    "Asia/Shanghai": ("beijing", "shanghai", "china", "北京", "上海", "中国"),
    "Asia/Hong_Kong": ("hong kong", "hkt", "香港"),
    "Asia/Taipei": ("taipei", "台北"),
    "Asia/Tokyo": ("tokyo", "japan", "jst", "东京", "日本"),
    "Asia/Seoul": ("seoul", "korea", "kst", "首尔", "韩国"),
    "Asia/Singapore": ("singapore", "sgt", "新加坡"),
    "Asia/Kolkata": ("mumbai", "delhi", "new delhi", "kolkata", "india", "孟买", "印度"),
    "Asia/Dubai": ("dubai", "迪拜"),
    "Australia/Sydney": ("sydney", "悉尼"),
    "America/New_York": ("new york", "nyc", "eastern", "et", "纽约", "美东"),
    "America/Chicago": ("chicago", "ct", "芝加哥", "美中"),
    "America/Denver": ("denver", "丹佛"),
    "America/Los_Angeles": ("los angeles", "san francisco", "seattle", "pacific", "pt", "洛杉矶", "旧金山", "美西"),
    "America/Toronto": ("toronto", "多伦多"),
    "America/Sao_Paulo": ("sao paulo", "圣保罗"),
    "Europe/London": ("london", "uk", "伦敦", "英国"),
    "Europe/Paris": ("paris", "巴黎"),
    "Europe/Berlin": ("berlin", "frankfurt", "munich", "germany", "柏林", "法兰克福"),
    "Europe/Zurich": ("zurich", "苏黎世"),
    "Europe/Amsterdam": ("amsterdam", "阿姆斯特丹"),
    "Europe/Madrid": ("madrid", "马德里"),
    "Europe/Moscow": ("moscow", "莫斯科"),
    "UTC": ("utc", "gmt", "zulu", "格林尼治", "世界标准", "世界协调"),
}
ZONE_OF: Final[dict[str, tuple[str, ...]]] = {
    **{word: (zone,) for zone, words in PLACES.items() for word in words},
    # Abbreviations that stand for several zones, or for a fixed offset as well as for a zone.
    "cst": ("Asia/Shanghai", "America/Chicago", "Etc/GMT+6"),
    "est": ("America/New_York", "Etc/GMT+5"),
    "pst": ("America/Los_Angeles", "Etc/GMT+8"),
    "ist": ("Asia/Kolkata", "Asia/Jerusalem", "Europe/Dublin"),
    "bst": ("Europe/London", "Asia/Dhaka"),
    "cet": ("Europe/Berlin", "Etc/GMT-1"),
}
IANA_NAME: Final = r"[a-z]+(?:/[a-z0-9_+-]+)+"


def zone_by_name(text: str) -> Told | None:
    """Read an IANA name whatever its capitals, or an offset such as utc+8; None for what is neither."""
    offset = re.fullmatch(r"(?:utc|gmt)\s?([+-])(\d{1,2})", text)
    if offset:  # IANA counts westward: Etc/GMT-8 is 8 hours ahead of UTC
        sign, hours = "-" if offset[1] == "+" else "+", int(offset[2])
        name = "UTC" if hours == 0 else f"Etc/GMT{sign}{hours}"
        return told(name) if name in zone_names() else None
    found = next((name for name in zone_names() if name.lower() == text), None)
    return None if found is None else told(found)


def any_of(words: "dict[str, Any] | tuple[str, ...]") -> str:
    """Write a pattern of words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def iso_date(found: "re.Match[str]") -> tuple[int | None, int, int]:
    """Read the groups year, month and day."""
    year = found["year"]
    return (int(year) if year else None), int(found["month"]), int(found["day"])


ISO: Final = r"(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})"

#: What both languages write alike.
SHARED: Final[list[Row]] = [
    (Kind.DATE, rf"(?:on )?{ISO}", lambda found: told(iso_date(found))),
    (Kind.ZONE, rf"(?:in )?(?P<zone>{IANA_NAME})(?: time| ?时间)?", lambda found: zone_by_name(found["zone"])),
    (Kind.ZONE, r"(?:in )?(?P<zone>(?:utc|gmt)\s?[+-]\d{1,2})(?: time| ?时间)?", lambda m: zone_by_name(m["zone"])),
    (Kind.FILLER, r"[,，。.!;；]", always(None)),
]  # fmt: skip
