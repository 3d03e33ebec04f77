"""Counting without a walk agrees with a walk, for every rule that is counted."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.cadence import MICROSECOND, Bounded, Cadence, CadenceError, Cron, Interval, Jittered, Once
from core.clock_change import DstPolicy
from core.counting import MAX_CALENDAR_YEARS, MAX_WALKED, count
from core.on_calendar import OnCalendar, Roll
from core.recurrence import parse_rrule
from tests.property.crontab_oracle import ZONES, Change, changes, rules
from tests.property.test_calendars import Drawn, calendars

DAY = timedelta(days=1)
MOST = 4_000
START = datetime(2025, 1, 1, tzinfo=UTC)
AROUND = st.builds(
    lambda change, seconds, micros: change.moment + timedelta(seconds=seconds, microseconds=micros),
    st.sampled_from(changes(2024, 2026)),
    st.integers(-3 * 86400, 3 * 86400) | st.sampled_from([-7200, -3600, -1800, 0, 1800, 3600, 7200]),
    st.sampled_from([-1, 0, 0, 1, 500_000]),
)
LENGTHS = st.integers(0, 40 * 86400).map(lambda seconds: timedelta(seconds=seconds)) | st.integers(0, 1500).map(
    lambda days: days * DAY
)
CRONS = st.builds(
    lambda rule, zone, policy: Cron(str(rule), zone, policy),
    rules() | rules(with_seconds=True),
    st.sampled_from(ZONES),
    st.sampled_from(DstPolicy),
)
INTERVALS = st.builds(
    Interval,
    st.integers(-500, 500).map(lambda days: START + days * DAY),
    st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
    st.booleans(),
)
PLAIN: st.SearchStrategy[Cadence] = CRONS | CRONS | INTERVALS | st.builds(Once, AROUND)


@st.composite
def on_calendars(draw: st.DrawFn) -> OnCalendar:
    inner, calendar = draw(CRONS | INTERVALS), draw(calendars())
    zone = inner.zone if isinstance(inner, Cron) else draw(st.sampled_from(ZONES))
    return OnCalendar(inner, calendar, Roll.SKIP, zone, draw(st.booleans()))


@st.composite
def cadences(draw: st.DrawFn) -> Cadence:
    found: Cadence = draw(PLAIN | on_calendars())
    if draw(st.booleans()):
        first, second = sorted([draw(AROUND), draw(AROUND)])
        found = Bounded(found, first if draw(st.booleans()) else None, second if draw(st.booleans()) else None)
    if draw(st.booleans()):
        found = Jittered(found, timedelta(seconds=draw(st.integers(1, 10**5))), "7")
    return found


def walked(cadence: Cadence, first: datetime, last: datetime) -> int:
    found, moment = 0, cadence.after(first - MICROSECOND)
    while moment is not None and moment <= last:
        found += 1
        assume(found <= MOST)
        moment = cadence.after(moment)
    return found


@given(cadences(), AROUND, LENGTHS)
@example(Cron("30 1,2 * * *", "America/New_York", DstPolicy.SHIFT), datetime(2026, 3, 8, 7, 10, tzinfo=UTC), DAY)
@example(Cron("30 1,2 * * *", "America/New_York", DstPolicy.LAST), datetime(2026, 11, 1, 5, 40, tzinfo=UTC), DAY)
@example(Cron("30 1,2 * * *", "America/New_York", DstPolicy.TWICE), datetime(2026, 11, 1, 5, 40, tzinfo=UTC), DAY)
def test_the_count_is_that_of_a_walk(cadence: Cadence, first: datetime, length: timedelta) -> None:
    try:
        found, last = count(cadence, first, first + length), first + length
        if found is None:
            assert last.year - first.year >= MAX_CALENDAR_YEARS
            assert walked(cadence, first, last) >= MAX_WALKED
            return
        assume(found <= MOST)

        assert found == walked(cadence, first, last)
    except CadenceError:
        assume(False)


@given(rules(), st.sampled_from(changes(2025, 2026)), st.sampled_from(DstPolicy), st.data())
def test_however_a_clock_change_is_cut_the_parts_add_up(
    rule: object, change: Change, policy: DstPolicy, data: st.DataObject
) -> None:
    cron = Cron(str(rule), change.zone, policy)
    start = change.moment - timedelta(hours=6)
    cuts = sorted(data.draw(st.lists(st.integers(0, 12 * 3600), max_size=6)))
    edges = [start, *(start + timedelta(seconds=cut) for cut in cuts), start + timedelta(hours=12)]

    parts = [count(cron, a, b - MICROSECOND) or 0 for a, b in pairwise(edges)]

    assert sum(parts) == walked(cron, start, edges[-1] - MICROSECOND)


RULES = st.sampled_from(
    ["FREQ=DAILY", "FREQ=HOURLY;INTERVAL=3", "FREQ=DAILY;COUNT=30", "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1,2;BYMINUTE=30"]
)


@given(RULES, st.sampled_from(ZONES), AROUND, st.integers(0, 60), st.sampled_from(DstPolicy))
def test_an_rrule_is_counted_in_one_walk_up_to_a_bound(
    rule: str, zone: str, first: datetime, days: int, policy: DstPolicy
) -> None:
    cadence = parse_rrule(rule + "\nRDATE:20250330T013000", zone, START, policy)
    last = first + days * DAY

    expected = walked(cadence, first, last)

    assert count(cadence, first, last) == (expected if expected <= MAX_WALKED else None)


def test_what_only_a_long_walk_could_tell_is_left_unknown() -> None:
    every_minute = parse_rrule("FREQ=MINUTELY", "UTC", START)
    rolled = OnCalendar(
        Cron("* * * * *", "UTC"), Drawn(frozenset({date(2026, 3, 9)}), ((0, 1),), "UTC"), Roll.NEXT, "UTC"
    )

    assert count(every_minute, START, START + DAY) is None
    assert count(rolled, START, START + DAY) is None
