"""Every way to break a row: each gets a sentence that names the column and the mend, and none raises."""

import json
from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest

from core.arming import KINDS, Surroundings, arm, what_is_wrong
from tests.unit.rows import AROUND, NOW, QUEUES, row

NINE = datetime(2026, 7, 1, 9)  # noqa: DTZ001
AGENT = {"task_type": "agent", "agent_id": "a", "message": "m"}

# The columns of the broken row, and what its sentence must say.
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"crontab": None}, "no schedule: set one of crontab, interval_seconds, rrule or run_at"),
    ({"crontab": "61 * * * *"}, "crontab '61 * * * *': wrong value for minute '61' (use 0-59)"),
    ({"crontab": "0 0 31 2 *"}, "names a date that never comes; change its day, month or weekday"),
    ({"crontab": ""}, "crontab '' has 0 fields; use 5"),
    ({"crontab": b"0 9 * * *"}, "crontab is b'0 9 * * *'; use text such as '0 9 * * *'"),
    ({"crontab": 5}, "crontab is 5; use text"),
    ({"crontab": 5.5}, "crontab is 5.5; use text"),
    ({"crontab": "x" * 100_000}, "crontab is 100000 characters long; use at most 255"),
    ({"crontab": "0 9 * * *", "interval_seconds": 60}, "crontab and interval_seconds are all set; keep exactly one"),
    ({"crontab": "0 9 * * *", "run_at": NINE}, "crontab and run_at are all set"),
    ({"interval_seconds": 60, "run_at": NINE}, "interval_seconds and run_at are all set"),
    ({"crontab": "@daily", "interval_seconds": 60, "run_at": NINE}, "crontab and interval_seconds and run_at are all"),
    ({"interval_seconds": 0}, "interval_seconds is 0; use a whole number from 1 to 316224000"),
    ({"interval_seconds": -1}, "interval_seconds is -1; use a whole number from 1"),
    ({"interval_seconds": 10**30}, "interval_seconds is 1000000000000000000000000000000; use a whole number"),
    ({"interval_seconds": 60.0}, "interval_seconds is 60.0; use a whole number"),
    ({"interval_seconds": float("nan")}, "interval_seconds is nan; use a whole number"),
    ({"interval_seconds": "60"}, "interval_seconds is '60'; use a whole number"),
    ({"interval_seconds": "一分钟"}, "interval_seconds is '一分钟'; use a whole number"),
    ({"interval_seconds": b"60"}, "interval_seconds is b'60'; use a whole number"),
    ({"interval_seconds": 60, "create_time": "soon"}, "create_time 'soon' is no time; write '2026-12-31 09:00:00'"),
    ({"interval_seconds": 60, "start_time": 5}, "start_time 5 is no time"),
    ({"rrule": "FREQ=NEVER", "crontab": None}, "rrule 'FREQ=NEVER': FREQ is NEVER; use one of YEARLY, MONTHLY"),
    ({"run_at": "tomorrow"}, "run_at 'tomorrow' is no time; write '2026-12-31 09:00:00'"),
    ({"run_at": "0000-00-00 00:00:00"}, "run_at '0000-00-00 00:00:00' is no time"),
    ({"run_at": b"2026"}, "run_at b'2026' is no time"),
    ({"run_at": 1_750_000_000}, "run_at 1750000000 is no time"),
    ({"run_at": "9" * 100_000}, "is no time"),
    ({"start_time": "9 o'clock"}, "start_time \"9 o'clock\" is no time"),
    ({"end_time": "never"}, "end_time 'never' is no time"),
    ({"start_time": NINE, "end_time": NINE.replace(hour=8)}, "end_time is before start_time"),
    ({"timezone": "Asia/Beijing"}, "timezone 'Asia/Beijing' is no IANA time zone; did you mean 'Asia/Shanghai'?"),
    ({"timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus' is no IANA time zone; use a name such as"),
    ({"timezone": b"UTC"}, "timezone b'UTC' is no IANA time zone"),
    ({"timezone": 8}, "timezone 8 is no IANA time zone; did you mean 'Asia/Shanghai'?"),
    ({"timezone": 0}, "timezone 0 is no IANA time zone"),
    ({"timezone": " "}, "timezone ' ' is no IANA time zone"),
    ({"dst_policy": "Skip"}, "dst_policy is 'Skip'; use one of cron, skip, shift, last, twice; did you mean skip?"),
    ({"dst_policy": ""}, "dst_policy is ''; use one of cron"),
    (
        {"run_at": datetime(2026, 3, 8, 2, 30), "timezone": "America/New_York", "dst_policy": "skip"},  # noqa: DTZ001
        "run_at 2026-03-08 02:30:00 does not come in America/New_York, where the clocks are set forward over it",
    ),
    ({"calendar": "XSHH"}, "calendar 'XSHH' is unknown; did you mean 'XSHG'?"),
    ({"calendar_roll": "sideways"}, "calendar_roll is 'sideways'; use one of skip, next, previous"),
    ({"jitter_seconds": -1}, "jitter_seconds is -1; use a whole number from 0 to"),
    ({"max_runs": 0}, "max_runs is 0; use a whole number from 1"),
    ({"max_runs": -3}, "max_runs is -3; use a whole number from 1"),
    ({"max_runs": "three"}, "max_runs is 'three'; use a whole number"),
    ({"max_runs": 2.5}, "max_runs is 2.5; use a whole number"),
    ({"max_runs": 3, "run_count": "many"}, "run_count is 'many'; use a whole number"),
    ({"max_runs": 3, "run_count": None}, "run_count is NULL; use a whole number"),
    ({"enabled": 2}, "enabled is 2; use a whole number from 0 to 1"),
    ({"enabled": "yes"}, "enabled is 'yes'; use a whole number from 0 to 1"),
    ({"enabled": None}, "enabled is NULL; use a whole number from 0 to 1"),
    ({"enabled": 0.5}, "enabled is 0.5; use a whole number from 0 to 1"),
    ({"catch_up": "newest"}, "catch_up is 'newest'; use one of none, latest, all"),
    ({"catch_up": "LATEST"}, "use one of none, latest, all; did you mean latest?"),
    ({"catch_up": None}, "catch_up is NULL; use one of none, latest, all"),
    ({"catch_up": b"all"}, "catch_up is b'all'; use one of"),
    ({"catch_up": 1}, "catch_up is 1; use one of"),
    ({"catch_up": "x" * 100_000}, "use one of none, latest, all"),
    ({"catch_up_window_seconds": -1}, "catch_up_window_seconds is -1; use a whole number from 0"),
    ({"catch_up_window_seconds": 10**12}, "catch_up_window_seconds is 1000000000000; use a whole number"),
    ({"catch_up_window_seconds": "1h"}, "catch_up_window_seconds is '1h'; use a whole number"),
    ({"catch_up_window_seconds": None}, "catch_up_window_seconds is NULL; use a whole number"),
    ({"overlap": "queue"}, "overlap is 'queue'; use one of skip, buffer_one, buffer_all, cancel_other, allow"),
    ({"overlap": "buffer"}, "did you mean buffer_one?"),
    ({"overlap": None}, "overlap is NULL; use one of"),
    ({"task_extra_config": None}, 'task_extra_config is NULL; use text such as {"task_type": "agent"'),
    ({"task_extra_config": b"{}"}, "task_extra_config is b'{}'; use text"),
    ({"task_extra_config": 7}, "task_extra_config is 7; use text"),
    ({"task_extra_config": ""}, "task_extra_config is not valid JSON at line 1 column 1"),
    ({"task_extra_config": "{"}, "task_extra_config is not valid JSON"),
    ({"task_extra_config": "{}"}, "task_extra_config has no task_type; use one of agent, workflow, http, celery"),
    ({"task_extra_config": "[" * 100_000}, "task_extra_config is nested too deeply; use at most 100 levels"),
    ({"task_extra_config": json.dumps({**AGENT, "queue": "prioritylow"})},
     "queue 'prioritylow' is unknown; did you mean 'priority_low'? Known: celery, data,"),
    ({"task_extra_config": json.dumps({**AGENT, "mesage": "x"})}, "did you mean 'message'?"),
    ({"task_extra_config": json.dumps({**AGENT, "\ud800": 1})}, "task_extra_config has a key that is no readable text"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "told"), BROKEN, ids=[f"{n}-{str(c)[:40]}" for n, (c, _) in enumerate(BROKEN)])
def test_a_broken_row_is_told_what_is_wrong_and_has_no_next_moment(columns: dict[str, Any], told: str) -> None:
    found = arm(row(**columns), NOW, AROUND, was_broken=False, checked_only=False)

    assert told in (found.config_error or "")
    assert found.next_run_at is None
    assert len(found.config_error or "") < 1000


@pytest.mark.parametrize(("columns", "told"), BROKEN, ids=[f"{n}-{str(c)[:40]}" for n, (c, _) in enumerate(BROKEN)])
def test_a_broken_row_is_told_so_while_it_is_disabled_too(columns: dict[str, Any], told: str) -> None:
    disabled = {"enabled": 0} | columns

    assert told in (arm(row(**disabled), NOW, AROUND, was_broken=True, checked_only=True).config_error or "")


@pytest.mark.parametrize(("columns", "told"), BROKEN, ids=[f"{n}-{str(c)[:40]}" for n, (c, _) in enumerate(BROKEN)])
def test_one_broken_column_makes_one_problem(columns: dict[str, Any], told: str) -> None:
    assert len(what_is_wrong(row(**columns), AROUND)) == 1


def test_all_problems_of_a_row_are_told_together() -> None:
    broken = row(
        enabled=7,
        crontab="61 * * * *",
        interval_seconds=-1,
        rrule="FREQ=NEVER",
        run_at="soon",
        timezone="Mars/Olympus",
        dst_policy="x",
        calendar="XSHH",
        calendar_roll="sideways",
        start_time="early",
        end_time="late",
        max_runs=-1,
        jitter_seconds=-5,
        catch_up="x",
        catch_up_window_seconds=-1,
        overlap="x",
        task_extra_config="{",
    )

    problems = what_is_wrong(broken, AROUND)

    columns = [
        "enabled is", *KINDS[:1], "interval_seconds is", "rrule 'FREQ", "run_at 'soon'", "timezone 'Mars",
        "dst_policy is",
        "calendar 'XSHH'", "calendar_roll is", "start_time 'early'", "end_time 'late'", "max_runs is",
        "jitter_seconds is",
        "catch_up is", "catch_up_window_seconds is", "overlap is", "task_extra_config is",
    ]  # fmt: skip
    told = "; ".join(problems)
    assert [column for column in columns if column not in told] == []
    assert "crontab and interval_seconds and rrule and run_at are all set" in told
    assert len(problems) == len(set(problems)) == len(columns) + 1


def test_a_wrong_zone_does_not_hide_a_wrong_crontab() -> None:
    problems = what_is_wrong(row(timezone="Mars/Olympus", crontab="61 * * * *"), AROUND)

    assert [problem.split()[0] for problem in problems] == ["timezone", "crontab"]


GARBAGE: list[Any] = [
    None, "", " ", "x", "\x00", "日报📈", "\ud800", b"", b"\xff", True, False, -1, 2, 2**63, 10**400, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), datetime.min, datetime.max, datetime(1, 1, 1, tzinfo=UTC), "9" * 5000,  # noqa: DTZ901
]  # fmt: skip
COLUMNS = sorted(vars(row()).keys() - {"id", "name", "next_run_at"})


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_of_any_column_makes_arming_raise(column: str) -> None:
    for value in GARBAGE:
        broken = row(**{**({"interval_seconds": 60} if column == "create_time" else {}), column: value})
        for was_broken, checked_only in ((False, False), (True, True)):
            found = arm(broken, NOW, AROUND, was_broken=was_broken, checked_only=checked_only)
            assert found.config_error != ""
            assert len((found.config_error or "").encode()) < 60_000
            assert found.config_error is None or found.next_run_at is None


def test_a_text_of_thousands_of_wrong_keys_fits_into_config_error() -> None:
    many = {**AGENT, **{f"key {n} {'长' * 50}": n for n in range(5000)}}
    around = Surroundings("UTC", QUEUES, check_target=lambda _: "目" * 100_000 + "\ud800")

    for text in (json.dumps(many), json.dumps(AGENT)):
        found = arm(row(task_extra_config=text), NOW, around, was_broken=False, checked_only=False)
        assert 0 < len((found.config_error or "").encode()) < 20_000


def test_a_thousand_rows_with_the_same_mistakes_are_told_in_no_time() -> None:
    started = process_time()
    for _ in range(1000):
        what_is_wrong(row(timezone="Mars/Olympos", crontab="61 * * * *", task_extra_config="{"), AROUND)

    assert process_time() - started < 1
