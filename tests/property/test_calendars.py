"""What holds for every rule, calendar and zone. The oracle lists days and wall-clock times one by one."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.cadence import Cadence, Interval, parse_crontab
from core.clock_change import DstPolicy, moment_at
from core.on_calendar import OnCalendar, Roll

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
ZONES = (
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "America/Santiago",  # at midnight
    "Asia/Beirut",  # at midnight
    "America/Havana",  # 01:00 becomes 00:00
    "Pacific/Chatham",
    "Antarctica/Troll",  # two hours
)
# Clock changes of 2026 lie within a day or two of most of these.
AROUND = (
    *(date(2026, month, day) for month, day in ((3, 8), (3, 29), (4, 5), (9, 6), (9, 27), (10, 4), (10, 25), (11, 1))),
    date(2026, 2, 17),
    date(2027, 1, 1),
)


@dataclass(frozen=True)
class Drawn:
    """A calendar open on weekdays but for drawn days, with drawn hours in a zone of its own."""

    flipped: frozenset[date]
    hours: tuple[tuple[int, int], ...]
    zone: str
    name: str = "DRAWN"
    known_until: date = date(2030, 1, 1)

    def is_open(self, day: date) -> bool:
        return (day.weekday() < 5) != (day in self.flipped)

    def sessions(self, day: date) -> tuple[tuple[datetime, datetime], ...]:
        if not self.is_open(day):
            return ()
        midnight, zone = datetime.combine(day, time.min), ZoneInfo(self.zone)
        minutes = ((timedelta(minutes=a), timedelta(minutes=b)) for a, b in self.hours)
        return tuple((moment_at(midnight + a, zone), moment_at(midnight + b, zone)) for a, b in minutes)


@st.composite
def calendars(draw: st.DrawFn) -> Drawn:
    centre = draw(st.sampled_from(AROUND))
    flipped = draw(st.frozensets(st.integers(-9, 9).map(lambda n: centre + n * DAY), max_size=12))
    first = draw(st.integers(-400, 1000))  # sessions of two days never overlap, though one may begin the day before
    edges = [first + minutes for minutes in sorted(draw(st.sets(st.integers(0, 1439), min_size=2, max_size=6)))]
    hours = tuple(zip(edges[::2], edges[1::2], strict=False))
    return Drawn(flipped, hours, draw(st.sampled_from(ZONES)))


fields = st.tuples(
    st.sampled_from(("0", "30", "59", "0,20", "*/20", "15-45/15")),
    st.sampled_from(("*", "0", "1", "2", "9", "23", "*/3", "1-2", "0,12", "9-17")),
    st.sampled_from(("*", "*", "1", "8,29", "*/2", "L")),
    st.just("*"),
    st.sampled_from(("*", "*", "0", "6", "SAT,SUN", "1-5", "MON#2")),
)
rules = st.one_of(
    fields.map(" ".join),
    st.tuples(st.integers(20 * 60, 60 * 3600), st.integers(0, 10**9)),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[OnCalendar, datetime]:
    calendar, rule, zone = draw(calendars()), draw(rules), draw(st.sampled_from(ZONES))
    inner: Cadence = (
        parse_crontab(rule, zone, draw(st.sampled_from(DstPolicy)))
        if isinstance(rule, str)
        else Interval(
            datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=rule[1]), timedelta(seconds=rule[0]), True
        )
    )
    roll, session_only = draw(st.sampled_from(Roll)), draw(st.booleans())
    since = datetime.combine(draw(st.sampled_from(AROUND)), time.min, UTC)
    moment = since + timedelta(minutes=draw(st.integers(-3 * 1440, 3 * 1440)), microseconds=draw(st.integers(-1, 1)))
    return OnCalendar(inner, calendar, roll, zone, session_only), moment


def walk(cadence: Cadence, since: datetime, until: datetime) -> Iterator[datetime]:
    moment = cadence.after(since - TICK)
    while moment is not None and moment <= until:
        yield moment
        moment = cadence.after(moment)


def day_it_runs(rule: OnCalendar, day: date) -> date | None:
    """Walk from day to day until one is open."""
    if rule.calendar.is_open(day):
        return day
    if rule.roll is Roll.SKIP:
        return None
    while not rule.calendar.is_open(day):
        day += DAY if rule.roll is Roll.NEXT else -DAY
    return day


def expected(rule: OnCalendar, since: datetime, until: datetime) -> list[datetime]:
    """Move every moment of the inner rule by itself, and keep what lies in a session of any day."""
    zone, found = ZoneInfo(rule.zone), set()
    for moment in walk(rule.inner, since - 40 * DAY, until + 40 * DAY):
        local = moment.astimezone(zone)
        if rule.session_only and rule.roll is Roll.SKIP:
            found.add(moment)
            continue
        day = day_it_runs(rule, local.date())
        if day == local.date():
            found.add(moment)
        elif day is not None:
            found.add(moment_at(datetime.combine(day, local.time()), zone))
    if rule.session_only:
        days = (since.date() + n * DAY for n in range(-3, (until - since).days + 4))
        sessions = [session for day in days for session in rule.calendar.sessions(day)]
        found = {moment for moment in found if any(start <= moment <= end for start, end in sessions)}
    return sorted(moment for moment in found if since <= moment <= until)


@given(cases())
@settings(deadline=None)
@example(
    # A closed Sunday with an hour that comes twice, rolled to an ordinary Monday.
    (
        OnCalendar(
            Interval(datetime(2026, 11, 1, 4, 31, tzinfo=UTC), timedelta(minutes=59), True),
            Drawn(frozenset(), ((0, 1),), "America/New_York"),
            Roll.NEXT,
            "America/New_York",
        ),
        datetime(2026, 11, 2, 5, 0, tzinfo=UTC),
    )
)
def test_the_moments_are_those_of_the_inner_rule_moved_one_by_one(case: tuple[OnCalendar, datetime]) -> None:
    rule, moment = case
    since, until = moment - 6 * DAY, moment + 6 * DAY

    assert list(walk(rule, since, until)) == expected(rule, since, until)


@given(cases())
@settings(deadline=None)
def test_after_and_latest_agree(case: tuple[OnCalendar, datetime]) -> None:
    rule, moment = case
    listed = expected(rule, moment - 20 * DAY, moment + 20 * DAY)
    after, latest = rule.after(moment), rule.latest(moment)

    here = bisect_right(listed, moment)
    if here < len(listed):
        assert after == listed[here]
    if here:
        assert latest == listed[here - 1]
    for found in filter(None, (after, latest)):
        assert rule.latest(found) == found
        assert rule.after(found - TICK) == found
        before = rule.latest(found - TICK)
        assert before is None or rule.after(before) == found


@given(cases())
@settings(deadline=None)
def test_after_is_later_and_every_moment_runs_on_an_open_day(case: tuple[OnCalendar, datetime]) -> None:
    rule, moment = case
    zone, previous = ZoneInfo(rule.zone), moment

    for found in walk(rule, moment, moment + 5 * DAY):
        assert found > previous or found == moment
        assert found.tzinfo is UTC
        if not rule.session_only or rule.roll is not Roll.SKIP:
            assert rule.calendar.is_open(found.astimezone(zone).date())
        previous = found


@given(cases(), st.integers(0, 10**12))
@settings(deadline=None)
def test_between_two_moments_the_answers_do_not_change(case: tuple[OnCalendar, datetime], part: int) -> None:
    rule, moment = case
    first = rule.after(moment)
    second = rule.after(first) if first else None
    assume(first is not None and second is not None)
    assert first is not None
    assert second is not None

    between = first + (second - first) * (part / 10**12)
    assume(first <= between < second)

    assert rule.after(between) == second
    assert rule.latest(between) == first


@given(cases())
@settings(deadline=None)
def test_no_moment_of_an_open_day_is_missing(case: tuple[OnCalendar, datetime]) -> None:
    rule, moment = case
    rule = OnCalendar(rule.inner, rule.calendar, rule.roll, rule.zone)
    zone = ZoneInfo(rule.zone)
    kept = list(walk(rule, moment, moment + 5 * DAY))

    for inner in walk(rule.inner, moment, moment + 5 * DAY):
        if rule.calendar.is_open(inner.astimezone(zone).date()):
            place = bisect_left(kept, inner)
            assert place < len(kept)
            assert kept[place] == inner
            assert rule.why_not(inner) is None
        else:
            assert rule.why_not(inner) is not None
