"""What answers are made of: JSON that may be stored, text in its many shapes, excerpts for error messages.

Pure. Whatever `decode_json` and `plain_text` return can be written to a utf8mb4 column and as JSON.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from core.outcome import AgentError, AgentRequest, ErrorKind, Usage

EXCERPT_CHARS: Final = 300

_PREFIX_CHARS: Final = 8
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(r"\s*<(!doctype html|html)", re.IGNORECASE)
_REASONING = re.compile(r"^\s*(?:<think>)?.*?</think>\s*", re.DOTALL)


def decode_json(text: str, source: str) -> Any:
    """Read what must be JSON, fit to be stored. Raises AgentError PROTOCOL, quoting what it is instead."""
    value = parse_json(text, source)
    return json.loads(join_surrogates(json_text(value))) if _SURROGATE_ESCAPE.search(text) else value


def parse_json(text: str, source: str) -> Any:
    """Like `decode_json`, but halves of a character may be left: for pieces whose text is joined later."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        began = f"; it began: {excerpt(text)}" if text.strip() else " but with nothing"
        raise AgentError(ErrorKind.PROTOCOL, f"{source} did not answer in JSON{began}") from error


def parse_object(text: str, source: str) -> Mapping[str, Any]:
    """Like `parse_json`, for what must be an object."""
    value = parse_json(text, source)
    if not isinstance(value, Mapping):
        raise AgentError(ErrorKind.PROTOCOL, f"{source} sent JSON that is no object: {excerpt(text)}")
    return value


def encode_json(value: Any) -> bytes:
    """Write a request body. Raises AgentError INVALID for what JSON or UTF-8 cannot carry."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise AgentError(ErrorKind.INVALID, f"the request cannot be written as JSON: {error}") from error


def json_text(value: Any) -> str:
    """Data as text for people and for `LIKE '%日报%'`: unescaped, in one line."""
    return json.dumps(value, ensure_ascii=False)


def join_surrogates(text: str) -> str:
    """Join surrogate pairs that arrived in two pieces; replace a half that has no partner.

    Some gateways cut a stream between the halves of an emoji, and no database stores either half.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def messages_of(request: AgentRequest) -> list[dict[str, str]]:
    """Write what was said before and the message itself, as models take them."""
    return [{"role": role, "content": text} for role, text in (*request.history, ("user", request.message))]


def plain_text(content: Any) -> str:
    """A message's content as text: it comes as a string, a list of blocks, one block, or not at all."""
    match content:
        case str():
            return content
        case list():
            return "".join(plain_text(block) for block in content)
        case {"text": str() as text} | {"text": {"value": str() as text}}:
            return text
        case _:
            return ""


def text_of(answer: Any) -> str:
    """Any answer as text: text as it is, message blocks as their text, other data as JSON; null and empties: none."""
    if isinstance(answer, str):
        return answer
    blocks = answer if isinstance(answer, list) else [answer]
    if blocks and all(isinstance(block, Mapping) and block.get("type") == "text" for block in blocks):
        return plain_text(answer)
    return "" if answer in (None, [], {}) else json_text(answer)


def outputs_text(outputs: Any, key: str | None, source: str) -> str:
    """A workflow's outputs as text: the one named `key`, or of a single one its text, of several their JSON.

    Empty where they are. Raises AgentError PROTOCOL where there is no output of that name.
    """
    if key is not None:
        if isinstance(outputs, Mapping) and key in outputs:
            return text_of(outputs[key])
        names = ", ".join(sorted(outputs)) if isinstance(outputs, Mapping) and outputs else "none"
        raise AgentError(ErrorKind.PROTOCOL, f"{source}: the run has no output {key!r}; it has {names}")
    if not isinstance(outputs, Mapping):
        return text_of(outputs)
    texts = [text_of(value) for value in outputs.values()]
    if not any(text.strip() for text in texts):
        return ""
    return texts[0] if len(texts) == 1 else json_text(outputs)


def dig(data: Any, path: str | None, *, default: Any = None) -> Any:
    """What stands at `choices.0.text`, or the default; nothing stands at no path."""
    if not path:
        return default
    for step in path.split("."):
        match data:
            case Mapping() if step in data:
                data = data[step]
            case list() if step.isdecimal() and int(step) < len(data):
                data = data[int(step)]
            case _:
                return default
    return data


def unless_zero(usage: Usage) -> Usage:
    """The tokens, from a platform that writes 0 for what it did not count: all zero means unknown."""
    return usage if usage.input_tokens or usage.output_tokens else Usage()


def without_reasoning(text: str) -> str:
    """What follows a leading `<think>…</think>`, also where the template swallowed the opening tag."""
    return _REASONING.sub("", text, count=1)


def read_usage(*reports: Mapping[str, Any], given: str = "input_tokens", made: str = "output_tokens") -> Usage:
    """The tokens of all reports together; what no report counts stays unknown."""
    return Usage(input_tokens=_total(reports, given), output_tokens=_total(reports, made))


def excerpt(text: str) -> str:
    """The beginning of a text in one line of at most 300 characters; of an HTML page its title."""
    if _HTML.match(text):
        title = _TITLE.search(text)
        text = f"an HTML page titled “{title.group(1).strip()}”" if title else "an HTML page"
    head = join_surrogates(text[: EXCERPT_CHARS * 20])
    line = " ".join("".join(char if char.isprintable() else " " for char in head).split())
    return line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, however a server spelled them when it echoed them, or cut them short."""
    for secret in filter(None, map(str.strip, secrets)):
        for spelling in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
            text = text.replace(spelling, "[redacted]")
        if len(secret) > _PREFIX_CHARS:
            text = re.sub(re.escape(secret[:_PREFIX_CHARS]) + r"[^\s\"'<>,;]*", "[redacted]", text)
    return text


def _total(reports: Sequence[Mapping[str, Any]], name: str) -> int | None:
    counts = [report[name] for report in reports if type(report.get(name)) is int and report[name] >= 0]
    return sum(counts) if counts else None


def _no_constant(name: str) -> Any:
    """MySQL's JSON has no NaN and no Infinity, though Python's parser lets them in."""
    raise ValueError(f"{name} is not JSON")
