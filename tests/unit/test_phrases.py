"""Phrases and the rules they mean: every one of `phrases.txt`, and what a table cannot say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.phrases.pieces import chinese_number
from core.phrases.reading import Reading, read
from core.phrases.saying import SENTENCES, chinese, english

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
ZONE = "Asia/Shanghai"
TABLE = [
    tuple(line.split(" => ", 1))
    for line in Path(__file__).with_name("phrases.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def written(columns: dict[str, object]) -> str:
    def value(each: object) -> str:
        text = str(each)
        if not isinstance(each, datetime):
            return text
        return text.removesuffix(" 00:00:00") if text.endswith(" 00:00:00") else text.removesuffix(":00")

    return " | ".join(f"{name} {value(each)}" for name, each in columns.items())


def told(found: Reading) -> str:
    """An answer as the table writes it."""
    if found.status == "unknown":
        return f"{found.reason} {', '.join(found.unknown)}".strip()
    choices = " || ".join(written(each.columns) for each in found.readings)
    return f"{found.question}: {choices}" if found.question else choices


def test_the_table_is_as_long_as_it_is_said_to_be() -> None:
    kinds = [read(phrase, NOW, ZONE).status for phrase, _ in TABLE]

    assert len({phrase for phrase, _ in TABLE}) == len(TABLE) >= 200
    assert min(kinds.count("ambiguous"), kinds.count("unknown")) >= 20


@pytest.mark.parametrize(("phrase", "expected"), TABLE, ids=[phrase for phrase, _ in TABLE])
def test_a_phrase_means_what_the_table_says(phrase: str, expected: str) -> None:
    found = told(read(phrase, NOW, ZONE))

    assert found.startswith("words ") if expected == "words" else found == expected


@pytest.mark.parametrize("phrase", [phrase for phrase, _ in TABLE])
def test_every_answer_has_its_sentence_in_both_languages(phrase: str) -> None:
    found = read(phrase, NOW, ZONE)

    for key in (found.question, found.reason, *(note for each in found.readings for note in each.notes)):
        assert not key or all(SENTENCES[key])
    assert len({english(each.meaning) for each in found.readings}) == len(found.readings)
    assert len({chinese(each.meaning) for each in found.readings}) == len(found.readings)


def test_a_time_that_was_not_said_is_told() -> None:
    (found,) = read("每周一", NOW, ZONE).readings

    assert found.columns == {"crontab": "0 0 * * 1"}
    assert found.notes == ("midnight",)


def test_no_sentence_of_the_catalogue_is_unused() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in Path("core/phrases").glob("*.py"))

    assert [key for key in SENTENCES if source.count(f'"{key}"') < 2] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("零", 0), ("七", 7), ("十", 10), ("十五", 15), ("二十", 20), ("五十九", 59), ("廿八", 28), ("两", 2), ("007", 7)],
)
def test_a_chinese_numeral_is_its_number(text: str, number: int) -> None:
    assert chinese_number(text) == number


@pytest.mark.parametrize("text", ["", "十十", "一二", "点", "零零零", "五十十"])
def test_what_is_no_numeral_is_none(text: str) -> None:
    assert chinese_number(text) is None
