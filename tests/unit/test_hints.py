"""Hints: what is said of a sound row, and what is not, since a warning too many is read by nobody."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from core.arming import Armed, Surroundings, arm
from core.calendars import Overrides
from core.hints import BESIDE, HINT_CHARS, crontab_hints, crowd_hint, joined, twin_hint, with_neighbours
from tests.unit.rows import AROUND, NOW, QUEUES, ZONE, row

MINUTE = timedelta(minutes=1)
AGENT = '{"task_type": "agent", "agent_id": "a", "message": "m", "timeout": %s}'


def armed(around: Surroundings = AROUND, **columns: Any) -> Armed:
    return arm(row(**columns), NOW, around, was_broken=False, checked_only=False)


# -- crontab ------------------------------------------------------------------------------------------

USUAL = [
    "0 9 * * *", "0 9 * * 1-5", "0 9 1 * *", "*/5 * * * *", "*/15 9-15 * * 1-5", "* 9-15 * * MON-FRI", "* * * * *",
    "* * * * * *", "30 0 9 * * *", "0 0 9 * * TUE", "0 0 9 * * 0-4", "0 0 9 * * 1-7", "0 0 9 * * */2", "0 */2 * * *",
    "0 9 */2 * 1", "0 9 13 * *", "*/30 * * * * *", "*/7 9 * * *", "@daily", "0 9 L * *", "0 0 9 * * FRI#2",
]  # fmt: skip


@pytest.mark.parametrize("text", USUAL)
def test_what_is_written_every_day_gets_no_hint(text: str) -> None:
    assert armed(crontab=text, jitter_seconds=0).hint is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 0 9 * * 2", "weekday 2 is TUE here, and Quartz would mean MON; write TUE"),
        ("0 0 9 * * 2-6", "weekday 2-6 is TUE-SAT here, and Quartz would mean MON-FRI; write TUE-SAT"),
        ("0 0 9 * * 1,7", "weekday 1,7 is MON,SUN here, and Quartz would mean SUN,SAT; write MON,SUN"),
        ("0 0 9 * * 2#1", "weekday 2#1 is TUE#1 here, and Quartz would mean MON#1; write TUE#1"),
        ("0 0 9 * * 6L", "weekday 6L is SATL here, and Quartz would mean FRIL; make sure that this is meant"),
        ("0 0 9 * * 2-6/2", "weekday 2-6/2 is TUE-SAT/2 here, and Quartz would mean MON-FRI/2; write TUE-SAT/2"),
        ("0 9 ? * 2", "'?' is read as '*'; crontab: weekday 2 is TUE here"),
        ("0 0 9 ? * MON-FRI", "'?' is read as '*'"),
        ("0 0 9 ? * MON *", "'?' is read as '*'; crontab: the seventh field, Quartz's year, is left out"),
        ("0 0 9 ? * 2 *", "Quartz's year, is left out; crontab: weekday 2 is TUE here, and Quartz would mean MON"),
        ("0 9 13 * 5", "fires on day 13 and on every 5 as well; an rrule with BYMONTHDAY and BYDAY"),
        ("*/45 * * * *", "minute */45 begins anew every hour, so its gaps differ"),
        ("0 */5 * * *", "hour */5 begins anew every day, so its gaps differ"),
        ("*/7 * * * * *", "second */7 begins anew every minute, so its gaps differ"),
        ("*/90 * * * *", "minute */90 begins anew every hour"),
        ("* 9 * * *", "fires every minute of hour 9; write 0 for minute to fire once"),
        ("* 30 9 * * *", "fires every second of minute 30; write 0 for second to fire once"),
    ],
)
def test_what_may_be_meant_in_another_way_gets_a_hint_and_runs(text: str, told: str) -> None:
    found = armed(crontab=text)

    assert told in str(found.hint)
    assert found.config_error is None
    assert found.next_run_at is not None


@pytest.mark.parametrize(
    ("quartz", "cron"),
    [
        ("0 0 9 ? * MON-FRI", "0 0 9 * * MON-FRI"),
        ("0 0 9 1 * ?", "0 0 9 1 * *"),
        ("0 0 9 ? * MON *", "0 0 9 * * MON"),
        ("0 9 ? * TUE", "0 9 * * TUE"),
        ("0 0 9 ? * ?", "0 0 9 * * *"),
    ],
)
def test_a_question_mark_and_a_year_of_quartz_change_no_moment(quartz: str, cron: str) -> None:
    assert armed(crontab=quartz).next_run_at == armed(crontab=cron).next_run_at


# -- policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "lost"),
    [("skip", "first become"), ("buffer_one", "first two become"), ("cancel_other", "last become"),
     ("buffer_all", None), ("allow", None)],
)  # fmt: skip
def test_catching_up_all_with_an_overlap_that_drops_them_is_told(overlap: str, lost: str | None) -> None:
    hint = armed(catch_up="all", overlap=overlap, crontab="0 9 * * *").hint

    assert hint is None if lost is None else f"so all but the {lost} SKIPPED" in str(hint)


@pytest.mark.parametrize(
    ("when", "timeout", "told"),
    [
        ({"interval_seconds": 60}, 61, "fires every 60 s with timeout 61 and overlap=allow"),
        ({"interval_seconds": 60}, 60, None),
        ({"crontab": "0,1 9 * * *"}, 300, "fires every 60 s"),
        ({"crontab": "0 9 * * *"}, 604800, "fires every 86400 s"),
        ({"crontab": "0 9 * * *"}, 300, None),
        ({"rrule": "FREQ=MINUTELY;INTERVAL=2"}, 300, "fires every 120 s"),
        ({"crontab": "*/5 * * * *", "calendar": "XSHG:open", "timezone": ZONE}, 301, "fires every 300 s"),
        ({"interval_seconds": 60, "jitter_seconds": 30}, 90.5, "fires every 60 s with timeout 90.5"),
        ({"run_at": datetime(2026, 7, 1)}, 300, None),  # noqa: DTZ001 - the operator's clock
    ],
)
def test_runs_that_may_pile_up_are_told(when: dict[str, Any], timeout: float, told: str | None) -> None:
    config = AGENT % timeout
    hint = armed(**when, task_extra_config=config, overlap="allow").hint

    assert hint is None if told is None else told in str(hint)
    assert armed(**when, task_extra_config=config, overlap="buffer_one").hint is None


@pytest.mark.parametrize(("jitter", "is_told"), [(59, False), (60, True), (3600, True)])
def test_jitter_as_long_as_the_gap_is_told(jitter: int, is_told: bool) -> None:
    hint = armed(interval_seconds=60, jitter_seconds=jitter).hint

    assert (hint is not None) == is_told
    assert hint is None or f"jitter_seconds={jitter} is not below the 60 s" in hint


def test_several_hints_stand_in_one_line() -> None:
    found = armed(crontab="* * * * *", overlap="allow", catch_up="all", jitter_seconds=60)

    assert str(found.hint).count("; ") == 1
    assert "pile up; jitter_seconds=60" in str(found.hint)


def test_an_edit_of_checked_columns_says_the_same_as_arming_anew() -> None:
    columns: dict[str, Any] = {"crontab": "0 0 9 * * 2", "catch_up": "all", "calendar": "XSHG", "end_time": None}
    first = armed(**columns)
    again = arm(row(**columns, next_run_at=first.next_run_at), NOW, AROUND, was_broken=False, checked_only=True)

    assert again == first
    assert "Quartz" in str(again.hint)


def test_a_finished_row_says_only_that() -> None:
    assert armed(crontab="0 0 9 * * 2", run_count=3, max_runs=3).hint == "finished: max_runs=3 is reached"


# -- calendars ----------------------------------------------------------------------------------------

TRADING: dict[str, Any] = {"crontab": "30 16 * * *", "calendar": "XSHG", "timezone": ZONE}


@pytest.mark.parametrize(
    ("now", "is_told"),
    [("2026-11-15 12:00", False), ("2026-11-16 12:00", True), ("2026-12-31 12:00", True), ("2027-03-01 12:00", True)],
)
def test_the_end_of_a_calendars_data_is_told_45_days_ahead(now: str, is_told: bool) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = arm(row(**TRADING), moment, AROUND, was_broken=False, checked_only=False)

    assert found.next_run_at is not None
    assert (found.hint is not None) == is_told
    assert found.hint is None or found.hint.startswith("calendar XSHG: its data ends on 2026-12-31")


def test_a_moment_beyond_the_data_is_told_at_any_time() -> None:
    hint = armed(**TRADING | {"crontab": "0 9 15 1 *"}).hint

    assert str(hint).endswith("fill in calendar_day up to and with 2027-12-31")


def test_a_year_that_the_operator_filled_in_ends_the_warning() -> None:
    filled = Overrides({"XSHG": {date(2027, 2, 8): False, date(2027, 12, 31): True}})
    around = Surroundings(ZONE, QUEUES, filled)

    assert armed(around, **TRADING | {"crontab": "0 9 15 1 *"}).hint is None


# -- the two parts ------------------------------------------------------------------------------------


def test_words_about_other_rows_come_last_and_go_without_a_trace() -> None:
    own = joined(["one; with a semicolon", "two"])
    both = with_neighbours(own, [crowd_hint(1204), twin_hint(17)])

    assert both == (
        "one; with a semicolon; two; beside other rows: 1,000 or more rows fire in this same second, set "
        "jitter_seconds to spread them; row 17 does the same at the same times, disable one of the two"
    )
    assert with_neighbours(both, [twin_hint(17)]) == f"{own}; {BESIDE}{twin_hint(17)}"
    assert with_neighbours(both, []) == own
    assert with_neighbours(with_neighbours(None, ["x"]), []) is None


@pytest.mark.parametrize(("rows", "told"), [(100, "100 or"), (199, "100 or"), (200, "200 or"), (10**6, "5,000 or")])
def test_a_crowd_that_grows_by_a_few_has_the_same_words(rows: int, told: str) -> None:
    assert crowd_hint(rows).startswith(told)


def test_a_hint_fits_its_column_with_the_words_about_other_rows_whole() -> None:
    own = joined(["字" * 300, "字" * 300])
    both = with_neighbours(own, ["x" * 100])

    assert len(str(own)) == HINT_CHARS
    assert len(str(both)) == HINT_CHARS
    assert str(both).endswith("; beside other rows: " + "x" * 100)


def test_a_long_crontab_makes_no_long_hint() -> None:
    text = "0 0 9 ? * " + ",".join(["1", "2", "3", "4", "5", "6"] * 20)

    assert len(str(armed(crontab=text).hint)) == HINT_CHARS
    assert crontab_hints(text)
