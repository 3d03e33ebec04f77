"""Documents: what is read, what is refused, and how a text is cut."""

import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from packs.assistant import chunking, documents, extraction
from packs.assistant.documents import DocumentFault
from packs.assistant.embeddings import count_tokens
from tests.packs import library


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return library.write_all(tmp_path_factory.mktemp("library"))


def test_every_kind_of_document_gives_its_text(files: dict[str, Path]) -> None:
    texts = {kind: documents.read(file).text for kind, file in files.items()}

    assert texts["text"] == library.LEAVE
    assert texts["markdown"] == f"# Notices\n\n## Kitchen\n\n{library.KITCHEN}\n"
    assert texts["html"] == f"菜谱\n{library.PORK}"
    assert texts["docx"] == f"## Passwords\n\n{library.PASSWORD}\n\nHelp desk | extension 42"
    assert texts["pdf"].strip() == library.MOUTAI


def test_html_keeps_a_line_for_each_block_and_a_space_between_cells() -> None:
    page = "<p>Hello <b>bold</b> world</p><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>tail"

    assert extraction.html(page.encode()) == "Hello bold world\na b\nc\ntail"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("e.pdf", b"%PDF-1.7 and then nothing", "no PDF, or broken"),
        ("e.docx", b"PK\x03\x04 and then nothing", "no DOCX, or broken"),
        ("e.txt", b"\x00\x01\x02\xff", "no text in UTF-8"),
        ("e.txt", b"  \n ", "holds no text"),
        ("e.exe", b"MZ", "files of this kind are not read; use .docx"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DocumentFault, match=why):
        documents.read(tmp_path / name)


def test_a_pdf_of_pictures_says_that_it_needs_recognition(tmp_path: Path) -> None:
    library.write_pdf(tmp_path / "scan.pdf", "")

    with pytest.raises(DocumentFault, match="OCR"):
        documents.read(tmp_path / "scan.pdf")


def test_a_file_that_unpacks_to_more_than_the_memory_ends_its_reader_and_nobody_else(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.docx"
    library.write_docx(bomb)
    parts = {name: zipfile.ZipFile(bomb).read(name) for name in zipfile.ZipFile(bomb).namelist()}
    parts["word/document.xml"] = parts["word/document.xml"].replace(b"<w:body>", b"<w:body>" + b"<w:p/>" * 10_000_000)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    assert bomb.stat().st_size < documents.MAX_BYTES

    with pytest.raises(DocumentFault, match=r"bomb\.docx"):
        documents.read(bomb)


def test_more_text_than_a_worker_should_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"word " * (extraction.MAX_CHARS // 5) + b"!")

    with pytest.raises(DocumentFault, match="20,000,000 characters of text; split it"):
        documents.read(tmp_path / "long.txt")


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "link.txt", "a\0b", "x" * 5000, "missing.txt", "."])
def test_nothing_outside_of_the_roots_is_found(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")

    with pytest.raises(DocumentFault, match="no file under KNOWLEDGE_ROOTS"):
        documents.find(name, [root])


def test_a_file_is_found_by_a_relative_and_by_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    file = tmp_path / "b" / "here.txt"
    file.write_text("x")

    assert documents.find("here.txt", [tmp_path / "a", tmp_path / "b"]) == file
    assert documents.find(str(file), [tmp_path]) == file


def test_chunks_hold_the_whole_text_and_no_more_tokens_than_asked() -> None:
    text = "\n\n".join(f"第{number}条：{library.LEAVE}{library.KITCHEN}" for number in range(30))

    chunks = chunking.chunks(text, 100, 0, count_tokens)

    assert max(map(count_tokens, chunks)) <= 100
    assert "".join("".join(chunks).split()) == "".join(text.split())


def test_neighbours_share_the_overlap() -> None:
    text = " ".join(f"word{number}" for number in range(300))

    chunks = chunking.chunks(text, 60, 20, count_tokens)

    for before, after in pairwise(chunks):
        assert set(before.split()) & set(after.split())


def test_markdown_is_cut_at_its_headings() -> None:
    text = f"# Kitchen\n\n{library.KITCHEN}\n\n# Passwords\n\n{library.PASSWORD}\n"

    chunks = chunking.chunks(text, 40, 0, count_tokens, headings=True)

    assert [chunk.split("\n")[0] for chunk in chunks] == ["# Kitchen", "# Passwords"]


@pytest.mark.parametrize(("size", "overlap"), [(15, 0), (8193, 0), (100, 100), (100, -1)])
def test_sizes_without_sense_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="use "):
        chunking.chunks("text", size, overlap, count_tokens)
