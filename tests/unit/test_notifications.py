"""What is told of a run's end, which ends are the same cause, and how messages read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apprise_child import refusal
from core.lifecycle import State
from core.notifications import (
    BODY_BYTES,
    LAST_GAP,
    Ended,
    Event,
    Group,
    Known,
    NotifyFault,
    cause_of,
    compose,
    digest,
    next_gap,
    read_notify,
    tell,
)
from notify import without_secrets

AT = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
ALL = (Event.FAILURE, Event.RECOVERY, Event.CHANGE)


def ended(state: State, answer: str = "", error: str = "HTTP 503", kind: str = "unavailable") -> Ended:
    is_bad = state is State.FAILURE
    return Ended("run-1", "日报", state, AT, kind if is_bad else None, error if is_bad else None, answer)


def story(*runs: Ended, events: tuple[Event, ...] = ALL) -> list[list[str]]:
    known, found = Known(), []
    for run in runs:
        told, known = tell(run, events, known)
        found.append([str(each.event) for each in told])
    return found


GOOD, BAD, HUMAN = ended(State.SUCCESS), ended(State.FAILURE), ended(State.REQUIRES_ACTION)
OFF = ended(State.REVOKED)


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ((GOOD, GOOD), [[], []]),
        ((BAD, BAD), [["failure"], ["failure"]]),
        ((BAD, BAD, GOOD, GOOD), [["failure"], ["failure"], ["recovery"], []]),  # once
        ((BAD, OFF, GOOD), [["failure"], [], ["recovery"]]),  # a cancelled run says nothing
        ((HUMAN, GOOD), [["failure"], ["recovery"]]),
        ((ended(State.SUCCESS, "a"), ended(State.SUCCESS, "a"), ended(State.SUCCESS, "b")), [[], [], ["change"]]),
        ((ended(State.SUCCESS, "a"), BAD, ended(State.SUCCESS, "b")), [[], ["failure"], ["recovery", "change"]]),
    ],
)
def test_what_a_channel_is_told_of_the_runs_of_a_task(runs: tuple[Ended, ...], told: list[list[str]]) -> None:
    assert story(*runs) == told


def test_a_change_is_told_from_the_first_answer_on_that_was_looked_at() -> None:
    _, known = tell(ended(State.SUCCESS, "a"), (Event.FAILURE,), Known())
    told, known = tell(ended(State.SUCCESS, "b"), ALL, known)
    assert told == []

    told, _ = tell(ended(State.SUCCESS, "c"), ALL, known)
    assert [each.event for each in told] == [Event.CHANGE]


def test_a_channel_is_told_what_it_wants_and_nothing_else() -> None:
    assert story(BAD, GOOD, events=(Event.RECOVERY,)) == [[], ["recovery"]]
    assert story(BAD, GOOD, events=(Event.FAILURE,)) == [["failure"], []]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("run 0190b6a0-0000-7000-8000-000000000001: HTTP 503 after 1.5 s", "run 0190b6a0-aaaa-7000-8000-00000000000f: "
         "HTTP 503 after 20.1 s", True),
        ("no model 'gpt-9'", "no model 'claude-0'", True),
        ("connection refused", "name not known", False),
    ],
)  # fmt: skip
def test_a_cause_leaves_out_what_differs_from_run_to_run(one: str, other: str, same: bool) -> None:
    assert (cause_of("unavailable", one) == cause_of("unavailable", other)) is same


def test_causes_of_different_kinds_are_different() -> None:
    assert cause_of("auth", "no") != cause_of("quota", "no")


def test_a_cause_that_goes_on_is_told_more_and_more_seldom() -> None:
    gaps, gap = [], None
    for _ in range(9):
        gap = next_gap(gap)
        gaps.append(gap.total_seconds() / 60)

    assert gaps[:5] == [1, 2, 4, 8, 16]
    assert gaps[-1] == LAST_GAP.total_seconds() / 60


def group(text: str = "unavailable: HTTP 503", count: int = 1, **more: Any) -> Group:
    values: dict[str, Any] = {
        "event": Event.FAILURE, "first_at": AT, "last_at": AT, "tasks": ["日报"], "more_tasks": False,
        "run_id": "run-1",
    }  # fmt: skip
    return Group(text=text, count=count, **{**values, **more})


def test_a_message_counts_names_and_dates_what_it_tells() -> None:
    later = AT + timedelta(minutes=3)
    clocks = {AT: "2026-01-05 09:00:00", later: "2026-01-05 09:03:00"}

    message = compose(
        [
            group(count=1000, last_at=later, more_tasks=True),
            group("works again", event=Event.RECOVERY, tasks=["周报"], run_id="run-2"),
        ],
        "Asia/Shanghai",
        clocks,
    )

    assert message.title == "Agent scheduler: 1000 failed, 1 recovered"
    assert message.body == (
        "[failed] 日报 and others\nunavailable: HTTP 503\n"
        "1000 times, 2026-01-05 09:00:00 to 2026-01-05 09:03:00 Asia/Shanghai\nnewest run: run-1\n\n"
        "[recovered] 周报\nworks again\n2026-01-05 09:00:00 Asia/Shanghai\nnewest run: run-2"
    )


def test_a_message_fits_the_smallest_robot_and_leaves_the_rest_for_the_next() -> None:
    message = compose([group("错" * 300) for _ in range(20)], "UTC", {AT: "now"})

    assert 1 <= message.groups < 20
    assert len(message.body.encode()) <= BODY_BYTES + 2
    alone = compose([group("x", tasks=["长" * 200] * 5)], "UTC", {AT: "now"})
    assert len(alone.body.encode()) <= BODY_BYTES


def test_names_alone_mean_failure_and_recovery() -> None:
    assert read_notify("ops") == read_notify(["ops", "ops"]) == {Event.FAILURE: ("ops",), Event.RECOVERY: ("ops",)}
    assert read_notify({"change": ["a", "b"]}) == {Event.CHANGE: ("a", "b")}


@pytest.mark.parametrize(
    "raw", [[], {}, [1], [""], ["日报"], ["a b"], {"failure": []}, {"alarm": ["x"]}, None, ["x"] * 21]
)
def test_what_is_no_name_of_a_channel_is_refused(raw: Any) -> None:
    with pytest.raises(NotifyFault):
        read_notify(raw)


@pytest.mark.parametrize(
    ("host", "answer", "why"),
    [
        ("oapi.dingtalk.com", {"errcode": 0, "errmsg": "ok"}, None),
        ("oapi.dingtalk.com", {"errcode": 310000, "errmsg": "keywords not in content"}, "keywords not in content"),
        ("open.feishu.cn", {"code": 0, "msg": "success"}, None),
        ("open.feishu.cn", {"code": 19024, "msg": "Key Words Not Found"}, "19024"),
        ("qyapi.weixin.qq.com", {"errcode": 45009, "errmsg": "api freq out of limit"}, "45009"),
        ("qyapi.weixin.qq.com", [], "without a errcode"),
        ("elsewhere.example", {"errcode": 1}, None),
    ],
)
def test_a_robot_that_refuses_with_http_200_is_heard(host: str, answer: Any, why: str | None) -> None:
    said = refusal(host, answer)

    assert said is None if why is None else why in (said or "")


def test_no_piece_of_an_address_is_left_in_an_error() -> None:
    url = "dingtalk://SEC0001secret@abcdef0123456789/13800000000?x=zzzzzzz"

    said = without_secrets("An invalid Token (abcdef0123456789) for SEC0001secret at zzzzzzz 13800000000", url)

    assert said == "An invalid Token (***) for *** at *** ***"


def test_a_digest_tells_texts_apart_that_no_database_could_store() -> None:
    assert digest("\ud83d") != digest("a")
