"""What the API refuses, in the language of the page that shows it: English sentences known by their form.

`words/en/refusals.json` has the sentences as the API says them, `{name}` where a value stands; the other languages have
them under the same keys. A sentence that no file has stays as it is.
"""

import re
from functools import cache
from string import Formatter
from typing import Final

from web.wording import DEFAULT, Words, catalogue

SECTION: Final = "refusals."
WORD: Final = f"{SECTION}word."
LONGEST: Final = 1000  # characters; what is longer is data rather than a sentence
MOST_PARTS: Final = 12
NESTED: Final = 2
LONG: Final = frozenset({"why", "reason", "told"})  # values that may be several sentences
_FIELD: Final = re.compile(r"([a-z_][a-z_0-9.]*): (.+)", re.DOTALL)


def said(words: Words, text: str | None, depth: int = 0) -> str:
    """Say one sentence of the API, or several with "; " between them, in the reader's language."""
    if not text or words.language == DEFAULT or len(text) > LONGEST:
        return text or ""
    parts = text.split("; ")
    if len(parts) > MOST_PARTS:
        return text
    found, at, is_known = [], 0, False
    while at < len(parts):
        # A sentence may hold a "; " itself, so the longest one that is known counts.
        for end in range(len(parts), at, -1):
            known = _known(words, "; ".join(parts[at:end]), depth)
            if known is not None or end == at + 1:
                found.append(parts[at] if known is None else known)
                at, is_known = end, is_known or known is not None
                break
    return words(f"{SECTION}join").join(found) if is_known else text


def _known(words: Words, text: str, depth: int) -> str | None:
    for form, key in _forms():
        if found := form.fullmatch(text):
            values = {name: _word(words, value, depth) for name, value in found.groupdict().items()}
            return words(key, **values)
    if found := _FIELD.fullmatch(text):  # pydantic's, after the field they are about
        told = _known(words, found[2], depth)
        return None if told is None else words(f"{SECTION}of_field", field=found[1], told=told)
    return None


def _word(words: Words, value: str, depth: int) -> str:
    """Say a value that is a word of ours, or a sentence itself; a name stays what it is."""
    found = words.or_same(WORD + value.lower(), "")
    return found or (said(words, value, depth + 1) if depth < NESTED else value)


@cache
def _forms() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Read the sentences, those with most text of their own first: they say more than one that fits many."""
    texts = {
        key: text
        for key, text in catalogue(DEFAULT).items()
        if key.startswith(SECTION) and not key.startswith(WORD) and key not in (f"{SECTION}join", f"{SECTION}of_field")
    }
    return tuple((_form(text), key) for key, text in sorted(texts.items(), key=lambda each: -_own(each[1])))


def _form(text: str) -> re.Pattern[str]:
    parts = (re.escape(literal) + (_value(name) if name else "") for literal, name, *_ in Formatter().parse(text))
    return re.compile("".join(parts), re.DOTALL)


def _value(name: str) -> str:
    """Match a value; a short one holds no "; ", or a sentence would take the next one for a value of its own."""
    return f"(?P<{name}>.+?)" if name in LONG else f"(?P<{name}>(?:(?!; ).)+?)"


def _own(text: str) -> int:
    return sum(len(literal) for literal, *_ in Formatter().parse(text))
