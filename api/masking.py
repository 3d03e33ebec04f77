"""What an answer may show of a row: never a secret."""

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import isfinite
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from config import Settings
from core.live_text import without_secrets
from logger import redact

HIDDEN: Final = "***"
SHORTEST_SECRET: Final = 8  # hiding a shorter one everywhere would take ordinary answers apart
MAX_DEPTH: Final = 100
#: What is remembered takes some megabytes at most; longer names and texts are gone through each time.
LONGEST_KNOWN_NAME: Final = 64
LONGEST_KNOWN_TEXT: Final = 4096
MOST_KNOWN_TEXTS: Final = 500
PLAIN_HEADERS: Final = {"accept", "accept-language", "content-type", "user-agent"}

_SECRET_NAME: Final = re.compile(
    r"(?i)authori[sz]ation|cookie|credential|secret|passw|passphrase|token(?!s)|signature|"
    r"(?:api|access|private|app)[-_]?key|(?:^|[-_])(?:auth|key|pwd|pass|sig|sign)$"
)
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&](?:[\w-]*key|sig|sign|signature|code)=)[^&#\s\"']+")


class Mask:
    """Hides the values of this installation's secret settings wherever they turn up."""

    def __init__(self, settings: Settings) -> None:
        self._known = sorted({text for text in _secrets_of(settings) if len(text) >= SHORTEST_SECRET}, key=len)[::-1]
        self._known_columns = lru_cache(maxsize=MOST_KNOWN_TEXTS)(self._columns)

    def answer(self, text: str | None) -> str | None:
        """Show an agent's answer unchanged but for the secrets of the settings."""
        if text:
            for secret in self._known:
                text = text.replace(secret, HIDDEN)
        return text

    def growing(self, text: str, *, more_follows: bool) -> str:
        """Show an answer that is still arriving, as `answer` does; an end that may begin a secret is kept back."""
        return without_secrets(text, self._known, more_follows=more_follows)

    def answer_json(self, text: str | None) -> Any:
        """Show a structured answer as a value, as `answer` does; text that is no plain JSON as text."""
        shown = self.answer(text)
        try:
            return None if shown is None else _read(shown)
        except (ValueError, RecursionError):
            return shown

    def prose(self, text: str | None) -> str | None:
        """Show an error or a hint without anything that looks like a key, a token or a password."""
        shown = self.answer(text)
        if not shown:
            return shown
        shown = redact(shown)
        return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", shown) if "=" in shown else shown

    def config(self, text: str | None) -> Any:
        """Show `task_extra_config` as a value, secrets by their names hidden; what is no plain JSON as text."""
        try:
            if text is None:
                return None
            # Without escapes each text in it is a piece of the whole: where the whole hides nothing, no piece does.
            hides_nothing = "\\" not in text and self.prose(text) == text
            return _hide(_read(text), _as_it_is if hides_nothing else self.prose)
        except (ValueError, RecursionError):
            return self.prose(text)

    def columns(self, text: str | None) -> Any:
        """Show columns of a task, which are JSON; its config, which may be a text in it, as the object it is.

        The value is shared and not to be changed.
        """
        return self.columns_beside(text)[0]

    def columns_beside(self, text: str | None) -> tuple[Any, Any]:
        """Show columns as `columns` does, and beside them as `answer_json` does, to compare what is hidden."""
        # The newest changes are asked for again and again, and stay what they are.
        look = self._known_columns if len(text or "") <= LONGEST_KNOWN_TEXT else self._columns
        return look(text)

    def _columns(self, text: str | None) -> tuple[Any, Any]:
        values, raw = self.config(text), self.answer_json(text)
        if isinstance(values, dict) and isinstance(raw, dict) and isinstance(raw.get("task_extra_config"), str):
            values["task_extra_config"] = self.config(raw["task_extra_config"])
        return values, raw


def _as_it_is(text: str) -> str | None:
    return text


def _hide(value: Any, prose: Callable[[str], str | None], *, of_headers: bool = False) -> Any:
    if isinstance(value, str):
        return prose(value)
    if isinstance(value, dict):
        return {
            name: HIDDEN
            if inner is not None and _is_secret(name, of_headers=of_headers)
            else _hide(inner, prose, of_headers=name.lower() == "headers")
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_hide(inner, prose) for inner in value]
    return value


def _read(text: str) -> Any:
    """Read JSON that every JSON reader can read back. Raises ValueError: too deep, infinite, half a character."""
    value = _READER.decode(text)
    # What is deep has many brackets, and half a character is always escaped: other texts need not be gone through.
    is_plain = "\\" not in text and text.count("{") + text.count("[") <= MAX_DEPTH
    return value if is_plain else _plain(value)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("no finite number")
    return number


_READER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for name, inner in value.items():
            name.encode()
            _plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _plain(inner, depth + 1)
    elif isinstance(value, str):
        value.encode()
    return value


def _is_secret(name: str, *, of_headers: bool) -> bool:
    """True for a name that stands for a secret, and for every header but the plainest: any may carry a key."""
    sounds_secret = _known_name if len(name) <= LONGEST_KNOWN_NAME else _SECRET_NAME.search
    return bool(sounds_secret(name)) or (of_headers and name.lower() not in PLAIN_HEADERS)


@lru_cache(maxsize=4096)
def _known_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _secrets_of(settings: Settings) -> Iterable[str]:
    for name, value in settings:
        if isinstance(value, SecretStr):
            whole = value.get_secret_value()
            yield from (part.rpartition(":")[0].strip() for part in whole.split(",") if name == "api_tokens")
            yield whole
    for url in (settings.database_url, *settings.broker_url.split(";")):
        password = urlsplit(url).password or ""
        yield from (password, unquote(password))
