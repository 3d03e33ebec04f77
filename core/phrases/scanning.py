"""Taking a phrase apart: at each place the longest known words; what nothing knows is named, never passed over."""

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

from core.phrases import chinese, english
from core.phrases.pieces import SHARED, Kind, Piece, Reader

MOST_CHARACTERS: Final = 300
SIMPLE: Final = str.maketrans(
    "週個點兩號鐘隔開從時後節與於執動務請間總結禮東紐約倫盤內國運觸發進",
    "周个点两号钟隔开从时后节与于执动务请间总结礼东纽约伦盘内国运触发进",
)
BLANKS: Final = re.compile(r"\s+")
# Chinese is written without blanks, or with some beside digits and foreign words: they mean nothing there.
BESIDE_CHINESE: Final = re.compile(r"(?<=[\u4e00-\u9fff]) +| +(?=[\u4e00-\u9fff])")
UNKNOWN: Final = re.compile(r"[a-z0-9'./:+-]+|.")
WORD: Final = re.compile(r"[a-z0-9]")


class Row(NamedTuple):
    """A line of the tables, ready to use."""

    kind: Kind
    pattern: "re.Pattern[str]"
    read: Reader


class Scanned(NamedTuple):
    """The pieces in order, and the words that none of the tables knows."""

    pieces: tuple[Piece, ...]
    unknown: tuple[str, ...]


def plain(phrase: str) -> str:
    """Write a phrase as the tables expect it: half-width, lower case, simplified characters, single blanks."""
    text = unicodedata.normalize("NFKC", phrase).lower().translate(SIMPLE).replace("’", "'")
    return BESIDE_CHINESE.sub("", BLANKS.sub(" ", text)).strip()


@lru_cache(maxsize=1)
def _table() -> tuple[Row, ...]:
    rows = [*SHARED, *english.ROWS, *chinese.ROWS]
    return tuple(Row(kind, re.compile(pattern), read) for kind, pattern, read in rows)


@lru_cache(maxsize=256)
def scan(text: str) -> Scanned:
    """Take a plain phrase apart. A piece of ASCII ends where a word ends: `mon` is not in `month`."""
    pieces: list[Piece] = []
    unknown: list[str] = []
    place = 0
    while place < len(text):
        if text[place] == " ":
            place += 1
            continue
        piece = _longest(text, place)
        if piece is None:
            word = UNKNOWN.match(text, place)
            unknown.append(word[0] if word else text[place])
            place += len(unknown[-1])
            continue
        place += len(piece.text)
        pieces.append(piece)
    return Scanned(tuple(pieces), _joined(unknown, text))


def _longest(text: str, place: int) -> Piece | None:
    best: Piece | None = None
    for kind, pattern, read in _table():
        found = pattern.match(text, place)
        if found is None or found.end() == place or _cuts_a_word(text, found.end()):
            continue
        if best is not None and found.end() - place <= len(best.text):
            continue
        told = read(found)
        if told is not None:
            best = Piece(kind, told.options, found[0], told.repeats, told.question if len(told.options) > 1 else "")
    return best


def _cuts_a_word(text: str, end: int) -> bool:
    return end < len(text) and bool(WORD.match(text[end - 1])) and bool(WORD.match(text[end]))


def _joined(words: list[str], text: str) -> tuple[str, ...]:
    """Write unknown characters that stand beside each other as one word."""
    joined: list[str] = []
    for word in words:
        if joined and len(word) == 1 and not word.isascii() and joined[-1] + word in text:
            joined[-1] += word
        else:
            joined.append(word)
    return tuple(joined)
