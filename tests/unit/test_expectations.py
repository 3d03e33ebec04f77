"""`expect`: what can be asked of an answer, what is said of a wrong check, and of an answer that fails one."""

from typing import Any

import pytest

from core.expectations import Answer, Expect, ExpectationError, failed, read_expect
from core.task_config import ConfigError, parse_task_config
from tests.integration.engine import agent

#: (expect, an answer that is as expected, one that is not, what the failure says)
KINDS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"non_empty": True}, "日报", " \n\t", "expect.non_empty: there is no text. The answer is empty"),
    ({"min_length": 3}, "三个字", "两个", "expect.min_length: 2 characters, fewer than 3"),
    ({"max_length": 3}, "三个字", "四个字了", "expect.max_length: 4 characters, more than 3"),
    ({"contains": ["合计", "元"]}, "合计 12 元", "合计 12", "expect.contains: '元' is missing"),
    ({"not_contains": "error"}, "fine", "an error", "expect.not_contains: 'error' is there"),
    ({"matches": r"^合计 \d+$"}, "合计 12", "合计 x", r"expect.matches: nothing matches '^合计 \\d+$'"),
    (
        {"json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        '{"n": 1}',
        '{"n": "一"}',
        'expect.json_schema: $[\'n\']: "一" is not of type "integer"',
    ),
    (
        {"json_path": {"$.a[0].b": "ok"}},
        '{"a": [{"b": "ok"}]}',
        '{"a": [{"b": "no"}]}',
        '$.a[0].b is "no", and not "ok"',
    ),
    ({"differs_from_last": True}, "new", "the last", "the same as that of the last SUCCESS"),
]


@pytest.mark.parametrize(("expect", "good", "bad", "said"), KINDS, ids=[next(iter(kind[0])) for kind in KINDS])
def test_each_check_passes_and_fails(expect: dict[str, Any], good: str, bad: str, said: str) -> None:
    read = read_expect(expect)

    assert failed(read, Answer(good, last="the last")) is None
    assert said in (failed(read, Answer(bad, last="the last")) or "")


def test_every_check_there_is_has_a_case() -> None:
    assert {name for expect, *_ in KINDS for name in expect} == set(Expect.__dataclass_fields__)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (True, 'expect is true; use an object such as {"non_empty": true'),
        ({}, "expect is empty; name a check"),
        ({"non_emtpy": True}, "expect has the unknown check \"non_emtpy\"; did you mean 'non_empty'?"),
        ({"quality": True}, "unknown check \"quality\"; known: non_empty, min_length"),
        ({"non_empty": False}, "expect.non_empty is false; use true, or leave the key out"),
        ({"min_length": True}, "expect.min_length is true; use a whole number of characters from 1 up"),
        ({"max_length": -1}, "expect.max_length is -1; use a whole number"),
        ({"min_length": 3, "max_length": 2}, "expect.min_length is above expect.max_length"),
        ({"contains": [""]}, "expect.contains is [\"\"]; use text that is not empty"),
        ({"matches": "(a"}, 'expect.matches "(a" is no regular expression of RE2: missing )'),
        ({"matches": "(?=a)"}, "RE2 has no lookaround"),
        ({"json_schema": {"type": "objekt"}}, 'expect.json_schema is no JSON schema that can be checked: "objekt"'),
        ({"json_schema": "object"}, "expect.json_schema is text"),
        ({"json_schema": {"$ref": "http://169.254.169.254/"}}, "Retrieval is disabled"),
        ({"json_schema": {"pattern": "(?=a)"}}, "expect.json_schema is no JSON schema that can be checked"),
        ({"json_path": {"a.b": 1}}, 'expect.json_path "a.b" is no JSONPath of RFC 9535'),
        ({"json_path": {"$..b": 1}}, 'expect.json_path "$..b" may name several values; use a path to one value'),
        ({"json_path": []}, "expect.json_path is a list; use {path: value}"),
    ],
)  # fmt: skip
def test_a_check_that_cannot_be_made_says_which_and_the_mend(raw: Any, said: str) -> None:
    with pytest.raises(ExpectationError) as refused:
        read_expect(raw)

    assert said in str(refused.value)


def test_arming_tells_every_wrong_check_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_task_config(agent(expect={"matches": "(", "min_lenght": 3}))

    assert 'expect.matches "("' in str(refused.value)
    assert "did you mean 'min_length'?" in str(refused.value)


def test_a_pattern_that_would_never_end_elsewhere_takes_no_time() -> None:
    evil = read_expect({"matches": "^(a+)+$", "json_schema": {"pattern": "^(a+)+$"}})

    said = failed(evil, Answer("a" * 100_000 + "!", data="a" * 100_000 + "!"))

    assert said is not None
    assert len(said) < 1500


@pytest.mark.parametrize(
    ("text", "data", "passes"),
    [
        ('{"a": 1}', {"a": 2}, True),  # the text is an object: it is what is looked at
        ("all is well", {"a": 1}, True),  # else what the platform gave beside it
        ("42", {"a": 1}, True),
        ("all is well", None, False),
        ('{"a": true}', None, False),  # true is no number, though Python has it equal to 1
        ('{"a": 1.0}', None, True),
        ('{"a": null}', None, False),
    ],
)
def test_a_path_looks_at_the_answer_as_json(text: str, data: Any, passes: bool) -> None:
    expect = read_expect({"json_path": {"$.a": 1}})

    assert (failed(expect, Answer(text, data)) is None) is passes


def test_nested_values_are_compared_as_json_does() -> None:
    expect = read_expect({"json_path": {"$.a": [{"x": 1}, None]}})

    assert failed(expect, Answer('{"a": [{"x": 1.0}, null]}')) is None
    assert failed(expect, Answer('{"a": [{"x": true}, null]}')) is not None


def test_nothing_differs_from_a_last_answer_that_is_not_there() -> None:
    assert failed(read_expect({"differs_from_last": True}), Answer("first")) is None


def test_a_failure_quotes_briefly_and_can_be_stored() -> None:
    said = failed(read_expect({"contains": "x" * 5000, "matches": "y"}), Answer("\ud83d" + "长" * 100_000))

    assert said is not None
    said.encode()
    assert len(said) < 1000


@pytest.mark.parametrize(("expect", "_good", "_bad", "_said"), KINDS)
def test_what_was_read_can_be_handed_on(expect: dict[str, Any], _good: str, _bad: str, _said: str) -> None:
    assert read_expect(read_expect(expect).raw) == read_expect(expect)
