"""Morning or evening: what the words around a time of day say about one that a clock shows twice a day."""

import re
from dataclasses import replace
from itertools import product
from typing import Any, Final

from core.phrases.chinese import PARTS
from core.phrases.english import TONIGHT
from core.phrases.meaning import Unsayable
from core.phrases.pieces import Kind, Piece, any_of, within

HALF_DAY: Final = 720
MARKED: Final = re.compile(rf"(?:am|pm|a\.m\.|p\.m\.|morning|afternoon|evening|night)$|{any_of(PARTS)}")


def halve(slots: dict[Kind, list[Piece]]) -> None:
    """Leave of each time's meanings those that its neighbours admit. Raises Unsayable where they admit none."""
    if Kind.TIMES in slots:
        slots[Kind.TIMES] = _inherited(slots[Kind.TIMES])
        parts = [str(period.options[0]) for period in slots.get(Kind.PERIOD, ())]
        parts += ["evening" for day in slots.get(Kind.RELATIVE, ()) if day.text == TONIGHT]
        for part in parts:
            slots[Kind.TIMES] = [_in_part(piece, part) for piece in slots[Kind.TIMES]]
    if Kind.WINDOW in slots:
        slots[Kind.WINDOW] = [_window(piece) for piece in slots[Kind.WINDOW]]


def _inherited(pieces: list[Piece]) -> list[Piece]:
    """ "9 and 11am" are both in the morning, and so are 上午9点和11点: where that keeps the order of the list."""
    found = list(pieces)
    for place, piece in enumerate(pieces):
        if len(piece.options) < 2 or MARKED.search(piece.text):
            continue
        before = found[place - 1] if place else None
        after = next((each for each in pieces[place + 1 :] if MARKED.search(each.text)), None)
        kept: tuple[Any, ...] = ()
        if before is not None and len(before.options) == 1 and not before.text.isascii():
            kept = tuple(one for one in piece.options if _same_half(one, before.options[0]) and one > before.options[0])
        elif after is not None and len(after.options) == 1 and after.text.isascii():
            kept = tuple(one for one in piece.options if _same_half(one, after.options[0]) and one < after.options[0])
        if len(kept) == 1:
            found[place] = replace(piece, options=kept, question="")
    return found


def _same_half(one: int, other: int) -> bool:
    return one // HALF_DAY == other // HALF_DAY


def _in_part(piece: Piece, part: str) -> Piece:
    kept = within(piece.options, part)
    if not kept:
        raise Unsayable("time_of_day")
    return replace(piece, options=kept, question=piece.question if len(kept) > 1 else "")


def _window(piece: Piece) -> Piece:
    """From 9 to 5 is a working day: where one way to read both runs within a day, the others are not meant."""
    ((firsts, lasts, is_open),) = piece.options
    pairs = [(first, last, is_open) for first, last in product(firsts, lasts) if first != last]
    forward = [pair for pair in pairs if pair[0] < pair[1]]
    kept = tuple(forward or pairs)
    if not kept:
        raise Unsayable("combination")
    return replace(piece, options=kept, question="which_half" if len(kept) > 1 else "")
