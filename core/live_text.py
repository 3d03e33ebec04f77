"""A streamed answer on its way to those who watch: where it passes, how it is put together, what it may show.

A worker sends pieces, each with the place where it begins. Whoever reads may miss the first ones, or get some twice:
a piece that leaves a gap is passed over, since the whole text follows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

HIDDEN: Final = "***"
#: A sorted set of the run ids that somebody watches, each with the second, by the server's clock, until which.
WATCHED: Final = "live:watched"
WATCHED_SECONDS: Final = 10
#: Seconds after which text and lines that nobody watches any more are gone.
KEPT_SECONDS: Final = 30
#: The longest text that is shown on its way; the rest is in the run once it has ended.
MOST_CHARACTERS: Final = 200_000
MOST_LINES: Final = 200
#: So many first characters of a secret are not shown though nothing follows them.
TELLING: Final = 4


def text_key(run_id: str, attempt: int) -> str:
    """Name the stream of one attempt's text: another attempt's never comes into it."""
    return f"live:text:{run_id}:{attempt}"


def lines_key(run_id: str) -> str:
    """Name the stream of what workers log about a run."""
    return f"live:lines:{run_id}"


@dataclass(slots=True)
class Tail:
    """What has arrived of one attempt's answer, always from its beginning."""

    text: str = ""
    version: int = 0
    """Grows when the agent takes back what it said and begins anew."""

    def take(self, version: int, at: int, piece: str) -> bool:
        """Add a piece that begins at `at`; what is known already is passed over. True: the text has changed."""
        begins_anew = version > self.version
        known = 0 if begins_anew else len(self.text)
        if version < self.version or at > known:
            return False
        new = piece[known - at :]
        self.text = new if begins_anew else self.text + new
        self.version = version
        return begins_anew or bool(new)


def without_secrets(text: str, secrets: Iterable[str], *, more_follows: bool) -> str:
    """Hide secrets in a text that grows. While more follows, an end that may be the beginning of one is kept back.

    A text that was cut may end within a secret: such an end is hidden too, unless it is so short that any text has it.
    """
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
        begun = _begun(text, secret)
        if more_follows:
            text = text[: len(text) - begun]
        elif begun >= TELLING:
            text = text[: len(text) - begun] + HIDDEN
    return text


def _begun(text: str, secret: str) -> int:
    """Count the characters at the end of a text with which a secret begins."""
    longest = min(len(text), len(secret) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(secret[:length])), 0)
