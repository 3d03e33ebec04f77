"""What the console says, in each language: `web/words/<language>/<section>.json`, one flat object a file.

A key is `<section>.<name>`; `{name}` in a text is filled in. `<key>.one` is used where a count is 1.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("words")
LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "中文"}
HTML_NAMES: Final[Mapping[str, str]] = {"en": "en", "zh": "zh-CN"}
DEFAULT: Final = "en"


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Read every sentence of a language. The files belong to the program: one that is missing is an error."""
    found: dict[str, str] = {}
    for file in sorted((FOLDER / language).glob("*.json")):
        words: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        found |= {f"{file.stem}.{key}": text for key, text in words.items()}
    return found


def chosen(accepted: str) -> str:
    """Choose the language of an Accept-Language header: the first that is known, by its weight."""
    ranked: list[tuple[float, str]] = []
    for part in accepted.split(","):
        name, _, parameters = part.strip().partition(";")
        try:
            weight = float(parameters.partition("=")[2] or 1)
        except ValueError:
            weight = 0.0
        ranked.append((-weight, name.lower().partition("-")[0]))
    return next((name for weight, name in sorted(ranked, key=lambda each: each[0]) if name in LANGUAGES), DEFAULT)


class Words:
    """Speaks one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **values: Any) -> str:
        """Say a sentence. Raises KeyError for one that no file has."""
        text = self._texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, n: int, **values: Any) -> str:
        """Say a sentence about `n` things."""
        one = f"{key}.one"
        return self(one if n == 1 and one in self._texts else key, n=f"{n:,}", **values)

    def or_same(self, key: str, text: str) -> str:
        """Say a sentence, or `text` where none is there: for codes that come from rows."""
        return self._texts.get(key, text)
