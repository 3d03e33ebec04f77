"""Documents as files: which may be read, and what they say."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 50 * 1024**2
WALL_SECONDS: Final = 120.0
KINDS: Final = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
ROOT: Final = Path(__file__).resolve().parents[2]


class DocumentFault(Exception):
    """A document that cannot be had or read: the same call fails again until somebody mends it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text. `digest` is the SHA-256 of its bytes; Markdown and DOCX have Markdown headings."""

    path: Path
    kind: str
    digest: str
    text: str

    @property
    def has_headings(self) -> bool:
        """True where the text is to be cut along headings."""
        return self.kind in {"markdown", "docx"}


def find(file_path: str, roots: Sequence[Path]) -> Path:
    """Find a file under one of the roots; a relative path is looked for in each. Raises DocumentFault.

    A link that leads out of the roots is no way out of them.
    """
    known = [root.resolve() for root in roots]
    for root in known:
        try:
            path = (root / file_path).resolve()
            inside = any(path.is_relative_to(each) for each in known) and path.is_file()
        except (OSError, ValueError):  # a name too long, a zero byte
            continue
        if inside:
            return path
    where = ", ".join(map(str, roots)) or "none"
    raise DocumentFault(f"{file_path!r} is no file under KNOWLEDGE_ROOTS ({where})")


def every(folder: Path) -> Iterator[Path]:
    """Name the readable files of a folder and those below it, in a stable order; hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in KINDS and not hidden and path.is_file():
            yield path


def digest_of(path: Path) -> str:
    """Compute a file's SHA-256. Raises DocumentFault."""
    return hashlib.sha256(_content(path)).hexdigest()


def read(path: Path) -> Document:
    """Read a document's text, in a child process with limits. Raises DocumentFault."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DocumentFault(f"{path.name}: files of this kind are not read; use {', '.join(sorted(KINDS))}")
    content = _content(path)
    text = _extracted(path.name, kind, content)
    if not text.strip():
        raise DocumentFault(f"{path.name} holds no text")
    return Document(path, kind, hashlib.sha256(content).hexdigest(), text)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentFault(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise DocumentFault(f"{path.name} is larger than {MAX_BYTES:,} bytes; split it")
    return content


def _extracted(name: str, kind: str, content: bytes) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "packs.assistant.extraction", kind],
            input=content,
            capture_output=True,
            cwd=ROOT,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # and none of our secrets
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DocumentFault(f"{name} was not read within {WALL_SECONDS:g} s") from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise DocumentFault(f"{name} cannot be read: {last or f'its reader ended with {done.returncode}'}")
    answer = json.loads(done.stdout)
    if "fault" in answer:
        raise DocumentFault(f"{name}: {answer['fault']}")
    return str(answer["text"]).encode("utf-8", "replace").decode()
