"""Arming: from the columns an operator wrote to the next moment."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.arming import Armed, Surroundings, arm, cadence_of, known_zone, policy_of
from core.cadence import CadenceError, Interval
from core.planning import CatchUp, Overlap, Policy
from tests.unit.rows import AROUND, CREATED, NOW, QUEUES, row

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NO_FURTHER = "finished: no further moment within its bounds"
NAIVE_NOW = NOW.replace(tzinfo=None)


def armed(*, was_broken: bool = False, checked_only: bool = False, now: datetime = NOW, **columns: Any) -> Armed:
    return arm(row(**columns), now, AROUND, was_broken=was_broken, checked_only=checked_only)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- a new row ------------------------------------------------------------------------------------


def test_a_new_row_counts_from_now() -> None:
    assert armed(crontab="30 * * * *") == Armed(next_run_at=NOW + 30 * MINUTE)


def test_a_new_row_made_on_its_moment_waits_for_the_next() -> None:
    assert armed(crontab="0 * * * *").next_run_at == NOW + HOUR


def test_a_row_without_zone_has_that_of_the_setting_and_one_with_its_own() -> None:
    nine_in_shanghai = utc("2026-06-02 01:00")

    assert armed(crontab="0 9 * * *").next_run_at == nine_in_shanghai
    assert armed(crontab="0 9 * * *", timezone="").next_run_at == nine_in_shanghai
    assert armed(crontab="0 9 * * *", timezone="America/New_York").next_run_at == utc("2026-06-01 13:00")


def test_an_interval_counts_from_the_rows_creation() -> None:
    assert armed(interval_seconds=3600).next_run_at == utc("2026-06-01 12:00:30")


def test_an_interval_counts_from_its_start_time_which_is_itself_a_moment() -> None:
    start = NAIVE_NOW + 10 * HOUR  # 12:00 UTC is 20:00 in Shanghai

    assert armed(interval_seconds=7, start_time=start).next_run_at == NOW + 2 * HOUR


def test_an_interval_longer_than_the_time_since_creation_first_comes_one_interval_after_it() -> None:
    assert armed(interval_seconds=90 * 24 * 3600).next_run_at == CREATED + 90 * DAY


def test_one_moment_in_the_future_is_armed_in_the_rows_zone() -> None:
    assert armed(run_at=datetime(2026, 6, 2, 9, 30)).next_run_at == utc("2026-06-02 01:30")  # noqa: DTZ001


def test_one_moment_in_the_past_is_armed_all_the_same_and_catch_up_decides() -> None:
    assert armed(run_at=datetime(2026, 6, 1, 9, 30)).next_run_at == utc("2026-06-01 01:30")  # noqa: DTZ001


def test_one_moment_that_has_run_is_not_armed_again() -> None:
    assert armed(run_at=datetime(2026, 6, 1, 9, 30), run_count=1) == Armed(hint=NO_FURTHER)  # noqa: DTZ001


def test_a_wall_clock_time_in_the_gap_means_the_moment_right_after_it() -> None:
    in_the_gap = datetime(2027, 3, 14, 2, 30)  # noqa: DTZ001

    found = armed(run_at=in_the_gap, timezone="America/New_York").next_run_at

    assert found == datetime.fromisoformat("2027-03-14T03:00-04:00")


def test_a_time_that_brings_its_own_offset_keeps_it() -> None:
    assert armed(run_at=NOW + HOUR, timezone="America/New_York").next_run_at == NOW + HOUR


# -- bounds ---------------------------------------------------------------------------------------


def test_a_start_time_in_the_future_holds_the_first_moment_back() -> None:
    start = datetime(2026, 7, 1)  # noqa: DTZ001

    assert armed(crontab="0 9 * * *", start_time=start).next_run_at == utc("2026-07-01 01:00")


def test_both_bounds_are_inclusive() -> None:
    only = datetime(2026, 7, 1, 9)  # noqa: DTZ001

    assert armed(crontab="0 9 * * *", start_time=only, end_time=only).next_run_at == utc("2026-07-01 01:00")


def test_past_its_end_a_row_is_finished_and_says_so() -> None:
    assert armed(end_time=datetime(2026, 6, 1, 19, 59)) == Armed(hint=NO_FURTHER)  # noqa: DTZ001


def test_a_single_moment_outside_its_bounds_never_comes() -> None:
    tomorrow = datetime(2026, 6, 2, 9)  # noqa: DTZ001

    assert armed(run_at=tomorrow, start_time=tomorrow + DAY) == Armed(hint=NO_FURTHER)
    assert armed(run_at=tomorrow, end_time=tomorrow - MINUTE) == Armed(hint=NO_FURTHER)
    assert armed(run_at=tomorrow - 3 * DAY, start_time=tomorrow) == Armed(hint=NO_FURTHER)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai", "UTC"])
def test_the_last_day_of_the_calendar_means_no_end_in_every_zone(zone: str) -> None:
    for end in (datetime(9999, 12, 31), datetime(9999, 12, 31, 23, 59, 59)):  # noqa: DTZ001
        assert armed(end_time=end, timezone=zone).next_run_at == NOW + HOUR


def test_the_first_day_of_the_calendar_means_always() -> None:
    assert armed(start_time=datetime(1, 1, 1)).next_run_at == NOW + HOUR  # noqa: DTZ001


@pytest.mark.parametrize("when", [{"crontab": "0 9 * * *"}, {"interval_seconds": 3600}], ids=repr)
def test_a_start_beyond_all_times_never_comes(when: dict[str, Any]) -> None:
    found = armed(**when, start_time=datetime(9999, 12, 31, 23, 59, 59), timezone="America/New_York")  # noqa: DTZ001

    assert found.config_error is None
    assert found.next_run_at is None or found.next_run_at.year == 9999


@pytest.mark.parametrize(("run_count", "finished"), [(2, False), (3, True), (4, True)])
def test_a_row_that_has_run_max_runs_times_is_finished(run_count: int, *, finished: bool) -> None:
    found = armed(max_runs=3, run_count=run_count)

    assert found.hint == ("finished: max_runs=3 is reached" if finished else None)
    assert (found.next_run_at is None) is finished


def test_raising_max_runs_takes_a_finished_row_up_again_from_now() -> None:
    assert armed(max_runs=4, run_count=3, next_run_at=None).next_run_at == NOW + HOUR


# -- disabled, edited, repaired -------------------------------------------------------------------


def test_a_disabled_row_has_no_next_moment() -> None:
    assert armed(enabled=0, next_run_at=NOW - HOUR) == Armed()


def test_a_row_enabled_again_owes_nothing_from_its_pause() -> None:
    assert armed(crontab="* * * * *", next_run_at=None).next_run_at == NOW + MINUTE
    assert armed(interval_seconds=1, next_run_at=None, now=CREATED + DAY).next_run_at == CREATED + DAY + timedelta(
        seconds=1
    )


def test_an_edit_counts_on_from_the_old_moment_if_that_has_passed() -> None:
    owed = NOW - 30 * MINUTE

    assert armed(crontab="*/10 * * * *", next_run_at=owed).next_run_at == owed
    assert armed(crontab="5 * * * *", next_run_at=owed).next_run_at == NOW + 5 * MINUTE
    assert armed(crontab="45 * * * *", next_run_at=owed).next_run_at == NOW - 15 * MINUTE


def test_an_edit_counts_from_now_if_the_old_moment_is_ahead() -> None:
    assert armed(crontab="*/10 * * * *", next_run_at=NOW + 5 * HOUR).next_run_at == NOW + 10 * MINUTE


def test_an_edit_at_the_very_moment_does_not_lose_it() -> None:
    assert armed(crontab="0 * * * *", next_run_at=NOW).next_run_at == NOW


def test_an_edit_of_checked_columns_leaves_the_next_moment_where_it_is() -> None:
    for moment in (NOW - DAY, NOW, NOW + 17 * MINUTE):
        assert armed(checked_only=True, catch_up="none", next_run_at=moment) == Armed(next_run_at=moment)


def test_an_edit_of_checked_columns_can_break_a_row() -> None:
    found = armed(checked_only=True, task_extra_config="{", next_run_at=NOW + HOUR)

    assert found.next_run_at is None
    assert found.config_error is not None


def test_a_repaired_row_counts_from_now_whatever_columns_were_mended() -> None:
    for checked_only in (True, False):
        for old in (None, NOW + 5 * HOUR):
            found = armed(was_broken=True, checked_only=checked_only, next_run_at=old)
            assert found.next_run_at == NOW + HOUR


def test_a_next_moment_that_is_no_time_counts_as_none() -> None:
    for garbage in ("soon", 17, b"2026", 1.5):
        assert armed(next_run_at=garbage, checked_only=True).next_run_at == NOW + HOUR


@pytest.mark.parametrize("year", [1, 1000, 1969, 9999])
def test_a_next_moment_far_from_our_time_is_survived(year: int) -> None:
    for checked_only in (True, False):
        found = armed(next_run_at=datetime(year, 1, 1, tzinfo=UTC), checked_only=checked_only)
        assert found.config_error is None
        assert found.next_run_at is not None


# -- zones, rules and policies on their own ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Asia/Shanghia", "did you mean 'Asia/Shanghai'?"),
        ("asia/shanghai", "did you mean 'Asia/Shanghai'?"),
        ("Shanghai", "did you mean 'Asia/Shanghai'?"),
        ("America/NewYork", "did you mean 'America/New_York'?"),
        ("new york", "did you mean 'America/New_York'?"),
        ("utc", "did you mean 'UTC'?"),
        # Near by letters, but hours away by the clock:
        ("Asia/Beijing", "did you mean 'Asia/Shanghai'?"),
        ("Beijing", "did you mean 'Asia/Shanghai'?"),
        ("CST", "did you mean 'Asia/Shanghai'?"),
        ("UTC+8", "did you mean 'Asia/Shanghai'?"),
        ("+08:00", "did you mean 'Asia/Shanghai'?"),
        ("PST", "use a name such as 'Asia/Shanghai'"),
        ("IST", "use a name such as 'Asia/Shanghai'"),
        ("UTC+9", "use a name such as 'Asia/Shanghai'"),
        ("GMT+9", "use a name such as 'Asia/Shanghai'"),
        ("中国", "use a name such as 'Asia/Shanghai'"),
        ("../../etc/passwd", "use a name such as 'Asia/Shanghai'"),
        ("x" * 100_000, "use a name such as 'Asia/Shanghai'"),
    ],
)
def test_a_wrong_zone_is_told_with_what_was_meant_and_never_with_another_time(name: str, hint: str) -> None:
    with pytest.raises(CadenceError) as refused:
        known_zone(name)

    assert str(refused.value).startswith("timezone '")
    assert str(refused.value).endswith(hint)
    assert len(str(refused.value)) < 300


def test_the_rule_of_an_interval_is_anchored_as_the_contract_says() -> None:
    without, with_start = row(interval_seconds=60), row(interval_seconds=60, start_time=NAIVE_NOW)

    assert cadence_of(without, "UTC") == Interval(CREATED, MINUTE, anchor_fires=False)
    assert cadence_of(with_start, "UTC").after(NOW - DAY) == NOW


def test_the_policy_is_read_from_the_columns() -> None:
    assert policy_of(row()) == Policy()
    assert policy_of(row(max_runs=5, run_count=2)).runs_left == 3
    assert policy_of(row(catch_up="all", catch_up_window_seconds=60, overlap="buffer_one")) == Policy(
        CatchUp.ALL, MINUTE, Overlap.BUFFER_ONE
    )


def test_the_target_of_a_row_is_checked_and_its_problem_told() -> None:
    around = Surroundings("UTC", QUEUES, check_target=lambda config: f"no endpoint for {config.task_type}")

    found = arm(row(), NOW, around, was_broken=False, checked_only=False)

    assert found == Armed(config_error="no endpoint for agent")


def test_a_target_that_is_never_reached_is_not_checked() -> None:
    def check(_: object) -> str:
        raise AssertionError("the config is broken: there is no target to check")

    around = Surroundings("UTC", QUEUES, check_target=check)

    assert arm(row(task_extra_config=json.dumps({})), NOW, around, was_broken=False, checked_only=False).config_error
