"""What holds for every cadence, whatever its rule, at every instant."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from core.cadence import MICROSECOND, Bounded, Cadence, Interval, Once, parse_crontab
from core.clock_change import DstPolicy

INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
STEPS = st.integers(1, 10 * 366 * 24 * 3600).map(lambda seconds: timedelta(seconds=seconds))
CRONS = st.builds(
    parse_crontab,
    st.sampled_from(
        ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 9 * * 1-5", "0 0 L * *", "*/20 1-3 * * 0", "15,45 * * * * *"]
    ),
    st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]),
    st.sampled_from(DstPolicy),
)
PLAIN = st.builds(Interval, INSTANTS, STEPS, st.booleans()) | st.builds(Once, INSTANTS) | CRONS


@st.composite
def bounded(draw: st.DrawFn) -> Bounded:
    start, end = sorted([draw(INSTANTS), draw(INSTANTS)])
    return Bounded(draw(PLAIN), start if draw(st.booleans()) else None, end if draw(st.booleans()) else None)


CADENCES: st.SearchStrategy[Cadence] = PLAIN | bounded()


@given(CADENCES, INSTANTS)
def test_next_is_later_latest_is_not_and_nothing_lies_between(cadence: Cadence, t: datetime) -> None:
    latest, after = cadence.latest(t), cadence.after(t)

    assert latest is None or latest <= t
    assert after is None or after > t
    if latest is not None:
        assert cadence.after(latest) == after
        assert cadence.latest(latest) == latest
        assert cadence.after(latest - MICROSECOND) == latest
    if after is not None:
        assert cadence.latest(after - MICROSECOND) == latest
        assert cadence.latest(after) == after


@given(CADENCES, INSTANTS, st.floats(0, 1, exclude_max=True))
def test_both_answers_are_constant_between_two_moments(cadence: Cadence, t: datetime, share: float) -> None:
    latest, after = cadence.latest(t), cadence.after(t)
    assume(latest is not None)
    assume(after is not None)
    assert latest is not None
    assert after is not None

    inside = min(latest + (after - latest) * share, after - MICROSECOND)

    assert (cadence.latest(inside), cadence.after(inside)) == (latest, after)


@given(INSTANTS, STEPS, st.booleans(), st.integers(0, 10**6))
def test_the_nth_moment_of_an_interval_is_the_anchor_and_n_steps(
    anchor: datetime, step: timedelta, anchor_fires: bool, n: int
) -> None:
    interval = Interval(anchor, step, anchor_fires=anchor_fires)
    assume(n > 0 or anchor_fires)
    assume(step.total_seconds() * (n + 1) < 10**11)

    assert interval.latest(anchor + n * step) == anchor + n * step
    assert interval.after(anchor + n * step - MICROSECOND) == anchor + n * step


@given(bounded(), INSTANTS)
def test_a_bounded_rule_names_the_inner_moments_within_its_bounds_and_no_others(cadence: Bounded, t: datetime) -> None:
    inner, start, end = cadence.inner, cadence.start, cadence.end
    for found in (cadence.after(t), cadence.latest(t)):
        if found is not None:
            assert inner.latest(found) == found
            assert start is None or found >= start
            assert end is None or found <= end
    inside = (start is None or t >= start) and (end is None or t <= end)
    if inside:
        named = inner.latest(t)
        assert cadence.latest(t) == (None if named is None or (start is not None and named < start) else named)
        named = inner.after(t)
        assert cadence.after(t) == (None if named is None or (end is not None and named > end) else named)
