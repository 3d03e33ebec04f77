"""A meaning in words, English and Chinese, and every sentence about a phrase that could not be read at once.

What is said here `reading.py` reads back as the same meaning.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

from core.phrases.meaning import WORKWEEK, Meaning, Unit

EN_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EN_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
EN_NTHS: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}
ZH_DAYS: Final = "一二三四五六日"
ZH_NTHS: Final = {1: "第一个", 2: "第二个", 3: "第三个", 4: "第四个", 5: "第五个", -1: "最后一个"}
EN_UNITS: Final = {unit: unit.value for unit in Unit}
ZH_UNITS: Final = {
    Unit.SECOND: "秒", Unit.MINUTE: "分钟", Unit.HOUR: "小时", Unit.DAY: "天", Unit.WEEK: "周", Unit.MONTH: "月",
    Unit.YEAR: "年",
}  # fmt: skip

#: Key -> (English, Chinese): questions, notes, and reasons why a phrase makes no rule.
SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "which_half": ("In the morning or in the evening?", "上午还是晚上？"),
    "once_or_again": ("Once, or every time?", "只运行一次，还是每次都运行？"),
    "which_second": ("Every other week, or once a month?", "每隔一周，还是每月一次？"),
    "bi": ("Twice in that time, or every other?", "是一段时间两次，还是隔一次？"),
    "apart": ("How many days, weeks or months from one run to the next?", "两次之间相差多少？"),
    "date_order": ("Which is the month, and which the day?", "哪个是月，哪个是日？"),
    "which_week": ("The coming one, or that of next week?", "最近的一个，还是下一周的？"),
    "which_day": ("On which day?", "在哪一天？"),
    "which_month": ("In which month of the quarter?", "季度的第几个月？"),
    "which_zone": ("Which time zone is meant?", "指哪个时区？"),
    "which_calendar": ("Whose calendar?", "按哪个日历？"),
    "window_end": ("Does it run at the end of the time, too?", "结束的那一刻还运行吗？"),
    "which": ("Which is meant?", "指哪一种？"),
    "midnight": ("No time of day is said: it runs at 00:00.", "没有说时间：按 00:00 运行。"),
    "open_end": ("The end of the time itself is left out.", "不含结束的那一刻。"),
    "words": (
        "These words are not understood; leave them out or say them in another way.",
        "这些词没有看懂；请去掉或换一种说法。",
    ),
    "two_rules": (
        "This is a second rule; make a task for each.",
        "这里有第二条规则；请为每条规则建一个任务。",
    ),
    "nothing": ("Nothing is said about when.", "没有说什么时候。"),
    "too_long": ("The phrase is too long; use at most 300 characters.", "太长了；最多 300 个字符。"),
    "too_many_readings": ("It can be read in too many ways; say it more exactly.", "理解方式太多；请说得更准确。"),
    "combination": ("These words contradict each other, or do not go together.", "这些词互相矛盾，或不能放在一起。"),
    "how_often": ("How often is not said.", "没有说多久一次。"),
    "time_missing": ("The time of day is missing, such as 9:30.", "没有说几点，例如 9:30。"),
    "time_of_day": ("That part of the day has no such time.", "一天的那一段里没有这个时间。"),
    "day_missing": ("The day is missing, such as on the 1st.", "没有说哪一天，例如 1号。"),
    "month_missing": ("The month is missing.", "没有说哪个月。"),
    "past": ("That is past.", "这个时间已经过去。"),
    "no_such_date": ("There is no such date.", "没有这样的日期。"),
    "no_such_calendar": ("No calendar has that name; XSHG and CN are two.", "没有这个日历；例如 XSHG、CN。"),
    "end_of_day": (
        "Is 24:00 the end of that day? Say 00:00 of the day after.",
        "24:00 是那天结束时吗？请说后一天的 00:00。",
    ),
    "uneven": (
        "Such steps do not come out even with the clock; take a divisor of 60 minutes or 24 hours, or no days.",
        "这样的间隔与钟点对不齐；请用能整除 60 分钟或 24 小时的间隔，或不限定日期。",
    ),
    "uneven_times": (
        "One row cannot have times with different minutes; make a task for each.",
        "一行不能有分钟不同的几个时间；请分成几个任务。",
    ),
    "uneven_window": ("Begin and end on full hours.", "请从整点开始，到整点结束。"),
    "over_midnight": (
        "A time over midnight belongs to two days; leave out the days, or make a task for each part.",
        "跨过午夜的时间属于两天；请不限定日期，或分成两个任务。",
    ),
}


#: Column -> how it is said after the rule, English and Chinese.
BOUNDS: Final = {
    "zone": ("{} time", "{} 时间"),
    "start": ("starting {}", "从 {} 起"),
    "end": ("until {}", "到 {} 为止"),
    "max_runs": ("{} times in total", "满 {} 次为止"),
}


def english(meaning: Meaning) -> str:
    """Say a meaning in English."""
    return ", ".join([_english_rule(meaning), *_bounds(meaning, 0)])


def chinese(meaning: Meaning) -> str:
    """Say a meaning in Chinese."""
    return "，".join([_chinese_rule(meaning), *_bounds(meaning, 1)])


def _bounds(meaning: Meaning, language: int) -> list[str]:
    said = ((getattr(meaning, name), words[language]) for name, words in BOUNDS.items())
    return [text.format(value) for value, text in said if value is not None]


def _english_rule(meaning: Meaning) -> str:
    if meaning.unit is Unit.ONCE:
        return f"once on {_day(meaning)} at {_once_at(meaning)}"
    words = [f"every {meaning.step} {meaning.unit}s" if meaning.step > 1 else f"every {meaning.unit}"]
    if meaning.unit is Unit.HOUR and meaning.minute:
        words.append(f"at minute {meaning.minute}")
    if meaning.unit is Unit.WEEK and meaning.step == 1:
        words = [_english_days(meaning.weekdays, "every")]
    elif meaning.weekdays and not meaning.nths:
        words.append(_english_days(meaning.weekdays, "on"))
    words += _english_dates(meaning)
    if meaning.window is not None:
        first, last = (_clock(minute) for minute in meaning.window)
        words.append(f"from {first} to {'before ' if meaning.open_end else ''}{last}")
    if meaning.times:
        words.append("at " + _and([_clock(minute) for minute in meaning.times]))
    return " ".join(words)


def _english_dates(meaning: Meaning) -> list[str]:
    words = []
    if meaning.months:
        words.append("in " + _and([EN_MONTHS[month - 1] for month in meaning.months]))
    if meaning.nths:
        nths = _and([EN_NTHS[nth] for nth in meaning.nths])
        words.append(f"on the {nths} {EN_DAYS[meaning.weekdays[0]]}")
    if meaning.month_days:
        words.append("on " + _and([_english_day(day) for day in meaning.month_days]))
    if meaning.open_day:
        words.append(f"on the {EN_NTHS[meaning.open_day]} {_english_open(meaning.calendar)}")
    elif meaning.calendar is not None:
        words.append(_english_calendar(meaning.calendar))
    return words


def _chinese_rule(meaning: Meaning) -> str:
    if meaning.unit is Unit.ONCE:
        return f"{_day(meaning)} {_once_at(meaning)} 运行一次"
    many = "个" if meaning.unit in (Unit.HOUR, Unit.MONTH) else ""
    words = [f"每 {meaning.step} {many}{ZH_UNITS[meaning.unit]}" if meaning.step > 1 else f"每{ZH_UNITS[meaning.unit]}"]
    if meaning.unit is Unit.HOUR and meaning.minute:
        words.append(f"第 {meaning.minute} 分")
    if meaning.unit is Unit.WEEK and meaning.step == 1:
        words = [f"每周{''.join(ZH_DAYS[day] for day in meaning.weekdays)}"]
    elif meaning.weekdays and not meaning.nths:
        words.append("、".join(f"周{ZH_DAYS[day]}" for day in meaning.weekdays))
    words += _chinese_dates(meaning)
    if meaning.window is not None:
        first, last = (_clock(minute) for minute in meaning.window)
        words.append(f"从{first}到{last}{'之前' if meaning.open_end else ''}")
    if meaning.times:
        words.append("、".join(_clock(minute) for minute in meaning.times))
    return " ".join(words)


def _chinese_dates(meaning: Meaning) -> list[str]:
    words = []
    if meaning.months:
        words.append("、".join(f"{month}月" for month in meaning.months) + "，")
    if meaning.nths:
        words.append("、".join(ZH_NTHS[nth] for nth in meaning.nths) + f"周{ZH_DAYS[meaning.weekdays[0]]}")
    if meaning.month_days:
        words.append("、".join("最后一天" if day < 0 else f"{day}号" for day in meaning.month_days))
    if meaning.open_day:
        words.append(f"{ZH_NTHS[meaning.open_day]}{_chinese_open(meaning.calendar)}")
    elif meaning.calendar is not None:
        words.append(_chinese_calendar(meaning.calendar))
    return words


def _day(meaning: Meaning) -> date:
    found = meaning.moment.date() if meaning.moment is not None else meaning.day
    assert found is not None  # noqa: S101 - a single run has one or the other
    return found


def _once_at(meaning: Meaning) -> str:
    if meaning.moment is None:
        return _clock(meaning.times[0])
    return f"{meaning.moment:%H:%M}" if not meaning.moment.second else f"{meaning.moment:%H:%M:%S}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _english_days(days: tuple[int, ...], before: str) -> str:
    return f"{before} weekday" if days == WORKWEEK else f"{before} {_and([EN_DAYS[day] for day in days])}"


def _english_day(day: int) -> str:
    if day < 0:
        return "the last day"
    ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"the {day}{ending}"


def is_exchange(calendar: str) -> bool:
    """Tell whether a calendar is an exchange's, whose days are trading days: its code is four letters."""
    return len(calendar.partition(":")[0]) == 4


def _english_calendar(calendar: str) -> str:
    code, _, suffix = calendar.partition(":")
    if suffix:
        return f"during {code} trading hours"
    return f"on {code} {'trading' if is_exchange(code) else 'working'} days"


def _english_open(calendar: str | None) -> str:
    if calendar is None:
        return "weekday"
    return f"{calendar} {'trading' if is_exchange(calendar) else 'working'} day"


def _chinese_calendar(calendar: str) -> str:
    code, _, suffix = calendar.partition(":")
    if suffix:
        return f"{code}交易时段内"
    return f"{code}{'交易日' if is_exchange(code) else '工作日'}"


def _chinese_open(calendar: str | None) -> str:
    if calendar is None:
        return "周一至周五的日子"
    return f"{calendar}{'交易日' if is_exchange(calendar) else '工作日'}"
