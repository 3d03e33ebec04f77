"""What stands in a report, before anybody has said how it looks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

MAX_LISTED: Final = 80  # characters


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts below their heads. `numbers`: which columns are set to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with paragraphs, a table, and charts (SVG)."""

    title: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    charts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A report. `name`: its files', without an ending."""

    name: str
    title: str
    subtitle: str
    sections: Sequence[Section] = field(default_factory=list)


def file_name(beginning: str, symbols: Sequence[str]) -> str:
    """Name the files of a report on some symbols; other symbols have other files, however many they are."""
    listed = "-".join(symbols)
    if len(listed) > MAX_LISTED:
        listed = f"{listed[:MAX_LISTED]}-{sha256(listed.encode()).hexdigest()[:12]}"
    return f"{beginning}-{listed}"


def percent(fraction: float | None) -> str:
    """Write a change: +1.25%."""
    return "—" if fraction is None else f"{fraction:+.2%}"


def share(fraction: float | None) -> str:
    """Write a part of a whole: 12.5%."""
    return "—" if fraction is None else f"{fraction:.1%}"


def money(amount: float | None) -> str:
    """Write an amount: 1,234.50."""
    return "—" if amount is None else f"{amount:,.2f}"


def number(value: float | None, places: int = 2) -> str:
    """Write a figure."""
    return "—" if value is None else f"{value:.{places}f}"
