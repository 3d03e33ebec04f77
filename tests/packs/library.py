"""Documents for the knowledge base, of every kind, in Chinese and English."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

LEAVE: Final = "员工请假须提前三个工作日提交申请，由部门经理批准。病假须附医院证明。"
KITCHEN: Final = "The office kitchen is closed on Friday for cleaning. Please empty the fridge the evening before."
PORK: Final = "红烧肉的做法：五花肉切块焯水，加冰糖炒糖色，加酱油和黄酒，小火炖一小时。"
PASSWORD: Final = "To reset a password open the settings, choose security, and follow the link in the e-mail."
MOUTAI: Final = "贵州茅台二〇二四年营业收入同比增长百分之十五，净利润再创新高。"


def write_all(folder: Path) -> dict[str, Path]:
    """Write one document of each kind that is read, by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for kind, (name, content) in _contents().items():
        files[kind] = folder / name
        files[kind].write_bytes(content)
    return files


@cache
def _contents() -> dict[str, tuple[str, bytes]]:
    head = "<html><head><title>no</title><style>p {}</style></head>"
    page = f"{head}<body><h1>菜谱</h1><script>alert(1)</script><p>{PORK}"
    with TemporaryDirectory() as folder:
        docx, pdf = Path(folder) / "d.docx", Path(folder) / "d.pdf"
        write_docx(docx)
        write_pdf(pdf, MOUTAI)
        return {
            "text": ("leave.txt", LEAVE.encode("gb18030")),
            "markdown": ("kitchen.md", f"# Notices\n\n## Kitchen\n\n{KITCHEN}\n".encode()),
            "html": ("pork.html", page.encode()),
            "docx": ("password.docx", docx.read_bytes()),
            "pdf": ("moutai.pdf", pdf.read_bytes()),
        }


def write_docx(file: Path) -> None:
    from docx import Document

    document = Document()
    document.add_heading("Passwords", level=2)
    document.add_paragraph(PASSWORD)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Help desk", "extension 42"
    document.save(str(file))


def write_pdf(file: Path, *pages: str) -> None:
    """Set a PDF whose pages hold these texts; an empty one is a page with a picture only."""
    import typst
    from noto_cjk_sans_otc import FONT_PATH

    drawn = "#rect(width: 3cm, height: 2cm, fill: blue)"
    body = "\n#pagebreak()\n".join(page or drawn for page in pages)
    source = f'#set text(font: "Noto Sans CJK SC")\n{body}'
    typeset: Any = typst.compile
    file.write_bytes(typeset(source.encode(), font_paths=[str(FONT_PATH.parent)], ignore_system_fonts=True))
