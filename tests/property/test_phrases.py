"""What a schedule is said to be is read back as that schedule, in both languages."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from core.cadence import CadenceError, parse_crontab
from core.phrases.meaning import Meaning, Unit, Unsayable, columns_of
from core.phrases.reading import read
from core.phrases.saying import chinese, english
from core.recurrence import parse_rrule

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
ZONE = "Asia/Shanghai"

minutes_of_day = st.integers(0, 24 * 60 - 1)
weekdays = st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
months = st.sets(st.integers(1, 12), max_size=6).map(lambda each: tuple(sorted(each)))
# One row has one set of minutes for all of its hours.
times = st.tuples(st.sets(st.integers(0, 23), min_size=1, max_size=4), st.integers(0, 59)).map(
    lambda found: tuple(sorted(60 * hour + found[1] for hour in found[0]))
)
month_days = st.sets(st.integers(1, 31) | st.just(-1), min_size=1, max_size=4).map(
    lambda days: tuple(sorted(days, key=lambda day: day if day > 0 else 99))
)
nths = st.sets(st.sampled_from([1, 2, 3, 4, 5, -1]), min_size=1, max_size=3).map(
    lambda found: tuple(sorted(found, key=lambda nth: nth if nth > 0 else 9))
)
calendars = st.none() | st.sampled_from(["XSHG", "XNYS", "CN", "US", "DE-BY"])
starts = st.dates(date(2026, 12, 1), date(2027, 6, 1))
bounds: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from(
            ["Asia/Tokyo", "America/New_York", "America/Argentina/Buenos_Aires", "UTC", "Etc/GMT-8"]
        ),
        "start": starts,
        "end": st.dates(date(2027, 7, 1), date(2030, 1, 1)),
        "max_runs": st.integers(2, 999),
    },
)
phased: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.builds(
    lambda step, start: {"step": step, "start": start}, st.integers(2, 12), starts
)
windows = st.none() | st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda w: w[0] != w[1]).map(
    lambda w: (60 * w[0], 60 * w[1])
)  # fmt: skip


@st.composite
def meanings(draw: st.DrawFn) -> Meaning:
    """Any schedule that has words."""
    bound = draw(bounds)
    kind = draw(st.sampled_from(["once", "often", "day", "week", "month", "nth", "open"]))
    if kind == "once":
        day = draw(st.dates(date(2026, 11, 20), date(2031, 1, 1)))
        return Meaning(unit=Unit.ONCE, day=day, times=(draw(minutes_of_day),), zone=bound.get("zone"))
    if kind == "often":
        unit = draw(st.sampled_from([Unit.SECOND, Unit.MINUTE, Unit.HOUR]))
        more: dict[str, Any] = {} if unit is Unit.SECOND else {"window": draw(windows), "open_end": False}
        if more.get("window") and draw(st.booleans()):
            more["open_end"] = True
        if unit is Unit.HOUR and more.get("window") is None:
            more["minute"] = draw(st.integers(0, 59))
        days: dict[str, Any] = {"weekdays": draw(weekdays)} if unit is not Unit.SECOND and draw(st.booleans()) else {}
        return Meaning(unit=unit, step=draw(st.integers(1, 90)), **more, **days, **bound)
    bound |= draw(phased)
    more = {"times": draw(times), **bound}
    if kind == "day":
        return Meaning(unit=Unit.DAY, calendar=draw(calendars), **more)
    if kind == "week":
        return Meaning(unit=Unit.WEEK, weekdays=draw(weekdays), calendar=draw(calendars), **more)
    if kind == "month":
        return Meaning(unit=Unit.MONTH, month_days=draw(month_days), months=draw(months), **more)
    if kind == "nth":
        return Meaning(
            unit=Unit.MONTH, nths=draw(nths), weekdays=(draw(st.integers(0, 6)),), months=draw(months), **more
        )
    return Meaning(
        unit=Unit.MONTH, open_day=draw(st.sampled_from([1, -1])), calendar=draw(calendars), months=draw(months), **more
    )


def has_moments(meaning: Meaning) -> bool:
    try:
        columns = columns_of(meaning)
        zone = meaning.zone or ZONE
        if "crontab" in columns:
            parse_crontab(columns["crontab"], zone)
        elif "rrule" in columns:
            parse_rrule(columns["rrule"], zone, NOW)
    except (Unsayable, CadenceError):
        return False
    return True


def columns_read(phrase: str) -> list[dict[str, object]]:
    return [found.columns for found in read(phrase, NOW, ZONE).readings]


@given(meanings())
def test_what_is_said_of_a_rule_in_english_reads_back_as_that_rule(meaning: Meaning) -> None:
    assume(has_moments(meaning))

    expected = columns_of(meaning)
    found = columns_read(english(meaning))

    assert expected in found, english(meaning)
    assert len(found) == 1 or meaning.window is not None or meaning.calendar is not None, english(meaning)


@given(meanings())
def test_what_is_said_of_a_rule_in_chinese_reads_back_as_that_rule(meaning: Meaning) -> None:
    assume(has_moments(meaning))

    expected = columns_of(meaning)
    found = columns_read(chinese(meaning))

    assert expected in found, chinese(meaning)
    assert len(found) == 1 or meaning.window is not None or meaning.calendar is not None, chinese(meaning)


WORDS = ["every", "每", "9", "点", "am", "monday", "周一", "at", "下午", "and", ",", "the", "1st", "30", "分钟", "半"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_answered_and_a_rule_it_makes_is_sound(text: str) -> None:
    answer = read(text, NOW, ZONE)

    assert answer.readings or answer.reason
    assert all(has_moments(found.meaning) for found in answer.readings)
    assert answer.status != "ambiguous" or answer.question


def test_a_moment_that_is_said_is_read_at_the_same_moment_in_any_zone() -> None:
    (found,) = read("in 90 minutes, Asia/Tokyo time", NOW, ZONE).readings

    assert found.columns["run_at"].replace(tzinfo=ZoneInfo("Asia/Tokyo")).astimezone(UTC) == datetime(
        2026, 11, 18, 5, 30, tzinfo=UTC
    )
