"""`expect`: deterministic checks on an answer that decide whether its run is a SUCCESS. No model judges another.

Patterns are RE2's, and so are those of Rust's engine inside schemas: their time grows with the text and not with the
pattern's branches, which no time limit on `re` or `regex` gives (a limit would make the verdict depend on the machine's
load). A schema may still take exponential time by its references, so checks that are not `simple` are made by a child
process with a limit (`worker/bounded.py`). A path names one value at most, so nothing is searched.

The libraries are imported where a row asks for them: most rows have no `expect`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from core.strict_json import kind_of, shown

MAX_TEXTS: Final = 100
MAX_PATTERN_CHARS: Final = 2000
MAX_PATHS: Final = 100
MAX_SCHEMA_CHARS: Final = 64 * 1024
QUOTED_CHARS: Final = 200
EXAMPLE: Final = '{"non_empty": true, "contains": "total"}'


class ExpectationError(ValueError):
    """`expect` cannot be checked as it stands; the message says which key, why and the mend."""


@dataclass(frozen=True, slots=True)
class Expect:
    """What an answer must be like. Lengths are in characters."""

    non_empty: bool = False
    min_length: int | None = None
    max_length: int | None = None
    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    matches: str | None = None
    json_schema: Any = None
    json_path: Mapping[str, Any] = field(default_factory=dict)
    differs_from_last: bool = False

    @property
    def raw(self) -> dict[str, Any]:
        """The value that `read_expect` reads as this."""
        unset = Expect()
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value != getattr(unset, name)
        }

    @property
    def is_simple(self) -> bool:
        """True where the checks need no library, and no limit."""
        return self.matches is None and self.json_schema is None and not self.json_path


@dataclass(frozen=True, slots=True)
class Answer:
    """What is checked. `data` is what the platform gave beside the text; `last`: the row's last SUCCESS, if any."""

    text: str
    data: Any = None
    last: str | None = None


def read_expect(raw: object) -> Expect:
    """Read and check the value of `expect`. Raises ExpectationError, one sentence for each thing that is wrong."""
    if not isinstance(raw, dict):
        raise ExpectationError(f"expect is {shown(raw)}; use an object such as {EXAMPLE}")
    if not raw:
        raise ExpectationError(f"expect is empty; name a check, such as {EXAMPLE}, or leave the key out")
    problems, values = [], {}
    for name, value in raw.items():
        try:
            values[name] = _read_one(name, value)
        except ExpectationError as error:
            problems.append(str(error))
    expect = Expect(**values) if not problems else Expect()
    if expect.min_length is not None and expect.max_length is not None and expect.min_length > expect.max_length:
        problems.append("expect.min_length is above expect.max_length, so no answer fits; change one of them")
    if problems:
        raise ExpectationError("; ".join(problems))
    return expect


def _read_one(name: str, value: object) -> Any:
    reader = READERS.get(name)
    if reader is None:
        near = get_close_matches(name[:64], READERS, 1, 0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(READERS)}"
        raise ExpectationError(f"expect has the unknown check {shown(name)}; {mend}")
    return reader(f"expect.{name}", value)


def _true(name: str, value: object) -> bool:
    if value is not True:
        raise ExpectationError(f"{name} is {shown(value)}; use true, or leave the key out")
    return True


def _length(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ExpectationError(f"{name} is {shown(value)}; use a whole number of characters from {least} up")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or len(texts) > MAX_TEXTS or not all(isinstance(text, str) and text for text in texts):
        raise ExpectationError(f"{name} is {shown(value)}; use text that is not empty, or a list of 1 to {MAX_TEXTS}")
    return tuple(texts)


def _pattern(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_PATTERN_CHARS:
        raise ExpectationError(
            f"{name} is {shown(value)}; use a regular expression of 1 to {MAX_PATTERN_CHARS} characters"
        )
    import re2

    try:
        _compiled(value)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ExpectationError(
            f"{name} {shown(value)} is no regular expression of RE2: {why}; RE2 has no lookaround, no backreferences, "
            "and repeats up to 1000"
        ) from None
    return value


def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _schema(name: str, value: object) -> Any:
    if not isinstance(value, dict):
        raise ExpectationError(f'{name} is {kind_of(value)}; use a JSON schema, such as {{"type": "object"}}')
    if len(json.dumps(value, ensure_ascii=False)) > MAX_SCHEMA_CHARS:
        raise ExpectationError(f"{name} is longer than {MAX_SCHEMA_CHARS} letters; write a shorter schema")
    try:
        _validator(value)
    except ValueError as error:  # jsonschema_rs.ValidationError, whatever is wrong
        said = str(error).split("\n\n", 1)[0]
        raise ExpectationError(f"{name} is no JSON schema that can be checked: {_brief(said)}") from None
    return value


def _validator(schema: Any) -> Any:
    """Compile a schema: nothing is fetched for a `$ref`, and patterns take linear time."""
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True)


def _paths(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_PATHS:
        raise ExpectationError(f'{name} is {kind_of(value)}; use {{path: value}}, such as {{"$.status": "ok"}}')
    for path in value:
        _one_path(name, path)
    return value


def _one_path(name: str, path: str) -> Any:
    import jsonpath

    mend = "use a path to one value, such as $.data.items[0].name"
    if len(path) > MAX_PATTERN_CHARS:
        raise ExpectationError(f"{name} {shown(path)} is too long; {mend}")
    try:
        compiled = jsonpath.JSONPathEnvironment(strict=True).compile(path)
    except (jsonpath.JSONPathError, RecursionError) as error:
        why = str(error).partition("\n")[0]
        raise ExpectationError(f"{name} {shown(path)} is no JSONPath of RFC 9535: {why}; {mend}") from None
    if not isinstance(compiled, jsonpath.JSONPath) or not compiled.singular_query():
        raise ExpectationError(f"{name} {shown(path)} may name several values; {mend}")
    return compiled


READERS: Final[dict[str, Callable[[str, object], Any]]] = {
    "non_empty": _true,
    "min_length": partial(_length, least=1),
    "max_length": partial(_length, least=0),
    "contains": _texts,
    "not_contains": _texts,
    "matches": _pattern,
    "json_schema": _schema,
    "json_path": _paths,
    "differs_from_last": _true,
}
assert tuple(READERS) == tuple(each.name for each in fields(Expect))  # noqa: S101 - every check can be read


def failed(expect: Expect, answer: Answer) -> str | None:
    """Say which checks an answer fails, quoting it briefly; None where it is as expected."""
    found = [*_failed_text(expect, answer)]
    if expect.json_schema is not None or expect.json_path:
        found += _failed_json(expect, answer)
    if not found:
        return None
    begins = f" ({len(answer.text)} characters) begins {_brief(answer.text)!r}" if answer.text.strip() else " is empty"
    return f"the answer is not what the task expects: {'; '.join(found)}. The answer{begins}"


def _failed_text(expect: Expect, answer: Answer) -> Iterator[str]:
    text, length = answer.text, len(answer.text)
    if expect.non_empty and not text.strip():
        yield "expect.non_empty: there is no text"
    if expect.min_length is not None and length < expect.min_length:
        yield f"expect.min_length: {length} characters, fewer than {expect.min_length}"
    if expect.max_length is not None and length > expect.max_length:
        yield f"expect.max_length: {length} characters, more than {expect.max_length}"
    yield from (f"expect.contains: {_brief(each)!r} is missing" for each in expect.contains if each not in text)
    yield from (f"expect.not_contains: {_brief(each)!r} is there" for each in expect.not_contains if each in text)
    # Half a surrogate pair, which JSON can carry, is no text to RE2.
    if expect.matches is not None and not _compiled(expect.matches).search(text.encode("utf-8", "replace").decode()):
        yield f"expect.matches: nothing matches {_brief(expect.matches)!r}"
    if expect.differs_from_last and answer.last is not None and text == answer.last:
        yield "expect.differs_from_last: it is the same as that of the last SUCCESS"


def _failed_json(expect: Expect, answer: Answer) -> Iterator[str]:
    value = _json_of(answer)
    if value is _NO_JSON:
        yield f"expect.{'json_path' if expect.json_schema is None else 'json_schema'}: it is no JSON"
        return
    if expect.json_schema is not None:
        problem = next(_validator(expect.json_schema).iter_errors(value), None)
        if problem is not None:
            where = "".join(f"[{step!r}]" for step in problem.instance_path)
            yield f"expect.json_schema: ${_brief(where)}: {_brief(problem.message)}"
    for path, wanted in expect.json_path.items():
        values = _one_path("expect.json_path", path).findall(value)
        if not values:
            yield f"expect.json_path: there is nothing at {_brief(path)}"
        elif not _same(values[0], wanted):
            yield f"expect.json_path: {_brief(path)} is {_as_json(values[0])}, and not {_as_json(wanted)}"


_NO_JSON: Final = object()


def _json_of(answer: Answer) -> Any:
    """Take the text where it is an object or a list, else what the platform gave beside it."""
    try:
        value = json.loads(answer.text)
    except (ValueError, RecursionError):
        value = _NO_JSON
    if isinstance(value, (dict, list)) or answer.data is None:
        return value
    return answer.data


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1 is 1.0, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _as_json(value: Any) -> str:
    return _brief(json.dumps(value, ensure_ascii=False, default=str))


def _brief(text: str) -> str:
    line = " ".join(text[: 2 * QUOTED_CHARS].split())
    return line if len(line) <= QUOTED_CHARS else line[: QUOTED_CHARS - 1] + "…"
