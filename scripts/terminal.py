"""What `make run` says: numbered steps with their time, a counter that stays on its line, a table."""

import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

NARROW: Final = 60
WIDE: Final = 120


class Steps:
    """Numbered steps, one line each. A terminal sees the counter move; a pipe gets whole lines and no control codes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._title = ""
        self._shown = ""
        self._moves = sys.stdout.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and on a terminal how long it took once it is done."""
        self._number += 1
        self._title, self._shown = f"[{self._number}/{self._total}] {title}", ""
        started = time.monotonic()
        say(self._title, end="" if self._moves else "\n")
        try:
            yield
        except BaseException:
            if self._moves:
                say()
            raise
        if self._moves:
            line = f"{self._title} ({time.monotonic() - started:.1f} s)".ljust(len(self._title) + 2 + len(self._shown))
            say("\r" + line[: shutil.get_terminal_size().columns - 1])

    def progress(self, state: str) -> None:
        """Show how far the step is; the same words twice are shown once."""
        if state == self._shown:
            return
        if self._moves:
            line = f"{self._title}: {state}".ljust(len(self._title) + 2 + len(self._shown))
            say("\r" + line[: shutil.get_terminal_size().columns - 1], end="")
        else:
            say(f"      {state}")
        self._shown = state


def say(text: str = "", *, end: str = "\n") -> None:
    """Print now: whoever watches through a pipe waits too."""
    print(text, end=end, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under a head; the last column takes what the terminal leaves and is cut there."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROW), WIDE)
    cells = [[_one_line(cell) for cell in row] for row in (head, *rows)]
    columns = [max(_width(row[index]) for row in cells) for index in range(len(head))]
    columns[-1] = max(10, min(columns[-1], width - 2 - sum(columns[:-1]) - 2 * len(columns)))
    lines = ["  " + "  ".join(_fit(cell, size) for cell, size in zip(row, columns, strict=True)) for row in cells]
    lines.insert(1, "  " + "  ".join("-" * size for size in columns))
    return "\n".join(line.rstrip() for line in lines)


def _one_line(text: str) -> str:
    return " ".join("".join(" " if unicodedata.category(one).startswith("C") else one for one in text).split())


def _width(text: str) -> int:
    """Count terminal columns: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _fit(text: str, size: int) -> str:
    if _width(text) > size:
        while _width(text) > size - 3:
            text = text[:-1]
        text += "..."
    return text + " " * (size - _width(text))
