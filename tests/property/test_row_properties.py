"""Arming and reading configs under fire: any value in any column, any text as JSON, and never an exception."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.arming import arm
from core.outcome import ErrorKind
from core.retries import backoff, derived_fraction, may_retry
from core.strict_json import MAX_DEPTH, JSONError, read_object
from core.task_config import ConfigError, parse_task_config
from tests.unit.rows import AROUND, CONFIG, NOW, row

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2**31, 2**63, -(2**63), 10**400])
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.sampled_from([datetime.min, datetime.max])  # noqa: DTZ901
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "enabled": st.sampled_from([0, 1]),
    "crontab": st.none() | st.sampled_from(["* * * * *", "0 9 * * 1-5", "@daily", "0 0 31 2 *", "30 2 * * *"]),
    "interval_seconds": st.none() | st.integers(-1, 10**6),
    "run_at": st.none() | st.datetimes(),
    "rrule": st.none(),
    "timezone": st.none() | st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Beijing"]),
    "dst_policy": st.none() | st.sampled_from(["cron", "skip", "shift", "last", "twice", "x"]),
    "start_time": st.none() | st.datetimes(),
    "end_time": st.none() | st.datetimes(),
    "max_runs": st.none() | st.integers(-1, 5),
    "run_count": st.integers(0, 6),
    "catch_up": st.sampled_from(["none", "latest", "all", "ALL"]),
    "catch_up_window_seconds": st.integers(-1, 10**6),
    "overlap": st.sampled_from(["skip", "buffer_one", "buffer_all", "cancel_other", "allow", "x"]),
    "next_run_at": st.none() | st.datetimes(timezones=st.just(UTC)),
    "create_time": st.datetimes(timezones=st.just(UTC)),
    "task_extra_config": st.just(CONFIG) | st.just("{}"),
}
ROWS = st.fixed_dictionaries({}, optional={**LIKELY}).map(lambda columns: row(**{"crontab": None} | columns))


@given(ROWS, st.sampled_from(sorted(LIKELY)), ANYTHING, st.booleans(), st.booleans())
def test_a_row_is_armed_finished_or_told_what_is_wrong_whatever_it_holds(
    sound: Any, column: str, value: object, was_broken: bool, checked_only: bool
) -> None:
    setattr(sound, column, value)

    found = arm(sound, NOW, AROUND, was_broken=was_broken, checked_only=checked_only)

    if found.config_error is not None:
        assert found.config_error.strip()
        assert len(found.config_error.encode()) < 60_000
        assert (found.next_run_at, found.hint) == (None, None)
    elif found.next_run_at is None:
        assert found.hint is not None or sound.enabled == 0
    else:
        assert found.next_run_at.tzinfo is UTC
        assert found.hint is None or not found.hint.startswith("finished")
        assert sound.enabled == 1


@given(ROWS)
def test_arming_twice_says_the_same(sound: Any) -> None:
    first = arm(sound, NOW, AROUND, was_broken=False, checked_only=False)
    sound.next_run_at = first.next_run_at

    again = arm(sound, NOW, AROUND, was_broken=first.config_error is not None, checked_only=True)

    assert again == first


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=6), st.booleans())
def test_every_json_object_is_read_as_python_reads_it(value: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)

    assert read_object(text) == json.loads(text)


@given(st.text(st.sampled_from('{}[]":,0123456789.eE+-truefalsnd \\u"aAaA"日\n')) | st.text())
@example('{"a": 1, "a": 1}')
def test_any_text_is_read_as_python_reads_it_or_refused_in_words(text: str) -> None:
    found, refusal = None, None
    try:
        found = read_object(text)
    except JSONError as error:
        refusal = str(error)

    if refusal is None:
        assert found == json.loads(text)
    else:
        assert 0 < len(refusal.strip()) < 250


@given(st.integers(1, 3 * MAX_DEPTH))
def test_nesting_is_refused_exactly_beyond_its_bound(levels: int) -> None:
    text = '{"a":' * levels + "0" + "}" * levels
    try:
        read_object(text)
    except JSONError:
        assert levels > MAX_DEPTH
    else:
        assert levels <= MAX_DEPTH


KEYS = [
    "task_type", "agent_id", "message", "workflow_id", "inputs", "url", "method", "headers", "body", "task", "args",
    "kwargs", "queue", "priority", "timeout", "task_timeout", "max_retries", "retry_backoff", "retry_backoff_max",
    "endpoint", "options", "template", "user", "user_name", "conversation", "conversation_id", "thread_id", "expect",
    "notify",
]  # fmt: skip


@given(
    st.sampled_from(["agent", "workflow", "http", "celery"]),
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=12), JSON | st.integers() | st.just("\ud83d"), max_size=8),
)
def test_any_config_is_read_or_refused_in_words_that_can_be_stored(task_type: str, keys: dict[str, Any]) -> None:
    config, refusal = None, None
    try:
        config = parse_task_config(json.dumps({"task_type": task_type} | keys))
    except ConfigError as error:
        refusal = str(error)

    if config is None:
        assert refusal
        assert len(refusal.encode()) < 20_000
        assert "Input should" not in refusal
        return
    assert 0 <= config.priority <= 9
    assert not isinstance(keys.get("priority"), bool)
    assert 0 < config.timeout <= 7 * 24 * 3600
    assert math.isfinite(config.retry_backoff + config.retry_backoff_max)
    assert config.queue


RUN_IDS = st.uuids().map(str)


@given(RUN_IDS, st.floats(0, 86400), st.floats(0, 86400), st.integers(1, 60), st.none() | st.floats(0, 3600))
def test_the_wait_never_falls_until_the_cap_and_never_lies_under_retry_after(
    run_id: str, base: float, cap: float, attempt: int, retry_after: float | None
) -> None:
    full, following = (min(cap, base * 2 ** min(n - 1, 32)) for n in (attempt, attempt + 1))
    wait = backoff(run_id, attempt, base, cap, retry_after).total_seconds()
    bare = backoff(run_id, attempt, base, cap).total_seconds()

    assert wait >= (retry_after or 0) - 1e-6
    assert full / 2 - 1e-6 <= bare <= full + 1e-6
    assert wait <= max(full, retry_after or 0) + 1e-6
    if following == 2 * full:
        assert backoff(run_id, attempt + 1, base, cap).total_seconds() >= bare - 1e-6


@given(RUN_IDS, RUN_IDS, st.integers(1, 20))
def test_the_wait_is_the_same_in_every_process_and_its_own_for_each_run(one: str, other: str, attempt: int) -> None:
    assume(one != other)

    assert backoff(one, attempt, 60, 600) == backoff(one, attempt, 60, 600)
    assert 0 <= derived_fraction(one) < 1
    assert derived_fraction(one) != derived_fraction(other)


@given(st.sampled_from(ErrorKind), st.integers(0, 100), st.none() | st.floats(0, 1e9))
def test_a_run_is_attempted_at_most_once_more_than_max_retries(
    kind: ErrorKind, max_retries: int, retry_after: float | None
) -> None:
    attempt = 1
    while may_retry(kind, attempt, max_retries, retry_after):
        attempt += 1

    assert attempt <= max_retries + 1
