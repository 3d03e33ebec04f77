"""RRULE against dateutil's own walk from DTSTART, which is slow and right."""

from datetime import UTC, datetime, timedelta

from dateutil.rrule import rrulestr
from hypothesis import assume, given
from hypothesis import strategies as st

from core.cadence import CadenceError
from core.recurrence import parse_rrule

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
EPOCH = datetime(2024, 1, 1)  # noqa: DTZ001 - wall-clock, as dateutil walks it


def part(name: str, values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[str]:
    chosen = st.lists(values, min_size=1, max_size=most, unique=True)
    return st.one_of(st.just(""), chosen.map(lambda found: f";{name}=" + ",".join(map(str, found))))


RULES = st.builds(
    lambda frequency, interval, *parts: f"FREQ={frequency};INTERVAL={interval}" + "".join(parts),
    st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]),
    st.sampled_from([1, 1, 2, 3, 5, 7, 13]),
    part("BYDAY", st.sampled_from(DAYS)),
    part("BYMONTH", st.integers(1, 12)),
    part("BYHOUR", st.integers(0, 23)),
    st.sampled_from(["", "", ";WKST=SU", ";COUNT=7"]),
)


@given(rule=RULES, start=st.integers(0, 500_000), asked=st.integers(-1_000, 700_000))
def test_after_and_latest_agree_with_a_walk_from_the_start(rule: str, start: int, asked: int) -> None:
    begin, moment = EPOCH + timedelta(minutes=start), EPOCH + timedelta(minutes=asked)
    try:
        cadence = parse_rrule(rule, "UTC", begin.replace(tzinfo=UTC))
        found = cadence.after(moment.replace(tzinfo=UTC)), cadence.latest(moment.replace(tzinfo=UTC))
    except CadenceError:
        assume(False)
    walk = rrulestr(rule, dtstart=begin)

    expected = walk.after(moment), walk.before(moment, inc=True)

    assert found == tuple(at if at is None else at.replace(tzinfo=UTC) for at in expected)
