"""Chinese words for schedules: each row is a kind of piece, the pattern of its words, and what they mean.

The longest match at a place counts. Patterns are of simplified characters without blanks between them.
"""

import re
from typing import Final

from core.phrases.english import SECONDS_OF, calendar_by, months_of, named
from core.phrases.meaning import DAY_MINUTES
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
    chinese_number,
    clock,
    iso_date,
    times_by,
    told,
    window_by,
)

UNITS: Final = {
    **dict.fromkeys(("秒钟", "秒"), "second"),
    **dict.fromkeys(("分钟", "分"), "minute"),
    **dict.fromkeys(("小时", "钟头"), "hour"),
    **dict.fromkeys(("天", "日"), "day"),
    **dict.fromkeys(("周", "星期", "礼拜"), "week"),
    **dict.fromkeys(("月",), "month"),
    **dict.fromkeys(("季度", "季"), "quarter"),
    **dict.fromkeys(("年",), "year"),
}
WEEKDAYS: Final = {**{sign: day for day, sign in enumerate("一二三四五六日")}, "天": 6} | {
    str(day + 1): day for day in range(7)
}
PARTS: Final = {
    **dict.fromkeys(("凌晨",), "early"),
    **dict.fromkeys(("清晨", "早晨", "早上", "上午", "早"), "morning"),
    **dict.fromkeys(("中午",), "noon"),
    **dict.fromkeys(("下午", "午后"), "afternoon"),
    **dict.fromkeys(("傍晚", "晚上", "晚间", "晚"), "evening"),
    **dict.fromkeys(("夜里", "夜间", "深夜", "半夜", "夜晚"), "night"),
}
RELATIVE: Final = {"今天": 0, "今日": 0, "明天": 1, "明日": 1, "后天": 2, "大后天": 3}

N: Final = r"(?:\d{1,5}|[零〇一二两三四五六七八九十廿卅]{1,3})"
WEEK: Final = r"(?:周|星期|礼拜)"
# 周一三点 is Monday at three, 周一三五 three days: a sign before 点 belongs to the time.
DAYS: Final = (
    r"[一二三四五六日天](?:[、和,/]?[一二三四五六日天](?![点时号月十]|个))*(?![点时号月十])|[1-7](?![\d点时号:.])"
)
DAY: Final = r"(?:[一二三四五六日天](?![点时])|[1-7](?![\d点时:]))"
PART: Final = rf"(?:{any_of(PARTS)})"
T: Final = (
    rf"(?:{PART}?(?:\d{{1,2}}:\d\d|(?:\d{{1,2}}|[零〇一二两三四五六七八九十廿]{{1,3}})(?:点|时)(?:钟|整|半|[一1]刻|三刻|3刻|(?:零|过)?{N}分?)?)"
    r"|(?:正午|午夜)(?:(?:12|十二)点)?|中午|零点整?)"
)
ONE_TIME: Final = re.compile(
    rf"(?P<part>{PART})?(?P<hour>\d{{1,2}}|[零〇一二两三四五六七八九十廿]{{1,3}})"
    rf"(?::(?P<clock>\d\d)|(?:点|时)(?:钟|整|(?P<half>半)|(?P<quarter>[一1三3])刻|(?:零|过)?(?P<minute>{N})分?)?)"
)
EVERY: Final = r"(?:每个?|每逢|逢)"
TIMES_ONE: Final = r"(?:(?:执行|运行|跑|触发)?[一1]次)?"
DATE: Final = rf"(?:{ISO}|(?:(?P<y1>\d{{4}})年)?(?P<m1>{N})月(?P<d1>{N})(?:日|号))"
SPAN: Final = {"月": "month", "季度": "quarter", "季": "quarter", "年": "year"}
OF: Final = (
    r"(?:每个?(?P<span>月|季度|季|年)的?|(?:每年)?(?P<month>(?:1[0-2]|[1-9]|十[一二]?|[一二三四五六七八九]))月份?的?)?"
)
MONTH: Final = r"(?:1[0-2]|[1-9]|十[一二]?|[一二三四五六七八九])"


def time_of(text: str) -> tuple[int, ...]:
    """Read T: what a time of day may mean."""
    if text == "中午" or text.startswith("正午"):
        return (720,)
    if text.startswith("午夜"):
        return (0, DAY_MINUTES)
    if text.startswith("零点") and text in ("零点", "零点整"):
        return (0,)
    found = ONE_TIME.fullmatch(text)
    if found is None:
        return ()
    hour = chinese_number(found["hour"])
    minute = 30 if found["half"] else 15 if found["quarter"] in ("一", "1") else 45 if found["quarter"] else 0
    if found["clock"] or found["minute"]:
        said = chinese_number(found["clock"] or found["minute"])
        if said is None:
            return ()
        minute = said
    if hour is None:
        return ()
    half = PARTS[found["part"]] if found["part"] else ""
    by_24 = not half and (found["clock"] is not None or (found["hour"].startswith("0") and len(found["hour"]) == 2))
    return clock(hour, minute, half=half, by_24=by_24)


_times, _window = times_by(time_of), window_by(time_of)


def _every(found: "re.Match[str]") -> Told | None:
    unit = UNITS[found["unit"]]
    step = 1 if found["n"] is None else chinese_number(found["n"])
    if step is None or step < 1:
        return None
    if found["apart"] and unit not in ("second", "minute", "hour"):
        # 每隔一天 leaves one day out. With more, some count the days left out and others the step.
        return told((unit, 2), repeats=True) if step == 1 else told(
            (unit, step), (unit, step + 1), repeats=True, question="apart"
        )  # fmt: skip
    return told((unit, step), repeats=True)


def _hours_and_minutes(found: "re.Match[str]") -> Told | None:
    """每2小时30分 is every 150 minutes; 每小时30分, without a number, is the minute of each hour."""
    hours, minutes = chinese_number(found["n"]), chinese_number(found["more"])
    return None if hours is None or minutes is None else told(("minute", 60 * hours + minutes), repeats=True)


def _some_times_one(found: "re.Match[str]") -> Told | None:
    count = chinese_number(found["n"])
    return told((UNITS[found["unit"]], count), repeats=True) if count else None


def _except(found: "re.Match[str]") -> Told:
    left_out = {5, 6} if not found["days"] else {WEEKDAYS[sign] for sign in found["days"] if sign in WEEKDAYS}
    return told((tuple(day for day in range(7) if day not in left_out), 1), repeats=True)


def _weekdays(found: "re.Match[str]") -> Told:
    days = sorted({WEEKDAYS[sign] for sign in found["days"] if sign in WEEKDAYS})
    return told((tuple(days), 1), repeats=bool(found["every"]) or len(days) > 1)


def _weekday_range(found: "re.Match[str]") -> Told:
    first, last = WEEKDAYS[found["a"]], WEEKDAYS[found["b"]]
    return told((tuple(sorted((first + n) % 7 for n in range((last - first) % 7 + 1))), 1), repeats=True)


def _span(found: "re.Match[str]") -> tuple[str | None, int | None]:
    month = chinese_number(found["month"]) if found["month"] else None
    return (SPAN[found["span"]] if found["span"] else None), month


def _months(found: "re.Match[str]", which: int) -> tuple[int, ...]:
    span, month = _span(found)
    return (month,) if month else months_of(span, None, which)


def _nth(found: "re.Match[str]") -> Told | None:
    signs = re.findall(r"最后[一1]?|[一二三四五1-5]", found["nths"])
    nths = tuple(-1 if sign.startswith("最后") else WEEKDAYS[sign] + 1 for sign in signs)
    months = _months(found, nths[0])
    if len(nths) > 1 and months:
        return None
    return told((nths, (WEEKDAYS[found["day"]],), months), repeats=True)


def _month_day(found: "re.Match[str]") -> Told | None:
    days = [chinese_number(each) for each in re.split("[、,和]", found["n"])]
    known = tuple(day for day in days if day is not None)
    return told((known, ()), repeats=bool(found["every"])) if len(known) == len(days) else None


def _day_of_month(found: "re.Match[str]") -> Told | None:
    day = chinese_number(found["n"])
    return None if day is None else told(("month", int(found["which"].startswith("下")), day))


def _days_after(found: "re.Match[str]") -> Told | None:
    count = chinese_number(found["n"])
    return None if count is None else told(count * (1 if found["unit"] in "天日" else 7))


def _edge(found: "re.Match[str]") -> Told:
    which = 1 if found["which"].startswith("第") else -1
    return told(((which,), _months(found, which)), repeats=True)


def _open_day(kind: str) -> Reader:
    def read(found: "re.Match[str]") -> Told:
        which = 1 if found["which"].startswith("第") else -1
        return told((which, named(found["code"] or None, kind), _months(found, which)), repeats=True)

    return read


def _month(found: "re.Match[str]") -> Told | None:
    month = chinese_number(found["n"])
    return told((month,), repeats=True) if month else None


def _date(found: "re.Match[str]") -> tuple[int | None, int, int] | None:
    if found["month"]:
        return iso_date(found)
    month, day = chinese_number(found["m1"]), chinese_number(found["d1"])
    if month is None or day is None:
        return None
    return (int(found["y1"]) if found["y1"] else None), month, day


def _on_date(found: "re.Match[str]") -> Told | None:
    date = _date(found)
    return None if date is None else told(date, repeats=bool(found["every"]))


def _bound(found: "re.Match[str]") -> Told | None:
    if found["relative"]:
        return told(("relative", RELATIVE[found["relative"]]))
    date = _date(found)
    return None if date is None else told(date)


def _after(found: "re.Match[str]") -> Told | None:
    size = SECONDS_OF[UNITS[found["unit"]]]
    if found["half"] == "半":
        return told(size // 2)
    count = chinese_number(found["n"])
    return None if count is None else told(count * size + (size // 2 if found["more"] else 0))


def _count(found: "re.Match[str]") -> Told | None:
    count = chinese_number(found["n"])
    return None if count is None else told(count)


def _minute(found: "re.Match[str]") -> Told | None:
    minute = chinese_number(found["n"])
    return None if minute is None else told(minute)


CODES: Final = rf"(?:(?P<code>{any_of(tuple(word for word in EXCHANGE_OF if not word.isascii() or word == 'a股'))}|x[a-z]{{3}})的?)?"
COUNTRY: Final = r"(?P<code>[a-z]{2}(?:-[a-z]{2,3})?)?"
UNIT: Final = rf"(?P<unit>{any_of(UNITS)})"

ROWS: Final[list[Row]] = [
    (Kind.EVERY, rf"每(?P<apart>间?隔)?(?P<n>{N})?个?(?P<unit>秒钟|秒|分钟|小时|钟头|天|日|周|星期|礼拜|季度|季|年){TIMES_ONE}", _every),
    (Kind.EVERY, rf"间隔(?P<apart>(?!))?(?P<n>{N})个?(?P<unit>秒钟|秒|分钟|小时|钟头){TIMES_ONE}", _every),
    (Kind.EVERY, rf"每(?P<apart>间?隔)?(?P<n>{N})?个(?P<unit>月){TIMES_ONE}|每月{TIMES_ONE}",
        lambda m: _every(m) if m["unit"] else told(("month", 1), repeats=True)),
    (Kind.EVERY, rf"每(?:间?隔)?(?P<n>{N})个?(?:小时|钟头)(?:零|又)?(?P<more>{N})分钟?{TIMES_ONE}", _hours_and_minutes),
    (Kind.EVERY, rf"(?P<n>{N})个?(?P<unit>秒钟|秒|分钟|小时|钟头|天|周|星期|礼拜)(?:执行|运行|跑|触发)?[一1]次", _some_times_one),
    (Kind.EVERY, rf"每隔?半个?(?:小时|钟头){TIMES_ONE}", always(("minute", 30), repeats=True)),
    (Kind.EVERY, rf"每隔?[一1]个半(?:小时|钟头){TIMES_ONE}", always(("minute", 90), repeats=True)),
    (Kind.EVERY, rf"每隔?[一1]?刻钟{TIMES_ONE}", always(("minute", 15), repeats=True)),
    (Kind.EVERY, r"隔[天日]|隔[一1]天", always(("day", 2), repeats=True)),
    (Kind.EVERY, rf"隔{WEEK}|每?双周", always(("week", 2), repeats=True)),
    (Kind.EVERY, r"隔月", always(("month", 2), repeats=True)),
    (Kind.EVERY, r"每逢?整点|每个整点|每小时的?整点", always(("hour", 1), repeats=True)),
    (Kind.EVERY, r"天天", always(("day", 1), repeats=True)),
    (Kind.WEEKDAYS, rf"(?P<every>{EVERY}?){WEEK}(?P<days>{DAYS})", _weekdays),
    (Kind.WEEKDAYS, rf"(?:{EVERY}|从)?{WEEK}(?P<a>{DAY})(?:到|至|-|~|—){WEEK}?(?P<b>{DAY})", _weekday_range),
    (Kind.WEEKDAYS, rf"{EVERY}?(?:周末|双休日)", always(((5, 6), 1), repeats=True)),
    (Kind.WEEKDAYS, rf"除了?(?:每个?)?(?:周末|双休日|(?P<days>{WEEK}(?:{DAYS})(?:[、和,]?{WEEK}(?:{DAYS}))*))(?:以|之)?外", _except),
    (Kind.WEEKDAYS, rf"(?:周末|双休日|(?P<days>{WEEK}(?:{DAYS})(?:[、和,]?{WEEK}(?:{DAYS}))*))除外", _except),
    (Kind.NTH, rf"{OF}(?P<nths>(?:第[一二三四五1-5]|最后[一1]?)个?(?:[、和](?:第[一二三四五1-5]|最后[一1]?)个?)*){WEEK}(?P<day>{DAY})", _nth),
    (Kind.MONTH_DAYS, rf"(?P<every>每个?月的?)?(?P<n>{N}(?:(?:[、,和]){N})*)(?:号|日)", _month_day),
    (Kind.MONTH_DAYS, rf"{OF}(?P<which>第[一1]天|最后[一1]?天)", _edge),
    (Kind.MONTH_DAYS, r"(?:每个?月的?)?(?:月底|月末)|每个?月(?:底|末)", always(((-1,), ()), repeats=True)),
    (Kind.OPEN_DAY, rf"{OF}(?P<which>第[一1]个?|最后[一1]?个?){CODES}交易日", _open_day("trading")),
    (Kind.OPEN_DAY, rf"{OF}(?P<which>第[一1]个?|最后[一1]?个?){COUNTRY}工作日", _open_day("working")),
    (Kind.OPEN_DAY, rf"{OF}(?P<which>第[一1]个?|最后[一1]?个?)周一至周五的日子(?P<code>)", _open_day("week")),
    (Kind.MONTHS, rf"(?:每年)?的?(?P<n>{MONTH})月份?", _month),
    (Kind.DATE, rf"(?P<every>每年的?)?{DATE}", _on_date),
    (Kind.RELATIVE, rf"(?P<day>{any_of(RELATIVE)})", lambda m: told(RELATIVE[m["day"]])),
    (Kind.RELATIVE, rf"(?P<which>下个?|本|这个?){WEEK}(?P<day>{DAY})",
        lambda m: told(("week", int(m["which"].startswith("下")), WEEKDAYS[m["day"]]))),
    (Kind.RELATIVE, rf"(?P<which>下个?|本|这个?)月(?P<n>{N})(?:号|日)", _day_of_month),
    (Kind.RELATIVE, rf"(?P<n>{N})个?(?P<unit>天|日|周|星期|礼拜)(?:之|以)?后的?(?={T})", _days_after),
    (Kind.AFTER, rf"(?:(?P<half>半)|(?P<n>{N}))个?(?P<more>半)?(?P<unit>秒钟|秒|分钟|小时|钟头|天|周|星期)(?:之|以)?后", _after),
    (Kind.TIMES, rf"(?P<time>{T})", _times),
    (Kind.RELATIVE, r"(?P<day>[今明])(?=早|晚)", lambda m: told("今明".index(m["day"]))),
    (Kind.PERIOD, rf"(?P<every>每个?)?(?P<part>{PART})", lambda m: told(PARTS[m["part"]], repeats=bool(m["every"]))),
    (Kind.WINDOW, rf"(?:从|在)?(?P<first>{T})(?:到|至|-|~|—)(?:次日|第二天)?(?P<last>{T})(?:(?P<open>之前|以前|前)|之间|期间|间|内|为止|止)?", _window),
    (Kind.MINUTE, rf"第?(?P<n>{N})分钟?", _minute),
    (Kind.CALENDAR, rf"{EVERY}?{CODES}交易日", calendar_by("trading")),
    (Kind.CALENDAR, rf"{EVERY}?{COUNTRY}工作[日天]", calendar_by("working")),
    (Kind.SESSION, rf"(?:在)?{CODES}(?:盘中|交易时间(?:段|内)?|交易时段内?|开盘期间)", calendar_by("trading")),
    (Kind.ZONE, rf"(?P<zone>{any_of(tuple(word for word in ZONE_OF if not word.isascii()))})(?:当地)?(?:时间|时区)?|(?P<en>utc|gmt)(?:时间)",
        lambda m: told(*ZONE_OF[m["zone"] or m["en"]], question="which_zone")),
    (Kind.START, rf"[从自](?P<relative>(?!))?{DATE}(?=[到至])", _bound),
    (Kind.START, rf"(?:从|自)?(?:{DATE}|(?P<relative>{any_of(RELATIVE)}))(?:起|开始)", _bound),
    (Kind.END, rf"(?:直?到|至|截至|截止到?)(?:{DATE}|(?P<relative>{any_of(RELATIVE)}))(?:为止|止|结束)?", _bound),
    (Kind.ONCE, r"(?P<only>只|仅|单)?(?:执行|运行|跑|触发)?[一1]次", lambda m: told("only" if m["only"] else "once")),
    (Kind.COUNT, rf"(?:执行|运行|跑|触发)?满(?P<n>{N})次(?:为止|后结束|后停止)?", _count),
    (Kind.COUNT, rf"(?:共|一共|总共|最多|只|仅)(?:执行|运行|跑|触发)?(?P<n>{N})次", _count),
    (Kind.AND, r"和|及|以及|与|、|还有", always(None)),
    (Kind.FILLER, r"的|在|于|请|帮我|我要|我想|执行|运行|跑|触发|启动|定时|自动|准时|任务|这个任务|都", always(None)),
]  # fmt: skip
