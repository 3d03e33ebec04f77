"""What a due row owes: catch-up, overlap, bounds, and the price of an outage."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import process_time

import pytest

from core.cadence import MICROSECOND, Bounded, Cadence, Interval, Once, parse_crontab
from core.counting import MAX_WALKED
from core.planning import (
    LIMIT,
    LISTED_SKIPS,
    MAX_HELD,
    CatchUp,
    Overlap,
    Plan,
    Policy,
    Skipped,
    plan,
    skip_missed,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOURLY = parse_crontab("0 * * * *", "UTC")
MINUTELY = parse_crontab("* * * * *", "Asia/Shanghai")
WEEK = 7 * DAY


def hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOON + number * HOUR for number in numbers)


def skipped_hours(decided: Plan) -> list[datetime]:
    assert all(skip.first == skip.last and skip.count == 1 for skip in decided.skipped)
    return [skip.first for skip in decided.skipped]


def reasons(skipped: Iterable[Skipped]) -> set[str]:
    return {skip.reason for skip in skipped}


@pytest.mark.parametrize("catch_up", CatchUp)
@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("late", [timedelta(), MICROSECOND, SECOND, 10 * SECOND])
def test_a_moment_at_most_ten_seconds_late_just_runs(catch_up: CatchUp, overlap: Overlap, late: timedelta) -> None:
    decided = plan(NOON, NOON + late, HOURLY, Policy(catch_up, timedelta(), overlap))

    assert decided == Plan(fire=(NOON,), next_at=NOON + HOUR)


def test_catch_up_none_runs_nothing_that_is_later_than_ten_seconds() -> None:
    decided = plan(NOON, NOON + 10 * SECOND + MICROSECOND, HOURLY, Policy(CatchUp.NONE))

    assert decided.fire == ()
    assert skipped_hours(decided) == [NOON]
    assert reasons(decided.skipped) == {"catch_up=none: more than 10 s late"}
    assert decided.next_at == NOON + HOUR


def test_catch_up_none_runs_the_newest_moment_if_that_one_is_on_time() -> None:
    decided = plan(NOON, NOON + 3 * HOUR + SECOND, HOURLY, Policy(CatchUp.NONE))

    assert decided.fire == hours(3)
    assert skipped_hours(decided) == [*hours(0, 1, 2)]


@pytest.mark.parametrize(("late", "runs"), [(HOUR, True), (HOUR + MICROSECOND, False)])
def test_catch_up_latest_runs_one_moment_within_its_window(late: timedelta, *, runs: bool) -> None:
    daily = parse_crontab("0 12 * * *", "UTC")

    decided = plan(NOON, NOON + late, daily, Policy(CatchUp.LATEST, window=HOUR))

    assert decided.fire == ((NOON,) if runs else ())
    assert reasons(decided.skipped) == (set() if runs else {"catch_up=latest: more than 3600 s late"})
    assert decided.next_at == NOON + DAY


def test_catch_up_latest_runs_only_the_newest_of_many() -> None:
    decided = plan(NOON, NOON + 5 * HOUR + MINUTE, HOURLY, Policy())

    assert decided.fire == hours(5)
    assert skipped_hours(decided) == [*hours(0, 1, 2, 3, 4)]
    assert reasons(decided.skipped) == {"catch_up=latest: a later moment runs instead"}
    assert decided.next_at == NOON + 6 * HOUR


def test_catch_up_all_runs_what_the_window_holds_and_skips_what_is_older() -> None:
    policy = Policy(CatchUp.ALL, window=3 * HOUR, overlap=Overlap.ALLOW)

    decided = plan(NOON, NOON + 5 * HOUR, HOURLY, policy)

    assert decided.fire == hours(2, 3, 4, 5)
    assert skipped_hours(decided) == [*hours(0, 1)]
    assert reasons(decided.skipped) == {"catch_up=all: older than catch_up_window_seconds=10800"}


def test_catch_up_all_with_everything_too_old_runs_nothing() -> None:
    daily = parse_crontab("0 12 * * *", "UTC")

    decided = plan(NOON, NOON + 5 * HOUR, daily, Policy(CatchUp.ALL, window=HOUR))

    assert (decided.fire, decided.hold) == ((), ())
    assert skipped_hours(decided) == [NOON]
    assert decided.next_at == NOON + DAY


def test_a_window_of_zero_still_lets_an_ordinary_moment_run() -> None:
    for catch_up in CatchUp:
        assert plan(NOON, NOON + 9 * SECOND, HOURLY, Policy(catch_up, timedelta())).fire == (NOON,)


def test_a_moment_set_by_hand_off_the_cadence_is_owed_and_then_the_cadence_goes_on() -> None:
    by_hand = NOON + 17 * MINUTE

    for catch_up in CatchUp:
        decided = plan(by_hand, by_hand + SECOND, HOURLY, Policy(catch_up))
        assert decided == Plan(fire=(by_hand,), next_at=NOON + HOUR)


def test_a_moment_set_by_hand_in_the_past_is_owed_before_those_of_the_cadence() -> None:
    by_hand = NOON + 17 * MINUTE
    policy = Policy(CatchUp.ALL, DAY, Overlap.ALLOW)

    decided = plan(by_hand, NOON + 2 * HOUR, HOURLY, policy)

    assert decided.fire == (by_hand, *hours(1, 2))
    assert plan(by_hand, NOON + 2 * HOUR, HOURLY, Policy()).fire == hours(2)


def test_a_clock_set_back_owes_nothing_and_keeps_the_moment() -> None:
    for policy in (Policy(), Policy(CatchUp.ALL), Policy(CatchUp.NONE, overlap=Overlap.CANCEL_OTHER)):
        assert plan(NOON, NOON - HOUR, HOURLY, policy, active=1) == Plan(next_at=NOON)


@dataclass(frozen=True)
class Case:
    """Three owed moments (0, 1, 2), and what becomes of them."""

    overlap: Overlap
    active: int
    held: int
    fire: tuple[int, ...] = ()
    hold: tuple[int, ...] = ()
    skipped: list[int] = field(default_factory=list)
    reason: str = ""
    cancels: bool = False


OVERLAPS = [
    Case(Overlap.ALLOW, 0, 0, fire=(0, 1, 2)),
    Case(Overlap.ALLOW, 9, 9, fire=(0, 1, 2)),
    Case(Overlap.SKIP, 0, 0, fire=(0,), skipped=[1, 2], reason="overlap=skip: the previous run is still active"),
    Case(Overlap.SKIP, 1, 0, skipped=[0, 1, 2], reason="overlap=skip: the previous run is still active"),
    Case(Overlap.SKIP, 0, 1, skipped=[0, 1, 2], reason="overlap=skip: the previous run is still active"),
    Case(Overlap.BUFFER_ONE, 0, 0, fire=(0,), hold=(1,), skipped=[2], reason="overlap=buffer_one: 1 already wait"),
    Case(Overlap.BUFFER_ONE, 1, 0, hold=(0,), skipped=[1, 2], reason="overlap=buffer_one: 1 already wait"),
    Case(Overlap.BUFFER_ONE, 1, 1, skipped=[0, 1, 2], reason="overlap=buffer_one: 1 already wait"),
    Case(Overlap.BUFFER_ONE, 0, 1, skipped=[0, 1, 2], reason="overlap=buffer_one: 1 already wait"),
    Case(Overlap.BUFFER_ONE, 1, 7, skipped=[0, 1, 2], reason="overlap=buffer_one: 7 already wait"),
    Case(Overlap.BUFFER_ALL, 0, 0, fire=(0,), hold=(1, 2)),
    Case(Overlap.BUFFER_ALL, 2, 0, hold=(0, 1, 2)),
    Case(Overlap.BUFFER_ALL, 0, 5, hold=(0, 1, 2)),
    Case(Overlap.BUFFER_ALL, 1, 98, hold=(0, 1), skipped=[2], reason="overlap=buffer_all: 100 already wait"),
    Case(Overlap.BUFFER_ALL, 1, 100, skipped=[0, 1, 2], reason="overlap=buffer_all: 100 already wait"),
    Case(Overlap.BUFFER_ALL, 1, 500, skipped=[0, 1, 2], reason="overlap=buffer_all: 500 already wait"),
    Case(Overlap.CANCEL_OTHER, 0, 0, fire=(2,), skipped=[0, 1],
         reason="overlap=cancel_other: a later moment replaces it"),
    Case(Overlap.CANCEL_OTHER, 1, 0, fire=(2,), skipped=[0, 1], cancels=True,
         reason="overlap=cancel_other: a later moment replaces it"),
    Case(Overlap.CANCEL_OTHER, 0, 3, fire=(2,), skipped=[0, 1], cancels=True,
         reason="overlap=cancel_other: a later moment replaces it"),
]  # fmt: skip


@pytest.mark.parametrize("case", OVERLAPS, ids=lambda case: f"{case.overlap}-{case.active}-{case.held}")
def test_overlap_applies_to_each_caught_up_moment_in_order(case: Case) -> None:
    policy = Policy(CatchUp.ALL, DAY, case.overlap)

    decided = plan(NOON, NOON + 2 * HOUR, HOURLY, policy, active=case.active, held=case.held)

    assert decided.fire == hours(*case.fire)
    assert decided.hold == hours(*case.hold)
    assert skipped_hours(decided) == [*hours(*case.skipped)]
    assert reasons(decided.skipped) == ({case.reason} if case.skipped else set())
    assert decided.cancel_active is case.cancels
    assert decided.next_at == NOON + 3 * HOUR


def test_nothing_is_cancelled_where_nothing_starts() -> None:
    daily = parse_crontab("0 12 * * *", "UTC")
    policy = Policy(CatchUp.NONE, overlap=Overlap.CANCEL_OTHER)

    assert plan(NOON, NOON + HOUR, daily, policy, active=1).cancel_active is False


def test_max_runs_ends_the_row_with_its_last_run() -> None:
    decided = plan(NOON, NOON, HOURLY, Policy(runs_left=1))

    assert decided.fire == (NOON,)
    assert decided.next_at is None
    assert decided.finished == "max_runs is reached"


@pytest.mark.parametrize("left", [0, -1, -5])
def test_a_row_without_runs_left_owes_nothing(left: int) -> None:
    assert plan(NOON, NOON + DAY, HOURLY, Policy(CatchUp.ALL, runs_left=left)) == Plan(finished="max_runs is reached")


def test_max_runs_cuts_a_catch_up_short_and_what_comes_later_is_not_owed() -> None:
    decided = plan(NOON, NOON + 9 * HOUR, HOURLY, Policy(CatchUp.ALL, DAY, Overlap.ALLOW, runs_left=3))

    assert decided.fire == hours(0, 1, 2)
    assert decided.skipped == ()
    assert decided.next_at is None


def test_moments_skipped_by_overlap_do_not_count_and_none_is_lost_to_max_runs() -> None:
    decided = plan(NOON, NOON + 9 * HOUR, HOURLY, Policy(CatchUp.ALL, DAY, Overlap.SKIP, runs_left=3))

    assert decided.fire == (NOON,)
    assert skipped_hours(decided) == [*hours(*range(1, 10))]
    assert decided.next_at == NOON + 10 * HOUR
    assert decided.finished == ""


def test_max_runs_counts_held_runs_and_drops_the_skips_after_the_last() -> None:
    buffered = Policy(CatchUp.ALL, DAY, Overlap.BUFFER_ALL, runs_left=3)
    decided = plan(NOON, NOON + 9 * HOUR, HOURLY, buffered)
    assert (decided.fire, decided.hold, decided.skipped) == (hours(0), hours(1, 2), ())
    assert decided.finished == "max_runs is reached"

    decided = plan(NOON, NOON + 9 * HOUR, HOURLY, Policy(CatchUp.ALL, DAY, Overlap.BUFFER_ONE, runs_left=2))
    assert (decided.fire, decided.hold, decided.skipped) == (hours(0), hours(1), ())

    decided = plan(NOON, NOON + 9 * HOUR, HOURLY, Policy(CatchUp.ALL, DAY, Overlap.BUFFER_ONE, runs_left=1), active=1)
    assert (decided.fire, decided.hold, decided.skipped) == ((), hours(0), ())


def test_a_moment_replaced_by_a_later_one_is_recorded_though_the_later_is_the_last_run() -> None:
    decided = plan(NOON, NOON + 2 * HOUR, HOURLY, Policy(CatchUp.ALL, DAY, Overlap.CANCEL_OTHER, runs_left=1))

    assert decided.fire == hours(2)
    assert skipped_hours(decided) == [*hours(0, 1)]
    assert decided.finished == "max_runs is reached"


def test_a_row_at_its_end_is_finished_and_says_why() -> None:
    bounded = Bounded(HOURLY, None, NOON)

    assert plan(NOON, NOON, bounded, Policy()).finished == "no further moment within its bounds"
    assert plan(NOON, NOON, Once(NOON), Policy()) == Plan(
        fire=(NOON,), next_at=None, finished="no further moment within its bounds"
    )


def test_a_single_moment_missed_by_more_than_its_window_is_skipped_and_the_row_finished() -> None:
    decided = plan(NOON, NOON + DAY, Once(NOON), Policy())

    assert decided.fire == ()
    assert skipped_hours(decided) == [NOON]
    assert decided.finished


def test_one_pass_takes_at_most_limit_moments_and_leaves_the_rest_due() -> None:
    policy = Policy(CatchUp.ALL, WEEK, Overlap.ALLOW)
    now = NOON + (LIMIT + 49) * MINUTE

    first = plan(NOON, now, MINUTELY, policy)
    assert len(first.fire) == LIMIT
    assert first.next_at == NOON + LIMIT * MINUTE
    assert first.next_at <= now

    rest = plan(first.next_at, now, MINUTELY, policy)
    assert len(rest.fire) == 50
    assert rest.next_at == now + MINUTE


def test_exactly_limit_moments_leave_nothing_due() -> None:
    now = NOON + (LIMIT - 1) * MINUTE

    decided = plan(NOON, now, MINUTELY, Policy(CatchUp.ALL, WEEK, Overlap.ALLOW))

    assert len(decided.fire) == LIMIT
    assert decided.next_at == now + MINUTE


def test_buffer_all_never_holds_more_than_its_room_over_several_passes() -> None:
    policy = Policy(CatchUp.ALL, WEEK, Overlap.BUFFER_ALL)
    now, due, held, active, skipped = NOON + 5 * LIMIT * MINUTE, NOON, 0, 0, 0
    while due <= now:
        decided = plan(due, now, MINUTELY, policy, active=active, held=held)
        assert decided.next_at is not None
        due, active, held = decided.next_at, active + len(decided.fire), held + len(decided.hold)
        skipped += len(decided.skipped)

    assert (active, held) == (1, MAX_HELD)
    assert skipped == 5 * LIMIT + 1 - 1 - MAX_HELD


@pytest.mark.parametrize(
    ("missed", "rows", "count"),
    [
        (LISTED_SKIPS, LISTED_SKIPS, 1),
        (LISTED_SKIPS + 1, 1, LISTED_SKIPS + 1),
        (LISTED_SKIPS * 5_000, 1, LISTED_SKIPS * 5_000),
    ],
)
def test_few_skips_get_a_row_each_and_many_get_one_for_all(missed: int, rows: int, count: int) -> None:
    decided = plan(NOON, NOON + missed * MINUTE, MINUTELY, Policy())

    assert decided.fire == (NOON + missed * MINUTE,)
    assert len(decided.skipped) == rows
    assert decided.skipped[0].count == count
    assert decided.skipped[0].first == NOON
    assert decided.skipped[-1].last == NOON + (missed - 1) * MINUTE


def test_skip_missed_leaves_out_what_fell_due_before_beat_started_and_says_so() -> None:
    decided = skip_missed(NOON, NOON + 2 * HOUR, HOURLY)

    assert (decided.fire, decided.hold) == ((), ())
    assert skipped_hours(decided) == [*hours(0, 1, 2)]
    assert reasons(decided.skipped) == {"--skip-missed: due before beat started"}
    assert decided.next_at == NOON + 3 * HOUR
    assert decided.finished == ""


def test_skip_missed_of_a_last_moment_finishes_the_row() -> None:
    decided = skip_missed(NOON, NOON + HOUR, Once(NOON))

    assert skipped_hours(decided) == [NOON]
    assert decided.next_at is None
    assert decided.finished == "no further moment within its bounds"


def test_skip_missed_leaves_a_moment_after_the_start_alone() -> None:
    assert skip_missed(NOON, NOON - MICROSECOND, HOURLY) == Plan(next_at=NOON)


@dataclass
class Counting:
    """A cadence that counts the questions."""

    inner: Cadence
    asked: int = 0

    def after(self, moment: datetime) -> datetime | None:
        self.asked += 1
        return self.inner.after(moment)

    def latest(self, moment: datetime) -> datetime | None:
        self.asked += 1
        return self.inner.latest(moment)


POLICIES = [Policy(catch_up, 800 * DAY, overlap) for catch_up in CatchUp for overlap in Overlap]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.catch_up}-{policy.overlap}")
def test_a_year_of_downtime_asks_no_more_than_a_day_of_it(policy: Policy) -> None:
    asked = []
    for outage in (DAY, 365 * DAY):
        cadence = Counting(Interval(NOON, MINUTE, anchor_fires=True))
        plan(NOON, NOON + outage, cadence, policy)
        asked.append(cadence.asked)

    assert asked[0] == asked[1] <= MAX_WALKED + 120


@pytest.mark.parametrize(
    ("position", "policy"),
    list(enumerate([*(Policy(catch_up, 800 * DAY) for catch_up in CatchUp), Policy(CatchUp.ALL), Policy()])),
)
def test_a_year_of_a_minutely_crontab_is_planned_within_fifty_milliseconds(position: int, policy: Policy) -> None:
    def took(zone: int) -> float:
        cadence = parse_crontab("* * * * *", f"Etc/GMT-{zone}")  # a zone of its own: nothing is remembered
        started = process_time()
        plan(NOON - 365 * DAY, NOON, cadence, policy)
        return process_time() - started

    assert min(took(zone) for zone in range(2 * position + 1, 2 * position + 3)) < 0.05
