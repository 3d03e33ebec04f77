"""Reading a JSON object: what Python's reader would let pass is refused, in plain words."""

import json

import pytest

from core.strict_json import MAX_DEPTH, JSONError, kind_of, read_object, shown, storable


def nested(levels: int, kind: str = "object") -> str:
    """An object that holds others, `levels` in all."""
    if kind == "object":
        return '{"a":' * levels + "1" + "}" * levels
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not valid JSON at line 1 column 1: Expecting value"),
        ("   ", "is not valid JSON at line 1 column 4: Expecting value"),
        ("{", "is not valid JSON at line 1 column 2"),
        ("{'a': 1}", "is not valid JSON at line 1 column 2: Expecting property name enclosed in double quotes"),
        ("{“a”: 1}", "is not valid JSON at line 1 column 2: Expecting property name enclosed in double quotes"),
        ('{"a": 1,\n "b" 2}', "is not valid JSON at line 2 column 6: Expecting ':' delimiter"),
        ('{"a": 1 "b": 2}', "is not valid JSON at line 1 column 9: Expecting ',' delimiter"),
        ('{"a": tru}', "is not valid JSON at line 1 column 7: Expecting value"),
        ('{"a": "b\nc"}', r"a text holds a line break or a tab; write \n or \t"),
        ('{"a": "b\tc"}', r"a text holds a line break or a tab; write \n or \t"),
        ('{"a": 1}}', "is not valid JSON at line 1 column 9: something follows the closing brace"),
        ('{"a": 1} -- daily', "something follows the closing brace"),
        ("\ufeff{}", "begins with an invisible byte order mark; remove it"),
        ("null", 'is null; use a JSON object such as {"task_type": "agent", …}'),
        ("true", "is true; use a JSON object"),
        ("7", "is a number; use a JSON object"),
        ('"{}"', "is text; use a JSON object"),
        ("[]", "is a list; use a JSON object"),
        ('{"a": 1, "b": 2, "a": 3}', 'has the key "a" twice; keep one'),
        ('{"b": {"日报": 1, "日报": 1}}', 'has the key "日报" twice; keep one'),
        ('{"a": NaN}', "holds NaN, which is no number in JSON; use null or a text"),
        ('{"a": [-Infinity]}', "holds -Infinity, which is no number in JSON"),
        ('{"a": Infinity}', "holds Infinity, which is no number in JSON"),
        ('{"a": 1e999}', "holds the number 1e999, which is too large; write it as a text"),
        ('{"a": -1e999}', "holds the number -1e999, which is too large"),
        ('{"a": ' + "9" * 5000 + "}", "holds a number with more than 100 digits; write it as a text"),
        ('{"a": -' + "9" * 500 + "}", "holds a number with more than 100 digits; write it as a text"),
        ('{"a": 1.' + "9" * 50_000 + "e999}", "which is too large; write it as a text"),
        (nested(MAX_DEPTH + 1), f"is nested too deeply; use at most {MAX_DEPTH} levels"),
        (nested(MAX_DEPTH + 1, "list"), "is nested too deeply"),
        (nested(900), "is nested too deeply"),
        (nested(1_000_000), "is nested too deeply"),
        ("[" * 1_000_000, "is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_plain_json_object_is_told(text: str, told: str) -> None:
    with pytest.raises(JSONError) as refused:
        read_object(text)

    assert told in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("kind", ["object", "list"])
def test_the_deepest_nesting_allowed_is_read(kind: str) -> None:
    assert read_object(nested(MAX_DEPTH, kind)) == json.loads(nested(MAX_DEPTH, kind))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    wide = {"a": [[]] * 1000, "b": "[{" * 1000}

    assert read_object(json.dumps(wide)) == wide


def test_ordinary_numbers_keep_their_kind_and_value() -> None:
    text = '{"a": 1, "b": -0, "c": 1.50, "d": 1e-400, "e": 123456789012345678901234567890, "f": -2.5E+3}'

    assert read_object(text) == json.loads(text)
    assert isinstance(read_object(text)["a"], int)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "a number"),
        (1.5, "a number"),
        ("", "text"),
        ([], "a list"),
        ({}, "an object"),
    ],
)
def test_the_kind_of_a_value_is_named_in_jsons_words(value: object, kind: str) -> None:
    assert kind_of(value) == kind


def test_a_value_is_shown_in_one_short_line_that_can_be_stored() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert shown({"日报": "a\nb"}) == '{"日报": "a\\nb"}'
    assert shown("x" * 1000) == '"' + "x" * 78 + "…"
    assert shown("\ud83d") == '"\\ud83d"'
    assert shown(deep) == "a list"
    assert storable("日" * 10, 5) == "日日日日…"
    assert storable("\ud83d" * 100, 3).encode() == b"\\ud83d\\ud83d\xe2\x80\xa6"
