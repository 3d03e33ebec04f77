"""Jitter: derived, inside the gap, and a cadence like any other."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.cadence import Jittered, parse_crontab
from core.clock_change import DstPolicy

INNER = st.builds(
    parse_crontab,
    st.sampled_from(["* * * * *", "*/5 * * * *", "0 9 * * MON-FRI", "30 2 1 * *", "30 1,2 * * *"]),
    st.just("America/New_York"),
    st.sampled_from(DstPolicy),
)
MOMENT = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
SPREAD = st.integers(1, 100_000).map(lambda seconds: timedelta(seconds=seconds))


@given(inner=INNER, spread=SPREAD, moment=MOMENT, key=st.text(max_size=5))
def test_each_moment_is_put_off_alike_and_never_reaches_the_following_one(
    inner: Jittered, spread: timedelta, moment: datetime, key: str
) -> None:
    cadence, again = Jittered(inner, spread, key), Jittered(inner, spread, key)

    found = cadence.after(moment)

    assert found is not None
    assert found == again.after(moment)
    nominal = inner.latest(found)
    following = inner.after(found)
    assert nominal is not None
    assert following is not None
    assert nominal <= found < following
    assert found - nominal <= spread


@given(inner=INNER, spread=SPREAD, moment=MOMENT)
def test_after_and_latest_fit_together(inner: Jittered, spread: timedelta, moment: datetime) -> None:
    cadence = Jittered(inner, spread, "7")

    following, latest = cadence.after(moment), cadence.latest(moment)

    assert following is not None
    assert latest is not None
    assert latest <= moment < following
    assert cadence.after(latest) == following
    assert cadence.latest(following) == following
