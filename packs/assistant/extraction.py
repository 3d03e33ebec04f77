"""The text of a document, drawn out in a process of its own: python -m packs.assistant.extraction pdf < report.pdf

A document comes from anybody: one that asks for gigabytes, loops, or breaks its parser ends this one, and no worker.
Answers with one JSON object: {"text": …} or {"fault": "what is wrong with the document"}.
"""

import json
import resource
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final
from zipfile import BadZipFile

CPU_SECONDS: Final = 60
MEMORY: Final = 1024**3  # bytes of addresses
MAX_CHARS: Final = 20_000_000  # a worker holds the text in its own memory
NOT_SHOWN: Final = ["script", "style", "noscript", "template", "svg"]
BLOCKS: Final = "p, div, section, article, h1, h2, h3, h4, h5, h6, li, tr, br, pre, blockquote, dt, dd, table, ul, ol"


class Fault(Exception):
    """The document cannot be read; the message says why."""


def plain(content: bytes) -> str:
    """Read text in UTF-8, UTF-16 with a mark, or GB 18030, which GBK and GB 2312 are part of. Raises Fault."""
    for encoding in ["utf-16"] if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "gb18030"]:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise Fault("it is no text in UTF-8, UTF-16 or GB 18030")


def html(content: bytes) -> str:
    """Read what a page shows: no scripts, no styles, a line for each block."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(plain(content))
    tree.strip_tags(NOT_SHOWN)
    if tree.body is None:
        return ""
    for node in tree.body.css(BLOCKS):
        node.insert_before("\n")
        node.insert_after("\n")
    for cell in tree.body.css("td, th"):
        cell.insert_after(" ")
    lines = (" ".join(line.split()) for line in tree.body.text().splitlines())
    return "\n".join(filter(None, lines))


def pdf(content: bytes) -> str:
    """Read the text of every page. Raises Fault for a file that is locked, broken, or holds pictures only."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower()
        raise Fault("it needs a password" if is_locked else "it is no PDF, or broken") from error
    pages = [page.get_textpage().get_text_bounded() for page in document]
    if not any(page.strip() for page in pages):
        raise Fault("its pages hold no text; pictures of text must be recognised (OCR) before")
    return "\n\n".join(page.replace("\r\n", "\n") for page in pages)


def docx(content: bytes) -> str:
    """Read paragraphs and tables in their order; headings as in Markdown. Raises Fault."""
    from docx import Document
    from docx.opc.exceptions import PackageNotFoundError

    try:
        document = Document(BytesIO(content))
        return "\n\n".join(filter(None, _blocks(document)))
    except (PackageNotFoundError, BadZipFile, KeyError, ValueError) as error:
        raise Fault("it is no DOCX, or broken") from error


def _blocks(document: Any) -> Iterator[str]:
    from docx.table import Table

    for block in document.iter_inner_content():
        if isinstance(block, Table):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows)
            continue
        style = block.style.name if block.style is not None else ""
        level = style.removeprefix("Heading ")
        mark = "#" * int(level) + " " if style.startswith("Heading ") and level.isdecimal() else ""
        yield mark + block.text.strip() if block.text.strip() else ""


READERS: Final[dict[str, Callable[[bytes], str]]] = {
    "text": plain,
    "markdown": plain,
    "html": html,
    "pdf": pdf,
    "docx": docx,
}


def main() -> None:
    """Read a document from stdin within the limits, and write its text."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        text = READERS[sys.argv[1]](sys.stdin.buffer.read())
        if len(text) > MAX_CHARS:
            raise Fault(f"it holds more than {MAX_CHARS:,} characters of text; split it")
        answer = {"text": text}
    except Fault as fault:
        answer = {"fault": str(fault)}
    except MemoryError:
        answer = {"fault": f"it takes more than {MEMORY:,} bytes of memory"}
    # ASCII: half a character, which a broken file may hold, is none that a pipe takes.
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
