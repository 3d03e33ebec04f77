"""English words for schedules: each row is a kind of piece, the pattern of its words, and what they mean.

The longest match at a place counts. Patterns are of lower-case text with single blanks.
"""

import re
from typing import Final

from core.phrases.meaning import WORKWEEK
from core.phrases.pieces import (
    EXCHANGE_OF,
    ISO,
    ZONE_OF,
    Kind,
    Reader,
    Row,
    Told,
    always,
    any_of,
    clock,
    iso_date,
    times_by,
    told,
    window_by,
)

NUMBERS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "forty-five": 45,
    "forty five": 45, "fifty": 50, "sixty": 60, "ninety": 90, "a": 1, "an": 1,
}  # fmt: skip
ORDINALS: Final = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "twentieth": 20,
    "thirtieth": 30, "thirty-first": 31,
}  # fmt: skip
WEEKDAYS: Final = {
    word: day
    for day, words in enumerate(
        (
            ("monday", "mon"),
            ("tuesday", "tues", "tue"),
            ("wednesday", "wed"),
            ("thursday", "thurs", "thur", "thu"),
            ("friday", "fri"),
            ("saturday", "sat"),
            ("sunday", "sun"),
        )
    )
    for word in words
}
MONTHS: Final = {
    word: number
    for number, name in enumerate(
        (
            "january", "february", "march", "april", "may", "june",
            "july", "august", "september", "october", "november", "december",
        ),
        1,
    )
    for word in (name, name[:3])
} | {"sept": 9}  # fmt: skip
UNITS: Final = {
    **dict.fromkeys(("seconds", "second", "secs", "sec"), "second"),
    **dict.fromkeys(("minutes", "minute", "mins", "min"), "minute"),
    **dict.fromkeys(("hours", "hour", "hrs", "hr"), "hour"),
    **dict.fromkeys(("days", "day"), "day"),
    **dict.fromkeys(("weeks", "week"), "week"),
    **dict.fromkeys(("months", "month"), "month"),
    **dict.fromkeys(("quarters", "quarter"), "quarter"),
    **dict.fromkeys(("years", "year"), "year"),
}
SECONDS_OF: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
SPANS: Final[dict[str, tuple[int, ...]]] = {
    # A first day of the span begins in these months, a last one ends in the months after.
    "month": (),
    "quarter": (1, 4, 7, 10),
    "year": (1,),
}

N: Final = rf"(?:\d{{1,5}}|{any_of(NUMBERS)})"
ORD: Final = rf"(?:\d{{1,2}}(?:st|nd|rd|th)|{any_of(ORDINALS)})"
NTHS: Final = rf"(?:{ORD}|last)(?:(?:, ?(?:and )?| (?:and|&) )(?:the )?(?:{ORD}|last))*"
WD: Final = rf"(?:{any_of(WEEKDAYS)})"
MONTH: Final = rf"(?:{any_of(MONTHS)})"
UNIT: Final = rf"(?:{any_of(UNITS)})"
EVERY: Final = r"(?:(?:once )?(?:every|each))"
HALF: Final = r"(?:am|pm|a\.m\.|p\.m\.)"
PART: Final = r"(?:(?:in the )?(?:morning|afternoon|evening)|at night)"
HOUR: Final = rf"(?:\d{{1,2}}|{any_of(tuple(w for w, n in NUMBERS.items() if 1 <= n <= 12 and len(w) > 2))})"
T: Final = (
    rf"(?:(?:12 )?(?:noon|midday|midnight)|\d{{1,2}}[:.]\d\d(?: ?{HALF})?|half past {HOUR}(?: ?{HALF})?|(?:a )?quarter (?:past|to) {HOUR}(?: ?{HALF})?"
    rf"|{HOUR}(?: o'?clock)?(?: ?{HALF}| {PART})?|\d{{1,2}}[:.]\d\d {PART})"
)
ONE_TIME: Final = re.compile(
    rf"(?:(?P<half>half past )|(?:a )?quarter (?P<quarter>past|to) )?(?P<hour>{HOUR})(?:[:.](?P<minute>\d\d))?"
    rf"(?: o'?clock)?(?: ?(?P<ampm>{HALF})| (?P<part>{PART}))?"
)
OF: Final = r"(?: (?:of|in) (?:the|each|every|a) (?P<span>month|quarter|year)| (?:of|in) (?P<month>" + MONTH + r"))"
DATE: Final = (
    rf"(?:{ISO}|(?P<m1>{MONTH}) (?P<d1>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y1>\d{{4}}))?"
    rf"|(?:the )?(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<m2>{MONTH})(?:,? (?P<y2>\d{{4}}))?)"
)
TONIGHT: Final = "tonight"
RELATIVE: Final = {"today": 0, "tomorrow": 1, "the day after tomorrow": 2, "day after tomorrow": 2}


def number(text: str) -> int:
    """Read N."""
    return int(text) if text.isdecimal() else NUMBERS[text]


def ordinal(text: str) -> int:
    """Read ORD, or "last"."""
    if text == "last":
        return -1
    return ORDINALS[text] if text in ORDINALS else int(text[:-2])


def time_of(text: str) -> tuple[int, ...]:
    """Read T: what a time of day may mean."""
    if text.removeprefix("12 ") in ("noon", "midday"):
        return (720,)
    if text.removeprefix("12 ") == "midnight":
        return (0, 1440)
    found = ONE_TIME.fullmatch(text)
    if found is None:
        return ()
    hour = number(found["hour"])
    minute = int(found["minute"] or 0)
    part = (found["part"] or "").rpartition(" ")[2]
    half = (found["ampm"] or part).replace(".", "")
    minute, earlier = (30, 0) if found["half"] else (15, 0) if found["quarter"] == "past" else (minute, 0)
    if found["quarter"] == "to":
        minute, earlier = 0, 15
    by_24 = found["minute"] is not None and not half
    if hour == 24:  # the end of the day, which 00:00 is not
        return () if earlier else clock(hour, minute, half=half, by_24=by_24)
    return tuple((time - earlier) % 1440 for time in clock(hour, minute, half=half, by_24=by_24))


_times, _window = times_by(time_of), window_by(time_of)


def _date(found: "re.Match[str]") -> tuple[int | None, int, int]:
    if found["month"]:
        return iso_date(found)
    month = MONTHS[found["m1"] or found["m2"]]
    year = found["y1"] or found["y2"]
    return (int(year) if year else None), month, int(found["d1"] or found["d2"])


def _slashes(found: "re.Match[str]") -> Told:
    """1/2 is the 2nd of January or the 1st of February, according to where one lives."""
    one, two = int(found["one"]), int(found["two"])
    year = int(found["slash_year"]) if found["slash_year"] else None
    orders = {(one, two), (two, one)}
    dates = sorted((year, month, day) for month, day in orders if 1 <= month <= 12 and 1 <= day <= 31)
    return told(*dates, question="date_order")


def _weekday_range(found: "re.Match[str]") -> Told:
    first, last = WEEKDAYS[found["a"]], WEEKDAYS[found["b"]]
    days = tuple((first + n) % 7 for n in range((last - first) % 7 + 1))
    return told((tuple(sorted(days)), 1), repeats=True)


def months_of(span: str | None, month: str | None, which: int) -> tuple[int, ...]:
    """Name the months in which a month's, a quarter's or a year's first or last day lies."""
    if month:
        return (MONTHS[month],)
    starts = SPANS[span or "month"]
    length = {"quarter": 2, "year": 11}.get(span or "", 0)
    return tuple(start + length for start in starts) if which < 0 else starts


def _nth(found: "re.Match[str]") -> Told | None:
    nths = tuple(ordinal(each) for each in re.findall(rf"{ORD}|last", found["nths"]))
    if any(nth > 5 for nth in nths):
        return None
    months = months_of(found["span"], found["month"], nths[0])
    if len(nths) > 1 and months:
        return None  # the first of a quarter lies in another month than its last
    return told((nths, (WEEKDAYS[found["day"]],), months), repeats=True)


def _every_second(found: "re.Match[str]") -> Told | None:
    """ "Every second Tuesday" is every other one to some, and the month's second to others."""
    nth, day = ordinal(found["nth"]), WEEKDAYS[found["day"]]
    if not 2 <= nth <= 5:
        return None
    return told(("week", (day,), nth), ("nth", (nth,), (day,)), repeats=True, question="which_second")


def _every_other(found: "re.Match[str]") -> Told | None:
    """ "Every first day" is the first of something, and of what is not said."""
    step = 2 if found["n"] in ("other", "alternate") else ordinal(found["n"])
    return None if step == 1 else told((UNITS[found["unit"]], step), repeats=True)


def _except(found: "re.Match[str]") -> Told:
    left_out = {5, 6} if found["weekend"] else {WEEKDAYS[day] for day in re.findall(WD, found["days"])}
    return told((tuple(day for day in range(7) if day not in left_out), 1), repeats=True)


def _open_day(found: "re.Match[str]") -> Told:
    which = 1 if found["which"] == "first" else -1
    what = found["what"]
    kind = "week" if what == "week" else "trading" if what == "trading" else "working"
    return told((which, named(found["code"], kind), months_of(found["span"], found["month"], which)), repeats=True)


def named(code: str | None, kind: str) -> str:
    """Name the calendar of a code or a word before "trading days" or "working days"; the kind where none is said."""
    if code is None:
        return kind
    if kind == "trading":
        return EXCHANGE_OF.get(code, code.upper())
    return {"uk": "GB"}.get(code, code.upper())


def _edge(found: "re.Match[str]") -> Told:
    which = 1 if found["which"] == "first" else -1
    return told(((which,), months_of(found["span"], found["month"], which)), repeats=True)


def calendar_by(kind: str) -> Reader:
    """Make the reader of "trading days" and "working days", with a code or a word before them or without."""
    return lambda found: told(named(found["code"], kind), repeats=True)


def _relative(found: "re.Match[str]") -> Told:
    which, day = found["which"], WEEKDAYS[found["day"]]
    if which == "next":
        return told(("weekday", 0, day), ("weekday", 1, day), question="which_week")
    return told(("weekday", 0, day))


def _after(found: "re.Match[str]") -> Told:
    size = SECONDS_OF[UNITS[found["unit"]]]
    return told(size // 2 if found["half"] else number(found["n"]) * size)


def _bound(found: "re.Match[str]") -> Told:
    if found["relative"]:
        return told(("relative", RELATIVE[found["relative"]]))
    return told(_date(found))


CODES: Final = rf"(?:(?P<code>{any_of(tuple(word for word in EXCHANGE_OF if word.isascii()))}|x[a-z]{{3}}) )?"
COUNTRY: Final = r"(?:(?P<code>[a-z]{2}(?:-[a-z]{2,3})?) )?"
ON: Final = r"(?:(?:on|every|each|on each|on every|on the) )?"

ROWS: Final[list[Row]] = [
    (Kind.EVERY, rf"{EVERY} (?P<n>{N}) (?P<unit>{UNIT})", lambda m: told((UNITS[m["unit"]], number(m["n"])), repeats=True)),
    (Kind.EVERY, rf"(?:{EVERY}|once (?:a|an|per)) (?P<unit>{UNIT})", lambda m: told((UNITS[m["unit"]], 1), repeats=True)),
    (Kind.EVERY, rf"every (?P<n>other|alternate|{ORD}) (?P<unit>{UNIT})",
        _every_other),
    (Kind.EVERY, rf"{EVERY} (?:(?P<n>{N}) )?(?P<unit>hours?|hrs?),?(?: and)? (?P<more>{N}) (?:minutes?|mins?)",
        lambda m: told(("minute", 60 * number(m["n"] or "1") + number(m["more"])), repeats=True)),
    (Kind.EVERY, rf"{EVERY} half(?: an| a)?[ -]hour", always(("minute", 30), repeats=True)),
    (Kind.EVERY, rf"{EVERY} (?:hour and a half|one and a half hours|1\.5 hours)", always(("minute", 90), repeats=True)),
    (Kind.EVERY, rf"{EVERY} quarter(?: of an)?[ -]hour", always(("minute", 15), repeats=True)),
    (Kind.EVERY, r"minutely", always(("minute", 1), repeats=True)),
    (Kind.EVERY, r"hourly", always(("hour", 1), repeats=True)),
    (Kind.EVERY, r"daily", always(("day", 1), repeats=True)),
    (Kind.EVERY, r"weekly", always(("week", 1), repeats=True)),
    (Kind.EVERY, r"fortnightly|every fortnight", always(("week", 2), repeats=True)),
    (Kind.EVERY, r"biweekly|bi-weekly", always(("week", 2), ("twice", "week"), repeats=True, question="bi")),
    (Kind.EVERY, r"monthly", always(("month", 1), repeats=True)),
    (Kind.EVERY, r"bimonthly|bi-monthly", always(("month", 2), ("twice", "month"), repeats=True, question="bi")),
    (Kind.EVERY, r"quarterly", always(("quarter", 1), repeats=True)),
    (Kind.EVERY, r"yearly|annually", always(("year", 1), repeats=True)),
    (Kind.EVERY, r"(?:at )?the top of (?:the|every|each) hour|every hour,? on the hour", always(("hour", 1), repeats=True)),
    (Kind.WEEKDAYS, rf"{ON}(?:weekdays|weekday)", always((WORKWEEK, 1), repeats=True)),
    (Kind.WEEKDAYS, rf"{ON}(?:weekends|weekend)", always(((5, 6), 1), repeats=True)),
    (Kind.WEEKDAYS, rf"(?:on )?(?P<day>{WD})", lambda m: told(((WEEKDAYS[m["day"]],), 1))),
    (Kind.WEEKDAYS, rf"(?:{EVERY}|on each|on every|on) (?P<day>{WD})s|(?P<days>{WD})s",
        lambda m: told(((WEEKDAYS[m["day"] or m["days"]],), 1), repeats=True)),
    (Kind.WEEKDAYS, rf"(?:{EVERY}|on each|on every) (?P<day>{WD})", lambda m: told(((WEEKDAYS[m["day"]],), 1), repeats=True)),
    (Kind.WEEKDAYS, rf"(?:from |{EVERY} |on )?(?P<a>{WD})s? ?(?:to|through|thru|until|till|-|–) ?(?P<b>{WD})s?", _weekday_range),
    (Kind.WEEKDAYS, rf"(?:on )?every (?:other|alternate) (?P<day>{WD})", lambda m: told(((WEEKDAYS[m["day"]],), 2), repeats=True)),
    (Kind.WEEKDAYS, rf"(?:on )?every (?P<nth>{ORD}) (?P<day>{WD})", _every_second),
    (Kind.WEEKDAYS, rf"(?:except|excluding|but not)(?: for)?(?: on)? (?:(?P<weekend>(?:the )?weekends?)|(?P<days>{WD}s?(?:(?:, ?| ?and | ?& ?|, ?and ){WD}s?)*))",
        _except),
    (Kind.NTH, rf"(?:on )?(?:(?:the|every|each) )?(?P<nths>{NTHS}) (?P<day>{WD})s?{OF}",
        _nth),
    (Kind.NTH, rf"(?:on )?the (?P<nths>{NTHS}) (?P<day>{WD})s?(?P<span>)(?P<month>)",
        lambda m: _nth(m)),
    (Kind.NTH, rf"(?:on )?(?:(?:every|each) )?(?P<nths>first|last|1st) (?P<day>{WD})s?(?P<span>)(?P<month>)", _nth),
    (Kind.NTH, rf"(?P<nths>(?:{ORD}|last) (?:and|&) (?:{ORD}|last)) (?P<day>{WD})s?(?P<span>)(?P<month>)", _nth),
    (Kind.MONTH_DAYS, rf"(?:on )?(?:the )?(?P<n>{ORD})(?: day)?", lambda m: told(((ordinal(m["n"]),), ()))),
    (Kind.MONTH_DAYS, rf"(?:on )?(?:the )?(?P<n>{ORD})(?: day)?(?: of (?:the|each|every) month)",
        lambda m: told(((ordinal(m["n"]),), ()), repeats=True)),
    (Kind.MONTH_DAYS, r"(?:on )?day (?P<n>\d{1,2})(?P<of> of (?:the|each|every) month)?",
        lambda m: told(((int(m["n"]),), ()), repeats=bool(m["of"]))),
    (Kind.MONTH_DAYS, rf"(?:on )?(?:the )?(?P<which>first|last) (?:calendar )?day{OF}", _edge),
    (Kind.MONTH_DAYS, rf"(?:on )?(?:the )?(?P<which>last) (?:calendar )?day{OF}?", _edge),
    (Kind.MONTH_DAYS, r"(?:at |on )?(?:the )?(?:end of (?:the|each|every) month|month[- ]end)", always(((-1,), ()), repeats=True)),
    (Kind.OPEN_DAY, rf"(?:on )?(?:the )?(?P<which>first|last) {CODES}(?P<what>trading) day{OF}?", _open_day),
    (Kind.OPEN_DAY, rf"(?:on )?(?:the )?(?P<which>first|last) {COUNTRY}(?P<what>working|business|work) ?day{OF}?", _open_day),
    (Kind.OPEN_DAY, rf"(?:on )?(?:the )?(?P<which>first|last) (?P<code>(?!))?(?P<what>week)day{OF}?", _open_day),
    (Kind.MONTHS, rf"(?:in |of |{EVERY} |in each |in every )?(?!may (?:run|be|start))(?P<month>{MONTH})", lambda m: told((MONTHS[m["month"]],), repeats=True)),
    (Kind.DATE, rf"(?:on )?{DATE}", lambda m: told(_date(m))),
    (Kind.DATE, rf"(?:{EVERY}|each year on|every year on|yearly on|annually on) {DATE}", lambda m: told(_date(m), repeats=True)),
    (Kind.DATE, r"(?:on )?(?P<one>\d{1,2})/(?P<two>\d{1,2})(?:/(?P<slash_year>\d{4}))?", _slashes),
    (Kind.RELATIVE, rf"(?:on )?(?P<day>{any_of(RELATIVE)})", lambda m: told(RELATIVE[m["day"]])),
    (Kind.RELATIVE, rf"(?:on )?(?P<which>this|next|this coming|the coming) (?P<day>{WD})", _relative),
    (Kind.RELATIVE, rf"in (?P<n>{N}) (?P<unit>days?|weeks?)(?: from now)?(?= at)",
        lambda m: told(number(m["n"]) * (7 if m["unit"].startswith("week") else 1))),
    (Kind.AFTER, rf"in (?:(?P<half>half an?) |(?P<n>{N}) )(?P<unit>(?:second|sec|minute|min|hour|hr|day|week)s?)(?: from now)?", _after),
    (Kind.AFTER, rf"(?:(?P<half>half an?) |(?P<n>{N}) )(?P<unit>(?:second|sec|minute|min|hour|hr|day|week)s?) from now", _after),
    (Kind.TIMES, rf"at (?P<time>{T})", _times),
    (Kind.TIMES, rf"(?P<time>\d{{1,2}}[:.]\d\d(?: ?{HALF}| {PART})?|\d{{1,2}} ?{HALF}|\d{{1,2}} {PART}|{HOUR} o'?clock(?: ?{HALF}| {PART})?"
        r"|(?:12 )?(?:noon|midday|midnight)|half past \w+)", _times),
    # Only right after another time: `reading.py` sees to that.
    (Kind.TIMES, rf"(?:, ?and|,|and|&) ?(?P<time>{HOUR})(?=$|[ ,])(?! (?:times|runs))", _times),
    (Kind.PERIOD, r"(?:in the )?(?P<part>morning|afternoon|evening)|at (?P<night>night)",
        lambda m: told(m["part"] or m["night"])),
    (Kind.RELATIVE, TONIGHT, always(0)),
    (Kind.PERIOD, rf"{EVERY} (?P<part>morning|afternoon|evening|night)", lambda m: told(m["part"], repeats=True)),
    (Kind.PERIOD, r"(?:in the )?(?P<part>morning|afternoon|evening)s|nightly", lambda m: told(m["part"] or "night", repeats=True)),
    (Kind.WINDOW, rf"(?:between|from) (?P<first>{T}) ?(?:and|to|until|till|through|-|–) ?(?P<open>before )?(?P<last>{T})", _window),
    (Kind.WINDOW, rf"(?P<first>{T}) ?(?:-|–|to|until|till) ?(?P<open>before )?(?P<last>{T})", _window),
    (Kind.MINUTE, r"at (?:minute )?:?(?P<n>\d{1,2}) (?:minutes )?past(?: (?:the|every|each) hour)?", lambda m: told(int(m["n"]))),
    (Kind.MINUTE, r"(?:at|on) minute (?P<n>\d{1,2})(?: of (?:the|every|each) hour)?", lambda m: told(int(m["n"]))),
    (Kind.MINUTE, r"at half past(?: (?:the|every|each) hour)?", always(30)),
    (Kind.MINUTE, r"at (?:a )?quarter past(?: (?:the|every|each) hour)?", always(15)),
    (Kind.MINUTE, r"on the hour", always(0)),
    (Kind.CALENDAR, rf"{ON}{CODES}(?:trading|market|exchange|stock market) days?", calendar_by("trading")),
    (Kind.CALENDAR, rf"{ON}{COUNTRY}(?:working days?|workdays?|business days?)", calendar_by("working")),
    (Kind.SESSION, rf"(?:during|in|within) (?:the )?{CODES}(?:trading|market|session) (?:hours|session|sessions)", calendar_by("trading")),
    (Kind.ZONE, rf"(?:in )?(?P<zone>{any_of(tuple(word for word in ZONE_OF if word.isascii()))})(?: (?:local )?time(?: ?zone)?)?",
        lambda m: told(*ZONE_OF[m["zone"]], question="which_zone")),
    (Kind.START, rf"(?:starting|beginning|effective|from|as of|since)(?: from| on)? (?:{DATE}|(?P<relative>{any_of(RELATIVE)}))(?: on(?:wards?)?)?",
        _bound),
    (Kind.END, rf"(?:until|till|through|ending|up to|to)(?: on)? (?:{DATE}|(?P<relative>{any_of(RELATIVE)}))", _bound),
    (Kind.COUNT, rf"(?:for|at most|max|a total of) (?P<n>{N}) (?:times|runs)(?: in total| at most)?", lambda m: told(number(m["n"]))),
    (Kind.COUNT, rf"(?P<n>{N}) (?:times|runs) (?:in total|at most)", lambda m: told(number(m["n"]))),
    (Kind.ONCE, r"(?P<only>just once|only once|one time only|a single time)|once", lambda m: told("only" if m["only"] else "once")),
    (Kind.AND, r"and|&|plus|/", always(None)),
    (Kind.FILLER, r"please|run|execute|trigger|fire|schedule|start|launch|it|this|task|job|the task|the job|sharp|exactly|automatically"
        r"|i want to|i want it to", always(None)),
]  # fmt: skip
