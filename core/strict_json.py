"""Reading an operator's JSON object: what Python would let pass or explain in its own terms is told in plain words."""

import json
from json import JSONDecodeError, JSONDecoder
from typing import Any

MAX_DEPTH = 100
MAX_SHOWN = 80
MAX_DIGITS = 100

# What json says, and what an operator can do about it.
PLAIN = {
    "Invalid control character at": r"a text holds a line break or a tab; write \n or \t",
    "Extra data": "something follows the closing brace",
}


class JSONError(Exception):
    """A text is not the JSON object it should be; the message goes on after its name."""


def read_object(text: str) -> dict[str, Any]:
    """Read a JSON object. Raises JSONError, also for doubled keys, NaN, numbers beyond all bounds, endless nesting."""
    if text.startswith("\ufeff"):
        raise JSONError("begins with an invisible byte order mark; remove it")
    try:
        found = _DECODER.decode(text)
    except JSONDecodeError as error:
        plain = PLAIN.get(error.msg, error.msg)
        raise JSONError(f"is not valid JSON at line {error.lineno} column {error.colno}: {plain}") from error
    except RecursionError as error:
        raise JSONError(TOO_DEEP) from error
    if not isinstance(found, dict):
        raise JSONError(f'is {kind_of(found)}; use a JSON object such as {{"task_type": "agent", …}}')
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(found) > MAX_DEPTH:
        raise JSONError(TOO_DEEP)
    return found


def shown(value: object) -> str:
    """Write a value as JSON in one short line that every database can store."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        text = kind_of(value)
    return storable(text, MAX_SHOWN)


def storable(text: str, most: int) -> str:
    """Cut a text to `most` characters, and spell out the halves of characters that no database stores."""
    return (text if len(text) <= most else text[: most - 1] + "…").encode("utf-8", "backslashreplace").decode()


def kind_of(value: object) -> str:
    """Name the kind of a JSON value."""
    kinds: dict[type, str] = {str: "text", dict: "an object", list: "a list", type(None): "null"}
    return str(value).lower() if isinstance(value, bool) else kinds.get(type(value), "a number")


TOO_DEEP = f"is nested too deeply; use at most {MAX_DEPTH} levels"


def _depth(value: object) -> int:
    """Count the levels, without a recursion that a hostile text could exhaust."""
    level, deepest = [value], 0
    while level:
        deepest += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
    return deepest


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise JSONError(f"has the key {shown(twice)} twice; keep one")
    return found


def _refuse(name: str) -> None:
    raise JSONError(f"holds {name}, which is no number in JSON; use null or a text")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise JSONError(f"holds a number with more than {MAX_DIGITS} digits; write it as a text")
    return int(text)


def _fraction(text: str) -> float:
    found = float(text)
    if found in (float("inf"), float("-inf")):
        raise JSONError(f"holds the number {text[:MAX_SHOWN]}, which is too large; write it as a text")
    return found


_DECODER = JSONDecoder(
    object_pairs_hook=_without_doubles, parse_constant=_refuse, parse_int=_whole, parse_float=_fraction
)
