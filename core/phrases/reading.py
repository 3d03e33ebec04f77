"""A schedule in words, read: one rule, a question, or the words that were not understood.

Every word of the phrase belongs to a piece, and every piece to the rule; there is no default for what was not said but
midnight, which is told. What people mean in two ways is asked about, not guessed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, product
from typing import Any, Final

from core.phrases.assembling import meanings_of
from core.phrases.days import Choice, Said
from core.phrases.halves import halve
from core.phrases.meaning import Meaning, Unsayable, columns_of
from core.phrases.pieces import LISTS, Kind, Piece
from core.phrases.scanning import MOST_CHARACTERS, plain, scan

MOST_CHOICES: Final = 16
TOTAL: Final = re.compile("total|满")
DAYS_SAID: Final = frozenset(
    {Kind.CALENDAR, Kind.WEEKDAYS, Kind.OPEN_DAY, Kind.NTH, Kind.MONTHS, Kind.MONTH_DAYS, Kind.DATE}
)
DOTTED: Final = re.compile(r"\d{1,2}\.\d\d")
MOST_COMBINATIONS: Final = 512


@dataclass(frozen=True, slots=True)
class Read:
    """One way to read the phrase."""

    meaning: Meaning
    columns: dict[str, Any]
    notes: tuple[str, ...] = ()
    """Keys of the catalogue in `saying.py`: what was not said and is taken so."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer: exactly one reading, or several to choose from, or none and why."""

    readings: tuple[Read, ...] = ()
    question: str = ""
    """What has to be decided; a key of the catalogue."""
    unknown: tuple[str, ...] = ()
    reason: str = ""
    """Why no row can be made of it; a key of the catalogue."""

    @property
    def status(self) -> str:
        """rule, ambiguous or unknown."""
        return "unknown" if not self.readings else "rule" if len(self.readings) == 1 else "ambiguous"


def read(phrase: str, now: datetime, zone: str) -> Reading:
    """Read a phrase at the aware moment `now`, for a row whose zone is `zone` unless the phrase names one."""
    if len(phrase) > MOST_CHARACTERS:
        return Reading(reason="too_long")
    found = scan(plain(phrase))
    if found.unknown:
        return Reading(unknown=found.unknown, reason="words")
    try:
        slots = _slots(found.pieces)
    except _Stray as stray:
        return Reading(unknown=(stray.text,), reason=stray.reason)
    if not slots:
        return Reading(reason="nothing")
    try:
        halve(slots)
    except Unsayable as error:
        return Reading(reason=error.reason)
    return _decide(slots, now, zone)


class _Stray(Exception):
    """A piece that has no place beside the others."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.text, self.reason = text, reason


def _slots(pieces: Sequence[Piece]) -> dict[Kind, list[Piece]]:
    """Gather the pieces by kind; those of a list must stand in a row. Raises _Stray."""
    slots: dict[Kind, list[Piece]] = {}
    before: Piece | None = None
    joint: Piece | None = None
    for piece in pieces:
        if piece.kind is Kind.FILLER:
            continue
        if piece.kind is Kind.AND:
            if before is None or joint is not None:
                raise _Stray(piece.text, "words")
            joint = piece
            continue
        if before is not None:
            _see_beside(before, piece, slots)
        is_list = before is not None and before.kind is piece.kind and piece.kind in LISTS
        if joint is not None and not is_list:
            raise _Stray(f"{joint.text} {piece.text}", "two_rules")
        if piece.kind is Kind.EVERY and piece.kind in slots:
            slots[piece.kind] = [_finer(slots[piece.kind][0], piece)]
        elif piece.kind in slots and not is_list:
            raise _Stray(piece.text, "two_rules")
        else:
            slots.setdefault(piece.kind, []).append(piece)
        before, joint = piece, None
    if joint is not None:
        raise _Stray(joint.text, "words")
    return slots


def _see_beside(before: Piece, piece: Piece, slots: dict[Kind, list[Piece]]) -> None:
    """Read what two neighbours mean together and neither alone; raise _Stray where no row can hold that."""
    if before.kind is Kind.DATE and piece.kind is Kind.END:
        if before.repeats:
            raise _Stray(piece.text, "two_rules")
        slots[Kind.START] = [replace(each, kind=Kind.START) for each in slots.pop(Kind.DATE)]
    if _is_every_other(before, piece):
        raise _Stray(f"{before.text} {piece.text}", "words")
    is_alone = piece.kind is Kind.TIMES and before.kind is not Kind.TIMES and piece.text.startswith((",", "and", "&"))
    if is_alone or _is_per(before, piece) or _is_date(before, piece):
        raise _Stray(piece.text, "words")


def _is_per(before: Piece, piece: Piece) -> bool:
    """ "Every day at most 3 times" is 3 times a day, not 3 runs and no more."""
    return {before.kind, piece.kind} == {Kind.EVERY, Kind.COUNT} and not TOTAL.search(piece.text)


def _is_every_other(before: Piece, piece: Piece) -> bool:
    """ "Every second trading day" is every other one; "every second on trading days" is each second."""
    said = before.text.endswith(("every second", "each second"))
    return said and piece.kind in DAYS_SAID and not piece.text.startswith("on ")


def _is_date(before: Piece, piece: Piece) -> bool:
    """12.09 before 9:09 is a date, which is written 12-09 or 12月9日."""
    return before.kind is piece.kind is Kind.TIMES and bool(DOTTED.match(before.text)) and ":" in piece.text


def _finer(one: Piece, other: Piece) -> Piece:
    """ "Every day, every 30 minutes" is every 30 minutes. Raises _Stray for two rules that do not go together."""
    for piece, rest in ((one, other), (other, one)):
        if piece.options == (("day", 1),) and rest.options[0][0] in ("second", "minute", "hour"):
            return rest
    raise _Stray(other.text, "two_rules")


def _decide(slots: dict[Kind, list[Piece]], now: datetime, zone: str) -> Reading:
    found: dict[Meaning, tuple[Read, tuple[str, ...]]] = {}
    reason = ""
    for said, questions in islice(_combinations(slots), MOST_COMBINATIONS):
        try:
            for choice in meanings_of(said, now, zone):
                _take(found, choice, questions)
        except Unsayable as error:
            reason = reason or error.reason
    # Midnight may begin a day or end it: where a row can hold only the one, the other may still be meant.
    is_half = reason == "end_of_day" and all(0 in meaning.times for meaning in found)
    if not found or is_half:
        return Reading(reason=reason or "combination")
    readings = tuple(read for read, _ in found.values())
    if len(readings) == 1:
        return Reading(readings)
    if len(readings) > MOST_CHOICES:
        return Reading(reason="too_many_readings")
    return Reading(readings, question=_question(found.values()))


def _take(found: dict[Meaning, tuple[Read, tuple[str, ...]]], choice: Choice, questions: tuple[str, ...]) -> None:
    meaning = choice.meaning
    found.setdefault(meaning, (Read(meaning, columns_of(meaning), choice.notes), (*questions, *choice.questions)))


def _question(found: Any) -> str:
    """Name what the readings differ in; the first where they differ in several things."""
    return next((question for _, questions in found for question in questions if question), "which")


def _combinations(slots: dict[Kind, list[Piece]]) -> Iterator[tuple[Said, tuple[str, ...]]]:
    """Name every way to take the pieces' options together, the first options first."""
    flat = [piece for pieces in slots.values() for piece in pieces]
    questions = tuple(piece.question for piece in flat if piece.question)
    repeats = frozenset(piece.kind for piece in flat if piece.repeats)
    for options in product(*(piece.options for piece in flat)):
        values: dict[Kind, list[Any]] = {}
        for piece, option in zip(flat, options, strict=True):
            values.setdefault(piece.kind, []).append(option)
        yield Said(values, repeats), questions
