"""The pages of docs/operate and of the packs: both languages say the same, links lead somewhere, figures have lines."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from config import BASE_DIR

FOLDER: Final = BASE_DIR / "docs" / "operate"
CHINESE: Final = ".zh-CN.md"
READMES: Final = [BASE_DIR / "README.md", BASE_DIR / f"README{CHINESE}"]
PAGES: Final = [*READMES, *sorted((BASE_DIR / "docs").glob("PACKS*.md")), *sorted(FOLDER.glob("*.md"))]
ENGLISH: Final = [page for page in PAGES if not page.name.endswith(CHINESE)]
ASKED_FOR: Final = {"install", "secure", "backup", "upgrade", "legacy", "machines", "capacity", "incidents"}
README_LINES: Final = 350


def chinese(page: Path) -> Path:
    return page.with_name(page.name.removesuffix(".md") + CHINESE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shape(page: Path) -> tuple[list[str], list[str], int]:
    """Levels of headings, blocks of code without their placeholders, and rows of tables."""
    text = text_of(page)
    blocks = re.findall(r"^```(?:bash|sql|json|ini)\n.*?```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?```", "", text, flags=re.DOTALL | re.MULTILINE)
    levels = re.findall(r"^(#+) ", prose, re.MULTILINE)
    return (
        levels,
        [re.sub(r"<[^<>\n]+>", "<…>", block) for block in blocks],
        len(re.findall(r"^\|", prose, re.MULTILINE)),
    )


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_that_was_promised_is_there_in_both_languages() -> None:
    assert {page.stem for page in ENGLISH} >= ASKED_FOR
    assert [page for page in ENGLISH if not chinese(page).is_file()] == []


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_both_languages_have_the_same_headings_commands_and_rows(page: Path) -> None:
    assert shape(chinese(page)) == shape(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text_of(page)):
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert dead == []


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_every_shell_line_is_shell(page: Path) -> None:
    for block in re.findall(r"^```bash\n(.*?)```", text_of(page), re.DOTALL | re.MULTILINE):
        line = re.sub(r"<[^<>\n]+>", "x", block)
        done = subprocess.run(["bash", "-n"], input=line, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{block}{done.stderr}"


@pytest.mark.parametrize("name", ["incidents.md", f"incidents{CHINESE}"])
def test_the_incident_guide_knows_every_figure(name: str) -> None:
    figures = set(re.findall(r'"(scheduler_[a-z_]+)"', (BASE_DIR / "api" / "exposition.py").read_text()))
    told = set(re.findall(r"`(scheduler_[a-z_]+)", text_of(FOLDER / name)))

    assert figures
    assert figures - told == set()
    assert {figure for figure in told if not figure.startswith(tuple(figures))} == set()


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_readme_stays_a_quick_start(page: Path) -> None:
    assert len(text_of(page).splitlines()) <= README_LINES
