"""A text in pieces of so many tokens, cut where it has its joints: headings, paragraphs, sentences, words."""

from collections.abc import Callable
from typing import Final

SMALLEST: Final = 16  # tokens
LARGEST: Final = 8192


def check(chunk_size: int, chunk_overlap: int) -> None:
    """Raise ValueError where no chunks can be made so; the message says what to write instead."""
    if not isinstance(chunk_size, int) or not SMALLEST <= chunk_size <= LARGEST:
        raise ValueError(f"chunk_size is {chunk_size!r}; use {SMALLEST} to {LARGEST} tokens")
    if not isinstance(chunk_overlap, int) or not 0 <= chunk_overlap < chunk_size:
        raise ValueError(f"chunk_overlap is {chunk_overlap!r}; use 0 to {chunk_size - 1}, less than chunk_size")


def chunks(
    text: str, chunk_size: int, chunk_overlap: int, count: Callable[[str], int], *, headings: bool = False
) -> list[str]:
    """Cut a text into chunks of at most `chunk_size` tokens, as `count` counts them, in their order.

    Neighbours share up to `chunk_overlap` tokens. `headings`: the text is Markdown, and is cut along its headings.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    check(chunk_size, chunk_overlap)
    splitter = MarkdownSplitter if headings else TextSplitter
    return splitter.from_callback(count, chunk_size, overlap=chunk_overlap).chunks(text)
