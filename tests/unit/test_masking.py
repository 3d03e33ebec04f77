"""What is shown of a config hides the same whether its text could be judged as a whole or had to be taken apart."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.masking import MAX_DEPTH, Mask
from config import Settings
from logger import redact

KEY = "sk-abcdefgh12345678"
MASK = Mask(Settings(_env_file=None, agent_api_key=KEY))

PIECES = [
    "token=abc12345", "postgres://u:pass@h/x", "Bearer abcdef", "https://h/?sign=abc&x=1", KEY, KEY[:9], "api_key: 'v'",
    "h://u:8080", "@", "?key=", "日报", "tokens", " ", "=", ":", "'", "\\", '"', "\n", "max_tokens",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
names = st.sampled_from(["message", "api_key", "headers", "Accept", "X-Trace", "tokens", "inputs"]) | texts
values = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def piece_by_piece(value: Any, *, of_headers: bool = False) -> Any:
    """Hide as the words of the promise say: by name, and in each text for itself."""
    if isinstance(value, dict):
        return {
            name: "***"
            if inner is not None and hidden_by_name(name, of_headers)
            else piece_by_piece(inner, of_headers=name.lower() == "headers")
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [piece_by_piece(inner) for inner in value]
    return MASK.prose(value) if isinstance(value, str) else value


def hidden_by_name(name: str, of_headers: bool) -> bool:
    shown = MASK.config(json.dumps({"headers": {name: 1}} if of_headers else {name: 1}))
    return bool((shown["headers"] if of_headers else shown)[name] == "***")


@given(st.dictionaries(names, values, max_size=4))
@example({"message": "h://u:8080", "inputs": ["@"]})
@example({"a": "?sign=", "b": KEY})
@example({"message": "api_key:\nabc12345"})
@settings(max_examples=200, deadline=None)
def test_a_config_hides_in_each_text_what_the_text_alone_would_hide(config: dict[str, Any]) -> None:
    for is_ascii in (True, False):
        assert MASK.config(json.dumps(config, ensure_ascii=is_ascii)) == piece_by_piece(config)


def test_secrets_are_hidden_by_name_by_form_and_by_value() -> None:
    shown = MASK.config(
        json.dumps(
            {
                "message": f"use {KEY} and token=abc12345",
                "api_key": "x",
                "headers": {"X-Any": "y", "Accept": "text/plain", "cookie": None},
                "inputs": [{"PASSWORD": ["z"]}, "https://u:secret@h/"],
                "max_tokens": 5,
            }
        )
    )

    assert shown == {
        "message": "use *** and token=***",
        "api_key": "***",
        "headers": {"X-Any": "***", "Accept": "text/plain", "cookie": None},
        "inputs": [{"PASSWORD": "***"}, "https://u:***@h/"],
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    "text",
    ["{", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '"\\ud83d"', '{"\\udc00": 1}', "[" * 101 + "1" + "]" * 101],
)
def test_what_not_every_reader_of_json_can_read_is_shown_as_text(text: str) -> None:
    assert MASK.config(text) == redact(text)
    assert MASK.answer_json(text) == text


def test_many_brackets_are_no_depth() -> None:
    wide = [{"a": [number]} for number in range(MAX_DEPTH)]
    deep = json.loads("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)

    assert MASK.config(json.dumps(wide)) == wide
    assert MASK.config(json.dumps(deep)) == deep


@pytest.mark.parametrize("long", ["", "x" * 5000])
def test_columns_are_shown_masked_and_beside_them_as_they_are(long: str) -> None:
    config = {"task_type": "agent", "api_key": "x", "message": long}
    text = json.dumps({"name": "n", "task_extra_config": json.dumps(config)})

    for _ in range(2):  # remembered the second time, where it is short
        shown, raw = MASK.columns_beside(text)
        assert shown == {"name": "n", "task_extra_config": {**config, "api_key": "***"}}
        assert raw == json.loads(text)
    assert MASK.columns(text) == shown
    assert MASK.columns_beside(None) == (None, None)
