"""`after`: what the key takes, which ends it means, and what a row with it must not have beside."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.after import After, AfterFault, Outcome, read_after, run_id_after, starts_others
from core.arming import Surroundings, arm, what_is_wrong
from core.lifecycle import FINAL, Origin, State
from core.planning import Overlap, Policy, plan_arrivals
from core.preview import as_json, preview
from core.task_config import ConfigError, parse_task_config
from tests.unit.rows import row

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AROUND = Surroundings("UTC", frozenset({"priority_low"}))


def config(after: Any, **more: Any) -> str:
    return json.dumps({"task_type": "agent", "agent_id": "a", "message": "m", "after": after, **more})


def follower(after: Any = "load", **columns: Any) -> Any:
    return row(**{"crontab": None, "task_extra_config": config(after), "next_run_at": None, **columns})


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("load", After("load")),
        ({"task": "load"}, After("load", Outcome.SUCCEEDED)),
        ({"task": "装载", "outcome": "failed"}, After("装载", Outcome.FAILED)),
        ({"task": "load", "outcome": "ended", "pass_as": "upstream"}, After("load", Outcome.ENDED, "upstream")),
    ],
)
def test_what_after_may_say(raw: Any, found: After) -> None:
    assert read_after(raw) == found


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (7, "after is 7; use"),
        (["a"], "after is "),
        ({}, "after.task is null; use the name of a row"),
        ("", 'after.task is ""'),
        ({"task": "x" * 201}, "after.task is"),
        ({"task": "a", "outcom": "ended"}, "unknown key \"outcom\"; did you mean 'outcome'?"),
        ({"task": "a", "outcome": "SUCCESS"}, "use one of succeeded, failed, ended"),
        ({"task": "a", "outcome": ["failed"]}, "after.outcome is"),
        ({"task": "a", "pass_as": "not a name"}, "use the name of a parameter"),
    ],
)
def test_what_after_must_not_say(raw: Any, told: str) -> None:
    with pytest.raises(AfterFault) as fault:
        read_after(raw)

    assert told in str(fault.value)
    with pytest.raises(ConfigError, match="after"):
        parse_task_config(config(raw))


def test_pass_as_is_for_celery_tasks_and_must_not_meet_a_parameter() -> None:
    passed = {"task": "load", "pass_as": "upstream"}
    with pytest.raises(ConfigError, match="template"):
        parse_task_config(config(passed))
    celery = {"task_type": "celery", "task": "t", "after": passed}
    assert parse_task_config(json.dumps(celery)).after == After("load", Outcome.SUCCEEDED, "upstream")
    with pytest.raises(ConfigError, match="both name upstream"):
        parse_task_config(json.dumps(celery | {"kwargs": {"upstream": 1}}))


def test_a_run_that_was_cancelled_skipped_or_backfilled_starts_nothing() -> None:
    starting = {
        (outcome, state) for outcome in Outcome for state in FINAL if starts_others(state, Origin.MANUAL, outcome)
    }

    assert starting == {
        (Outcome.SUCCEEDED, State.SUCCESS),
        (Outcome.FAILED, State.FAILURE),
        (Outcome.ENDED, State.SUCCESS),
        (Outcome.ENDED, State.FAILURE),
        (Outcome.ENDED, State.REQUIRES_ACTION),
    }
    assert [origin for origin in Origin if not starts_others(State.SUCCESS, origin, "ended")] == [Origin.BACKFILL]


def test_the_run_that_follows_has_one_name_and_it_is_a_uuid_of_the_moment() -> None:
    name = run_id_after("run", NOW, 7)

    assert name == run_id_after("run", NOW, 7)
    assert len({name, run_id_after("run", NOW, 8), run_id_after("nur", NOW, 7)}) == 3
    read = uuid.UUID(name)
    assert (read.version, read.variant, read.int >> 80) == (7, uuid.RFC_4122, int(NOW.timestamp() * 1000))
    assert run_id_after("run", NOW + timedelta(milliseconds=1), 7) > name


def test_a_row_with_after_is_armed_without_a_moment() -> None:
    armed = arm(follower(), NOW, AROUND, was_broken=False, checked_only=False)

    assert (armed.next_run_at, armed.config_error, armed.hint) == (None, None, "starts after 'load' has succeeded")


def test_a_row_with_after_whose_runs_are_used_up_is_finished() -> None:
    armed = arm(follower(max_runs=2, run_count=2), NOW, AROUND, was_broken=False, checked_only=False)

    assert armed.hint == "finished: max_runs=2 is reached"


@pytest.mark.parametrize(
    "columns",
    [
        {"crontab": "0 9 * * *"},
        {"interval_seconds": 60},
        {"calendar": "XSHG"},
        {"start_time": datetime(2026, 1, 1)},  # noqa: DTZ001 - a wall clock
        {"jitter_seconds": 5},
    ],
)
def test_a_row_has_moments_or_follows_but_not_both(columns: dict[str, Any]) -> None:
    (problem,) = what_is_wrong(follower(**columns), AROUND)

    assert problem.startswith(f"{next(iter(columns))} and after in task_extra_config are both set")


def test_what_is_wrong_with_the_other_row_is_told() -> None:
    around = Surroundings("UTC", frozenset({"priority_low"}), check_upstream=lambda _, after: f"no {after.task}")

    assert what_is_wrong(follower(), around) == ["no load"]


def test_a_preview_says_what_starts_the_row() -> None:
    shown = as_json(preview(follower(enabled=0), AROUND, NOW))

    assert (shown["problems"], shown["fires"]) == ([], [])
    assert shown["ended"] == "starts after 'load' has succeeded; it has no moments of its own"
    assert shown["notes"] == ["enabled is 0: none of this runs before it is 1"]


MOMENTS = tuple(NOW + timedelta(seconds=second) for second in range(3))


def test_every_arrival_is_owed_and_overlap_decides() -> None:
    assert plan_arrivals(MOMENTS, Policy(overlap=Overlap.ALLOW)).fire == MOMENTS
    skip = plan_arrivals(MOMENTS, Policy())
    assert (skip.fire, [each.first for each in skip.skipped]) == (MOMENTS[:1], [*MOMENTS[1:]])
    buffered = plan_arrivals(MOMENTS, Policy(overlap=Overlap.BUFFER_ALL), active=1)
    assert (buffered.fire, buffered.hold, buffered.skipped) == ((), MOMENTS, ())
    assert plan_arrivals(MOMENTS, Policy(overlap=Overlap.CANCEL_OTHER), active=1).cancel_active


def test_arrivals_beyond_max_runs_are_not_owed() -> None:
    last = plan_arrivals(MOMENTS, Policy(overlap=Overlap.ALLOW, runs_left=2))
    assert (last.fire, last.finished) == (MOMENTS[:2], "max_runs is reached")
    assert plan_arrivals(MOMENTS, Policy(runs_left=0)).fire == ()
