"""Planning as a ledger: whatever the outage, the policy and the ticks, each owed moment is booked exactly once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from core import planning
from core.cadence import Bounded, Cadence, Interval, Once, parse_crontab
from core.clock_change import DstPolicy
from core.planning import CatchUp, Overlap, Plan, Policy, plan, skip_missed

SECOND = timedelta(seconds=1)
START = datetime(2026, 3, 28, 20, 0, tzinfo=UTC)
FOREVER = timedelta(days=10_000)

INTERVALS = st.builds(
    Interval,
    st.integers(-500, 500).map(lambda seconds: START + seconds * SECOND),
    st.sampled_from([1, 7, 60, 61, 600]).map(lambda seconds: seconds * SECOND),
    st.booleans(),
)
CRONS = st.builds(
    parse_crontab,
    st.sampled_from(["* * * * *", "*/5 * * * *", "0,30 * * * *", "*/20 * * * * *", "30 0,1 * * *"]),
    st.sampled_from(["UTC", "Europe/London", "Asia/Beirut", "Antarctica/Troll"]),
    st.sampled_from(DstPolicy),
)
MOMENTS = st.integers(-600, 7200).map(lambda seconds: START + seconds * SECOND)
CADENCES: st.SearchStrategy[Cadence] = (
    INTERVALS
    | CRONS
    | st.builds(Once, MOMENTS)
    | st.builds(lambda inner, end: Bounded(inner, None, end), INTERVALS | CRONS, MOMENTS)
)
POLICIES = st.builds(
    Policy,
    st.sampled_from(CatchUp),
    st.sampled_from([0, 30, 600, 3600, 10**6]).map(lambda seconds: seconds * SECOND),
    st.sampled_from(Overlap),
    st.none() | st.integers(-1, 40),
)
PAUSES = st.lists(
    st.integers(0, 5).map(lambda tenths: tenths * SECOND / 10) | st.integers(0, 1500).map(lambda n: n * SECOND),
    min_size=1,
    max_size=8,
)


def walk(cadence: Cadence, first: datetime, last: datetime) -> Iterator[datetime]:
    """Every moment from `first`, which is owed whatever the cadence says, to `last`."""
    moment: datetime | None = first
    while moment is not None and moment <= last:
        yield moment
        moment = cadence.after(moment)


@dataclass
class Books:
    """What became of each moment."""

    cadence: Cadence
    booked: Counter[datetime] = field(default_factory=Counter)
    started: list[datetime] = field(default_factory=list)

    def enter(self, decided: Plan) -> None:
        self.booked.update(decided.fire)
        self.booked.update(decided.hold)
        self.started += [*decided.fire, *decided.hold]
        for skip in decided.skipped:
            moments = list(walk(self.cadence, skip.first, skip.last))
            assert moments[0] == skip.first
            assert moments[-1] == skip.last
            assert skip.count == len(moments)
            assert skip.reason
            self.booked.update(moments)


def small_limits(limit: int, listed: int) -> AbstractContextManager[Any]:
    """The bounds of one pass, made so small that every test meets them."""
    return patch.multiple(planning, LIMIT=limit, LISTED_SKIPS=listed)


LIMITS = st.tuples(st.integers(1, 30), st.integers(1, 10))


@given(CADENCES, POLICIES, PAUSES, LIMITS, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=30))
@example(  # max_runs once cut moments off a catch-up that overlap would not have run: neither run nor recorded
    Interval(START, 60 * SECOND, True), Policy(CatchUp.ALL, FOREVER, Overlap.SKIP, 3), [600 * SECOND], (30, 10),
    [(0, 0)] * 30,
)  # fmt: skip
def test_every_moment_is_run_held_or_skipped_exactly_once(
    cadence: Cadence,
    policy: Policy,
    pauses: list[timedelta],
    limits: tuple[int, int],
    occupied: list[tuple[int, int]],
) -> None:
    due: datetime | None = cadence.after(START)
    first, now, books, finished = due, START, Books(cadence), ""
    left = policy.runs_left
    ticks = iter(occupied)
    with small_limits(*limits):
        for pause in pauses:
            now += pause
            while due is not None and due <= now:
                active, held = next(ticks, (0, 0))
                ruling = Policy(policy.catch_up, policy.window, policy.overlap, left)
                decided = plan(due, now, cadence, ruling, active=active, held=held)
                books.enter(decided)
                assert decided.next_at is None or decided.next_at > due
                assert bool(decided.finished) == (decided.next_at is None)
                left = None if left is None else left - len(decided.fire) - len(decided.hold)
                due, finished = decided.next_at, decided.finished

    assert all(times == 1 for times in books.booked.values())
    if first is None:
        return
    if left is not None and left <= 0:
        assert len(books.started) == max(policy.runs_left or 0, 0)
        end = max(books.started, default=first - SECOND)
        assert set(books.booked) == set(walk(cadence, first, end))
    else:
        assert set(books.booked) == set(walk(cadence, first, now))
        assert (due is None) == bool(finished)
        assert due is None or due > now


@given(CADENCES, PAUSES, LIMITS)
def test_all_runs_each_owed_moment_once_and_in_order_however_the_outage_is_cut(
    cadence: Cadence, pauses: list[timedelta], limits: tuple[int, int]
) -> None:
    policy = Policy(CatchUp.ALL, FOREVER, Overlap.ALLOW)
    due, now, fired = cadence.after(START), START, list[datetime]()
    first = due
    with small_limits(*limits):
        for pause in pauses:
            now += pause
            while due is not None and due <= now:
                decided = plan(due, now, cadence, policy)
                assert decided.skipped == decided.hold == ()
                assert 0 < len(decided.fire) <= limits[0]
                fired += decided.fire
                due = decided.next_at

    assert fired == ([] if first is None else list(walk(cadence, first, now)))


@given(CADENCES, st.sampled_from([CatchUp.NONE, CatchUp.LATEST]), POLICIES, st.integers(0, 7200))
def test_none_and_latest_start_at_most_one_and_are_done_with_the_outage(
    cadence: Cadence, catch_up: CatchUp, policy: Policy, seconds: int
) -> None:
    due, now = cadence.after(START), START + seconds * SECOND
    if due is None or due > now:
        return

    decided = plan(due, now, cadence, Policy(catch_up, policy.window, policy.overlap))

    assert len(decided.fire) + len(decided.hold) <= 1
    assert decided.next_at is None or decided.next_at > now
    assert decided.next_at == cadence.after(now)
    started = (*decided.fire, *decided.hold)
    limit = planning.ON_TIME if catch_up is CatchUp.NONE else max(policy.window, planning.ON_TIME)
    assert all(now - moment <= limit for moment in started)
    assert all(moment == (cadence.latest(now) or due) for moment in started)


@given(CADENCES, POLICIES, MOMENTS, st.integers(0, 7200), st.integers(0, 3), st.integers(0, 120))
def test_a_moment_set_by_hand_is_booked_once_with_those_that_follow(
    cadence: Cadence, policy: Policy, by_hand: datetime, seconds: int, active: int, held: int
) -> None:
    now, books = by_hand + seconds * SECOND, Books(cadence)
    ruling = Policy(policy.catch_up, policy.window, policy.overlap)

    due: datetime | None = by_hand
    while due is not None and due <= now:
        decided = plan(due, now, cadence, ruling, active=active, held=held)
        books.enter(decided)
        due = decided.next_at

    assert books.booked == Counter(walk(cadence, by_hand, now))


@given(CADENCES, POLICIES, MOMENTS, st.integers(1, 10**6), st.integers(0, 3), st.integers(0, 3))
def test_a_clock_that_jumps_back_starts_nothing_and_loses_nothing(
    cadence: Cadence, policy: Policy, due: datetime, back: int, active: int, held: int
) -> None:
    ruling = Policy(policy.catch_up, policy.window, policy.overlap)

    assert plan(due, due - back * SECOND, cadence, ruling, active=active, held=held) == Plan(next_at=due)


@given(CADENCES, MOMENTS, st.integers(0, 7200), LIMITS)
def test_skip_missed_books_every_moment_as_skipped(
    cadence: Cadence, due: datetime, seconds: int, limits: tuple[int, int]
) -> None:
    until, books = due + seconds * SECOND, Books(cadence)

    with small_limits(*limits):
        decided = skip_missed(due, until, cadence)

    books.enter(decided)
    assert books.started == []
    assert books.booked == Counter(walk(cadence, due, until))
    assert decided.next_at == cadence.after(until)


@given(POLICIES, st.integers(0, 3), st.integers(0, 150), st.integers(1, 60))
def test_no_policy_starts_beside_an_active_run_or_holds_beyond_its_room(
    policy: Policy, active: int, held: int, owed: int
) -> None:
    cadence = Interval(START, SECOND, anchor_fires=True)
    ruling = Policy(CatchUp.ALL, FOREVER, policy.overlap, policy.runs_left)

    decided = plan(START, START + (owed - 1) * SECOND, cadence, ruling, active=active, held=held)

    if ruling.overlap in (Overlap.SKIP, Overlap.BUFFER_ONE, Overlap.BUFFER_ALL):
        assert len(decided.fire) <= (active + held == 0)
        room = {Overlap.SKIP: 0, Overlap.BUFFER_ONE: 1, Overlap.BUFFER_ALL: planning.MAX_HELD}[ruling.overlap]
        assert not decided.hold or held + len(decided.hold) <= room
        assert decided.cancel_active is False
    if ruling.overlap is Overlap.CANCEL_OTHER:
        assert len(decided.fire) <= 1
        assert decided.cancel_active == (bool(decided.fire) and active + held > 0)
    assert policy.runs_left is None or len(decided.fire) + len(decided.hold) <= max(policy.runs_left, 0)
